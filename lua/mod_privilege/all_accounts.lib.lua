-- All accounts of this host and their rosters, for work that goes through them (P3).

local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local usermanager = require "core.usermanager";
local copy_of_roster = module:require "roster_store".copy_of_roster;

local host = module.host;
local host_session = prosody.hosts[host];

-- Returns the server's table of the sessions of an account that is online; nil for any other.
local function user_of(username)
	return host_session.sessions[username];
end

-- Returns the usernames of the accounts that are online, as a list.
local function usernames_online()
	local usernames = {};
	for username in pairs(host_session.sessions) do
		usernames[#usernames + 1] = username;
	end
	return usernames;
end

-- Calls `act` with each username. A list that breaks off counts as one that ends there: storage may fail with any account.
local function each_account(act)
	local listed, iterate, state, username = pcall(usermanager.users, host);
	if not listed or type(iterate) ~= "function" then
		module:log("debug", "The accounts of %s cannot be listed, only those online are gone through", host);
		return;
	end
	while true do
		listed, username = pcall(iterate, state, username);
		if not listed then
			module:log("warn", "The list of the accounts of %s breaks off: %s", host, username);
			return;
		elseif username == nil then
			return;
		end
		act(username);
	end
end

local function load_past_cache(username)
	local roster = storagemanager.open(host, "roster"):get(username) or {};
	local handlers = host_session.events.get_handlers("roster-load");
	if handlers and handlers[1] then
		-- Handlers add contacts, and some storage hands out the tables that it keeps.
		roster = copy_of_roster(roster);
		roster[false] = roster[false] or {};
		host_session.events.fire_event("roster-load", { username = username, host = host, roster = roster });
		roster[username.."@"..host] = nil;
	end
	return roster;
end

-- Returns the roster of an account that is offline, read past the server's cache: that is for the rosters in use. As when
-- the server reads one, other modules may add contacts. A roster that cannot be read is empty, so that the others are
-- still gone through.
local function read_roster(username)
	local was_read, roster = pcall(load_past_cache, username);
	if not was_read then
		module:log("warn", "The roster of %s@%s cannot be read: %s", username, host, roster);
		return {};
	end
	return roster;
end

local function roster_of(username)
	local user = user_of(username);
	return user and (user.roster or rostermanager.load_roster(username, host)) or read_roster(username);
end

return {
	user_of = user_of;
	usernames_online = usernames_online;
	each_account = each_account;
	roster_of = roster_of;
};
