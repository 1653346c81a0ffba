-- The shim's parts that know nothing of the server: a batch of roster changes, calls that must not wait, a store
-- that shares no tables.

local new_batch = require "roster_batch".new;
local at_once = require "at_once";
local roster_store = require "roster_store";
local put = require "roster_words".put;

local function roster(rows)
	rows = rows or {};
	rows[false] = rows[false] or { version = 3, pending = {} };
	return rows;
end

describe("a batch of roster changes", function ()
	it("enters what is planned and keeps what others have put into an item", function ()
		local live = roster({ ["a@b"] = { subscription = "from", groups = { G = true }, colour = "red", persist = false } });
		local batch = new_batch("juliet", live);
		assert.is_true(batch:is_empty());
		batch:enter(put("a@b", { subscription = "both", name = "A" }));
		batch:enter(put("c@d"));
		assert.same({ subscription = "both", name = "A", groups = {}, colour = "red" }, live["a@b"]);
		assert.is_table(live["c@d"]);
		assert.is_false(batch:is_empty());
		assert.same({ true, true, false }, { batch:touches("a@b"), batch:touches("c@d"), batch:touches("e@f") });
	end);

	it("writes the changed rows and the metadata", function ()
		local removed = {};
		local live = roster({ ["a@b"] = { groups = {} }, ["x@y"] = { groups = {} } });
		local batch = new_batch("juliet", live);
		batch:enter({ jid = "a@b", remove = true });
		batch:enter(put("c@d"));
		assert.same({ [false] = live[false], ["a@b"] = removed, ["c@d"] = live["c@d"] }, batch:rows(removed));
		assert.equal(removed, batch:rows(removed)["a@b"]);
	end);

	it("settles a pending request where the core says so, and shows it to those who are told of a removal", function ()
		for _, settles in ipairs({ true, false }) do
			local live = roster({ [false] = { version = 1, pending = { ["a@b"] = "request" } } });
			local batch = new_batch("juliet", live);
			batch:enter(put("a@b", { settles_request = settles or nil }));
			assert.equal(settles, live[false].pending["a@b"] == nil);
		end
		local live = roster({ ["a@b"] = { groups = {} }, [false] = { version = 1, pending = { ["a@b"] = "request" } } });
		local batch = new_batch("juliet", live);
		batch:enter({ jid = "a@b", remove = true, settles_request = true });
		assert.is_nil(live[false].pending["a@b"]);
		assert.equal("request", batch:roster_before()[false].pending["a@b"]);
	end);

	it("takes everything back", function ()
		local item = { subscription = "to", groups = {} };
		local live = roster({ ["a@b"] = item, [false] = { version = 3, pending = { ["c@d"] = "request" } } });
		local batch = new_batch("juliet", live);
		batch:enter({ jid = "a@b", remove = true });
		batch:enter(put("c@d", { subscription = "both", settles_request = true }));
		batch:set_version(batch:version_after(2));
		assert.equal(5, live[false].version);
		batch:undo();
		assert.same({ ["a@b"] = item, [false] = { version = 3, pending = { ["c@d"] = "request" } } }, live);
		assert.equal(item, live["a@b"]);
	end);

	it("gives each change a version, where the server keeps any", function ()
		for _, case in ipairs({ { 3, 4, 5 }, { nil, 1, 2 }, { true, nil, nil } }) do
			local live = roster({ [false] = { version = case[1], pending = {} } });
			local batch = new_batch("juliet", live);
			assert.same({ case[2], case[3] }, { batch:version_after(1), batch:version_after(2) });
			batch:set_version(batch:version_after(2));
			batch:undo();
			assert.equal(case[1], live[false].version);
		end
	end);
end);

describe("a call that must not wait", function ()
	it("gives the results", function ()
		assert.same({ true, 1, nil, 3, n = 4 }, table.pack(at_once(function (...) return ...; end, 1, nil, 3)));
		assert.same({ true, n = 1 }, table.pack(at_once(function () end)));
	end);

	it("tells a failure from waiting", function ()
		local problem = {};
		assert.same({ false, problem }, { at_once(error, problem) });
		assert.is_nil((at_once(coroutine.yield)));
	end);

	it("leaves what waits to go on by itself", function ()
		local async = require "util.async";
		local done, finished;
		assert.is_nil((at_once(function ()
			local wait;
			wait, done = async.waiter();
			wait();
			finished = true;
		end)));
		assert.is_nil(finished);
		done();
		assert.is_true(finished);
	end);
end);

-- A store in memory; `keeps` says whether it keeps and hands out the tables it is given.
local function storage(keeps, is_map)
	local function own(table)
		if keeps or type(table) ~= "table" then
			return table;
		end
		local copy = {};
		for key, value in pairs(table) do
			copy[key] = own(value);
		end
		return copy;
	end
	local rows = {};
	local store = { remove = {}, note = "a note" };
	function store.get(self, username, key)
		assert(self == store);
		if is_map then
			return own((rows[username] or {})[key]);
		end
		return own(rows[username]);
	end
	function store.set(_, username, first, second)
		if is_map then
			rows[username] = rows[username] or {};
			rows[username][first] = own(second);
		else
			rows[username] = own(first);
		end
		return true;
	end
	if is_map then
		function store.set_keys(_, username, changes)
			rows[username] = rows[username] or {};
			for key, row in pairs(changes) do
				rows[username][key] = row ~= store.remove and own(row) or nil;
			end
			return true;
		end
	end
	function store.users(self)
		assert(self == store);
		return next, rows;
	end
	return store;
end

describe("a store apart", function ()
	local function item(name)
		return { subscription = "none", name = name, groups = { G = true } };
	end

	for _, keeps in ipairs({ true, false }) do
		it("shares no roster with storage that keeps tables: "..tostring(keeps), function ()
			local known = {};
			local store = roster_store.apart(storage(keeps), known);
			local live = { [false] = { version = 1, pending = { ["x@y"] = "request" } }, ["a@b"] = item("A") };
			assert.is_true(store:set("juliet", live));
			live["a@b"].name, live["a@b"].groups.H, live[false].pending["x@y"] = "B", true, nil;
			local found = store:get("juliet");
			assert.same({ [false] = { version = 1, pending = { ["x@y"] = "request" } }, ["a@b"] = item("A") }, found);
			found["a@b"].name = "C";
			assert.equal("A", store:get("juliet")["a@b"].name);
			assert.equal(keeps, known.keeps_tables);
		end);

		it("shares no row with storage by rows that keeps tables: "..tostring(keeps), function ()
			local raw = storage(keeps, true);
			local store = roster_store.apart(raw, {});
			local a, b = item("A"), item("B");
			store:set("juliet", "a@b", a);
			store:set_keys("juliet", { ["c@d"] = b, ["e@f"] = raw.remove });
			a.name, b.name = "changed", "changed";
			assert.same({ "A", "B" }, { store:get("juliet", "a@b").name, store:get("juliet", "c@d").name });
			store:set_keys("juliet", { ["c@d"] = raw.remove });
			assert.is_nil(store:get("juliet", "c@d"));
		end);
	end

	it("is the store itself, once that is known to keep no tables", function ()
		local raw, known = storage(false), {};
		local store = roster_store.apart(raw, known);
		store:set("juliet", { ["a@b"] = item("A") });
		assert.is_nil(known.keeps_tables);
		store:get("juliet");
		assert.equal(raw, roster_store.apart(raw, known));
	end);

	it("passes on whatever else there is", function ()
		local store = roster_store.apart(storage(true), {});
		assert.equal("a note", store.note);
		assert.equal(next, (store:users()));
		assert.is_nil(store.append);
	end);
end);
