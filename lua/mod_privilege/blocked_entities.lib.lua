-- The answers to an entity that an account has blocked (G5). mod_blocklist would answer that the account is not to be had;
-- such an entity is answered like any entity that the account is not for (C7).

local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;

-- Returns the handler of the event. Everybody's IQs pass it.
return function (core, blocklists, iqs, rosters)
	local function handle_roster(event)
		return (event.stanza.attr.type == "get" and rosters.handle_get or rosters.handle_set)(event);
	end

	-- By the namespace and the name of the payload.
	local handlers = {
		["urn:xmpp:privilege:2"] = { privileged_iq = iqs.handle };
		["jabber:iq:roster"] = { query = handle_roster };
	};

	return function (event)
		local stanza = event.stanza;
		local child = stanza.tags[1];
		local by_name = child and handlers[child.attr.xmlns or ""];
		local handle = by_name and by_name[child.name];
		if not handle or not blocklists.is_on() or stanza.attr.type ~= "get" and stanza.attr.type ~= "set" then
			return;
		end
		local username = jid_split(stanza.attr.to);
		local entity = jid_bare(stanza.attr.from);
		if username and core:grants(entity) and blocklists.ensure(username) and core:has_blocked(username, entity) then
			return handle(event);
		end
	end;
end;
