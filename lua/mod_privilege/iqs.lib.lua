-- Privileged IQs: out under an id of our own, and the answer back in its wrapper (Q3 to Q6).

local st = require "util.stanza";
local time = require "util.time";
local xml_escape = st.xml_escape;
local jid_host = require "util.jid".host;
local jid_split = require "util.jid".split;
local stanzas = module:require "stanzas";

local sweep_interval = 1; -- seconds between two looks for requests that have waited too long

local xmlns_privilege = "urn:xmpp:privilege:2";
local xmlns_forward = "urn:xmpp:forward:0";

local function now()
	-- COMPAT 0.11: no monotonic clock
	return (time.monotonic or time.now)() * 1000;
end

return function (core, accounts, entities, refuse, confirm, id_prefix, link)
	local host = module.host;
	local host_session = prosody.hosts[host];
	local prefix_length = #id_prefix;

	local function send_to_entity(reply_to, stanza)
		local connection = entities.get(reply_to);
		if connection then
			return entities.deliver(connection, stanza);
		end
		if not jid_split(reply_to) then
			return prosody.core_route_stanza(host_session, stanza); -- a component inside the server
		end
		-- A client that has not sent presence. For one that is gone the server would keep a message until the next one
		-- comes, or return it to the account.
		local session = prosody.full_sessions[reply_to];
		return session ~= nil and entities.deliver({ session = session }, stanza);
	end

	local function wrapped(stanza, changes)
		changes.xmlns = "jabber:client";
		return st.stanza("privilege", { xmlns = xmlns_privilege })
			:tag("forwarded", { xmlns = xmlns_forward })
				:add_child(stanzas.with_attributes(stanza, changes))
			:reset();
	end

	local function give_up(requests, denial)
		for _, request in ipairs(requests) do
			local original = st.stanza("iq", {
				type = "get", id = request.outer_id, from = request.reply_to, to = request.account;
			});
			send_to_entity(request.reply_to, st.error_reply(original, denial.type, denial.condition, denial.text));
		end
	end

	-- The answer of a service in its wrapper, as text; nil where it cannot be written.
	local function relayed(answer, kind, reply_to, outer_id, account)
		local error_tag = kind == "error" and answer:get_child("error");
		local text, error_text = stanzas.text_of(answer), error_tag and stanzas.text_of(error_tag) or "";
		-- What is inside the answer can be written if the answer can.
		return text and "<iq type='"..kind.."' id='"..xml_escape(outer_id).."' from='"..xml_escape(account)
			.."' to='"..xml_escape(reply_to).."'><privilege xmlns='"..xmlns_privilege.."'><forwarded xmlns='"..xmlns_forward.."'>"
			..text.."</forwarded></privilege>"..error_text.."</iq>";
	end

	-- The answer of a service, on its way back to the entity. How deep it is nested is for the service to choose, so
	-- it may be one that cannot be written (Q7).
	local function relay(answer, request)
		local reply_to, outer_id, inner_id, account = request.reply_to, request.outer_id, request.inner_id, request.account;
		local kind, from = answer.attr.type, answer.attr.from or account;
		local connection = entities.get(reply_to);
		if connection and entities.takes_text(connection.session) then
			local inner = stanzas.with_attributes(answer, { id = inner_id, from = from, to = account, xmlns = "jabber:client" });
			local text = relayed(inner, kind, reply_to, outer_id, account);
			if text then
				return connection.session.send(text);
			end
		else
			local outer = st.stanza("iq", { type = kind, id = outer_id, from = account, to = reply_to })
				:add_child(wrapped(answer, { id = inner_id, from = from, to = account }));
			local error_tag = kind == "error" and answer:get_child("error");
			if error_tag then
				outer:add_child(error_tag);
			end
			if stanzas.is_writable(outer, true) then
				return send_to_entity(reply_to, outer);
			end
		end
		give_up({ request }, core.unrelayable());
	end

	-- Handles an IQ of type result or error under our prefix. A late or forged one ends here.
	local function take_answer(answer, account)
		local request = core.answer(answer.attr.id, answer.attr.from, account);
		if request then
			relay(answer, request);
		end
	end

	-- A service may answer after this module has been reloaded.
	link.take_answer = take_answer;

	local sweeping = false;
	local function sweep()
		give_up(core.expire(now()));
		if core.in_flight() > 0 then
			return sweep_interval;
		end
		sweeping = false;
	end

	local function start_sweeping()
		if not sweeping then
			sweeping = true;
			module:add_timer(sweep_interval, sweep);
		end
	end

	local function handle(event)
		local origin, stanza = event.origin, event.stanza;
		local permit, answered = confirm(event, core.iq(entities.sender(origin), stanza, now()));
		if not permit then
			return answered;
		elseif not stanzas.is_writable(permit.stanza) then
			return refuse(event, core.decline(permit, "failed"));
		end
		start_sweeping();

		local account, entity_address = permit.account, stanza.attr.from;
		permit.stanza.attr.id = permit.id;
		local posted = accounts.post(permit, function (reply)
			if reply.name == "iq" then
				local kind = reply.attr.type;
				if (kind == "result" or kind == "error") and reply.attr.id and link.take_answer then
					link.take_answer(reply, account);
				end
			elseif reply.name == "message" and reply.attr.type ~= "error" then
				-- What a service sends ahead of its answer, such as messages out of the archive.
				local ahead = st.message({ from = account, to = entity_address, id = entities.own_id() })
					:add_child(wrapped(reply, { to = account }));
				local connection = entities.get(entity_address);
				if stanzas.is_writable(ahead, not (connection and entities.takes_text(connection.session))) then
					send_to_entity(entity_address, ahead);
				elseif core.cancel_request(permit.id) then
					-- Without this message the answer would be taken for complete.
					refuse(event, core.unrelayable());
				end
			end
			return true;
		end);
		if not posted and core.cancel_request(permit.id) then
			refuse(event, core.decline(permit, "failed"));
		end
		return true;
	end
	link.iq = handle;

	-- On the account's own bare JID, on a full JID and on the host, a wrapper is refused (Q1).
	module:hook("iq-get/bare/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq-set/bare/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq-get/self/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq-set/self/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq-get/host/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq-set/host/"..xmlns_privilege..":privileged_iq", handle);
	module:hook("iq/full", function (event)
		local child = event.stanza.tags[1];
		if child and child.name == "privileged_iq" and child.attr.xmlns == xmlns_privilege then
			local kind = event.stanza.attr.type;
			if kind == "get" or kind == "set" then
				return handle(event);
			end
		end
	end, 10);

	-- Routed answers. Everything under our prefix ends here, late and forged ones too.
	module:hook("iq/bare", function (event)
		local attr = event.stanza.attr;
		if (attr.type == "result" or attr.type == "error") and attr.id
		and attr.id:sub(1, prefix_length) == id_prefix then
			local origin = event.origin;
			if origin.type == "component" and jid_host(attr.from) ~= origin.host then
				return true; -- validate_from_addresses is off: it may say it is anybody
			end
			take_answer(event.stanza, attr.to or origin.username.."@"..origin.host);
			return true;
		end
	end, 10);

	entities.watch({
		disconnected = function (connection)
			core.forget("reply_to", connection.address);
			if connection.address == connection.entity then
				core.forget("entity", connection.entity);
			end
		end;
		-- A client has come or gone that may never have sent presence. Another one may have its address next.
		unbound = function (client)
			core.forget("reply_to", client.address);
		end;
		configured = function ()
			give_up(core.forget("ungranted"));
		end;
	});

	local function on_account_gone(event)
		if event.host == host then
			give_up(core.forget("account", event.username.."@"..host));
		end
	end
	module:hook_global("user-deleted", on_account_gone);
	module:hook_global("user-disabled", on_account_gone);

	if core.in_flight() > 0 then
		start_sweeping();
	end

	return {
		-- For good, not for a reload: whoever waits is told.
		stop = function ()
			give_up(core.forget("all"));
		end;
	};
end;
