-- What an entity is told when it connects, or may see more than before: who is there (P2, P3, P6).
--
-- A host goes through its accounts once for all entities that wait, whenever they came: one that comes while
-- this is under way is served from there on, and with the rest in a further round.

local st = require "util.stanza";
local async = require "util.async";
local monotonic = require "util.time".monotonic;
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local usermanager = require "core.usermanager";
local new_turns = module:require "slices";
local copy_of_roster = module:require "roster_store".copy_of_roster;
local with_attributes = module:require "stanzas".with_attributes;

local hosts = prosody.hosts;

-- `show` is called with an occasion, a username, a presence, and the viewers that may be told it;
-- `say_gone` with a bare JID and the viewers that are told it is unavailable.
return function (core, accounts, id_prefix, show, say_gone)
	local host = module.host;
	local host_session = hosts[host];
	local probe_id = id_prefix.."probe";
	local turns = new_turns(host, module:shared("/*/privilege/turns"), monotonic);

	local probe_rate, probe_mode = 1, "none";

	local newcomers = {}; -- viewers that have not been told of the accounts online
	local greeted = {}; -- those that are being told
	local waiting = {}; -- those for whom the accounts are gone through
	local served_from = {}; -- viewer to the place in the present round from which on it is served
	local served_before = {}; -- viewer to the same place in the round before
	local confirming = {}; -- those who may see less than before
	local pending = {}; -- viewer to true, until it has been told everything
	local is_stopped = false;

	--- Waiting

	local wake;
	local timer;

	local function sleep(seconds)
		local wait, done = async.waiter();
		wake = done;
		timer = module:add_timer(seconds, function ()
			if wake == done then
				wake, timer = nil, nil;
				done();
			end
		end);
		wait();
	end

	local function begin_slice()
		local seconds = turns.begin();
		while seconds > 0 do
			sleep(seconds);
			seconds = turns.begin();
		end
	end

	-- Whether there is such an account. Where its lookup takes time, that is for others to use.
	local function is_there(username)
		local there = accounts.exists(username);
		if there == nil then
			turns.finish();
			there = accounts.find(username);
			begin_slice();
		end
		return there;
	end

	local greet;
	local is_greeting = false;

	-- Lets others work when it is time to. Returns at once, or in a new slice.
	local function pause()
		if turns.is_over() then
			turns.finish();
			begin_slice();
		end
		if newcomers[1] and not is_greeting then
			greet();
		end
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

	--- Accounts

	local function presences_of(sessions)
		local presences = {};
		for _, session in pairs(sessions or {}) do
			if session.presence then
				presences[#presences + 1] = session.presence;
			end
		end
		return presences;
	end

	local function settle(occasion, username, jid, presences, viewers)
		local misled = core.unfounded(occasion, username, jid, presences, viewers);
		if misled then
			say_gone(jid, misled);
		end
	end

	local function usernames_online()
		local usernames = {};
		for username in pairs(host_session.sessions) do
			usernames[#usernames + 1] = username;
		end
		return usernames;
	end

	local function tell_account(username, viewers)
		local user = host_session.sessions[username];
		if not user then
			return;
		end
		local presences = presences_of(user.sessions);
		settle("account", username, username.."@"..host, presences, viewers);
		for _, presence in ipairs(presences) do
			show("account", username, presence, viewers);
		end
	end

	function greet()
		is_greeting = true;
		while newcomers[1] do
			greeted, newcomers = newcomers, {};
			for _, username in ipairs(usernames_online()) do
				if not greeted[1] then
					break;
				end
				tell_account(username, greeted);
				pause();
			end
			for _, viewer in ipairs(greeted) do
				waiting[#waiting + 1] = viewer;
			end
			greeted = {};
		end
		is_greeting = false;
	end

	--- Contacts

	-- The question that is on its way right now, and what has become of it.
	local question;

	-- A contact on this server answers before the question is through. What it lets the account see is for
	-- the entities alone, since clients of the account have it already.
	local function take_answer(stanza)
		if question and question.answers and stanza.attr.to == question.account
		and jid_bare(stanza.attr.from) == question.contact and coroutine.running() == question.thread then
			-- The server takes the address away again.
			question.answers[#question.answers + 1] = with_attributes(stanza, {});
			return true;
		end
		return false;
	end

	-- After all that may stop a probe on its way out, such as a blocklist.
	local function on_probe(event)
		if question and event.stanza.attr.id == probe_id and event.stanza.attr.to == question.contact then
			question.has_left = true;
		end
	end

	local function ignore()
		return true;
	end

	-- Asks a contact for its presence in the name of an account, the way a client of it would.
	local function probe(account, username, contact, answers)
		question = { account = account, contact = contact, answers = answers, thread = coroutine.running() };
		local asked = question;
		accounts.post_as(username, account, st.presence({ type = "probe", to = contact, id = probe_id }), ignore);
		question = nil;
		return asked;
	end

	-- A contact counts as asked when there was something to tell, or the question really left; otherwise the
	-- next account that shares it asks.
	local function ask_here(username, account, contact, node, contact_host, viewers)
		local user = contact_host.sessions and contact_host.sessions[node];
		local presences = user and presences_of(user.sessions) or {};
		settle("contact", username, contact, presences, viewers);
		if not presences[1] then
			core.asked(contact, viewers);
		elseif rostermanager.is_contact_subscribed(node, contact_host.host, account) then
			local answers = probe(account, username, contact, {}).answers;
			for _, answer in ipairs(answers) do
				show("contact", username, answer, viewers);
			end
			if answers[1] then
				core.asked(contact, viewers);
			end
		end
	end

	local function ask_elsewhere(username, account, contact, viewers)
		settle("contact", username, contact, {}, viewers);
		local has_left = probe(account, username, contact).has_left;
		turns.end_probe(has_left and probe_rate);
		if has_left then
			core.asked(contact, viewers);
		end
	end

	-- Where a contact's presence is to be had: from an account of this server, by a probe that leaves it, or
	-- from nobody.
	local function place_of(contact)
		local node, domain = jid_split(contact);
		local contact_host = hosts[domain];
		local component = contact_host and contact_host.modules and contact_host.modules.component;
		if contact_host and contact_host.type == "local" then
			return node and "here" or "nowhere", node, contact_host;
		elseif component and not component.session then
			return "nowhere";
		end
		return "elsewhere";
	end

	local function ask(username, account, contact, only, viewers)
		local place, node, contact_host = place_of(contact);
		if only and place ~= only then
			return;
		elseif place == "elsewhere" then
			pause_for_probe();
			-- Meanwhile the account may have gone, or somebody else asked.
			viewers = is_there(username) and core.askers(username, contact, viewers);
			if viewers then
				ask_elsewhere(username, account, contact, viewers);
			else
				turns.end_probe();
			end
			return;
		end
		viewers = core.askers(username, contact, viewers);
		if not viewers then
			return;
		elseif place == "here" then
			ask_here(username, account, contact, node, contact_host, viewers);
		else
			settle("contact", username, contact, {}, viewers);
		end
	end

	local function load_past_cache(username)
		local roster = storagemanager.open(host, "roster"):get(username) or {};
		local handlers = host_session.events.get_handlers("roster-load");
		if handlers and handlers[1] then
			-- Some kinds of storage hand out the tables they keep: a roster, its items, their groups.
			roster = copy_of_roster(roster);
			roster[false] = roster[false] or {};
			host_session.events.fire_event("roster-load", { username = username, host = host, roster = roster });
			roster[username.."@"..host] = nil;
		end
		return roster;
	end

	-- The roster of an account that is offline, read past the server's cache of rosters, which is for those
	-- that are in use. As when the server reads one, other modules may add contacts. One that cannot be read keeps
	-- no other waiting.
	local function read_roster(username)
		local was_read, roster = pcall(load_past_cache, username);
		if not was_read then
			module:log("warn", "The roster of %s@%s cannot be read: %s", username, host, roster);
			return {};
		end
		return roster;
	end

	local function roster_of(username)
		return host_session.sessions[username] and rostermanager.load_roster(username, host) or read_roster(username);
	end

	-- A list that breaks off is as good as one that ends there: storage may fail with any account.
	local function each_account(act)
		local listed, iterate, state, username = pcall(usermanager.users, host);
		if not listed or type(iterate) ~= "function" then
			module:log("debug", "The accounts of %s cannot be listed, only those online are gone through", host);
			return;
		end
		while true do
			listed, username = pcall(iterate, state, username);
			if not listed then
				module:log("warn", "The list of the accounts of %s breaks off: %s", host, username);
				return;
			elseif username == nil then
				return;
			end
			act(username);
			pause();
		end
	end

	-- The account whose contacts are being asked for, and whether its roster has changed meanwhile.
	local current, is_outdated;

	local function serve(username, only, viewers)
		local account = username.."@"..host;
		if not is_there(username) then
			return;
		elseif not host_session.sessions[username] then
			settle("account", username, account, {}, viewers);
		end
		if only == "nobody" then
			return;
		end
		current = username;
		repeat
			is_outdated = false;
			for _, contact in ipairs(core.contacts(username, roster_of(username), viewers)) do
				ask(username, account, contact, only, viewers);
				pause();
				if is_outdated or not waiting[1] then
					break;
				end
			end
		until not is_outdated or not waiting[1];
		current = nil;
	end

	-- The steps of a round: contacts on this server of the accounts that are online; then the contacts of the
	-- accounts that are not; then the others of those online. The answer to a probe goes to the clients of
	-- the account as well: so an account without clients is asked in the name of first.
	local function steps_of_round()
		local steps, is_online = {}, {};
		local online = usernames_online();
		for _, username in ipairs(online) do
			is_online[username] = true;
			if probe_mode ~= "none" then
				steps[#steps + 1] = { username = username, only = "here" };
			end
		end
		local is_anybody_misled = false;
		for _, viewer in ipairs(waiting) do
			is_anybody_misled = is_anybody_misled or core.needs_round(viewer, false);
		end
		if probe_mode == "all" or is_anybody_misled then
			each_account(function (username)
				if not is_online[username] then
					steps[#steps + 1] = { username = username, only = probe_mode ~= "all" and "nobody" or nil };
				end
			end);
		end
		if probe_mode ~= "none" then
			for _, username in ipairs(online) do
				steps[#steps + 1] = { username = username, only = "elsewhere" };
			end
		end
		return steps;
	end

	local function key_of(step)
		return (step.only or "all").." "..step.username;
	end

	local function finish(viewer)
		pending[viewer], served_from[viewer], served_before[viewer] = nil, nil, nil;
		core.all_asked(viewer);
	end

	-- One round through all accounts. `places` are those of the steps of the round before, for viewers that came
	-- while it was under way; gives the same for the next round.
	local function round(places)
		for _, viewer in ipairs(waiting) do
			served_from[viewer] = 1;
		end
		local steps = steps_of_round();
		local place = 1;
		while place <= #steps and waiting[1] do
			local step = steps[place];
			local before = places[key_of(step)];
			local viewers = {};
			for _, viewer in ipairs(waiting) do
				if not served_from[viewer] then
					served_from[viewer] = place;
				end
				local since = served_before[viewer];
				if not (since and before and before >= since) then
					viewers[#viewers + 1] = viewer;
				end
			end
			if viewers[1] then
				serve(step.username, step.only, viewers);
				pause();
			end
			place = place + 1;
		end
		local left, next_places = {}, {};
		for _, viewer in ipairs(waiting) do
			local since = served_from[viewer];
			if since == 1 then
				finish(viewer);
			else
				served_before[viewer], served_from[viewer] = since or place, nil;
				left[#left + 1] = viewer;
			end
		end
		waiting = left;
		if waiting[1] then
			for i, step in ipairs(steps) do
				next_places[key_of(step)] = i;
			end
		end
		return next_places;
	end

	-- Those who are told of accounts alone need no round, unless they were told something before that may not
	-- hold any more.
	local function leave_out_those_done()
		local left = {};
		for _, viewer in ipairs(waiting) do
			if core.needs_round(viewer, probe_mode ~= "none") then
				left[#left + 1] = viewer;
			else
				finish(viewer);
			end
		end
		waiting = left;
	end

	-- Goes through all accounts, asking nobody, to learn what may still be seen.
	local function confirm_all()
		local viewers = confirming;
		confirming = {};
		local usernames, is_listed = usernames_online(), {};
		for _, username in ipairs(usernames) do
			is_listed[username] = true;
		end
		each_account(function (username)
			if not is_listed[username] then
				usernames[#usernames + 1] = username;
			end
		end);
		for _, username in ipairs(usernames) do
			core.confirm(username, roster_of(username), viewers);
			pause();
		end
		for _, viewer in ipairs(viewers) do
			pending[viewer] = nil;
		end
	end

	local function work()
		begin_slice();
		local places = {};
		repeat
			greet();
			if confirming[1] then
				confirm_all();
			end
			leave_out_those_done();
			if waiting[1] then
				places = round(places);
			end
		until not (newcomers[1] or waiting[1] or confirming[1]);
		turns.finish();
	end

	local worker;
	local is_working = false;

	local function start_working()
		if is_working then
			if timer and newcomers[1] then
				timer:stop();
				local done = wake;
				timer = module:add_timer(0, function ()
					if wake == done then
						wake, timer = nil, nil;
						done();
					end
				end);
			end
			return;
		end
		is_working = true;
		worker = worker or async.runner(function ()
			work();
			is_working = false;
		end, {
			error = function (_, problem)
				module:log("error", "Telling entities the presence of %s stopped: %s", host, problem);
				question, current, is_greeting, is_working = nil, nil, false, false;
				newcomers, greeted, waiting, confirming, pending = {}, {}, {}, {}, {};
				turns.leave();
			end;
		});
		-- Not from within the event that an entity connects by.
		module:add_timer(0, function ()
			worker:run(true);
		end);
	end

	local function without(list, viewer)
		for i = #list, 1, -1 do
			if list[i] == viewer then
				table.remove(list, i);
			end
		end
	end

	return {
		take_answer = take_answer;
		on_probe = on_probe;
		configure = function (rate, mode)
			probe_rate, probe_mode = rate, mode;
		end;
		-- Tells a viewer who is there, from the beginning.
		add = function (viewer)
			if not is_stopped then
				pending[viewer] = true;
				newcomers[#newcomers + 1] = viewer;
				start_working();
			end
		end;
		-- A viewer may see less than before: what it may still see is known.
		confirm = function (viewer)
			if not is_stopped then
				pending[viewer] = true;
				confirming[#confirming + 1] = viewer;
				start_working();
			end
		end;
		remove = function (viewer)
			pending[viewer], served_from[viewer], served_before[viewer] = nil, nil, nil;
			without(newcomers, viewer);
			without(confirming, viewer);
			without(greeted, viewer);
			without(waiting, viewer);
		end;
		is_pending = function (viewer)
			return pending[viewer] == true;
		end;
		-- Whoever believes something of a contact that is not so is told.
		settle_contact = function (username, contact, viewers)
			local place, node, contact_host = place_of(contact);
			local user = place == "here" and contact_host.sessions[node];
			settle("contact", username, contact, user and presences_of(user.sessions) or {}, viewers);
		end;
		roster_changed = function (username)
			is_outdated = is_outdated or username == current;
		end;
		stop = function ()
			is_stopped = true;
			newcomers, greeted, waiting, confirming, pending = {}, {}, {}, {}, {};
			turns.leave();
		end;
	};
end;
