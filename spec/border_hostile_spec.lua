-- The border between Lua and the native library: stanzas, metatables and tables that somebody means ill with.

local st = require "util.stanza";
local xml_parse = require "util.xml".parse;
local border = require "border";

local open, granting, everything = border.open, border.granting, border.everything;
local wrapper, privileged_message, privileged_iq = border.wrapper, border.privileged_message, border.privileged_iq;
local roster_get, roster_set, nest = border.roster_get, border.roster_set, border.nest;
local promptly, is_denial = border.promptly, border.is_denial;
local host, entity, account, origin = border.host, border.entity, border.account, border.origin;

describe("a metatable", function ()
	-- A table that has nothing and says it has everything.
	local function pretending(truth, lies)
		return setmetatable(truth, {
			__index = lies;
			__len = function () return 1; end;
			__pairs = function () return next, lies; end;
			__name = "table";
		});
	end

	it("does not lend a stanza an address, a name or children", function ()
		local core = granting();
		for _, path in ipairs({
			function (stanza) return stanza, "attr"; end;
			function (stanza) return stanza, "tags"; end;
			function (stanza) return stanza.attr, "from"; end;
			function (stanza) return stanza.tags, 1; end;
			function (stanza) return stanza.tags[1], "name"; end;
			function (stanza) return stanza.tags[1], "attr"; end;
			function (stanza) return stanza.tags[1], "tags"; end;
			function (stanza) return stanza.tags[1].attr, "xmlns"; end;
			function (stanza) return stanza.tags[1].tags, 1; end;
			function (stanza) return stanza.tags[1].tags[1], "name"; end;
			function (stanza) return stanza.tags[1].tags[1], "attr"; end;
			function (stanza) return stanza.tags[1].tags[1], "tags"; end;
		}) do
			for name, case in pairs({
				message = privileged_message; iq = privileged_iq;
			}) do
				local stanza = case();
				local parent, key = path(stanza);
				local lies = { [key] = parent[key] };
				parent[key] = nil;
				pretending(parent, lies);
				local results = table.pack(core[name](core, origin, stanza, 1));
				is_denial(table.unpack(results, 1, results.n));
			end
		end
		-- The innermost addresses, where absence has a meaning of its own.
		local stanza = privileged_message();
		local attr = stanza.tags[1].tags[1].tags[1].attr;
		attr.from = nil;
		pretending(attr, { from = account });
		assert.equal("auth forbidden", is_denial(core:message(origin, stanza)));
	end);

	it("does not make anybody a privileged entity", function ()
		local core = granting();
		for _, session in ipairs({
			pretending({}, origin), pretending({ type = "component" }, origin), pretending({ host = entity }, origin),
		}) do
			assert.equal("auth forbidden", is_denial(core:message(session, privileged_message())));
			assert.equal("auth forbidden", is_denial(core:iq(session, privileged_iq(), 1)));
			assert.equal("auth forbidden", is_denial(core:roster(session, roster_get())));
		end
	end);

	it("is never called, so it cannot raise an error either", function ()
		local core = granting();
		local touchy = {};
		for _, event in ipairs({ "__index", "__newindex", "__len", "__pairs", "__call", "__eq", "__tostring", "__concat", "__gc", "__close" }) do
			touchy[event] = function () error("touched"); end;
		end
		local function guard(value)
			for _, child in next, value do
				if type(child) == "table" then
					guard(child);
				end
			end
			return setmetatable(value, touchy);
		end
		local session = setmetatable({ type = "component", host = entity }, touchy);
		assert.is_table((core:message(session, guard(privileged_message()))));
		assert.is_table((core:iq(session, guard(privileged_iq()), 1)));
		assert.is_table((core:roster(session, guard(roster_get()))));
		assert.is_table((core:plan_roster_set(account, guard(roster_set({ jid = "a@b" })), guard({ ["a@b"] = { groups = { x = true } } }))));
		local roster = { [false] = { version = 2 }, ["a@b"] = { subscription = "both", groups = { x = true } } };
		for _, row in pairs(roster) do
			guard(row);
		end
		assert.matches("a@b", core:roster_result(account, guard(roster_get()), setmetatable(roster, touchy)), 1, true);
		local tree = { [entity] = { message = "outgoing", iq = { ["urn:x"] = "get" }, accounts = { "juliet" } } };
		assert.same({}, core:configure(guard({ entities = tree, probe = "all" })).problems);
		assert.is_table(core:connected("x", entity, nil, guard({ advertised = "x", is_pending = true })));
		core:restore(guard({ next = 1, requests = {} }));
		-- Not to be asked when it is collected.
		touchy.__gc = nil;
	end);

	it("does not configure anything", function ()
		local core = open();
		local configured = core:configure({ entities = pretending({}, everything) });
		assert.same({ {}, {} }, { configured.problems, core:entities() });
		assert.same({}, core:configure(pretending({}, { entities = everything, iq_limit = "many" })).problems);
		assert.same({}, core:entities());
		core:configure({ entities = { [entity] = pretending({}, everything[entity]) } });
		assert.is_false(core:grants(entity));
		core:configure({ entities = { [entity] = { message = "outgoing", accounts = pretending({}, { "juliet" }) } } });
		assert.is_true(core:grants(entity));
		assert.equal("auth forbidden", is_denial(core:message(origin, privileged_message())));
	end);

	it("does not put anything into a roster", function ()
		local core = granting();
		local hidden = { ["romeo@montague.lit"] = { subscription = "both", groups = {} } };
		assert.not_matches("romeo", core:roster_result(account, roster_get(), pretending({}, hidden)));
		assert.equal("cancel item-not-found",
			is_denial(core:plan_roster_set(account, roster_set({ jid = "romeo@montague.lit", subscription = "remove" }), pretending({}, hidden))));
	end);
end);

describe("a stanza with a value of the wrong type anywhere", function ()
	local wrong = { 7, true, false, print, "text", {}, { {} }, { "text" }, { 7, {} } };

	-- Every place in a tree of tables, as a way to get there.
	local function places(value, found, path)
		found, path = found or {}, path or {};
		for key, child in pairs(value) do
			local here = table.move(path, 1, #path, 1, {});
			here[#here + 1] = key;
			found[#found + 1] = here;
			if type(child) == "table" then
				places(child, found, here);
			end
		end
		return found;
	end

	local function replaced(build, path, value)
		local stanza = build();
		local parent = stanza;
		for i = 1, #path - 1 do
			parent = parent[path[i]];
		end
		parent[path[#path]] = value;
		return stanza;
	end

	-- Whether a place has no say in the judgement, besides what each judgement says itself.
	local function is_irrelevant(at)
		-- Beside `tags` an element lists its children a second time, together with its text.
		return at:match("^%d") or at:match("tags %d+ %d") or at:match("^last_add")
			or at == "name" or at == "attr id" -- the outer stanza has come through the server's own checks
			or at:match("attr to$"); -- may be absent everywhere
	end

	for name, case in pairs({
		-- What is forwarded is looked into no further than its own attributes, ...
		message = { build = privileged_message, payload = "^tags 1 tags 1 tags 1 tags", unused = "attr id$" };
		-- ... a payload no further than its namespace.
		iq = { build = privileged_iq, payload = "^tags 1 tags 1 tags 1 [nt]a" };
	}) do
		it(("is never raised by %s"):format(name), function ()
			local core = granting();
			local tried, denied = 0, 0;
			for _, path in ipairs(places(case.build())) do
				for _, value in ipairs(wrong) do
					local at = table.concat(path, " ").." = a "..type(value);
					local results = table.pack(pcall(core[name], core, origin, replaced(case.build, path, value), 1));
					assert.is_true(results[1], at);
					tried = tried + 1;
					if results[2] == nil then
						denied = denied + 1;
						is_denial(table.unpack(results, 2, results.n));
					end
				end
			end
			assert.is_true(tried > 100 and denied > tried / 5, ("%d of %d denied"):format(denied, tried));
		end);

		it(("is refused by %s wherever it has a say"):format(name), function ()
			local core = granting();
			local refused = 0;
			for _, path in ipairs(places(case.build())) do
				local at = table.concat(path, " ");
				if not (is_irrelevant(at) or at:match(case.payload) or case.unused and at:match(case.unused)) then
					for _, value in ipairs({ 7, true, print }) do
						assert.falsy((core[name](core, origin, replaced(case.build, path, value), 1)), at.." = a "..type(value));
						refused = refused + 1;
					end
				end
			end
			assert.is_true(refused > 40, tostring(refused));
		end);
	end

	it("is refused by roster and plan_roster_set", function ()
		local core = granting();
		for _, value in ipairs(wrong) do
			is_denial(core:roster({ type = value, host = entity }, roster_get()));
			is_denial(core:roster({ type = "component", host = value }, roster_get()));
			is_denial(core:roster(origin, { name = "iq", attr = value, tags = {} }));
			is_denial(core:roster(origin, { name = "iq", attr = { from = value, to = account, type = "get" }, tags = {} }));
			is_denial(core:roster(origin, { name = "iq", attr = { from = entity, to = value, type = "get" }, tags = {} }));
			is_denial(core:plan_roster_set(account, { name = "iq", attr = {}, tags = value }, {}));
			is_denial(core:plan_roster_set(account, { name = "iq", attr = {}, tags = { { name = "query", tags = value } } }, {}));
			local stanza = roster_set({ jid = "a@b" });
			stanza.tags[1].tags[1].attr.jid = value ~= "text" and value or nil;
			is_denial(core:plan_roster_set(account, stanza, {}));
			stanza = roster_set({ jid = "a@b" });
			stanza.tags[1].tags[1].tags[1] = value;
			is_denial(core:plan_roster_set(account, stanza, {}));
		end
	end);

	it("does not hide what comes after it", function ()
		-- A hole in the list of children: what follows counts all the same.
		local core = granting();
		for _, value in ipairs({ 7, true, print, "text" }) do
			local stanza = privileged_message();
			local forwarded = stanza.tags[1].tags[1];
			forwarded.tags[2], forwarded.tags[3] = value, forwarded.tags[1];
			assert.is_nil((core:message(origin, stanza)), "beside <message/> a "..type(value));
			stanza = privileged_message();
			stanza.tags[2], stanza.tags[3] = value, stanza.tags[1];
			assert.is_nil((core:message(origin, stanza)), "beside <privilege/> a "..type(value));
		end
	end);

	it("is no better for containing itself", function ()
		local core = granting();
		local stanza = privileged_message();
		stanza.tags[1] = stanza;
		assert.is_nil((core:message(origin, stanza)));
		stanza = privileged_message();
		stanza.tags[1].tags[1] = stanza.tags[1];
		is_denial(core:message(origin, stanza));
		stanza = privileged_message();
		stanza.tags[1].tags[1].tags[1] = stanza.tags[1].tags[1];
		is_denial(core:message(origin, stanza));
		stanza = privileged_iq();
		stanza.tags[1].tags[1] = stanza.tags[1];
		is_denial(core:iq(origin, stanza, 1));
		-- The payload is the sender's business.
		stanza = privileged_iq();
		stanza.tags[1].tags[1].tags[1].tags[1] = stanza;
		assert.is_table((core:iq(origin, stanza, 1)));
		local set = roster_set({ jid = "a@b" });
		set.tags[1].tags[1].tags[1] = set.tags[1].tags[1];
		is_denial(core:plan_roster_set(account, set, {}));
	end);
end);

describe("an element without a namespace of its own", function ()
	it("is in that of the element around it, as the server's parser leaves it", function ()
		local core = granting();
		local forwarded = function (attr)
			return wrapper():tag("message", attr):reset();
		end
		assert.is_table((core:message(origin, forwarded({ xmlns = "jabber:client", from = account, to = "romeo@montague.lit" }))));
		-- <forwarded/>'s own, which is taken as well (M4); not the stream's.
		assert.is_table((core:message(origin, forwarded({ from = account, to = "romeo@montague.lit" }))));
		assert.equal("modify bad-request", is_denial(core:message(origin, forwarded({ xmlns = "", from = account, to = "a@b" }))));
		local inherited = st.message({ from = entity, to = host })
			:tag("privilege", { xmlns = "urn:xmpp:privilege:2" })
				:tag("forwarded"):tag("message", { xmlns = "jabber:client", from = account, to = "a@b" }):reset();
		assert.equal("modify bad-request", is_denial(core:message(origin, inherited)));

		local payload = function (inner, attr)
			return st.iq({ type = "get", from = entity, to = account, id = "o" })
				:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
					:tag("iq", inner):tag("query", attr):reset();
		end
		-- A payload of the inner IQ's namespace, a payload of none, an inner IQ of the wrapper's.
		assert.equal("auth forbidden", is_denial(core:iq(origin, payload({ xmlns = "jabber:client", type = "get", id = "i" }), 1)));
		assert.equal("auth forbidden", is_denial(core:iq(origin, payload({ xmlns = "jabber:client", type = "get", id = "i" }, { xmlns = "" }), 1)));
		assert.equal("auth forbidden", is_denial(core:iq(origin, payload({ type = "get", id = "i" }, { xmlns = "urn:x" }), 1)));
	end);

	it("may be granted through what it inherits", function ()
		local core = open({ [entity] = { iq = { ["jabber:client"] = "get" } } });
		local stanza = st.iq({ type = "get", from = entity, to = account, id = "o" })
			:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
				:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" }):tag("query"):reset();
		assert.is_table((core:iq(origin, stanza, 1)));
	end);

	it("counts in a roster set", function ()
		local core = granting();
		local set = roster_set({ jid = "a@b" });
		set.tags[1].tags[1]:tag("group"):text("x"):reset();
		local changes = core:plan_roster_set(account, set, {});
		assert.same({ { jid = "a@b", subscription = "none", groups = { x = true } } }, changes);
		-- The same, as it comes from a connection.
		assert.same(changes, core:plan_roster_set(account, xml_parse(tostring(set)), {}));
	end);
end);

describe("an element in an element in an element, 70,000 times", function ()
	local depth = 70000;

	it("is a payload like any other", function ()
		local core = granting();
		local message = nest(wrapper()
			:tag("message", { xmlns = "jabber:client", from = account, to = "romeo@montague.lit" }), depth);
		assert.is_table((promptly(function () return core:message(origin, message); end)));
		local iq = nest(st.iq({ type = "get", from = entity, to = account, id = "o" })
			:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
				:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" }), depth, "query", { xmlns = "urn:x" });
		assert.is_table((promptly(function () return core:iq(origin, iq, 1); end)));
	end);

	it("in place of the envelope is refused", function ()
		local core = granting();
		for _, tag in ipairs({
			{ "privilege", { xmlns = "urn:xmpp:privilege:2" } }, { "forwarded", { xmlns = "urn:xmpp:forward:0" } },
			{ "message", { xmlns = "jabber:client", from = account } },
		}) do
			local inside = nest(wrapper(), depth, tag[1], tag[2]);
			if tag[1] ~= "message" then
				is_denial(promptly(function () return core:message(origin, inside); end));
			end
			local instead = nest(st.message({ from = entity, to = host }), depth, tag[1], tag[2]);
			local judged = promptly(function () return core:message(origin, instead); end);
			assert.falsy(judged);
		end
		for _, name in ipairs({ "privileged_iq", "iq" }) do
			local iq = nest(st.iq({ type = "get", from = entity, to = account, id = "o" }), depth, name, { xmlns = "urn:xmpp:privilege:2" });
			is_denial(promptly(function () return core:iq(origin, iq, 1); end));
		end
	end);

	it("is no roster", function ()
		local core = granting();
		for _, name in ipairs({ "query", "item", "group" }) do
			local set = nest(st.iq({ type = "set", from = entity, to = account, id = "o" }), depth, name, { xmlns = "jabber:iq:roster", jid = "a@b" });
			is_denial(promptly(function () return core:plan_roster_set(account, set, {}); end));
			local inside = nest(roster_set({ jid = "a@b" }).tags[1].tags[1], depth, name, { jid = "a@b" });
			set = roster_set();
			set.tags[1]:add_child(inside);
			is_denial(promptly(function () return core:plan_roster_set(account, set, {}); end));
		end
		assert.is_table((promptly(function () return core:roster(origin, nest(roster_get(), depth)); end)));
		assert.is_string((promptly(function () return core:roster_result(account, nest(roster_get(), depth), {}); end)));
	end);

	it("is a presence like any other", function ()
		local core = granting();
		local function deep(name)
			return nest(st.presence({ from = account.."/balcony" }), depth, name);
		end
		local viewer = border.connect(core).number;
		local function tell(stanza)
			local news = promptly(function () return core:viewers("account", "juliet", stanza); end);
			if news then
				assert.same({ viewer }, { table.unpack(news) });
				core:shown(news);
			end
			return news ~= nil;
		end
		assert.is_true(tell(deep()));
		assert.is_false(tell(deep()));
		assert.is_true(tell(deep("y")));
		local wide = st.presence({ from = account.."/balcony" });
		for _ = 1, depth do
			wide:tag("x"):up();
		end
		assert.is_true(tell(wide));
		assert.is_false(tell(wide));
	end);

	it("beside each other are counted, not feared", function ()
		local core = granting();
		local message = wrapper();
		for _ = 1, depth do
			message:tag("message", { xmlns = "jabber:client", from = account }):up();
		end
		message:reset();
		is_denial(promptly(function () return core:message(origin, message); end));

		local plain = st.message({ from = entity, to = host });
		for _ = 1, depth do
			plain:tag("x"):up();
		end
		assert.is_nil((promptly(function () return core:message(origin, plain); end)));
		plain:tag("privilege", { xmlns = "urn:xmpp:privilege:2" }):reset();
		is_denial(promptly(function () return core:message(origin, plain); end));

		local set = roster_set();
		for i = 1, 10000 do
			set.tags[1]:tag("item", { jid = i.."@b" }):tag("group"):text("x"):up():up();
		end
		local changes = promptly(function () return core:plan_roster_set(account, set, {}); end);
		assert.equal(10000, #changes);
	end);
end);
