-- The border between Lua and the native library: the configuration.

local border = require "border";

local open, granting, everything = border.open, border.granting, border.everything;
local privileged_message, privileged_iq, roster_get = border.privileged_message, border.privileged_iq, border.roster_get;
local promptly, is_denial = border.promptly, border.is_denial;
local host, entity, origin = border.host, border.entity, border.origin;

describe("a configuration", function ()
	it("may contain itself, or anything, and is never raised", function ()
		local core = open();
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
			local configured = promptly(function ()
				return core:configure({ entities = tree, iq_limit = tree, iq_timeout = tree, probe = tree, probe_rate = tree });
			end);
			local problems = configured.problems;
			assert.is_true(#problems > 0);
			assert.same({}, configured.tasks);
			for _, problem in ipairs(problems) do
				assert.truthy(({ error = true, warn = true })[problem.level]);
				assert.truthy(problem.text:find(host, 1, true), problem.text);
				assert.is_nil(problem.text:find("\n", 1, true), problem.text);
				-- The server formats what it logs.
				assert.truthy(utf8.len(problem.text), problem.text);
			end
			-- Nothing that cannot be read grants anything.
			is_denial(core:message(origin, privileged_message()));
			is_denial(core:iq(origin, privileged_iq(), 1));
			is_denial(core:roster(origin, roster_get()));
		end
	end);

	it("is taken as it was when it was read", function ()
		local core = open();
		local tree = { [entity] = { message = "outgoing", accounts = { "juliet" } } };
		core:configure({ entities = tree });
		tree[entity].accounts[1] = "romeo";
		tree[entity] = nil;
		assert.is_table((core:message(origin, privileged_message())));
		core:configure({ entities = tree });
		assert.is_false(core:grants(entity));
		is_denial(core:message(origin, privileged_message()));
	end);

	it("replaces the one before as a whole", function ()
		local core = granting();
		assert.is_true(core:grants(entity));
		core:configure({ entities = { ["bot@"..host] = { message = "outgoing" } } });
		assert.is_false(core:grants(entity));
		assert.same({ "bot@"..host }, core:entities());
		core:configure({});
		assert.same({}, core:entities());
	end);

	it("says in plain values what is in force", function ()
		local core = open();
		local configured = core:configure({ entities = everything });
		assert.same({ problems = {}, asks_online = true, asks_offline = true, probe_rate = 200, follows_rosters = true, tasks = {} }, configured);
		assert.same({ entity }, core:entities());
		assert.is_true(core:grants(entity));
		assert.is_false(core:grants("nobody.lit"));
		configured = core:configure({ entities = { [entity] = { message = "outgoing" } }, probe = "online", probe_rate = "7.5" });
		assert.same({ problems = {}, asks_online = true, asks_offline = false, probe_rate = 7.5, follows_rosters = false, tasks = {} }, configured);
		-- An entity that is granted nothing is still one of the configuration.
		core:configure({ entities = { [entity] = { message = "none" } } });
		assert.same({ { entity }, false }, { core:entities(), core:grants(entity) });
	end);

	it("reports options that it does not understand, in one form", function ()
		local core = open();
		for _, wrong in ipairs({ "many", true, {}, print, -1, 0/0, 1/0, "\255" }) do
			local problems = core:configure({ iq_limit = wrong, iq_timeout = wrong, probe_rate = wrong, probe = wrong }).problems;
			assert.equal(4, #problems);
			for i, name in ipairs({ "iq_limit", "iq_timeout", "probe_rate", "probe" }) do
				assert.equal("error", problems[i].level);
				assert.truthy(problems[i].text:find("privilege_"..name.." of "..host, 1, true), problems[i].text);
			end
		end
		local configured = core:configure({ iq_limit = "many", probe = "some", probe_rate = 0 });
		assert.same({ 3, false, 200 }, { #configured.problems, configured.asks_online, configured.probe_rate });
	end);
end);
