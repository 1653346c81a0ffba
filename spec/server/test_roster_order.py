"""R11: an acknowledged roster set is in memory, on disk and in every later read and push, whatever else happens."""

from __future__ import annotations

import itertools

import pytest

from harness import Prosody
from watching import held, in_one_turn, is_push, pushed, pushes, read_item, stored
from wire import error_of, local, text_of
from words import forget_rosters, item, log_in, query

JULIET, NURSE, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
GRANTS = {
    "capulet.lit": {
        "pubsub.capulet.lit": {"roster": "both"},
        "gateway.capulet.lit": {"roster": "both", "roster_push": False},
        "bot@montague.lit": {"roster": "both", "roster_push": False},
    },
}
ACCOUNTS = (JULIET, NURSE, TYBALT, "bot@montague.lit")


@pytest.fixture(scope="module", params=("internal", "sql"))
def session_server(request):
    with Prosody(privileged_entities=GRANTS, accounts=ACCOUNTS, storage=request.param) as running:
        yield running


ids = (f"o{n}" for n in itertools.count(1))


def roster_set(account: str, *items: str) -> str:
    return f"<iq type='set' id='{next(ids)}' to='{account}'>{query(*items)}</iq>"


def own_set(*items: str) -> str:
    return f"<iq type='set' id='{next(ids)}'>{query(*items)}</iq>"


def types_of_answers(peer) -> list[str]:
    return [s.get("type") for s in peer.drain() if local(s) == "iq" and s.get("type") in ("result", "error")]


def names(server, account: str) -> dict:
    """{contact: name}, in memory and in storage alike, and after everything held has been forgotten."""
    in_memory = held(server, account)
    assert in_memory == stored(server, account)
    return {contact: found.get("name") for contact, found in in_memory.items()}


# Evictions and logins (the server caches 1,024 rosters of offline accounts)


def test_r11_a_roster_evicted_between_two_sets(server, component):
    """R11: two sets in one turn are both kept, though the server evicts the roster from its cache between them."""
    component.drain()
    evict = ("", "lua: hosts['capulet.lit'].roster_cache = nil")
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="A"))),
        evict,
        (component.jid, roster_set(NURSE, item("b@stranger.lit", name="B"))),
        (component.jid, roster_set(JULIET, item("c@stranger.lit", name="C"))),
        evict,
        (component.jid, roster_set(JULIET, item("d@stranger.lit", name="D"))),
    )
    assert types_of_answers(component) == ["result"] * 4
    assert names(server, JULIET) == {"a@stranger.lit": "A", "c@stranger.lit": "C", "d@stranger.lit": "D"}
    assert names(server, NURSE) == {"b@stranger.lit": "B"}


def test_r11_more_accounts_than_the_server_caches(server, component, gateway):
    """R11: sets that arrive together for more accounts than the cache holds lose nothing."""
    server.lua(
        """
        hosts["capulet.lit"].roster_cache = require "util.cache".new(2);
        for i = 1, 12 do create_user("user"..i, "capulet.lit"); end
        hosts["capulet.lit"].roster_cache = require "util.cache".new(2);
        """
    )
    component.drain()
    stanzas, expected = [], {}
    for round_, number in itertools.product(range(6), range(1, 13)):
        account, contact = f"user{number}@capulet.lit", f"c{round_}@stranger.lit"
        expected.setdefault(account, set()).add(contact)
        peer = component if (round_ + number) % 2 else gateway
        stanzas.append((peer.jid, roster_set(account, item(contact))))
    in_one_turn(server, *stanzas)
    assert types_of_answers(component) + types_of_answers(gateway) == ["result"] * len(stanzas)
    for account, contacts in expected.items():
        assert set(names(server, account)) == contacts


def test_r11_a_login_between_a_set_and_its_save(server, component):
    """R11: where the account logs in after its roster was evicted, the live roster is the one that is saved."""
    server.put_roster_item(JULIET, "old@stranger.lit", name="Old")
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("b@stranger.lit", name="B"))),
        ("", """lua: local host = hosts["capulet.lit"];
            host.roster_cache = nil;
            host.sessions.juliet = { sessions = {} };
            prosody.bare_sessions["juliet@capulet.lit"] = host.sessions.juliet;
            rostermanager.load_roster("juliet", "capulet.lit");
            assert(host.sessions.juliet.roster);"""),
        (component.jid, roster_set(JULIET, item("c@stranger.lit", name="C"))),
    )
    assert types_of_answers(component) == ["result"] * 2
    live = held(server, JULIET)
    server.lua("hosts['capulet.lit'].sessions.juliet = nil; prosody.bare_sessions['juliet@capulet.lit'] = nil;")
    assert live == stored(server, JULIET)
    assert {c: i.get("name") for c, i in live.items()} == {
        "old@stranger.lit": "Old", "b@stranger.lit": "B", "c@stranger.lit": "C",
    }


# Order


def test_r11_the_accounts_own_set_in_the_same_turn(server, component):
    """R11: an entity's set and then the account's own set are told once each and in that order, to both."""
    juliet = log_in(server, JULIET)
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="A"))),
        (juliet.jid, own_set(item("b@stranger.lit", name="B"))),
        (component.jid, roster_set(JULIET, item("b@stranger.lit", name="B2"))),
        (juliet.jid, own_set(item("a@stranger.lit", name="A2"))),
    )
    expected = [("a@stranger.lit", "A"), ("b@stranger.lit", "B"), ("b@stranger.lit", "B2"), ("a@stranger.lit", "A2")]
    assert [(jid, found["name"]) for jid, found in pushed(component, JULIET)] == expected
    told = [read_item(s[0][0]) for s in juliet.drain() if is_push(s)]
    assert [(jid, found["name"]) for jid, found in told] == expected
    assert names(server, JULIET) == {"a@stranger.lit": "A2", "b@stranger.lit": "B2"}


@pytest.mark.parametrize("type_, after", (("subscribe", {"subscription": "none", "ask": "subscribe"}), ("subscribed", {"subscription": "none"})))
def test_r11_a_presence_in_the_same_turn(server, component, type_, after):
    """R11: a presence that changes the roster does so before it is delivered, and after an earlier set."""
    juliet = log_in(server, JULIET)
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="A"))),
        (juliet.jid, f"<presence type='{type_}' to='b@remote.lit'/>"),
        (component.jid, roster_set(JULIET, item("c@stranger.lit", name="C"))),
    )
    expected = [
        ("a@stranger.lit", {"name": "A", "subscription": "none"}),
        ("b@remote.lit", after),
        ("c@stranger.lit", {"name": "C", "subscription": "none"}),
    ]
    told = [(jid, {k: v for k, v in i.items() if k != "approved"}) for jid, i in pushed(component, JULIET)]
    assert told == expected
    versions = [s[0].get("ver") for s in juliet.drain() if is_push(s)]
    assert versions == sorted(versions, key=int) and len(set(versions)) == 3, versions


def test_r11_a_contacts_approval_in_the_same_turn(server, component, stranger):
    """R11: a contact's approval finds the roster as the sets before it have left it."""
    juliet = log_in(server, JULIET)
    server.put_roster_item(JULIET, "a@stranger.lit", subscription="none", ask="subscribe")
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="A"))),
        (stranger.jid, "<presence type='subscribed' to='juliet@capulet.lit'/>"),
    )
    assert [i.get("name") for _, i in pushed(component, JULIET)] == ["A"]
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("stranger.lit", name="S"))),
        (stranger.jid, "<presence type='subscribe' to='juliet@capulet.lit'/>"),
        (juliet.jid, "<presence type='subscribed' to='stranger.lit'/>"),
    )
    expected = [("stranger.lit", {"name": "S", "subscription": "none"}), ("stranger.lit", {"name": "S", "subscription": "from"})]
    assert pushed(component, JULIET) == expected


# Versions


def test_r11_each_change_has_a_version_of_its_own(server, component):
    """R11: each change has a roster version of its own (RFC 6121 2.6); a client with the first of two pushes is not told that
    it is current."""
    juliet = log_in(server, JULIET)
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit"), item("b@stranger.lit"))),
        (component.jid, roster_set(JULIET, item("c@stranger.lit"))),
    )
    versions = [s[0].get("ver") for s in juliet.drain() if is_push(s)]
    assert len(set(versions)) == 3, versions
    for version in versions[:-1]:
        answer = juliet.iq("get", None, f"<query xmlns='jabber:iq:roster' ver='{version}'/>")
        assert len(answer) == 1, text_of(answer)
    answer = juliet.iq("get", None, f"<query xmlns='jabber:iq:roster' ver='{versions[-1]}'/>")
    assert len(answer) == 0, text_of(answer)
    # The version in storage is the same.
    juliet.close()
    component.sync()
    forget_rosters(server)
    answer = component.iq("get", JULIET, f"<query xmlns='jabber:iq:roster' ver='{versions[-1]}'/>")
    assert len(answer) == 0, text_of(answer)


def test_r11_a_removal_that_changes_the_roster_of_another_account(server, component):
    """R11: a removal changes the roster of a contact whose own set is in the same turn. That change comes after the set, with a
    later version, and both are told in this order."""
    server.put_roster_item(JULIET, NURSE, subscription="both")
    server.put_roster_item(NURSE, JULIET, subscription="both")
    nurse = log_in(server, NURSE)
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("x@stranger.lit"))),
        (component.jid, roster_set(NURSE, item("y@stranger.lit"))),
        (component.jid, roster_set(JULIET, item(NURSE, subscription="remove"))),
    )
    told = [(s[0].get("ver"), read_item(s[0][0])[0]) for s in nurse.drain() if is_push(s)]
    versions = [int(version) for version, _ in told]
    assert [contact for _, contact in told] == ["y@stranger.lit", JULIET, JULIET], told
    assert versions == sorted(set(versions)), told
    now = server.lua(
        """
        return {
            rostermanager.load_roster("nurse", "capulet.lit")[false].version,
            storagemanager.open("capulet.lit", "roster"):get("nurse")[false].version,
        }
        """
    )
    assert now == [versions[-1]] * 2
    assert [push[:2] for push in pushes(component) if push[0] == NURSE] == [
        (NURSE, "y@stranger.lit"), (NURSE, JULIET), (NURSE, JULIET),
    ]


def test_r11_a_failed_save_leaves_the_version(server, component):
    """R4, R11: a failed save changes nothing, so no roster version changes."""
    assert component.iq("set", JULIET, query(item("a@stranger.lit"))).get("type") == "result"
    before = component.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")[0].get("ver")
    server.lua("break_store('capulet.lit', 'roster')")
    assert component.iq("set", JULIET, query(item("b@stranger.lit"), item("c@stranger.lit"))).get("type") == "error"
    server.lua("mend_stores()")
    assert component.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")[0].get("ver") == before


# Deletions


@pytest.mark.parametrize("how_many", (1, 2))
def test_r11_an_account_deleted_while_a_set_waits(server, component, how_many):
    """R11, L7: a set for an account that is deleted while it waits is not answered `result`, and nothing is stored."""
    component.drain()
    items = [item(f"c{n}@stranger.lit") for n in range(how_many)]
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, *items)),
        ("", "lua: assert(usermanager.delete_user('juliet', 'capulet.lit'))"),
    )
    answer = component.expect(lambda s: local(s) == "iq" and s.get("type") in ("result", "error"))
    assert error_of(answer)[:2] == ("cancel", "item-not-found")
    assert stored(server, JULIET) == {}
    server.lua("hosts['capulet.lit'].roster_cache = nil")
    server.add_account(JULIET)
    assert held(server, JULIET) == {}


def test_r11_an_account_deleted_behind_the_servers_back(server, component):
    """R11, L7: an account that another process has deleted gets no roster either."""
    component.drain()
    assert component.iq("set", JULIET, query(item("a@stranger.lit"))).get("type") == "result"
    server.lua(
        """
        assert(storagemanager.open("capulet.lit", "accounts"):set("juliet", nil));
        assert(storagemanager.purge("juliet", "capulet.lit"));
        """
    )
    answer = component.iq("set", JULIET, query(item("b@stranger.lit"), item("c@stranger.lit")))
    assert error_of(answer)[:2] == ("cancel", "item-not-found")
    assert stored(server, JULIET) == {}


# Reloads


def test_r11_a_reload_while_sets_wait(server, component):
    """R11, L1: a set that was taken in is saved, answered and told before the module is reloaded or reconfigured."""
    component.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit"))),
        ("", "lua: assert(modulemanager.reload('capulet.lit', 'privilege'))"),
        (component.jid, roster_set(JULIET, item("b@stranger.lit"))),
        ("", "lua: assert(prosody.reload_config())"),
        (component.jid, roster_set(JULIET, item("c@stranger.lit"))),
    )
    stanzas = component.drain()
    assert [s.get("type") for s in stanzas if local(s) == "iq" and not is_push(s)] == ["result"] * 3
    assert [s[0][0].get("jid") for s in stanzas if is_push(s)] == ["a@stranger.lit", "b@stranger.lit", "c@stranger.lit"]
    assert sorted(names(server, JULIET)) == ["a@stranger.lit", "b@stranger.lit", "c@stranger.lit"]


def test_r11_a_set_that_was_taken_in_before_a_revocation(server, component):
    """R11, C6: a set that was answered is done; one that comes after the revocation is refused."""
    component.drain()
    less = {"capulet.lit": {"pubsub.capulet.lit": {"roster": "get"}}}
    component.send(roster_set(JULIET, item("a@stranger.lit")).replace("<iq ", f"<iq from='{component.jid}' "))
    component.sync()
    try:
        server.reconfigure(privileged_entities=less)
        assert component.iq("set", JULIET, query(item("b@stranger.lit"))).get("type") == "error"
    finally:
        server.reconfigure(privileged_entities=GRANTS)
    assert sorted(names(server, JULIET)) == ["a@stranger.lit"]


# Contacts that the server adds by itself


@pytest.fixture
def groups_server(start_server, tmp_path):
    def start(storage="internal"):
        server = start_server(
            privileged_entities=GRANTS, accounts=ACCOUNTS, modules=("groups",), storage=storage,
            options={"groups_file": "groups.txt"}, files={"groups.txt": f"[Verona]\n{JULIET}=Juliet\n{NURSE}=Angelica\n"},
        )
        return server

    return start


@pytest.mark.parametrize("storage", ("internal", "sql"))
@pytest.mark.parametrize("online", (True, False))
def test_r11_a_contact_of_a_group(groups_server, storage, online):
    """R11: a set on a contact that a group gives is kept, as where the account's client sets it."""
    server = groups_server(storage)
    component = server.component("pubsub.capulet.lit")
    if online:
        log_in(server, JULIET)
    component.drain()
    assert component.iq("set", JULIET, query(item(NURSE, "Mine", name="Nurse"))).get("type") == "result"
    expected = {"name": "Nurse", "groups": ["Mine"], "subscription": "both"}
    assert pushed(component, JULIET) == [(NURSE, expected)]
    assert stored(server, JULIET) == {NURSE: expected}
    # As after a restart without the group.
    server.close_connections()
    server.lua("modulemanager.unload('capulet.lit', 'groups'); hosts['capulet.lit'].roster_cache = nil;")
    assert held(server, JULIET) == {NURSE: expected}


def test_r11_a_group_contact_set_as_it_is(groups_server):
    """R11: an acknowledged set is stored, also where the account's view does not change."""
    server = groups_server()
    component = server.component("pubsub.capulet.lit")
    shown = component.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")
    jid, found = read_item(shown[0][0])
    assert (jid, found) == (NURSE, {"name": "Angelica", "groups": ["Verona"], "subscription": "both"})
    assert component.iq("set", JULIET, query(item(NURSE, "Verona", name="Angelica"))).get("type") == "result"
    assert stored(server, JULIET) == {NURSE: found}


def test_r7_group_contacts_are_no_changes(groups_server):
    """R7: a save of a whole roster does not push the contacts that the server adds by itself."""
    server = groups_server()
    component = server.component("pubsub.capulet.lit")
    component.drain()
    server.lua("local r = rostermanager.load_roster('juliet', 'capulet.lit'); assert(rostermanager.save_roster('juliet', 'capulet.lit', r))")
    assert pushes(component) == []


# Storage that hands out the tables that it keeps


@pytest.fixture
def keeping_server(start_server):
    return start_server(privileged_entities=GRANTS, accounts=ACCOUNTS, storage={"roster": "spec_keeping"})


def test_r7_storage_that_hands_out_its_tables(keeping_server, request):
    """R7: every change is pushed whatever the storage does with the tables it is given."""
    server = keeping_server
    component, stranger = server.component("pubsub.capulet.lit"), server.component("stranger.lit")
    juliet = log_in(server, JULIET)
    component.drain()
    assert component.iq("set", JULIET, query(item("a@stranger.lit", name="A"))).get("type") == "result"
    assert [i.get("name") for _, i in pushed(component, JULIET)] == ["A"]
    for name in ("A2", "A3"):
        juliet.iq("set", None, query(item("a@stranger.lit", name=name)))
        assert [i.get("name") for _, i in pushed(component, JULIET)] == [name]
    # These change items in place.
    juliet.send_presence("subscribe", "a@stranger.lit")
    juliet.sync()
    stranger.send_presence("subscribed", JULIET, from_="a@stranger.lit")
    stranger.sync()
    changes = [(i["subscription"], i.get("ask")) for _, i in pushed(component, JULIET)]
    assert changes == [("none", "subscribe"), ("to", None)]
    assert component.iq("set", JULIET, query(item("a@stranger.lit", "G"))).get("type") == "result"
    assert [i.get("groups") for _, i in pushed(component, JULIET)] == [["G"]]
    juliet.close()
    forget_rosters(server)
    stranger.send_presence("unsubscribed", JULIET, from_="a@stranger.lit")
    stranger.sync()
    assert [i["subscription"] for _, i in pushed(component, JULIET)] == ["none"]
    assert component.iq("set", JULIET, query(item("a@stranger.lit", subscription="remove"))).get("type") == "result"
    assert [i["subscription"] for _, i in pushed(component, JULIET)] == ["remove"]


def test_r4_storage_that_hands_out_its_tables_and_fails(keeping_server):
    """R4: a failed save leaves storage as before, whatever the storage does with the tables it gives."""
    server = keeping_server
    component = server.component("pubsub.capulet.lit")
    for name in ("A", "B"):
        assert component.iq("set", JULIET, query(item("a@stranger.lit", name=name))).get("type") == "result"
    forget_rosters(server)
    server.lua("break_store('capulet.lit', 'roster')")
    assert component.iq("set", JULIET, query(item("a@stranger.lit", name="C"))).get("type") == "error"
    server.lua("mend_stores()")
    assert held(server, JULIET) == stored(server, JULIET) == {"a@stranger.lit": {"subscription": "none", "name": "B"}}


# An account as the entity, and providers that wait


def test_r11_sets_of_a_bot_and_a_component_together(server, component):
    """R11: a client's set waits for the save as a component's does."""
    bot = server.client("bot@montague.lit")
    component.drain(), bot.drain()
    in_one_turn(
        server,
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="A"))),
        (bot.jid, roster_set(JULIET, item("a@stranger.lit", name="B"))),
        (component.jid, roster_set(JULIET, item("a@stranger.lit", name="C"))),
    )
    assert [i.get("name") for _, i in pushed(component, JULIET)] == ["A", "B", "C"]
    assert types_of_answers(bot) == ["result"]
    assert names(server, JULIET) == {"a@stranger.lit": "C"}
