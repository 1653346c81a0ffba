-- The viewers that wait to be told who is there, and how far each of them has got (P2, P3, P6).
--
-- A viewer is first a newcomer. It is greeted with the presence of the accounts that are online, and then waits while rounds
-- go through all accounts. A round has numbered steps. A viewer that comes while a round is under way is served from the
-- step on that is next, and in the next round by the steps that it has missed. Nothing here pauses, asks or tells.

local function without(list, viewer)
	for i = #list, 1, -1 do
		if list[i] == viewer then
			table.remove(list, i);
		end
	end
end

-- `on_done` is called with each viewer that has been told everything.
return function (on_done)
	local newcomers, greeted, waiting, confirming, taken; -- lists of viewers
	local pending; -- viewer to true, until it has been told everything
	local everybody; -- a copy of `waiting`, as long as that is served by each step
	local served_from, served_before; -- viewer to the first step that it was served in: in this round, in the round before

	local function clear()
		newcomers, greeted, waiting, confirming, taken, everybody = {}, {}, {}, {}, {}, nil;
		pending, served_from, served_before = {}, {}, {};
	end
	clear();

	local function finish(viewer)
		pending[viewer], served_from[viewer], served_before[viewer] = nil, nil, nil;
		on_done(viewer);
	end

	local viewers = { clear = clear };

	-- A viewer has to be told everything, from the beginning.
	function viewers.add(viewer)
		pending[viewer] = true;
		newcomers[#newcomers + 1] = viewer;
	end

	-- A viewer may see less than before: it has to be found out what it may still see.
	function viewers.add_to_confirm(viewer)
		pending[viewer] = true;
		confirming[#confirming + 1] = viewer;
	end

	function viewers.remove(viewer)
		pending[viewer], served_from[viewer], served_before[viewer], everybody = nil, nil, nil, nil;
		for _, list in ipairs({ newcomers, confirming, taken, greeted, waiting }) do
			without(list, viewer);
		end
	end

	function viewers.is_pending(viewer)
		return pending[viewer] == true;
	end

	function viewers.has_newcomers()
		return newcomers[1] ~= nil;
	end

	function viewers.is_anybody_waiting()
		return waiting[1] ~= nil;
	end

	function viewers.is_anybody_left()
		return newcomers[1] ~= nil or waiting[1] ~= nil or confirming[1] ~= nil;
	end

	--- Greeting

	-- The newcomers are those to greet now. Returns nothing: who is greeted changes meanwhile.
	function viewers.begin_greeting()
		greeted, newcomers = newcomers, {};
	end

	-- Returns the viewers that are greeted, without those that have gone.
	function viewers.greeted()
		return greeted;
	end

	function viewers.end_greeting()
		for _, viewer in ipairs(greeted) do
			waiting[#waiting + 1] = viewer;
		end
		greeted, everybody = {}, nil;
	end

	--- Confirming

	-- Returns the viewers to confirm, and forgets that they wait for it. The list shrinks when one goes, or has to be told
	-- everything: what is found out for a narrower grant does not hold for it any more.
	function viewers.take_confirming()
		taken, confirming = confirming, {};
		return taken;
	end

	-- Those that were taken are confirmed.
	function viewers.end_confirming()
		for _, viewer in ipairs(taken) do
			pending[viewer] = nil;
		end
		taken = {};
	end

	--- Rounds

	-- Returns the viewers that wait.
	function viewers.waiting()
		return waiting;
	end

	-- Those who need no round are done.
	function viewers.leave_out_unless(needs_round)
		local left = {};
		for _, viewer in ipairs(waiting) do
			if needs_round(viewer) then
				left[#left + 1] = viewer;
			else
				finish(viewer);
			end
		end
		waiting, everybody = left, nil;
	end

	function viewers.begin_round()
		everybody = nil;
		for _, viewer in ipairs(waiting) do
			served_from[viewer] = 1;
		end
	end

	-- Returns the viewers that a step serves. `before` is the number that it had in the round before, if any: those who were
	-- served by it then are left out. The list does not change.
	function viewers.served_by(step, before)
		if everybody and not before then
			return everybody;
		end
		local served = {};
		for _, viewer in ipairs(waiting) do
			if not served_from[viewer] then
				served_from[viewer] = step;
			end
			local since = served_before[viewer];
			if not (since and before and before >= since) then
				served[#served + 1] = viewer;
			end
		end
		everybody = #served == #waiting and served or nil;
		return served;
	end

	-- Those who were served from the first step on are done. The others wait for the next round. `step` is the number
	-- after the last one, for those who came after that.
	function viewers.end_round(step)
		local left = {};
		for _, viewer in ipairs(waiting) do
			local since = served_from[viewer];
			if since == 1 then
				finish(viewer);
			else
				served_before[viewer], served_from[viewer] = since or step, nil;
				left[#left + 1] = viewer;
			end
		end
		waiting, everybody = left, nil;
	end

	return viewers;
end;
