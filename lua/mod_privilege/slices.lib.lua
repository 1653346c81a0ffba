-- Turns for long work: one host works for one slice, and then the server has time for others (P6).
--
-- The hosts share a plain table, `turns`, with names and times in it. No host holds anything of another. So a host that is
-- reloaded, or is removed without a word, keeps no other host waiting.

local slice_time = 0.002; -- seconds of work between two turns of the event loop
local slice_pause = 0.01; -- seconds from the end of a slice to the next one of any host
local patience = 1; -- seconds after which a host that has not asked for its turn again is taken to be gone
local probe_patience = 3; -- the same for a host that waits to send a probe; the rate may be one probe a second

-- Returns the turns of the host `name`; `clock` returns seconds.
return function (name, turns, clock)
	turns.queue = turns.queue or {}; -- names of hosts that wait; the first is next
	turns.asked_at = turns.asked_at or {}; -- name to the time at which the host asked last
	turns.next_slice_at = turns.next_slice_at or 0;
	turns.next_probe_at = turns.next_probe_at or 0;
	turns.probers = turns.probers or {}; -- names of hosts that wait to send a probe
	turns.probe_asked_at = turns.probe_asked_at or {};

	local slice_end = 0;
	local has_probed = false; -- whether the host has had its turn for probes in this slice

	local function leave_queue(queue, asked_at)
		for i = #queue, 1, -1 do
			if queue[i] == name then
				table.remove(queue, i);
			end
		end
		asked_at[name] = nil;
	end

	-- Puts the host into a queue unless it is there already. Hosts that have gone are taken out. Returns whether the host is
	-- the first.
	local function is_first(queue, asked_at, now, longest)
		if not asked_at[name] then
			queue[#queue + 1] = name;
		end
		asked_at[name] = now;
		while queue[1] and now - (asked_at[queue[1]] or 0) > longest do
			asked_at[table.remove(queue, 1)] = nil;
		end
		return queue[1] == name;
	end

	-- The host does not want a turn any more.
	local function leave()
		leave_queue(turns.queue, turns.asked_at);
		leave_queue(turns.probers, turns.probe_asked_at);
	end

	-- Asks for a slice. Returns 0 where it has begun, otherwise the seconds after which to ask again.
	local function begin()
		local now = clock();
		local is_next = is_first(turns.queue, turns.asked_at, now, patience);
		-- A clock that was set back must not stop everything.
		if turns.next_slice_at > now + patience then
			turns.next_slice_at = now;
		end
		if now < turns.next_slice_at then
			return turns.next_slice_at - now;
		elseif not is_next then
			return slice_time;
		end
		slice_end = now + slice_time;
		return 0;
	end

	local function is_over()
		return clock() >= slice_end;
	end

	-- Ends a slice. Other hosts that wait come first then.
	local function finish()
		leave_queue(turns.queue, turns.asked_at);
		if has_probed then
			leave_queue(turns.probers, turns.probe_asked_at);
			has_probed = false;
		end
		slice_end = 0;
		turns.next_slice_at = clock() + slice_pause;
	end

	-- Asks to send a probe. Returns 0 where it may be sent, otherwise the seconds after which to ask again.
	local function until_probe()
		local now = clock();
		local is_next = is_first(turns.probers, turns.probe_asked_at, now, probe_patience);
		if turns.next_probe_at > now + probe_patience then
			turns.next_probe_at = now;
		end
		if now < turns.next_probe_at then
			return turns.next_probe_at - now;
		end
		return is_next and 0 or slice_time;
	end

	-- Says that the probe has been sent; or, where `rate` is nil or false, that it is not sent. `rate` is how many may be sent in
	-- a second. Probes that could not be sent during the pause between two slices are made up for. The host keeps its
	-- turn until its slice ends: another host cannot send before that, and all would send less than the rate allows.
	local function end_probe(rate)
		has_probed = true;
		if is_over() then
			leave_queue(turns.probers, turns.probe_asked_at);
			has_probed = false;
		end
		if rate then
			turns.next_probe_at = math.max(turns.next_probe_at, clock() - slice_pause) + 1 / rate;
		end
	end

	return {
		begin = begin;
		is_over = is_over;
		finish = finish;
		leave = leave;
		until_probe = until_probe;
		end_probe = end_probe;
	};
end;
