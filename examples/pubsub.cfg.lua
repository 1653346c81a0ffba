-- A pubsub or PEP service that decides by roster and presence who may see a node.
--
-- It reads rosters, sees the presence of your users and of their contacts, and sends messages in the name
-- of your users. It does not change anything in an account.
--
-- Replace the names and the secret. Copy this file to /etc/prosody/conf.d/, or paste the sections into
-- prosody.cfg.lua. If you have a section for the VirtualHost already, add the two options to that one.

VirtualHost "example.org"
	modules_enabled = { "privilege" }
	privileged_entities = {
		["pubsub.example.org"] = {
			roster = "get";
			message = "outgoing";
			presence = "roster"; -- needs roster = "get" or "both"
		};
	}

Component "pubsub.example.org"
	component_secret = "a long secret"
