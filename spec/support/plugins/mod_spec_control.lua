-- Test only: lets the test runner evaluate Lua inside the running server.
--
-- Listens on the loopback port `spec_control_ports`; one JSON object a line in, one out. A request
-- must carry the secret `spec_control_token`, as other users of the machine reach the port too.
--
--   { token, host?, code, args? }  ->  { ok = true, value = ... } or { ok = false, error = "..." }

module:set_global();

local array = require "util.array";
local json = require "util.json";
local st = require "util.stanza";
local jid = require "util.jid";
local modulemanager = require "core.modulemanager";
local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local usermanager = require "core.usermanager";
local service_resolver = require "net.resolvers.service";
local manual_resolver = require "net.resolvers.manual";

local load, pcall, xpcall = load, pcall, xpcall;
local hosts = prosody.hosts;

local token = assert(module:get_option_string("spec_control_token"), "spec_control_token is not set");

-- What JSON can say of any Lua value: stanzas as XML, other things it has no word for as their name.
local function plain(value, depth)
	local kind = type(value);
	if kind == "number" then
		-- JSON knows neither.
		if value ~= value or value == math.huge or value == -math.huge then return tostring(value); end
		return value;
	elseif kind == "nil" or kind == "string" or kind == "boolean" then
		return value;
	elseif kind ~= "table" then
		return tostring(value);
	elseif st.is_stanza(value) then
		return tostring(value);
	elseif depth == 0 then
		return "...";
	end
	local n = 0;
	for _ in pairs(value) do n = n + 1; end
	if n > 0 and n == #value then
		local list = array {};
		for i = 1, n do list[i] = plain(value[i], depth - 1); end
		return list;
	end
	local copy = {};
	for k, v in pairs(value) do
		copy[tostring(k)] = plain(v, depth - 1);
	end
	return copy;
end

--- What the tests may leave behind and `reset` clears away

local hooks, broken_stores = {}, {};

local function unhook_all()
	for i = #hooks, 1, -1 do
		hooks[i][1].remove_handler(hooks[i][2], hooks[i][3]);
		hooks[i] = nil;
	end
end

-- hook(host or "*", event, handler, priority): like module:hook, until the end of the test.
local function hook(host, event, handler, priority)
	local events = host == "*" and prosody.events or hosts[host].events;
	events.add_handler(event, handler, priority);
	hooks[#hooks + 1] = { events, event, handler };
end

local function fail()
	return nil, "broken by a test";
end

local failing_methods = { set = fail, set_keys = fail, set_key = fail, append = fail, remove = fail };

-- break_store(host, name[, reads]): from now on, writing (and reading) fails. Holds for stores that are
-- opened for each use, as the roster is.
local function break_store(host, name, reads)
	local watched = broken_stores[host];
	if not watched then
		watched = {};
		broken_stores[host] = watched;
		hosts[host].events.add_handler("store-opened", function (event)
			local mode = watched[event.store_name];
			local real = event.store;
			if not mode or not real then return; end
			event.store = setmetatable({}, { __index = function (_, key)
				if failing_methods[key] and type(real[key]) == "function" then
					return fail;
				elseif mode == "reads" and (key == "get" or key == "get_keys" or key == "find") then
					return fail;
				elseif type(real[key]) == "function" then
					return function (_, ...) return real[key](real, ...); end
				end
				return real[key];
			end });
		end, 1000);
	end
	watched[name] = reads and "reads" or "writes";
end

local function mend_stores()
	for _, watched in pairs(broken_stores) do
		for name in pairs(watched) do watched[name] = nil; end
	end
end

-- How many handlers each event of a host ("*": of the server) has.
local function count_hooks(host)
	local events = host == "*" and prosody.events or hosts[host].events;
	local counts = {};
	for event, handlers in pairs(events._event_map) do
		local n = 0;
		for _ in pairs(handlers) do n = n + 1; end
		if n > 0 then counts[event] = n; end
	end
	return counts;
end

local function create_user(username, host, password)
	assert(usermanager.create_user(username, password or "secret", host));
end

local function delete_user(username, host)
	assert(usermanager.delete_user(username, host));
	-- The core forgets the account but not its cached roster.
	hosts[host].roster_cache = nil; -- luacheck: ignore 122
end

-- Every account goes, with all it stored; these come: { { username, host, password }, ... }
local function reset(accounts)
	unhook_all();
	mend_stores();
	for host, session in pairs(hosts) do
		if session.type == "local" and session.users then
			local usernames = {};
			for username in usermanager.users(host) do usernames[#usernames + 1] = username; end
			for _, username in ipairs(usernames) do delete_user(username, host); end
		end
	end
	for _, account in ipairs(accounts) do
		if hosts[account[2]] then create_user(account[1], account[2], account[3]); end
	end
end

-- Writes an item into a stored roster and into what the core holds of it, without any push.
local function put_roster_item(username, host, contact, item)
	local roster = assert(rostermanager.load_roster(username, host));
	if item then
		local groups = {};
		for _, group in ipairs(item.groups or {}) do groups[group] = true; end
		roster[contact] = {
			name = item.name, subscription = item.subscription or "none", ask = item.ask;
			approved = item.approved, groups = groups;
		};
	else
		roster[contact] = nil;
	end
	assert(rostermanager.save_roster(username, host, roster, contact));
end

local helpers = {
	st = st, jid = jid, hosts = hosts, prosody = prosody, require = require;
	modulemanager = modulemanager, rostermanager = rostermanager;
	storagemanager = storagemanager, usermanager = usermanager;
	hook = hook, unhook_all = unhook_all, count_hooks = count_hooks;
	break_store = break_store, mend_stores = mend_stores;
	create_user = create_user, delete_user = delete_user, reset = reset;
	put_roster_item = put_roster_item;
};

local function evaluate(request)
	local host = request.host or "*";
	local environment = setmetatable({
		host = host;
		module = module:context(host);
	}, { __index = function (_, key)
		local value = request.args and request.args[key];
		if value ~= nil then return value; end
		if helpers[key] ~= nil then return helpers[key]; end
		return _G[key];
	end });
	local chunk = assert(load(request.code, "=spec", "t", environment));
	return chunk();
end

-- Puts the answer's values in a table without losing trailing nils.
local function pack(ok, ...)
	return ok, select("#", ...), { ... };
end

local function answer(line)
	local request = json.decode(line);
	if type(request) ~= "table" or request.token ~= token then
		return { ok = false, error = "no valid token" };
	end
	local ok, n, values = pack(xpcall(evaluate, debug.traceback, request));
	if not ok then
		return { ok = false, error = tostring(values[1]) };
	elseif n <= 1 then
		return { ok = true, value = plain(values[1], 10) };
	end
	local list = array {};
	for i = 1, n do
		local value = plain(values[i], 10);
		if value == nil then value = json.null; end
		list[i] = value;
	end
	return { ok = true, value = list };
end

local pending = {};
local listener = { default_mode = "*a" };

function listener.onconnect(conn)
	pending[conn] = "";
end

function listener.onincoming(conn, data)
	local buffer = pending[conn] .. data;
	while true do
		local line, rest = buffer:match("^([^\n]*)\n(.*)$");
		if not line then break; end
		buffer = rest;
		local ok, reply = pcall(function () return json.encode(answer(line)); end);
		if not ok then
			reply = json.encode({ ok = false, error = tostring(reply) });
		end
		conn:write(reply .. "\n");
	end
	pending[conn] = buffer;
end

function listener.ondisconnect(conn)
	pending[conn] = nil;
end

module:provides("net", {
	name = "spec_control";
	listener = listener;
	private = true;
});

-- Remote domains of the tests live on loopback ports that no DNS knows: spec_s2s_targets = { [domain] = port }
local resolve_service = service_resolver.new;

function service_resolver.new(hostname, service, conn_type, extra) -- luacheck: ignore 122
	local targets = module:get_option("spec_s2s_targets");
	local port = targets and targets[hostname];
	if not port then
		return resolve_service(hostname, service, conn_type, extra);
	end
	return manual_resolver.new(service == "xmpp-server" and { { "tcp4", "127.0.0.1", port, extra } } or {}, conn_type, extra);
end

function module.unload()
	unhook_all();
	service_resolver.new = resolve_service; -- luacheck: ignore 122
end
