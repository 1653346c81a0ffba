cache = false
codes = true
max_line_length = 150

-- The shim runs on every Lua that Prosody does, 5.1 and LuaJIT included: only what all of them have.
std = "min"

ignore = { "411/err", "421/err", "411/ok", "421/ok", "211/_ENV" }

files["lua/"] = {
	read_globals = {
		"prosody";
		-- Not in every Lua: ask before use.
		package = { fields = { "searchpath" } };
		table = { fields = { "unpack" } };
		module = {
			fields = {
				-- What a module defines for Prosody to call.
				add_host = { read_only = false };
				command = { read_only = false };
				environment = { read_only = false };
				load = { read_only = false };
				ready = { read_only = false };
				restore = { read_only = false };
				save = { read_only = false };
				unload = { read_only = false };

				-- What Prosody gives a module. Only names that 0.12 has as well, or that are asked for before use.
				"_log"; "add_feature"; "add_identity"; "add_item"; "add_timer"; "broadcast";
				"context"; "could"; "default_permission"; "default_permissions"; "depends";
				"fire_event"; "get_directory"; "get_host"; "get_host_items"; "get_host_type";
				"get_name"; "get_option"; "get_option_array"; "get_option_boolean"; "get_option_inherited_set";
				"get_option_number"; "get_option_path"; "get_option_scalar"; "get_option_set"; "get_option_string";
				"get_status"; "handle_items"; "has_feature"; "hook"; "hook_global"; "hook_object_event"; "hook_tag";
				"host"; "items"; "load_resource"; "log"; "log_status"; "may"; "measure"; "metric"; "name";
				"on_ready"; "once"; "open_store"; "path"; "provides"; "reloading"; "remove_item"; "require";
				"resource_path"; "saved_state"; "send"; "send_iq"; "set_global"; "set_status"; "shared";
				"unhook"; "unhook_object_event"; "wrap_event"; "wrap_object_event";
				"audit"; "weekly"; "daily"; "hourly"; "cron";
			};
		};
	};
}

files["spec/support/"] = {
	std = "lua54c";
	read_globals = files["lua/"].read_globals;
	globals = { "built_library" };
}

files["spec/*_spec.lua"] = {
	std = "lua54c+busted";
	read_globals = { "built_library" };
}

exclude_files = { "target/" }
