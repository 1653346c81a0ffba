-- The agreement of both sides of a subscription, where the contact is an account of this server too (R10).

local jid_split = require "util.jid".split;

-- `hosts` are the active hosts of this server; `serves` returns whether a domain is a host of it, active or not.
-- `rosters_of` maps a granting host to its rosters.
return function (core, accounts, rosters_of, hosts, serves)
	-- Returns whether a contact is the address of an account of this server. The account need not exist, and its host need
	-- not be active at the moment.
	local function is_local(jid)
		local node, domain = jid_split(jid);
		local contact_host = hosts[domain];
		return node and (contact_host and contact_host.type == "local" or not contact_host and serves(domain));
	end

	-- Returns the other side of a contact that is an account of this server: { item = its item for the account, rosters =
	-- those of its host if the entity may set this one }; or nil and the denial where that cannot be found out.
	local function other_side(request, username, domain)
		local exists = false;
		if hosts[domain] then
			exists = accounts.exists(username, domain);
		end
		if exists == nil then
			return nil, core:decline("roster", request.permit, "lookup");
		elseif not exists then
			return {};
		end
		local roster, rosters = accounts.roster_of(username, domain), rosters_of[domain];
		if not roster then
			return nil, core:decline("roster", request.permit, "unreadable");
		end
		local may_set = rosters and rosters.may_set(request.entity, username, request.account);
		return { item = roster[request.account], rosters = may_set and rosters or nil };
	end

	-- Returns the changes of contacts' rosters that have to be saved together with these changes, as a list of
	-- { rosters =, username =, change = }; or nil and the denial.
	local function changes_of_contacts(request, changes)
		local others = {};
		for _, change in ipairs(changes) do
			if change.gains_to and is_local(change.jid) then
				local username, domain = jid_split(change.jid);
				local side, unknown = other_side(request, username, domain);
				if not side then
					return nil, unknown;
				end
				local agreement, denial = core:agree_roster_change(request.account, change, side.item, side.rosters ~= nil);
				if not agreement then
					return nil, denial;
				elseif agreement.change then
					others[#others + 1] = { rosters = side.rosters, username = username, change = agreement.change };
				end
			end
		end
		return others;
	end

	return {
		is_local = is_local;
		changes_of_contacts = changes_of_contacts;
	};
end;
