-- Looking accounts up without waiting by accident (L7).

local async = require "util.async";
local new_lookups = require "lookups";

describe("a lookup", function ()
	local now, asked, answers, waiting, logged, lookups;

	-- An authentication provider. It answers what is in `answers`; for "wait" it waits until `answer` is called.
	local function ask(username, host)
		local account = username.."@"..host;
		asked[#asked + 1] = account;
		if answers[account] == "wait" then
			local wait, done = async.waiter();
			waiting[account] = done;
			wait();
		elseif answers[account] == "fail" then
			error("the database is gone");
		end
		return answers[account] == true;
	end

	local function answer(account, there)
		answers[account] = there;
		waiting[account]();
	end

	before_each(function ()
		now, asked, answers, waiting, logged = 1000, {}, {}, {}, {};
		lookups = new_lookups("capulet.lit", ask, function () return now; end, function (level, text, ...)
			logged[#logged + 1] = level.." "..text:format(...);
		end);
	end);

	it("says whether an account exists, on this host or another", function ()
		answers["juliet@capulet.lit"], answers["romeo@montague.lit"] = true, true;
		assert.is_true(lookups.exists("juliet"));
		assert.is_false(lookups.exists("romeo"));
		assert.is_true(lookups.exists("romeo", "montague.lit"));
	end);

	it("is not made again for a while where the account exists", function ()
		answers["juliet@capulet.lit"] = true;
		for _, case in ipairs({ { 0, 1 }, { 9.9, 1 }, { 10, 2 }, { 19, 2 }, { -1, 3 } }) do
			now = 1000 + case[1];
			assert.is_true(lookups.exists("juliet"));
			assert.equal(case[2], #asked, case[1]);
		end
		lookups.exists("nobody");
		lookups.exists("nobody");
		assert.equal(5, #asked);
	end);

	it("is made again after the account is deleted", function ()
		answers["juliet@capulet.lit"] = true;
		lookups.exists("juliet");
		answers["juliet@capulet.lit"] = false;
		lookups.forget({ username = "juliet", host = "capulet.lit" });
		assert.is_false(lookups.exists("juliet"));
	end);

	it("that takes time is made once, and its answer is remembered", function ()
		answers["juliet@capulet.lit"] = "wait";
		local told = {};
		assert.is_nil(lookups.exists("juliet"));
		assert.is_nil(lookups.exists("juliet"));
		for i = 1, 2 do
			lookups.when_known("juliet", "capulet.lit", function (there) told[i] = there; end);
		end
		assert.same({}, told);
		answer("juliet@capulet.lit", true);
		assert.same({ true, true }, told);
		assert.is_true(lookups.exists("juliet"));
		assert.equal(1, #asked);
	end);

	it("keeps no other one waiting", function ()
		answers["juliet@capulet.lit"], answers["nurse@capulet.lit"] = "wait", true;
		assert.is_false(lookups.exists("nobody"));
		assert.is_nil(lookups.exists("juliet"));
		assert.is_true(lookups.exists("nurse"));
		answer("juliet@capulet.lit", false);
		assert.is_false(lookups.exists("juliet"));
	end);

	it("has no answer where the account is deleted meanwhile", function ()
		answers["juliet@capulet.lit"] = "wait";
		local called, told = false, nil;
		lookups.when_known("juliet", "capulet.lit", function (there) called, told = true, there; end);
		lookups.forget({ username = "juliet", host = "capulet.lit" });
		answer("juliet@capulet.lit", true);
		assert.is_true(called);
		assert.is_nil(told);
		answers["juliet@capulet.lit"] = false;
		assert.is_false(lookups.exists("juliet"));
	end);

	it("that fails has no answer, and only the first failure is a warning", function ()
		answers["juliet@capulet.lit"] = "fail";
		local called, told = 0, nil;
		for _ = 1, 2 do
			lookups.when_known("juliet", "capulet.lit", function (there) called, told = called + 1, there; end);
		end
		assert.equal(2, called);
		assert.is_nil(told);
		assert.is_nil(lookups.exists("juliet"));
		assert.equal(3, #logged);
		assert.matches("^warn Looking up juliet@capulet.lit failed: .*the database is gone$", logged[1]);
		assert.matches("^debug ", logged[2]);
		answers["juliet@capulet.lit"] = true;
		assert.is_true(lookups.exists("juliet"));
	end);

	it("is waited for in a runner, and nowhere else", function ()
		answers["juliet@capulet.lit"] = "wait";
		assert.same({ n = 2, nil, false }, table.pack(lookups.find("juliet")));
		local found;
		async.runner(function ()
			found = table.pack(lookups.find("juliet"));
		end):run(true);
		assert.is_nil(found);
		answer("juliet@capulet.lit", true);
		assert.same({ n = 2, true, true }, found);
		assert.same({ n = 2, true, false }, table.pack(lookups.find("juliet")));
	end);
end);
