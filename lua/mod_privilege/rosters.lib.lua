-- Roster requests of privileged entities (R1 to R6, R9).
--
-- Sets that arrive together share one save: with most storage a save writes the whole roster. Each is
-- entered at once, answered only after the save, and undone if that fails. Whatever else comes for this
-- host is handled after the save, so that nobody sees the order of things change.

local st = require "util.stanza";
local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local xml_parse = require "util.xml".parse;

local host = module.host;
local host_session = prosody.hosts[host];

return function (core, accounts, entities, pushes, refuse)
	local batches = {}; -- username to what waits to be saved of this account's roster
	local waiting = {}; -- the same in order
	local requests = {}; -- the sets that wait for their answer, in order

	local function answer(origin, text)
		return origin.send(entities.takes_text(origin) and text or xml_parse(text));
	end

	-- The roster of an account; nothing where it cannot be read, in which case the request is answered.
	local function load(event, username)
		local roster, problem = rostermanager.load_roster(username, host);
		if not problem and not (roster[false] and roster[false].broken) then
			return roster;
		end
		-- The server would remember it as broken for as long as it is not crowded out.
		local cache = host_session.roster_cache;
		if cache and not host_session.sessions[username] then
			cache:set(username.."@"..host, nil);
		end
		event.origin.send(st.error_reply(event.stanza, "wait", "internal-server-error", "The roster cannot be read from storage"));
	end

	--- Saving

	local has_map; -- whether the storage can save some contacts without the others

	local function can_save_some()
		if has_map == nil then
			local store = storagemanager.open(host, "roster", "map");
			has_map = store ~= nil and store.set_keys ~= nil and store.keyval_store == nil;
		end
		return has_map;
	end

	local function save(batch)
		local username, roster, jids = batch.username, batch.roster, batch.jids;
		if not can_save_some() then
			return rostermanager.save_roster(username, host, roster);
		elseif #jids == 1 then
			return rostermanager.save_roster(username, host, roster, jids[1]);
		end
		local metadata = roster[false];
		if metadata.version ~= true then
			metadata.version = (metadata.version or 0) + 1;
		end
		local store = storagemanager.open(host, "roster", "map");
		local rows = { [false] = metadata };
		for _, jid in ipairs(jids) do
			rows[jid] = roster[jid] or store.remove;
		end
		return store:set_keys(username, rows);
	end

	local function undo(batch)
		local roster, metadata = batch.roster, batch.roster[false];
		for _, jid in ipairs(batch.jids) do
			-- Unless somebody else has changed it since.
			if roster[jid] == batch.after[jid] then
				roster[jid] = batch.before[jid];
				metadata.pending[jid] = batch.pending[jid] or metadata.pending[jid];
			end
		end
		metadata.version = batch.version;
	end

	local function protected(f, ...)
		local ok, problem = pcall(f, ...);
		if not ok then
			module:log("error", "A handler of this server failed after a roster was changed: %s", problem);
		end
	end

	local function tell_others(batch, jid)
		local username, roster = batch.username, batch.roster;
		rostermanager.roster_push(username, host, jid);
		if not batch.entities_told then
			local version = roster[false].version;
			pushes.push(username, jid, roster[jid], type(version) == "number" and version or nil, batch.before[jid]);
		end
		if batch.after[jid] == nil then
			-- The server's own handlers take leave of the contact (R5). They look for a pending request
			-- of the contact in the roster, where it is no more.
			module:fire_event("roster-item-removed", {
				username = username, jid = jid, item = batch.before[jid];
				roster = setmetatable({
					[false] = { version = roster[false].version, pending = batch.pending };
				}, { __index = roster });
				origin = accounts.acting_session(username, batch.account, accounts.bounced);
			});
		end
	end

	-- Saves what waits, then answers in the order the requests came, then tells others.
	local function flush()
		local saving, answering = waiting, requests;
		batches, waiting, requests = {}, {}, {};
		for _, batch in ipairs(saving) do
			batch.version = batch.roster[false].version;
			batch.saved = #batch.jids == 0 or pushes.without(batch.username, function ()
				return save(batch);
			end);
			if not batch.saved then
				undo(batch);
			end
		end
		for _, request in ipairs(answering) do
			local origin, stanza = request.event.origin, request.event.stanza;
			if origin.send then
				origin.send(request.batch.saved and st.reply(stanza)
					or st.error_reply(stanza, "wait", "internal-server-error", "The roster cannot be saved"));
			end
		end
		for _, batch in ipairs(saving) do
			for _, jid in ipairs(batch.saved and batch.jids or {}) do
				protected(tell_others, batch, jid);
			end
		end
	end

	local function batch_for(username, account, roster)
		local batch = batches[username];
		if batch and batch.roster ~= roster then
			flush(); -- read anew meanwhile
			batch = nil;
		end
		if not batch then
			if #waiting == 0 then
				-- At the next turn of the event loop, when what has been received is dealt with.
				module:add_timer(0, flush);
			end
			batch = {
				username = username, account = account, roster = roster;
				jids = {}, before = {}, after = {}, pending = {};
			};
			batches[username] = batch;
			waiting[#waiting + 1] = batch;
		end
		return batch;
	end

	--- Requests

	local function get(event, account, username)
		local roster = load(event, username);
		if roster then
			answer(event.origin, core.roster_result(event.stanza, account, roster));
		end
		return true;
	end

	local function entered(change, old)
		if change.remove then
			return nil;
		end
		local item = {};
		-- What others keep in an item, and no client sees, stays.
		for key, value in pairs(old or {}) do
			item[key] = value;
		end
		item.subscription, item.ask, item.approved = change.subscription, change.ask, change.approved;
		item.name, item.groups = change.name, change.groups;
		return item;
	end

	local function enter(batch, change)
		local jid, roster = change.jid, batch.roster;
		local metadata = roster[false];
		batch.jids[#batch.jids + 1] = jid;
		batch.before[jid], batch.after[jid] = roster[jid], entered(change, roster[jid]);
		roster[jid] = batch.after[jid];
		-- Whoever is gone, or sees the account's presence now, asks for it no more.
		if change.remove or change.subscription == "from" or change.subscription == "both" then
			batch.pending[jid], metadata.pending[jid] = metadata.pending[jid], nil;
		end
	end

	-- Whether what has been planned would have been planned differently without what waits to be saved.
	local function depends(batch, planned, changes)
		if not batch then
			return false;
		elseif not planned then
			return true;
		end
		for _, change in ipairs(changes) do
			if batch.before[change.jid] or batch.after[change.jid] then
				return true;
			end
		end
		return false;
	end

	local function set(event, account, username)
		local roster = load(event, username);
		if not roster then
			return true;
		end
		local planned, changes, condition, text, rule = core.plan_roster_set(account, event.stanza, roster);
		if depends(batches[username], planned, changes) then
			-- Each change is saved and pushed, also one that another follows at once, and what is planned must
			-- not rest on what cannot be saved.
			flush();
			planned, changes, condition, text, rule = core.plan_roster_set(account, event.stanza, roster);
		end
		if not planned then
			return refuse(event, planned, changes, condition, text, rule);
		end
		local batch = batch_for(username, account, roster);
		for _, change in ipairs(changes) do
			enter(batch, change);
		end
		requests[#requests + 1] = { event = event, batch = batch };
		return true;
	end

	local function handler(act)
		return function (event)
			-- Without an address it is the account's own request for its own roster.
			if not event.stanza.attr.to then
				return;
			end
			local judged, account, username, text, rule = core.judge_roster(entities.sender(event.origin), event.stanza);
			if not judged then
				return refuse(event, judged, account, username, text, rule);
			elseif not accounts.exists(username) then
				return refuse(event, core.no_account("roster"));
			end
			return act(event, account, username);
		end;
	end

	module:hook("iq-get/bare/jabber:iq:roster:query", handler(get));
	module:hook("iq-set/bare/jabber:iq:roster:query", handler(set));

	local function flush_first(event)
		if waiting[1] then
			local stanza = event.stanza;
			local child = stanza.tags[1];
			if stanza.name ~= "iq" or stanza.attr.type ~= "set" or not child or child.attr.xmlns ~= "jabber:iq:roster" then
				flush();
			end
		end
	end
	for _, event in ipairs({ "iq/host", "iq/bare", "iq/full", "message/host", "message/bare", "message/full",
		"presence/host", "presence/bare", "presence/full" }) do
		module:hook(event, flush_first, 10000);
	end

	-- Somebody else has saved the whole of a roster, and the change of ours in it has been seen.
	pushes.on_whole_save(function (username)
		if batches[username] then
			batches[username].entities_told = true;
		end
	end);
	module:hook_global("config-reloaded", function ()
		has_map = nil;
	end);

	return { flush = flush };
end;
