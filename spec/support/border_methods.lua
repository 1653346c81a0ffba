-- The methods of the userdata for a granting host, as each of the places that know them has them.

local function read(name)
	local handle = assert(io.open(name));
	local text = handle:read("*a");
	handle:close();
	return text;
end

local function files(pattern)
	local list = {};
	local pipe = assert(io.popen("ls "..pattern));
	for name in pipe:lines() do
		list[#list + 1] = name;
	end
	pipe:close();
	assert(#list > 0, "no files: "..pattern);
	return list;
end

-- The names that `pattern` finds in files, sorted, each once.
local function names(of_files, pattern)
	local found, list = {}, {};
	for _, name in ipairs(files(of_files)) do
		for method in read(name):gmatch(pattern) do
			if not found[method] then
				found[method] = true;
				list[#list + 1] = method;
			end
		end
	end
	table.sort(list);
	return list;
end

-- The fields of a class in lua/types/host.lua: name to the line, and name to the text above it.
local function read_class(class)
	local fields, descriptions = {}, {};
	local is_inside, said = false, {};
	for line in io.lines("lua/types/host.lua") do
		local name, field = line:match("^%-%-%-@class ([%w_.]+)"), line:match("^%-%-%-@field ([%w_]+)%??%s");
		if name then
			is_inside = name == class;
		elseif is_inside and field then
			fields[field], descriptions[field] = line, table.concat(said, " ");
		end
		said[#said + 1] = line:match("^%-%-%-([^@].*)");
		if line:find("^%-%-%-@") or line == "" then
			said = {};
		end
	end
	return fields, descriptions;
end

local function fields_of(class)
	return (read_class(class));
end

return {
	-- The methods that the library registers. mlua hides the table of methods from Lua, so they cannot be listed there.
	of_library = function ()
		return names("src/lua/*.rs", 'add_%w*method%w*%(%s*"([%w_]+)"');
	end;
	of_types = function ()
		local list = {};
		for name, line in pairs(fields_of("privilege.Host")) do
			assert(line:match("^%-%-%-@field [%w_]+ fun%(self"), line);
			list[#list + 1] = name;
		end
		table.sort(list);
		return list;
	end;
	-- The methods that the shim calls.
	of_callers = function ()
		return names("lua/mod_privilege/*.lua", "%f[%w_]core:([%w_]+)");
	end;
	fields_of = fields_of;
	descriptions_of = function (class)
		return (select(2, read_class(class)));
	end;
};
