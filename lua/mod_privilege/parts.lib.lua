-- The parts of the module, joined. Each knows only those that it is given.

-- `given` holds the prefix of our ids, the relay to the present instance, `serves` of mod_privilege.lua, and what an earlier
-- instance knew of the connections.
return function (core, native, given)
	local id_prefix, relay, known = given.id_prefix, given.relay, given.connections;
	local accounts = module:require "accounts";
	local connections = module:require "connections"(core, known);
	local delivery = connections.delivery;
	local blocklists = module:require "blocklists"(core, delivery, relay);
	local verdicts = module:require "verdicts"(core, accounts, delivery, blocklists, relay);
	local entity_hosts = module:require "entity_hosts"(connections, known);
	local presences = module:require "presences"(core, native, accounts, delivery, blocklists, id_prefix);
	connections.listen(presences);
	blocklists.listen(presences);
	local pushes = module:require "pushes"(core, accounts, delivery, blocklists);
	pushes.listen(presences.roster_changed);
	local messages = module:require "messages"(core, accounts, delivery, verdicts, relay);
	local iqs = module:require "iqs"(core, accounts, delivery, verdicts, id_prefix, relay);
	local rosters = module:require "rosters"(core, accounts, delivery, pushes, verdicts, blocklists, given.serves, relay);
	local user_command = module:require "user_command"(core, accounts, blocklists);
	local unclaimed = module:require "unclaimed"(core, accounts);

	return {
		accounts = accounts, connections = connections, delivery = delivery, blocklists = blocklists;
		entity_hosts = entity_hosts, presences = presences, pushes = pushes, messages = messages, iqs = iqs;
		rosters = rosters, user_command = user_command, unclaimed = unclaimed;
		handle_own_set = module:require "own_rosters"(core, rosters);
		answer_blocked_entity = module:require "blocked_entities"(core, blocklists, iqs, rosters);
		read_configuration = module:require "configuration"(core, {
			rosters = rosters, pushes = pushes, delivery = delivery, presences = presences, entity_hosts = entity_hosts;
			connections = connections, unclaimed = unclaimed, blocklists = blocklists, user_command = user_command;
		});
		-- Handles the event of a module that has come or gone.
		module_changed = function (event)
			if event.module == "blocklist" or event.module == "adhoc" then
				blocklists.look();
				user_command.look();
			end
		end;
		stop = function ()
			unclaimed.stop();
			rosters.stop();
			presences.stop();
			pushes.stop();
			connections.stop();
			entity_hosts.stop();
		end;
	};
end;
