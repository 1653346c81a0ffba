-- Asking contacts for their presence in the name of an account (P3, P5, P6).

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local is_contact_subscribed = require "core.rostermanager".is_contact_subscribed;
local with_attributes = module:require "stanzas".with_attributes;

local hosts = prosody.hosts;

local function ignore()
	return true;
end

-- Returns where a contact's presence is to be had: "here", from an account of this server; "elsewhere", by a probe that
-- leaves this server or goes to a component; "nowhere". Then its node and its host, where it is "here".
local function place_of(contact)
	local node, domain = jid_split(contact);
	local contact_host = hosts[domain];
	local component = contact_host and contact_host.modules and contact_host.modules.component;
	if contact_host and contact_host.type == "local" then
		return node and "here" or "nowhere", node, contact_host;
	elseif component and not component.session then
		return "nowhere";
	end
	return "elsewhere";
end

-- `turns` and `worker` are those of the host. `is_there` returns whether an account exists, and may wait. `show` and `settle`
-- are those of catch_up.lib.lua.
return function (core, accounts, turns, worker, probe_id, is_there, show, settle)
	local probe_rate = 1; -- probes in a second

	-- The probe that is being sent right now, and what has become of it.
	local question;

	-- Handles a presence for an account; returns whether it answers the probe that is being sent. A contact on this server
	-- answers before the sending is through. What it lets the account see is for the entities alone, since clients of the
	-- account have it already.
	local function take_answer(stanza)
		if question and question.answers and stanza.attr.to == question.account
		and jid_bare(stanza.attr.from) == question.contact and coroutine.running() == question.thread then
			-- The server takes the address away again.
			question.answers[#question.answers + 1] = with_attributes(stanza, {});
			return true;
		end
		return false;
	end

	-- Handles the event of a presence that leaves.
	local function on_probe(event)
		if question and event.stanza.attr.id == probe_id and event.stanza.attr.to == question.contact then
			question.has_left = true;
		end
	end

	-- Sends a probe in the name of an account, the way a client of it would.
	local function probe(account, username, contact, answers)
		question = { account = account, contact = contact, answers = answers, thread = coroutine.running() };
		local asked = question;
		accounts.post_as(username, account, st.presence({ type = "probe", to = contact, id = probe_id }), ignore);
		question = nil;
		return asked;
	end

	-- A contact counts as asked where there was something to tell, or the probe really left. Otherwise the next account
	-- that shares the contact asks.
	local function ask_here(username, account, contact, node, contact_host, viewers)
		local user = contact_host.sessions and contact_host.sessions[node];
		local presences = settle("contact", username, contact, user, viewers);
		if not presences[1] then
			core:asked(contact, viewers);
		elseif is_contact_subscribed(node, contact_host.host, account) then
			local answers = probe(account, username, contact, {}).answers;
			for _, answer in ipairs(answers) do
				show("contact", username, answer, viewers);
			end
			if answers[1] then
				core:asked(contact, viewers);
			end
		end
	end

	local function ask_elsewhere(username, account, contact, viewers)
		worker.pause_for_probe();
		-- Meanwhile the account may have gone, or another one may have asked.
		viewers = is_there(username) and core:askers(username, contact, viewers);
		if not viewers then
			turns.end_probe();
			return;
		end
		settle("contact", username, contact, nil, viewers);
		local has_left = probe(account, username, contact).has_left;
		turns.end_probe(has_left and probe_rate);
		if has_left then
			core:asked(contact, viewers);
		end
	end

	-- Asks a contact for the viewers that need it. Unless `wanted` is "all", contacts in any other place are left out.
	local function ask(username, account, contact, wanted, viewers)
		local place, node, contact_host = place_of(contact);
		if wanted ~= "all" and place ~= wanted then
			return;
		elseif place == "elsewhere" then
			ask_elsewhere(username, account, contact, viewers);
			return;
		end
		viewers = core:askers(username, contact, viewers);
		if not viewers then
			return;
		elseif place == "here" then
			ask_here(username, account, contact, node, contact_host, viewers);
		else
			settle("contact", username, contact, nil, viewers);
		end
	end

	-- Tells those viewers that believe something else of a contact, without asking it.
	local function settle_contact(username, contact, viewers)
		local place, node, contact_host = place_of(contact);
		settle("contact", username, contact, place == "here" and contact_host.sessions[node] or nil, viewers);
	end

	return {
		ask = ask;
		settle_contact = settle_contact;
		take_answer = take_answer;
		on_probe = on_probe;
		configure = function (rate)
			probe_rate = rate;
		end;
		-- After a failure: no probe is being sent.
		reset = function ()
			question = nil;
		end;
	};
end;
