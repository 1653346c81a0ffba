-- Telling newcomers of the accounts that are online (P2, P6). A round may take minutes; this does not wait for its end.

-- `given` are functions: `online` returns the usernames of the accounts that are online; `user_of` returns the server's table
-- of the sessions of one; `settle` and `show` are those of catch_up.lib.lua; `pause` lets others work.
return function (host, viewers, given)
	local is_greeting = false;

	local function tell_account(username, among)
		local user = given.user_of(username);
		if user then
			for _, presence in ipairs(given.settle("account", username, username.."@"..host, user, among)) do
				given.show("account", username, presence, among);
			end
		end
	end

	-- Greets all newcomers, also those that come meanwhile. The list of those that are greeted shrinks when one goes.
	local function greet()
		is_greeting = true;
		while viewers.has_newcomers() do
			viewers.begin_greeting();
			for _, username in ipairs(given.online()) do
				if not viewers.greeted()[1] then
					break;
				end
				tell_account(username, viewers.greeted());
				given.pause();
			end
			viewers.end_greeting();
		end
		is_greeting = false;
	end

	return {
		greet = greet;
		-- The same at a pause of other work. A pause of the greeting itself is not one.
		greet_meanwhile = function ()
			if viewers.has_newcomers() and not is_greeting then
				greet();
			end
		end;
		-- After a failure: nobody is being greeted.
		reset = function ()
			is_greeting = false;
		end;
	};
end;
