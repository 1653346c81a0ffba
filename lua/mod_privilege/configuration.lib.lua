-- Reading the configuration, at load and whenever it is reloaded (C2, C6).

local function set_status(entities, problems)
	if problems > 0 then
		module:set_status("warn", ("%d problem(s) in privileged_entities or other options, see the log"):format(problems), true);
	else
		module:set_status("info", ("%d privileged %s"):format(entities, entities == 1 and "entity" or "entities"), true);
	end
end

-- `parts` are the parts of this module that depend on the configuration, by name.
return function (core, parts)
	local function options()
		return {
			entities = module:get_option("privileged_entities");
			iq_limit = module:get_option("privilege_iq_limit"), iq_timeout = module:get_option("privilege_iq_timeout");
			probe = module:get_option("privilege_probe"), probe_rate = module:get_option("privilege_probe_rate");
		};
	end

	-- Reads the configuration and puts it in force.
	return function ()
		parts.rosters.flush(); -- by the permissions that the sets were judged by
		local configured = core:configure(options());
		parts.blocklists.configure();
		for _, problem in ipairs(configured.problems) do
			module:log(problem.level, "%s", problem.text);
		end
		parts.pushes.configure(configured.follows_rosters);
		parts.delivery.send(configured.outbox);
		parts.presences.configure(configured);
		parts.entity_hosts.attach_all(parts.connections.refresh());
		parts.user_command.configure();
		parts.unclaimed.look(function (count)
			set_status(#core:entities(), #configured.problems + count);
		end);
	end;
end;
