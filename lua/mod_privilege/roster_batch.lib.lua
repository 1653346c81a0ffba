-- The changes of one account's roster that one save makes durable (R2, R11).
--
-- A batch enters changes into the roster that the server has loaded, says what is to be stored, and can take
-- everything back. Nothing here waits, saves or sends. The owner of a batch does all of it in one turn of the
-- event loop, so nobody else changes the roster between the first change and the save.

local pairs, ipairs, setmetatable, type = pairs, ipairs, setmetatable, type;

local batch_methods = {};
local batch_mt = { __index = batch_methods };

-- A batch without changes. `roster` is the table that the server itself uses for the account.
local function new_batch(username, roster)
	return setmetatable({
		username = username, roster = roster;
		version = roster[false].version; -- a number, nil, or true where the server keeps no versions
		jids = {}; -- the changed contacts, in order
		before = {}, after = {}; -- contact to item
		pending = {}; -- contact to the subscription request of it that a change has settled
	}, batch_mt);
end

-- A row "persist" marks a contact that the server adds whenever it loads the roster. What an entity has
-- set is stored, as it is where the account's own client sets it.
local function entered(change, old)
	if change.remove then
		return nil;
	end
	local item = {};
	-- Other modules may keep more in an item than a client sees.
	for key, value in pairs(old or {}) do
		item[key] = value;
	end
	item.persist = nil;
	item.subscription, item.ask, item.approved = change.subscription, change.ask, change.approved;
	item.name, item.groups = change.name, change.groups;
	return item;
end

-- Whether the batch changes this contact already. Each change is saved and pushed, so a second change of the
-- same contact needs a batch of its own.
function batch_methods:touches(jid)
	return self.before[jid] ~= nil or self.after[jid] ~= nil;
end

function batch_methods:is_empty()
	return self.jids[1] == nil;
end

-- Enters a change, as the core has planned it.
function batch_methods:enter(change)
	local jid, roster = change.jid, self.roster;
	local requests = roster[false].pending;
	self.jids[#self.jids + 1] = jid;
	self.before[jid], self.after[jid] = roster[jid], entered(change, roster[jid]);
	roster[jid] = self.after[jid];
	-- A removed contact, or one that now receives the account's presence, has no pending request any more.
	if change.remove or change.subscription == "from" or change.subscription == "both" then
		self.pending[jid], requests[jid] = requests[jid], nil;
	end
end

-- The roster version after the change with this number, counted from 1; nil where the server keeps none.
-- Each change has one of its own: a client that missed the last of two pushes must not look up to date
-- (RFC 6121 section 2.6).
function batch_methods:version_after(index)
	if self.version == nil or type(self.version) == "number" then
		return (self.version or 0) + index;
	end
end

-- Sets the version in the roster; without a version, the one that it had before the batch.
function batch_methods:set_version(version)
	if self:version_after(0) then
		self.roster[false].version = version;
	end
end

-- The rows of a store that keeps each contact apart. `removed` stands for a row that goes.
function batch_methods:rows(removed)
	local rows = { [false] = self.roster[false] };
	for _, jid in ipairs(self.jids) do
		rows[jid] = self.roster[jid] or removed;
	end
	return rows;
end

-- Takes back every change.
function batch_methods:undo()
	local requests = self.roster[false].pending;
	for i = #self.jids, 1, -1 do
		local jid = self.jids[i];
		self.roster[jid] = self.before[jid];
		requests[jid] = self.pending[jid] or requests[jid];
	end
	self:set_version(self.version);
end

-- The roster as it was where a contact has been removed, for the server's handlers of that: they look for the
-- contact's pending request in it.
function batch_methods:roster_before()
	return setmetatable({
		[false] = { version = self.roster[false].version, pending = self.pending };
	}, { __index = self.roster });
end

return {
	new = new_batch;
};
