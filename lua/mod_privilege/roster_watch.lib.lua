-- A roster store that looks at what is saved (R7).

local roster_store = module:require "roster_store";

-- `is_watched` returns whether the roster of an account is to be looked at. `tell_changes` is called after a save with
-- the account, the rows that were there before, those that are there now, and the metadata. The result wraps a store;
-- it returns nil for one that needs no wrapping.
return function (is_watched, tell_changes)
	local raw_of = setmetatable({}, { __mode = "k" });
	local storage = {}; -- what is known of the storage driver

	-- Everything but a save goes straight to the real store, and its own functions are called with that.
	local function watched(raw)
		local proxy = {};

		local function save_all(method)
			return function (_, username, data)
				if not is_watched(username) then
					return method(raw, username, data);
				end
				local before = raw:get(username);
				local ok, err = method(raw, username, data);
				if ok then
					tell_changes(username, before, data, data and data[false]);
				end
				return ok, err;
			end;
		end

		local function save_some(save, username, changes)
			if not is_watched(username) then
				return save();
			end
			local before, after, metadata = {}, {}, changes[false];
			-- Where each look reads the whole roster, one is enough.
			local everything = raw.keyval_store and (raw.keyval_store:get(username) or {});
			for jid, item in pairs(changes) do
				if jid then
					if everything then
						before[jid] = everything[jid];
					elseif raw.get_key then
						before[jid] = raw:get_key(username, jid);
					else
						before[jid] = raw:get(username, jid);
					end
					after[jid] = item ~= raw.remove and item or nil;
				end
			end
			local ok, err = save();
			if ok then
				tell_changes(username, before, after, metadata);
			end
			return ok, err;
		end

		local function save_key(method)
			return function (_, username, key, data)
				return save_some(function ()
					return method(raw, username, key, data);
				end, username, { [key or false] = data == nil and raw.remove or data });
			end;
		end

		local function save_keys(method)
			return function (_, username, changes)
				return save_some(function ()
					return method(raw, username, changes);
				end, username, changes);
			end;
		end

		local is_map = raw.set_keys and not raw.set_key;
		if raw.set then
			proxy.set = is_map and save_key(raw.set) or save_all(raw.set);
		end
		if raw.set_keys then
			proxy.set_keys = save_keys(raw.set_keys);
		end
		if raw.set_key then
			proxy.set_key = save_key(raw.set_key);
		end
		raw_of[proxy] = raw;
		return roster_store.pass_on(proxy, raw);
	end

	return function (raw)
		if raw_of[raw] then
			return nil;
		end
		-- A map over a keyval store that was opened for it: one save would be seen twice.
		local inner = raw.keyval_store;
		if inner and raw_of[inner] then
			if rawget(raw, "keyval_store") ~= inner then
				return nil; -- in a store of somebody else's, out of reach: it sees each save
			end
			raw.keyval_store = raw_of[inner];
		end
		return watched(inner and raw or roster_store.apart(raw, storage));
	end;
end;
