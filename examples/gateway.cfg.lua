-- A gateway to another network, such as slidge.
--
-- The profile "gateway" lets it keep its own contacts in the rosters of your users, show them what they have written with
-- other clients of that network, and keep their bookmarks and read markers. It is granted nothing about the account
-- "admin".
--
-- Replace the names and the secret. Copy this file to /etc/prosody/conf.d/, or paste the sections into
-- prosody.cfg.lua. If you have a section for the VirtualHost already, add the two options to that one.

VirtualHost "example.org"
	modules_enabled = { "privilege" }
	privileged_entities = {
		["gateway.example.org"] = {
			profile = "gateway";
			except = { "admin" };
		};
	}

Component "gateway.example.org"
	component_secret = "a long secret"
