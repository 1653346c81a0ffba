-- Work that is done in slices and sleeps between them (P6). How hosts share the slices: slices.lib.lua.

local async = require "util.async";

-- `turns` are the host's turns, `add_timer` is called with seconds and a function. `act` does the work. Of the handlers,
-- `at_pause` is called whenever the work may pause, after the pause if there is one; `on_failure` with the error where `act`
-- raises one.
return function (turns, add_timer, act, handlers)
	local wake; -- ends the sleep; nil while the work does not sleep
	local timer; -- calls `wake`
	local runner;
	local is_working = false;

	local function wake_after(seconds)
		local done = wake;
		timer = add_timer(seconds, function ()
			if wake == done then
				wake, timer = nil, nil;
				done();
			end
		end);
	end

	local function sleep(seconds)
		local wait, done = async.waiter();
		wake = done;
		wake_after(seconds);
		wait();
	end

	local function begin_slice()
		local seconds = turns.begin();
		while seconds > 0 do
			sleep(seconds);
			seconds = turns.begin();
		end
	end

	-- Lets others work when the slice is over. Returns at once, or in a new slice.
	local function pause()
		if turns.is_over() then
			turns.finish();
			begin_slice();
		end
		handlers.at_pause();
	end

	-- Returns when a probe may be sent.
	local function pause_for_probe()
		pause();
		local seconds = turns.until_probe();
		while seconds > 0 do
			turns.finish();
			sleep(seconds);
			begin_slice();
			pause();
			seconds = turns.until_probe();
		end
	end

	-- Returns the first result of f(...), which may wait: meanwhile the slice is for others to use.
	local function outside_slice(f, ...)
		turns.finish();
		local result = f(...);
		begin_slice();
		return result;
	end

	local function work()
		begin_slice();
		act();
		turns.finish();
		is_working = false;
	end

	-- Begins the work at the next turn of the event loop, unless it is under way.
	local function start()
		if is_working then
			return;
		end
		is_working = true;
		runner = runner or async.runner(work, {
			error = function (_, problem)
				is_working = false;
				handlers.on_failure(problem);
			end;
		});
		-- Not from within the event that an entity connects by.
		add_timer(0, function ()
			runner:run(true);
		end);
	end

	-- Ends a sleep at the next turn of the event loop.
	local function wake_up()
		if timer then
			timer:stop();
			wake_after(0);
		end
	end

	return {
		start = start;
		wake_up = wake_up;
		pause = pause;
		pause_for_probe = pause_for_probe;
		outside_slice = outside_slice;
	};
end;
