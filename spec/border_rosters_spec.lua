-- The border between Lua and the native library: rosters, as the server keeps them and as entities get them.

local st = require "util.stanza";
local xml_parse = require "util.xml".parse;
local border = require "border";

local granting, open = border.granting, border.open;
local roster_get = border.roster_get;
local is_denial = border.is_denial;
local entity, account, host = border.entity, border.account, border.host;

-- Names that a writer of XML may get wrong.
local nasty = {
	"Romeo", "", " ", "  two  spaces  ", "<item/>", "</item>", "&amp;", "&", "'", '"', "]]>", "<![CDATA[", "&#0;", "'/><evil a='",
	"<!-- -->", "<?pi?>", "%s%n", "\\", "é", "e\u{301}", "朱丽叶", "🌹", "\u{202e}evil", "\u{feff}bom", "\u{fffd}", "\u{10ffff}",
	("x"):rep(70000), ("&"):rep(5000),
};

-- What parsing cannot tell apart, in a form that can be compared.
local function meaning(stanza)
	local items = {};
	local query = stanza.tags[1];
	for _, item in ipairs(query and query.tags or {}) do
		assert.equal("item", item.name);
		assert.equal("jabber:iq:roster", item.attr.xmlns);
		local groups = {};
		for _, group in ipairs(item.tags) do
			assert.equal("group", group.name);
			groups[#groups + 1] = group:get_text();
		end
		table.sort(groups);
		assert.is_nil(items[item.attr.jid]);
		items[item.attr.jid] = { attr = item.attr, groups = groups };
	end
	local attr = {};
	for name, value in pairs(stanza.attr) do
		attr[name] = value;
	end
	return { name = stanza.name, attr = attr, query = query and query.attr or false, items = items };
end

describe("the answer to a roster request", function ()
	-- mod_roster's way.
	local function built(request, roster)
		local reply = st.reply(request);
		reply:query("jabber:iq:roster");
		for contact, item in pairs(roster) do
			if contact then
				reply:tag("item", {
					jid = contact, subscription = item.subscription, ask = item.ask, name = item.name,
					approved = item.approved and "true" or nil,
				});
				for group in pairs(item.groups) do
					reply:text_tag("group", group);
				end
				reply:up();
			end
		end
		reply.tags[1].attr.ver = tostring(roster[false].version);
		return reply;
	end

	it("means what the server would build", function ()
		local core = granting();
		local roster = { [false] = { version = 12, pending = { ["paris@capulet.lit"] = true } } };
		local subscriptions = { "none", "to", "from", "both" };
		for i, name in ipairs(nasty) do
			roster[("%d@montague.lit"):format(i)] = {
				subscription = subscriptions[i % 4 + 1]; ask = i % 3 == 0 and "subscribe" or nil; name = i % 5 > 0 and name or nil;
				approved = i % 7 == 0 or nil; groups = { [name ~= "" and name or "g"] = true, ["group "..i % 3] = true };
				persist = { "private" };
			};
		end
		roster["&'<>\"@x"] = { subscription = "none", groups = {} };
		local request = roster_get();
		request.attr.id = "<&'\">";
		local expected = built(request, roster);
		local answer = core:roster_result(account, request, roster);
		assert.is_string(answer);
		assert.same(meaning(xml_parse(tostring(expected))), meaning(xml_parse(answer)));
		assert.not_matches("paris", answer);
		assert.not_matches("private", answer);
	end);

	it("keeps line breaks and tabs, which the server's own writer loses", function ()
		local core = granting();
		for _, name in ipairs({ "\n", "\t", "a\nb\tc\rd", "\r\n", " \n " }) do
			local answer = core:roster_result(account, roster_get(), { ["a@b"] = { subscription = "none", name = name, groups = { [name] = true } } });
			local item = xml_parse(answer).tags[1].tags[1];
			assert.equal(name, item.attr.name);
			assert.equal(name, item.tags[1]:get_text());
		end
	end);

	it("holds nothing that would break the stream", function ()
		local core = granting();
		for _, name in ipairs({ "\0", "a\0b", "\27[31m", "\8", "\u{fffe}", "\u{ffff}", "\255\254", "\xED\xA0\x80", "\xC0\xAF", "\x7f" }) do
			local answer = core:roster_result(account, roster_get(), {
				["a@b"] = { subscription = "none", name = name, groups = { [name] = true } };
				[name.."@b"] = { subscription = "none", groups = {} };
			});
			assert.truthy(utf8.len(answer), ("%q"):format(name));
			local parsed = assert(xml_parse(answer), ("%q"):format(name));
			assert.equal(2, #parsed.tags[1].tags);
		end
	end);

	it("leaves out what is no contact", function ()
		local core = granting();
		local answer = core:roster_result(account, roster_get(), {
			[false] = { version = 3 }, [true] = { subscription = "both" }, [7] = { subscription = "both" }, [{}] = { subscription = "both" },
			["a@b"] = "text", ["c@d"] = 7, ["e@f"] = true, ["g@h"] = { subscription = 7 }, ["i@j"] = {},
			["k@l"] = { subscription = "none", name = 7, ask = true, groups = "text" },
			["m@n"] = { subscription = "none", groups = { [7] = true, [{}] = true, good = true } },
		});
		local items = meaning(xml_parse(answer)).items;
		for contact in pairs({ ["a@b"] = 1, ["c@d"] = 1, ["e@f"] = 1, ["g@h"] = 1, ["i@j"] = 1 }) do
			assert.is_nil(items[contact], contact);
		end
		assert.same({}, items["k@l"].groups);
		assert.is_nil(items["k@l"].attr.name);
		assert.same({ "good" }, items["m@n"].groups);
	end);

	it("is addressed as the request says", function ()
		local answer = xml_parse(granting():roster_result(account, roster_get(), {}));
		assert.same({ type = "result", from = account, to = entity, id = "o" }, answer.attr);
	end);

	it("is empty for somebody who has that version", function ()
		local core = granting();
		local roster = { [false] = { version = 12 }, ["a@b"] = { subscription = "both", groups = {} } };
		assert.equal(0, #xml_parse(core:roster_result(account, roster_get("12"), roster)).tags);
		for _, ver in ipairs({ "", "11", "x" }) do
			assert.equal(1, #xml_parse(core:roster_result(account, roster_get(ver), roster)).tags[1].tags, ver);
		end
	end);

	it("and the plan of a set read each other's items", function ()
		local core = granting();
		local roster = {};
		for i, name in ipairs(nasty) do
			roster[i.."@montague.lit"] = {
				subscription = "both", name = name ~= "" and name or nil, groups = { [name ~= "" and name or "g"] = true },
			};
		end
		local answer = xml_parse(core:roster_result(account, roster_get(), roster));
		local set = st.iq({ type = "set", from = entity, to = account, id = "o" }):add_child(answer.tags[1]);
		assert.same({}, core:plan_roster_set(account, set, roster));
		local changes = core:plan_roster_set(account, set, {});
		local entered = {};
		for _, change in ipairs(changes) do
			local contact = change.jid;
			assert.is_true(change.gains_to);
			assert.is_true(change.settles_request);
			change.jid, change.gains_to, change.settles_request, entered[contact] = nil, nil, nil, change;
		end
		assert.same(roster, entered);
	end);
end);

describe("a roster push", function ()
	local function push(core, ...)
		local outbox = core:pushes(...);
		assert.equal(1, #outbox);
		assert.equal(entity, outbox[1].to);
		return xml_parse(outbox[1].text), outbox[1].text;
	end

	it("means what the server would build", function ()
		local core = granting();
		border.connect(core);
		local ids = {};
		for i, name in ipairs(nasty) do
			local item = { subscription = "to", name = name ~= "" and name or nil, groups = { [name ~= "" and name or "g"] = true },
				persist = { "private" } };
			local parsed, text = push(core, "juliet", i.."@x", item, i);
			assert.same({ "iq", "set", account, entity },
				{ parsed.name, parsed.attr.type, parsed.attr.from, parsed.attr.to });
			assert.is_nil(ids[parsed.attr.id]);
			ids[parsed.attr.id] = true;
			assert.truthy(parsed.attr.id:find("^t%-"));
			local found = meaning(parsed);
			assert.equal(tostring(i), found.query.ver);
			assert.same({
				attr = { xmlns = "jabber:iq:roster", jid = i.."@x", subscription = "to", name = item.name };
				groups = { name ~= "" and name or "g" };
			}, found.items[i.."@x"]);
			assert.not_matches("private", text);
		end
	end);

	it("of a contact that is gone says so, and has no version where the server keeps none", function ()
		local core = granting();
		border.connect(core);
		local gone = meaning((push(core, "juliet", "a@x", nil, nil)));
		assert.is_nil(gone.query.ver);
		assert.equal("remove", gone.items["a@x"].attr.subscription);
	end);

	it("goes to those who are connected, get pushes, and may see the account", function ()
		local bot = "bot@"..host;
		local core = open({
			[entity] = { roster = "both", accounts = { "juliet" } };
			["quiet."..host] = { roster = "both", roster_push = false };
			[bot] = { roster = "get", except = { "juliet" } };
		});
		assert.is_nil(core:pushes("juliet", "a@b", {}));
		assert.is_false(core:follow_roster("juliet"));
		for _, address in ipairs({ entity, "quiet."..host, bot.."/1", bot.."/2" }) do
			border.connect(core, address);
		end
		assert.is_true(core:follow_roster("juliet"));
		assert.equal(entity, core:pushes("juliet", "a@b", {})[1].to);
		assert.equal(1, #core:pushes("juliet", "a@b", {}));
		local outbox = core:pushes("romeo", "a@b", {});
		assert.same({ bot.."/1", bot.."/2" }, { outbox[1].to, outbox[2].to });
		core:disconnected(bot.."/1");
		assert.equal(bot.."/2", core:pushes("romeo", "a@b", {})[1].to);
	end);

	it("holds nothing that would break the stream", function ()
		local core = granting();
		border.connect(core);
		for _, name in ipairs({ "\0", "a\0b", "\27[31m", "\u{fffe}", "\255\254", "\xED\xA0\x80" }) do
			local _, text = push(core, "juliet", "a@b", { subscription = "none", name = name, groups = { [name] = true } }, 1);
			assert.truthy(utf8.len(text), ("%q"):format(name));
		end
	end);
end);

describe("the changes between two rosters", function ()
	it("are the contacts whose visible item differs", function ()
		local core = granting();
		local before = {
			[false] = { version = 1 }, pending = true, ["same@x"] = { subscription = "to", groups = { g = true } };
			["other@x"] = { subscription = "to", groups = {} }, ["gone@x"] = { subscription = "none" };
			["hidden@x"] = { subscription = "both", persist = false };
		};
		local after = {
			[false] = { version = 2 }, ["same@x"] = { subscription = "to", groups = { g = true }, private = 7 };
			["other@x"] = { subscription = "to", groups = { g = true } }, ["new@x"] = { subscription = "from" };
		};
		local changed = core:roster_changes(before, after);
		table.sort(changed);
		assert.same({ "gone@x", "new@x", "other@x" }, changed);
		assert.equal(3, #core:roster_changes(before, nil));
		assert.equal(3, #core:roster_changes(nil, after));
		assert.same({}, core:roster_changes(nil, nil));
	end);
end);

describe("a change of a roster with an account of this server on the other side", function ()
	it("is agreed to, agreed to with another change, or denied", function ()
		local core = granting();
		local change = { jid = "romeo@"..host, subscription = "to", groups = {} };
		assert.same({}, core:agree_roster_change(account, change, { subscription = "from" }, false));
		local agreement = core:agree_roster_change(account, change, { subscription = "none", groups = { g = true } }, true);
		assert.same({ jid = account, subscription = "from", settles_request = true, groups = { g = true } }, agreement.change);
		assert.equal("cancel not-allowed", is_denial(core:agree_roster_change(account, change, nil, false)));
	end);

	it("may be made by an entity that may set both rosters", function ()
		local core = open({ [entity] = { roster = "both", except = { "romeo" } }, ["get."..host] = { roster = "get" } });
		assert.is_true(core:may_set_roster(entity, "juliet", "a@b"));
		assert.is_false(core:may_set_roster(entity, "romeo", "a@b"));
		assert.is_false(core:may_set_roster("get."..host, "juliet", "a@b"));
		assert.is_false(core:may_set_roster("nobody.lit", "juliet", "a@b"));
	end);
end);
