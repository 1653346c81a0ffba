-- A presence as the core writes it for entities, against the same presence as the server writes it (P1, P3).

local st = require "util.stanza";
local parse = require "util.xml".parse;
local border = require "border";

local account = "juliet@capulet.lit";

-- Returns the news that a new connection gets of a presence.
local function news_of(presence)
	local core = border.granting();
	border.connect(core);
	return (core:viewers("account", "juliet", presence));
end

-- Returns an element as plain data. Text that follows text is one text. A namespace may be written or inherited.
local function plain(element, inherited)
	local content, namespace = {}, element.attr.xmlns or inherited;
	for _, part in ipairs(element) do
		if type(part) == "table" then
			content[#content + 1] = plain(part, namespace);
		elseif type(content[#content]) == "string" then
			content[#content] = content[#content]..part;
		else
			content[#content + 1] = part;
		end
	end
	local attr = {};
	for name, value in pairs(element.attr) do
		attr[name] = value;
	end
	attr.xmlns = namespace;
	return { name = element.name, attr = attr, content = content };
end

local pieces = { "a", "Zoë", "<", ">", "&", "'", '"', " ", "]]>", "\n", "&amp;", "日本", "to", "🦊" };
local namespaces = { "urn:example:x", "jabber:client", "urn:xmpp:delay", "it's <&>" };
local names = { "show", "x", "delay", "presence", "c" };
local attributes = { "to", "id", "stamp", "urn:example:y\1to", "xml:lang", "type", "node" };

local function text(random)
	local parts = {};
	for i = 1, random(0, 4) do
		parts[i] = pieces[random(#pieces)];
	end
	return table.concat(parts);
end

-- Returns a random value of an attribute. The server writes a line break there as it is, and a reader takes it for a space.
local function value(random)
	return (text(random):gsub("\n", " "));
end

-- Adds random content to the innermost open element.
local function fill(presence, random, levels)
	for _ = 1, random(0, 3) do
		if random(3) == 1 or levels == 0 then
			presence:text(text(random));
		else
			local attr = { xmlns = random(2) == 1 and namespaces[random(#namespaces)] or nil };
			for _ = 1, random(0, 3) do
				attr[attributes[random(#attributes)]] = value(random);
			end
			presence:tag(names[random(#names)], attr);
			fill(presence, random, levels - 1);
			presence:up();
		end
	end
end

describe("the text of a presence", function ()
	it("is what the server writes, to the address that is put in", function ()
		math.randomseed(20261201);
		for _ = 1, 400 do
			local attr = { from = account.."/"..pieces[math.random(#pieces)]:gsub("[%c]", "x"), id = value(math.random) };
			if math.random(2) == 1 then
				attr.to = value(math.random);
			end
			if math.random(3) == 1 then
				attr.type = "unavailable";
			end
			local presence = st.presence(attr);
			fill(presence, math.random, 4);
			local news = news_of(presence);
			local written = news.head.."gateway.lit"..news.tail;
			presence.attr.to = "gateway.lit";
			assert.same(plain(parse(tostring(presence))), plain(parse(written)), written);
		end
	end);

	it("holds no bytes that would break a stream", function ()
		local presence = st.presence({ from = account }):tag("status"):reset();
		presence.tags[1][1] = "a\255b\0c\127"; -- other modules may put anything there
		local news = news_of(presence);
		assert.equal("a�b�c\127", parse(news.head..news.tail):get_child_text("status"));
	end);

	it("is missing where only the server knows whether it can write it", function ()
		local deep = st.presence({ from = account });
		for _ = 1, 99 do
			deep:tag("x");
		end
		assert.is_string(news_of(deep).head);
		deep:tag("x");
		local heavy, odd, nameless = st.presence({ from = account }), st.presence({ from = account }), st.presence({ from = account });
		heavy.attr.weight, odd[1], nameless[1] = 7, true, { attr = {}, tags = {} };
		for _, presence in ipairs({ deep, heavy, odd, nameless }) do
			local news = news_of(presence);
			assert.equal(1, #news);
			assert.is_nil(news.head);
			assert.is_nil(news.tail);
		end
	end);
end);
