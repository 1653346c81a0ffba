-- Finds and opens the native library: beside this module first, so that a directory dropped into any
-- plugin path is complete, then where package managers put libraries.

local version = "0.2.0"; -- has to be that of the library
local name = "privilege_native";

local lua_version = _VERSION:match("%d+%.%d+");
-- COMPAT Lua 5.1: no searchpath
local loadlib, searchpath, cpath = package.loadlib, package.searchpath, package.cpath; -- luacheck: ignore 143

-- The version is part of the file name, because a running server never loads another library from a
-- path it has loaded one from: after an upgrade a reload of the module picks up the new file.
local file_name = ("%s-lua%s-%s.so"):format(name, lua_version, version);

local how_to_build = ("build it with 'make LUA_VERSION=%s' in the mod_privilege source directory "
	.."and copy target/plugins/mod_privilege here as a whole"):format(lua_version);

local function directories()
	local dirs = { (module.path:gsub("[^/\\]*$", "")) };
	local resources = module:get_directory();
	if resources then
		dirs[#dirs + 1] = resources.."/";
	end
	-- COMPAT 0.12: the plugin installer's tree is not searched for libraries
	local installer = prosody.paths and prosody.paths.installer;
	if installer then
		dirs[#dirs + 1] = ("%s/lib/lua/%s/"):format(installer, lua_version);
	end
	return dirs;
end

local function find()
	local dirs = directories();
	for _, dir in ipairs(dirs) do
		for _, file in ipairs({ file_name, ("lua%s/%s.so"):format(lua_version, name), name..".so" }) do
			local handle = io.open(dir..file);
			if handle then
				handle:close();
				return dir..file;
			end
		end
	end
	local packaged = searchpath and searchpath(name, cpath);
	return packaged, dirs[1]..file_name;
end

local file, missing = find();
if not file then
	error(("mod_privilege cannot start on %s: its native library is missing, looked for %s; %s")
		:format(module.host, missing, how_to_build), 0);
end
local open, problem = loadlib(file, "luaopen_"..name);
if not open then
	error(("mod_privilege cannot start on %s: its native library %s does not load (%s); %s, "
		.."and restart the server if it has loaded the wrong file before")
		:format(module.host, file, problem, how_to_build), 0);
end
local native = open(name, file);
if native.version ~= version or native.lua ~= lua_version then
	error(("mod_privilege cannot start on %s: %s is version %s for Lua %s, but version %s for Lua %s is needed; %s")
		:format(module.host, file, native.version, native.lua, version, lua_version, how_to_build), 0);
end

module:log("debug", "mod_privilege %s with %s", version, file);
return native;
