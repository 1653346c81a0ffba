-- A roster store that shares no table with the rest of the server (R7, R11).
--
-- Some storage hands out the very tables that it keeps. The server changes a roster in place before it saves it. Such
-- storage then cannot show the roster as it was, and a failed save has changed it all the same. So rosters are copied
-- on the way in and out. Most storage keeps no tables. There the store is left as it is.

local type, pairs, setmetatable, getmetatable, rawequal = type, pairs, setmetatable, getmetatable, rawequal;

local function copy_of(table, levels)
	if type(table) ~= "table" then
		return table;
	end
	local copy = {};
	for key, value in pairs(table) do
		copy[key] = levels > 1 and copy_of(value, levels - 1) or value;
	end
	return setmetatable(copy, getmetatable(table));
end

-- A row is an item with its groups, or the metadata with the pending requests. Nothing below that is changed in place.
local function copy_of_row(row)
	return copy_of(row, 2);
end

local function copy_of_roster(roster)
	return copy_of(roster, 3);
end

local function copy_of_rows(rows, removed)
	local copy = {};
	for key, row in pairs(rows) do
		copy[key] = row == removed and row or copy_of_row(row);
	end
	return copy;
end

-- Lets a store pass on to `raw` whatever it does not have itself. The functions of `raw` are called with `raw`.
local function pass_on(store, raw)
	return setmetatable(store, {
		__index = function (_, key)
			local value = raw[key];
			if type(value) == "function" then
				return function (self, ...)
					return value(self == store and raw or self, ...);
				end;
			end
			return value;
		end;
	});
end

-- Returns the store itself where it keeps no tables, otherwise a store around it. `storage` is a table for notes about the
-- driver. Its field `keeps_tables` is nil until that has been found out.
local function apart(raw, storage)
	if storage.keeps_tables == false then
		return raw;
	end
	local store = {};
	local is_map = raw.set_keys and not raw.set_key;

	local function reader(method, copied)
		return function (_, ...)
			local found, problem = method(raw, ...);
			if storage.keeps_tables == nil and type(found) == "table" then
				storage.keeps_tables = rawequal(found, (method(raw, ...)));
			end
			return storage.keeps_tables and copied(found) or found, problem;
		end;
	end

	if raw.get then
		store.get = reader(raw.get, is_map and copy_of_row or copy_of_roster);
	end
	if raw.get_key then
		store.get_key = reader(raw.get_key, copy_of_row);
	end
	if raw.set then
		function store.set(_, username, first, second)
			if is_map then
				return raw:set(username, first, copy_of_row(second));
			end
			return raw:set(username, copy_of_roster(first));
		end
	end
	if raw.set_key then
		function store.set_key(_, username, key, row)
			return raw:set_key(username, key, row == raw.remove and row or copy_of_row(row));
		end
	end
	if raw.set_keys then
		function store.set_keys(_, username, rows)
			return raw:set_keys(username, copy_of_rows(rows, raw.remove));
		end
	end
	return pass_on(store, raw);
end

return {
	apart = apart;
	copy_of_roster = copy_of_roster;
	pass_on = pass_on;
};
