-- Presence for privileged entities: that of accounts, and of the contacts they are subscribed to (P1 to P8).
--
-- The core knows who may see what, and what each connection has been told. What an entity is told when it connects:
-- catch_up.lib.lua.

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local new_other_subscribers = module:require "other_subscribers";

local bare_sessions = prosody.bare_sessions;

-- Returns an address without its resource. The server has normalised it. Everybody's presence passes here, and the
-- server's own function splits the address into all its parts.
local function bare(address)
	local slash = address:find("/", 1, true);
	return slash and address:sub(1, slash - 1) or address;
end

-- `native` says which subscriptions let an account see a contact, and a contact an account.
return function (core, native, accounts, delivery, blocklists, id_prefix)
	local host = module.host;
	local at_host = "@"..host; -- it is in the address of each account of this host
	local prefix_length = #id_prefix;
	local sees_accounts, sees_contacts = false, false; -- whether anybody who is connected does

	-- Shows a presence to those who may see it and do not know it; `among` leaves out others. `contacts` is the roster of
	-- the sender, if the server has it: some of its contacts have the presence from the server. `is_subscribed`, if given, is
	-- asked last, since a roster may have to be read.
	local function show(occasion, username, stanza, among, contacts, is_subscribed)
		blocklists.ensure(username);
		if occasion == "contact" and stanza.attr.from:find(at_host, 1, true) then
			local node, domain = jid_split(stanza.attr.from);
			if node and domain == host then
				blocklists.ensure(node);
			end
		end
		local news = core:viewers(occasion, username, stanza, among, contacts);
		if news and (not is_subscribed or is_subscribed(username, bare(stanza.attr.from))) then
			delivery.broadcast(news, stanza);
			core:shown(news);
		end
	end

	local function say_gone(jid, viewers)
		delivery.broadcast(viewers, st.presence({ from = jid, type = "unavailable" }));
	end

	local catch_up = module:require "catch_up"(core, accounts, blocklists, id_prefix, show, say_gone);

	--- Presence of accounts and contacts

	local subscriptions = module:require "subscriptions"(native, accounts);
	local sees_presence_of, is_subscribed = subscriptions.sees_presence_of, subscriptions.is_subscribed;
	local other_subscribers = new_other_subscribers(native, accounts, blocklists, is_subscribed);

	-- The sender of the presence that came last. The same one often comes to many accounts.
	local last_sender, last_contact;

	local function on_presence(event)
		local stanza = event.stanza;
		local kind = stanza.attr.type;
		if kind == "error" then
			-- A probe of ours comes back where the contact's server cannot be reached. The account has not asked.
			local id = stanza.attr.id;
			return id and id:sub(1, prefix_length) == id_prefix or nil;
		elseif kind and kind ~= "unavailable" then
			return;
		end
		local to = stanza.attr.to;
		if not to then
			if sees_accounts and event.origin.username then
				show("account", event.origin.username, stanza, nil, event.origin.roster);
			end
		elseif catch_up.take_answer(stanza) then
			return true;
		elseif sees_contacts and stanza.attr.from then -- other modules may leave it out
			local user, from = bare_sessions[to] or bare_sessions[bare(to)], stanza.attr.from;
			if not user or not user.roster then
				show("contact", jid_split(to), stanza, nil, event.origin.roster, is_subscribed);
				return;
			elseif from ~= last_sender then
				last_sender, last_contact = from, bare(from);
			end
			if sees_presence_of(user.roster[last_contact]) then
				show("contact", jid_split(to), stanza, nil, event.origin.roster);
			end
		end
	end

	local blocked_presence = module:require "blocked_presence"(core, accounts, delivery, {
		show = show, say_gone = say_gone, sees_presence_of = sees_presence_of, other_subscribers = other_subscribers;
		serve_again = catch_up.serve_again;
	});

	-- Called for each contact of an account whose stored item has changed. An entity is not left believing that a contact
	-- is available which is not shown any more, and what it was told of that contact counts as unknown (P4, P8). Of a
	-- contact that is shown again, it may believe something from an earlier time.
	local function roster_changed(username, contact, before, after)
		catch_up.roster_changed(username);
		blocklists.ensure(username);
		local is_shown = sees_presence_of(after);
		if not sees_contacts or sees_presence_of(before) == is_shown then
			return;
		elseif is_shown then
			catch_up.settle_contact(username, contact);
			return;
		end
		local misled = core:lost(username, contact, other_subscribers(username, contact));
		if misled then
			say_gone(contact, misled);
		end
	end

	--- Who is connected

	local function look_around()
		sees_accounts, sees_contacts = core:sees("account"), core:sees("contact");
	end

	local function do_task(number, task)
		local was_pending = catch_up.is_pending(number);
		catch_up.remove(number);
		if task == "confirm" and not was_pending then
			catch_up.confirm(number);
		elseif task ~= "stop" then
			catch_up.add(number);
		end
	end

	return {
		on_presence = on_presence;
		on_probe = catch_up.on_probe;
		roster_changed = roster_changed;
		blocked = blocked_presence.blocked;
		unblocked = blocked_presence.unblocked;
		-- There are no blocklists any more. These viewers are told who is there.
		all_unblocked = function (viewers)
			for _, number in ipairs(viewers) do
				do_task(number, "tell");
			end
		end;
		is_pending = catch_up.is_pending;
		connected = function (connection, task, earlier)
			look_around();
			for contact in pairs(task and earlier and earlier.asked or {}) do
				core:asked(contact, { connection.number });
			end
			if task then
				do_task(connection.number, task);
			end
		end;
		disconnected = function (connection)
			look_around();
			catch_up.remove(connection.number);
		end;
		-- Called when the core has read a configuration; see `configure` of the core.
		configure = function (configured)
			look_around();
			catch_up.configure(configured.probe_rate, configured.asks_online, configured.asks_offline);
			for _, entry in ipairs(configured.tasks) do
				do_task(entry.number, entry.task);
			end
		end;
		stop = function ()
			catch_up.stop();
			sees_accounts, sees_contacts = false, false;
		end;
	};
end;
