-- What the specs of the border between Lua and the native library share: the library, hosts that grant something, and
-- stanzas.

local assert = require "luassert";
local st = require "util.stanza";
local jid = require "util.jid";
local nodeprep = require "util.encodings".stringprep.nodeprep;

-- It is opened by its path, as the shim does, and not by any name that Lua might know.
local file = assert(built_library(), "no native library for ".._VERSION..": run make build");

local function load(path)
	return assert(package.loadlib(path, "luaopen_privilege_native"))("privilege_native", path);
end

local native = load(file);

local host, entity, account = "capulet.lit", "pubsub.capulet.lit", "juliet@capulet.lit";

local border = {
	native = native, file = file, load = load;
	host = host, entity = entity, account = account;
	-- The session of the entity.
	origin = { type = "component", host = entity };
	everything = {
		[entity] = {
			roster = "both"; message = "outgoing"; presence = "roster";
			iq = { ["urn:x"] = "both" };
		};
	};
};

function border.serves(domain)
	return domain == host or domain:sub(-#host - 1) == "."..host;
end

-- Good arguments of `open`. `changes` may hold others.
function border.options(changes)
	local options = { host = host, id_prefix = "t-", jid_prep = jid.prep, nodeprep = nodeprep, serves = border.serves };
	for name, value in pairs(changes or {}) do
		options[name] = value;
	end
	return options;
end

-- Opens a granting host with this configuration of entities, and other options.
function border.open(entities, options, prefix)
	local core = native.open(border.options({ id_prefix = prefix }));
	if entities or options then
		local all = { entities = entities };
		for name, value in pairs(options or {}) do
			all[name] = value;
		end
		assert.same({}, core:configure(all).problems);
	end
	return core;
end

function border.granting()
	return border.open(border.everything);
end

-- A new connection of the entity; returns what the core says of it.
function border.connect(core, address, memory, earlier)
	address = address or entity;
	return core:connected(address, jid.bare(address), memory, earlier);
end

--- Stanzas

-- <message><privilege><forwarded>, left open for what is forwarded.
function border.wrapper(xmlns)
	return st.message({ from = entity, to = host, id = "o" })
		:tag("privilege", { xmlns = xmlns or "urn:xmpp:privilege:2" })
			:tag("forwarded", { xmlns = "urn:xmpp:forward:0" });
end

function border.privileged_message()
	return border.wrapper()
		:tag("message", { xmlns = "jabber:client", from = account, to = "romeo@montague.lit", id = "i" })
			:text_tag("body", "Art thou not Romeo?"):reset();
end

function border.privileged_iq()
	return st.iq({ type = "get", from = entity, to = account, id = "o" })
		:tag("privileged_iq", { xmlns = "urn:xmpp:privilege:2" })
			:tag("iq", { xmlns = "jabber:client", type = "get", id = "i" })
				:tag("query", { xmlns = "urn:x" }):reset();
end

function border.roster_get(ver)
	return st.iq({ type = "get", from = entity, to = account, id = "o" })
		:tag("query", { xmlns = "jabber:iq:roster", ver = ver }):reset();
end

function border.roster_set(attr)
	local stanza = st.iq({ type = "set", from = entity, to = account, id = "o" })
		:tag("query", { xmlns = "jabber:iq:roster" });
	if attr then
		stanza:tag("item", attr):up();
	end
	return stanza:reset();
end

-- Puts an element into itself, `depth` times, inside whatever element is open. This is not recursion, since Lua has
-- little more room for that than the library.
function border.nest(stanza, depth, name, attr)
	for _ = 1, depth do
		stanza:tag(name or "x", attr);
	end
	return stanza:reset();
end

--- Checks

-- Runs `act` and holds it to a bound that only a walk through everything, or worse, could exceed.
function border.promptly(act)
	local started = os.clock();
	local results = table.pack(act());
	local took = os.clock() - started;
	assert.is_true(took < 1, ("took %.2f s"):format(took));
	return table.unpack(results, 1, results.n);
end

-- Checks that a value is a denial, in the one form that denials have, and returns what the stanza error says.
function border.said_by(denial)
	assert.is_table(denial);
	assert.truthy(({ auth = true, cancel = true, modify = true, wait = true })[denial.type], denial.type);
	assert.matches("^[a-z]+[a-z-]*$", denial.condition);
	assert.is_string(denial.text);
	assert.is_true(#denial.text > 0);
	assert.matches("^[A-Z]%d+$", denial.rule);
	local error = st.error_reply(st.iq({ type = "get", id = "x" }), denial):get_child("error");
	assert.same({ denial.type, denial.condition }, { error.attr.type, error.tags[1].name });
	return denial.type.." "..denial.condition, denial.rule;
end

-- Checks that a call came to nil and a denial.
function border.is_denial(...)
	assert.equal(2, select("#", ...));
	local permit, denial = ...;
	assert.is_nil(permit);
	return border.said_by(denial);
end

-- Checks that a call is an error whose text holds all of these.
function border.is_error(case, call, ...)
	local ok, problem = pcall(call);
	assert.is_false(ok, case);
	problem = tostring(problem);
	for _, part in ipairs({ ... }) do
		assert.truthy(problem:find(part, 1, true), case..": "..problem);
	end
end

-- Whether the core takes answers to the IQ that left under this id. It takes at most one.
function border.takes_answer(core, id, from)
	return core:answer(id, from or account, account) ~= nil;
end

return border;
