-- The agreement of both sides of a subscription (R10): whom it is asked of. What agrees the core decides.

local new_agreement = require "roster_agreement";

describe("the agreement of both sides", function ()
	local hosts = {
		["capulet.lit"] = { type = "local" };
		["montague.lit"] = { type = "local" };
		["pubsub.capulet.lit"] = { type = "component" };
	};
	local exists, rosters, may_set, asked, outcome, agreement;

	before_each(function ()
		exists, rosters, may_set, asked = { ["nurse@capulet.lit"] = true }, {}, {}, {};
		outcome = {};
		agreement = new_agreement({
			decline = function (_, _, _, why) return { text = why }; end;
			agree_roster_change = function (_, account, change, item, may_be_set)
				asked[#asked + 1] = { account, change.jid, item, may_be_set };
				return outcome.agreement, outcome.denial;
			end;
		}, {
			exists = function (username, domain)
				local there = exists[username.."@"..domain];
				if there == "unknown" then
					return nil;
				end
				return there or false;
			end;
			roster_of = function (username, domain) return rosters[username.."@"..domain]; end;
		}, {
			["capulet.lit"] = { may_set = function (entity, username) return may_set[entity.." "..username]; end };
		}, hosts, function (domain) return domain == "asleep.lit"; end);
	end);

	local function ask(jid, gains_to)
		return agreement.changes_of_contacts({ account = "juliet@capulet.lit", entity = "pubsub.capulet.lit", permit = {} },
			{ { jid = jid, gains_to = gains_to } });
	end

	it("concerns accounts of this server", function ()
		for jid, expected in pairs({
			["nurse@capulet.lit"] = true, ["nobody@montague.lit"] = true, ["somebody@asleep.lit"] = true;
			["node@pubsub.capulet.lit"] = false, ["capulet.lit"] = false, ["romeo@elsewhere.lit"] = false;
		}) do
			assert.equal(expected, not not agreement.is_local(jid), jid);
		end
	end);

	it("is asked only where a change gives the account something", function ()
		rosters["nurse@capulet.lit"] = {};
		outcome.denial = { text = "no consent" };
		assert.same({}, (ask("nurse@capulet.lit", false)));
		assert.same({}, (ask("romeo@elsewhere.lit", true)));
		assert.same({}, asked);
		assert.same({ n = 2, nil, outcome.denial }, table.pack(ask("nurse@capulet.lit", true)));
	end);

	it("is asked of the contact's item for the account, and whether the entity may set it", function ()
		local item = { subscription = "from" };
		rosters["nurse@capulet.lit"] = { ["juliet@capulet.lit"] = item };
		outcome.agreement = {};
		assert.same({}, (ask("nurse@capulet.lit", true)));
		may_set["pubsub.capulet.lit nurse"] = true;
		ask("nurse@capulet.lit", true);
		exists["romeo@montague.lit"], rosters["romeo@montague.lit"] = true, {};
		ask("romeo@montague.lit", true); -- a host that grants nothing
		ask("nobody@capulet.lit", true);
		ask("somebody@asleep.lit", true);
		assert.same({
			{ "juliet@capulet.lit", "nurse@capulet.lit", item, false };
			{ "juliet@capulet.lit", "nurse@capulet.lit", item, true };
			{ "juliet@capulet.lit", "romeo@montague.lit", nil, false };
			{ "juliet@capulet.lit", "nobody@capulet.lit", nil, false };
			{ "juliet@capulet.lit", "somebody@asleep.lit", nil, false };
		}, asked);
	end);

	it("returns the change of the contact's roster", function ()
		rosters["nurse@capulet.lit"] = {};
		may_set["pubsub.capulet.lit nurse"] = true;
		outcome.agreement = { change = { jid = "juliet@capulet.lit" } };
		local others = ask("nurse@capulet.lit", true);
		assert.equal(1, #others);
		assert.equal("nurse", others[1].username);
		assert.equal(outcome.agreement.change, others[1].change);
		assert.is_function(others[1].rosters.may_set);
	end);

	it("is a denial where the other side cannot be found out", function ()
		assert.same({ n = 2, nil, { text = "unreadable" } }, table.pack(ask("nurse@capulet.lit", true)));
		exists["nurse@capulet.lit"] = "unknown";
		assert.same({ n = 2, nil, { text = "lookup" } }, table.pack(ask("nurse@capulet.lit", true)));
	end);
end);
