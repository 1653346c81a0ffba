"""R10: a roster set never gives what only the contact can give."""

from __future__ import annotations

import pytest

from harness import PUBSUB, Prosody
from watching import client_pushes, held, in_one_turn, stored, subscription
from wire import error_of, inner_iq, text_of
from words import item, log_in, query

JULIET, NURSE, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
ROMEO, LADY = "romeo@montague.lit", "lady@mantua.lit"
NOBODY = "nobody@capulet.lit"
REFUSED = ("cancel", "not-allowed")

GRANTS = {
    "capulet.lit": {
        # Only Juliet's roster: it may not set what other accounts give.
        "pubsub.capulet.lit": {"roster": "both", "accounts": ["juliet"], "iq": {PUBSUB: "get", "jabber:iq:last": "get"}},
        # Every roster of two hosts.
        "gateway.capulet.lit": {"roster": "both"},
    },
    "mantua.lit": {"gateway.capulet.lit": {"roster": "set"}, "pubsub.capulet.lit": {"roster": "get"}},
}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(
        privileged_entities=GRANTS,
        hosts=("capulet.lit", "montague.lit", "mantua.lit"),
        accounts=(JULIET, NURSE, TYBALT, ROMEO, LADY),
    ) as running:
        yield running


def set_subscription(peer, account: str, contact: str, wanted: str | None) -> tuple | None:
    """Sets a subscription; returns the error, or None for a result."""
    attributes = {} if wanted is None else {"subscription": wanted}
    answer = peer.iq("set", account, query(item(contact, **attributes)))
    return None if answer.get("type") == "result" else error_of(answer)[:2]


@pytest.mark.parametrize("wanted", ("to", "both"))
@pytest.mark.parametrize("contact", (NURSE, ROMEO, LADY, NOBODY, "nobody@montague.lit"))
@pytest.mark.parametrize("online", (True, False))
def test_r10_a_contact_that_has_not_agreed(server, component, online, contact, wanted):
    """R10: `to` and `both` are refused for an account of this server whose roster does not agree, and nothing changes."""
    if online:
        log_in(server, JULIET)
    answer = component.iq("set", JULIET, query(item("x@stranger.lit"), item(contact, subscription=wanted)))
    assert error_of(answer)[:2] == REFUSED, text_of(answer)
    assert "from or both" in error_of(answer)[2]
    assert held(server, JULIET) == stored(server, JULIET) == {}
    # The account itself may still give `from`.
    assert set_subscription(component, JULIET, contact, "from") is None
    assert subscription(server, JULIET, contact) == "from"
    assert set_subscription(component, JULIET, contact, wanted) == REFUSED
    assert subscription(server, JULIET, contact) == "from"


def test_r10_personal_events_and_last_activity_stay_closed(server, component):
    """R10: the server believes the roster of whichever side is online, so one side alone would open the other."""
    juliet, romeo = log_in(server, JULIET), log_in(server, ROMEO)
    publish = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:secret'><item id='1'><x xmlns='urn:example:x'/></item></publish></pubsub>"
    assert romeo.iq("set", None, publish).get("type") == "result"
    romeo.close()
    server.lua("return true")
    juliet.drain()

    def forbidden():
        for content in (
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:secret'/></pubsub>",
            "<query xmlns='jabber:iq:last'/>",
        ):
            answer = component.privileged_iq("get", JULIET, content, to=ROMEO)
            assert inner_iq(answer).get("type") == "error", text_of(answer)

    forbidden()
    assert set_subscription(component, JULIET, ROMEO, "both") == REFUSED
    forbidden()


@pytest.mark.parametrize("theirs", ("from", "both"))
@pytest.mark.parametrize("wanted", ("to", "both"))
@pytest.mark.parametrize("contact", (NURSE, ROMEO))
def test_r10_a_contact_that_has_agreed(server, component, contact, theirs, wanted):
    """R10: `to` and `both` are honoured where the contact's own roster says `from` or `both`; that roster is not touched."""
    server.put_roster_item(contact, JULIET, subscription=theirs)
    assert set_subscription(component, JULIET, contact, wanted) is None
    assert subscription(server, JULIET, contact) == wanted
    assert subscription(server, contact, JULIET) == theirs


@pytest.mark.parametrize("theirs", ("none", "to"))
def test_r10_a_contact_that_only_receives(server, component, theirs):
    """R10: a contact's own `none` or `to` is not an agreement."""
    server.put_roster_item(NURSE, JULIET, subscription=theirs)
    assert set_subscription(component, JULIET, NURSE, "both") == REFUSED
    assert subscription(server, NURSE, JULIET) == theirs


def test_r10_a_pending_request_is_not_an_agreement(server, component):
    """R10: a pending request of the account is not an agreement of the contact."""
    server.put_roster_item(JULIET, NURSE, subscription="none", ask="subscribe")
    assert set_subscription(component, JULIET, NURSE, "to") == REFUSED
    assert held(server, JULIET)[NURSE] == {"subscription": "none", "ask": "subscribe"}


def test_r10_what_is_there_already_is_kept(server, component):
    """R10: a set that gains nothing is honoured, whatever the contact's roster says."""
    server.put_roster_item(JULIET, NURSE, subscription="to")
    for wanted in (None, "to", "both", "to"):
        assert set_subscription(component, JULIET, NURSE, wanted) is None, wanted
    assert subscription(server, JULIET, NURSE) == "to"


@pytest.mark.parametrize("contact", ("x@stranger.lit", "stranger.lit", "x@remote.lit", "remote.lit", "capulet.lit", "montague.lit"))
def test_r10_other_contacts_are_as_before(server, component, contact):
    """R10: the rule is for accounts of this server only; no other contact has a roster here that can disagree."""
    assert set_subscription(component, JULIET, contact, "both") is None
    assert subscription(server, JULIET, contact) == "both"


@pytest.mark.parametrize("wanted, mirrored", (("to", "from"), ("both", "both")))
@pytest.mark.parametrize("contact", (NURSE, LADY))
@pytest.mark.parametrize("online", (True, False))
def test_r10_who_may_set_both_rosters_sets_both(server, gateway, online, contact, wanted, mirrored):
    """R10, R7: where the same entity may set the contact's roster as well, both rosters agree afterwards, and all are told."""
    if online:
        juliet, other = log_in(server, JULIET), log_in(server, contact)
    gateway.drain()
    answer = gateway.iq("set", JULIET, query(item(contact, "G", name="N", subscription=wanted)))
    assert answer.get("type") == "result", text_of(answer)
    assert held(server, JULIET) == {contact: {"subscription": wanted, "name": "N", "groups": ["G"]}}
    assert subscription(server, JULIET, contact) == wanted
    assert subscription(server, contact, JULIET) == mirrored
    if online:
        assert [(jid, i["subscription"]) for jid, i in client_pushes(juliet)] == [(contact, wanted)]
        assert [(jid, i["subscription"]) for jid, i in client_pushes(other)] == [(JULIET, mirrored)]
    if contact == NURSE:
        told = [(s.get("from"), s[0][0].get("jid"), s[0][0].get("subscription")) for s in gateway.drain() if s.get("type") == "set"]
        assert sorted(told) == sorted([(JULIET, contact, wanted), (contact, JULIET, mirrored)])


def test_r10_what_the_contact_has_stays(server, gateway):
    """R10: the contact's name and groups stay; a request that has become pointless is dropped."""
    server.put_roster_item(NURSE, JULIET, name="My lamb", subscription="none", ask="subscribe", groups=["Care"])
    assert set_subscription(gateway, JULIET, NURSE, "both") is None
    expected = {JULIET: {"name": "My lamb", "subscription": "both", "groups": ["Care"]}}
    assert held(server, NURSE) == stored(server, NURSE) == expected


def test_r10_not_for_accounts_out_of_its_reach(server, gateway, component):
    """R10: a contact that does not exist, one the entity may only read, or one of a host that grants nothing is not set, so the
    set is refused."""
    assert set_subscription(gateway, JULIET, NOBODY, "to") == REFUSED
    assert set_subscription(gateway, JULIET, ROMEO, "to") == REFUSED
    assert set_subscription(component, JULIET, LADY, "to") == REFUSED
    assert held(server, JULIET) == {}


def test_r10_all_items_or_none(server, gateway):
    """R2, R10: one contact that has not agreed refuses the whole set, on all sides."""
    items = (item(NURSE, subscription="both"), item(LADY, subscription="to"), item(ROMEO, subscription="to"))
    assert error_of(gateway.iq("set", JULIET, query(*items)))[:2] == REFUSED
    for account in (JULIET, NURSE, LADY):
        assert held(server, account) == stored(server, account) == {}, account
    assert gateway.iq("set", JULIET, query(*items[:2])).get("type") == "result"
    assert subscription(server, NURSE, JULIET) == "both" and subscription(server, LADY, JULIET) == "from"


@pytest.mark.parametrize("broken", ("capulet.lit", "mantua.lit"))
def test_r10_never_one_side_alone(server, gateway, broken):
    """R10: where one of the two cannot be saved, the other is taken back, in memory and in storage."""
    server.put_roster_item(JULIET, "x@stranger.lit", subscription="to")
    server.put_roster_item(LADY, JULIET, name="J", subscription="to")
    before = {account: held(server, account) for account in (JULIET, LADY)}
    juliet, lady = log_in(server, JULIET), log_in(server, LADY)
    server.lua("break_store(h, 'roster')", h=broken)
    answer = gateway.iq("set", JULIET, query(item(LADY, subscription="both"), item("y@stranger.lit")))
    assert error_of(answer)[:2] == ("wait", "internal-server-error")
    server.lua("mend_stores()")
    for account in (JULIET, LADY):
        assert held(server, account) == stored(server, account) == before[account], account
    assert client_pushes(juliet) == client_pushes(lady) == []
    assert set_subscription(gateway, JULIET, LADY, "both") is None
    assert subscription(server, LADY, JULIET) == "both"


def test_r10_sets_that_arrive_together(server, gateway, component):
    """R10, R11: a contact's consent counts for the sets that come after it, also in the same turn."""
    log_in(server, JULIET)
    gateway.drain(), component.drain()

    def set_(id_: str, account: str, contact: str, wanted: str) -> str:
        return f"<iq type='set' id='{id_}' to='{account}'>{query(item(contact, subscription=wanted))}</iq>"

    in_one_turn(
        server,
        (component.jid, set_("1", JULIET, NURSE, "to")),
        (gateway.jid, set_("2", NURSE, JULIET, "from")),
        (component.jid, set_("3", JULIET, NURSE, "to")),
        (gateway.jid, set_("4", TYBALT, JULIET, "from")),
        (component.jid, set_("5", JULIET, TYBALT, "both")),
    )
    answers = {s.get("id"): s for peer in (component, gateway) for s in peer.drain() if s.get("type") in ("result", "error")}
    assert error_of(answers["1"])[:2] == REFUSED
    assert [answers[id_].get("type") for id_ in "2345"] == ["result"] * 4
    assert subscription(server, JULIET, NURSE) == "to" and subscription(server, JULIET, TYBALT) == "both"


def test_r10_consent_that_is_not_saved_is_none(server, gateway, component):
    """R10: a consent that could not be saved is not relied on."""
    gateway.drain(), component.drain()
    server.lua(
        """
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or not real or not real.set then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                local value = real[key];
                if type(value) ~= "function" then return value; end
                return function (_, user, ...)
                    if user == "nurse" and key:sub(1, 3) == "set" then return nil, "broken by a test"; end
                    return value(real, user, ...);
                end
            end });
        end, 1000);
        """
    )
    in_one_turn(
        server,
        (gateway.jid, f"<iq type='set' id='1' to='{NURSE}'>{query(item(JULIET, subscription='from'))}</iq>"),
        (component.jid, f"<iq type='set' id='2' to='{JULIET}'>{query(item(NURSE, subscription='to'))}</iq>"),
    )
    assert error_of(gateway.expect("iq", id="1"))[:2] == ("wait", "internal-server-error")
    assert error_of(component.expect("iq", id="2"))[:2] == REFUSED
    assert held(server, JULIET) == held(server, NURSE) == {}


def test_r10_a_host_that_is_not_active(start_server):
    """R10: an account of a host that is configured but not active is an account of this server."""
    server = start_server(
        privileged_entities={"capulet.lit": {"gateway.capulet.lit": {"roster": "both"}}}, hosts=("capulet.lit", "montague.lit")
    )
    gateway = server.component("gateway.capulet.lit")
    server.lua("require 'core.hostmanager'.deactivate('montague.lit')")
    assert set_subscription(gateway, JULIET, ROMEO, "to") == REFUSED


def test_r10_a_contacts_roster_that_cannot_be_read(server, component):
    """R10, R4: the contact's roster decides, so where it cannot be read the answer is that of a failing storage. The
    server does not remember that roster as broken: afterwards the set is honoured, and the contact finds its own roster."""
    server.put_roster_item(NURSE, JULIET, name="My lamb", subscription="from")
    assert subscription(server, JULIET, NURSE) is None
    server.lua("hosts['capulet.lit'].roster_cache = nil")
    server.lua(
        """
        local is_broken = true;
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or not real or not real.get then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                local value = real[key];
                if type(value) ~= "function" then return value; end
                return function (_, user, ...)
                    if user == "nurse" and is_broken then return nil, "broken by a test"; end
                    return value(real, user, ...);
                end
            end });
        end, 1000);
        hook("*", "mended-by-a-test", function () is_broken = false; end);
        """
    )
    assert set_subscription(component, JULIET, NURSE, "to") == ("wait", "internal-server-error")
    server.lua("prosody.events.fire_event('mended-by-a-test')")
    assert set_subscription(component, JULIET, NURSE, "to") is None
    answer = server.client(NURSE).iq("get", None, query())
    assert [found.get("jid") for found in answer[0]] == [JULIET], text_of(answer)


def test_r10_a_contact_that_is_disabled(start_server):
    """R10, L7: a disabled account is not an account, so its roster is neither read nor set."""
    server = start_server(
        privileged_entities={"capulet.lit": {"gateway.capulet.lit": {"roster": "both"}}}, authentication="internal_hashed",
    )
    if server.version < (13,):
        pytest.skip("no account can be disabled before Prosody 13")
    gateway = server.component("gateway.capulet.lit")
    assert set_subscription(gateway, JULIET, NURSE, "both") is None
    assert set_subscription(gateway, JULIET, NURSE, "none") is None
    server.lua("assert(usermanager.disable_user('nurse', 'capulet.lit'))")
    assert set_subscription(gateway, JULIET, NURSE, "both") == REFUSED
    assert subscription(server, JULIET, NURSE) == "none" and subscription(server, NURSE, JULIET) == "both"


@pytest.mark.parametrize("contact", (NURSE, ROMEO))
def test_r10_a_contact_that_takes_time_to_be_found(start_server, contact):
    """R10, L7: a set whose contact the authentication provider has to look up is refused with "try again", and is honoured
    then."""
    server = start_server(
        authentication="spec_slow", without=("blocklist",), accounts=(JULIET, NURSE, ROMEO, "bot@capulet.lit"),
        privileged_entities={"capulet.lit": {"bot@capulet.lit": {"roster": "set", "accounts": ["juliet"]}}},
    )
    user, host = contact.split("@")
    server.lua(
        "assert(storagemanager.open(h, 'roster'):set(user, { [false] = { pending = {} }, [account] = { subscription = 'from', groups = {} } }))",
        h=host, user=user, account=JULIET,
    )
    bot = server.client("bot@capulet.lit")
    assert set_subscription(bot, JULIET, contact, "to") == ("wait", "internal-server-error")
    assert set_subscription(bot, JULIET, contact, "to") is None
    assert held(server, JULIET)[contact] == {"subscription": "to"}
    for _ in range(2):
        refused = set_subscription(bot, JULIET, "nobody@" + host, "to")
    assert refused in (REFUSED, ("wait", "internal-server-error"))
