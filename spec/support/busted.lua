-- busted's helper: what a spec may require.
--
-- Prosody's own libraries ("util.jid", "util.stanza"), found where the `prosody` command says they are,
-- the shim's parts that need no server ("roster_batch" for lua/mod_privilege/roster_batch.lib.lua), and the native library as built
-- ("privilege_native", or the path of its file from `built_library()`).

local function first_line(command)
	local pipe = assert(io.popen(command));
	local line = pipe:read("*l");
	pipe:close();
	return line ~= "" and line or nil;
end

local function prosody_directory()
	local launcher = first_line("command -v prosody");
	if launcher then
		for line in io.lines(launcher) do
			local directory = line:match("^CFG_SOURCEDIR%s*=%s*['\"](.-)['\"]");
			if directory then return directory; end
		end
	end
	return "/usr/lib/prosody";
end

local directory = prosody_directory();
package.path = ("lua/mod_privilege/?.lib.lua;spec/support/?.lua;%s/?.lua;%s"):format(directory, package.path);
package.cpath = ("%s/?.so;%s"):format(directory, package.cpath);

-- 13 keeps its libraries under two names and has a loader for that, 0.12 has neither.
if not pcall(require, "prosody.loader") then
	pcall(require, "loader");
end

-- The newest native library that `make build` made for the Lua we run in.
function _G.built_library()
	local version = _VERSION:match("%d+%.%d+");
	return first_line(("ls -t target/plugins/mod_privilege/privilege_native-lua%s-*.so 2>/dev/null"):format(version));
end

package.preload["privilege_native"] = function ()
	local file = assert(built_library(), "no native library for " .. _VERSION .. ": run make build");
	local open = assert(package.loadlib(file, "luaopen_privilege_native"));
	return open("privilege_native");
end
