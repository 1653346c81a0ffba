-- Tells an entity who is there, when it connects or may see more than before (P2, P3, P6).
--
-- A host goes through its accounts once for all entities that wait, whenever they came. First newcomers are greeted with
-- the accounts that are online. Then a round asks the contacts of all accounts. This file joins the parts of that work.

local monotonic = require "util.time".monotonic;
local all_accounts = module:require "all_accounts";
local new_contacts = module:require "contacts";
local new_greeting = module:require "greeting";
local new_rounds = module:require "rounds";
local new_turns = module:require "slices";
local new_viewers = module:require "viewers_waiting";
local new_worker = module:require "worker";

local host = module.host;

-- `show` is called with an occasion, a username, a presence, and the viewers that may be told it;
-- `say_gone` with a bare JID and the viewers that are told it is unavailable.
return function (core, accounts, blocklists, id_prefix, show, say_gone)
	local viewers = new_viewers(function (viewer)
		core:all_asked(viewer);
	end);
	local turns = new_turns(host, module:shared("/*/privilege/turns"), monotonic);
	local worker, greeting, contacts, rounds;
	local is_stopped = false;

	-- Tells those viewers that believe something else of an account or contact. `user` is the server's table of its
	-- sessions, or nil. Returns the presences of these sessions.
	local function settle(occasion, username, jid, user, among)
		blocklists.ensure(username);
		local presences = {};
		for _, session in pairs(user and user.sessions or {}) do
			if session.presence then
				presences[#presences + 1] = session.presence;
			end
		end
		local misled = core:unfounded(occasion, username, jid, presences, among);
		if misled then
			say_gone(jid, misled);
		end
		return presences;
	end

	-- Returns whether there is such an account. Where its lookup takes time, that time is for others to use.
	local function is_there(username)
		local there = accounts.exists(username);
		if there == nil then
			there = worker.outside_slice(accounts.find, username);
		end
		return there;
	end

	-- Returns the roster of an account whose blocklist is known too.
	local function roster_of(username)
		blocklists.ensure(username);
		return all_accounts.roster_of(username);
	end

	--- The work

	-- Goes through all accounts, asking nobody, to learn what may still be seen by those who may see less than before.
	local function confirm()
		local taken = viewers.take_confirming();
		if not taken[1] then
			return;
		end
		local usernames, is_listed = all_accounts.usernames_online(), {};
		for _, username in ipairs(usernames) do
			is_listed[username] = true;
		end
		all_accounts.each_account(function (username)
			if not is_listed[username] then
				usernames[#usernames + 1] = username;
			end
			worker.pause();
		end);
		for _, username in ipairs(usernames) do
			core:confirm(username, roster_of(username), taken);
			worker.pause();
		end
		viewers.end_confirming();
	end

	-- A viewer that is told of accounts alone needs no round, unless it was told something before that may not hold any
	-- more.
	local function needs_round(viewer)
		return core:needs_round(viewer, rounds.asks_contacts());
	end

	local function work()
		local steps = {};
		repeat
			greeting.greet();
			rounds.serve_all();
			confirm();
			viewers.leave_out_unless(needs_round);
			if viewers.is_anybody_waiting() then
				steps = rounds.make(steps);
			end
		until not viewers.is_anybody_left();
	end

	local function on_failure(problem)
		module:log("error", "Telling entities the presence of %s stopped: %s", host, problem);
		greeting.reset();
		contacts.reset();
		rounds.reset();
		viewers.clear();
		turns.leave();
	end

	worker = new_worker(turns, function (seconds, callback) return module:add_timer(seconds, callback); end, work, {
		at_pause = function () greeting.greet_meanwhile(); end;
		on_failure = on_failure;
	});
	contacts = new_contacts(core, accounts, turns, worker, id_prefix.."probe", is_there, show, settle);
	local given = {
		online = all_accounts.usernames_online, user_of = all_accounts.user_of;
		each_account = all_accounts.each_account, roster_of = roster_of;
		is_there = is_there, show = show, settle = settle, ask = contacts.ask, pause = worker.pause;
	};
	greeting, rounds = new_greeting(host, viewers, given), new_rounds(host, core, viewers, given);

	local function start_working()
		if viewers.has_newcomers() then
			worker.wake_up();
		end
		worker.start();
	end

	return {
		-- Tells a viewer who is there, from the beginning.
		add = function (viewer)
			if not is_stopped then
				viewers.add(viewer);
				start_working();
			end
		end;
		-- A viewer may see less than before: notes what it may still see.
		confirm = function (viewer)
			if not is_stopped then
				viewers.add_to_confirm(viewer);
				start_working();
			end
		end;
		remove = viewers.remove;
		is_pending = viewers.is_pending;
		settle_contact = contacts.settle_contact;
		take_answer = contacts.take_answer;
		roster_changed = rounds.roster_changed;
		-- Tells these viewers of the contacts of one account.
		serve_again = function (username, among)
			if not is_stopped then
				rounds.add(username, among);
				start_working();
			end
		end;
		configure = function (rate, asks_online, asks_offline)
			contacts.configure(rate);
			rounds.configure(asks_online, asks_offline);
		end;
		stop = function ()
			is_stopped = true;
			viewers.clear();
			turns.leave();
		end;
		-- A handler of events: see the page of hooks in mod_privilege.lua.
		on_probe = contacts.on_probe;
	};
end;
