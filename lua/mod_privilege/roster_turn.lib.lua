-- The roster sets of one turn of the event loop: entered, saved, answered, told (R2, R4, R5, R10, R11).
--
-- Each set is planned on the rosters as they are, and entered into them. What has been entered is saved together. Then the
-- requests are answered in the order they came, then others are told. Nothing here waits between the first change
-- and the last save, so nobody else can change, evict or reload a roster meanwhile.

local jid_split = require "util.jid".split;

-- Saves batches; jointly means all of them or none. Each batch then says in `is_saved` whether it is.
local function save_all(batches, jointly)
	local failed_at;
	for i, batch in ipairs(batches) do
		batch.is_saved = batch.rosters.save(batch);
		if jointly and not batch.is_saved then
			failed_at = i;
			break;
		end
	end
	for i, batch in ipairs(failed_at and batches or {}) do
		batch.is_saved = false;
		if i < failed_at then
			batch.rosters.take_back(batch);
		elseif i > failed_at then
			batch:undo();
		end
	end
end

-- `saves` is what roster_saves.lib.lua returns, `agreement` what roster_agreement.lib.lua returns. `answer` is called
-- with each request when it has been dealt with: its field `denial` is nil where it was granted.
return function (core, saves, agreement, answer)
	local rosters, is_local = saves.rosters, agreement.is_local;

	-- The batches that have been entered and are not saved yet, and their requests.
	local turn;

	local function begin()
		turn = {
			batches = {};
			by_username = {}; -- the batches of accounts that sets were for, of each account one
			requests = {}; -- those that are answered when the batches have been saved
			jointly = false; -- whether all batches are saved or none
			is_complete = false; -- whether nothing may be added
		};
	end
	begin();

	-- Saves what has been entered, answers in the order the requests came, then tells others.
	local function commit()
		local done = turn;
		begin();
		save_all(done.batches, done.jointly);
		for _, request in ipairs(done.requests) do
			if request.batch and not request.batch.is_saved then
				request.denial = core:decline("roster", request.permit, "unsaved");
			end
			saves.protected(answer, request);
		end
		for _, step in ipairs({ "tell", "cancel_subscriptions" }) do
			for _, batch in ipairs(done.batches) do
				if batch.is_saved then
					batch.rosters[step](batch);
				end
			end
		end
	end

	-- Returns whether changes concern a contact, or a contact's own roster, that something unsaved concerns as well.
	local function depends(batch, changes)
		for _, change in ipairs(changes) do
			if batch:touches(change.jid)
			or change.gains_to and turn.by_username[jid_split(change.jid)] and is_local(change.jid) then
				return true;
			end
		end
		return false;
	end

	-- Enters the changes of contacts' rosters. Returns false where one of these rosters cannot be read; then nothing has
	-- been entered.
	local function enter_others(others)
		for _, other in ipairs(others) do
			-- A contact is in a set only once, so each of these is another account.
			other.batch = other.rosters.begin(other.username);
			if not other.batch then
				return false;
			end
		end
		for _, other in ipairs(others) do
			other.batch:enter(other.change);
			turn.batches[#turn.batches + 1] = other.batch;
			turn.jointly, turn.is_complete = true, true;
		end
		return true;
	end

	local function enter_own(username, batch, changes)
		if not turn.by_username[username] then
			turn.batches[#turn.batches + 1] = batch;
			turn.by_username[username] = batch;
		end
		for _, change in ipairs(changes) do
			batch:enter(change);
			-- A removal changes the contact's roster as well, before the next set looks at it (R5).
			turn.is_complete = turn.is_complete or change.remove and is_local(change.jid);
		end
	end

	-- Plans one set and enters its changes. The request notes the denial, or the batch that has to be saved. Returns false
	-- where something that was entered before has to be saved first, because nothing is planned on what may fail to be saved.
	local function enter(request)
		local username = request.username;
		local batch = turn.by_username[username] or rosters.begin(username);
		if not batch then
			request.denial = core:decline("roster", request.permit, saves.still_exists(username) and "unreadable" or "unknown-account");
			return true;
		end
		local changes, reason = core:plan_roster_set(request.account, request.stanza, batch.roster, request.entity);
		if not changes then
			request.denial = reason;
			return batch:is_empty();
		elseif depends(batch, changes) then
			return false;
		end
		local others, denial = agreement.changes_of_contacts(request, changes);
		request.denial = denial;
		if denial then
			return true;
		elseif others[1] and turn.batches[1] then
			return false;
		elseif not enter_others(others) then
			request.denial = core:decline("roster", request.permit, "unreadable");
			return true;
		end
		enter_own(username, batch, changes);
		request.batch = batch;
		return true;
	end

	return {
		enter = enter;
		commit = commit;
		-- Adds a request that is answered at the next commit.
		add = function (request)
			turn.requests[#turn.requests + 1] = request;
		end;
		-- Returns whether it has to be saved before anything else is entered.
		is_complete = function ()
			return turn.is_complete;
		end;
	};
end;
