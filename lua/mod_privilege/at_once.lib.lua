-- Calls into parts of the server that may wait, from places that must not (R11, L2).
--
-- Storage and authentication can be provided by modules that wait for somebody else. That is possible only in a handler
-- that can go on later. A timer cannot, the handler of a component's stanza cannot, and a change that is half saved must not.

local create, resume, status = coroutine.create, coroutine.resume, coroutine.status;

local function finish(work, ok, ...)
	if not ok then
		return false, (...);
	elseif status(work) ~= "dead" then
		-- It goes on by itself when its answer comes. The result is lost.
		return nil, "it would have to wait";
	end
	return true, ...;
end

-- Returns true and the results of f(...); false and the error where it fails; nil and a reason where it waits.
return function (f, ...)
	local work = create(f);
	return finish(work, resume(work, ...));
end;
