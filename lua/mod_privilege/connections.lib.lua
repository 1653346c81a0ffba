-- The connections of privileged entities: which session is whose (A1 to A4, C6).
--
-- The core knows what each connection has been told. Only the server has the sessions.

local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;

-- `survivors` are the connections that an earlier instance of this module had.
return function (core, survivors)
	local listener; -- see `listen`
	local by_address, by_number = {}, {};
	local delivery = module:require "delivery"(core, by_address, by_number);
	local wanted = {}; -- the entities of the configuration, by bare JID

	--- Coming and going

	local function left(address, session)
		local connection = by_address[address];
		if connection and connection.session == session then
			by_address[address], by_number[connection.number] = nil, nil;
			core:disconnected(address);
			listener.disconnected(connection);
			-- The memory of presence goes with the connection (P7).
			session.privilege_told = nil;
		end
	end

	-- `earlier` is what an earlier instance knew of the connection, if it is kept over a reload.
	local function came(entity, address, session, earlier)
		local connection = by_address[address];
		if connection and connection.session == session then
			return;
		elseif connection then
			left(address, connection.session);
		end
		-- The memory of presence lies beside the session, so that all granting hosts find it, and the instance after a
		-- reload.
		local found = core:connected(address, entity, session.privilege_told, earlier);
		session.privilege_told = found.memory;
		connection = {
			entity = entity, address = address, session = session;
			number = found.number, written_address = found.written_address;
		};
		by_address[address], by_number[found.number] = connection, connection;
		delivery.send(found.outbox);
		listener.connected(connection, found.task, earlier);
	end

	-- Handlers of events on the hosts of entities

	local function component_came(event)
		came(event.session.host, event.session.host, event.session);
	end

	local function component_left(event)
		left(event.session.host, event.session);
	end

	local function client_present(event)
		local session = event.origin;
		local entity = session.full_jid and jid_bare(session.full_jid);
		if entity and wanted[entity] then
			came(entity, session.full_jid, session);
		end
	end

	local function client_came(event)
		local address = event.session.full_jid;
		if wanted[jid_bare(address)] then
			core:client_changed(address);
		end
	end

	local function client_left(event)
		left(event.session.full_jid, event.session);
		client_came(event);
	end

	-- A client's connection has ended, and it never received this. A stanza that we sent in the name of an account or a
	-- contact must not come back to them as an error: they would learn who is told of them (P7). The prefix of its id
	-- may be that of another host's instance, or of an earlier one of this host.
	local function delivery_failed(event)
		local address, stanza = event.session.full_jid, event.stanza;
		if not address or not (wanted[jid_bare(address)] or by_address[address]) then
			return;
		end
		local id = stanza.attr.id;
		if id and id:find("^privileged%-") or stanza.name == "iq" and stanza.attr.type == "result" then
			return true;
		end
	end

	--- Configuration and life cycle

	-- Called when the core has read a configuration. Returns its entities, as a set.
	local function refresh()
		wanted = {};
		for _, entity in ipairs(core:entities()) do
			wanted[entity] = true;
		end
		for address, earlier in pairs(survivors) do
			survivors[address] = nil;
			local session = earlier.session;
			if session.type == "component" or session.full_jid == address then
				came(jid_bare(address), address, session, earlier);
			end
		end
		return wanted;
	end

	-- Finds the connections of an entity, whose host this is.
	local function find(entity, host)
		local node = jid_split(entity);
		if not node then
			local component = host.modules and host.modules.component;
			local session = component and component.session;
			if session and session.type == "component" then
				came(entity, entity, session);
			end
		elseif host.sessions and host.sessions[node] then
			for _, session in pairs(host.sessions[node].sessions) do
				if session.presence and session.full_jid then
					came(entity, session.full_jid, session);
				end
			end
		end
	end

	local function host_left(domain)
		for address, connection in pairs(by_address) do
			local _, entity_domain = jid_split(address);
			if entity_domain == domain then
				left(address, connection.session);
			end
		end
	end

	return {
		delivery = delivery;
		-- The listener has two functions, `connected` and `disconnected`. Each is called with a connection, the first also
		-- with the task about presence, if there is one, and with what an earlier instance knew of the connection.
		listen = function (new_listener)
			listener = new_listener;
		end;
		component_came = component_came;
		component_left = component_left;
		client_came = client_came;
		client_present = client_present;
		client_left = client_left;
		delivery_failed = delivery_failed;
		refresh = refresh;
		find = find;
		host_left = host_left;
		-- For a reload: adds to what the core knows of each connection what only the server does. Sessions are kept by
		-- reference, in the same process.
		save = function (connections, is_pending)
			for address, known in pairs(connections) do
				local connection = by_address[address];
				known.session, known.is_pending, known.is_noted = connection.session, is_pending(connection.number), true;
			end
			return connections;
		end;
		stop = function ()
			for address, connection in pairs(by_address) do
				by_address[address], by_number[connection.number] = nil, nil;
			end
		end;
	};
end;
