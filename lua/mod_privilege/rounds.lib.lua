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

	-- Asks the contacts of an account in one place: "here", "elsewhere" or "all". Goes on as long as `goes_on` returns true.
	local function ask_contacts(username, account, place, served, goes_on)
		current = username;
		repeat
			is_outdated = false;
			for _, contact in ipairs(core:contacts(username, given.roster_of(username), served)) do
				given.ask(username, account, contact, place, served);
				pause();
				if is_outdated or not goes_on() then
					break;
				end
			end
		until not is_outdated or not goes_on();
		current = nil;
	end

	local function serve(username, place, served)
		local account = username.."@"..host;
		-- An account that is online is there: its sessions are closed when it is deleted.
		if not given.user_of(username) then
			if not given.is_there(username) then
				return;
			elseif not given.user_of(username) then -- it may have come while it was looked up
				given.settle("account", username, account, nil, served);
			end
		end
		if place ~= "nobody" then
			ask_contacts(username, account, place, served, viewers.is_anybody_waiting);
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

	-- Returns the steps of a round as two lists, of usernames and of which contacts: "here", on this server, of the accounts
	-- that are online; then "all" of the accounts that are not; then those "elsewhere" of those online. The answer to a
	-- probe goes to the clients of the account as well, so an account without clients asks first.
	local function steps_of_round()
		local usernames, places, is_online = {}, {}, {};
		local function add(username, place)
			usernames[#usernames + 1], places[#places + 1] = username, place;
		end
		local online = given.online();
		for _, username in ipairs(online) do
			is_online[username] = true;
			if asks_online then
				add(username, "here");
			end
		end
		if asks_offline or is_anybody_misled() then
			given.each_account(function (username)
				if not is_online[username] then
					add(username, asks_offline and "all" or "nobody");
				end
				pause();
			end);
		end
		if asks_online then
			for _, username in ipairs(online) do
				add(username, "elsewhere");
			end
		end
		return usernames, places;
	end

	local function key_of(username, place)
		return place.." "..username;
	end

	local function numbers_of(usernames, places)
		local numbers = {};
		for number, username in ipairs(usernames) do
			numbers[key_of(username, places[number])] = number;
		end
		return numbers;
	end

	-- Makes one round. `before` are the numbers that the steps had in the round before, for viewers that came while it was
	-- under way. Returns the same for the next round.
	local function make(before)
		viewers.begin_round();
		local usernames, places = steps_of_round();
		local has_before = next(before) ~= nil;
		local number, username, place = 1, usernames[1], places[1];
		while username and viewers.is_anybody_waiting() do
			local served = viewers.served_by(number, has_before and before[key_of(username, place)] or nil);
			if served[1] then
				serve(username, place, served);
				pause();
			end
			number = number + 1;
			username, place = usernames[number], places[number];
		end
		viewers.end_round(number);
		return viewers.is_anybody_waiting() and numbers_of(usernames, places) or {};
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
					ask_contacts(entry.username, entry.username.."@"..host, "all", entry.served, always);
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
