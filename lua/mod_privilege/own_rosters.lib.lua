-- A roster set that an entity sends in the name of an account, by the permission for IQs (Q3). The server's own handler
-- (mod_roster) saves the roster of an account that is online, and of no other. So a set of an account that is offline is
-- handled here.

local st = require "util.stanza";

local xmlns_roster = "jabber:iq:roster";

return function (core, rosters)
	local host = module.host;
	local host_session = prosody.hosts[host];

	-- Returns the set as the account itself may make it. It does not change subscriptions, and it always replaces name and
	-- groups as a whole.
	local function own_set(stanza, query)
		local copy = st.iq({ type = "set", id = stanza.attr.id }):tag("query", { xmlns = xmlns_roster });
		for _, item in ipairs(query.tags) do
			local subscription = item.attr.subscription == "remove" and "remove" or nil;
			copy:tag(item.name, {
				xmlns = item.attr.xmlns, jid = item.attr.jid, subscription = subscription, name = item.attr.name or "";
			});
			for _, child in ipairs(item.tags) do
				copy:add_child(child);
			end
			copy:up();
		end
		return copy:reset();
	end

	-- Handles an event: see the page of hooks in mod_privilege.lua.
	return function (event)
		local session, stanza = event.origin, event.stanza;
		if stanza.attr.type ~= "set" or not session.privileged_acting or host_session.sessions[session.username]
		or not host_session.modules.roster then
			return;
		end
		local query = stanza.tags[1];
		if #query.tags ~= 1 then
			session.send(st.error_reply(stanza, "modify", "bad-request"));
			return true;
		end
		local batch = rosters.begin(session.username);
		if not batch then
			session.send(st.error_reply(stanza, core:decline("roster", {}, "unreadable")));
			return true;
		end
		local changes, denial = core:plan_roster_set(session.full_jid, own_set(stanza, query), batch.roster);
		if not changes then
			session.send(st.error_reply(stanza, denial));
			return true;
		end
		for _, change in ipairs(changes) do -- at most one
			batch:enter(change);
		end
		if not rosters.save(batch) then
			session.send(st.error_reply(stanza, core:decline("roster", {}, "unsaved")));
			return true;
		end
		session.send(st.reply(stanza));
		rosters.tell(batch);
		rosters.cancel_subscriptions(batch);
		return true;
	end;
end;
