-- Which privileged entities are connected, and what each has been told it may do (A1 to A4, C6).

local new_id = require "util.id".short;
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local xml_parse = require "util.xml".parse;

local hosts = prosody.hosts;

return function (core, saved, id_prefix)
	-- address (the domain of a component, the full JID of an account's resource) to connection
	local connections = {};
	local watchers = {};

	-- After a reload those who are still connected keep their connection, and are told only news.
	local kept = {};
	for address, earlier in pairs(saved or {}) do
		local session = earlier.session;
		if session.type == "component" or session.full_jid == address then
			kept[address] = {
				entity = jid_bare(address), address = address, session = session, told = earlier.told;
				presence_pending = earlier.presence_pending; is_remembered = earlier.is_remembered;
			};
		end
	end

	-- An id for what a client is sent in somebody else's name, by which we know it again. Answers to requests of
	-- the client's have the id of the request.
	local function own_id()
		return id_prefix..new_id();
	end

	-- Whether a session may be sent finished text: only the connection of a component. On that of a client,
	-- stream management would not count it.
	local function takes_text(session)
		return session.type == "component" and session.conn ~= nil;
	end

	-- The address the entity is told its permissions at is the one its stanzas are sent to.
	local function deliver(connection, stanza)
		local session = connection.session;
		if takes_text(session) then
			return session.send(stanza);
		elseif not session.send then
			return false; -- just gone
		end
		return session.send(type(stanza) == "string" and xml_parse(stanza) or stanza);
	end

	-- The session of a stanza for the core to judge. The connection of a component whose host has been
	-- deactivated may still be open; it is nobody's.
	local nobody = {};
	local function sender(session)
		if takes_text(session) then
			local host = hosts[session.host];
			local component = host and host.modules and host.modules.component;
			if not component or component.session ~= session then
				return nobody;
			end
		end
		return session;
	end

	-- Watchers hear of "connected", "disconnected", "changed" (another grant), "kept" (over a reload), "unbound" (a
	-- client of an entity has come or gone, with or without presence) and "configured".
	local function notify(what, connection)
		for _, watcher in ipairs(watchers) do
			if watcher[what] then
				watcher[what](connection);
			end
		end
	end

	-- Tells an entity its permissions, unless it knows them.
	local function advertise(connection)
		local text, granted = core.advertisement(connection.entity, connection.address, "");
		local news = granted and text or nil;
		if news ~= connection.told then
			connection.told = news;
			deliver(connection, (core.advertisement(connection.entity, connection.address, own_id())));
		end
	end

	local function connected(entity, address, session)
		local connection = connections[address];
		if connection and connection.session == session then
			return;
		end
		if connection then
			notify("disconnected", connection);
		end
		connection = { entity = entity, address = address, session = session };
		connections[address] = connection;
		advertise(connection);
		notify("connected", connection);
	end

	local function disconnected(address, session)
		local connection = connections[address];
		if connection and connection.session == session then
			connections[address] = nil;
			notify("disconnected", connection);
		end
	end

	local function on_component_authenticated(event)
		connected(event.session.host, event.session.host, event.session);
	end

	local function on_component_disconnected(event)
		disconnected(event.session.host, event.session);
	end

	local wanted = {}; -- entity JIDs of the configuration

	local function on_initial_presence(event)
		local session = event.origin;
		local entity = session.full_jid and jid_bare(session.full_jid);
		if entity and wanted[entity] then
			connected(entity, session.full_jid, session);
		end
	end

	local function on_resource_bind(event)
		local address = event.session.full_jid;
		local entity = jid_bare(address);
		if wanted[entity] then
			notify("unbound", { entity = entity, address = address });
		end
	end

	local function on_resource_unbind(event)
		disconnected(event.session.full_jid, event.session);
		on_resource_bind(event);
	end

	-- The connection of a client has ended and this was never received. What we sent in the name of an account
	-- or a contact must not come back to them as an error: they would learn who is told of them (P7). The
	-- prefix may be that of another host's instance, or of an earlier one of this host.
	local function on_delivery_failure(event)
		local session, stanza = event.session, event.stanza;
		local address = session.full_jid;
		if not address or not (wanted[jid_bare(address)] or connections[address]) then
			return;
		end
		local id = stanza.attr.id;
		if id and id:find("^privileged%-") or stanza.name == "iq" and stanza.attr.type == "result" then
			return true;
		end
	end

	local handlers = {
		["delivery/failure"] = on_delivery_failure;
		["component-authenticated"] = on_component_authenticated;
		["component-disconnected"] = on_component_disconnected;
		["presence/initial"] = on_initial_presence;
		["resource-bind"] = on_resource_bind;
		["resource-unbind"] = on_resource_unbind;
	};

	-- The server's own handler keeps messages for later, and stream management sends errors after that.
	local priorities = { ["delivery/failure"] = 1 };

	-- domain to the events object our handlers are on; a host that comes back has another
	local attached = {};

	local function attach(entity)
		local node, domain = jid_split(entity);
		local host = hosts[domain];
		if not host then
			return;
		end
		if not attached[domain] then
			attached[domain] = host.events;
			for event, handler in pairs(handlers) do
				module:hook_object_event(host.events, event, handler, priorities[event]);
			end
		end
		if not node then
			local component = host.modules and host.modules.component;
			local session = component and component.session;
			if session and session.type == "component" then
				connected(entity, entity, session);
			end
		elseif host.sessions and host.sessions[node] then
			for _, session in pairs(host.sessions[node].sessions) do
				if session.presence and session.full_jid then
					connected(entity, session.full_jid, session);
				end
			end
		end
	end

	-- Called when the configuration has been read, with the entities whose grant is not what it was:
	-- finds who is connected, and tells everybody what has changed for them.
	local function refresh(changed)
		local is_changed = {};
		for _, entity in ipairs(changed) do
			is_changed[entity] = true;
		end
		wanted = {};
		for _, entity in ipairs(core.entities()) do
			wanted[entity] = true;
		end
		notify("configured");
		for address, connection in pairs(kept) do
			kept[address] = nil;
			connections[address] = connection;
			local told = connection.told;
			advertise(connection);
			notify(told == connection.told and "kept" or "changed", connection);
			is_changed[connection.entity] = nil;
		end
		for _, connection in pairs(connections) do
			if is_changed[connection.entity] then
				advertise(connection);
				notify("changed", connection);
			end
		end
		for entity in pairs(wanted) do
			attach(entity);
		end
	end

	module:hook_global("host-activated", function (domain)
		for entity in pairs(wanted) do
			local _, entity_domain = jid_split(entity);
			if entity_domain == domain then
				attach(entity);
			end
		end
	end);
	module:hook_global("host-deactivated", function (domain)
		if attached[domain] then
			for event, handler in pairs(handlers) do
				module:unhook_object_event(attached[domain], event, handler);
			end
			attached[domain] = nil;
		end
		for address, connection in pairs(connections) do
			local _, entity_domain = jid_split(address);
			if entity_domain == domain then
				disconnected(address, connection.session);
			end
		end
	end);

	-- Before a reload: who knows what. Sessions are kept by reference, in the same process.
	local function save(is_pending)
		local told = {};
		for address, connection in pairs(connections) do
			told[address] = {
				session = connection.session, told = connection.told, presence_pending = is_pending(address);
				is_remembered = true; -- all presence it was told; version 0.1.0 kept no memory
			};
		end
		return told;
	end

	-- Before the server forgets our handlers: hosts may outlive them.
	local function stop()
		connections, watchers, attached = {}, {}, {};
	end

	return {
		get = function (address)
			return connections[address];
		end;
		sender = sender;
		takes_text = takes_text;
		deliver = deliver;
		own_id = own_id;
		refresh = refresh;
		save = save;
		stop = stop;
		watch = function (watcher)
			watchers[#watchers + 1] = watcher;
		end;
	};
end;
