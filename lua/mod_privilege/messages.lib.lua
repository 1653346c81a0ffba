-- Privileged messages (M1 to M8).

local xmlns_privilege = { ["urn:xmpp:privilege:2"] = true, ["urn:xmpp:privilege:1"] = true };

-- Whether a message has a privileged wrapper. It is a cheap test, since everybody's messages to the host pass it.
local function has_wrapper(stanza)
	local tags = stanza.tags;
	for i = 1, #tags do
		local tag = tags[i];
		if tag.name == "privilege" and xmlns_privilege[tag.attr.xmlns] then
			return true;
		end
	end
	return false;
end

return function (core, accounts, delivery, verdicts, relay)
	local live, confirm, post, bounced = delivery.live, verdicts.confirm, accounts.post, accounts.bounced;

	local function handle(event)
		local stanza = event.stanza;
		if not has_wrapper(stanza) then
			return;
		elseif stanza.attr.type == "error" then
			return true; -- an advertisement that came back, or something that is not answered (M6)
		end
		local permit, answered = confirm("message", event, core:message(live(event.origin), stanza));
		if not permit then
			return answered;
		end
		if permit.delay then
			permit.stanza:add_direct_child(permit.delay);
		end
		if not post(permit, bounced) then
			return verdicts.refuse(event, core:decline("message", permit, "failed"));
		end
		return true;
	end
	relay.message = handle;

	return {
		handle = handle;
	};
end;
