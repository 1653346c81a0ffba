-- The core's handling of addresses against the server's own.
--
-- The server's `util.jid.prep` and `nodeprep` are the normalisers of record. A few thousand made-up
-- addresses go through the three places where the core reads one from a stanza, and through the
-- configuration. What the server accepts is never refused for its spelling; what is judged is what the
-- server makes of it, to the byte; what the server refuses is refused.
--
-- The seed is fixed: a failure names its input and comes back on the next run. Set PRIVILEGE_SEED for
-- other inputs, PRIVILEGE_INPUTS for more of them.

local st = require "util.stanza";
local jid = require "util.jid";
local nodeprep = require "util.encodings".stringprep.nodeprep;
local native = require "privilege_native";

local seed = tonumber(os.getenv("PRIVILEGE_SEED")) or 356;
local count = tonumber(os.getenv("PRIVILEGE_INPUTS")) or 6000;

local host = "capulet.lit";
local entity = "pubsub.capulet.lit";
local account = "juliet@capulet.lit";

local function utf8_of(...)
	local chars = {};
	for i, code in ipairs({ ... }) do
		chars[i] = utf8.char(code);
	end
	return chars;
end

-- The parts of addresses. Each list is one kind of trouble.
local pieces = {
	plain = { "juliet", "a", "z9", "capulet", "lit", "0", "nurse" };
	joints = { ".", "-", "_", "--", "..", ".-", "-." };
	upper = { "JULIET", "A", "CAPULET", "Lit", "İ", "ẞ", "Σ", "Ǆ" };
	scripts = { "ромео", "朱丽叶", "ジュリエット", "줄리엣", "יוליה", "جولييت", "जूलियट", "จูเลียต", "ιουλιετα", "ġuljetta" };
	emoji = { "🌹", "👩‍❤️‍👨", "🇮🇹", "☠" };
	wide = { "ｊｕｌｉｅｔ", "Ｊ", "＠", "／", "．", "。", "％" };
	invisible = utf8_of(0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x34F, 0x202E, 0x3000, 0xA0);
	combining = utf8_of(0x301, 0x308, 0x327, 0x345, 0x1DC0);
	composed = { "é", "e\u{301}", "ﬁ", "ß", "ǆ", "Ⅷ", "℡", "㎏", "½", "ª", "ﷺ", "Å", "Å" };
	odd = { "%", "+", "!", "#", "?", "*", "(", ")", "=", "~", "$", "\\20", "\\", "|", ";", "," };
	refused = { " ", "\"", "&", "'", "<", ">", ":", "\t", "\n", "\127", "\u{fffd}", "\u{e000}", "\u{fdd0}", "\u{80}" };
	unassigned = utf8_of(0x221, 0x378, 0x1F9FF, 0x31350, 0x10A00, 0x61D);
	broken = { "\255", "\xC3", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\xAF" };
	ace = { "xn--bcher-kva", "xn--", "XN--A", "xn--0" };
	divider = { "@", "/", "@@", "//", "@/" };
	long = { ("a"):rep(63), ("a"):rep(64), ("b"):rep(255), ("c"):rep(256), ("é"):rep(60), ("d"):rep(1023), ("d"):rep(1024) };
};
local kinds = {};
for kind in pairs(pieces) do
	kinds[#kinds + 1] = kind;
end
table.sort(kinds);

local random = math.random;

local function pick(list)
	return list[random(#list)];
end

-- A part of an address: mostly harmless, with trouble of one or two kinds in it.
local function part()
	local trouble, other = pick(kinds), pick(kinds);
	local made = {};
	for i = 1, random(1, 4) do
		local dice = random(10);
		made[i] = pick(dice <= 4 and pieces.plain or dice <= 6 and pieces.joints or dice <= 9 and pieces[trouble] or pieces[other]);
	end
	return table.concat(made);
end

-- The host in one of the spellings that may be accepted for it, or nearly.
local function spelled_host()
	local dice = random(12);
	if dice <= 5 then
		return host;
	elseif dice == 6 then
		return "Capulet.LIT";
	elseif dice == 7 then
		return host..".";
	elseif dice == 8 then
		return "ｃａｐｕｌｅｔ.lit";
	elseif dice == 9 then
		local at = random(#host);
		return host:sub(1, at)..pick(pieces.invisible)..host:sub(at + 1);
	elseif dice == 10 then
		local at = random(#host);
		return host:sub(1, at)..pick(pieces.combining)..host:sub(at + 1);
	elseif dice == 11 then
		return "capulet"..pick({ ".", "．", "。", "｡" }).."lit";
	end
	return pick({ host.."..", "."..host, "-"..host, host.."-", "x."..host, host..".x", host..":5269", " "..host, "CAPULET。LIT." });
end

local function plain_part()
	local made = {};
	for i = 1, random(1, 12) do
		-- Everything that the short cut for plain addresses looks at, in any order.
		made[i] = pick({ "a", "z", "0", "9", "-", "_", ".", "@", "A", "m" });
	end
	return table.concat(made);
end

local function made_up()
	local dice = random(10);
	local address;
	if dice <= 4 then
		address = part().."@"..spelled_host();
	elseif dice == 5 then
		address = plain_part().."@"..spelled_host();
	elseif dice == 6 then
		address = plain_part();
	elseif dice == 7 then
		address = spelled_host();
	elseif dice == 8 then
		address = part().."@"..part();
	else
		address = part();
	end
	if random(6) == 1 then
		address = address.."/"..part();
	end
	return address;
end

local function inputs()
	math.randomseed(seed);
	local list, seen = {
		"", "@", "/", ".", "..", "@.", "a@.", "a@..", "@capulet.lit", "juliet@", "juliet@capulet.lit/", "juliet@capulet.lit./x",
		"/x", "a@b@c", "a/b@c/d", "juliet@capulet.lit/a@b/c", "user%old@capulet.lit", "JULIET@CAPULET.LIT", "capulet.lit", "capulet.lit/x",
		"\0", "a\0b@capulet.lit", "capulet.lit\0", "a@\u{ad}", "\u{ad}@capulet.lit", "capulet.lit/\u{ad}", "a@x＠capulet.lit",
		"x＠capulet.lit", "a@capulet.lit／x", "capulet.lit／x", "-@capulet.lit", "a-@capulet.lit", "a_b@c_d.lit", "1.2.3.4", "a@1", "a@-",
		"a@a-.b", "a@a-b.c", "a@"..("a."):rep(126).."bcd", "a@"..("a."):rep(127).."bc", ("a"):rep(127).."@"..("b"):rep(63)..".lit",
		("a"):rep(253), ("a"):rep(63).."@"..("b"):rep(63), ("ab."):rep(400).."c",
	}, {};
	for _, address in ipairs(list) do
		seen[address] = true;
	end
	while #list < count do
		local address = made_up();
		if not seen[address] then
			seen[address], list[#list + 1] = true, address;
		end
	end
	return list;
end

-- Returns the server's reading of an address: the JID, or nil. An address whose parts vanish or change places
-- while they are normalised, such as one of nothing but a soft hyphen, is not one by its own rules.
local function prepped(raw)
	local made = jid.prep(raw);
	local node, domain, resource = jid.split(made);
	if domain and jid.join(node, domain, resource) == made then
		return made, node, domain, resource;
	end
end

local function open()
	return native.open({ host = host, id_prefix = "t-", jid_prep = jid.prep, nodeprep = nodeprep, serves = function () return true; end });
end

local core = open();
core:configure({ entities = { [entity] = { roster = "both", message = "outgoing", iq = { ["urn:x"] = "both" } } } });

local origin = { type = "component", host = entity };

-- Addresses go in from behind: util.stanza itself refuses some of them, and that is not what is asked.
local function judge_message(from, to)
	local stanza = st.message({ from = entity, to = host })
		:tag("privilege", { xmlns = "urn:xmpp:privilege:2" })
			:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
				:tag("message", { xmlns = "jabber:client" }):reset();
	local inner = stanza.tags[1].tags[1].tags[1].attr;
	inner.from, inner.to = from, to;
	return core:message(origin, stanza);
end

local function judge_iq(from, to)
	local stanza = st.iq({ type = "get", from = entity, to = account, id = "o" })
		:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
			:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" })
				:tag("query", { xmlns = "urn:x" }):reset();
	local inner = stanza.tags[1].tags[1].attr;
	inner.from, inner.to = from, to;
	return core:iq(origin, stanza, 1);
end

local function plan(item_jid)
	local stanza = st.iq({ type = "set", from = entity, to = account, id = "o" })
		:tag("query", { xmlns = "jabber:iq:roster" }):tag("item"):reset();
	stanza.tags[1].tags[1].attr.jid = item_jid;
	return core:plan_roster_set(account, stanza, {});
end

local function shown(raw)
	return ("input %q (seed %d)"):format(raw, seed);
end

describe("an address made up of anything", function ()
	local list = inputs();

	it("as the recipient of a message leaves as the server writes it, or is refused with the server", function ()
		local accepted, changed = 0, 0;
		for _, raw in ipairs(list) do
			local permit, denial = judge_message(account, raw);
			local expected = prepped(raw);
			if expected then
				accepted, changed = accepted + 1, changed + (expected ~= raw and 1 or 0);
				assert.is_table(permit, shown(raw));
				assert.equal(account, permit.account, shown(raw));
				assert.equal(expected, permit.to, shown(raw));
			else
				assert.is_nil(permit, shown(raw));
				assert.equal("modify jid-malformed", denial.type.." "..denial.condition, shown(raw));
			end
		end
		-- Neither side of the comparison may be idle.
		assert.is_true(accepted > #list / 4 and accepted < #list * 9 / 10, ("%d of %d accepted"):format(accepted, #list));
		assert.is_true(changed > #list / 10, ("%d of %d changed"):format(changed, #list));
	end);

	it("as the recipient of an IQ likewise", function ()
		for _, raw in ipairs(list) do
			local permit, denial = judge_iq(nil, raw);
			local expected = prepped(raw);
			if expected then
				assert.is_table(permit, shown(raw));
				assert.equal(account, permit.account, shown(raw));
				assert.equal(expected, permit.to, shown(raw));
				core:decline("iq", permit, "failed"); -- so that not too many are in flight
			else
				assert.is_nil(permit, shown(raw));
				assert.equal("modify jid-malformed", denial.type.." "..denial.condition, shown(raw));
			end
		end
	end);

	it("as the sender of a message is judged as the server reads it", function ()
		local accepted, changed = 0, 0;
		for _, raw in ipairs(list) do
			local permit, denial = judge_message(raw, "romeo@montague.lit");
			local expected, node, domain, resource = prepped(raw);
			if expected and domain == host and not resource then
				accepted, changed = accepted + 1, changed + (expected ~= raw and 1 or 0);
				assert.is_table(permit, shown(raw));
				assert.equal(expected, permit.account, shown(raw));
				assert.equal(node, permit.username, shown(raw));
			else
				assert.is_nil(permit, shown(raw));
				assert.equal("auth forbidden", denial.type.." "..denial.condition, shown(raw));
			end
		end
		assert.is_true(accepted > #list / 10, ("%d of %d accepted"):format(accepted, #list));
		assert.is_true(changed > #list / 20, ("%d of %d changed"):format(changed, #list));
	end);

	it("as the sender of an IQ is the outer recipient or nobody", function ()
		for _, raw in ipairs(list) do
			assert.equal(prepped(raw) == account, judge_iq(raw, "romeo@montague.lit") ~= nil, shown(raw));
		end
		for _, raw in ipairs({ "JULIET@capulet.lit", "juliet@capulet.lit.", "ｊuliet@Capulet.lit", "jul\u{ad}iet@capulet.lit" }) do
			assert.is_table((judge_iq(raw, "romeo@montague.lit")), shown(raw));
		end
	end);

	it("as a contact is stored as the server would store it", function ()
		local accepted = 0;
		for _, raw in ipairs(list) do
			local changes, denial = plan(raw);
			local expected, _, _, resource = prepped(raw);
			if expected and not resource and expected ~= account then
				accepted = accepted + 1;
				assert.is_table(changes, shown(raw));
				assert.equal(1, #changes, shown(raw));
				assert.equal(expected, changes[1].jid, shown(raw));
			else
				local wanted = expected == account and "cancel not-allowed" or resource and "modify bad-request" or "modify jid-malformed";
				assert.is_nil(changes, shown(raw));
				assert.equal(wanted, denial.type.." "..denial.condition, shown(raw));
			end
		end
		assert.is_true(accepted > #list / 4, ("%d of %d accepted"):format(accepted, #list));
	end);

	it("as a username in the configuration is the account that nodeprep makes of it", function ()
		local configured = open();
		local accepted = 0;
		for index, raw in ipairs(list) do
			-- Each costs a whole configuration.
			if index % 3 == 0 then
				raw = raw:match("^[^@]*");
				local expected = nodeprep(raw);
				if expected == "" or expected and expected:find("[@/]") then
					expected = nil;
				end
				local problems = configured:configure({ entities = { [entity] = { roster = "set", accounts = { raw } } } }).problems;
				if expected then
					accepted = accepted + 1;
					assert.same({}, problems, shown(raw));
					assert.is_true(configured:may_set_roster(entity, expected, "a@b"), shown(raw));
				else
					assert.equal(1, #problems, shown(raw));
				end
				assert.is_false(configured:may_set_roster(entity, "", "a@b"), shown(raw));
				assert.equal(expected == "juliet", configured:may_set_roster(entity, "juliet", "a@b"), shown(raw));
			end
		end
		assert.is_true(accepted > #list / 12, ("%d accepted"):format(accepted));
	end);
end);
