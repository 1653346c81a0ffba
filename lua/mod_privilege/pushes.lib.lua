-- Roster pushes to privileged entities: watches the roster store, where every path that changes a
-- roster ends (R7, R8).

local load_roster = require "core.rostermanager".load_roster;
local at_once = module:require "at_once";
local roster_store = module:require "roster_store";
local setmetatable, next, pairs, type = setmetatable, next, pairs, type;

return function (core, accounts, entities, id_prefix)
	local host = module.host;
	local pushing = {}; -- address to connection, of those who get pushes
	local configured = false; -- whether anybody may get pushes, connected or not
	local count = 0;

	local function wanted(username)
		for _, connection in pairs(pushing) do
			if core.pushes(connection.entity, username) then
				return true;
			end
		end
		return false;
	end

	-- Pushes one contact of an account to whoever may see it; `item` is nil where it is gone. The
	-- answer comes back under our prefix, where it ends.
	local function push(username, jid, item, version)
		local account = username.."@"..host;
		for address, connection in pairs(pushing) do
			if core.pushes(connection.entity, username) then
				count = count + 1;
				entities.deliver(connection, core.roster_push(account, address, ("%spush-%d"):format(id_prefix, count),
					jid, item, version));
			end
		end
	end

	-- Others who want to know which contacts change: { is_wanted =, changed = }.
	local listeners = {};

	local function is_heard()
		for _, listener in ipairs(listeners) do
			if listener.is_wanted() then
				return true;
			end
		end
		return false;
	end

	-- Tells whoever wants to know that a saved change has made `after` of a contact's item `before`; nil is for none.
	local function changed(username, jid, before, after, version)
		push(username, jid, after, version);
		for _, listener in ipairs(listeners) do
			if listener.is_wanted() then
				listener.changed(username, jid, before, after);
			end
		end
	end

	local function version_of(metadata)
		local version = type(metadata) == "table" and metadata.version;
		return type(version) == "number" and version or nil;
	end

	local function push_changes(username, before, after, metadata)
		local version = version_of(metadata);
		for _, jid in ipairs(core.roster_changes(before, after)) do
			-- Nothing that goes wrong with the telling is a fault of the save.
			local told, problem = at_once(changed, username, jid, before and before[jid], after and after[jid], version);
			if told == false then
				module:log("error", "Telling others of a changed roster of %s@%s failed: %s", username, host, problem);
			end
		end
	end

	-- The account whose roster is being saved by somebody who tells the changes himself.
	local saving = nil;
	local stopped = false;

	local function is_watched(username)
		if stopped or saving == username or not (next(pushing) ~= nil and wanted(username) or is_heard()) then
			return false;
		end
		-- Where that takes time to find out, the server would not save the roster of nobody.
		return accounts.exists(username) ~= false;
	end

	local raw_of = setmetatable({}, { __mode = "k" });

	-- A store that looks at what is saved. Everything else goes straight to the real one, which is
	-- also what its own functions are called with.
	local function watched(raw)
		local proxy = {};

		local function save_all(method)
			return function (_, username, data)
				if not is_watched(username) then
					return method(raw, username, data);
				end
				local before = raw:get(username);
				local ok, err = method(raw, username, data);
				if ok then
					push_changes(username, before, data, data and data[false]);
				end
				return ok, err;
			end;
		end

		local function save_some(save, username, changes)
			if not is_watched(username) then
				return save();
			end
			local before, after, metadata = {}, {}, changes[false];
			-- Where each look reads the whole roster, one is enough.
			local everything = raw.keyval_store and (raw.keyval_store:get(username) or {});
			for jid, item in pairs(changes) do
				if jid then
					if everything then
						before[jid] = everything[jid];
					elseif raw.get_key then
						before[jid] = raw:get_key(username, jid);
					else
						before[jid] = raw:get(username, jid);
					end
					after[jid] = item ~= raw.remove and item or nil;
				end
			end
			local ok, err = save();
			if ok then
				push_changes(username, before, after, metadata);
			end
			return ok, err;
		end

		local function save_key(method)
			return function (_, username, key, data)
				return save_some(function ()
					return method(raw, username, key, data);
				end, username, { [key or false] = data == nil and raw.remove or data });
			end;
		end

		local function save_keys(method)
			return function (_, username, changes)
				return save_some(function ()
					return method(raw, username, changes);
				end, username, changes);
			end;
		end

		local is_map = raw.set_keys and not raw.set_key;
		if raw.set then
			proxy.set = is_map and save_key(raw.set) or save_all(raw.set);
		end
		if raw.set_keys then
			proxy.set_keys = save_keys(raw.set_keys);
		end
		if raw.set_key then
			proxy.set_key = save_key(raw.set_key);
		end
		raw_of[proxy] = raw;
		return roster_store.pass_on(proxy, raw);
	end

	local storage = {}; -- what is known of the storage driver

	-- Fires for every save of a roster, since each opens its store anew.
	module:hook("store-opened", function (event)
		if event.store_name ~= "roster" or not configured or not event.store or raw_of[event.store] then
			return;
		end
		local raw = event.store;
		-- A map over a keyval store that was opened for it: one save would be seen twice.
		local inner = raw.keyval_store;
		if inner and raw_of[inner] then
			if rawget(raw, "keyval_store") ~= inner then
				return; -- in a store of somebody else's, out of reach: it sees each save
			end
			raw.keyval_store = raw_of[inner];
		end
		event.store = watched(inner and raw or roster_store.apart(raw, storage));
	end, -1000);

	-- The account is gone but its roster is still there. Its contacts' rosters change through their
	-- store.
	module:hook_global("user-deleted", function (event)
		local username = event.username;
		if event.host ~= host or not (next(pushing) ~= nil and wanted(username) or is_heard()) then
			return;
		end
		local asked, roster = at_once(load_roster, username, host);
		push_changes(username, asked and roster or nil, nil);
	end, 400);

	local function look_at(connection)
		local grant = core.grant(connection.entity);
		pushing[connection.address] = grant and grant.pushes and connection or nil;
	end

	entities.watch({
		configured = function ()
			configured = false;
			for _, entity in ipairs(core.entities()) do
				local grant = core.grant(entity);
				configured = configured or grant ~= nil and (grant.pushes or grant.presence == "roster");
			end
		end;
		connected = look_at;
		changed = look_at;
		kept = look_at;
		disconnected = function (connection)
			pushing[connection.address] = nil;
		end;
	});

	return {
		changed = changed;
		-- Runs save(...), during which changes of this account's roster are not looked for, because the caller tells
		-- them himself.
		without = function (username, save, ...)
			saving = username;
			local ran, ok, problem = pcall(save, ...);
			saving = nil;
			if not ran then
				error(ok, 0);
			end
			return ok, problem;
		end;
		listen = function (listener)
			listeners[#listeners + 1] = listener;
		end;
		stop = function ()
			stopped = true;
			pushing, listeners = {}, {};
		end;
	};
end;
