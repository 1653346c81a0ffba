-- Privileged IQs: they leave under an id of our own, and the answer goes back in its wrapper (Q3 to Q7).

local monotonic = require "util.time".monotonic;
local jid_host = require "util.jid".host;

local sweep_interval = 1; -- seconds between two looks for requests that have waited too long

local function now()
	return monotonic() * 1000;
end

local function is_answer(stanza)
	return stanza.attr.type == "result" or stanza.attr.type == "error";
end

-- `relay` leads handlers of an earlier instance to the present one.
return function (core, accounts, delivery, verdicts, id_prefix, relay)
	local host = module.host;
	local prefix_length = #id_prefix;

	--- Answers

	-- Handles an IQ of type result or error under our prefix. One that is late or forged ends here.
	local function take_answer(answer, account)
		local frame = core:answer(answer.attr.id, answer.attr.from, account, answer);
		if not frame then
			return;
		elseif frame.text then
			delivery.deliver(frame.to, frame.text);
		-- How deeply the answer is nested is the service's choice (Q7).
		elseif not delivery.deliver_wrapped(frame, answer) then
			delivery.deliver(frame.to, core:unrelayable(frame));
		end
	end
	relay.answer = take_answer;

	-- Everything under our prefix that is routed to an account ends here.
	local function routed_answer(event)
		local stanza, origin = event.stanza, event.origin;
		local id, from, to = stanza.attr.id, stanza.attr.from, stanza.attr.to;
		-- Everybody's answers pass here, and most ids are short.
		if not id or #id <= prefix_length or id:sub(1, prefix_length) ~= id_prefix or not is_answer(stanza) then
			return;
		elseif origin.type == "component" and jid_host(from) ~= origin.host then
			return true; -- validate_from_addresses is off, so the component may say that it is anybody
		end
		take_answer(stanza, to or origin.username.."@"..origin.host);
		return true;
	end

	--- Time-outs

	local is_sweeping = false;

	local function sweep()
		delivery.send(core:tick(now()));
		is_sweeping = core:is_waiting();
		return is_sweeping and sweep_interval or nil;
	end

	local function start_sweeping()
		if not is_sweeping and core:is_waiting() then
			is_sweeping = true;
			module:add_timer(sweep_interval, sweep);
		end
	end

	--- Requests

	-- Returns a function that takes what a service sends back at once.
	local function listener(event, permit)
		return function (reply)
			if reply.name == "iq" and is_answer(reply) and reply.attr.id and relay.answer then
				relay.answer(reply, permit.account);
			elseif reply.name == "message" and reply.attr.type ~= "error" then
				-- A service may send something ahead of its answer, such as messages out of an archive. Without one of them
				-- the answer would be taken for complete.
				if not delivery.deliver_wrapped(core:ahead(permit.account, event.stanza.attr.from), reply) and core:is_in_flight(permit) then
					verdicts.refuse(event, core:decline("iq", permit, "unrelayable"));
				end
			end
			return true;
		end;
	end

	local function handle(event)
		local permit, answered = verdicts.confirm("iq", event, core:iq(delivery.live(event.origin), event.stanza, now()));
		if not permit then
			return answered;
		end
		start_sweeping();
		permit.stanza.attr.id = permit.id;
		if not accounts.post(permit, listener(event, permit)) then
			if core:is_in_flight(permit) then -- else it was answered before it failed
				verdicts.refuse(event, core:decline("iq", permit, "failed"));
			end
		end
		return true;
	end
	relay.iq = handle;

	-- The server has no event of its own for the payload of an IQ to a full JID.
	local function handle_full(event)
		local stanza = event.stanza;
		local child = stanza.tags[1];
		if (stanza.attr.type == "get" or stanza.attr.type == "set")
		and child and child.name == "privileged_iq" and child.attr.xmlns == "urn:xmpp:privilege:2" then
			return handle(event);
		end
	end

	return {
		handle = handle;
		handle_full = handle_full;
		routed_answer = routed_answer;
		-- After a reload there may be requests that wait.
		go_on = start_sweeping;
		account_gone = function (event)
			if event.host == host then
				delivery.send(core:account_gone(event.username.."@"..host));
			end
		end;
	};
end;
