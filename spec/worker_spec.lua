-- Work in slices, with sleeps between them (P6). Time is a number here.

local new_turns = require "slices";
local new_worker = require "worker";

describe("a worker", function ()
	local now, timers, said, shared, turns;

	local function add_timer(seconds, callback)
		local timer = { at = now + seconds, callback = callback };
		function timer.stop()
			timer.is_stopped = true;
		end
		timers[#timers + 1] = timer;
		return timer;
	end

	-- Lets timers fire in order until none is left.
	local function run()
		while timers[1] do
			table.sort(timers, function (a, b) return a.at < b.at; end);
			local timer = table.remove(timers, 1);
			if not timer.is_stopped then
				now = math.max(now, timer.at);
				timer.callback();
			end
		end
	end

	local function say(text)
		said[#said + 1] = ("%.3f %s"):format(now - 1000, text);
	end

	local function worker(act, at_pause)
		return new_worker(turns, add_timer, act, {
			at_pause = at_pause or function () end;
			on_failure = function (problem) say("failed: "..tostring(problem):match("^[^\n]*")); end;
		});
	end

	before_each(function ()
		now, timers, said = 1000, {}, {};
		shared = {};
		turns = new_turns("capulet.lit", shared, function () return now; end);
	end);

	it("begins at the next turn of the event loop, once, and may begin again", function ()
		local works = worker(function () say("works"); end);
		works.start();
		works.start();
		assert.same({}, said);
		run();
		assert.same({ "0.000 works" }, said);
		works.start();
		run();
		assert.same({ "0.000 works", "0.010 works" }, said);
	end);

	it("sleeps when its slice is over, and only then", function ()
		local works;
		works = worker(function ()
			for _ = 1, 3 do
				now = now + 0.0012;
				works.pause();
				say("works");
			end
		end, function () say("paused"); end);
		works.start();
		run();
		assert.same({ "0.001 paused", "0.001 works", "0.012 paused", "0.012 works", "0.014 paused", "0.014 works" }, said);
	end);

	it("waits for the turn of its probe", function ()
		local works;
		works = worker(function ()
			for _ = 1, 3 do
				works.pause_for_probe();
				say("probe");
				turns.end_probe(2);
			end
		end);
		works.start();
		run();
		local at = {};
		for i, line in ipairs(said) do
			at[i] = tonumber(line:match("^%S+"));
		end
		assert.equal(3, #at);
		assert.is_true(at[2] - at[1] >= 0.48 and at[3] - at[2] >= 0.48, table.concat(said, "; "));
	end);

	it("sleeps no longer when it is woken up", function ()
		local works;
		works = worker(function ()
			works.pause_for_probe();
			turns.end_probe(1);
			works.pause_for_probe();
			say("probe");
		end, function () say("paused"); end);
		works.start();
		add_timer(0.5, works.wake_up);
		run();
		local paused_then = false;
		for _, line in ipairs(said) do
			paused_then = paused_then or line == "0.500 paused";
		end
		assert.is_true(paused_then, table.concat(said, "; "));
		works.wake_up(); -- nothing sleeps
	end);

	it("leaves its slice to others while it waits for somebody else", function ()
		local others = new_turns("montague.lit", shared, function () return now; end);
		local works;
		works = worker(function ()
			say("got "..works.outside_slice(function (what)
				now = now + 1;
				say("others wait "..others.begin());
				others.finish();
				return what, "not this";
			end, "it"));
			assert.is_false(turns.is_over());
		end);
		works.start();
		run();
		assert.same({ "1.000 others wait 0", "1.010 got it" }, said);
	end);

	it("says that it has failed, and may begin again", function ()
		local fails = true;
		local works = worker(function ()
			if fails then
				error("no luck", 0);
			end
			say("works");
		end);
		works.start();
		run();
		assert.same({ "0.000 failed: no luck" }, said);
		fails, said = false, {};
		turns.leave();
		works.start();
		run();
		assert.equal(1, #said);
		assert.matches("works$", said[1]);
	end);
end);
