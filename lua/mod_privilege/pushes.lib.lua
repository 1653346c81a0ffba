-- Changes of rosters: entities are pushed each change (R7, R8), and presences.lib.lua is told.
--
-- Every path that changes a roster ends in the roster store, so that is what is watched.

local load_roster = require "core.rostermanager".load_roster;
local at_once = module:require "at_once";
local roster_watch = module:require "roster_watch";

return function (core, accounts, delivery, blocklists)
	local host = module.host;
	local follows_rosters = false; -- whether a change of a roster may matter to an entity that is connected or not
	local listener = nil; -- called with username, contact, item before and item after

	-- Tells everybody who wants to know that a saved change has made `after` of a contact's item `before`. Either is nil
	-- where there is none.
	local function changed(username, jid, before, after, version)
		blocklists.ensure(username);
		delivery.send(core:pushes(username, jid, after, version));
		if listener then
			listener(username, jid, before, after);
		end
	end

	local function version_of(metadata)
		local version = type(metadata) == "table" and metadata.version;
		return type(version) == "number" and version or nil;
	end

	local function tell_changes(username, before, after, metadata)
		local version = version_of(metadata);
		for _, jid in ipairs(core:roster_changes(before, after)) do
			-- Nothing that goes wrong with the telling is a fault of the save.
			local told, problem = at_once(changed, username, jid, before and before[jid], after and after[jid], version);
			if told == false then
				module:log("error", "Telling others of a changed roster of %s@%s failed: %s", username, host, problem);
			end
		end
	end

	-- The account whose roster is being saved by code of ours that tells the changes itself.
	local saving = nil;
	local is_stopped = false;

	local function is_followed(username)
		blocklists.ensure(username);
		return core:follow_roster(username);
	end

	local function is_watched(username)
		if is_stopped or saving == username or not is_followed(username) then
			return false;
		end
		-- The server saves no roster of an account that does not exist. Where the lookup takes time, it exists.
		return accounts.exists(username) ~= false;
	end

	local watch = roster_watch(is_watched, tell_changes);

	return {
		changed = changed;
		-- Runs save(...). Changes of this account's roster are not looked for meanwhile, because the caller tells them.
		without = function (username, save, ...)
			saving = username;
			local ran, ok, problem = pcall(save, ...);
			saving = nil;
			if not ran then
				error(ok, 0);
			end
			return ok, problem;
		end;
		listen = function (new_listener)
			listener = new_listener;
		end;
		configure = function (follows)
			follows_rosters = follows;
		end;
		-- The event fires for every save of a roster, since each opens its store anew.
		store_opened = function (event)
			if event.store_name == "roster" and follows_rosters and event.store then
				event.store = watch(event.store) or event.store;
			end
		end;
		-- The account is gone and its roster is still there. Its contacts' rosters change through their store.
		account_gone = function (event)
			local username = event.username;
			if event.host == host and is_followed(username) then
				local asked, roster = at_once(load_roster, username, host);
				tell_changes(username, asked and roster or nil, nil);
			end
		end;
		stop = function ()
			is_stopped, listener = true, nil;
		end;
	};
end;
