-- The changes of one account's roster that one save makes durable (R2, R11).
--
-- A batch enters changes into the roster that the server has loaded, says what is to be stored, and can take
-- everything back. Nothing here waits, saves or sends. The owner of a batch does all of it in one turn of the
-- event loop, so nobody else changes the roster between the first change and the save.

local pairs, ipairs, setmetatable, type = pairs, ipairs, setmetatable, type;

local batch_methods = {};
local batch_mt = { __index = batch_methods };

-- Returns a batch without changes. `roster` is the table that the server itself uses for the account.
local function new_batch(username, roster)
	return setmetatable({
		username = username, roster = roster;
		version = roster[false].version; -- a number, nil, or true where the server keeps no versions
		jids = {}; -- the changed contacts, in order
		before = {}, after = {}; -- contact to item
		pending = {}; -- contact to its subscription request, where a change has settled that
	}, batch_mt);
end

-- Returns the item after a change; nil for none. The field "persist" marks a contact that the server adds whenever it loads
-- the roster, and does not store. An item that was set is stored, as it is when the account's own client sets it.
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

-- Returns whether the batch changes this contact already. Each change is saved and pushed, so a second change of
-- the same contact needs a batch of its own.
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
	if change.settles_request then
		self.pending[jid], requests[jid] = requests[jid], nil;
	end
end

-- Returns the roster version after the change with this number, counted from 1; nil where the server keeps no versions.
-- Each change has a version of its own: a client that missed the last of two pushes must not seem to be up to date
-- (RFC 6121 section 2.6).
function batch_methods:version_after(index)
	if self.version == nil or type(self.version) == "number" then
		return (self.version or 0) + index;
	end
end

-- Sets the version in the roster, unless the server keeps no versions there.
function batch_methods:set_version(version)
	if self:version_after(0) then
		self.roster[false].version = version;
	end
end

-- Returns the changed rows, for a store that keeps each contact apart. `removed` stands for a row that is deleted.
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

-- Returns the roster with the pending requests that it had before. The server's handlers of a removed contact look for the
-- contact's request there.
function batch_methods:roster_before()
	return setmetatable({
		[false] = { version = self.roster[false].version, pending = self.pending };
	}, { __index = self.roster });
end

return {
	new = new_batch;
};
