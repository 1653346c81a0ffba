-- The accounts of this host by which a contact is certainly to be seen, when one account has lost it (P8).

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local usermanager = require "core.usermanager";
local at_once = module:require "at_once";

local hosts = prosody.hosts;
local host = module.host;
local host_session = hosts[host];

local most_looks = 20; -- how many accounts are looked at closely because a contact of theirs was lost by another

local function ignore()
	return true;
end

return function (native, accounts, blocklists, is_subscribed)
	-- Whether something, such as a blocklist, stops a probe from one of this server's accounts on its way out. It is
	-- shown to those who may stop it, and not sent.
	local function is_stopped(from_node, from_host, to)
		local session = accounts.acting_session(from_node, from_node.."@"..from_host, ignore);
		session.host = from_host;
		local probe = st.presence({ type = "probe", from = from_node.."@"..from_host, to = to });
		local kind = to:find("@", 1, true) and "bare" or "host";
		local was_shown, is_handled = pcall(hosts[from_host].events.fire_event, "pre-presence/"..kind, { origin = session, stanza = probe });
		return was_shown and is_handled;
	end

	-- Returns the usernames, without that of the account that has lost the contact. The roster of a contact on this
	-- server names them. Of a contact elsewhere, only accounts that are online are known. Some rosters contradict each
	-- other, and somebody may have blocked somebody. To look at all accounts that share a popular contact takes too long.
	return function (username, contact)
		local others, looks = {}, 0;
		local node, domain = jid_split(contact);
		local is_here = node and hosts[domain] and hosts[domain].type == "local";
		local function consider(other)
			looks = looks + 1;
			if other ~= username and (looks > most_looks or is_subscribed(other, contact)
			and not is_stopped(other, host, contact) and not (is_here and is_stopped(node, domain, other.."@"..host))) then
				blocklists.ensure(other); -- the core asks what each of them may show
				others[#others + 1] = other;
			end
		end
		if not is_here then
			for other, user in pairs(host_session.sessions) do
				local item = user.roster and user.roster[contact];
				if item and native.includes_to[item.subscription] then
					consider(other);
				end
			end
		elseif hosts[domain].sessions[node] or select(2, at_once(usermanager.user_exists, node, domain)) == true then
			for jid, item in pairs(accounts.roster_of(node, domain) or {}) do
				local other, other_host;
				if jid then
					other, other_host = jid_split(jid);
				end
				if other and other_host == host and native.includes_from[item.subscription] then
					consider(other);
				end
			end
		end
		return others;
	end
end;
