-- Sending stanzas as an account (M1, M5, Q3, N2).

local core_post_stanza = prosody.core_post_stanza;
local stanzas = module:require "stanzas";

local host = module.host;
local host_session = prosody.hosts[host];
local into_stanza, is_writable = stanzas.into_stanza, stanzas.is_writable;

-- Both functions take a username: `roster_of` returns the account's roster, nil where it cannot be read; `role_of` returns
-- the role that the account acts with.
return function (roster_of, role_of)
	local function nothing() end

	-- The fields that all these sessions have in common. A session of four fields is half as large as one of eight.
	local common = {
		host = host;
		log = module._log;
		close = nothing; -- some handlers put their own in its place
		privileged_acting = true;
	};

	local session_mt = {
		privileged_acting = true; -- the core gives no privilege to what comes from such a session
		__index = function (session, key)
			local value = common[key];
			if value ~= nil then
				return value;
			-- Expensive fields are filled in on first access.
			elseif key == "roster" then
				value = roster_of(session.username) or { [false] = { broken = true, pending = {} } };
			elseif key == "role" then
				value = role_of(session.username);
			else
				return nil;
			end
			session[key] = value;
			return value;
		end;
	};

	-- Returns a session that looks to handlers like one of the account's. Each stanza gets its own, since handlers
	-- write to it. `send` is called with every stanza that the server sends back during the handling.
	local function acting_session(username, bare_jid, send)
		return setmetatable({
			type = "c2s";
			username = username;
			full_jid = bare_jid;
			send = send;
		}, session_mt);
	end

	-- The sessions whose stanza is being handled right now, and how many.
	local acting, count = {}, 0;

	-- Handles the event of an account that is deleted or disabled. The server closes the account's sessions, and the
	-- handler of the request that deletes it may wait for that: it sends its answer when its own session is closed.
	local function close_acting(event)
		if event.host ~= host then
			return;
		end
		local closing = {};
		for _, session in ipairs(acting) do
			if session.username == event.username then
				closing[#closing + 1] = session;
			end
		end
		for _, session in ipairs(closing) do
			session:close();
		end
	end

	-- Posts a stanza and returns whether that went well. A handler that raises costs this stanza only. Some handlers
	-- assume a client session, and break on an offline account or on the host.
	local function try_to_post(session, stanza, preevents)
		local ok, problem = pcall(core_post_stanza, session, stanza, preevents);
		if not ok then
			module:log("warn", "A handler of this server failed on a %s sent for %s: %s", stanza.name, stanza.attr.from, problem);
		end
		return ok;
	end

	-- Sends a stanza the way it would go if a client of the account had sent it, and returns whether that went well.
	local function post_as(username, bare_jid, stanza, send)
		stanza.attr.from = bare_jid;
		local session = acting_session(username, bare_jid, send);
		count = count + 1;
		acting[count] = session;
		local posted = try_to_post(session, stanza, true);
		if acting[count] == session then
			acting[count] = nil;
		else
			-- A handler may wait, and others come and go meanwhile.
			local place = count - 1;
			while acting[place] ~= session do
				place = place - 1;
			end
			table.remove(acting, place);
		end
		count = count - 1;
		return posted;
	end

	-- Sends the stanza of a permit, and returns whether that went well. The server has to be able to write it. The addresses
	-- that were judged are those that leave (M5).
	local function post(permit, send)
		local stanza = permit.stanza;
		if into_stanza(stanza) and not is_writable(stanza) then
			return false;
		end
		stanza.attr.to = permit.to;
		if permit.username then
			return post_as(permit.username, permit.account, stanza, send);
		end
		stanza.attr.from = host;
		return try_to_post(host_session, stanza); -- the host's own
	end

	-- A `send` for stanzas whose answer nobody waits for. An error goes to the account that has sent the stanza, as it
	-- would if it came from a remote server.
	local function bounced(reply)
		if reply.attr.type == "error" then
			prosody.core_route_stanza(host_session, reply);
		end
		return true;
	end

	return {
		acting_session = acting_session;
		post = post;
		post_as = post_as;
		bounced = bounced;
		close_acting = close_acting;
	};
end;
