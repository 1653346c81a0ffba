-- One account's roster: reading it, making a batch of changes durable, telling others of it (R2, R5, R7, R11).

local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local new_batch = module:require "roster_batch".new;
local at_once = module:require "at_once";

local host = module.host;

return function (core, accounts, pushes, blocklists)
	-- Returns whether the account exists right now. A roster that is stored for an account which is gone would become
	-- that of the next account of the same name (L7).
	local function still_exists(username)
		local asked, found = at_once(accounts.ask, username, host);
		-- Where this cannot be asked at once, the handler of the set has asked before.
		return not asked or found or false;
	end

	--- Storage

	local has_map; -- whether the storage can save some contacts without the others; nil where not asked yet

	local function can_save_some()
		if has_map == nil then
			local store = storagemanager.open(host, "roster", "map");
			has_map = store ~= nil and store.set_keys ~= nil and store.keyval_store == nil;
		end
		return has_map;
	end

	-- The storage may be another one.
	local function on_config_reloaded()
		has_map = nil;
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

	-- Calls a function after a roster was saved. Its failure changes nothing of that.
	local function protected(f, ...)
		local ok, problem = at_once(f, ...);
		if ok == false then
			module:log("error", "A handler of this server failed after a roster was changed: %s", problem);
		end
	end

	--- The rosters of this host
	--
	-- Other granting hosts use them too, where one set of an entity changes the rosters of both sides (R10).

	local rosters = {};

	-- Returns a batch without changes; nil where the roster cannot be read or the account does not exist.
	function rosters.begin(username)
		local roster = still_exists(username) and accounts.roster_of(username, host);
		if roster then
			local batch = new_batch(username, roster);
			batch.rosters = rosters;
			return batch;
		end
	end

	-- Makes a batch durable, and returns whether it is. A batch that is not durable has been taken back.
	function rosters.save(batch)
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
	function rosters.take_back(batch)
		batch:undo();
		if not batch:is_empty() and not try_to_write(batch) then
			module:log("error", "The roster of %s@%s keeps a change that should have been taken back", batch.username, host);
		end
	end

	-- Tells clients and entities what a saved batch has changed: each change with the version that it made.
	function rosters.tell(batch)
		local username = batch.username;
		for i, jid in ipairs(batch.jids) do
			local version = batch:version_after(i);
			batch:set_version(version);
			protected(rostermanager.roster_push, username, host, jid);
			protected(pushes.changed, username, jid, batch.before[jid], batch.after[jid], version);
		end
	end

	-- Has the server cancel the subscriptions of the contacts that a saved batch has removed (R5). This changes the rosters
	-- of contacts, each with a new version. So every batch that was saved has to be told before.
	function rosters.cancel_subscriptions(batch)
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

	-- Returns whether an entity may set the roster of an account.
	function rosters.may_set(entity, username, contact)
		blocklists.ensure(username);
		return core:may_set_roster(entity, username, contact);
	end

	local rosters_of = module:shared("/*/privilege/rosters"); -- granting host to its rosters
	rosters_of[host] = rosters;

	return {
		rosters = rosters;
		rosters_of = rosters_of;
		still_exists = still_exists;
		protected = protected;
		on_config_reloaded = on_config_reloaded;
		stop = function ()
			if rosters_of[host] == rosters then
				rosters_of[host] = nil;
			end
		end;
	};
end;
