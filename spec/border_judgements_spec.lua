-- The border between Lua and the native library: permits, denials, and what becomes of privileged IQs.

local st = require "util.stanza";
local xml_parse = require "util.xml".parse;
local border = require "border";

local open, granting, everything = border.open, border.granting, border.everything;
local privileged_message, privileged_iq = border.privileged_message, border.privileged_iq;
local roster_get, roster_set = border.roster_get, border.roster_set;
local is_denial, said_by = border.is_denial, border.said_by;
local host, entity, account, origin = border.host, border.entity, border.account, border.origin;

-- Enters a privileged IQ, and returns the id that it leaves under.
local function send_iq(core, now, inner_id)
	local stanza = privileged_iq();
	stanza.tags[1].tags[1].attr.id = inner_id or "i";
	return assert(core:iq(origin, stanza, now or 1)).id;
end

-- Checks that an outbox is one error of a privileged IQ, to the entity, and returns what it says.
local function only_error_in(outbox)
	assert.equal(1, #outbox);
	local text = outbox[1].text;
	assert.same({ to = entity, text = text }, outbox[1]);
	local iq = xml_parse(text);
	assert.same({ "iq", "error", entity, account, "o" }, { iq.name, iq.attr.type, iq.attr.to, iq.attr.from, iq.attr.id });
	local kind, condition, said = iq:get_error();
	assert.is_string(said);
	return kind.." "..condition;
end

describe("a session that acts for an account", function ()
	it("has no privilege of its own, also one that an earlier version has made (M6)", function ()
		local core = open({ [account] = { message = "outgoing" } });
		local stanza = privileged_message();
		stanza.attr.from = account.."/balcony";
		local function session(fields, metatable)
			fields.type, fields.host, fields.username = "c2s", host, "juliet";
			return setmetatable(fields, metatable);
		end
		assert.is_table((core:message(session({}), stanza)));
		assert.is_table((core:message(session({}, {}), stanza)));
		for _, acting in ipairs({
			session({ privileged_acting = true }), session({ privileged_acting = false }), session({}, { privileged_acting = true });
			session({ privileged_acting = 1 }, { privileged_acting = true });
		}) do
			assert.equal("auth forbidden", is_denial(core:message(acting, stanza)));
		end
	end);
end);

describe("a denial", function ()
	it("is one table, for every judgement", function ()
		local core = open();
		assert.equal("auth forbidden", is_denial(core:message(origin, privileged_message())));
		assert.equal("auth forbidden", is_denial(core:iq(origin, privileged_iq(), 1)));
		assert.equal("auth forbidden", is_denial(core:roster(origin, roster_get())));
		assert.equal("modify bad-request", is_denial(core:plan_roster_set(account, roster_set(), {})));
		assert.equal("cancel not-allowed", is_denial(core:agree_roster_change(account, { jid = "a@b", subscription = "to" }, nil, false)));
		assert.equal("modify bad-request", is_denial(granting():message(origin, st.message({ from = entity, to = host }, "hello"))));
		core:configure({ entities = everything, iq_limit = 0 });
		assert.equal("wait resource-constraint", is_denial(core:iq(origin, privileged_iq(), 1)));
		assert.is_false(core:is_waiting());
	end);

	it("has four fields, which the server's own libraries take", function ()
		local _, denial = open():message({ type = "c2s", host = host, username = "juliet" }, privileged_message());
		local names = {};
		for name, value in pairs(denial) do
			assert.is_string(value);
			names[#names + 1] = name;
		end
		table.sort(names);
		assert.same({ "condition", "rule", "text", "type" }, names);
		local reply = xml_parse(tostring(st.error_reply(privileged_message(), denial)));
		assert.same({ "auth", "forbidden", denial.text }, { reply:get_error() });
	end);

	it("of a component has the answer as text, the same stanza that the server would make", function ()
		local core = open();
		for _, id in ipairs({ "o", "", "<'&\">", "Zoë" }) do
			for _, case in ipairs({
				{ "message", privileged_message() }, { "iq", privileged_iq(), 1 }, { "roster", roster_get() }, { "roster", roster_set({ jid = "a@b" }) },
			}) do
				local judge, stanza = case[1], case[2];
				stanza.attr.id = id;
				local _, denial = core[judge](core, origin, stanza, case[3]);
				local expected, answer = xml_parse(tostring(st.error_reply(stanza, denial))), xml_parse(denial.answer);
				assert.same({ expected.name, expected.attr, 1 }, { answer.name, answer.attr, #answer });
				assert.equal(tostring(expected.tags[1]), tostring(answer.tags[1]));
			end
		end
		local stanza = privileged_message();
		stanza.attr.id, stanza.attr.to = nil, nil;
		local _, denial = core:message(origin, stanza);
		assert.same({ type = "error", to = entity }, xml_parse(denial.answer).attr);
	end);

	it("is what a permit comes to where the server knows better", function ()
		local core = granting();
		local function permits()
			local found = {
				message = core:message(origin, privileged_message()), iq = core:iq(origin, privileged_iq(), 1);
				roster = core:roster(origin, roster_get());
			};
			found.iq.unless_administrator_of, found.message.unless_administrator_of = host, "*";
			return found;
		end
		for _, case in ipairs({
			{ "message", "unknown-account", "auth forbidden" }, { "iq", "unknown-account", "auth forbidden" },
			{ "roster", "unknown-account", "cancel item-not-found" },
			{ "message", "administrator", "auth forbidden" }, { "iq", "administrator", "auth forbidden" },
			{ "message", "failed", "wait internal-server-error" }, { "iq", "failed", "wait internal-server-error" },
			{ "roster", "failed", "wait internal-server-error" },
			{ "message", "lookup", "wait internal-server-error" }, { "iq", "lookup", "wait internal-server-error" },
			{ "roster", "lookup", "wait internal-server-error" },
			{ "iq", "unrelayable", "wait internal-server-error" },
			{ "roster", "unreadable", "wait internal-server-error" }, { "roster", "unsaved", "wait internal-server-error" },
		}) do
			assert.equal(case[3], (said_by(core:decline(case[1], permits()[case[1]], case[2]))), case[1].." "..case[2]);
		end
		-- What the account administers is said.
		assert.truthy(core:decline("iq", permits().iq, "administrator").text:find(host, 1, true));
	end);

	it("is not made of an unknown reason, or of what is not a permit", function ()
		local core = granting();
		local permit = core:iq(origin, privileged_iq(), 1);
		for _, wrong in ipairs({ "everything", "", "Failed" }) do
			assert.is_false(pcall(core.decline, core, "iq", permit, wrong));
		end
		for _, wrong in ipairs({ "presence", "", "IQ" }) do
			assert.is_false(pcall(core.decline, core, wrong, permit, "lookup"));
		end
		core:decline("iq", setmetatable({}, { __index = permit }), "lookup"); -- this is no permit, and has no id
		-- The IQ is still in flight.
		assert.is_true(border.takes_answer(core, permit.id));
	end);

	it("takes an IQ out of flight, and is the same where it has been answered already", function ()
		local core = granting();
		local permit = core:iq(origin, privileged_iq(), 1);
		assert.same({ true, true }, { core:is_waiting(), core:is_in_flight(permit) });
		assert.is_table(core:decline("iq", permit, "unknown-account"));
		assert.same({ false, false }, { core:is_waiting(), core:is_in_flight(permit) });
		assert.is_false(border.takes_answer(core, permit.id));

		permit = core:iq(origin, privileged_iq(), 1);
		assert.is_true(border.takes_answer(core, permit.id));
		assert.is_false(core:is_in_flight(permit));
		assert.equal("wait internal-server-error", (said_by(core:decline("iq", permit, "failed"))));
		assert.is_false(core:is_in_flight(core:message(origin, privileged_message())));
	end);
end);

describe("a permit", function ()
	it("hands back the very table that was judged, and changes nothing in it", function ()
		local core = granting();
		local message, iq = privileged_message(), privileged_iq();
		local message_before, iq_before = tostring(message), tostring(iq);

		local permit = core:message(origin, message);
		assert.equal(message.tags[1].tags[1].tags[1], permit.stanza);
		permit.stanza = nil;
		assert.same({ account = account, to = "romeo@montague.lit", username = "juliet" }, permit);

		permit = core:iq(origin, iq, 1);
		assert.equal(iq.tags[1].tags[1], permit.stanza);
		permit.stanza = nil;
		assert.same({ account = account, username = "juliet", id = "t-1" }, permit);

		assert.equal(message_before, tostring(message));
		assert.equal(iq_before, tostring(iq));
	end);

	it("names what the account must not administer", function ()
		local core = open({ [entity] = {
			message = "outgoing";
			iq = { ["http://jabber.org/protocol/commands"] = "both", ["jabber:iq:register"] = "both" };
		} });
		local message, iq = privileged_message(), privileged_iq();
		message.tags[1].tags[1].tags[1].attr.to = host.."/announce/online";
		assert.equal(host, core:message(origin, message).unless_administrator_of);
		message.tags[1].tags[1].tags[1].attr.to = account;
		assert.is_nil(core:message(origin, message).unless_administrator_of);
		local inner = iq.tags[1].tags[1];
		inner.attr.to = "montague.lit";
		inner.tags[1].attr.xmlns = "http://jabber.org/protocol/commands";
		assert.equal("montague.lit", core:iq(origin, iq, 1).unless_administrator_of);
		inner.tags[1].attr.xmlns = "jabber:iq:register";
		assert.is_nil(core:iq(origin, iq, 1).unless_administrator_of);
		iq.attr.type, inner.attr.type = "set", "set";
		assert.equal("*", core:iq(origin, iq, 1).unless_administrator_of);
	end);

	it("for a roster names the account, with and without a recipient", function ()
		local core = open({ ["bot@capulet.lit"] = { roster = "get" } });
		local bot = { type = "c2s", host = host, username = "bot" };
		local stanza = roster_get();
		stanza.attr.from = "bot@capulet.lit/x";
		assert.same({ account = account, username = "juliet" }, core:roster(bot, stanza));
		stanza.attr.to = nil;
		assert.same({ account = "bot@capulet.lit", username = "bot" }, core:roster(bot, stanza));
	end);
end);

describe("an answer to a privileged IQ", function ()
	it("comes with the wrapper around it, and comes once", function ()
		local core = granting();
		local id = send_iq(core);
		local answer = st.iq({ type = "result", id = id, from = account, to = account }):tag("query", { xmlns = "urn:x" }):reset();
		local reply = core:answer(id, account, account);
		assert.same({ to = entity, from = account, id = "o", inner_id = "i" }, reply);
		local iq = xml_parse(core:wrap(reply, answer, tostring(answer.tags[1]), ""));
		assert.same({ type = "result", id = "o", from = account, to = entity }, iq.attr);
		local inner = iq:get_child("privilege", "urn:xmpp:privilege:2"):get_child("forwarded", "urn:xmpp:forward:0"):get_child("iq", "jabber:client");
		assert.same({ "i", "result", account, account }, { inner.attr.id, inner.attr.type, inner.attr.from, inner.attr.to });
		assert.truthy(inner:get_child("query", "urn:x"));
		assert.is_nil(core:answer(id, account, account));
	end);

	it("has room for an error beside the wrapper", function ()
		local core = granting();
		-- An answer without an address is the account's own.
		local reply = core:answer(send_iq(core), nil, account);
		local answer = st.iq({ type = "error", id = "x", to = account, ["xml:lang"] = "it", ["urn:x\1mood"] = "<sad>" });
		local iq = xml_parse(core:wrap(reply, answer, "", "<error type='cancel'><gone xmlns='"
			.."urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"));
		local inner = iq.tags[1].tags[1].tags[1];
		assert.same({ xmlns = "jabber:client", type = "error", id = "i", from = account, to = account, ["xml:lang"] = "it",
			["urn:x\1mood"] = "<sad>" }, inner.attr);
		assert.same({ "error", "cancel", "gone" }, { iq.attr.type, (iq:get_error()), (select(2, iq:get_error())) });
	end);

	it("is nil for one that is forged, late, repeated, or of an id that is written otherwise", function ()
		local core = granting();
		local id = send_iq(core);
		for _, forged in ipairs({ "mallory@montague.lit", account.."/balcony", host, "" }) do
			assert.is_nil(core:answer(id, forged, account));
		end
		assert.is_nil(core:answer(id, account, "romeo@"..host));
		for _, other in ipairs({ "x-1", "t-", "t-01", "t-+1", "t- 1", "t-1 ", "T-1", "t-ffffffffffffffffffff", "" }) do
			assert.is_nil(core:answer(other, account, account));
		end
		assert.is_true(border.takes_answer(core, id));
	end);

	it("may be replaced by an error, where it cannot be relayed", function ()
		local core = granting();
		local frame = core:answer(send_iq(core), account, account);
		local text = core:unrelayable(frame);
		assert.equal("wait internal-server-error", only_error_in({ { to = frame.to, text = text } }));
	end);

	it("may hold bytes that are not UTF-8, which break no stream", function ()
		local core = granting();
		local answer = st.iq({ type = "error", id = "x", to = account });
		answer.attr["xml:lang"] = "\255"; -- which a module of the server may have put there
		local text = core:wrap(core:answer(send_iq(core), account, account), answer, "<x>\255</x>", "<error>\255</error>");
		assert.truthy(utf8.len(text));
		assert.equal("\u{fffd}", xml_parse(text).tags[1].tags[1].tags[1].tags[1]:get_text());
		assert.equal("a\u{fffd}&lt;", core:escaped("a\255<"));
	end);

	it("may have messages ahead of it", function ()
		local core = granting();
		local reply = core:ahead(account, entity);
		assert.same({ to = entity, from = account, id = reply.id }, reply);
		local message = xml_parse(core:wrap(reply, st.message(), nil, ""));
		assert.same({ "message", entity, account, nil }, { message.name, message.attr.to, message.attr.from, message.attr.type });
		assert.truthy(message:get_child("privilege", "urn:xmpp:privilege:2"):get_child("forwarded", "urn:xmpp:forward:0"));
		assert.equal(reply.id, message.attr.id);
		assert.not_equal(reply.id, core:ahead(account, entity).id);
		assert.truthy(message.attr.id:find("^t%-"));
	end);
end);

describe("a privileged IQ in flight", function ()
	it("is given up when its time is over, with an error to the entity", function ()
		local core = open(everything, { iq_timeout = 1 });
		local id = send_iq(core, 1);
		assert.is_nil(core:tick(1000));
		assert.equal("wait remote-server-timeout", only_error_in(core:tick(1001)));
		assert.is_nil(core:tick(5000));
		assert.is_false(core:is_waiting());
		assert.is_false(border.takes_answer(core, id));
	end);

	it("is given up when its account goes, and others are not", function ()
		local core = granting();
		local id = send_iq(core);
		assert.is_nil(core:account_gone("romeo@"..host));
		assert.is_true(core:is_waiting());
		assert.equal("cancel service-unavailable", only_error_in(core:account_gone(account)));
		assert.is_nil(core:account_gone(account));
		assert.is_false(border.takes_answer(core, id));
	end);

	it("is given up when its grant goes", function ()
		local core = granting();
		send_iq(core);
		assert.is_nil(core:configure({ entities = everything }).outbox);
		assert.is_true(core:is_waiting());
		local narrower = { [entity] = { iq = { ["urn:x"] = "both" }, except = { "juliet" } } };
		assert.equal("cancel service-unavailable", only_error_in(core:configure({ entities = narrower }).outbox));
		assert.is_false(core:is_waiting());
	end);

	it("is given up without a word when the address goes that it would be answered to", function ()
		for _, goes in ipairs({ "disconnected", "client_changed" }) do
			local core = granting();
			border.connect(core);
			local id = send_iq(core);
			core[goes](core, "stranger.lit");
			assert.is_true(core:is_waiting());
			assert.is_nil(core[goes](core, entity));
			assert.is_false(core:is_waiting());
			assert.is_false(border.takes_answer(core, id));
		end
	end);

	it("is given up when the host stops", function ()
		local core = granting();
		send_iq(core);
		assert.equal("cancel service-unavailable", only_error_in(core:stop()));
		assert.is_nil(core:stop());
		assert.is_false(core:is_waiting());
	end);

	it("counts against the limit of its entity until it is answered", function ()
		local core = open(everything, { iq_limit = 2 });
		local id = send_iq(core);
		send_iq(core);
		assert.equal("wait resource-constraint", is_denial(core:iq(origin, privileged_iq(), 1)));
		assert.is_true(border.takes_answer(core, id));
		assert.is_table((core:iq(origin, privileged_iq(), 1)));
	end);
end);

describe("an id of the library", function ()
	it("begins with the prefix, and is never given twice", function ()
		local core, seen = granting(), {};
		for _ = 1, 40 do
			for _, id in ipairs({ core:new_id("seen"), core:new_id("told"), core:new_id(""), send_iq(core) }) do
				assert.is_nil(seen[id], id);
				assert.equal("t-", id:sub(1, 2));
				seen[id] = true;
			end
		end
		-- None of them is that of an IQ in flight, but those of IQs.
		local answered = 0;
		for id in pairs(seen) do
			if border.takes_answer(core, id) then
				answered = answered + 1;
			end
		end
		assert.equal(40, answered);
	end);
end);
