-- A bot that keeps the rosters of two accounts in order. The bot is itself an account of this server.
--
-- Make its account first (prosodyctl adduser rosterbot@example.org). As long as it does not exist, somebody
-- else can register the name and get the grant.
--
-- Replace the names. Copy this file to /etc/prosody/conf.d/, or paste the section into prosody.cfg.lua. If you
-- have a section for the VirtualHost already, add the two options to that one.

VirtualHost "example.org"
	modules_enabled = { "privilege" }
	privileged_entities = {
		["rosterbot@example.org"] = {
			roster = "both";
			roster_push = false; -- the bot asks; it is not told of later changes
			accounts = { "juliet", "romeo" };
		};
	}
