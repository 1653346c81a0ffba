-- The accounts of this host: what the server knows of them. Looking them up: lookups.lib.lua. Sending stanzas as one:
-- acting.lib.lua. All of it is called through here.

local load_roster = require "core.rostermanager".load_roster;
local usermanager = require "core.usermanager";
local time_now = require "util.time".now;
local at_once = module:require "at_once";
local roles = module:require "roles";

local hosts = prosody.hosts;
local host = module.host;
local host_session = hosts[host];

-- Returns whether there is such an account on a host, and it is not disabled (L7). May wait.
local function ask(username, of_host)
	if not usermanager.user_exists(username, of_host) then
		return false;
	end
	-- COMPAT 0.12: no account can be disabled there
	if usermanager.user_is_enabled then
		local enabled, why = usermanager.user_is_enabled(username, of_host);
		-- Some authentication providers do not know the difference.
		if not enabled and not (enabled == nil and why == "method not implemented") then
			return false;
		end
	end
	return true;
end

local lookups = module:require "lookups"(host, ask, time_now, module._log);

--- Rosters

-- Returns the roster of an account of this server, the table that the server itself uses; nil where it cannot be
-- read at once.
local function roster_of(username, of_host)
	local session = hosts[of_host];
	local user = session and session.sessions and session.sessions[username];
	local cache = session and session.roster_cache;
	local is_at_hand = user and user.roster or cache and cache:get(username.."@"..of_host);
	local asked, roster, problem;
	if is_at_hand then
		asked, roster, problem = true, load_roster(username, of_host); -- does not wait, so it needs no coroutine
	else
		asked, roster, problem = at_once(load_roster, username, of_host);
	end
	if asked and not problem and not (roster[false] and roster[false].broken) then
		return roster;
	end
	-- The server keeps a roster that it could not read in its cache, as broken. A client that logs in would find
	-- no contacts there, and could save none.
	cache = session and session.roster_cache;
	if cache and not user then
		cache:set(username.."@"..of_host, nil);
	end
end

-- Handles the event of a deleted account. Deleting it makes mod_roster load its roster into the cache. The next account of
-- that name would inherit it.
local function drop_roster(event)
	local cache = event.host == host and host_session.roster_cache;
	if cache then
		cache:set(event.username.."@"..host, nil);
	end
end

--- Administration (N1, N2)

-- Returns whether an account may administer one host of this server. Each host has administrators of its own, and asks
-- for them by JID.
local function administers_host(username, jid, target)
	local session = hosts[target];
	if not session or not session.authz then
		return false; -- not a host of this server, or one that nobody can use yet
	elseif not usermanager.get_user_role then
		-- COMPAT 0.12: no roles of accounts, but a list of administrators
		return usermanager.is_admin(jid, target) or false;
	end
	local role, problem;
	if target == host then
		role, problem = usermanager.get_user_role(username, host);
	else
		role, problem = usermanager.get_jid_role(jid, target);
	end
	-- A role that cannot be found out may be any.
	return role and roles.may_administer(role.name) or not role and problem ~= nil;
end

-- Returns whether an account may administer any host of this server.
local function administers_any(username, jid)
	for target in pairs(hosts) do
		if administers_host(username, jid, target) then
			return true;
		end
	end
	if not usermanager.get_user_role then
		-- COMPAT 0.12: administrators of the whole server are asked for without a host
		return usermanager.is_admin(jid) or false;
	end
	local secondary_roles, problem = usermanager.get_user_secondary_roles(username, host);
	for name in pairs(secondary_roles or {}) do
		if roles.may_administer(name) then
			return true;
		end
	end
	return problem ~= nil;
end

-- Returns whether an account administers what the core asks about: this host or the domain; for "*", any host of this
-- server.
local function administers(username, domain)
	local jid = username.."@"..host;
	if domain == "*" then
		return administers_any(username, jid);
	end
	return administers_host(username, jid, host) or domain ~= host and administers_host(username, jid, domain);
end

-- Returns the role that an account acts with for an entity: its own, but a member's where its own is an administrative
-- one. Nobody meant to grant an entity the administration of the server.
local function role_of(username)
	-- COMPAT 0.12: sessions have no role there
	if not usermanager.get_user_role then
		return nil;
	end
	local role = usermanager.get_user_role(username, host);
	if not roles.is_administrative(role) then
		return role;
	end
	for _, name in ipairs(roles.in_its_place) do
		local found = usermanager.get_role_by_name(name, host);
		if found then
			return found;
		end
	end
end

local acting = module:require "acting"(function (username) return roster_of(username, host); end, role_of);

return {
	ask = ask;
	exists = lookups.exists;
	find = lookups.find;
	when_known = lookups.when_known;
	roster_of = roster_of;
	administers = administers;
	acting_session = acting.acting_session;
	post = acting.post;
	post_as = acting.post_as;
	bounced = acting.bounced;
	-- Handlers of events: see the page of hooks in mod_privilege.lua.
	forget = lookups.forget;
	drop_roster = drop_roster;
	close_acting = acting.close_acting;
};
