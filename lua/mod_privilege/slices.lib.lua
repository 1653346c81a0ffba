-- Turns for long work: all hosts together work for one slice, and then the server has time for others (P6).
--
-- Nothing in here belongs to a module. The hosts meet in a plain table, `turns`, and none of them holds
-- anything of another: a host that is reloaded, or goes without a word, keeps nobody waiting.

local slice_time = 0.002; -- seconds of work between two turns of the event loop
local slice_pause = 0.01; -- seconds from the end of a slice to the next, whichever host it is for
local patience = 1; -- seconds after which a host that has not asked for its turn has gone

-- Returns the turns of the host `name`; `clock` gives seconds.
return function (name, turns, clock)
	turns.queue = turns.queue or {}; -- names of hosts that wait; the first is next
	turns.asked_at = turns.asked_at or {}; -- name to the time at which the host asked last
	turns.next_slice_at = turns.next_slice_at or 0;
	turns.next_probe_at = turns.next_probe_at or 0;

	local slice_end = 0;

	local function leave()
		for i = #turns.queue, 1, -1 do
			if turns.queue[i] == name then
				table.remove(turns.queue, i);
			end
		end
		turns.asked_at[name] = nil;
	end

	-- Asks for a slice: 0 where it has begun, or else the seconds until it is worth asking again.
	local function begin()
		local now = clock();
		local queue = turns.queue;
		if not turns.asked_at[name] then
			queue[#queue + 1] = name;
		end
		turns.asked_at[name] = now;
		while queue[1] and now - (turns.asked_at[queue[1]] or 0) > patience do
			turns.asked_at[table.remove(queue, 1)] = nil;
		end
		-- A clock that was set back must not stop everything.
		if turns.next_slice_at > now + patience then
			turns.next_slice_at = now;
		end
		if now < turns.next_slice_at then
			return turns.next_slice_at - now;
		elseif queue[1] ~= name then
			return slice_time;
		end
		slice_end = now + slice_time;
		return 0;
	end

	local function is_over()
		return clock() >= slice_end;
	end

	-- Ends a slice; other hosts come first then.
	local function finish()
		leave();
		slice_end = 0;
		turns.next_slice_at = clock() + slice_pause;
	end

	-- Seconds until the next probe may be sent.
	local function until_probe()
		return math.max(0, turns.next_probe_at - clock());
	end

	-- Notes that a probe has been sent; `rate` is how many may be, in a second. What was not used in the time of
	-- a pause may be made up for.
	local function count_probe(rate)
		turns.next_probe_at = math.max(turns.next_probe_at, clock() - slice_pause) + 1 / rate;
	end

	return {
		begin = begin;
		is_over = is_over;
		finish = finish;
		leave = leave;
		until_probe = until_probe;
		count_probe = count_probe;
	};
end;
