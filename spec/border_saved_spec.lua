-- The border between Lua and the native library: two instances, and what one keeps for the next (L1).

local border = require "border";

local native, open, everything, connect = border.native, border.open, border.everything, border.connect;
local privileged_message, privileged_iq, is_denial = border.privileged_message, border.privileged_iq, border.is_denial;
local entity, account, origin = border.entity, border.account, border.origin;

-- Copies what is saved, and checks that it may pass through anything that keeps plain data.
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

local function send_iq(core, now, to, inner_id)
	local stanza = privileged_iq();
	local inner = stanza.tags[1].tags[1];
	inner.attr.to, inner.attr.id = to, inner_id or "i";
	return assert(core:iq(origin, stanza, now)).id;
end

describe("two instances of the library", function ()
	it("share nothing", function ()
		local one, other = open(everything, nil, "one-"), open(nil, nil, "other-");
		is_denial(other:message(origin, privileged_message()));
		assert.is_table((one:message(origin, privileged_message())));
		local id = send_iq(one, 1);
		assert.same({ true, false }, { one:is_waiting(), other:is_waiting() });
		assert.is_false(border.takes_answer(other, id));
		assert.is_nil(other:stop());
		other:configure({ iq_limit = 0, iq_timeout = 0 });
		assert.is_table((one:iq(origin, privileged_iq(), 1)));
		other:configure({ entities = everything });
		connect(one);
		assert.same({ true, false }, { one:sees("account"), other:sees("account") });
		assert.is_nil(other:pushes("juliet", "a@b", {}));
		one:configure({});
		assert.is_false(one:grants(entity));
		assert.is_true(other:grants(entity));
		assert.is_false(one:is_waiting());
	end);

	it("may be opened from the library again, as a reload does", function ()
		local again = border.load(border.file);
		assert.equal(native.version, again.version);
		local core = again.open(border.options());
		assert.is_false(core:grants(entity));
		-- A memory is known whichever opened it.
		core:configure({ entities = everything });
		local memory = connect(border.granting()).memory;
		assert.equal(memory, connect(core, nil, memory).memory);
	end);
end);

describe("what an instance saves", function ()
	it("is plain data", function ()
		local core = border.granting();
		connect(core);
		connect(core, "nobody.lit");
		send_iq(core, 1, "romeo@montague.lit");
		send_iq(core, 1);
		local saved = plain(core:save());
		assert.same({ "romeo@montague.lit", nil }, { saved.requests[1].to, saved.requests[2].to });
		assert.is_string(saved.connections[entity].advertised);
		assert.same({}, saved.connections["nobody.lit"]);
	end);

	it("is gone on with: requests in flight", function ()
		local before = open(everything, { iq_timeout = 1 });
		local ids = {};
		for i, to in ipairs({ "romeo@montague.lit", false, "pubsub.montague.lit" }) do
			ids[i] = send_iq(before, i * 100, to or nil, "inner-"..i);
		end
		assert.equal("inner-2", before:answer(ids[2], account, account).inner_id);

		local after = open(everything, { iq_timeout = 1 });
		after:restore(plain(before:save()));
		-- The one before has handed them over for good, so an answer is never given by both.
		assert.is_false(before:is_waiting());
		assert.is_nil(before:answer(ids[1], "romeo@montague.lit", account));

		-- Nobody else can answer now either, and each only once.
		assert.is_nil(after:answer(ids[1], "mallory@montague.lit", account));
		assert.is_nil(after:answer(ids[2], account, account));
		local frame = after:answer(ids[1], "romeo@montague.lit", account);
		assert.same({ entity, account, "o", "inner-1" }, { frame.to, frame.from, frame.id, frame.inner_id });
		assert.is_nil(after:answer(ids[1], "romeo@montague.lit", account));
		-- An id is never given twice.
		local fresh = send_iq(after, 1);
		for _, id in ipairs(ids) do
			assert.not_equal(id, fresh);
		end
		assert.is_true(border.takes_answer(after, fresh));
		-- Deadlines stay what they were.
		assert.is_nil(after:tick(1299));
		assert.equal(1, #after:tick(1300));
		assert.is_false(after:is_waiting());
	end);

	it("is gone on with: the requests count against the limit of their entity", function ()
		local before = open(everything, { iq_limit = 2 });
		send_iq(before, 1);
		send_iq(before, 1);
		local after = open(everything, { iq_limit = 2 });
		after:restore(before:save());
		assert.equal("wait resource-constraint", is_denial(after:iq(origin, privileged_iq(), 1)));
		-- They belong to a connection, although the new instance has not met it yet.
		assert.equal(2, #after:stop());
	end);

	it("is gone on with: ids", function ()
		local before, seen = border.granting(), {};
		connect(before);
		for _ = 1, 20 do
			seen[before:new_id("push")] = true;
		end
		local after = border.granting();
		after:restore(plain(before:save()));
		for _ = 1, 40 do
			assert.is_nil(seen[after:new_id("push")]);
		end
	end);

	it("is gone on with: the connections, whose requests are not given up by coming again", function ()
		local before = border.granting();
		local memory = connect(before).memory;
		local id = send_iq(before, 1);
		local saved = before:save();
		local after = border.native.open(border.options());
		after:restore(saved);
		-- In the order of the shim: what is in flight, the configuration, the connections.
		assert.is_nil(after:configure({ entities = everything }).outbox);
		local earlier = saved.connections[entity];
		earlier.is_noted = true;
		local found = connect(after, nil, memory, earlier);
		assert.same({ number = found.number, memory = memory, written_address = entity }, found);
		assert.is_true(border.takes_answer(after, id));
	end);

	it("may be empty", function ()
		local core = border.native.open(border.options());
		local saved = core:save();
		assert.same({ {}, {} }, { saved.requests, saved.connections });
		core:restore(saved);
		assert.is_false(core:is_waiting());
	end);
end);
