-- Presence for privileged entities: that of accounts, and of the contacts they are subscribed to (P1 to P8).
--
-- Who may see what, and what each connection has been told, the core knows. What an entity is told when it
-- connects: catch_up.lib.lua.

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local new_random_id = require "util.id".medium;
local usermanager = require "core.usermanager";
local stanzas = module:require "stanzas";
local at_once = module:require "at_once";

local hosts = prosody.hosts;

local most_looks = 20; -- how many accounts are looked at closely because a contact of theirs was lost by another

return function (core, native, accounts, entities, id_prefix)
	local host = module.host;
	local host_session = hosts[host];
	local prefix_length = #id_prefix;
	-- Unlike the prefix, which every id that leaves shows, nobody outside ever sees this.
	local placeholder = "to-"..new_random_id();

	local watchers = {}; -- address to watcher, of those who get presence
	local watcher_of = {}; -- the core's number of a viewer to watcher
	local sees_accounts, sees_contacts = false, false;

	--- Delivery

	-- The stanza as text in two halves, between which the address goes; nil where it is nested too deeply to be
	-- written.
	local function halves(stanza)
		local text = stanzas.text_of(stanzas.with_attributes(stanza, { to = placeholder }));
		if not text then
			module:log("debug", "A presence from %s cannot be written", stanza.attr.from);
			return nil;
		end
		local from, till = text:find(placeholder, 1, true);
		return text:sub(1, from - 1), text:sub(till + 1);
	end

	local function deliver(viewers, stanza)
		local head, tail, is_unwritable;
		for _, viewer in ipairs(viewers) do
			local watcher = watcher_of[viewer];
			local session = watcher and watcher.session;
			if not session then -- luacheck: ignore 542
				-- Gone since it was chosen.
			elseif entities.takes_text(session) then
				if not head and not is_unwritable then
					head, tail = halves(stanza);
					is_unwritable = not head;
				end
				if head then
					session.send(head..watcher.escaped_address..tail);
				end
			elseif session.send then
				-- The server writes it out now, and may copy it before: how deep it may be differs by what the session has.
				local sent, problem = pcall(session.send,
					stanzas.with_attributes(stanza, { to = watcher.address, id = entities.own_id() }));
				if not sent then
					module:log("debug", "A presence from %s cannot be sent to %s: %s", stanza.attr.from, watcher.address, problem);
				end
			end
		end
	end

	-- Shows a presence to those who may see it and do not know it. `is_subscribed`, if given, is asked last,
	-- since a roster may have to be read.
	local function show(occasion, username, stanza, among, is_subscribed)
		local viewers, ticket = core.viewers(occasion, username, stanza, among);
		if viewers and (not is_subscribed or is_subscribed(username, jid_bare(stanza.attr.from))) then
			deliver(viewers, stanza);
			core.shown(ticket, viewers);
		end
	end

	local function say_gone(jid, viewers)
		deliver(viewers, st.presence({ from = jid, type = "unavailable" }));
	end

	local catch_up = module:require "catch_up"(core, accounts, id_prefix, show, say_gone);

	--- What accounts and contacts say

	local function sees_presence_of(item)
		return item ~= nil and (item.subscription == "to" or item.subscription == "both");
	end

	local function is_subscribed(username, contact)
		-- Where its lookup takes time: the roster of an account that is gone is empty.
		local roster = accounts.exists(username) ~= false and accounts.roster_of(username, host);
		return roster and sees_presence_of(roster[contact]) or false;
	end

	local function is_plain(stanza)
		local kind = stanza.attr.type;
		return kind == nil or kind == "unavailable";
	end

	local function on_presence(event)
		local stanza = event.stanza;
		if not is_plain(stanza) then
			-- What a probe of ours comes back with when the contact's server cannot be reached is
			-- nothing the account has asked for.
			local id = stanza.attr.id;
			if stanza.attr.type == "error" and id and id:sub(1, prefix_length) == id_prefix then
				return true;
			end
			return;
		end
		local to = stanza.attr.to;
		if not to then
			if sees_accounts and event.origin.username then
				show("account", event.origin.username, stanza);
			end
		elseif catch_up.take_answer(stanza) then
			return true;
		elseif sees_contacts then
			local username = jid_split(to);
			if not host_session.sessions[username] then
				show("contact", username, stanza, nil, is_subscribed);
			elseif is_subscribed(username, jid_bare(stanza.attr.from)) then
				show("contact", username, stanza);
			end
		end
	end
	-- Before the server's own handler, which ends the event.
	module:hook("presence/bare", on_presence, 0.5);
	module:hook("presence/full", on_presence, 0.5);

	--- Contacts that are lost

	local function ignore()
		return true;
	end

	-- Whether something, such as a blocklist, stops a probe from one of this server's accounts on its way out. It is
	-- shown to those who may stop it, and not sent.
	local function is_stopped(from_node, from_host, to)
		local session = accounts.acting_session(from_node, from_node.."@"..from_host, ignore);
		session.host = from_host;
		local probe = st.presence({ type = "probe", from = from_node.."@"..from_host, to = to });
		local kind = to:find("@", 1, true) and "bare" or "host";
		local was_shown, is_handled = pcall(hosts[from_host].events.fire_event, "pre-presence/"..kind, { origin = session, stanza = probe });
		return was_shown and is_handled;
	end

	-- The accounts of this host by which a contact is certainly to be seen, other than one of them. Of a contact on
	-- this server, its own roster names them; of another, only those online are known. Some rosters contradict each
	-- other, and somebody may have blocked somebody; but to look at all accounts that share a popular contact
	-- takes too long.
	local function others_subscribed(username, contact)
		local others, looks = {}, 0;
		local node, domain = jid_split(contact);
		local is_here = node and hosts[domain] and hosts[domain].type == "local";
		local function consider(other)
			looks = looks + 1;
			if other ~= username and (looks > most_looks or is_subscribed(other, contact)
			and not is_stopped(other, host, contact) and not (is_here and is_stopped(node, domain, other.."@"..host))) then
				others[#others + 1] = other;
			end
		end
		if not is_here then
			for other, user in pairs(host_session.sessions) do
				if user.roster and sees_presence_of(user.roster[contact]) then
					consider(other);
				end
			end
		elseif hosts[domain].sessions[node] or select(2, at_once(usermanager.user_exists, node, domain)) == true then
			for jid, item in pairs(accounts.roster_of(node, domain) or {}) do
				local other, other_host;
				if jid then
					other, other_host = jid_split(jid);
				end
				if other and other_host == host and (item.subscription == "from" or item.subscription == "both") then
					consider(other);
				end
			end
		end
		return others;
	end

	local function viewers_present()
		local viewers = {};
		for _, watcher in pairs(watchers) do
			viewers[#viewers + 1] = watcher.viewer;
		end
		return viewers;
	end

	-- Called for each contact of an account whose stored item has changed. What was told of a contact that is not to
	-- be shown any more is not known any more, and nobody is left believing that it is available (P4, P8). Of one that
	-- is won, something may be believed from a time at which it was to be shown.
	local function roster_changed(username, contact, before, after)
		catch_up.roster_changed(username);
		if not sees_contacts or sees_presence_of(before) == sees_presence_of(after) then
			return;
		elseif sees_presence_of(after) then
			catch_up.settle_contact(username, contact, viewers_present());
			return;
		end
		local misled = core.lost(username, contact, others_subscribed(username, contact));
		if misled then
			say_gone(contact, misled);
		end
	end

	--- Who is connected

	local function look_around()
		sees_accounts, sees_contacts = false, false;
		for _, watcher in pairs(watchers) do
			local grant = core.grant(watcher.entity);
			sees_accounts = sees_accounts or grant ~= nil and grant.presence ~= "none";
			sees_contacts = sees_contacts or grant ~= nil and grant.presence == "roster";
		end
	end

	local function leave(watcher, is_revoked)
		if watcher then
			catch_up.remove(watcher.viewer);
			core.unwatch(watcher.viewer, is_revoked);
			watcher_of[watcher.viewer], watchers[watcher.address] = nil, nil;
		end
	end

	-- What a connection has been told lies beside it, so that all granting hosts find it, over a reload of any of
	-- them too, and it goes with the connection. Returns what is to be done: "tell" where there is anything new to tell,
	-- "confirm" where less is to be seen, "unknown" where it is not known what has been told, or nil.
	local function enter(connection)
		local session, entity = connection.session, connection.entity;
		local is_unknown = session.privilege_told == nil;
		local viewer, todo = core.watch(entity, session.privilege_told);
		if viewer == false then
			-- There was none, or it is of another version of the library.
			is_unknown, session.privilege_told = true, native.presence_memory();
			viewer, todo = core.watch(entity, session.privilege_told);
		end
		if viewer then
			local watcher = {
				entity = entity, address = connection.address, session = session, viewer = viewer;
				escaped_address = st.xml_escape(connection.address);
			};
			watchers[connection.address], watcher_of[viewer] = watcher, watcher;
		end
		look_around();
		return is_unknown and "unknown" or todo;
	end

	-- After a downgrade and an upgrade: what this host has told meanwhile, nobody has noted, so that what was noted
	-- before may have been told otherwise since.
	local function distrust(connection)
		local viewer = core.watch(connection.entity, connection.session.privilege_told);
		if viewer then
			core.unwatch(viewer, true);
		end
	end

	local function tell_everything(address)
		local watcher = watchers[address];
		if watcher then
			catch_up.add(watcher.viewer);
		end
	end

	local function confirm(address)
		local watcher = watchers[address];
		if watcher then
			catch_up.confirm(watcher.viewer);
		end
	end

	entities.watch({
		connected = function (connection)
			enter(connection);
			tell_everything(connection.address);
		end;
		changed = function (connection)
			local earlier = watchers[connection.address];
			local was_pending = earlier and catch_up.is_pending(earlier.viewer) or connection.presence_pending;
			local grant = core.grant(connection.entity);
			leave(earlier, grant == nil or grant.presence == "none");
			local todo = enter(connection);
			if todo == "confirm" and not was_pending then
				confirm(connection.address);
			elseif todo or was_pending then
				tell_everything(connection.address);
			end
		end;
		kept = function (connection)
			if not connection.is_remembered then
				distrust(connection);
			end
			local todo = enter(connection);
			local watcher = watchers[connection.address];
			if todo == "confirm" and not connection.presence_pending then
				confirm(connection.address);
			elseif watcher and (todo == "tell" or connection.presence_pending) then
				for contact in pairs(connection.presence_pending or {}) do
					core.asked(contact, { watcher.viewer });
				end
				tell_everything(connection.address);
			end
		end;
		disconnected = function (connection)
			leave(watchers[connection.address], false);
			connection.session.privilege_told = nil;
			look_around();
		end;
	});

	return {
		configure = function (rate, mode)
			if mode ~= "all" and mode ~= "online" and mode ~= "none" then
				module:log("error", "Option privilege_probe of %s: found %s, allowed: \"all\", \"online\", \"none\"; treated as \"none\"",
					host, tostring(mode));
				mode = "none";
			end
			catch_up.configure(rate, mode);
		end;
		-- For a reload: a table where a connection has not been told everything yet. Version 0.1.0 kept in it whom it
		-- had asked; now that is kept with what was told.
		is_pending = function (address)
			local watcher = watchers[address];
			return watcher and catch_up.is_pending(watcher.viewer) and {} or nil;
		end;
		-- Whether `roster_changed` is to be called.
		wants_roster_changes = function ()
			return sees_contacts;
		end;
		roster_changed = roster_changed;
		-- A handler of events: see the page of hooks in mod_privilege.lua.
		on_probe = catch_up.on_probe;
		-- With `is_for_good`, not for a reload: what was told is not known any more.
		stop = function (is_for_good)
			catch_up.stop();
			for _, watcher in pairs(watchers) do
				core.unwatch(watcher.viewer, is_for_good);
			end
			watchers, watcher_of = {}, {};
			sees_accounts, sees_contacts = false, false;
		end;
	};
end;
