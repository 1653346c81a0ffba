-- Words that the specs of rosters share.

return {
	-- A change of one item, as the core plans it.
	put = function (jid, fields)
		local change = { jid = jid, subscription = "none", groups = {} };
		for name, value in pairs(fields or {}) do
			change[name] = value;
		end
		return change;
	end;
};
