-- Roster requests of privileged entities (R1 to R6, R9 to R11).
--
-- A set waits for the end of the turn of the event loop, so that sets which arrive together share one save: with
-- most storage a save writes the whole roster. Nothing is entered into a roster before that. Then each set
-- is planned, entered, saved, answered and told to others, without a pause in which anybody else could change, evict or
-- reload the roster. A stanza that is not such a set is handled after those that wait.

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local xml_parse = require "util.xml".parse;
local new_batch = module:require "roster_batch".new;
local at_once = module:require "at_once";

local host = module.host;
local hosts = prosody.hosts;

-- The denials where the server fails (R4).
local function failure(text)
	return { type = "wait", condition = "internal-server-error", text = text, rule = "R4" };
end

local unreadable = failure("the roster cannot be read from storage");
local unsaved = failure("the roster cannot be saved");
local failed = failure("the server failed to handle this roster set");

return function (core, accounts, entities, pushes, refuse, confirm, serves, link)
	--- One account's roster: reading it, making changes durable, telling them

	-- Whether the account exists right now. A roster that is stored for an account which is gone would be that of the
	-- next account of that name (L7).
	local function still_exists(username)
		local asked, found = at_once(accounts.ask, username, host);
		-- Where this cannot be asked at once, the handler of the set has asked.
		return not asked or found or false;
	end

	local has_map; -- whether the storage can save some contacts without the others

	local function can_save_some()
		if has_map == nil then
			local store = storagemanager.open(host, "roster", "map");
			has_map = store ~= nil and store.set_keys ~= nil and store.keyval_store == nil;
		end
		return has_map;
	end

	local function write(batch)
		if can_save_some() then
			local store = storagemanager.open(host, "roster", "map");
			return store:set_keys(batch.username, batch:rows(store.remove));
		end
		return storagemanager.open(host, "roster", "keyval"):set(batch.username, batch.roster);
	end

	local function try_to_write(batch)
		local ran, ok, problem = at_once(pushes.without, batch.username, write, batch);
		if not ran then
			module:log("error", "The storage of the roster of %s@%s failed: %s", batch.username, host, ok);
		elseif not ok then
			module:log("warn", "The roster of %s@%s cannot be saved: %s", batch.username, host, problem);
		end
		return ran and ok and true or false;
	end

	local function protected(f, ...)
		local ok, problem = at_once(f, ...);
		if ok == false then
			module:log("error", "A handler of this server failed after a roster was changed: %s", problem);
		end
	end

	-- What can be done with the rosters of this host. Other granting hosts use it too, when an entity changes
	-- the rosters of both sides at once (R10).
	local rosters_here = {};

	-- Returns a batch without changes; nil where the roster cannot be read or the account does not exist.
	function rosters_here.begin(username)
		local roster = still_exists(username) and accounts.roster_of(username, host);
		if roster then
			local batch = new_batch(username, roster);
			batch.rosters = rosters_here;
			return batch;
		end
	end

	-- Makes a batch durable and returns whether it is. A batch that is not has been taken back.
	function rosters_here.save(batch)
		if batch:is_empty() then
			return true;
		end
		batch:set_version(batch:version_after(#batch.jids));
		if not try_to_write(batch) then
			batch:undo();
			return false;
		end
		return true;
	end

	-- Takes a saved batch back, in storage as well.
	function rosters_here.take_back(batch)
		batch:undo();
		if not batch:is_empty() and not try_to_write(batch) then
			module:log("error", "The roster of %s@%s keeps a change that should have been taken back", batch.username, host);
		end
	end

	-- Tells clients and entities what a saved batch has changed: each change with the version that it made.
	function rosters_here.tell(batch)
		local username = batch.username;
		for i, jid in ipairs(batch.jids) do
			local version = batch:version_after(i);
			batch:set_version(version);
			protected(rostermanager.roster_push, username, host, jid);
			protected(pushes.changed, username, jid, batch.before[jid], batch.after[jid], version);
		end
	end

	-- Has the server's own handlers cancel the subscriptions of the contacts that a batch has removed (R5). Those
	-- change the rosters of contacts, each with a version of its own. So every batch that is saved has to be told before.
	function rosters_here.take_leave(batch)
		local username = batch.username;
		for _, jid in ipairs(batch.jids) do
			if batch.after[jid] == nil then
				protected(module.fire_event, module, "roster-item-removed", {
					username = username, jid = jid, item = batch.before[jid];
					roster = batch:roster_before();
					origin = accounts.acting_session(username, username.."@"..host, accounts.bounced);
				});
			end
		end
	end

	function rosters_here.may_set(entity, username)
		return core.may_set_roster(entity, username);
	end

	-- Granting host to its rosters.
	local rosters_of = module:shared("/*/privilege/rosters");
	rosters_of[host] = rosters_here;

	--- The agreement of both sides (R10)

	-- Whether a contact is the address of an account of this server. The account need not exist, and its host need
	-- not be active at the moment.
	local function is_local(jid)
		local node, domain = jid_split(jid);
		local contact_host = hosts[domain];
		return node and (contact_host and contact_host.type == "local" or not contact_host and serves(domain));
	end

	-- The other side of a contact that is an account of this server: { item = its item for the account, rosters = those
	-- of its host if the entity may set this one }. Returns nil and the denial where that cannot be found out.
	local function other_side(request, username, domain)
		local exists = false;
		if hosts[domain] then
			exists = accounts.exists(username, domain);
		end
		if exists == nil then
			return nil, core.decline(request.permit, "lookup");
		elseif not exists then
			return {};
		end
		local roster, rosters = accounts.roster_of(username, domain), rosters_of[domain];
		if not roster then
			return nil, unreadable;
		end
		return { item = roster[request.account], rosters = rosters and rosters.may_set(request.entity, username) and rosters or nil };
	end

	-- Returns the changes of contacts' rosters that have to be saved together with some changes, as a list of
	-- { rosters =, username =, change = }; or nil and the denial.
	local function changes_of_contacts(request, changes)
		local others = {};
		for _, change in ipairs(changes) do
			if change.gains_to and is_local(change.jid) then
				local username, domain = jid_split(change.jid);
				local side, unknown = other_side(request, username, domain);
				if not side then
					return nil, unknown;
				end
				local agreement, denial = core.agree_roster_change(request.account, change, side.item, side.rosters ~= nil);
				if not agreement then
					return nil, denial;
				elseif agreement.change then
					others[#others + 1] = { rosters = side.rosters, username = username, change = agreement.change };
				end
			end
		end
		return others;
	end

	--- The sets that wait

	local requests, first, last = {}, 1, 0;

	-- What has been entered and is not saved yet: the batches, of each account one; the requests that are answered then;
	-- whether all batches are saved or none; and whether nothing may be added.
	local turn;

	local function begin_turn()
		turn = { batches = {}, by_username = {}, requests = {}, jointly = false, is_complete = false };
	end
	begin_turn();

	local function answer(request)
		if not request.origin.send then
			return; -- just gone
		elseif request.denial then
			refuse(request, request.denial);
		else
			request.origin.send(st.reply(request.stanza));
		end
	end

	-- Saves batches; jointly means all of them or none.
	local function save_all(batches, jointly)
		local failed_at;
		for i, batch in ipairs(batches) do
			batch.is_saved = batch.rosters.save(batch);
			if jointly and not batch.is_saved then
				failed_at = i;
				break;
			end
		end
		for i, batch in ipairs(failed_at and batches or {}) do
			batch.is_saved = false;
			if i < failed_at then
				batch.rosters.take_back(batch);
			elseif i > failed_at then
				batch:undo();
			end
		end
	end

	-- Saves what has been entered, answers in the order the requests came, then tells others.
	local function commit()
		local done = turn;
		begin_turn();
		save_all(done.batches, done.jointly);
		for _, request in ipairs(done.requests) do
			if request.batch and not request.batch.is_saved then
				request.denial = unsaved;
			end
			protected(answer, request);
		end
		for _, step in ipairs({ "tell", "take_leave" }) do
			for _, batch in ipairs(done.batches) do
				if batch.is_saved then
					batch.rosters[step](batch);
				end
			end
		end
	end

	local function join(batch)
		turn.batches[#turn.batches + 1] = batch;
		turn.by_username[batch.username] = batch;
		return batch;
	end

	-- Whether changes concern a contact, or a contact's own roster, that something unsaved concerns as well.
	local function depends(batch, changes)
		for _, change in ipairs(changes) do
			if batch:touches(change.jid)
			or change.gains_to and turn.by_username[jid_split(change.jid)] and is_local(change.jid) then
				return true;
			end
		end
		return false;
	end

	-- Plans one set and enters its changes; what becomes of it is noted in the request. Returns false where
	-- something that was entered before has to be saved first: nothing is planned on what may fail to be saved.
	local function enter(request)
		local username = request.username;
		local batch = turn.by_username[username] or rosters_here.begin(username);
		if not batch then
			request.denial = still_exists(username) and unreadable or core.decline(request.permit, "unknown-account");
			return true;
		end
		local changes, reason = core.plan_roster_set(request.account, request.stanza, batch.roster);
		if not changes then
			request.denial = reason;
			return batch:is_empty();
		elseif depends(batch, changes) then
			return false;
		end
		local others, denial = changes_of_contacts(request, changes);
		request.denial = denial;
		if denial then
			return true;
		elseif others[1] and turn.batches[1] then
			return false;
		end
		for _, other in ipairs(others) do
			-- A contact is in a set only once, so each of these is another account.
			local batch_there = other.rosters.begin(other.username);
			if not batch_there then
				request.denial = unreadable;
				return true;
			end
			other.batch = batch_there;
		end
		for _, other in ipairs(others) do
			other.batch:enter(other.change);
			turn.batches[#turn.batches + 1] = other.batch;
			turn.jointly, turn.is_complete = true, true;
		end
		if not turn.by_username[username] then
			join(batch);
		end
		for _, change in ipairs(changes) do
			batch:enter(change);
			-- A removal changes the contact's roster as well, before the next set looks at it (R5).
			turn.is_complete = turn.is_complete or change.remove and is_local(change.jid);
		end
		request.batch = batch;
		return true;
	end

	local function deal_with_all()
		while first <= last do
			local request = requests[first];
			local ok, is_done = pcall(enter, request);
			if ok and not is_done then
				commit();
			else
				requests[first] = nil;
				first = first + 1;
				if not ok then
					module:log("error", "A roster set for %s failed: %s", request.account, is_done);
					request.denial = failed;
				end
				turn.requests[#turn.requests + 1] = request;
				if turn.is_complete then
					commit();
				end
			end
		end
		commit();
	end

	local is_busy = false;

	-- Deals with the sets that wait. A removal sends presence, which is delivered while the sets after it still wait;
	-- those are dealt with after the whole removal.
	local function flush()
		if not is_busy and first <= last then
			is_busy = true;
			local ok, problem = pcall(deal_with_all);
			is_busy = false;
			if not ok then
				error(problem, 0);
			end
		end
	end

	--- Requests

	local function get(event, permit)
		flush(); -- others may have come while the account was looked up
		local roster = accounts.roster_of(permit.username, host);
		if not roster then
			return refuse(event, unreadable);
		end
		local origin = event.origin;
		local text = core.roster_result(event.stanza, permit.account, roster);
		origin.send(entities.takes_text(origin) and text or xml_parse(text));
		return true;
	end

	local function set(event, permit)
		if first > last then
			first, last = 1, 0;
			-- At the next turn of the event loop everything that has been received is dealt with.
			module:add_timer(0, flush);
		end
		last = last + 1;
		requests[last] = {
			origin = event.origin, stanza = event.stanza, permit = permit;
			account = permit.account, username = permit.username;
			entity = jid_bare(event.stanza.attr.from);
		};
		return true;
	end

	local function handler(act)
		return function (event)
			-- Without an address it is the account's own request for its own roster.
			if not event.stanza.attr.to then
				return;
			end
			local permit, answered = confirm(event, core.roster(entities.sender(event.origin), event.stanza));
			if not permit then
				return answered;
			end
			return act(event, permit);
		end;
	end

	local handle_get, handle_set = handler(get), handler(set);
	link.roster = function (event)
		return (event.stanza.attr.type == "get" and handle_get or handle_set)(event);
	end;

	-- Only a set that may come to the handler above passes those that wait. An account's own set has no `to` here.
	local function flush_first(event)
		if first > last then
			return;
		end
		local stanza = event.stanza;
		local child = stanza.tags[1];
		if stanza.name == "iq" and stanza.attr.type == "set" and stanza.attr.to
		and child and child.name == "query" and child.attr.xmlns == "jabber:iq:roster" then
			return;
		end
		flush();
	end

	-- The storage may be another one.
	local function on_config_reloaded()
		has_map = nil;
	end

	return {
		flush = flush;
		begin = rosters_here.begin, save = rosters_here.save, tell = rosters_here.tell, take_leave = rosters_here.take_leave;
		-- Handlers of events: see the page of hooks in mod_privilege.lua.
		handle_get = handle_get, handle_set = handle_set, flush_first = flush_first, on_config_reloaded = on_config_reloaded;
		stop = function ()
			if rosters_of[host] == rosters_here then
				rosters_of[host] = nil;
			end
		end;
	};
end;
