-- The border between Lua and the native library: its description in lua/types/host.lua holds what is there, and what is
-- there has a caller.

local st = require "util.stanza";
local border = require "border";
local methods = require "border_methods";

local function difference(list, other)
	local is_in_other, found = {}, {};
	for _, name in ipairs(other) do
		is_in_other[name] = true;
	end
	for _, name in ipairs(list) do
		if not is_in_other[name] then
			found[#found + 1] = name;
		end
	end
	return found;
end

describe("the description of the border", function ()
	it("names the methods that the library registers, and no other", function ()
		local described, registered = methods.of_types(), methods.of_library();
		assert.is_true(#registered > 30);
		assert.same({}, difference(registered, described), "not in lua/types/host.lua");
		assert.same({}, difference(described, registered), "not in src/lua");
	end);

	it("names methods that the userdata has", function ()
		local core = border.native.open(border.options());
		for _, name in ipairs(methods.of_types()) do
			assert.is_function(core[name], name);
		end
	end);

	it("names what the library exports", function ()
		local described = methods.fields_of("privilege.Native");
		for name in pairs(border.native) do
			assert.is_string(described[name], name);
			described[name] = nil;
		end
		assert.same({}, described);
	end);

	-- Checks that a table has no field which a class of the description lacks, and has all that are not optional.
	local function fits(class, value)
		local described = methods.fields_of(class);
		assert.is_not_nil(next(described), class);
		for name in pairs(value) do
			assert.is_string(described[name], class.." has no field "..name);
		end
		for name, line in pairs(described) do
			local is_optional = line:match("^%-%-%-@field [%w_]+ [%w_.<>%[%], ]+%?") or line:match("^%-%-%-@field [%w_]+ any");
			assert.truthy(value[name] ~= nil or is_optional, class.." lacks "..name);
		end
	end

	it("names the fields of what is returned", function ()
		local core = border.native.open(border.options());
		fits("privilege.Options", border.options());
		local found = border.connect(core);
		local configured = core:configure({ entities = border.everything, iq_limit = "many" });
		fits("privilege.Configured", configured);
		fits("privilege.Problem", configured.problems[1]);
		fits("privilege.Outgoing", configured.outbox[1]);
		assert.same({ number = found.number, task = "tell" }, configured.tasks[1]);
		fits("privilege.Connected", border.connect(core));
		fits("privilege.Permit", (core:message(border.origin, border.privileged_message())));
		fits("privilege.Permit", (core:iq(border.origin, border.privileged_iq(), 1)));
		fits("privilege.Permit", (core:roster(border.origin, border.roster_get())));
		fits("privilege.Denial", (select(2, core:message(border.origin, st.message()))));
		fits("privilege.Reply", core:ahead(border.account, border.entity));
		fits("privilege.Reply", core:answer("t-1", border.account, border.account));
		fits("privilege.RosterChange", core:plan_roster_set(border.account, border.roster_set({ jid = "a@b" }), {})[1]);
		local item = { subscription = "none" };
		local change = { jid = "romeo@"..border.host, subscription = "to" };
		fits("privilege.Agreement", (core:agree_roster_change(border.account, change, item, true)));
		core:follow_blocklists(true);
		fits("privilege.BlocklistChange", core:blocklist("juliet", { border.entity }));
		fits("privilege.Service", core:services("juliet")[1]);
		core:follow_blocklists(false);
		core:iq(border.origin, border.privileged_iq(), 1);
		local saved = core:save();
		fits("privilege.Saved", saved);
		fits("privilege.SavedRequest", saved.requests[1]);
		fits("privilege.Earlier", saved.connections[border.entity]);
	end);

	it("says in a sentence what each method is for", function ()
		for name, said in pairs(methods.descriptions_of("privilege.Host")) do
			assert.matches("^[A-Z][a-z]+.*%.$", said, nil, nil, name);
			assert.truthy(said:match("Returns") or not methods.fields_of("privilege.Host")[name]:match("%): "), name);
		end
	end);
end);

describe("the methods of a granting host", function ()
	it("all have a caller in the shim, and the shim calls no other", function ()
		assert.same({}, difference(methods.of_library(), methods.of_callers()), "unused");
		assert.same({}, difference(methods.of_callers(), methods.of_library()), "missing");
	end);
end);
