-- The hosts that entities are on. Their events tell who comes and goes, and they come and go themselves.

local jid_split = require "util.jid".split;

local hosts = prosody.hosts;

-- `survivors` are the connections that an earlier instance of this module had, by address.
return function (connections, survivors)
	local entities = {}; -- by bare JID
	local attached = {}; -- domain to the events object that our handlers are on; a host that comes back has another
	local handlers, priorities;

	-- Handles the events of a host. Returns the host, nil where there is none.
	local function attach(domain)
		local host = hosts[domain];
		if host and not attached[domain] then
			attached[domain] = host.events;
			for event, handler in pairs(handlers) do
				module:hook_object_event(host.events, event, handler, priorities[event]);
			end
		end
		return host;
	end

	local function look_for(entity)
		local _, domain = jid_split(entity);
		local host = attach(domain);
		if host then
			connections.find(entity, host);
		end
	end

	return {
		-- Says which events are handled: event to handler, and event to priority.
		follow = function (event_handlers, event_priorities)
			handlers, priorities = event_handlers, event_priorities;
			-- A survivor may be of an entity that is named no more. It ends one day as well.
			for address in pairs(survivors) do
				local _, domain = jid_split(address);
				attach(domain);
			end
		end;
		-- Called with the entities of the configuration, whenever it has been read.
		attach_all = function (new_entities)
			entities = new_entities;
			for entity in pairs(entities) do
				look_for(entity);
			end
		end;
		activated = function (domain)
			for entity in pairs(entities) do
				local _, entity_domain = jid_split(entity);
				if entity_domain == domain then
					look_for(entity);
				end
			end
		end;
		deactivated = function (domain)
			if attached[domain] then
				for event, handler in pairs(handlers) do
					module:unhook_object_event(attached[domain], event, handler);
				end
				attached[domain] = nil;
			end
			connections.host_left(domain);
		end;
		-- The server takes the handlers away.
		stop = function ()
			entities, attached = {}, {};
		end;
	};
end;
