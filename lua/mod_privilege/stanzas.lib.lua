-- Small changes to stanzas. The sender of a payload chooses how deeply it is nested, so nothing here follows it down by
-- recursion without a bound.

local st = require "util.stanza";

-- Returns a stanza with some attributes changed, around the same content. The sender of the original may still
-- hold it, so it is not written to.
local function with_attributes(stanza, changes)
	local copy = setmetatable({ name = stanza.name, attr = {}, tags = stanza.tags }, getmetatable(stanza));
	for i = 1, #stanza do
		copy[i] = stanza[i];
	end
	for name, value in pairs(stanza.attr) do
		copy.attr[name] = value;
	end
	for name, value in pairs(changes) do
		copy.attr[name] = value;
	end
	return copy;
end

-- Returns a stanza of a service as it stands in the wrapper of `frame`, see `answer` of the core: to the account, and an
-- answer with the id that the entity gave its request.
local function inside(stanza, frame)
	return with_attributes(stanza, {
		id = frame.inner_id, from = stanza.attr.from or frame.from, to = frame.from, xmlns = "jabber:client";
	});
end

-- Turns an element that was inside a foreign one into a stanza of its own. The server leaves out the namespace of
-- stanzas, and expects others to. The element may have another namespace than that one (M4): then it loses it, and so
-- does its content as far as it merely inherited. A <forwarded/> in the namespace of forwarding did not inherit it. Returns
-- whether anything in the element has children of its own.
local function into_stanza(element)
	local inherited = element.attr.xmlns;
	local own = inherited == "urn:xmpp:forward:0" and "forwarded" or nil; -- the name that keeps that namespace
	local current, queue, n, is_nested = element, nil, 0, false;
	repeat
		current.attr.xmlns = nil;
		local tags = current.tags;
		for i = 1, #tags do
			local child = tags[i];
			local xmlns, has_children = child.attr.xmlns, child.tags[1] ~= nil;
			is_nested = is_nested or has_children;
			if xmlns == "jabber:client" or xmlns == inherited and child.name ~= own then
				if not has_children then
					child.attr.xmlns = nil;
				else
					queue, n = queue or {}, n + 1;
					queue[n] = child;
				end
			end
		end
		if n > 0 then
			current, queue[n], n = queue[n], nil, n - 1;
		else
			current = nil;
		end
	until not current;
	return is_nested;
end

-- Returns the stanza as text, or nil where the server cannot write it. The server's own serialiser is
-- recursion, which ends at some depth. That is an error, and the peer that sent the stanza decides about it.
local function text_of(stanza)
	local ok, text = pcall(tostring, stanza);
	return ok and text or nil;
end

-- Elements nested no deeper than this can be written, copied and stored in every version of Lua.
local certain_depth = 100;

-- Returns whether an element at a depth, or anything in it, is deeper than that. So this recursion ends there too.
local function is_deep(element, depth)
	local tags = element.tags;
	if depth >= certain_depth and tags[1] then
		return true;
	end
	for i = 1, #tags do
		local child = tags[i];
		if child.tags[1] and is_deep(child, depth + 1) then
			return true;
		end
	end
	return false;
end

-- A stanza is tried with so many further levels before it is handed to the server. The stack holds more where the server
-- writes it than it does here.
local margin = 100;

-- Returns whether the server can write a stanza. A deep one is tried, so that it does not fail half way: archived
-- and not delivered, or queued and not sent. A stanza to a client is also copied on the way (by mod_smacks, for one),
-- and copying fails at another depth.
local function is_writable(stanza, is_copied)
	if not is_deep(stanza, 1) then
		return true;
	end
	local trial = st.stanza("trial");
	for _ = 1, margin do
		trial:tag("trial");
	end
	trial:add_child(stanza):reset();
	return text_of(trial) ~= nil and (not is_copied or (pcall(st.clone, trial)));
end

return {
	with_attributes = with_attributes;
	inside = inside;
	into_stanza = into_stanza;
	text_of = text_of;
	is_writable = is_writable;
};
