-- Whether accounts exist (L7).
--
-- Some authentication providers take time to answer: they wait for somebody else. That is possible in a runner of
-- util.async and nowhere else, and neither the stanzas of components nor timers are in one. So every lookup has a runner
-- of its own, and nothing of ours waits by accident.

local async = require "util.async";

-- Seconds for which a positive answer is trusted at most. Lookups are expensive with every storage, and a deletion on this
-- server clears the entry.
local remember_for = 10;

-- `ask` is called with a username and a host; it returns whether there is such an account, and may wait or raise.
-- `clock` returns seconds. `this_host` is the host where no other is named.
return function (this_host, ask, clock, log)
	-- The accounts that are taken to exist: a username on this host, a bare JID on another. All of them are forgotten together,
	-- so there are no more than were used in so many seconds.
	local known, known_since = {}, 0;
	local lookups = {}; -- the lookups under way, by account
	local runner; -- a runner that does not wait; another is made while it does
	local has_failed = false;

	local function finish(lookup, there)
		lookup.is_done = true;
		-- An answer from before the account was deleted is not an answer any more.
		if not lookup.is_outdated then
			lookup.there = there;
		end
		if lookups[lookup.account] == lookup then
			lookups[lookup.account] = nil;
		end
		for _, callback in ipairs(lookup.callbacks) do
			callback(lookup.there);
		end
	end

	local function new_runner()
		local current;
		return async.runner(function (lookup)
			current = lookup;
			finish(lookup, ask(lookup.username, lookup.host));
		end, {
			error = function (_, problem)
				-- Anybody can cause a lookup, so only the first failure is a warning.
				log(has_failed and "debug" or "warn", "Looking up %s@%s failed: %s", current.username, current.host,
					tostring(problem):match("^[^\n]*"));
				has_failed = true;
				if not current.is_done then
					finish(current, nil);
				end
			end;
		});
	end

	-- Looks an account up, and never waits for it. The lookup may be done when this returns.
	local function look_up(username, host)
		local account = username.."@"..host;
		local lookup = lookups[account];
		if not lookup then
			lookup = { account = account, username = username, host = host, callbacks = {} };
			lookups[account] = lookup;
			local with = runner or new_runner();
			runner = nil;
			with:run(lookup);
			if lookup.is_done then
				runner = with;
			end
		end
		return lookup;
	end

	-- Calls back with whether there is such an account on a host of this server; with nil where the provider cannot say.
	local function when_known(username, host, callback)
		local lookup = look_up(username, host);
		if lookup.is_done then
			callback(lookup.there);
		else
			lookup.callbacks[#lookup.callbacks + 1] = callback;
		end
	end

	-- Returns how an account is named in `known`. A username has no "@".
	local function name_of(username, host)
		return host == this_host and username or username.."@"..host;
	end

	-- Returns whether there is such an account, on this host unless another is given; nil where the provider cannot say,
	-- or not at once. Never waits. An answer that takes time is remembered when it comes.
	local function exists(username, host)
		local age = clock() - known_since;
		-- An answer from before the clock was set back is not trusted.
		if age >= remember_for or age < 0 then
			known, known_since = {}, clock();
		end
		local name = host and name_of(username, host) or username;
		if known[name] then
			return true;
		end
		local lookup = look_up(username, host or this_host);
		local function remember(there)
			known[name] = there or nil;
		end
		if lookup.is_done then
			remember(lookup.there);
			return lookup.there;
		elseif not lookup.is_remembered then
			lookup.is_remembered = true;
			lookup.callbacks[#lookup.callbacks + 1] = remember;
		end
		return nil;
	end

	-- As `exists` for an account of this host, but waits for the answer where that is possible: in the handlers of what a
	-- client has sent. The second value says whether it has waited. Much may have changed meanwhile: the caller has to
	-- judge again what it judged before.
	local function find(username)
		local there = exists(username);
		if there ~= nil then
			return there, false;
		end
		local lookup = lookups[username.."@"..this_host];
		if not lookup or not async.ready() then
			return nil, false;
		end
		local wait, done = async.waiter();
		lookup.callbacks[#lookup.callbacks + 1] = function () done(); end;
		wait();
		return lookup.there, true;
	end

	-- Handles the event of an account that is deleted or disabled.
	local function forget(event)
		local account = event.username.."@"..event.host;
		known[name_of(event.username, event.host)] = nil;
		local lookup = lookups[account];
		if lookup then
			lookup.is_outdated = true;
			lookups[account] = nil;
		end
	end

	return {
		exists = exists;
		find = find;
		when_known = when_known;
		forget = forget;
	};
end;
