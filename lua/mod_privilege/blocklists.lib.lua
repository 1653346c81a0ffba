-- The blocklists of accounts (G5). mod_blocklist keeps the lists in a store. Each is read once, and again after every change;
-- the core keeps what concerns an entity. Until a list is read, the core allows nothing about its account.

local at_once = module:require "at_once";

local most_known = 50000; -- so many lists are kept before they are read anew

-- `relay` leads handlers of an earlier instance to the present one.
return function (core, delivery, relay)
	local host = module.host;
	local host_session = prosody.hosts[host];
	local is_on = false; -- whether mod_blocklist is loaded
	local store;
	local known, count = {}, 0; -- the accounts whose list the core has
	local listener; -- has functions for changes, see `listen`
	local has_failed = false;

	local function forget(username)
		if known[username] then
			known[username], count = nil, count - 1;
		end
		core:forget_blocklists(username);
	end

	-- Returns the addresses on the stored list of an account; nil where it cannot be read at once.
	local function stored(username)
		local asked, list, problem = at_once(store.get, store, username);
		if not asked or not list and problem then
			-- Stanzas cause it, so only the first failure is a warning.
			module:log(has_failed and "debug" or "warn", "The blocklist of %s@%s cannot be read: %s", username, host, problem or list);
			has_failed = true;
			return nil;
		end
		local jids = {};
		for jid in pairs(list or {}) do
			if type(jid) == "string" then
				jids[#jids + 1] = jid;
			end
		end
		return jids;
	end

	-- Reads the list of an account. Returns what that changes, see `blocklist` of the core; nil where it cannot be read.
	local function read(username)
		local jids = stored(username);
		if not jids then
			forget(username); -- it may be another than the one that is known
			return nil;
		end
		if not known[username] then
			if count >= most_known then
				known, count = {}, 0;
				core:forget_blocklists();
			end
			known[username], count = true, count + 1;
		end
		local change = core:blocklist(username, jids);
		delivery.send(change.outbox);
		return change;
	end

	-- Makes sure that the core knows the list of an account, and returns whether it does. An entity can have been told nothing
	-- of an account whose list was not known, so there is nothing to take back.
	local function ensure(username)
		return not is_on or known[username] or read(username) ~= nil;
	end

	local function changed(username)
		local change = is_on and read(username);
		if change and change.blocked then
			listener.blocked(username, change.blocked);
		end
		if change and change.unblocked then
			listener.unblocked(username, change.unblocked);
		end
	end

	relay.blocklist_changed = changed;

	-- Wraps the handlers of an account's request to block or unblock somebody. The stored list counts, not the request.
	local function around_change(handlers, name, event)
		local username = event.origin.username;
		if not is_on or not username then
			return handlers(name, event);
		end
		ensure(username); -- as it was, to see what changes
		local ok, result = pcall(handlers, name, event);
		if relay.blocklist_changed then -- the handlers may have waited, and the module been reloaded
			relay.blocklist_changed(username);
		end
		if not ok then
			error(result, 0);
		end
		return result;
	end

	-- Looks whether there are blocklists. They may come and go at run time.
	local function look()
		local was_on = is_on;
		is_on = host_session.modules.blocklist ~= nil;
		if is_on == was_on then
			return;
		end
		store = is_on and module:open_store("blocklist") or nil;
		known, count = {}, 0;
		local viewers = core:follow_blocklists(is_on);
		if not is_on then
			listener.all_unblocked(viewers);
		elseif viewers[1] then
			for username in pairs(host_session.sessions) do
				changed(username);
			end
		end
	end

	return {
		ensure = ensure;
		-- Reads the list of an account, which the core does not know. Returns whether the core knows it then.
		read = function (username)
			return read(username) ~= nil;
		end;
		-- The listener has the functions `blocked` and `unblocked`, which are called with a username and the viewers that are
		-- concerned, and `all_unblocked`.
		listen = function (new_listener)
			listener = new_listener;
		end;
		is_on = function ()
			return is_on;
		end;
		look = look;
		-- The core has read a configuration, and may know the lists no more.
		configure = function ()
			known, count = {}, 0;
		end;
		-- Handlers of events: see the page of hooks in mod_privilege.lua.
		around_change = around_change;
		account_gone = function (event)
			if event.host == host then
				forget(event.username);
			end
		end;
	};
end;
