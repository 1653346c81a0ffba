-- The border between Lua and the native library: connections of entities, advertisements, and presence.

local st = require "util.stanza";
local xml_parse = require "util.xml".parse;
local border = require "border";

local open, granting, everything, connect = border.open, border.granting, border.everything, border.connect;
local host, entity, account = border.host, border.entity, border.account;
local bot = "bot@"..host;

local presence = st.presence({ from = account.."/balcony" });
local of_romeo = st.presence({ from = "romeo@montague.lit/orchard", to = account });

-- The advertisement that is all of an outbox: access to what it holds of <perm/>, and the message.
local function advertised(outbox, address)
	assert.equal(1, #outbox);
	assert.equal(address or entity, outbox[1].to);
	local message = xml_parse(outbox[1].text);
	assert.same({ "message", host, address or entity }, { message.name, message.attr.from, message.attr.to });
	assert.equal(1, #message.tags);
	local perms = {};
	for perm in message:get_child("privilege", "urn:xmpp:privilege:2"):childtags("perm") do
		assert.is_nil(perms[perm.attr.access]);
		perms[perm.attr.access] = perm;
	end
	return perms, message;
end

-- Whether a set of perms grants anything.
local function grants_nothing(perms)
	for _, perm in pairs(perms) do
		if perm.attr.type and perm.attr.type ~= "none" then
			return false;
		end
		for _, namespace in ipairs(perm.tags) do
			if namespace.attr.type ~= "none" then
				return false;
			end
		end
	end
	return true;
end

-- Tells a presence to those who do not know it, and returns who that is.
local function tell(core, occasion, stanza, among)
	local news = core:viewers(occasion, "juliet", stanza, among);
	if not news then
		return nil;
	end
	assert.is_number(news.ticket);
	core:shown(news);
	return { table.unpack(news) };
end

describe("an advertisement", function ()
	it("is one stanza that the server's parser reads", function ()
		local core = open({ [entity] = {
			roster = "both"; message = "outgoing"; presence = "roster"; iq = { ["urn:'<&\">"] = "get", ["urn:x"] = "both" };
		} });
		local perms, message = advertised(connect(core).outbox);
		assert.is_nil(message.attr.xmlns);
		assert.truthy(message.attr.id:find("^t%-"));
		assert.same({ "both", "true" }, { perms.roster.attr.type, perms.roster.attr.push });
		assert.equal("outgoing", perms.message.attr.type);
		assert.equal("roster", perms.presence.attr.type);
		assert.is_nil(perms.iq.attr.type);
		local namespaces = {};
		for namespace in perms.iq:childtags("namespace") do
			namespaces[namespace.attr.ns] = namespace.attr.type;
		end
		assert.same({ ["urn:'<&\">"] = "get", ["urn:x"] = "both" }, namespaces);
	end);

	it("is not sent to somebody who is named nowhere", function ()
		local found = connect(granting(), "nobody.lit");
		assert.is_nil(found.outbox);
		assert.is_nil(found.task);
		assert.is_number(found.number);
		assert.is_userdata(found.memory);
	end);

	it("is sent again when something is new, and once", function ()
		local core = granting();
		connect(core);
		assert.is_nil(core:configure({ entities = everything }).outbox);
		local perms = advertised(core:configure({ entities = { [entity] = { message = "outgoing" } } }).outbox);
		assert.equal("outgoing", perms.message.attr.type);
		-- Nothing is left.
		assert.is_true(grants_nothing((advertised(core:configure({}).outbox))));
		assert.is_nil(core:configure({}).outbox);
	end);

	it("goes to every connection of an account, at its own address", function ()
		local core = open({ [bot] = { message = "outgoing" } });
		for _, address in ipairs({ bot.."/1", bot.."/<'&\">" }) do
			advertised(connect(core, address).outbox, address);
		end
		local outbox = core:configure({ entities = { [bot] = { roster = "get" } } }).outbox;
		assert.same({ bot.."/1", bot.."/<'&\">" }, { outbox[1].to, outbox[2].to });
		core:disconnected(bot.."/1");
		advertised(core:configure({}).outbox, bot.."/<'&\">");
	end);

	it("that cannot be written is nil, not broken", function ()
		for _, address in ipairs({ "\0", "\27", "\u{ffff}" }) do
			assert.is_nil(connect(open({ [bot] = { message = "outgoing" } }), bot.."/"..address).outbox);
		end
	end);

	it("is left out for a connection that was told the same before a reload", function ()
		local before, after = granting(), granting();
		connect(before);
		local saved = before:save().connections[entity];
		assert.is_string(saved.advertised);
		assert.is_nil(connect(after, nil, nil, saved).outbox);
		assert.is_table(connect(granting(), nil, nil, { advertised = saved.advertised.." " }).outbox);
		assert.is_table(connect(granting(), nil, nil, {}).outbox);
		-- It is told what has gone.
		local perms = advertised(connect(open(), nil, nil, saved).outbox);
		assert.is_true(grants_nothing(perms));
	end);
end);

describe("a connection", function ()
	it("has a number of its own, and an address as it stands in XML", function ()
		local core = open({ [bot] = { presence = "managed_entity" } });
		local one, other = connect(core, bot.."/1"), connect(core, bot.."/<'&\">");
		assert.not_equal(one.number, other.number);
		assert.equal(bot.."/1", one.written_address);
		local written = xml_parse(("<x a='%s'/>"):format(other.written_address));
		assert.equal(bot.."/<'&\">", written.attr.a);
		-- One that comes again is another one.
		assert.not_equal(one.number, connect(core, bot.."/1").number);
		core:disconnected(bot.."/1");
		core:disconnected(bot.."/1");
	end);

	it("is told presence where that is granted, and where it may see more", function ()
		local core = open({ [entity] = { message = "outgoing" } });
		local found = connect(core);
		assert.is_nil(found.task);
		local function tasks(grant)
			grant.message = "outgoing";
			return core:configure({ entities = { [entity] = grant } }).tasks;
		end
		assert.same({ { number = found.number, task = "tell" } }, tasks({ presence = "managed_entity" }));
		assert.same({}, tasks({ presence = "managed_entity" }));
		assert.same({ { number = found.number, task = "tell" } }, tasks({ presence = "roster", roster = "get" }));
		assert.same({ { number = found.number, task = "confirm" } }, tasks({ presence = "managed_entity" }));
		assert.same({ { number = found.number, task = "stop" } }, tasks({}));
		assert.same({}, tasks({}));
	end);

	it("that is kept over a reload is told presence only where it has to be", function ()
		local function task(earlier, grant)
			local before = granting();
			local found = connect(before);
			local saved = before:save().connections[entity];
			saved.is_pending, saved.is_noted = earlier.is_pending, true;
			return connect(open({ [entity] = grant or everything[entity] }), nil, not earlier.is_lost and found.memory or nil, saved).task;
		end
		assert.is_nil(task({}));
		assert.equal("tell", task({ is_pending = true }));
		assert.equal("tell", task({ is_pending = true, is_lost = true }));
		assert.is_nil(task({ is_lost = true }));
		assert.equal("confirm", task({}, { presence = "managed_entity" }));
		assert.is_nil(task({}, { message = "outgoing" }));
		assert.is_nil(task({ is_pending = true }, { message = "outgoing" }));
	end);

	it("sees no more once its host has stopped, and nothing is granted then", function ()
		local core = granting();
		connect(core);
		assert.is_table((core:viewers("account", "juliet", presence)));
		assert.is_table(core:pushes("juliet", "a@b", {}));
		core:stop();
		assert.is_nil((core:viewers("account", "juliet", presence)));
		assert.is_nil(core:pushes("juliet", "a@b", {}));
		assert.is_false(core:grants(entity));
		assert.equal("auth forbidden", border.is_denial(core:message(border.origin, border.privileged_message())));
	end);
end);

describe("a presence", function ()
	it("is told once to each who may see it, and again when it changes", function ()
		local core = open({ [entity] = everything[entity], [bot] = { presence = "managed_entity" } });
		local one, other = connect(core).number, connect(core, bot.."/1").number;
		assert.is_true(core:sees("account"));
		assert.is_true(core:sees("contact"));
		assert.same({ one, other }, tell(core, "account", presence));
		assert.is_nil(tell(core, "account", presence));
		assert.same({ one }, tell(core, "contact", of_romeo));
		assert.is_nil(tell(core, "contact", of_romeo));
		local away = st.clone(presence):text_tag("show", "away");
		assert.same({ other }, tell(core, "account", away, { other }));
		assert.same({ one }, tell(core, "account", away));
		core:disconnected(entity);
		assert.is_false(core:sees("contact"));
		assert.is_true(core:sees("account"));
		assert.same({ other }, tell(core, "account", presence));
	end);

	it("that was not shown is not known", function ()
		local core = granting();
		local number = connect(core).number;
		local news = core:viewers("account", "juliet", presence);
		assert.same({ number }, { table.unpack(news) });
		assert.same({ number }, { table.unpack(core:viewers("account", "juliet", presence)) });
		-- Unknown tickets and unknown viewers change nothing, and neither does anything else in their place.
		for _, wrong in ipairs({ { number, ticket = news.ticket + 100 }, { number + 100, ticket = news.ticket }, { number },
			{ number, ticket = "1" }, { ticket = -1 }, { "text", {}, 2^40, ticket = 99 } }) do
			core:shown(wrong);
		end
		assert.same({ number }, { table.unpack(core:viewers("account", "juliet", presence)) });
	end);

	it("is known to all hosts that share a memory, and to none that do not", function ()
		local one = granting();
		local other = border.native.open(border.options({ host = "verona.lit" }));
		other:configure({ entities = everything });
		local memory = connect(one).memory;
		local shared = connect(other, nil, memory);
		assert.equal(memory, shared.memory);
		assert.is_table(tell(one, "contact", of_romeo));
		-- The other host notes that it would have told it too.
		assert.same({}, tell(other, "contact", of_romeo));
		assert.is_nil(tell(other, "contact", of_romeo));
		connect(other);
		assert.is_table(tell(other, "contact", of_romeo));
	end);

	it("that somebody wrongly believes in is to be corrected, once", function ()
		local core = granting();
		local number = connect(core).number;
		tell(core, "contact", of_romeo);
		assert.same({ number }, core:lost("juliet", "romeo@montague.lit", {}));
		assert.is_nil(core:lost("juliet", "romeo@montague.lit", {}));
		-- It was told under a grant that is not in force any more.
		tell(core, "contact", of_romeo);
		assert.is_false(core:needs_round(number, false));
		core:configure({ entities = { [entity] = { presence = "roster", roster = "get", except = { "nurse" } } } });
		assert.is_true(core:needs_round(number, false));
		-- He is there.
		assert.is_nil(core:unfounded("contact", "juliet", "romeo@montague.lit", { of_romeo }));
		assert.is_nil(core:unfounded("contact", "juliet", "romeo@montague.lit", {}, { number + 1 }));
		assert.same({ number }, core:unfounded("contact", "juliet", "romeo@montague.lit", {}, { number }));
		assert.is_nil(core:unfounded("contact", "juliet", "romeo@montague.lit", {}));
		-- Somebody else is subscribed to him, on whose account he may be seen.
		tell(core, "contact", of_romeo);
		assert.is_nil(core:lost("juliet", "romeo@montague.lit", { "tybalt" }));
	end);

	it("that is seen still, after a grant has narrowed, is confirmed", function ()
		local core = granting();
		local number = connect(core).number;
		tell(core, "contact", of_romeo);
		tell(core, "account", presence);
		core:configure({ entities = { [entity] = { presence = "roster", roster = "get", except = { "nurse" } } } });
		core:confirm("juliet", { ["romeo@montague.lit"] = { subscription = "to" } }, { number });
		assert.is_nil(tell(core, "account", presence));
		assert.is_nil(tell(core, "contact", of_romeo));
		assert.is_false(core:needs_round(number, false));
	end);

	it("of contacts is asked for once, for each who may see it", function ()
		local core = granting();
		local number = connect(core).number;
		local roster = {
			[false] = { version = 1 }, ["romeo@montague.lit"] = { subscription = "to" }, ["nurse@verona.lit"] = { subscription = "both" };
			["paris@verona.lit"] = { subscription = "from" }, ["tybalt@verona.lit"] = {}, [7] = { subscription = "to" }, ["x@y"] = "text";
		};
		local contacts = core:contacts("juliet", roster, { number });
		table.sort(contacts);
		assert.same({ "nurse@verona.lit", "romeo@montague.lit" }, contacts);
		assert.same({ number }, core:askers("juliet", "romeo@montague.lit", { number, number + 1 }));
		core:asked("romeo@montague.lit", { number });
		assert.is_nil(core:askers("juliet", "romeo@montague.lit", { number }));
		assert.same({ "nurse@verona.lit" }, core:contacts("juliet", roster, { number }));
		assert.is_true(core:needs_round(number, true));
		core:all_asked(number);
		assert.equal(2, #core:contacts("juliet", roster, { number }));
		-- Somebody who is not connected has nothing to ask.
		assert.same({}, core:contacts("juliet", roster, { number + 1 }));
		assert.is_false(core:needs_round(number + 1, true));
	end);

	it("is read whatever its tables hold", function ()
		local core = granting();
		connect(core);
		for _, wrong in ipairs({ {}, { attr = 7 }, { attr = {} }, { attr = { from = 7 } }, { attr = { from = "" }, tags = 7, 7, true, print } }) do
			local news = core:viewers("account", "juliet", wrong);
			if news then
				core:shown(news);
			end
			core:unfounded("account", "juliet", account, { wrong, 7, "text" });
		end
	end);
end);
