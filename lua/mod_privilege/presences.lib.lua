-- Presence for privileged entities: that of accounts, and of the contacts they are subscribed to (P1 to
-- P7).

local st = require "util.stanza";
local jid_split = require "util.jid".split;
local jid_bare = require "util.jid".bare;
local new_random_id = require "util.id".medium;
local xml_escape = require "util.stanza".xml_escape;
local time_now = require "util.time".now;
local rostermanager = require "core.rostermanager";
local storagemanager = require "core.storagemanager";
local usermanager = require "core.usermanager";
local with_attributes = module:require "stanzas".with_attributes;

local hosts = prosody.hosts;

local slice_time = 0.002; -- seconds of work between two turns of the event loop
local slice_pause = 0.01; -- seconds until the next slice

return function (core, native, accounts, entities, id_prefix)
	local host = module.host;
	local host_session = hosts[host];
	local prefix_length = #id_prefix;
	local probe_id = id_prefix.."probe";
	-- Unlike the prefix, which every id that leaves shows, nobody outside ever sees this.
	local placeholder = "to-"..new_random_id();

	-- What a connection has been told is remembered once for all granting hosts, and stays over a
	-- reload of any of them.
	local memories = module:shared("/*/privilege/presence_memories");
	if not getmetatable(memories) then
		setmetatable(memories, { __mode = "k" });
	end

	local watchers = {}; -- address to watcher, of those who get presence
	local sees_accounts, sees_contacts = false, false;
	local probe_rate, probe_mode;

	--- Delivery

	-- The stanza as text in two halves, between which the address goes.
	local function halves(stanza)
		local to = stanza.attr.to;
		stanza.attr.to = placeholder;
		local text = tostring(stanza);
		stanza.attr.to = to;
		local from, till = text:find(placeholder, 1, true);
		return text:sub(1, from - 1), text:sub(till + 1);
	end

	local function deliver(takers, stanza, token)
		local head, tail;
		for _, watcher in ipairs(takers) do
			local session = watcher.session;
			if entities.takes_text(session) then
				if not head then
					head, tail = halves(stanza);
				end
				session.send(head..watcher.escaped_address..tail);
			elseif session.send then
				session.send(with_attributes(stanza, { to = watcher.address }));
			end
			watcher.memory.learn(token);
		end
	end

	-- Those among some watchers who may see this presence and do not know it yet.
	local function takers_of(candidates, occasion, username, stanza)
		local takers, token;
		for _, watcher in pairs(candidates) do
			if core.may_see(watcher.entity, occasion, username, stanza.attr.from) then
				token = token or core.presence_token(stanza);
				if not watcher.memory.knows(token) then
					takers = takers or {};
					takers[#takers + 1] = watcher;
				end
			end
		end
		return takers, token;
	end

	local function is_plain(stanza)
		local kind = stanza.attr.type;
		return kind == nil or kind == "unavailable";
	end

	-- An account's own broadcast.
	local function offer_account(candidates, username, stanza)
		local takers, token = takers_of(candidates, "account", username, stanza);
		if takers then
			deliver(takers, stanza, token);
		end
	end

	local function is_subscribed(username, contact)
		if not accounts.exists(username) then
			return false;
		end
		local item = rostermanager.load_roster(username, host)[contact];
		return item and (item.subscription == "to" or item.subscription == "both");
	end

	-- A contact's presence on its way to an account. The roster of an account that is offline is looked at
	-- last, since it may have to be read from storage.
	local function offer_contact(candidates, username, stanza)
		local contact = jid_bare(stanza.attr.from);
		local is_online = host_session.sessions[username];
		if is_online and not is_subscribed(username, contact) then
			return;
		end
		local takers, token = takers_of(candidates, "contact", username, stanza);
		if takers and (is_online or is_subscribed(username, contact)) then
			deliver(takers, stanza, token);
		end
	end

	-- The account whose contact on this server is being asked right now, and for whom.
	local answer_to, answer_for;

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
		if to and to == answer_to then
			offer_contact({ answer_for }, (jid_split(to)), stanza);
			return true;
		elseif to then
			if sees_contacts then
				offer_contact(watchers, (jid_split(to)), stanza);
			end
		elseif sees_accounts and event.origin.username then
			offer_account(watchers, event.origin.username, stanza);
		end
	end
	-- Before the server's own handler, which ends the event.
	module:hook("presence/bare", on_presence, 0.5);
	module:hook("presence/full", on_presence, 0.5);

	--- What an entity is told when it connects

	local function ignore()
		return true;
	end

	-- Asks a contact for its presence in the name of an account, the way a client of it would. The account
	-- may have gone since the last slice.
	local function probe(username, account, contact)
		if accounts.exists(username) then
			accounts.post_as(username, account, st.presence({ type = "probe", to = contact, id = probe_id }), ignore);
		end
	end

	-- A contact on this server answers before the question is through. What it lets the account see
	-- is for the entity alone, since clients of the account have it already. Gives whether the contact
	-- needs no further asking.
	local function ask_locally(watcher, username, account, contact, contact_host)
		local node = jid_split(contact);
		if not (node and contact_host.sessions and contact_host.sessions[node]) then
			return true; -- offline, or the host itself
		elseif not rostermanager.is_contact_subscribed(node, contact_host.host, account) then
			return false; -- but to somebody else it may be; and it would cancel the subscription
		end
		answer_to, answer_for = account, watcher;
		probe(username, account, contact);
		answer_to, answer_for = nil, nil;
		return true;
	end

	local function ask_contact(watcher, username, account, contact, pause)
		local _, domain = jid_split(contact);
		if not core.may_see(watcher.entity, "contact", username, contact) then
			return;
		end
		local contact_host = hosts[domain];
		if contact_host and contact_host.type == "local" then
			watcher.asked[contact] = ask_locally(watcher, username, account, contact, contact_host) or nil;
			return;
		end
		local component = contact_host and contact_host.modules and contact_host.modules.component;
		if component and not component.session then
			return; -- there is nobody to answer
		end
		pause(1);
		watcher.asked[contact] = true;
		probe(username, account, contact);
	end

	local function ask_contacts(watcher, username, roster, pause)
		local account = username.."@"..host;
		-- Other work between two slices may change the roster.
		local contacts = {};
		for contact, item in pairs(roster) do
			if contact and type(item) == "table" and (item.subscription == "to" or item.subscription == "both") then
				contacts[#contacts + 1] = contact;
			end
		end
		for _, contact in ipairs(contacts) do
			if not watcher.asked[contact] then
				ask_contact(watcher, username, account, contact, pause);
			end
			pause(0);
		end
	end

	local function usernames_online()
		local usernames = {};
		for username in pairs(host_session.sessions) do
			usernames[#usernames + 1] = username;
		end
		return usernames;
	end

	-- All there is to tell, in slices: `pause` gives others their turn when it is time to.
	local function tell_everything(watcher, pause)
		local online = usernames_online();
		for _, username in ipairs(online) do
			local user = host_session.sessions[username];
			for _, session in pairs(user and user.sessions or {}) do
				if session.presence then
					offer_account({ watcher }, username, session.presence);
				end
			end
			pause(0);
		end
		local _, _, access = core.grant(watcher.entity);
		if access ~= "roster" or probe_mode == "none" then
			return;
		end
		watcher.asked = watcher.asked or {};
		local done = {};
		for _, username in ipairs(online) do
			done[username] = true;
			if core.covers(watcher.entity, username) and host_session.sessions[username] then
				ask_contacts(watcher, username, rostermanager.load_roster(username, host), pause);
			end
			pause(0);
		end
		if probe_mode == "all" then
			-- Read past the server's cache of rosters, which is for those that are in use.
			local store = storagemanager.open(host, "roster");
			local listed, iterate, state, first = pcall(usermanager.users, host);
			if not listed or type(iterate) ~= "function" then
				module:log("debug", "The accounts of %s cannot be listed, asking only contacts of those online", host);
				return;
			end
			for username in iterate, state, first do
				if not done[username] and core.covers(watcher.entity, username) and accounts.exists(username) then
					ask_contacts(watcher, username, store:get(username) or {}, pause);
				end
				pause(0);
			end
		end
	end

	local function start(watcher)
		watcher.done = false;
		local asked_now, slice_end = 0, 0;
		local function pause(probes)
			asked_now = asked_now + probes;
			if time_now() >= slice_end or asked_now > math.max(1, probe_rate * slice_pause) then
				coroutine.yield();
			end
		end
		local work = coroutine.create(tell_everything);
		watcher.work = work;
		module:add_timer(0, function ()
			-- Gone, or begun again.
			if watchers[watcher.address] ~= watcher or watcher.work ~= work then
				return;
			end
			local begun = time_now();
			slice_end = begun + slice_time;
			-- A rate below one probe a slice: longer pauses instead.
			local probes = asked_now;
			asked_now = 0;
			local ok, err = coroutine.resume(work, watcher, pause);
			answer_to, answer_for = nil, nil; -- also where a handler has failed
			if not ok then
				module:log("error", "Telling %s the presence of %s stopped: %s", watcher.address, host, err);
			end
			if coroutine.status(work) == "dead" then
				watcher.done, watcher.work, watcher.asked = true, nil, nil;
				return;
			end
			return math.max(slice_pause, probes / probe_rate);
		end);
	end

	--- Who is connected

	local function look_around()
		sees_accounts, sees_contacts = false, false;
		for _, watcher in pairs(watchers) do
			local _, _, access = core.grant(watcher.entity);
			sees_accounts = sees_accounts or access ~= "none";
			sees_contacts = sees_contacts or access == "roster";
		end
	end

	local function enter(connection)
		local _, _, access = core.grant(connection.entity);
		local watcher;
		if access and access ~= "none" then
			local session = connection.session;
			memories[session] = memories[session] or native.presence_memory();
			watcher = {
				entity = connection.entity, address = connection.address, session = session;
				escaped_address = xml_escape(connection.address);
				memory = memories[session];
			};
		end
		if not watcher and watchers[connection.address] then
			memories[connection.session] = nil; -- what it knows is out of date when it may see again
		end
		watchers[connection.address] = watcher;
		look_around();
		return watcher;
	end

	local function enter_and_tell(connection)
		local watcher = enter(connection);
		if watcher then
			start(watcher);
		end
	end

	entities.watch({
		connected = enter_and_tell;
		changed = enter_and_tell;
		kept = function (connection)
			local watcher = enter(connection);
			if watcher and connection.presence_pending then
				watcher.asked = connection.presence_pending;
				start(watcher);
			end
		end;
		disconnected = function (connection)
			memories[connection.session] = nil;
			watchers[connection.address] = nil;
			look_around();
		end;
	});

	return {
		configure = function (rate, mode)
			probe_rate, probe_mode = rate, mode;
			if probe_mode ~= "all" and probe_mode ~= "online" and probe_mode ~= "none" then
				module:log("error", "Option privilege_probe of %s: found %s, allowed: \"all\", \"online\", \"none\"; treated as \"none\"",
					host, tostring(probe_mode));
				probe_mode = "none";
			end
		end;
		-- Whom has been asked on behalf of a connection that has not been told everything yet.
		is_pending = function (address)
			local watcher = watchers[address];
			return watcher and not watcher.done and (watcher.asked or {}) or nil;
		end;
		stop = function ()
			watchers = {};
			sees_accounts, sees_contacts = false, false;
		end;
	};
end;
