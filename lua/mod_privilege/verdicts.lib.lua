-- The two ends of every judgement: a permit is confirmed, a denial is answered.

-- `relay` leads handlers of an earlier instance to the present one.
return function (core, accounts, delivery, blocklists, relay)
	local find, administers = accounts.find, accounts.administers;

	-- Answers with a denial, and returns what the handler of the event is to return.
	local function refuse(event, denial)
		local origin, stanza = event.origin, event.stanza;
		module:log("debug", "Refused a %s from %s to %s by rule %s: %s", stanza.name, stanza.attr.from, stanza.attr.to,
			denial.rule, denial.text);
		delivery.answer(origin, stanza, denial);
		return true;
	end

	-- Reads the blocklist that the core does not know, and lets it judge again (G5). Returns as `confirm` does.
	local function judge_again(kind, event, permit)
		if not blocklists.read(permit.unread_blocklist) then
			return nil, refuse(event, core:decline(kind, permit, "blocklist"));
		end
		core:decline(kind, permit, "blocklist");
		local handle = relay[kind];
		return nil, handle and handle(event);
	end

	-- Whether the server lets go ahead what the core permits by the judgement `kind`. Returns the permit; or nil, and what the
	-- handler of the event is to return.
	local function confirm(kind, event, permit, denial)
		if not permit then
			return nil, refuse(event, denial);
		end
		local username = permit.username;
		if not username and not permit.unread_blocklist then
			return permit;
		elseif not username then
			return judge_again(kind, event, permit);
		end
		local exists, has_waited = find(username);
		-- Where that took time, the module may have been reloaded. Then a privileged IQ is in flight in another core.
		local present = has_waited and relay.core or core;
		if has_waited and permit.id and not present:is_in_flight(permit) then
			return nil, true; -- it was given up meanwhile, and the entity has been told so
		elseif exists == nil then
			return nil, refuse(event, present:decline(kind, permit, "lookup"));
		elseif not exists then
			return nil, refuse(event, present:decline(kind, permit, "unknown-account"));
		elseif has_waited then
			-- The grant, the sender's connection or this instance may be gone: it is judged again, by the present one.
			present:decline(kind, permit, "lookup");
			local handle = relay[kind];
			return nil, handle and handle(event);
		elseif permit.unread_blocklist then
			return judge_again(kind, event, permit);
		elseif permit.unless_administrator_of and administers(username, permit.unless_administrator_of) then
			return nil, refuse(event, core:decline(kind, permit, "administrator"));
		end
		return permit;
	end

	return {
		refuse = refuse;
		confirm = confirm;
	};
end;
