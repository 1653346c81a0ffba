-- Which roles administer (N1, N2).

local roles = require "roles";

-- As Prosody 13 makes its own.
local guest = { name = "prosody:guest" };
local registered = { name = "prosody:registered", inherits = { guest } };
local member = { name = "prosody:member", inherits = { registered } };
local admin = { name = "prosody:admin", inherits = { member } };
local operator = { name = "prosody:operator", inherits = { admin } };

local alone = { name = "support" };
local above_member = { name = "support", inherits = { member } };
local above_admin = { name = "support", inherits = { admin } };
local far_above_admin = { name = "chief", inherits = { alone, above_admin } };
local above_nothing = { name = "support", inherits = {} };
local without_name = {};

local myself = { name = "myself" };
myself.inherits = { myself };
local one, other = { name = "one" }, { name = "other" };
one.inherits, other.inherits = { other }, { one };
local circle_with_admin, its_other = { name = "one" }, { name = "other" };
circle_with_admin.inherits, its_other.inherits = { its_other }, { circle_with_admin, admin };
local diamond = { name = "diamond", inherits = { above_member, alone, member, registered } };

describe("a role", function ()
	for _, case in ipairs({
		-- what, role, may it administer anything, is it administrative
		{ "guest", guest, false, false };
		{ "registered", registered, false, false };
		{ "member", member, false, false };
		{ "admin", admin, true, true };
		{ "operator", operator, true, true };
		{ "a custom one", alone, true, false };
		{ "a custom one that inherits nothing", above_nothing, true, false };
		{ "a custom one that inherits member", above_member, true, false };
		{ "a custom one that inherits admin", above_admin, true, true };
		{ "a custom one that inherits admin through another", far_above_admin, true, true };
		{ "a custom one that inherits the same twice", diamond, true, false };
		{ "one that inherits itself", myself, true, false };
		{ "one of two that inherit each other", one, true, false };
		{ "one of a circle that inherits admin", circle_with_admin, true, true };
		{ "one without a name", without_name, true, false };
	}) do
		local what, role, may_administer, is_administrative = table.unpack(case);

		it("may administer or not: "..what, function ()
			assert.equal(may_administer, roles.may_administer(role.name));
		end);

		it("is administrative or not: "..what, function ()
			assert.equal(is_administrative, roles.is_administrative(role));
		end);
	end

	it("is not administrative where there is none", function ()
		assert.is_false(roles.is_administrative(nil));
		assert.is_false(roles.is_administrative(false));
	end);

	it("of the server is told by its exact name", function ()
		for _, name in ipairs({ "admin", "member", "Prosody:member", "prosody:member ", "prosody:" }) do
			assert.is_true(roles.may_administer(name));
			assert.is_false(roles.is_administrative({ name = name }));
		end
	end);
end);
