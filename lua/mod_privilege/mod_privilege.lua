-- XEP-0356: Privileged Entity
--
-- This file hooks the server's events, and acts on permits and denials. What is allowed is decided by the native
-- core alone; what the server calls things is known by the *.lib.lua files beside it.

-- A Component section may name this module, since the older module of this name asked for it. The
-- granting host does all there is to do.
if module.host == "*" or module:get_host_type() ~= "local" then
	return;
end

local st = require "util.stanza";
local jid_prep = require "util.jid".prep;
local nodeprep = require "util.encodings".stringprep.nodeprep;
local new_random_id = require "util.id".medium;
local configmanager = require "core.configmanager";

local hosts, getconfig, rawget = prosody.hosts, configmanager.getconfig, rawget;

-- Whether a domain is one of this server, active or to be. The table of the configuration answers for
-- any host, unless raw.
local function serves(domain)
	return hosts[domain] ~= nil or rawget(getconfig(), domain) ~= nil;
end

local saved = module.saved_state or {};
local id_prefix = saved.id_prefix or "privileged-"..new_random_id().."-";

local native = module:require "native";
-- What the core holds, it holds for good: so none of these may refer to this module's environment, or
-- neither would ever be collected.
local core = native.open(module.host, jid_prep, nodeprep, serves, id_prefix);

local accounts = module:require "accounts";
local stanzas = module:require "stanzas";
local entities = module:require "entities"(core, saved.told, id_prefix);

-- Answers with a denial: { type =, condition =, text =, rule = }.
local function refuse(event, denial)
	local origin, stanza = event.origin, event.stanza;
	module:log("debug", "Refused a %s from %s to %s by rule %s: %s", stanza.name, stanza.attr.from, stanza.attr.to,
		denial.rule, denial.text);
	origin.send(st.error_reply(stanza, denial.type, denial.condition, denial.text));
	return true;
end

-- What handlers still hold of an earlier instance leads to the present one.
local link = saved.link or {};

-- Whether what the core permits may go ahead, as far as only the server can tell. Returns the permit; or nil, and
-- what the handler of the event is to return.
local function confirm(event, permit, denial)
	if not permit then
		return nil, refuse(event, denial);
	elseif not permit.username then
		return permit;
	end
	local exists, has_waited = accounts.find(permit.username);
	if exists == nil then
		return nil, refuse(event, core.decline(permit, "lookup"));
	elseif not exists then
		return nil, refuse(event, core.decline(permit, "unknown-account"));
	elseif has_waited then
		-- The grant, the sender's connection or this instance may be gone: it is judged again, by the present one.
		core.decline(permit, "lookup");
		local handle = link[permit.kind];
		return nil, handle and handle(event);
	elseif permit.unless_administrator_of and accounts.administers(permit.username, permit.unless_administrator_of) then
		return nil, refuse(event, core.decline(permit, "administrator"));
	end
	return permit;
end

--- Messages

local xmlns_privilege = { ["urn:xmpp:privilege:2"] = true, ["urn:xmpp:privilege:1"] = true };

local function handle_message(event)
	local stanza = event.stanza;
	-- The cheap test, for the sake of everybody else's messages.
	local found = false;
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "privilege" and xmlns_privilege[tag.attr.xmlns] then
			found = true;
			break;
		end
	end
	if not found then
		return;
	elseif stanza.attr.type == "error" then
		return true; -- the bounce of an advertisement, or nothing we answer (M6)
	end
	local permit, answered = confirm(event, core.message(entities.sender(event.origin), stanza));
	if not permit then
		return answered;
	elseif not (stanzas.is_writable(permit.stanza) and accounts.post(permit, accounts.bounced)) then
		return refuse(event, core.decline(permit, "failed"));
	end
	return true;
end
link.message = handle_message;
module:hook("message/host", handle_message, 10);

--- IQs, rosters, presence

if saved.requests then
	core.import_requests(saved.requests);
end
local iqs = module:require "iqs"(core, accounts, entities, refuse, confirm, id_prefix, link);
local unclaimed = module:require "unclaimed"(core, accounts);
local pushes = module:require "pushes"(core, accounts, entities, id_prefix);
local presences = module:require "presences"(core, native, accounts, entities, id_prefix);
pushes.listen({ is_wanted = presences.wants_roster_changes, changed = presences.roster_changed });
local rosters = module:require "rosters"(core, accounts, entities, pushes, refuse, confirm, serves, link);
local handle_own_set = module:require "own_rosters"(core, rosters);

--- Configuration and life cycle

-- A number of at least `min`; anything else is reported once and is the default.
local function number_option(name, default, min)
	local value = module:get_option(name);
	local number = tonumber(value == nil and default or value);
	if not number or number ~= number or number < min or number > 1e9 then
		module:log("error", "Option %s of %s: found %s, allowed: a number of at least %g; treated as %g",
			name, module.host, tostring(value), min, default);
		return default;
	end
	return number;
end

local function read_configuration()
	rosters.flush(); -- by the permissions they were judged by
	core.iq_limits(number_option("privilege_iq_limit", 10000, 0), number_option("privilege_iq_timeout", 120, 0) * 1000);
	presences.configure(number_option("privilege_probe_rate", 200, 1), module:get_option("privilege_probe", "all"));
	local problems, changed = core.configure(module:get_option("privileged_entities"));
	for _, problem in ipairs(problems) do
		module:log(problem.level, "%s", problem.text);
	end
	entities.refresh(changed);
	unclaimed.look(function (count)
		-- COMPAT 0.11: no status
		if not module.set_status then -- luacheck: ignore 542
		elseif #problems + count > 0 then
			module:set_status("warn", ("%d problem(s) in privileged_entities, see the log"):format(#problems + count), true);
		else
			module:set_status("info", ("%d privileged entities"):format(#core.entities()), true);
		end
	end);
end

module:hook_global("config-reloaded", read_configuration);
read_configuration();

function module.save()
	rosters.flush();
	return { id_prefix = id_prefix, link = link, told = entities.save(presences.is_pending), requests = core.export_requests() };
end

function module.unload()
	rosters.flush();
	link.take_answer, link.message, link.iq, link.roster = nil, nil, nil, nil;
	if not module.reloading then
		iqs.stop();
	end
	unclaimed.stop();
	rosters.stop();
	presences.stop(not module.reloading);
	pushes.stop();
	entities.stop();
end

--- Hooks
--
-- Handlers of one event run by priority, the highest first, together with those of the server and of other modules.
-- Two handlers with the same priority run in no particular order: so where the order matters, the priorities differ.

local priority = {
	before_all = 10000; -- before every handler that may change a roster or send something
	before_server = 10; -- before the server's own handlers of the same stanza, which have 0 and end the event
	account_is_gone = 1000; -- from here on it is not an account any more
	sessions_close = 200; -- when mod_c2s closes the sessions of an account
	first_of_ours = 1; -- before our own handlers with 0
	after_all = -1000; -- after everything that the server does with an event
	leaves = -1e6; -- after everything that may stop a stanza on its way out
};

-- Roster sets that wait are dealt with before any other stanza of this host: nobody sees the order of things change. The
-- server's own handlers of some of these stanzas change rosters.
for _, event in ipairs({ "pre-stanza", "iq/host", "iq/bare", "iq/full", "message/host", "message/bare", "message/full",
	"presence/host", "presence/bare", "presence/full" }) do
	module:hook(event, rosters.flush_first, priority.before_all);
end

module:hook("iq-get/bare/jabber:iq:roster:query", rosters.handle_get);
module:hook("iq-set/bare/jabber:iq:roster:query", rosters.handle_set);
-- mod_roster does not save the roster of an account that is offline.
module:hook("iq/self/jabber:iq:roster:query", handle_own_set, priority.before_server);

-- A probe that gets here really leaves: a blocklist, for one, would have stopped it before.
for _, event in ipairs({ "pre-presence/full", "pre-presence/bare", "pre-presence/host" }) do
	module:hook(event, presences.on_probe, priority.leaves);
end

-- The order matters, because an account goes step by step:
--   1000  nothing counts the account as existing any more;
--    400  pushes tell that its roster is gone, while it can still be read (mod_roster cancels its subscriptions at 300);
--    200  its sessions close, ours when mod_c2s closes the others: the answer to the request that deletes it still leaves;
--      0  its requests in flight are given up, and an entity that was this account is warned about;
--  -1000  its roster leaves the server's cache, where mod_roster has put it.
module:hook_global("user-deleted", accounts.forget, priority.account_is_gone);
module:hook_global("user-deleted", accounts.close_acting, priority.sessions_close);
module:hook_global("user-deleted", unclaimed.on_user_deleted);
module:hook_global("user-deleted", accounts.drop_roster, priority.after_all);
-- A disabled account keeps its roster.
module:hook_global("user-disabled", accounts.forget, priority.account_is_gone);
module:hook_global("user-disabled", accounts.close_acting, priority.sessions_close);

module:hook_global("host-activated", unclaimed.on_host_activated);
-- Before read_configuration, which saves the sets that wait: that has to ask the storage that is there now.
module:hook_global("config-reloaded", rosters.on_config_reloaded, priority.first_of_ours);
