-- Roster requests of privileged entities (R1 to R6, R9).

local st = require "util.stanza";
local rostermanager = require "core.rostermanager";
local xml_parse = require "util.xml".parse;

local host = module.host;

return function (core, accounts, pushes, refuse)
	-- Only a component's connection takes a finished string; on a client's, stream management would
	-- not count it.
	local function answer(origin, text)
		if origin.type == "component" and origin.conn then
			return origin.send(text);
		end
		return origin.send(xml_parse(text));
	end

	-- The roster of an account; nothing where it cannot be read, in which case the request is answered.
	local function load(event, username)
		local roster, problem = rostermanager.load_roster(username, host);
		if not problem and not (roster[false] and roster[false].broken) then
			return roster;
		end
		-- The server would remember it as broken for as long as it is not crowded out.
		local cache = prosody.hosts[host].roster_cache;
		if cache and not prosody.hosts[host].sessions[username] then
			cache:set(username.."@"..host, nil);
		end
		event.origin.send(st.error_reply(event.stanza, "wait", "internal-server-error", "The roster cannot be read from storage"));
	end

	local function get(event, account, username)
		local roster = load(event, username);
		if not roster then
			return true;
		end
		answer(event.origin, core.roster_result(event.stanza, account, roster));
		return true;
	end

	local function entered(change, old)
		if change.remove then
			return nil;
		end
		local item = {};
		-- What others keep in an item, and no client sees, stays.
		for key, value in pairs(old or {}) do
			item[key] = value;
		end
		item.subscription, item.ask, item.approved = change.subscription, change.ask, change.approved;
		item.name, item.groups = change.name, change.groups;
		return item;
	end

	local function save(username, roster, changes)
		if #changes == 1 then
			return rostermanager.save_roster(username, host, roster, changes[1].jid);
		end
		return rostermanager.save_roster(username, host, roster);
	end

	local function set(event, account, username)
		local origin, stanza = event.origin, event.stanza;
		local roster = load(event, username);
		if not roster then
			return true;
		end
		local planned, changes, condition, text, rule = core.plan_roster_set(account, stanza, roster);
		if not planned then
			return refuse(event, planned, changes, condition, text, rule);
		elseif #changes == 0 then
			origin.send(st.reply(stanza));
			return true;
		end

		local metadata = roster[false] or { pending = {} };
		local version = metadata.version;
		local before, pending = {}, {};
		for _, change in ipairs(changes) do
			local jid = change.jid;
			before[jid], pending[jid] = roster[jid], change.remove and metadata.pending[jid];
			roster[jid] = entered(change, before[jid]);
			if pending[jid] then
				metadata.pending[jid] = nil;
			end
		end
		local saved = pushes.without(username, function ()
			return save(username, roster, changes);
		end);
		if not saved then
			for _, change in ipairs(changes) do
				local jid = change.jid;
				roster[jid], metadata.pending[jid] = before[jid], pending[jid] or metadata.pending[jid];
			end
			metadata.version = version;
			origin.send(st.error_reply(stanza, "wait", "internal-server-error", "The roster cannot be saved"));
			return true;
		end

		origin.send(st.reply(stanza));
		for _, change in ipairs(changes) do
			local jid = change.jid;
			rostermanager.roster_push(username, host, jid);
			pushes.push(username, jid, roster[jid], type(metadata.version) == "number" and metadata.version or nil);
			if change.remove then
				-- The server's own handlers take leave of the contact (R5). They look for a pending
				-- request of the contact in the roster, where it is no more.
				module:fire_event("roster-item-removed", {
					username = username, jid = jid, item = before[jid];
					roster = setmetatable({ [false] = { version = metadata.version, pending = pending } }, { __index = roster });
					origin = accounts.acting_session(username, account, accounts.bounced);
				});
			end
		end
		return true;
	end

	local function handler(act)
		return function (event)
			-- Without an address it is the account's own request for its own roster.
			if not event.stanza.attr.to then
				return;
			end
			local judged, account, username, text, rule = core.judge_roster(event.origin, event.stanza);
			if not judged then
				return refuse(event, judged, account, username, text, rule);
			elseif not accounts.exists(username) then
				return refuse(event, core.no_account("roster"));
			end
			return act(event, account, username);
		end;
	end

	module:hook("iq-get/bare/jabber:iq:roster:query", handler(get));
	module:hook("iq-set/bare/jabber:iq:roster:query", handler(set));
end;
