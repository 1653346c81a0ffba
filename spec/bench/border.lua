-- What a call into the native library costs, from Lua's side: reading the server's stanza tables, deciding,
-- and handing the answer back.
--
--   lua5.4 spec/bench/border.lua [LIBRARY]     after make build; or: make bench-core
--
-- Best of some loops, in nanoseconds of processor time per call: noise only ever adds.

-- luacheck: std lua54, read globals built_library

package.path = "spec/support/?.lua;"..package.path;
require "busted"; -- the specs' helper: Prosody's libraries on the path, and built_library()

local jid_prep = require "util.jid".prep;
local nodeprep = require "util.encodings".stringprep.nodeprep;
local parse = require "util.xml".parse;
local st = require "util.stanza";

local file = arg and arg[1] or assert(built_library(), "no native library: run make build");
local native = assert(package.loadlib(file, "luaopen_privilege_native"))("privilege_native");

local host, entity, juliet = "capulet.lit", "pubsub.capulet.lit", "juliet@capulet.lit";
local core = native.open({
	host = host, id_prefix = "bench-", jid_prep = jid_prep, nodeprep = nodeprep, serves = function () return true; end;
});
local problems = core:configure({ entities = {
	[entity] = {
		roster = "both", message = "outgoing", presence = "roster";
		iq = { ["urn:xmpp:ping"] = "get", ["http://jabber.org/protocol/pubsub"] = "both" };
	};
} }).problems;
assert(#problems == 0, problems[1] and problems[1].text);

-- What arrives on a component's stream: stanzas are in no namespace, what is inside a foreign element is.
local function stanza(text)
	return assert(parse(text, { allow_comments = false }));
end

local message = stanza(([[<message from='%s' to='%s' id='o'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>
<message xmlns='jabber:client' from='%s' to='romeo@montague.lit/orchard' type='chat' id='i'><body>Shall I hear more?</body>
<active xmlns='http://jabber.org/protocol/chatstates'/></message></forwarded></privilege></message>]]):format(entity, host, juliet)
	:gsub("\n", ""));
local plain = stanza(([[<message from='%s' to='%s' id='o'><body>Shall I hear more?</body></message>]]):format(entity, host));
local iq = stanza(([[<iq from='%s' to='%s' id='o' type='get'><privileged_iq xmlns='urn:xmpp:privilege:2'>
<iq xmlns='jabber:client' type='get' to='%s' id='i'><ping xmlns='urn:xmpp:ping'/></iq></privileged_iq></iq>]])
	:format(entity, juliet, host):gsub("\n", ""));
local presence = stanza(([[<presence from='%s/balcony'><show>away</show><status>Sleeping</status><priority>5</priority>
<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://verona.lit' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>]])
	:format(juliet):gsub("\n", ""));
local get = stanza(([[<iq from='%s' to='%s' id='o' type='get'><query xmlns='jabber:iq:roster'/></iq>]]):format(entity, juliet));
local set = stanza(([[<iq from='%s' to='%s' id='o' type='set'><query xmlns='jabber:iq:roster'>
<item jid='contact00042@verona.lit' name='Another' subscription='both'><group>Verona</group></item></query></iq>]])
	:format(entity, juliet):gsub("\n", ""));
for _, s in ipairs({ message, plain, iq, presence, get, set }) do
	assert(st.is_stanza(s));
end

local roster = { [false] = { version = 17, pending = {} } };
local kinds = { "both", "to", "from", "none" };
for i = 1, 5000 do
	roster[("contact%05d@verona.lit"):format(i)] = {
		subscription = kinds[i % 4 + 1], name = "Contact Number "..i, groups = i % 2 == 0 and { ["Friends & family"] = true } or {};
	};
end

local origin = { type = "component", host = entity };
local stranger = { type = "component", host = "stranger.lit" };
local viewer = core:connected(entity, entity).number;

local function now()
	return os.clock() * 1e9;
end

local function report(name, count, call)
	local best = math.huge;
	for _ = 1, 7 do
		collectgarbage();
		local began = now();
		for _ = 1, count do call(); end
		best = math.min(best, (now() - began) / count);
	end
	print(("%-46s %10.0f ns"):format(name, best));
end

local function nothing() end

print(("%s, %s"):format(_VERSION, file:match("[^/]+$")));
report("an empty Lua function, for scale", 1000000, nothing);
report("st.clone of the privileged message", 20000, function () return st.clone(message); end);
report("tostring of the privileged message", 20000, function () return tostring(message); end);
report("util.jid.prep of one address", 100000, function () return jid_prep(juliet); end);
report("message", 50000, function () return core:message(origin, message); end);
report("message, no wrapper", 50000, function () return core:message(origin, plain); end);
report("message, a stranger's: denied", 50000, function () return core:message(stranger, message); end);
report("iq and answer", 50000, function () return core:answer(core:iq(origin, iq, 1).id, host, juliet); end);
report("roster", 100000, function () return core:roster(origin, get); end);
report("plan_roster_set, one item", 50000, function () return core:plan_roster_set(juliet, set, roster); end);
report("roster_result, 5,000 items", 5, function () return core:roster_result(juliet, get, roster); end);
report("viewers: a presence nobody knows", 50000, function () return core:viewers("account", "juliet", presence); end);
local told, ticket = core:viewers("account", "juliet", presence);
core:shown(ticket, told);
report("viewers: one that is known", 50000, function () return core:viewers("account", "juliet", presence); end);
report("shown", 200000, function () core:shown(ticket, told); return viewer; end);
