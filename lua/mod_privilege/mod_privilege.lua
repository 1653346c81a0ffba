-- XEP-0356: Privileged Entity
--
-- This file hooks the server's events and acts on verdicts. What is allowed is decided by the native
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
local entities = module:require "entities"(core, saved.told);

-- Answers with the denial that the core came to: false, error type, condition, text, rule.
local function refuse(event, _, error_type, condition, text, rule)
	local origin, stanza = event.origin, event.stanza;
	module:log("debug", "Refused a %s from %s to %s by rule %s: %s", stanza.name, stanza.attr.from, stanza.attr.to, rule, text);
	origin.send(st.error_reply(stanza, error_type, condition, text));
	return true;
end

--- Messages

local function handle_message(event)
	local stanza = event.stanza;
	-- The cheap test, for the sake of everybody else's messages.
	local found = false;
	for _, tag in ipairs(stanza.tags) do
		if tag.name == "privilege" then
			found = true;
			break;
		end
	end
	if not found then
		return;
	end
	local judged, inner, from, to, username = core.judge_message(event.origin, stanza);
	if judged == nil then
		return;
	elseif stanza.attr.type == "error" then
		return true; -- the bounce of an advertisement, or nothing we answer (M6)
	elseif not judged then
		return refuse(event, judged, inner, from, to, username);
	elseif username and not accounts.exists(username) then
		return refuse(event, core.no_account("message"));
	end
	accounts.leave_out_client_namespace(inner);
	inner.attr.to = to;
	if username then
		accounts.post_as(username, from, inner, accounts.bounced);
	else
		accounts.post_as_host(inner);
	end
	return true;
end
module:hook("message/host", handle_message, 10);

--- IQs, rosters, presence

if saved.requests then
	core.import_requests(saved.requests);
end
local iqs = module:require "iqs"(core, accounts, entities, refuse, id_prefix);
local pushes = module:require "pushes"(core, entities, id_prefix);
local presences = module:require "presences"(core, native, accounts, entities, id_prefix);
local rosters = module:require "rosters"(core, accounts, pushes, refuse);

--- Configuration and life cycle

local function read_configuration()
	local problems, changed = core.configure(module:get_option("privileged_entities"));
	for _, problem in ipairs(problems) do
		module:log(problem.level, "%s", problem.text);
	end
	if #problems > 0 then
		module:set_status("warn", ("%d problem(s) in privileged_entities, see the log"):format(#problems), true);
	else
		module:set_status("info", ("%d privileged entities"):format(#core.entities()), true);
	end
	core.iq_limits(
		math.max(0, module:get_option_number("privilege_iq_limit", 10000)),
		math.max(0, module:get_option_number("privilege_iq_timeout", 120)) * 1000
	);
	presences.configure();
	entities.refresh(changed);
end

module:hook_global("config-reloaded", read_configuration);
read_configuration();

function module.save()
	rosters.flush();
	return { id_prefix = id_prefix, told = entities.save(presences.is_pending), requests = core.export_requests() };
end

function module.unload()
	rosters.flush();
	if not module.reloading then
		iqs.stop();
	end
	presences.stop();
	pushes.stop();
	entities.stop();
end
