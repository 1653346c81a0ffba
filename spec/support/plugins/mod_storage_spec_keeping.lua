-- Test only: storage that keeps the very tables it is given, and hands them out again.

local kept = module:shared("kept");

local keyval = {};
local keyval_mt = { __index = keyval };

function keyval:get(username)
	return self.rows[username];
end

function keyval:set(username, data)
	self.rows[username] = data;
	return true;
end

function keyval:users()
	return next, self.rows, nil;
end

local driver = {};

function driver:open(store, kind) -- luacheck: ignore 212/self
	if kind and kind ~= "keyval" then
		return nil, "unsupported-store";
	end
	kept[store] = kept[store] or {};
	return setmetatable({ rows = kept[store] }, keyval_mt);
end

function driver:purge(username) -- luacheck: ignore 212/self
	for _, rows in pairs(kept) do
		rows[username] = nil;
	end
	return true;
end

module:provides("storage", driver);
