-- Warns about entities that are accounts which do not exist: somebody who registers such a name gets what is granted to it.

local jid_split = require "util.jid".split;

local hosts = prosody.hosts;

return function (core, accounts)
	local host = module.host;
	local looked_up = {}; -- entity to true; each configuration that is read has a table of its own
	local count = 0; -- of those that do not exist
	local report; -- is called with the count

	local function warn(entity)
		module:log("warn", "%s grants privileges to %s, an account that does not exist: somebody who registers that name gets them",
			host, entity);
	end

	local function look_up(entity)
		local username, domain = jid_split(entity);
		if not username or looked_up[entity] or not core:grants(entity) or not hosts[domain] or hosts[domain].type ~= "local" then
			return;
		end
		local current = looked_up;
		current[entity] = true;
		accounts.when_known(username, domain, function (exists)
			if exists == false and current == looked_up then
				warn(entity);
				count = count + 1;
				report(count);
			end
		end);
	end

	-- When the configuration is read, the host of an entity may not be active yet.
	local function on_host_activated(domain)
		for _, entity in ipairs(core:entities()) do
			local _, entity_domain = jid_split(entity);
			if entity_domain == domain then
				look_up(entity);
			end
		end
	end

	local function on_user_deleted(event)
		local entity = event.username.."@"..event.host;
		if core:grants(entity) then
			warn(entity);
		end
	end

	return {
		-- Looks up all entities of the configuration. `on_count` is called with how many of them do not exist: now, and
		-- whenever there are more.
		look = function (on_count)
			looked_up, count, report = {}, 0, on_count;
			report(count);
			for _, entity in ipairs(core:entities()) do
				look_up(entity);
			end
		end;
		-- Handlers of events: see the page of hooks in mod_privilege.lua.
		on_host_activated = on_host_activated;
		on_user_deleted = on_user_deleted;
		-- A lookup may be done after this module is gone.
		stop = function ()
			looked_up = {};
		end;
	};
end;
