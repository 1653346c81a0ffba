-- The ad-hoc command in which users see the services that may act for them, and block and unblock each (G6).

local st = require "util.stanza";
local dataforms = require "util.dataforms";
local jid_split = require "util.jid".split;

local node = "urn:xmpp:privilege:2#services";
local title = "Services that may act for you";

return function (core, accounts, blocklists)
	local host = module.host;
	local host_session = prosody.hosts[host];
	local is_wanted = true; -- option privilege_user_command
	local offered; -- the command while it is offered

	-- Returns the form for an account, with the services that are granted anything about it.
	local function form_for(services)
		local layout = {
			title = title;
			instructions = "Each of these services may act in your name. One that you block can do nothing in your name, see nothing of you, "
				.."and not write to you. You find it in your list of blocked contacts then.";
			{ name = "FORM_TYPE", type = "hidden", value = node };
		};
		local options, blocked = {}, {};
		for _, service in ipairs(services) do
			layout[#layout + 1] = { type = "fixed", value = service.jid..": "..service.text };
			options[#options + 1] = { label = service.jid, value = service.jid, default = service.is_blocked };
			if service.is_blocked then
				blocked[#blocked + 1] = service.jid;
			end
		end
		layout[#layout + 1] = { name = "blocked", type = "list-multi", label = "Blocked", options = options, value = blocked };
		return dataforms.new(layout);
	end

	-- Has the account itself send a request to its blocklist. Returns whether that went well.
	local function request(username, action, jids)
		local account = username.."@"..host;
		local iq = st.iq({ type = "set", id = "services" }):tag(action, { xmlns = "urn:xmpp:blocking" });
		for _, jid in ipairs(jids) do
			iq:tag("item", { jid = jid }):up();
		end
		local is_done = false;
		accounts.post_as(username, account, iq:reset(), function (reply)
			is_done = is_done or reply.name == "iq" and reply.attr.type == "result";
			return true;
		end);
		return is_done;
	end

	-- Blocks and unblocks what has been chosen. Returns whether that went well.
	local function apply(username, services, chosen)
		local to_block, to_unblock = {}, {};
		for _, service in ipairs(services) do
			if chosen[service.jid] and not service.is_blocked then
				to_block[#to_block + 1] = service.jid;
			elseif service.is_blocked and not chosen[service.jid] then
				local _, domain = jid_split(service.jid);
				to_unblock[#to_unblock + 1] = service.jid;
				if domain ~= service.jid then
					to_unblock[#to_unblock + 1] = domain; -- it may be blocked by either
				end
			end
		end
		return (not to_block[1] or request(username, "block", to_block))
			and (not to_unblock[1] or request(username, "unblock", to_unblock));
	end

	-- Handles one step. Each step is about the account of its sender.
	local function handle(_, data)
		local username, from_host = jid_split(data.from);
		if from_host ~= host or not username or not host_session.sessions[username] then
			return { status = "error", error = { type = "auth", condition = "forbidden", message = "This command is for the accounts of this host." } };
		elseif data.action == "cancel" then
			return { status = "canceled" };
		elseif not blocklists.ensure(username) then
			return { status = "completed", error = { message = "Your list of blocked contacts cannot be read. Try again." } };
		end
		local services = core:services(username);
		if not services[1] then
			return { status = "completed", info = "No service may act for you." };
		elseif not data.form then
			return { status = "executing", actions = { "complete", default = "complete" }, form = form_for(services) }, "shown";
		end
		local chosen = {};
		for _, jid in ipairs(form_for(services):data(data.form).blocked or {}) do
			chosen[jid] = true;
		end
		if not apply(username, services, chosen) then
			return { status = "completed", error = { message = "Your list of blocked contacts cannot be changed. Try again." } };
		end
		return { status = "completed", info = "Done." };
	end

	-- Refuses the command to whom it is not for. Its own handler is told an address alone: with validate_from_addresses off, a
	-- component may say that it is anybody, and no entity may run it in the name of an account (G7).
	local function guard(event)
		local origin, child = event.origin, event.stanza.tags[1];
		if child.attr.node == node and (origin.type ~= "c2s" or origin.privileged_acting) then
			origin.send(st.error_reply(event.stanza, "auth", "forbidden"));
			return true;
		end
	end

	-- Offers the command, or no more: it needs mod_adhoc, and without blocklists there is nothing to choose.
	local function look()
		local is_possible = is_wanted and blocklists.is_on() and host_session.modules.adhoc ~= nil;
		if is_possible and not offered then
			local adhoc = module:require "adhoc";
			offered = adhoc.new(title, node, handle, "local_user");
			module:provides("adhoc", offered);
		elseif offered and not is_possible then
			module:remove_item("adhoc-provider", offered);
			offered = nil;
		end
	end

	return {
		guard = guard;
		look = look;
		configure = function ()
			is_wanted = module:get_option_boolean("privilege_user_command", true);
			look();
		end;
	};
end;
