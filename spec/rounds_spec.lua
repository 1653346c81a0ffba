-- Who is told what when entities connect, come meanwhile, and go (P2, P3, P6): greetings and rounds, without a server.

local new_greeting = require "greeting";
local new_rounds = require "rounds";
local new_viewers = require "viewers_waiting";

describe("catching up", function ()
	local online, offline, contacts, misled, gone, viewers, greeting, rounds;
	local said, done, at_pause, pauses, on_ask, is_there_first;

	local function names(list)
		return table.concat(list, "+");
	end

	local function say(what, ...)
		said[#said + 1] = what:format(...);
	end

	-- Calls functions at pauses, counted from 1, as if others worked then.
	local function pause()
		pauses = pauses + 1;
		if at_pause[pauses] then
			at_pause[pauses]();
		end
		greeting.greet_meanwhile();
	end

	before_each(function ()
		online, offline = { "juliet", "nurse" }, { "friar" };
		contacts = { juliet = { "romeo" }, nurse = { "peter" }, friar = { "john" } };
		misled, gone, said, done, at_pause, pauses, on_ask, is_there_first = {}, {}, {}, {}, {}, 0, nil, nil;
		viewers = new_viewers(function (viewer) done[#done + 1] = viewer; end);
		local core = {
			contacts = function (_, _, roster) return roster; end;
			needs_round = function (_, viewer, asks) return asks or misled[viewer] or false; end;
		};
		local given = {
			online = function () return { table.unpack(online) }; end;
			user_of = function (username)
				for _, name in ipairs(online) do
					if name == username then return { sessions = {} }; end
				end
			end;
			each_account = function (act)
				for _, list in ipairs({ offline, online }) do
					for _, username in ipairs({ table.unpack(list) }) do act(username); end
				end
			end;
			roster_of = function (username) return contacts[username] or {}; end;
			is_there = function (username)
				if is_there_first then
					is_there_first(username);
				end
				return not gone[username];
			end;
			settle = function (_, username, _, user, among)
				if user then
					return { username };
				end
				say("%s offline for %s", username, names(among));
			end;
			show = function (_, username, _, among) say("greet %s with %s", names(among), username); end;
			ask = function (username, _, contact, place, among)
				say("%s asks %s %s for %s", username, contact, place == "all" and "anywhere" or place, names(among));
				if on_ask then on_ask(contact); end
			end;
			pause = pause;
		};
		greeting, rounds = new_greeting("capulet.lit", viewers, given), new_rounds("capulet.lit", core, viewers, given);
		rounds.configure(true, true);
	end);

	-- As catch_up.lib.lua works.
	local function work()
		local steps = {};
		repeat
			greeting.greet();
			if viewers.is_anybody_waiting() then
				steps = rounds.make(steps);
			end
		until not viewers.is_anybody_left();
	end

	local function count(pattern)
		local n = 0;
		for _, line in ipairs(said) do
			n = n + (line:find(pattern) and 1 or 0);
		end
		return n;
	end

	it("greets, then lets accounts without clients ask before those with clients ask others", function ()
		viewers.add(1);
		assert.is_true(viewers.is_pending(1));
		work();
		assert.same({
			"greet 1 with juliet", "greet 1 with nurse",
			"juliet asks romeo here for 1", "nurse asks peter here for 1",
			"friar offline for 1", "friar asks john anywhere for 1",
			"juliet asks romeo elsewhere for 1", "nurse asks peter elsewhere for 1";
		}, said);
		assert.same({ 1 }, done);
		assert.is_false(viewers.is_pending(1));
	end);

	it("goes through all accounts once for all who wait", function ()
		viewers.add(1);
		viewers.add(2);
		work();
		assert.equal("juliet asks romeo here for 1+2", said[3]);
		assert.equal(8, #said);
		assert.same({ 1, 2 }, done);
	end);

	it("asks each account once for each viewer, whenever that comes", function ()
		for moment = 1, 14 do
			said, done, at_pause, pauses = {}, {}, { [moment] = function () viewers.add(2); end }, 0;
			viewers.add(1);
			work();
			assert.same({ 1, 2 }, done, moment);
			for _, viewer in ipairs({ 1, 2 }) do
				for _, line in ipairs({ "romeo here", "peter here", "friar asks john", "romeo elsewhere", "peter elsewhere" }) do
					assert.equal(1, count(line..".* for .*"..viewer), ("%s for %d, who came at %d"):format(line, viewer, moment));
				end
			end
		end
	end);

	it("greets who comes during a round at once", function ()
		at_pause[5] = function () viewers.add(2); end;
		viewers.add(1);
		work();
		local greeted, first_served;
		for i, line in ipairs(said) do
			greeted = line == "greet 2 with nurse" and i or greeted;
			first_served = first_served or line:find("asks.*2$") and i;
		end
		assert.is_true(greeted < first_served);
	end);

	it("ends at once when all have gone", function ()
		for moment = 1, 10 do
			said, done, at_pause, pauses = {}, {}, {}, 0;
			local so_far;
			at_pause[moment] = function () viewers.remove(1); so_far = #said; end;
			viewers.add(1);
			work();
			assert.equal(so_far, #said, moment);
			assert.same({}, done);
			assert.is_false(viewers.is_pending(1));
		end
	end);

	it("ends at once when it is stopped", function ()
		for moment = 1, 10 do
			said, done, at_pause, pauses = {}, {}, {}, 0;
			local so_far;
			at_pause[moment] = function () viewers.clear(); so_far = #said; end;
			viewers.add(1);
			work();
			assert.equal(so_far, #said, moment);
		end
	end);

	it("begins an account again when its roster changes while its contacts are asked", function ()
		contacts.friar = { "john", "laurence" };
		function on_ask(contact)
			if contact == "john" then
				on_ask, contacts.friar = nil, { "mark", "laurence" };
				rounds.roster_changed("juliet");
				rounds.roster_changed("friar");
				rounds.roster_changed("juliet");
			end
		end
		viewers.add(1);
		work();
		assert.same({ 1, 1, 1 }, { count("friar asks john"), count("friar asks mark"), count("friar asks laurence") });
		assert.equal(2, count("juliet asks"));
	end);

	it("asks nobody for an account that has gone", function ()
		gone.friar = true;
		viewers.add(1);
		work();
		assert.equal(0, count("friar"));
	end);

	it("says of nobody that it is offline who has come while it was looked up", function ()
		is_there_first = function (username)
			if username == "friar" then
				online[#online + 1] = username;
			end
		end;
		viewers.add("a");
		work();
		assert.equal(0, count("^friar offline"));
		assert.equal(1, count("^friar asks john"));
	end);

	it("asks only for accounts that are online, or nobody, where so configured", function ()
		for _, case in ipairs({ { true, 4, 0 }, { false, 0, 0 } }) do
			said = {};
			rounds.configure(case[1], false);
			viewers.add(1);
			work();
			assert.same({ case[2], case[3] }, { count("asks"), count("friar") }, tostring(case[1]));
			misled[1] = true; -- it was told something before that may not hold any more
			said = {};
			viewers.add(1);
			work();
			assert.same({ case[2], 1 }, { count("asks"), count("friar offline") }, tostring(case[1]));
			misled[1] = nil;
		end
	end);

	it("makes no round for those who need none", function ()
		viewers.add(1);
		viewers.add(2);
		greeting.greet();
		viewers.leave_out_unless(function (viewer) return viewer == 2; end);
		assert.same({ { 1 }, { 2 } }, { done, viewers.waiting() });
	end);

	it("takes those to confirm once, and they are pending until they are confirmed", function ()
		viewers.add_to_confirm(1);
		assert.is_true(viewers.is_anybody_left());
		assert.same({ 1 }, viewers.take_confirming());
		assert.same({ false, true }, { viewers.is_anybody_left(), viewers.is_pending(1) });
		viewers.end_confirming();
		assert.is_false(viewers.is_pending(1));
		assert.same({}, viewers.take_confirming());
	end);

	it("does not confirm one that has left, or is told everything again meanwhile", function ()
		for _, viewer in ipairs({ 1, 2, 3 }) do
			viewers.add_to_confirm(viewer);
		end
		local taken = viewers.take_confirming();
		viewers.remove(1);
		viewers.remove(3);
		viewers.add(3);
		assert.same({ 2 }, taken);
		viewers.end_confirming();
		assert.same({ false, false, true }, { viewers.is_pending(1), viewers.is_pending(2), viewers.is_pending(3) });
	end);
end);
