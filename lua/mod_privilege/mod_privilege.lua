-- XEP-0356: Privileged Entity
--
-- This file hooks the server's events, and acts on permits and denials. The native core alone decides what is allowed.
-- The *.lib.lua files beside this one know how the server does things.

-- A Component section may name this module, as the community module needs it. The granting host does all there is to do.
if module.host == "*" or module:get_host_type() ~= "local" then
	return;
end

local jid_prep = require "util.jid".prep;
local nodeprep = require "util.encodings".stringprep.nodeprep;
local new_random_id = require "util.id".medium;
local configmanager = require "core.configmanager";

local hosts, getconfig, rawget = prosody.hosts, configmanager.getconfig, rawget;

-- Whether a domain is one of this server, active or to be. The table of the configuration answers for any host, unless raw.
local function serves(domain)
	return hosts[domain] ~= nil or rawget(getconfig(), domain) ~= nil;
end

local saved_state = module:require "saved_state";
local saved = saved_state.read(module.saved_state);
local id_prefix = saved.id_prefix or "privileged-"..new_random_id().."-";
-- Handlers that an earlier instance left behind reach the present one through this table.
local relay = saved.relay or {};

local native = module:require "native";
-- The core keeps these functions for its lifetime. They must not refer to this module's environment, or a reload would
-- leak both.
local core = native.open({ host = module.host, id_prefix = id_prefix, jid_prep = jid_prep, nodeprep = nodeprep, serves = serves });
if saved.core then
	core:restore(saved.core);
end
relay.core = core;

local parts = module:require "parts"(core, native, {
	id_prefix = id_prefix, relay = relay, serves = serves, connections = saved.connections or {};
});
local accounts, messages, iqs, rosters, pushes = parts.accounts, parts.messages, parts.iqs, parts.rosters, parts.pushes;
local presences, connections, entity_hosts = parts.presences, parts.connections, parts.entity_hosts;
local blocklists, user_command, unclaimed = parts.blocklists, parts.user_command, parts.unclaimed;

--- Life cycle

function module.save()
	rosters.flush();
	local state = core:save();
	return saved_state.write({
		id_prefix = id_prefix, relay = relay, core = state;
		connections = connections.save(state.connections, presences.is_pending);
	});
end

function module.unload()
	rosters.flush();
	for name in pairs(relay) do
		relay[name] = nil;
	end
	if not module.reloading then
		parts.delivery.send(core:stop());
	end
	parts.stop();
end

--- Everything that the server tells us, and who handles it
--
-- Handlers of one event run by priority, the highest first, together with those of the server and of other modules. Two
-- handlers with the same priority run in no certain order. So where the order matters, the priority has a name.

local priority = {
	before_all = 10000; -- before every handler that may change a roster or send something
	before_adhoc = 600; -- mod_adhoc runs commands at 500
	before_blocklist = 150; -- mod_blocklist answers a blocked sender at 100
	account_is_gone = 1000; -- from here on it is not an account any more
	roster_is_there = 400; -- mod_roster cancels the subscriptions of an account that is deleted at 300
	sessions_close = 200; -- when mod_c2s closes the sessions of an account
	before_server = 10; -- before the server's own handlers of the same stanza, which have 0 and end the event
	before_bounce = 1; -- before the server keeps a message for later, and stream management sends an error
	before_configuration = 1; -- before our own handler, which has 0
	before_presence = 0.5; -- before the server's handler of presence, and after others that may stop it
	after_all = -1000; -- after everything that the server does with an event
	leaves = -1e6; -- after everything that may stop a stanza on its way out
};

-- Roster sets that wait are dealt with before any other stanza of this host: nobody sees the order of things change. The
-- server's own handlers of some of these stanzas change rosters.
for _, event in ipairs({ "pre-stanza", "iq/host", "iq/bare", "iq/full", "message/host", "message/bare", "message/full",
	"presence/host", "presence/bare", "presence/full" }) do
	module:hook(event, rosters.flush_first, priority.before_all);
end

module:hook("message/host", messages.handle, priority.before_server);

-- A privileged IQ is for a bare JID. On the entity's own, on a full JID and on the host the core refuses it (Q1).
for _, kind in ipairs({ "get", "set" }) do
	for _, place in ipairs({ "bare", "self", "host" }) do
		module:hook(("iq-%s/%s/urn:xmpp:privilege:2:privileged_iq"):format(kind, place), iqs.handle);
	end
end
module:hook("iq/full", iqs.handle_full, priority.before_server);
module:hook("iq/bare", iqs.routed_answer, priority.before_server);

module:hook("iq-get/bare/jabber:iq:roster:query", rosters.handle_get);
module:hook("iq-set/bare/jabber:iq:roster:query", rosters.handle_set);
-- mod_roster does not save the roster of an account that is offline.
module:hook("iq/self/jabber:iq:roster:query", parts.handle_own_set, priority.before_server);

-- The blocklists of accounts. The wrappers see the stored list before and after a change of it.
for _, action in ipairs({ "block", "unblock" }) do
	module:wrap_event("iq-set/self/urn:xmpp:blocking:"..action, blocklists.around_change);
end
module:hook("iq/bare", parts.answer_blocked_entity, priority.before_blocklist);
module:hook("iq/full", parts.answer_blocked_entity, priority.before_blocklist);
module:hook("iq-set/host/http://jabber.org/protocol/commands:command", user_command.guard, priority.before_adhoc);
for _, event in ipairs({ "module-loaded", "module-unloaded" }) do
	module:hook(event, parts.module_changed);
end

module:hook("store-opened", pushes.store_opened, priority.after_all); -- around the stores of others

for _, event in ipairs({ "presence/bare", "presence/full" }) do
	module:hook(event, presences.on_presence, priority.before_presence);
end
-- A probe that gets here really leaves. A blocklist, for one, would have stopped it before.
for _, event in ipairs({ "pre-presence/full", "pre-presence/bare", "pre-presence/host" }) do
	module:hook(event, presences.on_probe, priority.leaves);
end

-- An account is deleted step by step:
--   1000  nothing counts the account as existing any more;
--    400  its roster can still be read: entities are told that its contacts are gone;
--    200  its sessions close, and those that we act with. Their order does not matter;
--      0  its requests in flight are given up, and the log warns of an entity that was this account;
--  -1000  its roster leaves the server's cache, where mod_roster has put it.
module:hook_global("user-deleted", accounts.forget, priority.account_is_gone);
module:hook_global("user-deleted", pushes.account_gone, priority.roster_is_there);
module:hook_global("user-deleted", accounts.close_acting, priority.sessions_close);
module:hook_global("user-deleted", iqs.account_gone);
module:hook_global("user-deleted", blocklists.account_gone);
module:hook_global("user-deleted", unclaimed.on_user_deleted);
module:hook_global("user-deleted", accounts.drop_roster, priority.after_all);
-- A disabled account keeps its roster.
module:hook_global("user-disabled", accounts.forget, priority.account_is_gone);
module:hook_global("user-disabled", accounts.close_acting, priority.sessions_close);
module:hook_global("user-disabled", iqs.account_gone);
module:hook_global("user-disabled", blocklists.account_gone);

-- Entities come and go, each on the host that it is on.
entity_hosts.follow({
	["component-authenticated"] = connections.component_came;
	["component-disconnected"] = connections.component_left;
	["presence/initial"] = connections.client_present;
	["resource-bind"] = connections.client_came;
	["resource-unbind"] = connections.client_left;
	["delivery/failure"] = connections.delivery_failed;
}, {
	["delivery/failure"] = priority.before_bounce;
});
module:hook_global("host-activated", entity_hosts.activated);
module:hook_global("host-activated", unclaimed.on_host_activated);
module:hook_global("host-deactivated", entity_hosts.deactivated);

-- The sets that wait are saved when the configuration is read. They need the storage that is there now.
module:hook_global("config-reloaded", rosters.on_config_reloaded, priority.before_configuration);
module:hook_global("config-reloaded", parts.read_configuration);
blocklists.look();
parts.read_configuration();
iqs.go_on();
