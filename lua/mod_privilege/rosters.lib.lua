-- Roster requests of privileged entities (R1 to R6, R9 to R11).
--
-- A set waits for the end of the turn of the event loop, so that sets which arrive together share one save: with
-- most storage a save writes the whole roster. Nothing is entered into a roster before that. A stanza that is not such
-- a set is handled after those that wait. How sets are entered and saved: roster_turn.lib.lua.

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;
local new_saves = module:require "roster_saves";
local new_agreement = module:require "roster_agreement";
local new_turn = module:require "roster_turn";

local host = module.host;
local hosts = prosody.hosts;

-- `relay` leads handlers of an earlier instance to the present one.
return function (core, accounts, delivery, pushes, verdicts, blocklists, serves, relay)
	local saves = new_saves(core, accounts, pushes, blocklists);
	local agreement = new_agreement(core, accounts, saves.rosters_of, hosts, serves);

	local function answer(request)
		if not request.origin.send then
			return; -- just gone
		elseif request.denial then
			verdicts.refuse(request, request.denial);
		else
			request.origin.send(st.reply(request.stanza));
		end
	end

	local turn = new_turn(core, saves, agreement, answer);

	--- The sets that wait

	local requests, first, last = {}, 1, 0;

	local function deal_with_all()
		while first <= last do
			local request = requests[first];
			local ok, is_done = pcall(turn.enter, request);
			if ok and not is_done then
				turn.commit();
			else
				requests[first] = nil;
				first = first + 1;
				if not ok then
					module:log("error", "A roster set for %s failed: %s", request.account, is_done);
					request.denial = core:decline("roster", request.permit, "failed");
				end
				turn.add(request);
				if turn.is_complete() then
					turn.commit();
				end
			end
		end
		turn.commit();
	end

	local is_busy = false;

	-- Deals with the sets that wait. A removal sends presence, which is delivered while the sets after it still wait;
	-- those are dealt with after the whole removal.
	local function flush()
		if not is_busy and first <= last then
			is_busy = true;
			local ok, problem = pcall(deal_with_all);
			is_busy = false;
			if not ok then
				error(problem, 0);
			end
		end
	end

	-- Handles the event of any stanza. Only a set that may come to the handler below does not make the others be dealt with
	-- first. An account's own set has no `to` here.
	local function flush_first(event)
		if first > last then
			return;
		end
		local stanza = event.stanza;
		local child = stanza.tags[1];
		if stanza.name == "iq" and stanza.attr.type == "set" and stanza.attr.to
		and child and child.name == "query" and child.attr.xmlns == "jabber:iq:roster" then
			return;
		end
		flush();
	end

	--- Requests

	local function get(event, permit)
		flush(); -- others may have come while the account was looked up
		local roster = accounts.roster_of(permit.username, host);
		if not roster then
			return verdicts.refuse(event, core:decline("roster", permit, "unreadable"));
		end
		delivery.reply(event.origin, core:roster_result(permit.account, event.stanza, roster));
		return true;
	end

	local function set(event, permit)
		if first > last then
			first, last = 1, 0;
			-- At the next turn of the event loop everything that has been received is dealt with.
			module:add_timer(0, flush);
		end
		last = last + 1;
		requests[last] = {
			origin = event.origin, stanza = event.stanza, permit = permit;
			account = permit.account, username = permit.username;
			entity = jid_bare(event.stanza.attr.from);
		};
		return true;
	end

	local function handler(act)
		return function (event)
			-- Without an address it is the account's own request for its own roster.
			if not event.stanza.attr.to then
				return;
			end
			local permit, answered = verdicts.confirm("roster", event, core:roster(delivery.live(event.origin), event.stanza));
			if not permit then
				return answered;
			end
			return act(event, permit);
		end;
	end

	local handle_get, handle_set = handler(get), handler(set);
	relay.roster = function (event)
		return (event.stanza.attr.type == "get" and handle_get or handle_set)(event);
	end;

	return {
		flush = flush;
		begin = saves.rosters.begin, save = saves.rosters.save;
		tell = saves.rosters.tell, cancel_subscriptions = saves.rosters.cancel_subscriptions;
		stop = saves.stop;
		-- Handlers of events: see the page of hooks in mod_privilege.lua.
		handle_get = handle_get, handle_set = handle_set, flush_first = flush_first;
		on_config_reloaded = saves.on_config_reloaded;
	};
end;
