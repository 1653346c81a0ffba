-- The border between Lua and the native library: the library itself, and arguments of the wrong type.
--
-- The specs whose names begin with "border" own the crossing and nothing else. What is allowed, refused, planned and
-- written is owned by the tests in Rust, which know no Lua. Owned here is that the library is the one its version says,
-- that values of the wrong type are errors and never turned into the right one, that a denial is a value, that a panic
-- stays one call's error, that a table cannot lie through its metatable, that nothing a peer sends can exhaust the
-- stack, that two instances share nothing, and that what is handed back is what the server's own libraries read.

local st = require "util.stanza";
local jid = require "util.jid";
local nodeprep = require "util.encodings".stringprep.nodeprep;
local border = require "border";

local native, file, is_error = border.native, border.file, border.is_error;
local host, entity, account, origin = border.host, border.entity, border.account, border.origin;

local function exports_of(library)
	local names = {};
	for name in pairs(library) do
		names[#names + 1] = name;
	end
	table.sort(names);
	return names;
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
		-- A released library has no function that panics.
		assert.same({ "includes_from", "includes_to", "lua", "open", "version" }, exports_of(native));
		assert.is_nil(rawget(_G, "privilege_native"));
	end);

	it("says which subscriptions let whom see whom", function ()
		assert.same({ to = true, both = true }, native.includes_to);
		assert.same({ from = true, both = true }, native.includes_from);
	end);

	it("refuses to be another Lua's", function ()
		assert.is_nil((package.loadlib(file, "luaopen_privilege")));
	end);

	it("hands out hosts that nobody can change", function ()
		local core = border.granting();
		assert.equal("userdata", type(core));
		assert.is_false(getmetatable(core));
		assert.is_false(pcall(function () core.message = print; end));
		assert.is_nil(core.nonsense);
		assert.is_nil(core[1]);
	end);
end);

describe("a panic", function ()
	-- A library with a function that panics is built beside the released one.
	local with_fault = (os.getenv("CARGO_TARGET_DIR") or "target").."/debug/libprivilege_native.so";
	local library;

	setup(function ()
		local built = os.execute("cargo build --quiet --locked --no-default-features --features lua"
			..native.lua:gsub("%.", "")..",fault");
		assert(built, "the library with a fault cannot be built");
		library = border.load(with_fault);
	end);

	it("is the error of its own call, and the next ones work", function ()
		assert.same({ "fault", "includes_from", "includes_to", "lua", "open", "version" }, exports_of(library));
		local core = library.open(border.options());
		core:configure({ entities = border.everything });
		for _ = 1, 3 do
			is_error("fault", library.fault, "a fault on purpose");
			assert.is_table((core:message(origin, border.privileged_message())));
		end
		local thread = coroutine.create(library.fault);
		assert.is_false((coroutine.resume(thread)));
		assert.is_table((core:iq(origin, border.privileged_iq(), 1)));
	end);
end);

describe("a value of the wrong type", function ()
	local samples = {
		string = "7"; number = 7; boolean = true; table = {}; ["function"] = print; coroutine = coroutine.create(print);
		userdata = io.stdout; ["nil"] = nil; -- luacheck: ignore 314
	};
	local kinds = { "string", "number", "boolean", "table", "function", "coroutine", "userdata", "nil" };

	local presence = st.presence({ from = account.."/balcony" });

	-- An argument: its name, its type, a good value, a second type it may have, and how the error names the type.
	local function takes(name, kind, good, also, says)
		return { name = name, kind = kind, good = good, also = also, says = says or "to "..kind };
	end

	local frame = { to = entity, from = account, id = "o" };

	-- Every method, with one good value for each of its arguments.
	local arguments = {
		configure = { takes("options", "table", { entities = border.everything }) };
		entities = {}, stop = {}, is_waiting = {}, save = {};
		grants = { takes("entity", "string", entity) };
		connected = { takes("address", "string", entity), takes("entity", "string", entity), takes("memory", "any"),
			takes("earlier", "table", {}, "nil") };
		disconnected = { takes("address", "string", "x") };
		client_changed = { takes("address", "string", "x") };
		account_gone = { takes("account", "string", "x@capulet.lit") };
		tick = { takes("now", "number", 1) };
		new_id = { takes("what", "string", "x") };
		message = { takes("session", "table", origin), takes("stanza", "table", border.privileged_message()) };
		iq = { takes("session", "table", origin), takes("stanza", "table", border.privileged_iq()), takes("now", "number", 1) };
		roster = { takes("session", "table", origin), takes("stanza", "table", border.roster_get()) };
		is_in_flight = { takes("permit", "table", { id = "t-1" }) };
		decline = { takes("kind", "string", "iq"), takes("permit", "table", {}), takes("why", "string", "failed") };
		answer = { takes("id", "string", "t-1"), takes("from", "string", account, "nil"), takes("to", "string", account) };
		wrap = { takes("reply", "table", frame), takes("stanza", "table", st.iq({ id = "i", type = "result" })),
			takes("content", "string", "<x/>", "nil"), takes("error", "string", "") };
		escaped = { takes("text", "string", "<") };
		unrelayable = { takes("reply", "table", frame) };
		ahead = { takes("account", "string", account), takes("to", "string", entity) };
		roster_result = { takes("account", "string", account), takes("stanza", "table", border.roster_get()), takes("roster", "table", {}) };
		plan_roster_set = { takes("account", "string", account), takes("stanza", "table", border.roster_set({ jid = "a@b" })),
			takes("roster", "table", {}), takes("entity", "string", entity, "nil") };
		may_set_roster = { takes("entity", "string", entity), takes("username", "string", "juliet"), takes("contact", "string", "a@b") };
		agree_roster_change = { takes("account", "string", account), takes("change", "table", { jid = "a@b", subscription = "to" }),
			takes("item", "table", {}, "nil"), takes("may_set", "boolean", true) };
		follow_roster = { takes("username", "string", "juliet") };
		pushes = { takes("username", "string", "juliet"), takes("jid", "string", "a@b"), takes("item", "table", {}, "nil"),
			takes("version", "number", 3, "nil") };
		roster_changes = { takes("before", "table", {}, "nil"), takes("after", "table", {}, "nil") };
		sees = { takes("occasion", "string", "account") };
		viewers = { takes("occasion", "string", "account"), takes("username", "string", "juliet"), takes("stanza", "table", presence),
			takes("among", "table", {}, "nil"), takes("contacts", "table", {}, "nil") };
		shown = { takes("news", "table", {}) };
		unfounded = { takes("occasion", "string", "account"), takes("username", "string", "juliet"), takes("jid", "string", account),
			takes("present", "table", {}), takes("among", "table", {}, "nil") };
		lost = { takes("username", "string", "juliet"), takes("contact", "string", "romeo@montague.lit"),
			takes("others", "table", {}, nil, "expected table"), takes("blocked", "table", {}, "nil") };
		follow_blocklists = { takes("is_on", "boolean", false) }, forget_blocklists = { takes("username", "string", "juliet", "nil") };
		blocklist = { takes("username", "string", "juliet"), takes("list", "table", {}, nil, "expected table") };
		has_blocked = { takes("username", "string", "juliet"), takes("entity", "string", entity) };
		hidden = { takes("from", "string", account.."/x"), takes("among", "table", {}), takes("contacts", "table", {}) };
		believers = { takes("jid", "string", account), takes("among", "table", {}) };
		services = { takes("username", "string", "juliet") };
		confirm = { takes("username", "string", "juliet"), takes("roster", "table", {}), takes("among", "table", {}) };
		contacts = { takes("username", "string", "juliet"), takes("roster", "table", {}), takes("among", "table", {}) };
		askers = { takes("username", "string", "juliet"), takes("contact", "string", "romeo@montague.lit"), takes("among", "table", {}) };
		asked = { takes("contact", "string", "romeo@montague.lit"), takes("viewers", "table", {}) };
		all_asked = { takes("viewer", "number", 1) };
		needs_round = { takes("viewer", "number", 1), takes("asks", "boolean", true) };
		restore = { takes("saved", "table", { next = 1, requests = {} }) };
	};

	local function expected(kind)
		return "to "..kind;
	end

	local function check(core, method, list)
		local good = { n = #list };
		for i, argument in ipairs(list) do
			good[i] = argument.good;
		end
		local function call(values)
			return core[method](core, table.unpack(values, 1, values.n));
		end
		local ok, problem = pcall(call, good);
		assert.is_true(ok, method..": "..tostring(problem));
		for i, argument in ipairs(list) do
			for _, kind in ipairs(kinds) do
				if argument.kind ~= "any" and kind ~= argument.kind and kind ~= argument.also then
					local values = table.move(good, 1, good.n, 1, { n = good.n });
					values[i] = samples[kind];
					local case = ("%s(%s = a %s)"):format(method, argument.name, kind);
					-- The host itself is the first argument.
					is_error(case, function () return call(values); end,
						("bad argument #%d to `LuaHost.%s`"):format(i + 1, method), argument.says);
				end
			end
		end
	end

	it("is an error of every method, naming method and argument", function ()
		for method, list in pairs(arguments) do
			check(border.granting(), method, list);
		end
	end);

	it("is looked for in every method there is", function ()
		for _, method in ipairs(require "border_methods".of_library()) do
			assert.is_table(arguments[method], method.." is not in the table of arguments");
			arguments[method].is_there = true;
		end
		for method, list in pairs(arguments) do
			assert.is_true(list.is_there, method.." is gone");
		end
	end);

	it("is no granting host", function ()
		local core = border.granting();
		for method in pairs(arguments) do
			for _, value in pairs(samples) do
				is_error(method, function () return core[method](value); end, ("bad argument `self` to `LuaHost.%s`"):format(method));
			end
			is_error(method, function () return core[method](); end, ("bad argument `self` to `LuaHost.%s`"):format(method));
			local memory = border.connect(core).memory;
			assert.is_false(pcall(core[method], memory));
		end
	end);

	it("does not open an instance", function ()
		for name, good in pairs(border.options()) do
			for _, kind in ipairs(kinds) do
				if kind ~= type(good) then
					local options = border.options();
					options[name] = samples[kind];
					is_error(("open{ %s = a %s }"):format(name, kind), function () return native.open(options); end,
						"bad argument #1", ('field "%s"'):format(name), expected(type(good)));
				end
			end
		end
		for _, kind in ipairs(kinds) do
			if kind ~= "table" then
				is_error("open(a "..kind..")", function () return native.open(samples[kind]); end, "bad argument #1", expected("table"));
			end
		end
		-- What a metatable says is not a field.
		assert.is_false(pcall(native.open, setmetatable({}, { __index = border.options() })));
	end);

	it("is no memory of presences: the connection begins with an empty one", function ()
		local core = border.granting();
		local memory = border.connect(core).memory;
		for _, value in pairs(samples) do
			local found = border.connect(core, nil, value);
			assert.is_userdata(found.memory);
			assert.not_equal(memory, found.memory);
			assert.equal("tell", found.task);
		end
		-- A host is userdata of the library, and is not a memory.
		assert.not_equal(core, border.connect(core, nil, core).memory);
		assert.equal(memory, border.connect(core, nil, memory).memory);
	end);

	it("is no occasion, no viewer, and no list of either", function ()
		local core = border.granting();
		for _, occasion in ipairs({ "", "Account", "contacts" }) do
			is_error(occasion, function () return core:viewers(occasion, "juliet", presence); end,
				"bad argument #2 to `LuaHost.viewers`", '"account" or "contact"');
			is_error(occasion, function () return core:sees(occasion); end, "bad argument #2 to `LuaHost.sees`");
		end
		for _, wrong in ipairs({ -1, 2^32, "1", {}, true }) do
			is_error("all_asked", function () return core:all_asked(wrong); end, "bad argument #2 to `LuaHost.all_asked`");
			is_error("viewers", function () return core:viewers("account", "juliet", presence, { wrong }); end,
				"bad argument #5 to `LuaHost.viewers`");
			is_error("askers", function () return core:askers("juliet", "a@b", { 1, wrong }); end, "bad argument #4 to `LuaHost.askers`");
		end
		for _, wrong in ipairs({ 7, true, {}, "\255" }) do
			is_error("lost", function () return core:lost("juliet", "a@b", { "romeo", wrong }); end, "bad argument #4 to `LuaHost.lost`");
		end
	end);

	it("is not mended: no number becomes a string, no string a number", function ()
		local core = border.open(border.everything, nil, "7");
		assert.is_false(pcall(core.grants, core, 7));
		assert.is_false(pcall(core.answer, core, "result", 71, nil, account));
		assert.is_false(pcall(core.tick, core, "7"));
		assert.is_false(pcall(core.new_id, core, 7));
		assert.is_false(pcall(core.pushes, core, "juliet", "a@b", nil, "3"));
		for _, wrong in ipairs({ -1, -0.5, 0/0, 1/0, -1/0, 1e300, math.mininteger }) do
			assert.is_false(pcall(core.tick, core, wrong), tostring(wrong));
			assert.is_false(pcall(core.iq, core, origin, border.privileged_iq(), wrong), tostring(wrong));
		end
		for _, right in ipairs({ 0, 0.9, 1e15, math.maxinteger }) do
			assert.is_true(pcall(core.tick, core, right), tostring(right));
			assert.is_true(pcall(core.iq, core, origin, border.privileged_iq(), right), tostring(right));
		end
		-- Only `true` and `false` are either.
		for _, wrong in ipairs({ 0, 1, "true", {} }) do
			assert.is_false(pcall(core.needs_round, core, 1, wrong));
			assert.is_false(pcall(core.agree_roster_change, core, account, { jid = "a@b", subscription = "to" }, nil, wrong));
		end
	end);

	it("is none where a string is no UTF-8: that is an error too", function ()
		local core = border.granting();
		for _, bytes in ipairs({ "\255", "\xC0\xAF", "\xED\xA0\x80", "juliet\xE2\x82" }) do
			is_error("grants", function () return core:grants(bytes); end, "bad argument #2 to `LuaHost.grants`", "UTF-8");
			is_error("connected", function () return core:connected(bytes, entity); end, "bad argument #2 to `LuaHost.connected`", "UTF-8");
			is_error("pushes", function () return core:pushes(bytes, "a@b"); end, "bad argument #2 to `LuaHost.pushes`", "UTF-8");
			is_error("open", function () return native.open(border.options({ host = bytes })); end, 'field "host"', "UTF-8");
		end
		-- In a stanza such a string is nobody's address.
		local stanza = border.privileged_message();
		stanza.attr.from = entity.."\255";
		border.is_denial(core:message(origin, stanza));
	end);

	it("is an error in a field, naming the field", function ()
		local core = border.granting();
		for _, kind in ipairs(kinds) do
			if kind ~= "string" then
				is_error("agree_roster_change", function ()
					return core:agree_roster_change(account, { jid = samples[kind], subscription = "to" }, nil, true);
				end, 'field "jid"', expected("string"));
				for name in pairs(frame) do
					local wrong = { to = frame.to, from = frame.from, id = frame.id };
					wrong[name] = samples[kind];
					is_error("unrelayable", function () return core:unrelayable(wrong); end, ('field "%s"'):format(name), expected("string"));
				end
				if kind ~= "nil" then
					is_error("connected", function () return border.connect(core, nil, nil, { advertised = samples[kind] }); end,
						'field "advertised"', expected("string"));
				end
			end
			for _, name in ipairs({ "is_pending", "is_noted" }) do
				if kind ~= "boolean" and kind ~= "nil" then
					is_error("connected", function () return border.connect(core, nil, nil, { [name] = samples[kind] }); end,
						('field "%s"'):format(name), expected("boolean"));
				end
			end
		end
	end);

	it("in saved state is an error that names the field, and takes nothing over", function ()
		local good = {
			number = 1, deadline = 5000, entity = entity, reply_to = entity, outer_id = "o", inner_id = "i", account = account,
			to = "romeo@montague.lit";
		};
		local function with(name, value)
			local entry = {};
			for key, field in pairs(good) do
				entry[key] = field;
			end
			entry[name] = value;
			return entry;
		end
		local core = border.open();
		for name, value in pairs(good) do
			for _, kind in ipairs(kinds) do
				if kind ~= type(value) and not (name == "to" and kind == "nil") then
					local saved = { next = 2, requests = { good, with(name, samples[kind]) } };
					is_error(("%s a %s"):format(name, kind), function () return core:restore(saved); end, ('field "%s"'):format(name));
					assert.is_false(core:is_waiting());
				end
			end
		end
		for _, name in ipairs({ "next", "requests", "last_id" }) do
			for _, kind in ipairs(kinds) do
				if kind ~= (name == "requests" and "table" or "number") and not (name == "last_id" and kind == "nil") then
					local saved = { next = 2, requests = { good }, last_id = 1 };
					saved[name] = samples[kind];
					is_error(("%s a %s"):format(name, kind), function () return core:restore(saved); end, ('field "%s"'):format(name));
					assert.is_false(core:is_waiting());
				end
			end
		end
		is_error("restore", function () return core:restore({ next = 1, requests = { {}, 1 } }); end, 'field "number"');
		is_error("restore", function () return core:restore({ next = 1, requests = { good, 1 } }); end, 'field "requests", row 2');
		assert.is_false(pcall(core.restore, core, setmetatable({}, { __index = { next = 1, requests = {} } })));
		assert.is_false(core:is_waiting());
		core:restore({ next = 2, requests = { good } });
		assert.is_true(core:is_waiting());
	end);
end);

describe("the server's own functions", function ()
	it("may raise an error: it refuses the address and leaves no lock", function ()
		local broken = false;
		local core = native.open(border.options({
			jid_prep = function (raw)
				if broken then
					error("no stringprep today");
				end
				return jid.prep(raw);
			end;
		}));
		core:configure({ entities = border.everything });
		local stanza = border.privileged_message();
		stanza.tags[1].tags[1].tags[1].attr.from = "JULIET@capulet.lit";
		broken = true;
		assert.equal("auth forbidden", border.is_denial(core:message(origin, stanza)));
		assert.same({}, core:configure({ entities = border.everything }).problems);
		broken = false;
		assert.is_table((core:message(origin, stanza)));
	end);

	it("may call the library themselves, while a judgement or the configuration is under way", function ()
		local core, inside;
		core = native.open(border.options({
			jid_prep = function (raw)
				inside = { pcall(core.message, core, origin, border.privileged_message()) };
				return jid.prep(raw);
			end;
			serves = function ()
				inside = { pcall(core.entities, core) };
				return true;
			end;
		}));
		core:configure({ entities = border.everything });
		assert.same({ true, {} }, inside);
		local stanza = border.privileged_message();
		stanza.tags[1].tags[1].tags[1].attr.to = "ROMEO@montague.lit";
		assert.equal("romeo@montague.lit", core:message(origin, stanza).to);
		assert.is_true(inside[1]);
		assert.is_table(inside[2]);
	end);

	it("may change the host from the configuration", function ()
		local core, inside;
		core = native.open(border.options({
			serves = function ()
				inside = { pcall(border.connect, core) };
				return true;
			end;
		}));
		assert.same({}, core:configure({ entities = border.everything }).problems);
		assert.is_true(inside[1]);
		assert.is_true(core:sees("contact"));
	end);

	it("may not change the host in the middle of a judgement; that is the error of the inner call alone", function ()
		local core, change, outcome;
		core = native.open(border.options({
			jid_prep = function (raw)
				if change then
					outcome = pcall(change);
				end
				return jid.prep(raw);
			end;
		}));
		core:configure({ entities = border.everything });
		for name, act in pairs({
			configure = function () return core:configure({}); end;
			tick = function () return core:tick(1); end;
			stop = function () return core:stop(); end;
			connected = function () return border.connect(core); end;
			iq = function () return core:iq(origin, border.privileged_iq(), 1); end;
		}) do
			local stanza = border.privileged_message();
			stanza.tags[1].tags[1].tags[1].attr.to = "ROMEO@montague.lit";
			change = act;
			assert.equal("romeo@montague.lit", core:message(origin, stanza).to, name);
			assert.is_false(outcome, name);
			change = nil;
			assert.is_true(core:grants(entity), name);
			assert.is_true(pcall(core.tick, core, 1), name);
		end
	end);

	it("may return anything: it grants nothing", function ()
		for _, odd in ipairs({ 7, true, {}, "", "\255", "@", "/", "@capulet.lit", print }) do
			local function oddly()
				return odd;
			end
			local core = native.open(border.options({ jid_prep = oddly, nodeprep = oddly, serves = oddly }));
			core:configure({ entities = { [entity] = { message = "outgoing", accounts = { "JULIET" } } } });
			local stanza = border.privileged_message();
			stanza.tags[1].tags[1].tags[1].attr.from = "JULIET@capulet.lit";
			border.is_denial(core:message(origin, stanza));
		end
		-- Returning nothing, or several values, is odd as well.
		for _, oddly in ipairs({ function () end, function () return nil, jid.prep(account); end }) do
			local core = native.open(border.options({ jid_prep = oddly, nodeprep = nodeprep }));
			core:configure({ entities = border.everything });
			local stanza = border.privileged_message();
			stanza.tags[1].tags[1].tags[1].attr.from = "JULIET@"..host;
			border.is_denial(core:message(origin, stanza));
		end
	end);
end);
