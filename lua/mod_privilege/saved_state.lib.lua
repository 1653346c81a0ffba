-- The state that one instance of this module keeps for the next over a reload (L1). The next may be of another version, so
-- the state says in which form it is.

local format = 2;

-- Version 0.1.0 kept the fields of a request by position.
local function request_of_0_1_0(row)
	return {
		number = row[1], deadline = row[2], entity = row[3], reply_to = row[4], outer_id = row[5], inner_id = row[6],
		account = row[7], to = row[8] ~= "" and row[8] or nil;
	};
end

local function read_0_1_0(saved)
	local requests, connections, relay = {}, {}, {};
	for i, row in ipairs(saved.requests.requests) do
		requests[i] = request_of_0_1_0(row);
	end
	for address, known in pairs(saved.told) do
		connections[address] = {
			session = known.session, advertised = known.told, is_pending = known.presence_pending ~= nil,
			asked = known.presence_pending, is_noted = false;
		};
	end
	-- The handlers of that instance hand answers over by this.
	function saved.link.take_answer(answer, account)
		if relay.answer then
			relay.answer(answer, account);
		end
	end
	return {
		id_prefix = saved.id_prefix, relay = relay, connections = connections;
		core = { next = saved.requests.next, requests = requests };
	};
end

local function is_of_0_1_0(saved)
	return saved.format == nil and type(saved.id_prefix) == "string" and type(saved.link) == "table"
		and type(saved.told) == "table" and type(saved.requests) == "table" and type(saved.requests.requests) == "table";
end

return {
	-- Returns what an earlier instance kept: { id_prefix =, relay = functions for its handlers, connections =, core = }.
	-- Returns an empty table where there was none, or its form is unknown; then this instance starts afresh.
	read = function (saved)
		if type(saved) ~= "table" then
			return {};
		elseif saved.format == format then
			return saved;
		end
		return is_of_0_1_0(saved) and read_0_1_0(saved) or {};
	end;
	write = function (state)
		state.format = format;
		return state;
	end;
};
