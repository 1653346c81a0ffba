-- The turns that hosts take for long work (P6). Time is a number here.

local new_turns = dofile("lua/mod_privilege/slices.lib.lua");

describe("turns", function ()
	local now, turns;
	local function clock() return now; end
	before_each(function ()
		now, turns = 1000, {};
	end);

	-- Lets hosts ask in this order whenever they were told to, each works 1 ms, until a time. Returns who worked when.
	local function run(hosts, till)
		local worked, due = {}, {};
		for name in pairs(hosts) do
			due[name] = now;
		end
		while now < till do
			local first;
			for name, at in pairs(due) do
				if not first or at < due[first] or at == due[first] and name < first then
					first = name;
				end
			end
			now = math.max(now, due[first]);
			local seconds = hosts[first].begin();
			if seconds == 0 then
				worked[#worked + 1] = { name = first, at = now };
				now = now + 0.001;
				hosts[first].finish();
			end
			due[first] = now + seconds;
		end
		return worked;
	end

	it("begin at once where nobody works, and are over after a while", function ()
		local host = new_turns("a", turns, clock);
		assert.equal(0, host.begin());
		assert.is_false(host.is_over());
		now = now + 0.0021;
		assert.is_true(host.is_over());
	end);

	it("leave the server time between any two slices, whichever hosts they are for", function ()
		local worked = run({ a = new_turns("a", turns, clock), b = new_turns("b", turns, clock), c = new_turns("c", turns, clock) }, now + 1);
		for i = 2, #worked do
			assert.is_true(worked[i].at - worked[i - 1].at > 0.0109, worked[i].at - worked[i - 1].at);
		end
	end);

	it("go round", function ()
		local hosts = {};
		for _, name in ipairs({ "a", "b", "c", "d" }) do
			hosts[name] = new_turns(name, turns, clock);
		end
		local counts = {};
		local worked = run(hosts, now + 2);
		for _, slice in ipairs(worked) do
			counts[slice.name] = (counts[slice.name] or 0) + 1;
		end
		for name in pairs(hosts) do
			assert.is_true(math.abs(counts[name] - #worked / 4) <= 2, name..": "..counts[name].." of "..#worked);
		end
	end);

	it("do not wait for a host that has gone without a word", function ()
		local gone, host = new_turns("gone", turns, clock), new_turns("host", turns, clock);
		assert.equal(0, host.begin());
		host.finish();
		assert.is_true(gone.begin() > 0); -- in the queue
		assert.is_true(host.begin() > 0);
		local waited = 0;
		while true do
			local seconds = host.begin();
			if seconds == 0 then break; end
			now, waited = now + seconds, waited + seconds;
			assert.is_true(waited < 1.1, "it waits for ever");
		end
	end);

	it("are taken up by an instance that comes after", function ()
		local before = new_turns("a", turns, clock);
		assert.equal(0, before.begin());
		local after = new_turns("a", turns, clock);
		assert.equal(0, after.begin());
		assert.same({ "a" }, turns.queue);
		after.leave();
		assert.same({}, turns.queue);
		assert.is_nil(next(turns.asked_at));
	end);

	it("go on when the clock is set back", function ()
		local host = new_turns("a", turns, clock);
		host.begin();
		host.finish();
		now = now - 3600;
		assert.equal(0, host.begin());
	end);

	it("count probes of all hosts together", function ()
		local a, b = new_turns("a", turns, clock), new_turns("b", turns, clock);
		local sent = 0;
		local till = now + 10;
		while now < till do
			for _, host in ipairs({ a, b }) do
				if host.until_probe() == 0 then
					sent = sent + 1;
					host.end_probe(50);
				end
			end
			now = now + 0.003;
		end
		assert.is_true(sent >= 490 and sent <= 502, sent);
		-- Waiting long earns no right to many at once.
		now = now + 60;
		local at_once = 0;
		while a.until_probe() == 0 do
			at_once = at_once + 1;
			a.end_probe(50);
		end
		assert.is_true(at_once <= 2, at_once);
	end);

	it("go round for probes too, however few there may be", function ()
		local hosts, counts = {}, {};
		for i, name in ipairs({ "a", "b", "c" }) do
			hosts[i], counts[name] = { name = name, turns = new_turns(name, turns, clock), due = now }, 0;
		end
		for _ = 1, 3000 do
			-- The first of those that are due, always in the same order.
			local first = hosts[1];
			for _, host in ipairs(hosts) do
				if host.due < first.due then first = host; end
			end
			now = math.max(now, first.due);
			local seconds = first.turns.until_probe();
			if seconds == 0 then
				counts[first.name] = counts[first.name] + 1;
				first.turns.end_probe(1);
			else
				first.due = now + seconds;
			end
		end
		assert.is_true(counts.a > 100, counts.a);
		assert.is_true(math.abs(counts.a - counts.b) <= 1 and math.abs(counts.b - counts.c) <= 1);
	end);

	it("let a host send as many probes in its slice as the rate allows, and then another", function ()
		local a, b = new_turns("a", turns, clock), new_turns("b", turns, clock);
		local counts = { 0, 0 };
		local till = now + 10;
		while now < till do
			for i, host in ipairs({ a, b }) do
				local seconds = host.begin();
				while seconds > 0 do
					now = now + seconds;
					seconds = host.begin();
				end
				while host.until_probe() == 0 do
					counts[i] = counts[i] + 1;
					host.end_probe(200);
					now = now + 0.0001;
				end
				host.finish();
			end
		end
		local sent = counts[1] + counts[2];
		assert.is_true(sent >= 1950 and sent <= 2010, sent);
		assert.is_true(math.abs(counts[1] - counts[2]) <= sent / 20, counts[1]);
	end);

	it("for a probe do not wait for one that has gone, or does not want it any more", function ()
		local gone, other, host = new_turns("gone", turns, clock), new_turns("other", turns, clock), new_turns("host", turns, clock);
		assert.equal(0, gone.until_probe());
		assert.is_true(other.until_probe() > 0 and host.until_probe() > 0);
		other.end_probe();
		local waited = 0;
		while true do
			local seconds = host.until_probe();
			if seconds == 0 then break; end
			now, waited = now + seconds, waited + seconds;
			assert.is_true(waited < 3.1, "it waits for ever");
		end
	end);

	it("hold nothing but names and numbers", function ()
		local host = new_turns("a", turns, clock);
		host.begin();
		host.until_probe();
		host.end_probe(10);
		host.until_probe();
		local function plain(value)
			if type(value) == "table" then
				for key, inner in pairs(value) do
					assert.is_true(plain(key) and plain(inner));
				end
				return getmetatable(value) == nil;
			end
			return type(value) == "string" or type(value) == "number";
		end
		assert.is_true(plain(turns));
	end);
end);
