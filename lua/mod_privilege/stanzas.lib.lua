-- What is done to stanzas without looking into their payload: how deep that goes is for its sender to
-- choose, so nothing here is recursion.

-- The stanza with some attributes changed around the same content. Whoever sent the original may still
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

-- Turns an element that was inside a foreign one into a stanza of its own: the server leaves out the
-- namespace of stanzas, and expects others to. What lies inside a foreign element keeps it.
local function leave_out_client_namespace(stanza)
	local queue, n = { stanza }, 1;
	while n > 0 do
		local element = queue[n];
		queue[n], n = nil, n - 1;
		if element.attr.xmlns == "jabber:client" then
			element.attr.xmlns = nil;
			for _, child in ipairs(element.tags) do
				n = n + 1;
				queue[n] = child;
			end
		end
	end
end

return {
	with_attributes = with_attributes;
	leave_out_client_namespace = leave_out_client_namespace;
};
