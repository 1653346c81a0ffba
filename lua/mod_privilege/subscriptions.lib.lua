-- Whether an account is subscribed to the presence of a contact.

local host = module.host;
local host_session = prosody.hosts[host];

-- `native` says which subscriptions let an account see a contact.
return function (native, accounts)
	-- Returns whether an account with this roster item, or nil, sees the presence of the contact.
	local function sees_presence_of(item)
		return item ~= nil and native.includes_to[item.subscription] or false;
	end

	-- Returns whether an account is subscribed to a contact, by its roster.
	local function is_subscribed(username, contact)
		local user = host_session.sessions[username];
		if user and user.roster then
			return sees_presence_of(user.roster[contact]);
		end
		-- The roster of an account that is gone is empty. Where the lookup takes time, the account exists.
		local roster = accounts.exists(username) ~= false and accounts.roster_of(username, host);
		return roster and sees_presence_of(roster[contact]) or false;
	end

	return {
		sees_presence_of = sees_presence_of;
		is_subscribed = is_subscribed;
	};
end;
