-- Presence when an account blocks an entity, and when it unblocks it (G5).

local st = require "util.stanza";

-- `given` are functions of presences.lib.lua, and `serve_again` of catch_up.lib.lua.
return function (core, accounts, delivery, given)
	local host = module.host;
	local host_session = prosody.hosts[host];

	-- An account has blocked the entities of these viewers. They are told that its resources have gone, and so have those of
	-- its contacts that nobody else shares.
	local function blocked(username, viewers)
		local user = host_session.sessions[username];
		local roster = user and user.roster or accounts.roster_of(username, host) or {};
		for _, session in pairs(user and user.sessions or {}) do
			-- An entity that is a contact of the account has been told by the server (P5).
			local told = session.presence and core:hidden(session.full_jid, viewers, roster);
			if told then
				delivery.broadcast(told, st.presence({ from = session.full_jid, type = "unavailable" }));
			end
		end
		for contact, item in pairs(roster) do
			local believers = contact and given.sees_presence_of(item) and core:believers(contact, viewers);
			local misled = believers and core:lost(username, contact, given.other_subscribers(username, contact), believers);
			if misled then
				given.say_gone(contact, misled);
			end
		end
	end

	-- An account has unblocked the entities of these viewers. They are told who is there, for this account.
	local function unblocked(username, viewers)
		local user = host_session.sessions[username];
		for _, session in pairs(user and user.sessions or {}) do
			if session.presence then
				given.show("account", username, session.presence, viewers, user.roster);
			end
		end
		given.serve_again(username, viewers);
	end

	return {
		blocked = blocked;
		unblocked = unblocked;
	};
end;
