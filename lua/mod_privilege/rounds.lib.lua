-- Rounds through all accounts of a host, that ask the contacts of each (P3, P6).

-- `given` are functions: `online` returns the usernames of the accounts that are online; `user_of` returns the server's table
-- of the sessions of one; `each_account` calls back with every username; `roster_of` returns the roster of an account;
-- `is_there` returns whether an account exists; `settle` and `ask` are those of catch_up.lib.lua and contacts.lib.lua; `pause`
-- lets others work.
return function (host, core, viewers, given)
	local pause = given.pause;
	-- Which contacts are asked: those of accounts that are online, and those of all the others (option privilege_probe).
	local asks_online, asks_offline = false, false;

	-- The account whose contacts are being asked, and whether its roster has changed meanwhile.
	local current, is_outdated;

	local extra = {}; -- accounts that are gone through beside the rounds

	local function always()
		return true;
	end

	-- Goes on as long as `goes_on` returns true.
	local function ask_contacts(username, account, only, served, goes_on)
		current = username;
		repeat
			is_outdated = false;
			for _, contact in ipairs(core:contacts(username, given.roster_of(username), served)) do
				given.ask(username, account, contact, only, served);
				pause();
				if is_outdated or not goes_on() then
					break;
				end
			end
		until not is_outdated or not goes_on();
		current = nil;
	end

	local function serve(username, only, served)
		local account = username.."@"..host;
		if not given.is_there(username) then
			return;
		elseif not given.user_of(username) then
			given.settle("account", username, account, nil, served);
		end
		if only ~= "nobody" then
			ask_contacts(username, account, only, served, viewers.is_anybody_waiting);
		end
	end

	local function is_anybody_misled()
		for _, viewer in ipairs(viewers.waiting()) do
			if core:needs_round(viewer, false) then
				return true;
			end
		end
		return false;
	end

	-- Returns the steps of a round, { username =, only = }: contacts on this server of the accounts that are online; then
	-- all contacts of the accounts that are not; then the other contacts of those online. The answer to a probe goes to the
	-- clients of the account as well, so an account without clients asks first.
	local function steps_of_round()
		local steps, is_online = {}, {};
		local online = given.online();
		for _, username in ipairs(online) do
			is_online[username] = true;
			if asks_online then
				steps[#steps + 1] = { username = username, only = "here" };
			end
		end
		if asks_offline or is_anybody_misled() then
			given.each_account(function (username)
				if not is_online[username] then
					steps[#steps + 1] = { username = username, only = not asks_offline and "nobody" or nil };
				end
				pause();
			end);
		end
		if asks_online then
			for _, username in ipairs(online) do
				steps[#steps + 1] = { username = username, only = "elsewhere" };
			end
		end
		return steps;
	end

	local function key_of(step)
		return (step.only or "all").." "..step.username;
	end

	local function numbers_of(steps)
		local numbers = {};
		for number, step in ipairs(steps) do
			numbers[key_of(step)] = number;
		end
		return numbers;
	end

	-- Makes one round. `before` are the numbers that the steps had in the round before, for viewers that came while it was
	-- under way. Returns the same for the next round.
	local function make(before)
		viewers.begin_round();
		local steps = steps_of_round();
		local number = 1;
		while number <= #steps and viewers.is_anybody_waiting() do
			local step = steps[number];
			local served = viewers.served_by(number, before[key_of(step)]);
			if served[1] then
				serve(step.username, step.only, served);
				pause();
			end
			number = number + 1;
		end
		viewers.end_round(number);
		return viewers.is_anybody_waiting() and numbers_of(steps) or {};
	end

	return {
		make = make;
		-- Notes that the contacts of one account are to be asked for these viewers, beside any round; asks those of all accounts
		-- that were noted.
		add = function (username, served)
			extra[#extra + 1] = { username = username, served = served };
		end;
		serve_all = function ()
			while extra[1] do
				local entry = table.remove(extra, 1);
				if asks_online and given.is_there(entry.username) then
					ask_contacts(entry.username, entry.username.."@"..host, nil, entry.served, always);
				end
			end
		end;
		configure = function (online, offline)
			asks_online, asks_offline = online, offline;
		end;
		-- Returns whether contacts are asked at all.
		asks_contacts = function ()
			return asks_online;
		end;
		-- The roster of an account has changed: if its contacts are being asked, this begins again.
		roster_changed = function (username)
			is_outdated = is_outdated or username == current;
		end;
		-- After a failure: no account's contacts are being asked.
		reset = function ()
			current, extra = nil, {};
		end;
	};
end;
