-- What an instance of the module reads of an earlier one: its own form, that of version 0.1.0, and anything else.

local saved_state = require "saved_state";
local st = require "util.stanza";
local xml_parse = require "util.xml".parse;
local border = require "border";

local entity, account = border.entity, border.account;

describe("the saved state", function ()
	it("of this version is read as it was written", function ()
		local core = border.granting();
		border.connect(core);
		assert.is_table((core:iq(border.origin, border.privileged_iq(), 1)));
		local relay, session, state = { answer = print }, { type = "component" }, core:save();
		state.connections[entity].session = session;
		local written = saved_state.write({ id_prefix = "t-", relay = relay, core = state, connections = state.connections });
		assert.equal(2, written.format);
		local read = saved_state.read(written);
		assert.same({ "t-", relay, state }, { read.id_prefix, read.relay, read.core });
		assert.equal(relay, read.relay);
		assert.equal(session, read.connections[entity].session);
		local after = border.open(border.everything);
		after:restore(read.core);
		assert.is_true(border.takes_answer(after, "t-1"));
	end);

	it("of nobody, of an unknown form, or damaged, is nothing", function ()
		local of_0_1_0 = { id_prefix = "p-", link = {}, told = {}, requests = { next = 1, requests = {} } };
		assert.equal("p-", saved_state.read(of_0_1_0).id_prefix);
		for _, wrong in ipairs({ 7, "text", true, print, {}, { format = 1 }, { format = 3, id_prefix = "p-" }, { format = "2" },
			{ id_prefix = "p-" } }) do
			assert.same({}, saved_state.read(wrong));
		end
		assert.same({}, saved_state.read(nil));
		assert.same({}, saved_state.read(false));
		for name, good in pairs(of_0_1_0) do
			for _, wrong in ipairs({ 7, true, print, type(good) == "table" and "text" or {} }) do
				of_0_1_0[name] = wrong;
				assert.same({}, saved_state.read(of_0_1_0), name);
			end
			of_0_1_0[name] = nil;
			assert.same({}, saved_state.read(of_0_1_0), name);
			of_0_1_0[name] = good;
		end
		of_0_1_0.requests = {};
		assert.same({}, saved_state.read(of_0_1_0));
		-- A later version that keeps those fields as well says so by its format.
		of_0_1_0.requests = { next = 1, requests = {} };
		of_0_1_0.format = 3;
		assert.same({}, saved_state.read(of_0_1_0));
	end);
end);

describe("the saved state of version 0.1.0", function ()
	-- As its `module.save` made it: `told` by its entities.lib.lua, `requests` by its export_requests.
	local function saved()
		return {
			id_prefix = "t-", link = { take_answer = nil };
			told = {
				[entity] = { session = { type = "component" }, told = "<message/>", presence_pending = nil };
				["bot@capulet.lit/1"] = {
					session = { full_jid = "bot@capulet.lit/1" }, told = nil, presence_pending = { ["romeo@montague.lit"] = true };
				};
			};
			requests = { next = 12, requests = {
				{ 3, 5000, entity, entity, "outer-3", "inner-3", account, "" };
				{ 10, 6000, entity, entity, "outer-a", "inner-a", account, "romeo@montague.lit" };
			} };
		};
	end

	it("is answered, and its ids go on", function ()
		local read = saved_state.read(saved());
		assert.equal("t-", read.id_prefix);
		local core = border.native.open(border.options({ id_prefix = read.id_prefix }));
		core:restore(read.core);
		core:configure({ entities = border.everything });

		local frame = core:answer("t-a", "romeo@montague.lit", account);
		assert.same({ entity, account, "outer-a", "inner-a" }, { frame.to, frame.from, frame.id, frame.inner_id });
		-- The one without a recipient has gone to the account's own server.
		assert.is_nil(core:answer("t-3", "romeo@montague.lit", account));
		assert.is_nil(core:tick(4999));
		local outbox = core:tick(5000);
		assert.equal(1, #outbox);
		assert.equal("outer-3", xml_parse(outbox[1].text).attr.id);
		assert.is_false(core:is_waiting());
		assert.equal("t-c", core:iq(border.origin, border.privileged_iq(), 1).id);

		read = saved_state.read(saved());
		core = border.native.open(border.options());
		core:restore(read.core);
		assert.equal("inner-3", core:answer("t-3", account, account).inner_id);
	end);

	it("keeps its connections", function ()
		local old = saved();
		local connections = saved_state.read(old).connections;
		assert.same({
			session = old.told[entity].session, advertised = "<message/>", is_pending = false, is_noted = false;
		}, connections[entity]);
		assert.equal(old.told[entity].session, connections[entity].session);
		local of_bot = connections["bot@capulet.lit/1"];
		assert.same({ true, { ["romeo@montague.lit"] = true }, false }, { of_bot.is_pending, of_bot.asked, of_bot.is_noted });
		assert.is_nil(of_bot.advertised);

		-- The core takes them as they are.
		local core = border.open({ [entity] = border.everything[entity], ["bot@capulet.lit"] = { presence = "managed_entity" } });
		assert.equal("tell", border.connect(core, "bot@capulet.lit/1", nil, of_bot).task);
		-- A memory that such a version has not kept up to date does not count.
		local memory = border.connect(border.granting()).memory;
		assert.equal("tell", border.connect(core, nil, memory, connections[entity]).task);
		assert.is_nil(core:connected(entity, entity, nil, { advertised = core:save().connections[entity].advertised, is_pending = false }).task);
	end);

	it("hands on the answers that its handlers still take", function ()
		local old = saved();
		local read = saved_state.read(old);
		local answer = st.iq({ type = "result", id = "t-3", from = account });
		old.link.take_answer(answer, account); -- before the present instance has handlers
		local taken = {};
		read.relay.answer = function (...)
			taken[#taken + 1] = { ... };
		end;
		old.link.take_answer(answer, account);
		assert.equal(1, #taken);
		assert.equal(answer, taken[1][1]);
		assert.equal(account, taken[1][2]);
		-- The present instance is unloaded.
		read.relay.answer = nil;
		old.link.take_answer(answer, account);
		assert.equal(1, #taken);
	end);

	it("is written in the form of this version at the next reload", function ()
		local read = saved_state.read(saved());
		local written = saved_state.write(read);
		assert.equal(2, written.format);
		assert.equal(written, saved_state.read(written));
	end);
end);
