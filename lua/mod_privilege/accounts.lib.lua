-- The accounts of this host: whether one exists, and how to send a stanza as one.

local core_post_stanza = prosody.core_post_stanza;
local load_roster = require "core.rostermanager".load_roster;
local usermanager = require "core.usermanager";
local new_cache = require "util.cache".new;
local async = require "util.async";
local time_now = require "util.time".now;
local stanzas = module:require "stanzas";
local at_once = module:require "at_once";
local roles = module:require "roles";

local hosts = prosody.hosts;
local host = module.host;
local host_session = hosts[host];

-- For how long, in seconds, an account that existed is taken to exist still. Looking it up is dear
-- with every kind of storage; that it was deleted inside this server is told by an event.
local remember_for = 10;
local known = new_cache(10000);

--- Lookups
--
-- Asking whether an account exists may take time with some authentication providers: they wait for somebody
-- else's answer, which is possible in a runner of util.async and nowhere else. Neither the stanzas of components nor
-- timers are in one. So every lookup has a runner of its own, and nothing of ours waits by accident.

-- Returns whether there is such an account on a host, and it is not disabled (L7).
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

local lookups = {}; -- the lookups under way, by account
local runner; -- one that does not wait; another is made while it does

local function finish(lookup, there)
	lookup.is_done = true;
	-- What was asked before the account was deleted is no answer any more.
	if not lookup.is_outdated then
		lookup.there = there;
	end
	if lookups[lookup.account] == lookup then
		lookups[lookup.account] = nil;
	end
	for _, callback in ipairs(lookup.callbacks) do
		callback(lookup.there);
	end
end

local has_failed = false;

local function new_runner()
	local current;
	return async.runner(function (lookup)
		current = lookup;
		finish(lookup, ask(lookup.username, lookup.host));
	end, {
		error = function (_, problem)
			-- Anybody may be the cause of a lookup, so this must not fill the log.
			module:log(has_failed and "debug" or "warn", "Looking up %s@%s failed: %s", current.username, current.host,
				tostring(problem):match("^[^\n]*"));
			has_failed = true;
			if not current.is_done then
				finish(current, nil);
			end
		end;
	});
end

-- Looks an account up, and never waits for it. The lookup may be done when this returns.
local function look_up(username, of_host)
	local account = username.."@"..of_host;
	local lookup = lookups[account];
	if not lookup then
		lookup = { account = account, username = username, host = of_host, callbacks = {} };
		lookups[account] = lookup;
		local with = runner or new_runner();
		runner = nil;
		with:run(lookup);
		if lookup.is_done then
			runner = with;
		end
	end
	return lookup;
end

-- Calls back with whether there is such an account on a host of this server; with nil where the provider cannot say.
local function when_known(username, of_host, callback)
	local lookup = look_up(username, of_host);
	if lookup.is_done then
		callback(lookup.there);
	else
		lookup.callbacks[#lookup.callbacks + 1] = callback;
	end
end

-- Returns whether there is such an account, on this host unless another is given; nil where the provider cannot say, or
-- not at once. Never waits. An answer that takes time is remembered when it comes.
local function exists(username, of_host)
	local now = time_now();
	local account = username.."@"..(of_host or host);
	local until_when = known:get(account);
	if until_when and until_when > now and until_when - now <= remember_for then
		return true;
	end
	local lookup = look_up(username, of_host or host);
	local function remember(there)
		if there then
			known:set(account, time_now() + remember_for);
		end
	end
	if lookup.is_done then
		remember(lookup.there);
		return lookup.there;
	elseif not lookup.is_remembered then
		lookup.is_remembered = true;
		lookup.callbacks[#lookup.callbacks + 1] = remember;
	end
	return nil;
end

-- As `exists`, and waits for the answer where that is possible: in what a client has sent. The second value says
-- that it has waited. The world may be another one then, and what was judged before is to be judged again.
local function find(username)
	local there = exists(username);
	local lookup = lookups[username.."@"..host];
	if there ~= nil or not lookup or not async.ready() then
		return there, false;
	end
	local wait, done = async.waiter();
	lookup.callbacks[#lookup.callbacks + 1] = function () done(); end;
	wait();
	return lookup.there, true;
end

local function forget(event)
	local account = event.username.."@"..event.host;
	known:set(account, nil);
	local lookup = lookups[account];
	if lookup then
		lookup.is_outdated = true;
		lookups[account] = nil;
	end
end

-- Deleting an account makes the server load its roster into the cache, to cancel the subscriptions. The next account of
-- that name would find it there.
local function drop_roster(event)
	local cache = event.host == host and host_session.roster_cache;
	if cache then
		cache:set(event.username.."@"..host, nil);
	end
end

-- Returns the roster of an account of this server, the table that the server itself uses; nil where it cannot be
-- read at once.
local function roster_of(username, of_host)
	local asked, roster, problem = at_once(load_roster, username, of_host);
	if asked and not problem and not (roster[false] and roster[false].broken) then
		return roster;
	end
	-- The server would remember it as broken for as long as it is not crowded out: a client that logs in then would
	-- find no contacts, and could save none.
	local session = hosts[of_host];
	if session and session.roster_cache and not session.sessions[username] then
		session.roster_cache:set(username.."@"..of_host, nil);
	end
end

-- Whether an account may administer one host of this server. Each host has administrators of its own, and asks
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

-- Whether an account administers what the core asks about: a host, or this one; or, for "*", any of this server.
local function administers(username, domain)
	local jid = username.."@"..host;
	if domain ~= "*" then
		return administers_host(username, jid, host) or administers_host(username, jid, domain);
	end
	for target in pairs(hosts) do
		if administers_host(username, jid, target) then
			return true;
		end
	end
	if usermanager.get_user_role then
		local secondary_roles, problem = usermanager.get_user_secondary_roles(username, host);
		for name in pairs(secondary_roles or {}) do
			if roles.may_administer(name) then
				return true;
			end
		end
		return problem ~= nil;
	end
	-- COMPAT 0.12: those of the whole server are asked for without a host
	return usermanager.is_admin(jid) or false;
end

-- The role an account acts with through an entity: its own, unless that administers the server,
-- which is more than anybody meant to grant.
local function role_of(username)
	-- COMPAT 0.12: sessions have no role there
	if not usermanager.get_user_role then
		return nil;
	end
	local role = usermanager.get_user_role(username, host);
	if roles.is_administrative(role) then
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
			value = roster_of(session.username, host) or { [false] = { broken = true, pending = {} } };
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
		close = function () end; -- some handlers put their own in its place
		privileged_acting = true; -- the core gives no privilege to what comes from here
	}, session_mt);
end

-- The sessions whose stanza is being handled right now.
local acting = {};

-- The server closes the sessions of an account that is deleted, and a handler may wait for that: the one that
-- deletes the account says so when its own session is closed.
local function close_acting(event)
	if event.host ~= host then
		return;
	end
	local closing = {};
	for session in pairs(acting) do
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

-- Sends a stanza the way it would go had a client of the account sent it. `send` gets what comes back at once.
local function post_as(username, bare_jid, stanza, send)
	stanza.attr.from = bare_jid;
	local session = acting_session(username, bare_jid, send);
	acting[session] = true;
	local posted = try_to_post(session, stanza, true);
	acting[session] = nil;
	return posted;
end

-- Sends the stanza that a permit is for. The addresses that were judged are those that leave (M5).
local function post(permit, send)
	local stanza = permit.stanza;
	stanzas.leave_out_client_namespace(stanza);
	stanza.attr.to = permit.to;
	if permit.username then
		return post_as(permit.username, permit.account, stanza, send);
	end
	stanza.attr.from = host;
	return try_to_post(host_session, stanza); -- the host's own
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
	find = find;
	when_known = when_known;
	ask = ask;
	roster_of = roster_of;
	administers = administers;
	acting_session = acting_session;
	bounced = bounced;
	post = post;
	post_as = post_as;
	-- Handlers of events: see the page of hooks in mod_privilege.lua.
	forget = forget;
	drop_roster = drop_roster;
	close_acting = close_acting;
};
