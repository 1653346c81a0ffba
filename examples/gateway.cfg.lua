-- A gateway to another network, such as slidge or Spectrum 2.
--
-- It reads and writes rosters, sends messages in the name of your users, and uses the IQs named below.
-- It is granted nothing about the account "admin".
--
-- Replace the names and the secret. Copy this file to /etc/prosody/conf.d/, or paste the sections into
-- prosody.cfg.lua. If you have a section for the VirtualHost already, add the two options to that one.

VirtualHost "example.org"
	modules_enabled = { "privilege" }
	privileged_entities = {
		["gateway.example.org"] = {
			roster = "both";
			message = "outgoing";
			iq = {
				["http://jabber.org/protocol/pubsub"] = "both";
				["http://jabber.org/protocol/pubsub#owner"] = "set";
				["urn:xmpp:http:upload:0"] = "get";
			};
			except = { "admin" };
		};
	}

Component "gateway.example.org"
	component_secret = "a long secret"
