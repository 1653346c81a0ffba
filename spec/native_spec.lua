-- The border between Lua and the native library, and nothing else.
--
-- What is allowed, refused, planned and written is owned by the tests in Rust, which know no Lua. Owned
-- here is the crossing: that the library is the one its version says, that values of the wrong type are
-- errors and never turned into the right one, that a denial is a value, that a panic stays one call's
-- error, that a table cannot lie through its metatable, that nothing a peer sends can exhaust the stack,
-- that two instances share nothing, and that what is handed back is what the server's own libraries read.

local st = require "util.stanza";
local jid = require "util.jid";
local xml_parse = require "util.xml".parse;
local nodeprep = require "util.encodings".stringprep.nodeprep;

-- Opened by its path, as the shim does, not by any name that Lua might know.
local file = assert(built_library(), "no native library for ".._VERSION..": run make build");
local native = assert(package.loadlib(file, "luaopen_privilege_native"))("privilege_native", file);

local host, entity, account = "capulet.lit", "pubsub.capulet.lit", "juliet@capulet.lit";
local origin = { type = "component", host = entity };

local function serves(domain)
	return domain == host or domain:sub(-#host - 1) == "."..host;
end

local function open(prefix, privileged_entities)
	local core = native.open(host, jid.prep, nodeprep, serves, prefix or "t-");
	if privileged_entities then
		assert.same({}, (core.configure(privileged_entities)));
	end
	return core;
end

local everything = {
	[entity] = {
		roster = "both"; message = "outgoing"; presence = "roster";
		iq = { ["urn:x"] = "both" };
	};
};

local function granting()
	return open("t-", everything);
end

-- <message><privilege><forwarded>, left open for what is forwarded.
local function wrapper(xmlns)
	return st.message({ from = entity, to = host, id = "o" })
		:tag("privilege", { xmlns = xmlns or "urn:xmpp:privilege:2" })
			:tag("forwarded", { xmlns = "urn:xmpp:forward:0" });
end

local function privileged_message()
	return wrapper()
		:tag("message", { xmlns = "jabber:client", from = account, to = "romeo@montague.lit", id = "i" })
			:text_tag("body", "Art thou not Romeo?"):reset();
end

local function privileged_iq()
	return st.iq({ type = "get", from = entity, to = account, id = "o" })
		:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
			:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" })
				:tag("query", { xmlns = "urn:x" }):reset();
end

local function roster_get(ver)
	return st.iq({ type = "get", from = entity, to = account, id = "o" })
		:tag("query", { xmlns = "jabber:iq:roster", ver = ver }):reset();
end

local function roster_set(attr)
	local stanza = st.iq({ type = "set", from = entity, to = account, id = "o" })
		:tag("query", { xmlns = "jabber:iq:roster" });
	if attr then
		stanza:tag("item", attr):up();
	end
	return stanza:reset();
end

-- <name/> in itself, `depth` times, inside whatever element is open. Never by recursion, which Lua has
-- little more of than the library.
local function nest(stanza, depth, name, attr)
	for _ = 1, depth do
		stanza:tag(name or "x", attr);
	end
	return stanza:reset();
end

-- Runs `act` and holds it to a bound that only a walk through everything, or worse, could exceed.
local function promptly(act)
	local started = os.clock();
	local results = table.pack(act());
	local took = os.clock() - started;
	assert.is_true(took < 1, ("took %.2f s"):format(took));
	return table.unpack(results, 1, results.n);
end

-- Checks that a value is a denial, in the one form that denials have, and returns what the stanza error says.
local function said_by(denial)
	assert.is_table(denial);
	assert.truthy(({ auth = true, cancel = true, modify = true, wait = true })[denial.type], denial.type);
	assert.matches("^[a-z]+[a-z-]*$", denial.condition);
	assert.is_string(denial.text);
	assert.is_true(#denial.text > 0);
	assert.matches("^[A-Z]%d+$", denial.rule);
	local error = st.error_reply(st.iq({ type = "get", id = "x" }), denial):get_child("error");
	assert.same({ denial.type, denial.condition }, { error.attr.type, error.tags[1].name });
	return denial.type.." "..denial.condition, denial.rule;
end

-- Checks that a call came to nil and a denial.
local function is_denial(...)
	assert.equal(2, select("#", ...));
	local permit, denial = ...;
	assert.is_nil(permit);
	return said_by(denial);
end

describe("the library", function ()
	it("says the version that Cargo.toml and the shim have", function ()
		local manifest = assert(io.open("Cargo.toml")):read("*a");
		assert.equal(manifest:match('%f[%w]version%s*=%s*"([^"]+)"'), native.version);
		local shim = assert(io.open("lua/mod_privilege/native.lib.lua")):read("*a");
		assert.equal(shim:match('local version = "([^"]+)"'), native.version);
		assert.truthy(file:find("-lua"..native.lua.."-"..native.version..".so", 1, true), file);
	end);

	it("says the Lua it is for", function ()
		assert.equal(_VERSION, "Lua "..native.lua);
	end);

	it("exports what the shim asks for and leaves the globals alone", function ()
		local names = {};
		for name in pairs(native) do
			names[#names + 1] = name;
		end
		table.sort(names);
		assert.same({ "fault", "lua", "open", "presence_memory", "version" }, names);
		assert.is_nil(rawget(_G, "privilege_native"));
	end);

	it("refuses to be another Lua's", function ()
		assert.is_nil((package.loadlib(file, "luaopen_privilege")));
	end);
end);

describe("a value of the wrong type", function ()
	local samples = {
		string = "7"; number = 7; boolean = true; table = {}; ["function"] = print; coroutine = coroutine.create(print);
		["nil"] = nil; -- luacheck: ignore 314
	};
	local kinds = { "string", "number", "boolean", "table", "function", "coroutine", "nil" };

	local presence = st.presence({ from = account.."/balcony" });

	local function takes(name, kind, good, also)
		return { name = name, kind = kind, good = good, also = also };
	end

	-- Every function of an instance, with one good value for each of its arguments. `also` is a second
	-- type it may have. What is not here has no arguments, or any will do.
	local arguments = {
		entities = {}; in_flight = {}; export_requests = {};
		configure = {};
		grant = { takes("entity", "string", entity) };
		covers = { takes("entity", "string", entity), takes("username", "string", "juliet") };
		advertisement = { takes("entity", "string", entity), takes("to", "string", entity), takes("id", "string", "x") };
		message = { takes("origin", "table", origin), takes("stanza", "table", privileged_message()) };
		iq = { takes("origin", "table", origin), takes("stanza", "table", privileged_iq()), takes("now", "number", 1) };
		roster = { takes("origin", "table", origin), takes("stanza", "table", roster_get()) };
		decline = { takes("permit", "table", { kind = "iq" }), takes("why", "string", "failed") };
		unrelayable = {};
		pushes = { takes("entity", "string", entity), takes("username", "string", "juliet") };
		roster_result = { takes("stanza", "table", roster_get()), takes("account", "string", account), takes("roster", "table", {}) };
		plan_roster_set = { takes("account", "string", account), takes("stanza", "table", roster_set({ jid = "a@b" })),
			takes("roster", "table", {}) };
		may_set_roster = { takes("entity", "string", entity), takes("username", "string", "juliet") };
		agree_roster_change = { takes("account", "string", account), takes("change", "table", { jid = "a@b", subscription = "to" }),
			takes("item", "table", {}, "nil"), takes("may_set", "boolean", true) };
		roster_push = { takes("account", "string", account), takes("to", "string", entity), takes("id", "string", "x"),
			takes("jid", "string", "a@b"), takes("item", "table", {}, "nil"), takes("version", "number", 3, "nil") };
		roster_changes = { takes("before", "table", {}, "nil"), takes("after", "table", {}, "nil") };
		watch = { takes("entity", "string", entity) };
		unwatch = { takes("viewer", "number", 1) };
		viewers = { takes("occasion", "string", "account"), takes("username", "string", "juliet"), takes("stanza", "table", presence),
			takes("among", "table", {}, "nil") };
		shown = { takes("ticket", "number", 1), takes("viewers", "table", {}) };
		unfounded = { takes("occasion", "string", "account"), takes("username", "string", "juliet"), takes("jid", "string", account),
			takes("present", "table", {}), takes("among", "table", {}) };
		lost = { takes("username", "string", "juliet"), takes("contact", "string", "romeo@montague.lit"), takes("others", "table", {}) };
		confirm = { takes("username", "string", "juliet"), takes("roster", "table", {}), takes("among", "table", {}) };
		contacts = { takes("username", "string", "juliet"), takes("roster", "table", {}), takes("among", "table", {}) };
		askers = { takes("username", "string", "juliet"), takes("contact", "string", "romeo@montague.lit"), takes("among", "table", {}) };
		asked = { takes("contact", "string", "romeo@montague.lit"), takes("viewers", "table", {}) };
		all_asked = { takes("viewer", "number", 1) };
		needs_round = { takes("viewer", "number", 1) };
		iq_limits = { takes("limit", "number", 10), takes("timeout", "number", 10) };
		cancel_request = { takes("id", "string", "t-1") };
		answer = { takes("id", "string", "t-1"), takes("from", "string", account, "nil"), takes("to", "string", account) };
		expire = { takes("now", "number", 1) };
		forget = { takes("what", "string", "entity"), takes("jid", "string", entity, "nil") };
		import_requests = { takes("saved", "table", { next = 1, requests = {} }) };
	};

	local function check(function_name, callable, list)
		local good = { n = #list };
		for i, argument in ipairs(list) do
			good[i] = argument.good;
		end
		assert.is_true(pcall(callable, table.unpack(good, 1, good.n)), function_name);
		for i, argument in ipairs(list) do
			for _, kind in ipairs(kinds) do
				if kind ~= argument.kind and kind ~= argument.also then
					local values = table.move(good, 1, good.n, 1, {});
					values[i] = samples[kind];
					local ok, problem = pcall(callable, table.unpack(values, 1, good.n));
					local case = ("%s(%s = a %s)"):format(function_name, argument.name, kind);
					assert.is_false(ok, case);
					problem = tostring(problem);
					assert.truthy(problem:find('"'..argument.name..'"', 1, true), case..": "..problem);
					assert.truthy(problem:find("privilege_native."..function_name..":", 1, true), case..": "..problem);
					assert.truthy(problem:find("expected a "..argument.kind, 1, true), case..": "..problem);
				end
			end
		end
	end

	it("is an error of every function, naming function and argument", function ()
		local core = granting();
		for name, callable in pairs(core) do
			assert.is_table(arguments[name], name.." is not in the table of arguments");
			check(name, callable, arguments[name]);
		end
		for name in pairs(arguments) do
			assert.is_function(core[name], name.." is gone");
		end
	end);

	it("is no memory of presences, and nothing is seen with it", function ()
		local core = granting();
		for _, value in pairs(samples) do
			assert.is_false(core.watch(entity, value));
		end
		assert.is_false(core.watch(entity, io.stdout));
		assert.is_number((core.watch(entity, native.presence_memory())));
		assert.is_nil(core.watch("stranger.lit", native.presence_memory()));
	end);

	it("is no occasion, no viewer, and no list of either", function ()
		local core = granting();
		for _, occasion in ipairs({ "", "Account", "contacts" }) do
			assert.is_false(pcall(core.viewers, occasion, "juliet", presence));
		end
		for _, wrong in ipairs({ -1, 2^32, "1", {} }) do
			assert.is_false(pcall(core.unwatch, wrong));
			assert.is_false(pcall(core.shown, 1, { wrong }));
			assert.is_false(pcall(core.viewers, "account", "juliet", presence, { wrong }));
		end
	end);

	it("does not open an instance", function ()
		check("open", native.open, {
			takes("host", "string", host), takes("jid_prep", "function", jid.prep), takes("nodeprep", "function", nodeprep),
			takes("serves", "function", serves), takes("id_prefix", "string", "t-"),
		});
	end);

	it("is not mended: no number becomes a string, no string a number", function ()
		local core = open("7", everything);
		assert.is_false(pcall(core.grant, 7));
		assert.is_false(pcall(core.answer, 71, nil, account));
		assert.is_false(pcall(core.expire, "7"));
		assert.is_false(pcall(core.iq_limits, "1", "1"));
		for _, wrong in ipairs({ -1, -0.5, 0/0, 1/0, -1/0, 1e300, math.mininteger }) do
			assert.is_false(pcall(core.expire, wrong), tostring(wrong));
			assert.is_false(pcall(core.iq_limits, wrong, 1), tostring(wrong));
		end
		for _, right in ipairs({ 0, 0.9, 1e15, math.maxinteger }) do
			assert.is_true(pcall(core.expire, right), tostring(right));
		end
	end);

	it("is none where a string is no UTF-8: that is an error too, or nobody's address", function ()
		local core = granting();
		local ok, problem = pcall(core.grant, "\255");
		assert.is_false(ok);
		assert.truthy(tostring(problem):find("privilege_native.grant:", 1, true), tostring(problem));
		assert.truthy(tostring(problem):find('"entity"', 1, true), tostring(problem));
	end);

	it("in a saved ledger is an error and takes nothing over", function ()
		local good = { 1, 5000, entity, entity, "o", "i", account, "" };
		local core = open("t-");
		for index = 1, #good do
			for _, wrong in ipairs({ true, {}, index <= 2 and "1" or 1, print }) do
				local entry = table.move(good, 1, #good, 1, {});
				entry[index] = wrong;
				local ok, problem = pcall(core.import_requests, { next = 2, requests = { good, entry } });
				assert.is_false(ok, ("entry %d a %s"):format(index, type(wrong)));
				assert.truthy(tostring(problem):find("privilege_native.import_requests:", 1, true), tostring(problem));
				assert.equal(0, core.in_flight());
			end
		end
		for _, wrong in ipairs({ {}, { next = 1 }, { requests = {} }, { next = "1", requests = {} }, { next = 1, requests = { 1 } } }) do
			assert.is_false(pcall(core.import_requests, wrong));
		end
		core.import_requests({ next = 2, requests = { good } });
		assert.equal(1, core.in_flight());
	end);
end);

describe("a denial", function ()
	it("is one table, for every judgement", function ()
		local core = open("t-");
		assert.equal("auth forbidden", is_denial(core.message(origin, privileged_message())));
		assert.equal("auth forbidden", is_denial(core.iq(origin, privileged_iq(), 1)));
		assert.equal("auth forbidden", is_denial(core.roster(origin, roster_get())));
		assert.equal("modify bad-request", is_denial(core.plan_roster_set(account, roster_set(), {})));
		assert.equal("cancel not-allowed", is_denial(core.agree_roster_change(account, { jid = "a@b", subscription = "to" }, nil, false)));
		assert.equal("modify bad-request", is_denial(granting().message(origin, st.message({ from = entity, to = host }, "hello"))));
		core.iq_limits(0, 1);
		core.configure(everything);
		assert.equal("wait resource-constraint", is_denial(core.iq(origin, privileged_iq(), 1)));
	end);

	it("is what a permit comes to where the server knows better", function ()
		local core = granting();
		local permits = {
			message = core.message(origin, privileged_message()), iq = core.iq(origin, privileged_iq(), 1), roster = core.roster(origin, roster_get());
		};
		permits.iq.unless_administrator_of, permits.message.unless_administrator_of = host, "*";
		for _, case in ipairs({
			{ "message", "unknown-account", "auth forbidden" }, { "iq", "unknown-account", "auth forbidden" },
			{ "roster", "unknown-account", "cancel item-not-found" },
			{ "message", "administrator", "auth forbidden" }, { "iq", "administrator", "auth forbidden" },
			{ "message", "failed", "wait internal-server-error" }, { "iq", "failed", "wait internal-server-error" },
			{ "message", "lookup", "wait internal-server-error" }, { "roster", "lookup", "wait internal-server-error" },
		}) do
			assert.equal(case[3], (said_by(core.decline(permits[case[1]], case[2]))), case[1].." "..case[2]);
		end
		assert.equal("wait internal-server-error", (said_by(core.unrelayable())));
		for _, wrong in ipairs({ "everything", "" }) do
			assert.is_false(pcall(core.decline, permits.iq, wrong));
		end
		assert.is_false(pcall(core.decline, permits.roster, "failed"));
		assert.is_false(pcall(core.decline, {}, "lookup"));
	end);

	it("takes an IQ out of flight", function ()
		local core = granting();
		local permit = core.iq(origin, privileged_iq(), 1);
		assert.equal(1, core.in_flight());
		core.decline(permit, "unknown-account");
		assert.equal(0, core.in_flight());
		assert.is_nil(core.answer(permit.id, account, account));
	end);

	it("of what waits comes behind the list of it", function ()
		local core = granting();
		core.iq_limits(10, 1000);
		local id = core.iq(origin, privileged_iq(), 1).id;
		local list, denial = core.expire(2000);
		assert.same({ { entity = entity, reply_to = entity, outer_id = "o", inner_id = "i", account = account } }, list);
		assert.equal("wait remote-server-timeout", (said_by(denial)));
		assert.equal("Q6", denial.rule);
		assert.is_nil(core.answer(id, account, account));
		assert.is_false(core.cancel_request(id));
		core.iq(origin, privileged_iq(), 1);
		list, denial = core.forget("account", account);
		assert.same({ 1, "cancel service-unavailable" }, { #list, (said_by(denial)) });
		core.iq(origin, privileged_iq(), 1);
		assert.equal(0, #core.forget("ungranted"));
		core.configure({});
		assert.equal(1, #core.forget("ungranted"));
		assert.is_false(pcall(core.forget, "everything"));
	end);
end);

describe("a permit", function ()
	it("hands back the very table that was judged, and changes nothing in it", function ()
		local core = granting();
		local message, iq = privileged_message(), privileged_iq();
		local message_before, iq_before = tostring(message), tostring(iq);

		local permit = core.message(origin, message);
		assert.equal(message.tags[1].tags[1].tags[1], permit.stanza);
		permit.stanza = nil;
		assert.same({ kind = "message", account = account, to = "romeo@montague.lit", username = "juliet" }, permit);

		permit = core.iq(origin, iq, 1);
		assert.equal(iq.tags[1].tags[1], permit.stanza);
		permit.stanza = nil;
		assert.same({ kind = "iq", account = account, username = "juliet", id = "t-1" }, permit);

		assert.equal(message_before, tostring(message));
		assert.equal(iq_before, tostring(iq));
	end);

	it("names what the account must not administer", function ()
		local core = open("t-", { [entity] = {
			message = "outgoing";
			iq = { ["http://jabber.org/protocol/commands"] = "both", ["jabber:iq:register"] = "both" };
		} });
		local message, iq = privileged_message(), privileged_iq();
		message.tags[1].tags[1].tags[1].attr.to = host.."/announce/online";
		assert.equal(host, core.message(origin, message).unless_administrator_of);
		message.tags[1].tags[1].tags[1].attr.to = account;
		assert.is_nil(core.message(origin, message).unless_administrator_of);
		local inner = iq.tags[1].tags[1];
		inner.attr.to = "montague.lit";
		inner.tags[1].attr.xmlns = "http://jabber.org/protocol/commands";
		assert.equal("montague.lit", core.iq(origin, iq, 1).unless_administrator_of);
		inner.tags[1].attr.xmlns = "jabber:iq:register";
		assert.is_nil(core.iq(origin, iq, 1).unless_administrator_of);
		iq.attr.type, inner.attr.type = "set", "set";
		assert.equal("*", core.iq(origin, iq, 1).unless_administrator_of);
	end);

	it("for a roster names the account, with and without a recipient", function ()
		local core = open("t-", { ["bot@capulet.lit"] = { roster = "get" } });
		local bot = { type = "c2s", host = host, username = "bot" };
		local stanza = roster_get();
		stanza.attr.from = "bot@capulet.lit/x";
		assert.same({ kind = "roster", account = account, username = "juliet" }, core.roster(bot, stanza));
		stanza.attr.to = nil;
		assert.same({ kind = "roster", account = "bot@capulet.lit", username = "bot" }, core.roster(bot, stanza));
	end);
end);

describe("a panic", function ()
	it("is the error of its own call, and the next ones work", function ()
		local core = granting();
		for _ = 1, 3 do
			local ok, problem = pcall(native.fault);
			assert.is_false(ok);
			assert.matches("a fault on purpose", tostring(problem), 1, true);
			assert.is_table((core.message(origin, privileged_message())));
		end
		local thread = coroutine.create(native.fault);
		assert.is_false((coroutine.resume(thread)));
		assert.is_table((core.iq(origin, privileged_iq(), 1)));
	end);

	it("or an error in the server's own functions refuses the address and leaves no lock", function ()
		local broken = false;
		local core = native.open(host, function (raw)
			if broken then
				error("no stringprep today");
			end
			return jid.prep(raw);
		end, nodeprep, serves, "t-");
		core.configure(everything);
		local stanza = privileged_message();
		stanza.tags[1].tags[1].tags[1].attr.from = "JULIET@capulet.lit";
		broken = true;
		assert.equal("auth forbidden", is_denial(core.message(origin, stanza)));
		assert.same({}, (core.configure(everything)));
		broken = false;
		assert.is_table((core.message(origin, stanza)));
	end);

	it("is not what calls from inside a call come to", function ()
		-- The server's functions are called while a judgement or the configuration is under way.
		local core, inside;
		core = native.open(host, function (raw)
			inside = { pcall(core.message, origin, privileged_message()) };
			return jid.prep(raw);
		end, nodeprep, function () inside = { pcall(core.entities) }; return true; end, "t-");
		core.configure(everything);
		assert.same({ true, {} }, inside);
		local stanza = privileged_message();
		stanza.tags[1].tags[1].tags[1].attr.to = "ROMEO@montague.lit";
		assert.equal("romeo@montague.lit", core.message(origin, stanza).to);
		assert.is_true(inside[1]);
		assert.is_table(inside[2]);
	end);

	it("or an odd result of the server's functions grants nothing", function ()
		for _, odd in ipairs({ 7, true, {}, "", "\255", "@", "/", "@capulet.lit", print }) do
			local core = native.open(host, function () return odd; end, function () return odd; end, function () return odd; end, "t-");
			core.configure({ [entity] = { message = "outgoing", accounts = { "JULIET" } } });
			local stanza = privileged_message();
			stanza.tags[1].tags[1].tags[1].attr.from = "JULIET@capulet.lit";
			is_denial(core.message(origin, stanza));
		end
	end);
end);

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
				local results = table.pack(core[name](origin, stanza, 1));
				is_denial(table.unpack(results, 1, results.n));
			end
		end
		-- The innermost addresses, where absence has a meaning of its own.
		local stanza = privileged_message();
		local attr = stanza.tags[1].tags[1].tags[1].attr;
		attr.from = nil;
		pretending(attr, { from = account });
		assert.equal("auth forbidden", is_denial(core.message(origin, stanza)));
	end);

	it("does not make anybody a privileged entity", function ()
		local core = granting();
		for _, session in ipairs({
			pretending({}, origin), pretending({ type = "component" }, origin), pretending({ host = entity }, origin),
		}) do
			assert.equal("auth forbidden", is_denial(core.message(session, privileged_message())));
			assert.equal("auth forbidden", is_denial(core.iq(session, privileged_iq(), 1)));
			assert.equal("auth forbidden", is_denial(core.roster(session, roster_get())));
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
		assert.is_table((core.message(session, guard(privileged_message()))));
		assert.is_table((core.iq(session, guard(privileged_iq()), 1)));
		assert.is_table((core.roster(session, guard(roster_get()))));
		assert.is_table((core.plan_roster_set(account, guard(roster_set({ jid = "a@b" })), guard({ ["a@b"] = { groups = { x = true } } }))));
		local roster = { [false] = { version = 2 }, ["a@b"] = { subscription = "both", groups = { x = true } } };
		for _, row in pairs(roster) do
			guard(row);
		end
		assert.matches("a@b", core.roster_result(guard(roster_get()), account, setmetatable(roster, touchy)), 1, true);
		local tree = { [entity] = { message = "outgoing", iq = { ["urn:x"] = "get" }, accounts = { "juliet" } } };
		assert.same({}, (core.configure(guard(tree))));
		-- Not to be asked when it is collected.
		touchy.__gc = nil;
	end);

	it("does not configure anything", function ()
		local core = open("t-");
		local problems, changed = core.configure(pretending({}, everything));
		assert.same({ {}, {} }, { problems, changed });
		core.configure({ [entity] = pretending({}, everything[entity]) });
		assert.is_nil(core.grant(entity));
		core.configure({ [entity] = { message = "outgoing", accounts = pretending({}, { "juliet" }) } });
		assert.is_false(core.covers(entity, "juliet"));
	end);

	it("does not put anything into a roster", function ()
		local core = granting();
		local hidden = { ["romeo@montague.lit"] = { subscription = "both", groups = {} } };
		assert.not_matches("romeo", core.roster_result(roster_get(), account, pretending({}, hidden)));
		assert.equal("cancel item-not-found",
			is_denial(core.plan_roster_set(account, roster_set({ jid = "romeo@montague.lit", subscription = "remove" }), pretending({}, hidden))));
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
					local results = table.pack(pcall(core[name], origin, replaced(case.build, path, value), 1));
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
						assert.falsy((core[name](origin, replaced(case.build, path, value), 1)), at.." = a "..type(value));
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
			is_denial(core.roster({ type = value, host = entity }, roster_get()));
			is_denial(core.roster({ type = "component", host = value }, roster_get()));
			is_denial(core.roster(origin, { name = "iq", attr = value, tags = {} }));
			is_denial(core.roster(origin, { name = "iq", attr = { from = value, to = account, type = "get" }, tags = {} }));
			is_denial(core.roster(origin, { name = "iq", attr = { from = entity, to = value, type = "get" }, tags = {} }));
			is_denial(core.plan_roster_set(account, { name = "iq", attr = {}, tags = value }, {}));
			is_denial(core.plan_roster_set(account, { name = "iq", attr = {}, tags = { { name = "query", tags = value } } }, {}));
			local stanza = roster_set({ jid = "a@b" });
			stanza.tags[1].tags[1].attr.jid = value ~= "text" and value or nil;
			is_denial(core.plan_roster_set(account, stanza, {}));
			stanza = roster_set({ jid = "a@b" });
			stanza.tags[1].tags[1].tags[1] = value;
			is_denial(core.plan_roster_set(account, stanza, {}));
		end
	end);

	it("does not hide what comes after it", function ()
		-- A hole in the list of children: what follows counts all the same.
		local core = granting();
		for _, value in ipairs({ 7, true, print, "text" }) do
			local stanza = privileged_message();
			local forwarded = stanza.tags[1].tags[1];
			forwarded.tags[2], forwarded.tags[3] = value, forwarded.tags[1];
			assert.is_nil((core.message(origin, stanza)), "beside <message/> a "..type(value));
			stanza = privileged_message();
			stanza.tags[2], stanza.tags[3] = value, stanza.tags[1];
			assert.is_nil((core.message(origin, stanza)), "beside <privilege/> a "..type(value));
		end
	end);

	it("is no better for containing itself", function ()
		local core = granting();
		local stanza = privileged_message();
		stanza.tags[1] = stanza;
		assert.is_nil((core.message(origin, stanza)));
		stanza = privileged_message();
		stanza.tags[1].tags[1] = stanza.tags[1];
		is_denial(core.message(origin, stanza));
		stanza = privileged_message();
		stanza.tags[1].tags[1].tags[1] = stanza.tags[1].tags[1];
		is_denial(core.message(origin, stanza));
		stanza = privileged_iq();
		stanza.tags[1].tags[1] = stanza.tags[1];
		is_denial(core.iq(origin, stanza, 1));
		-- The payload is the sender's business.
		stanza = privileged_iq();
		stanza.tags[1].tags[1].tags[1].tags[1] = stanza;
		assert.is_table((core.iq(origin, stanza, 1)));
		local set = roster_set({ jid = "a@b" });
		set.tags[1].tags[1].tags[1] = set.tags[1].tags[1];
		is_denial(core.plan_roster_set(account, set, {}));
	end);
end);

describe("an element without a namespace of its own", function ()
	it("is in that of the element around it, as the server's parser leaves it", function ()
		local core = granting();
		local forwarded = function (attr)
			return wrapper():tag("message", attr):reset();
		end
		assert.is_table((core.message(origin, forwarded({ xmlns = "jabber:client", from = account, to = "romeo@montague.lit" }))));
		-- <forwarded/>'s own, and not the stream's.
		assert.equal("modify bad-request", is_denial(core.message(origin, forwarded({ from = account, to = "romeo@montague.lit" }))));
		local inherited = st.message({ from = entity, to = host })
			:tag("privilege", { xmlns = "urn:xmpp:privilege:2" })
				:tag("forwarded"):tag("message", { xmlns = "jabber:client", from = account, to = "a@b" }):reset();
		assert.equal("modify bad-request", is_denial(core.message(origin, inherited)));

		local payload = function (inner, attr)
			return st.iq({ type = "get", from = entity, to = account, id = "o" })
				:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
					:tag("iq", inner):tag("query", attr):reset();
		end
		-- A payload of the inner IQ's namespace, a payload of none, an inner IQ of the wrapper's.
		assert.equal("auth forbidden", is_denial(core.iq(origin, payload({ xmlns = "jabber:client", type = "get", id = "i" }), 1)));
		assert.equal("auth forbidden", is_denial(core.iq(origin, payload({ xmlns = "jabber:client", type = "get", id = "i" }, { xmlns = "" }), 1)));
		assert.equal("auth forbidden", is_denial(core.iq(origin, payload({ type = "get", id = "i" }, { xmlns = "urn:x" }), 1)));
	end);

	it("may be granted through what it inherits", function ()
		local core = open("t-", { [entity] = { iq = { ["jabber:client"] = "get" } } });
		local stanza = st.iq({ type = "get", from = entity, to = account, id = "o" })
			:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
				:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" }):tag("query"):reset();
		assert.is_table((core.iq(origin, stanza, 1)));
	end);

	it("counts in a roster set", function ()
		local core = granting();
		local set = roster_set({ jid = "a@b" });
		set.tags[1].tags[1]:tag("group"):text("x"):reset();
		local changes = core.plan_roster_set(account, set, {});
		assert.same({ { jid = "a@b", subscription = "none", groups = { x = true } } }, changes);
		-- The same, as it comes from a connection.
		assert.same(changes, core.plan_roster_set(account, xml_parse(tostring(set)), {}));
	end);
end);

describe("an element in an element in an element, 70,000 times", function ()
	local depth = 70000;

	it("is a payload like any other", function ()
		local core = granting();
		local message = nest(wrapper()
			:tag("message", { xmlns = "jabber:client", from = account, to = "romeo@montague.lit" }), depth);
		assert.is_table((promptly(function () return core.message(origin, message); end)));
		local iq = nest(st.iq({ type = "get", from = entity, to = account, id = "o" })
			:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
				:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" }), depth, "query", { xmlns = "urn:x" });
		assert.is_table((promptly(function () return core.iq(origin, iq, 1); end)));
	end);

	it("in place of the envelope is refused", function ()
		local core = granting();
		for _, tag in ipairs({
			{ "privilege", { xmlns = "urn:xmpp:privilege:2" } }, { "forwarded", { xmlns = "urn:xmpp:forward:0" } },
			{ "message", { xmlns = "jabber:client", from = account } },
		}) do
			local inside = nest(wrapper(), depth, tag[1], tag[2]);
			if tag[1] ~= "message" then
				is_denial(promptly(function () return core.message(origin, inside); end));
			end
			local instead = nest(st.message({ from = entity, to = host }), depth, tag[1], tag[2]);
			local judged = promptly(function () return core.message(origin, instead); end);
			assert.falsy(judged);
		end
		for _, name in ipairs({ "privileged_iq", "iq" }) do
			local iq = nest(st.iq({ type = "get", from = entity, to = account, id = "o" }), depth, name, { xmlns = "urn:xmpp:privilege:2" });
			is_denial(promptly(function () return core.iq(origin, iq, 1); end));
		end
	end);

	it("is no roster", function ()
		local core = granting();
		for _, name in ipairs({ "query", "item", "group" }) do
			local set = nest(st.iq({ type = "set", from = entity, to = account, id = "o" }), depth, name, { xmlns = "jabber:iq:roster", jid = "a@b" });
			is_denial(promptly(function () return core.plan_roster_set(account, set, {}); end));
			local inside = nest(roster_set({ jid = "a@b" }).tags[1].tags[1], depth, name, { jid = "a@b" });
			set = roster_set();
			set.tags[1]:add_child(inside);
			is_denial(promptly(function () return core.plan_roster_set(account, set, {}); end));
		end
		assert.is_table((promptly(function () return core.roster(origin, nest(roster_get(), depth)); end)));
		assert.is_string((promptly(function () return core.roster_result(nest(roster_get(), depth), account, {}); end)));
	end);

	it("is a presence like any other", function ()
		local core = granting();
		local function deep(name)
			return nest(st.presence({ from = account.."/balcony" }), depth, name);
		end
		local viewer = core.watch(entity, native.presence_memory());
		local function tell(stanza)
			local viewers, ticket = promptly(function () return core.viewers("account", "juliet", stanza); end);
			if viewers then
				assert.same({ viewer }, viewers);
				core.shown(ticket, viewers);
			end
			return viewers ~= nil;
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
		is_denial(promptly(function () return core.message(origin, message); end));

		local plain = st.message({ from = entity, to = host });
		for _ = 1, depth do
			plain:tag("x"):up();
		end
		assert.is_nil((promptly(function () return core.message(origin, plain); end)));
		plain:tag("privilege", { xmlns = "urn:xmpp:privilege:2" }):reset();
		is_denial(promptly(function () return core.message(origin, plain); end));

		local set = roster_set();
		for i = 1, 10000 do
			set.tags[1]:tag("item", { jid = i.."@b" }):tag("group"):text("x"):up():up();
		end
		local changes = promptly(function () return core.plan_roster_set(account, set, {}); end);
		assert.equal(10000, #changes);
	end);
end);

describe("a configuration", function ()
	it("may contain itself, or anything, and is never raised", function ()
		local core = open("t-");
		local cycle = { message = "outgoing" };
		cycle.iq, cycle.accounts, cycle.except, cycle.roster = cycle, cycle, cycle, cycle;
		local whole = { [entity] = cycle };
		whole.self, whole[whole] = whole, whole;
		whole["b."..host] = whole;
		local deep = {};
		for _ = 1, 100000 do
			deep = { deep, [entity] = deep };
		end
		for _, tree in ipairs({ whole, cycle, deep, 7, 0.5, 0/0, true, false, "text", "\255", print, coroutine.create(print),
			{ 7, true, print }, { [7] = {}, [0.5] = {}, [true] = {}, [print] = {} }, { [entity] = 7 }, { [entity] = print },
			{ [entity] = deep }, { [entity] = { message = deep, iq = deep, accounts = deep, except = deep, [deep] = deep } },
			{ [entity] = { iq = { [7] = "both", [true] = "both", [print] = "both", ["\255"] = "both" } } }, { ["\255"] = { message = "outgoing" } },
		}) do
			local problems, changed = promptly(function () return core.configure(tree); end);
			assert.is_true(#problems > 0);
			assert.is_table(changed);
			for _, problem in ipairs(problems) do
				assert.truthy(({ error = true, warn = true })[problem.level]);
				assert.truthy(problem.text:find(host, 1, true), problem.text);
				assert.is_nil(problem.text:find("\n", 1, true), problem.text);
				-- The server formats what it logs.
				assert.truthy(utf8.len(problem.text), problem.text);
			end
			-- Nothing that cannot be read grants anything.
			is_denial(core.message(origin, privileged_message()));
			is_denial(core.iq(origin, privileged_iq(), 1));
			is_denial(core.roster(origin, roster_get()));
		end
	end);

	it("is taken as it was when it was read", function ()
		local core = open("t-");
		local tree = { [entity] = { message = "outgoing", accounts = { "juliet" } } };
		core.configure(tree);
		tree[entity].accounts[1] = "romeo";
		tree[entity] = nil;
		assert.is_true(core.covers(entity, "juliet"));
		assert.is_false(core.covers(entity, "romeo"));
		local _, changed = core.configure(tree);
		assert.same({ entity }, changed);
		assert.is_nil(core.grant(entity));
	end);

	it("says in plain values what it grants", function ()
		local core = granting();
		assert.same({ pushes = true, presence = "roster" }, core.grant(entity));
		assert.same({ entity }, core.entities());
		assert.is_nil(core.grant("nobody.lit"));
		local problems, changed = core.configure(everything);
		assert.same({ {}, {} }, { problems, changed });
	end);
end);

describe("two instances of the library", function ()
	it("share nothing", function ()
		local one, other = open("one-", everything), open("other-");
		is_denial(other.message(origin, privileged_message()));
		assert.is_table((one.message(origin, privileged_message())));
		local id = one.iq(origin, privileged_iq(), 1).id;
		assert.same({ 1, 0 }, { one.in_flight(), other.in_flight() });
		assert.is_nil((other.answer(id, account, account)));
		assert.same({}, (other.forget("all")));
		other.iq_limits(0, 0);
		assert.is_table((one.iq(origin, privileged_iq(), 1)));
		other.configure(everything);
		one.configure(nil);
		assert.is_nil(one.grant(entity));
		assert.is_table((other.message(origin, privileged_message())));
		assert.same({ 2, 0 }, { one.in_flight(), other.in_flight() });
	end);

	it("may be opened from the library again, as a reload does", function ()
		local again = assert(package.loadlib(file, "luaopen_privilege_native"))("privilege_native", file);
		local core = again.open(host, jid.prep, nodeprep, serves, "t-");
		assert.is_nil(core.grant(entity));
	end);

	it("hand over the ledger", function ()
		local before = open("t-", everything);
		before.iq_limits(10, 1000);
		local ids = {};
		for i, to in ipairs({ "romeo@montague.lit", false, "pubsub.montague.lit" }) do
			local iq = privileged_iq();
			iq.tags[1].tags[1].attr.to, iq.tags[1].tags[1].attr.id = to or nil, "inner-"..i;
			ids[i] = before.iq(origin, iq, i * 100).id;
		end
		local function request(inner_id)
			return { entity = entity, reply_to = entity, outer_id = "o", inner_id = inner_id, account = account };
		end
		assert.same(request("inner-2"), before.answer(ids[2], account, account));

		-- What is saved outlives the instance, and may pass through anything that keeps plain data.
		local saved = before.export_requests();
		local function plain(value)
			if type(value) ~= "table" then
				assert.truthy(({ string = true, number = true })[type(value)], type(value));
				return value;
			end
			assert.is_nil(getmetatable(value));
			local copy = {};
			for key, child in pairs(value) do
				copy[plain(key)] = plain(child);
			end
			return copy;
		end
		local after = open("t-", everything);
		after.import_requests(plain(saved));
		assert.equal(2, after.in_flight());

		-- Nobody else can answer now either, and each only once.
		assert.is_nil((after.answer(ids[1], "mallory@montague.lit", account)));
		assert.is_nil((after.answer(ids[2], account, account)));
		assert.same(request("inner-1"), after.answer(ids[1], "romeo@montague.lit", account));
		assert.is_nil((after.answer(ids[1], "romeo@montague.lit", account)));
		-- An id is never given twice.
		local fresh = after.iq(origin, privileged_iq(), 1).id;
		for _, id in ipairs(ids) do
			assert.not_equal(id, fresh);
		end
		-- Deadlines stay what they were.
		after.cancel_request(fresh);
		assert.equal(0, #after.expire(1299));
		assert.equal(1, #after.expire(1300));
		-- The old one has handed them over for good: an answer is never given by both.
		assert.equal(0, before.in_flight());
	end);

	it("count the requests of an entity across a handover", function ()
		local before = open("t-", everything);
		before.iq_limits(2, 1000);
		for _ = 1, 2 do
			assert.is_table((before.iq(origin, privileged_iq(), 1)));
		end
		local after = open("t-", everything);
		after.iq_limits(2, 1000);
		after.import_requests(before.export_requests());
		assert.equal("wait resource-constraint", is_denial(after.iq(origin, privileged_iq(), 1)));
		assert.equal(2, #after.forget("entity", entity));
		assert.is_table((after.iq(origin, privileged_iq(), 1)));
	end);
end);

describe("the answer to a roster request", function ()
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

	local nasty = {
		"Romeo", "", " ", "  two  spaces  ", "<item/>", "</item>", "&amp;", "&", "'", '"', "]]>", "<![CDATA[", "&#0;", "'/><evil a='",
		"<!-- -->", "<?pi?>", "%s%n", "\\", "é", "e\u{301}", "朱丽叶", "🌹", "\u{202e}evil", "\u{feff}bom", "\u{fffd}", "\u{10ffff}",
		("x"):rep(70000), ("&"):rep(5000),
	};

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
		local answer = core.roster_result(request, account, roster);
		assert.is_string(answer);
		assert.same(meaning(xml_parse(tostring(expected))), meaning(xml_parse(answer)));
		assert.not_matches("paris", answer);
		assert.not_matches("private", answer);
	end);

	it("is a push when it is about one item", function ()
		local core = granting();
		for i, name in ipairs(nasty) do
			local item = { subscription = "to", name = name ~= "" and name or nil, groups = { g = true }, persist = { "private" } };
			local parsed = xml_parse(core.roster_push(account, entity, name, i.."@x", item, i));
			assert.same({ "iq", "set", account, entity, name },
				{ parsed.name, parsed.attr.type, parsed.attr.from, parsed.attr.to, parsed.attr.id });
			local found = meaning(parsed);
			assert.equal(tostring(i), found.query.ver);
			assert.same({ attr = { xmlns = "jabber:iq:roster", jid = i.."@x", subscription = "to", name = item.name }, groups = { "g" } },
				found.items[i.."@x"]);
		end
		local gone = meaning(xml_parse(core.roster_push(account, entity, "i", "a@x", nil, nil)));
		assert.is_nil(gone.query.ver);
		assert.equal("remove", gone.items["a@x"].attr.subscription);
	end);

	it("keeps line breaks and tabs, which the server's own writer loses", function ()
		local core = granting();
		for _, name in ipairs({ "\n", "\t", "a\nb\tc\rd", "\r\n", " \n " }) do
			local answer = core.roster_result(roster_get(), account, { ["a@b"] = { subscription = "none", name = name, groups = { [name] = true } } });
			local item = xml_parse(answer).tags[1].tags[1];
			assert.equal(name, item.attr.name);
			assert.equal(name, item.tags[1]:get_text());
		end
	end);

	it("holds nothing that would break the stream", function ()
		local core = granting();
		for _, name in ipairs({ "\0", "a\0b", "\27[31m", "\8", "\u{fffe}", "\u{ffff}", "\255\254", "\xED\xA0\x80", "\xC0\xAF", "\x7f" }) do
			local answer = core.roster_result(roster_get(), account, {
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
		local answer = core.roster_result(roster_get(), account, {
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

	it("is empty for somebody who has that version", function ()
		local core = granting();
		local roster = { [false] = { version = 12 }, ["a@b"] = { subscription = "both", groups = {} } };
		assert.equal(0, #xml_parse(core.roster_result(roster_get("12"), account, roster)).tags);
		for _, ver in ipairs({ "", "11", "x" }) do
			assert.equal(1, #xml_parse(core.roster_result(roster_get(ver), account, roster)).tags[1].tags, ver);
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
		local answer = xml_parse(core.roster_result(roster_get(), account, roster));
		local set = st.iq({ type = "set", from = entity, to = account, id = "o" }):add_child(answer.tags[1]);
		assert.same({}, core.plan_roster_set(account, set, roster));
		local changes = core.plan_roster_set(account, set, {});
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

describe("an advertisement", function ()
	it("is one stanza that the server's parser reads", function ()
		local core = open("t-", { [entity] = {
			roster = "both"; message = "outgoing"; presence = "roster"; iq = { ["urn:'<&\">"] = "get", ["urn:x"] = "both" };
		} });
		local text, granted = core.advertisement(entity, entity, "<&'\">");
		assert.is_true(granted);
		local message = xml_parse(text);
		assert.same({ "message", host, entity, "<&'\">" }, { message.name, message.attr.from, message.attr.to, message.attr.id });
		assert.is_nil(message.attr.xmlns);
		assert.equal(1, #message.tags);
		local privilege = message:get_child("privilege", "urn:xmpp:privilege:2");
		local perms = {};
		for perm in privilege:childtags("perm") do
			perms[perm.attr.access] = perm;
		end
		assert.equal(4, #privilege.tags);
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

	it("of nothing says so", function ()
		local core = open("t-");
		local text, granted = core.advertisement("nobody.lit", "nobody.lit/x", "i");
		assert.is_false(granted);
		assert.equal(0, #xml_parse(text).tags[1].tags);
	end);

	it("that cannot be written is nil, not broken", function ()
		local core = granting();
		for _, id in ipairs({ "\0", "\27" }) do
			local text = core.advertisement(entity, entity, id);
			assert.truthy(text == nil or xml_parse(text), ("%q"):format(id));
		end
	end);
end);
