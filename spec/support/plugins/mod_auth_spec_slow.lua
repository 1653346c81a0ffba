-- Test only: an authentication provider that takes time to say whether an account exists, as those do that
-- ask a web server or a directory. It can be asked in a runner of util.async and nowhere else.
--
-- With prosody.spec_slow = {} lookups wait until a test calls each function in that list; otherwise until the next
-- turn of the event loop.

local async = require "util.async";
local new_sasl = require "util.sasl".new;

local host = module.host;
local passwords = {};

local provider = {};

function provider.test_password(username, password)
	return passwords[username] == password;
end

function provider.get_password(username)
	return passwords[username];
end

function provider.set_password(username, password)
	passwords[username] = password;
	return true;
end

function provider.user_exists(username)
	local wait, done = async.waiter();
	local held = prosody.spec_slow;
	if held then
		table.insert(held, function () done(); end);
	else
		module:add_timer(0, function () done(); end);
	end
	wait();
	return passwords[username] ~= nil;
end

function provider.users()
	return pairs(passwords);
end

function provider.create_user(username, password)
	passwords[username] = password;
	return true;
end

function provider.delete_user(username)
	passwords[username] = nil;
	return true;
end

function provider.get_sasl_handler()
	return new_sasl(host, {
		plain = function (_, username)
			return passwords[username] or "", passwords[username] and true or nil;
		end;
	});
end

module:provides("auth", provider);
