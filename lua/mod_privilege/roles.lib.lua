-- Which roles administer (N1, N2).
--
-- Nothing here asks the server. A role is a table as the server has it: { name =, inherits = { role, ... } }.

-- The server's own roles, and whether each of them administers. Any other role was made by the administrator of the
-- server.
local administers = {
	["prosody:operator"] = true;
	["prosody:admin"] = true;
	["prosody:member"] = false;
	["prosody:registered"] = false;
	["prosody:guest"] = false;
};

-- Returns whether somebody with a role of this name may administer anything. A role that is not one of the server's own
-- may allow anything, so it counts (N1).
local function may_administer(name)
	return administers[name] ~= false;
end

-- Returns whether a role is one of the server's own that administer, or inherits from one. An account never acts with such
-- a role for an entity (N2). Any other role was given to the account on purpose, so the account keeps it.
local function is_administrative(role)
	local to_visit, seen = { role }, {};
	while to_visit[1] do
		local current = table.remove(to_visit);
		if administers[current.name] then
			return true;
		elseif not seen[current] then
			-- A second look at the same role finds nothing new, so a circle ends here.
			seen[current] = true;
			for _, inherited in ipairs(current.inherits or {}) do
				to_visit[#to_visit + 1] = inherited;
			end
		end
	end
	return false;
end

return {
	-- The roles that an account acts with in the place of an administrative one, the first that there is.
	in_its_place = { "prosody:member", "prosody:registered" };
	may_administer = may_administer;
	is_administrative = is_administrative;
};
