-- How a stanza reaches the connection of an entity: as finished text where that can be, else as the server's own stanza.

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local parse = require "util.xml".parse;
local stanzas = module:require "stanzas";

local hosts, full_sessions = prosody.hosts, prosody.full_sessions;
local host_session = hosts[module.host];

-- Whether a session may be sent finished text. Only the session of a component may: on that of a client, stream
-- management would not count it.
local function takes_text(session)
	return session.type == "component" and session.conn ~= nil;
end

local nobody = {};

-- Returns the session of a stanza, for the core to judge. The connection of a component whose host has been
-- deactivated may still be open. It is nobody's.
local function live(session)
	if session.type == "component" and session.conn then
		local host = hosts[session.host];
		local component = host and host.modules and host.modules.component;
		if not component or component.session ~= session then
			return nobody;
		end
	end
	return session;
end

-- `by_address` and `by_number` hold the connections: { address =, session =, written_address = the address as it
-- stands in XML }.
return function (core, by_address, by_number)
	-- Returns the session of the entity that has an address. A client that has not sent presence has no connection here.
	local function session_of(address)
		local connection = by_address[address];
		return connection and connection.session or full_sessions[address];
	end

	-- Sends a stanza to the address of an entity, to a session that does not take text, or nil. Returns false where the
	-- server cannot write the stanza, because it holds something of a third party that is nested too deeply.
	local function deliver_stanza(address, session, stanza)
		if not stanza or not stanzas.is_writable(stanza, true) then
			return false;
		elseif session then
			if session.send then -- else it has just ended
				session.send(stanza);
			end
		elseif not jid_split(address) then
			prosody.core_route_stanza(host_session, stanza); -- a component inside the server
		end
		-- For a client that is gone the server would keep a message until the next one comes, or return it.
		return true;
	end

	-- Sends a finished stanza of the core to the address of an entity.
	local function deliver(address, text)
		local session = session_of(address);
		if session and takes_text(session) then
			session.send(text);
		else
			deliver_stanza(address, session, parse(text));
		end
	end

	-- Sends what the core wants sent, a list of { to =, text = } or nil.
	local function send(outbox)
		for _, outgoing in ipairs(outbox or {}) do
			deliver(outgoing.to, outgoing.text);
		end
	end

	-- Answers the sender of a stanza with a finished one.
	local function reply(session, text)
		session.send(takes_text(session) and text or parse(text));
	end

	-- Answers the sender of a stanza with a denial.
	local function answer(session, stanza, denial)
		session.send(denial.answer and takes_text(session) and denial.answer or st.error_reply(stanza, denial));
	end

	-- Returns the content of a stanza as text; nil where it cannot be written. The service chooses how many parts it has.
	local function content_of(stanza)
		local texts = {};
		for i = 1, #stanza do
			local part = stanza[i];
			texts[i] = type(part) == "string" and core:escaped(part) or stanzas.text_of(part);
			if not texts[i] then
				return nil;
			end
		end
		return table.concat(texts);
	end

	-- Sends a stanza of a service to an entity in its wrapper, `frame`. Returns false where the server cannot write it. The
	-- stanza itself is never read from text again: that would lose the empty namespace of an element.
	local function deliver_wrapped(frame, stanza)
		local session = session_of(frame.to);
		local error_tag = stanza.attr.type == "error" and stanza.name == "iq" and stanza:get_child("error") or nil;
		if session and takes_text(session) then
			local content = content_of(stanza);
			if content then
				-- A part of the stanza can be written if the whole can.
				session.send(core:wrap(frame, stanza, content, error_tag and stanzas.text_of(error_tag) or ""));
			end
			return content ~= nil;
		end
		local outer = parse(core:wrap(frame, stanza, nil, ""));
		outer.tags[1].tags[1]:add_direct_child(stanzas.inside(stanza, frame));
		if error_tag then
			outer:add_direct_child(error_tag);
		end
		return deliver_stanza(frame.to, session, outer);
	end

	return {
		live = live;
		deliver = deliver;
		deliver_wrapped = deliver_wrapped;
		send = send;
		reply = reply;
		answer = answer;
		broadcast = module:require "broadcast"(core, by_number);
	};
end;
