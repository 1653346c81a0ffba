-- One presence for many entities. It is written once for all of them.

local new_random_id = require "util.id".medium;
local stanzas = module:require "stanzas";

-- Unlike the prefix of our ids, nobody outside ever sees this.
local placeholder = "to-"..new_random_id();

-- Returns a presence as text in two halves, between which the address goes; nil where it cannot be written.
local function halves(presence)
	local text = stanzas.text_of(stanzas.with_attributes(presence, { to = placeholder }));
	if not text then
		module:log("debug", "A presence from %s cannot be written", presence.attr.from);
		return nil;
	end
	local from, till = text:find(placeholder, 1, true);
	return text:sub(1, from - 1), text:sub(till + 1);
end

-- `by_number` holds the connections; see delivery.lib.lua.
return function (core, by_number)
	local function send_copy(connection, stanza)
		-- The server writes it now, and may copy it before. How deep it may be depends on the session's modules.
		local sent, problem = pcall(connection.session.send,
			stanzas.with_attributes(stanza, { to = connection.address, id = core:new_id("seen") }));
		if not sent then
			module:log("debug", "A presence from %s cannot be sent to %s: %s", stanza.attr.from, connection.address, problem);
		end
	end

	-- Sends a presence to some connections, given by number. Where the core has written the presence, the list of the numbers
	-- has the fields `head` and `tail`.
	return function (numbers, stanza)
		local head, tail, is_unwritable = numbers.head, numbers.tail, false;
		for i = 1, #numbers do
			local connection = by_number[numbers[i]];
			local session = connection and connection.session;
			if not session then -- luacheck: ignore 542
				-- It has ended since it was chosen.
			elseif session.type == "component" and session.conn then
				if not head and not is_unwritable then
					head, tail = halves(stanza);
					is_unwritable = not head;
				end
				if head then
					session.send(head..connection.written_address..tail);
				end
			elseif session.send then
				send_copy(connection, stanza);
			end
		end
	end
end;
