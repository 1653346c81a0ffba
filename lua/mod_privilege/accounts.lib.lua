-- The accounts of this host: whether one exists, and how to send a stanza as one.

local core_post_stanza = prosody.core_post_stanza;
local load_roster = require "core.rostermanager".load_roster;
local usermanager = require "core.usermanager";
local new_cache = require "util.cache".new;
local time_now = require "util.time".now;

local host = module.host;
local host_session = prosody.hosts[host];

-- For how long, in seconds, an account that existed is taken to exist still. Looking it up is dear
-- with every kind of storage; that it was deleted inside this server is told by an event.
local remember_for = 10;
local known = new_cache(10000);

-- Whether there is such an account, and it is not disabled (L7).
local function exists(username)
	local now = time_now();
	local until_when = known:get(username);
	if until_when and until_when > now and until_when - now <= remember_for then
		return true;
	end
	if not usermanager.user_exists(username, host) then
		return false;
	end
	-- COMPAT 0.12: no account can be disabled there
	if usermanager.user_is_enabled then
		local enabled, problem = usermanager.user_is_enabled(username, host);
		-- Some authentication providers do not know the difference.
		if not enabled and not (enabled == nil and problem == "method not implemented") then
			return false;
		end
	end
	known:set(username, now + remember_for);
	return true;
end

local function forget(event)
	if event.host == host then
		known:set(event.username, nil);
	end
end
module:hook_global("user-deleted", forget, 1000);
module:hook_global("user-disabled", forget, 1000);

-- Whoever is next to have this name must not find the roster of the one before in the server's cache,
-- where taking leave of the contacts has put it.
module:hook_global("user-deleted", function (event)
	local cache = event.host == host and host_session.roster_cache;
	if cache then
		cache:set(event.username.."@"..host, nil);
	end
end, -1000);

local administrative = { ["prosody:admin"] = true, ["prosody:operator"] = true };

local function is_administrative(role)
	if not role then
		return false;
	elseif administrative[role.name] then
		return true;
	end
	for _, inherited in ipairs(role.inherits or {}) do
		if is_administrative(inherited) then
			return true;
		end
	end
	return false;
end

-- The roles that certainly administer nothing. What others may do is the administrator's invention.
local ordinary = { ["prosody:guest"] = true, ["prosody:registered"] = true, ["prosody:member"] = true };

-- Whether an account may administer this host, or another one of this server that it addresses. Each
-- host has administrators of its own, and asks for them by JID.
local function administers(username, target)
	local jid = username.."@"..host;
	if usermanager.get_user_role then
		local role = usermanager.get_user_role(username, host);
		local role_there = prosody.hosts[target] and usermanager.get_jid_role(jid, target);
		return role and not ordinary[role.name] or role_there and not ordinary[role_there.name] or false;
	end
	-- COMPAT 0.12: no roles of accounts, but a list of administrators
	return usermanager.is_admin(jid, host) or prosody.hosts[target] and usermanager.is_admin(jid, target) or false;
end

-- The role an account acts with through an entity: its own, unless that administers the server,
-- which is more than anybody meant to grant.
local function role_of(username)
	-- COMPAT 0.12: sessions have no role there
	if not usermanager.get_user_role then
		return nil;
	end
	local role = usermanager.get_user_role(username, host);
	if is_administrative(role) then
		return usermanager.get_role_by_name("prosody:member", host)
			or usermanager.get_role_by_name("prosody:registered", host) or nil;
	end
	return role;
end

-- What is dear to find out is found out when somebody asks.
local session_mt = {
	__index = function (session, key)
		local value;
		if key == "roster" then
			value = load_roster(session.username, host);
		elseif key == "role" then
			value = role_of(session.username);
		else
			return nil;
		end
		session[key] = value;
		return value;
	end;
};

-- A session that looks to handlers like one of the account's. Each stanza gets its own, since handlers
-- write to it. `send` gets what comes back at once.
local function acting_session(username, bare_jid, send)
	return setmetatable({
		type = "c2s";
		username = username;
		host = host;
		full_jid = bare_jid;
		send = send;
		log = module._log;
		privileged_acting = true; -- the core gives no privilege to what comes from here
	}, session_mt);
end

-- Posts a stanza and gives whether that went well. Where a handler fails, the stanza has failed, and nothing
-- else: some have never met an account that is offline, or a host, in this place.
local function post(session, stanza, sender, preevents)
	local ok, problem = pcall(core_post_stanza, session, stanza, preevents);
	if not ok then
		module:log("warn", "A handler of this server failed on a %s sent for %s: %s", stanza.name, sender, problem);
	end
	return ok;
end

-- Sends a stanza the way it would go had a client of the account sent it.
local function post_as(username, bare_jid, stanza, send)
	stanza.attr.from = bare_jid;
	return post(acting_session(username, bare_jid, send), stanza, bare_jid, true);
end

-- Sends a stanza of the host's own.
local function post_as_host(stanza)
	stanza.attr.from = host;
	return post(host_session, stanza, host);
end

-- What comes back at once to something an account has sent, and nobody waits for: it is addressed to
-- the account, as it would be from a remote server, and goes the same way.
local function bounced(reply)
	if reply.attr.type == "error" then
		prosody.core_route_stanza(host_session, reply);
	end
	return true;
end

return {
	exists = exists;
	administers = administers;
	acting_session = acting_session;
	bounced = bounced;
	post_as = post_as;
	post_as_host = post_as_host;
};
