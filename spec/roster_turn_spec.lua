-- The order in which roster sets are entered, saved, answered and told (R2, R10, R11).

local new_batch = require "roster_batch".new;
local new_turn = require "roster_turn";
local put = require "roster_words".put;

describe("a turn of roster sets", function ()
	local said, stored, broken, missing, agreements, turn;

	local function say(...)
		said[#said + 1] = table.concat({ ... }, " ");
	end

	-- Rosters whose storage fails for the accounts in `broken`.
	local rosters = {};
	function rosters.begin(username)
		if missing[username] then
			return nil;
		end
		stored[username] = stored[username] or { [false] = { version = 1, pending = {} } };
		local batch = new_batch(username, stored[username]);
		batch.rosters = rosters;
		return batch;
	end
	function rosters.save(batch)
		say("save", batch.username, #batch.jids);
		if broken[batch.username] then
			batch:undo();
			return false;
		end
		return true;
	end
	function rosters.take_back(batch)
		say("take back", batch.username);
		batch:undo();
	end
	function rosters.tell(batch)
		say("tell", batch.username);
	end
	function rosters.cancel_subscriptions(batch)
		say("cancel", batch.username);
	end

	local function request(name, username, ...)
		return { name = name, username = username, account = username.."@capulet.lit", permit = {}, stanza = { changes = { ... } } };
	end

	-- Deals with requests as rosters.lib.lua does.
	local function deal_with(...)
		for _, each in ipairs({ ... }) do
			while not turn.enter(each) do
				turn.commit();
			end
			turn.add(each);
			if turn.is_complete() then
				turn.commit();
			end
		end
		turn.commit();
	end

	before_each(function ()
		said, stored, broken, missing, agreements = {}, {}, {}, {}, {};
		turn = new_turn({
			plan_roster_set = function (_, _, stanza)
				if stanza.changes[1] == "denied" then
					return nil, { text = "denied" };
				end
				return stanza.changes;
			end;
			decline = function (_, _, _, why)
				return { text = why };
			end;
		}, {
			rosters = rosters;
			protected = function (f, ...) f(...); end;
			still_exists = function (username) return missing[username] ~= "gone"; end;
		}, {
			is_local = function (jid) return jid:find("@capulet.lit$") ~= nil; end;
			changes_of_contacts = function (each)
				local agreement = agreements[each.name] or {};
				if agreement.text then
					return nil, agreement;
				end
				return agreement;
			end;
		}, function (each)
			say("answer", each.name, each.denial and each.denial.text or "granted");
		end);
	end);

	it("saves an account's roster once, then answers, then tells", function ()
		deal_with(request("1", "juliet", put("a@b")), request("2", "nurse", put("a@b")), request("3", "juliet", put("c@d")));
		assert.same({
			"save juliet 2", "save nurse 1", "answer 1 granted", "answer 2 granted", "answer 3 granted",
			"tell juliet", "tell nurse", "cancel juliet", "cancel nurse";
		}, said);
	end);

	it("has a save for each change of the same contact", function ()
		deal_with(request("1", "juliet", put("a@b")), request("2", "juliet", put("a@b")));
		assert.same({
			"save juliet 1", "answer 1 granted", "tell juliet", "cancel juliet",
			"save juliet 1", "answer 2 granted", "tell juliet", "cancel juliet";
		}, said);
	end);

	it("saves before it plans what depends on another account's unsaved roster", function ()
		deal_with(request("1", "nurse", put("a@b")), request("2", "juliet", put("nurse@capulet.lit", { gains_to = true })));
		assert.equal("answer 1 granted", said[2]);
		assert.equal("save juliet 1", said[5]);
	end);

	it("deals with a removal of a local contact before the next set", function ()
		deal_with(request("1", "juliet", { jid = "nurse@capulet.lit", remove = true }), request("2", "juliet", put("a@b")));
		assert.same({ "save juliet 1", "answer 1 granted", "tell juliet", "cancel juliet", "save juliet 1" }, { table.unpack(said, 1, 5) });
		said = {};
		deal_with(request("1", "juliet", { jid = "a@b", remove = true }), request("2", "juliet", put("c@d")));
		assert.equal("save juliet 2", said[1]);
	end);

	it("answers in the order the requests came, refusals too", function ()
		missing.ghost, missing.mute = "gone", "unreadable";
		agreements["4"] = { text = "no consent" };
		deal_with(request("1", "juliet", put("a@b")), request("2", "ghost", put("a@b")), request("3", "mute", put("a@b")),
			request("4", "juliet", put("c@d")), request("5", "nurse", "denied"));
		assert.same({
			"save juliet 1", "answer 1 granted", "answer 2 unknown-account", "answer 3 unreadable", "answer 4 no consent",
			"answer 5 denied", "tell juliet", "cancel juliet";
		}, said);
	end);

	it("saves before it refuses what may depend on something unsaved", function ()
		deal_with(request("1", "juliet", put("a@b")), request("2", "juliet", "denied"));
		assert.same({ "save juliet 1", "answer 1 granted", "tell juliet", "cancel juliet", "answer 2 denied" }, said);
	end);

	it("fails those requests whose roster cannot be saved, and no others", function ()
		broken.juliet = true;
		deal_with(request("1", "juliet", put("a@b")), request("2", "nurse", put("a@b")));
		assert.same({
			"save juliet 1", "save nurse 1", "answer 1 unsaved", "answer 2 granted", "tell nurse", "cancel nurse";
		}, said);
		assert.is_nil(stored.juliet["a@b"]);
		assert.is_table(stored.nurse["a@b"]);
	end);

	local function both_sides()
		agreements["2"] = {
			{ rosters = rosters, username = "nurse", change = put("juliet@capulet.lit", { subscription = "from" }) };
			{ rosters = rosters, username = "friar", change = put("juliet@capulet.lit", { subscription = "from" }) };
		};
		return request("1", "tybalt", put("a@b")), request("2", "juliet", put("nurse@capulet.lit", { gains_to = true, subscription = "to" }));
	end

	it("saves both sides of a subscription alone", function ()
		deal_with(both_sides());
		assert.same({
			"save tybalt 1", "answer 1 granted", "tell tybalt", "cancel tybalt",
			"save nurse 1", "save friar 1", "save juliet 1", "answer 2 granted", "tell nurse", "tell friar", "tell juliet",
			"cancel nurse", "cancel friar", "cancel juliet";
		}, said);
	end);

	it("saves what comes after both sides apart from them", function ()
		local first, second = both_sides();
		deal_with(first, second, request("3", "tybalt", put("c@d")));
		assert.equal("answer 2 granted", said[8]);
		assert.equal("save tybalt 1", said[15]);
	end);

	for _, case in ipairs({
		{ "nurse", { "save nurse 1" } };
		{ "friar", { "save nurse 1", "save friar 1", "take back nurse" } };
		{ "juliet", { "save nurse 1", "save friar 1", "save juliet 1", "take back nurse", "take back friar" } };
	}) do
		it("saves both sides of a subscription or none: fails for "..case[1], function ()
			broken[case[1]] = true;
			deal_with(both_sides());
			local expected = { "save tybalt 1", "answer 1 granted", "tell tybalt", "cancel tybalt" };
			for _, line in ipairs(case[2]) do
				expected[#expected + 1] = line;
			end
			expected[#expected + 1] = "answer 2 unsaved";
			assert.same(expected, said);
			for _, username in ipairs({ "nurse", "friar", "juliet" }) do
				assert.same({ [false] = { version = 1, pending = {} } }, stored[username]);
			end
		end);
	end

	it("enters nothing where the other side cannot be read", function ()
		local _, second = both_sides();
		missing.friar = "unreadable";
		deal_with(second);
		assert.same({ "answer 2 unreadable" }, said);
		assert.same({ [false] = { version = 1, pending = {} } }, stored.juliet);
		assert.same({ [false] = { version = 1, pending = {} } }, stored.nurse);
	end);
end);
