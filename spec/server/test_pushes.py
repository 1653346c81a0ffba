"""R7 and R8: every visible change of a roster is pushed to the entities that may see it, exactly once."""

from __future__ import annotations

import pytest

from harness import PRIVILEGES, Prosody
from watching import advertised, is_push, pushed, pushes, read_item
from wire import error_of, local, payload
from words import client_set, forget_rosters, item, log_in, query

JULIET, NURSE, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
ROMEO = "romeo@montague.lit"
CONTACT = "x@stranger.lit"
OTHER = "y@stranger.lit"

GRANTS = {
    "capulet.lit": {
        "pubsub.capulet.lit": {"roster": "both"},
        "gateway.capulet.lit": {"roster": "get"},
        "quiet.lit": {"roster": "both", "roster_push": False},
        "writer.lit": {"roster": "set"},
        "writer-with-push.lit": {"roster": "set", "roster_push": True, "message": "outgoing"},
        "only-juliet.lit": {"roster": "both", "accounts": ["juliet"]},
        "nobody.lit": {"roster": "both", "accounts": []},
        "not-juliet.lit": {"roster": "get", "except": ["juliet"]},
    },
    "mantua.lit": {
        "pubsub.capulet.lit": {"roster": "get"},
    },
}
MORE_COMPONENTS = ("quiet.lit", "writer.lit", "writer-with-push.lit", "only-juliet.lit", "nobody.lit", "not-juliet.lit")
LADY = "lady@mantua.lit"


@pytest.fixture(scope="module", params=("internal", "memory", "sql"))
def session_server(request):
    with Prosody(
        privileged_entities=GRANTS,
        hosts=("capulet.lit", "montague.lit", "mantua.lit"),
        accounts=(JULIET, NURSE, TYBALT, LADY, ROMEO),
        components=MORE_COMPONENTS,
        storage=request.param,
    ) as running:
        yield running


def ask(stranger, account: str, contact: str = CONTACT):
    """A contact asks for a subscription, and its request waits for an answer."""
    stranger.send_presence("subscribe", account, from_=contact)
    stranger.sync()


def call(server, account: str, function: str, *arguments):
    """Calls a function of the server's rostermanager for an account: function(user, host, ...)"""
    user, host = account.split("@")
    return server.lua(
        "return (rostermanager[f](user, h, table.unpack(list)))", f=function, user=user, h=host, list=list(arguments)
    )


# The account's own client


def test_r7_client_adds_renames_regroups_and_removes(server, component, gateway):
    """R7: each creation, change and removal by the account's client is pushed once to each entity."""
    juliet = log_in(server, JULIET)
    steps = [
        ((CONTACT,), {}, {"subscription": "none"}),
        ((CONTACT,), {"name": "X"}, {"subscription": "none", "name": "X"}),
        ((CONTACT,), {"name": "The X"}, {"subscription": "none", "name": "The X"}),
        ((CONTACT, "A"), {"name": "The X"}, {"subscription": "none", "name": "The X", "groups": ["A"]}),
        ((CONTACT, "A", "B"), {"name": "The X"}, {"subscription": "none", "name": "The X", "groups": ["A", "B"]}),
        ((CONTACT, "C"), {"name": "The X"}, {"subscription": "none", "name": "The X", "groups": ["C"]}),
        ((CONTACT,), {"name": ""}, {"subscription": "none"}),
        ((CONTACT,), {"subscription": "remove"}, {"subscription": "remove"}),
    ]
    for entity in (component, gateway):
        entity.drain()
    for given, attributes, expected in steps:
        client_set(juliet, item(*given, **attributes))
        assert pushed(component, JULIET) == [(CONTACT, expected)]
        assert pushed(gateway, JULIET) == [(CONTACT, expected)]


def test_r7_a_save_that_changes_nothing(server, component, gateway):
    """R7: a save that changes nothing, whatever the order of groups, is not pushed."""
    juliet = log_in(server, JULIET)
    client_set(juliet, item(CONTACT, "A", "B", name="X"))
    assert len(pushed(component, JULIET)) == 1
    client_set(juliet, item(CONTACT, "A", "B", name="X"))
    client_set(juliet, item(CONTACT, "B", "A", "B", name="X"))
    assert pushed(component, JULIET) == []
    assert len(pushed(gateway, JULIET)) == 1
    # The next change is pushed.
    client_set(juliet, item(CONTACT, "B", name="X"))
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "none", "name": "X", "groups": ["B"]})]


def test_r7_removal_of_a_mutual_contact(server, component, stranger):
    """R7: the removal of a mutual contact is pushed once, whatever is cancelled on the way."""
    server.put_roster_item(JULIET, CONTACT, subscription="both", name="X", groups=["A"])
    juliet = log_in(server, JULIET)
    component.drain()
    client_set(juliet, item(CONTACT, subscription="remove"))
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "remove"})]
    # The contact's server answers with stanzas that change nothing visible.
    for type_ in ("unsubscribe", "unsubscribed", "unavailable"):
        stranger.send_presence(type_, JULIET, from_=CONTACT)
    stranger.sync()
    assert pushed(component, JULIET) == []


def test_r7_removal_between_two_accounts(server, component):
    """R7: a removal between two accounts changes the other roster twice, and both changes are pushed."""
    server.put_roster_item(JULIET, NURSE, subscription="both")
    server.put_roster_item(NURSE, JULIET, subscription="both", name="Child")
    juliet = log_in(server, JULIET)
    component.drain()
    client_set(juliet, item(NURSE, subscription="remove"))
    found = pushes(component)
    assert [p[1:] for p in found if p[0] == JULIET] == [(NURSE, {"subscription": "remove"})]
    nurses = [p[1:] for p in found if p[0] == NURSE]
    assert len(nurses) == 2 and len(found) == 3
    assert nurses[0] in ((JULIET, {"subscription": "to", "name": "Child"}), (JULIET, {"subscription": "from", "name": "Child"}))
    assert nurses[1] == (JULIET, {"subscription": "none", "name": "Child"})
    assert server.roster(JULIET) == {} and server.roster(NURSE)[JULIET]["subscription"] == "none"


# Subscriptions: the item before (None: there is none; "asked": a request waits for an answer), the presence that is
# sent, and the item that is pushed (None: no push).

NONE, TO, FROM, BOTH = ({"subscription": s} for s in ("none", "to", "from", "both"))
ASKING = {"subscription": "none", "ask": "subscribe"}
FROM_ASKING = {"subscription": "from", "ask": "subscribe"}

INBOUND = [
    (None, "subscribe", None),
    (NONE, "subscribe", None),
    (TO, "subscribe", None),
    (FROM, "subscribe", None),
    (BOTH, "subscribe", None),
    ("asked", "subscribe", None),
    (ASKING, "subscribed", TO),
    (FROM_ASKING, "subscribed", BOTH),
    (None, "subscribed", None),
    (NONE, "subscribed", None),
    (TO, "subscribed", None),
    (BOTH, "subscribed", None),
    (ASKING, "unsubscribed", NONE),
    (FROM_ASKING, "unsubscribed", FROM),
    (TO, "unsubscribed", NONE),
    (BOTH, "unsubscribed", FROM),
    (FROM, "unsubscribed", None),
    (NONE, "unsubscribed", None),
    (None, "unsubscribed", None),
    (FROM, "unsubscribe", NONE),
    (BOTH, "unsubscribe", TO),
    (TO, "unsubscribe", None),
    (None, "unsubscribe", None),
    ("asked", "unsubscribe", None),
]

OUTBOUND = [
    (None, "subscribe", ASKING),
    (NONE, "subscribe", ASKING),
    (FROM, "subscribe", FROM_ASKING),
    (TO, "subscribe", None),
    (BOTH, "subscribe", None),
    (ASKING, "subscribe", None),
    ("asked", "subscribed", FROM),
    ("asked and to", "subscribed", BOTH),
    (FROM, "subscribed", None),
    (BOTH, "subscribed", None),
    ("asked", "unsubscribed", None),
    (FROM, "unsubscribed", NONE),
    (BOTH, "unsubscribed", TO),
    (TO, "unsubscribed", None),
    (None, "unsubscribed", None),
    (TO, "unsubscribe", NONE),
    (BOTH, "unsubscribe", FROM),
    (ASKING, "unsubscribe", NONE),
    (FROM, "unsubscribe", None),
    (None, "unsubscribe", None),
]


def prepare(server, stranger, account: str, before):
    if before == "asked and to":
        server.put_roster_item(account, CONTACT, **TO)
    elif isinstance(before, dict):
        server.put_roster_item(account, CONTACT, **before)
    if isinstance(before, str):
        ask(stranger, account)


def named(entries):
    def name(before):
        return before if isinstance(before, str) else "-".join(before.values()) if before else "nothing"

    return [pytest.param(*entry, id=f"{name(entry[0])} {entry[1]}") for entry in entries]


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
@pytest.mark.parametrize(("before", "type_", "after"), named(INBOUND))
def test_r7_what_the_contact_does(server, stranger, component, online, before, type_, after):
    """R7, R8: a change is pushed when the contact asks, approves or cancels; a pending request is not an item."""
    prepare(server, stranger, JULIET, before)
    if online:
        log_in(server, JULIET)
    else:
        forget_rosters(server)
    component.drain()
    stranger.send_presence(type_, JULIET, from_=CONTACT)
    stranger.sync()
    assert pushed(component, JULIET) == ([] if after is None else [(CONTACT, after)])
    stored = {k: v["subscription"] for k, v in server.roster(JULIET).items()}
    if after:
        assert stored == {CONTACT: after["subscription"]}
    elif isinstance(before, dict):
        assert stored == {CONTACT: before["subscription"]}
    else:
        assert stored == {}


@pytest.mark.parametrize(("before", "type_", "after"), named(OUTBOUND))
def test_r7_what_the_account_does(server, stranger, component, before, type_, after):
    """R7, R8: a change is pushed when the account asks, approves or cancels."""
    prepare(server, stranger, JULIET, before)
    juliet = log_in(server, JULIET)
    component.drain()
    juliet.send_presence(type_, CONTACT)
    juliet.sync()
    assert pushed(component, JULIET) == ([] if after is None else [(CONTACT, after)])


def test_r7_approval_in_advance(server, stranger, component):
    """R7: a pre-approval is an item that can be seen, so it is pushed, and so is what follows from it."""
    juliet = log_in(server, JULIET)
    component.drain()
    juliet.send_presence("subscribed", CONTACT)
    juliet.sync()
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "none", "approved": "true"})]
    juliet.close()
    ask(stranger, JULIET)
    ((contact, found),) = pushed(component, JULIET)
    assert (contact, found["subscription"]) == (CONTACT, "from")


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r7_two_accounts_become_contacts(server, component, online):
    """R7: where two accounts become contacts, each change of both rosters is pushed once, whether the asked one is online or
    comes later."""
    juliet = log_in(server, JULIET)
    nurse = log_in(server, NURSE) if online else None
    component.drain()
    juliet.send_presence("subscribe", NURSE)
    juliet.sync()
    assert pushes(component) == [(JULIET, NURSE, ASKING)]
    if not online:
        nurse = log_in(server, NURSE)
        assert pushes(component) == []
        juliet.close()
        component.drain()
    nurse.send_presence("subscribed", JULIET)
    nurse.sync()
    assert sorted(pushes(component), key=str) == [(JULIET, NURSE, TO), (NURSE, JULIET, FROM)]
    nurse.send_presence("unsubscribed", JULIET)
    nurse.sync()
    assert sorted(pushes(component), key=str) == [(JULIET, NURSE, NONE), (NURSE, JULIET, NONE)]


def test_r7_a_login_changes_nothing(server, stranger, component):
    """R7, R8: requests that the server repeats at a login are not pushed."""
    server.put_roster_item(JULIET, OTHER, **ASKING)
    ask(stranger, JULIET)
    component.drain()
    for _ in range(2):
        juliet = log_in(server, JULIET)
        juliet.iq("get", None, query())
        juliet.close()
    assert pushes(component) == []


def test_r7_changes_of_an_offline_account_one_after_another(server, stranger, component):
    """R7: each change of an offline account is compared with the state before it, although the server changes the roster in
    place."""
    for contact in (CONTACT, OTHER):
        server.put_roster_item(JULIET, contact, **FROM_ASKING)
    forget_rosters(server)
    component.drain()
    for type_ in ("subscribed", "unsubscribed", "unsubscribe"):
        for contact in (CONTACT, OTHER):
            stranger.send_presence(type_, JULIET, from_=contact)
    stranger.sync()
    assert pushed(component, JULIET) == [
        (CONTACT, BOTH), (OTHER, BOTH), (CONTACT, FROM), (OTHER, FROM), (CONTACT, NONE), (OTHER, NONE)
    ]


# Entities


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r7_the_entitys_own_set_and_the_others(server, component, gateway, online):
    """R7: the entity that made a set gets its pushes as the others do, one item at a time, once."""
    if online:
        log_in(server, JULIET)
    for entity in (component, gateway):
        entity.drain()
    assert component.iq("set", JULIET, query(item(CONTACT, "G", name="X", subscription="to"))).get("type") == "result"
    expected = [(CONTACT, {"subscription": "to", "name": "X", "groups": ["G"]})]
    assert pushed(component, JULIET) == expected
    assert pushed(gateway, JULIET) == expected

    # Of several items those that change are pushed, in any order.
    several = (
        item(CONTACT, "G", name="X", subscription="to"),
        item(OTHER, name="Y"),
        item("z@stranger.lit", subscription="both"),
    )
    assert component.iq("set", JULIET, query(*several)).get("type") == "result"
    expected = [(OTHER, {"subscription": "none", "name": "Y"}), ("z@stranger.lit", BOTH)]
    assert sorted(pushed(component, JULIET), key=str) == expected
    assert sorted(pushed(gateway, JULIET), key=str) == expected

    # The same again: nothing.
    assert component.iq("set", JULIET, query(*several)).get("type") == "result"
    assert pushed(component, JULIET) == [] and pushed(gateway, JULIET) == []

    several = (item(CONTACT, subscription="remove"), item(OTHER, "New", name="Y"), item("z@stranger.lit", subscription="remove"))
    assert component.iq("set", JULIET, query(*several)).get("type") == "result"
    expected = [
        (CONTACT, {"subscription": "remove"}),
        (OTHER, {"subscription": "none", "name": "Y", "groups": ["New"]}),
        ("z@stranger.lit", {"subscription": "remove"}),
    ]
    assert sorted(pushed(component, JULIET), key=str) == expected
    assert sorted(pushed(gateway, JULIET), key=str) == expected


def test_r7_an_entity_without_pushes_sets(server, gateway):
    """R7: sets of entities that get no pushes themselves are pushed to the others."""
    gateway.drain()
    for number, domain in enumerate(("quiet.lit", "writer.lit", "writer-with-push.lit")):
        entity = server.component(domain)
        contact = f"x{number}@stranger.lit"
        assert entity.iq("set", JULIET, query(item(contact, name="X"))).get("type") == "result"
        assert pushed(gateway, JULIET) == [(contact, {"subscription": "none", "name": "X"})]
        assert pushes(entity) == []


def test_r7_refused_and_failed_sets(server, component, gateway, stranger):
    """R7: a set that is refused or fails is not pushed."""
    server.put_roster_item(JULIET, CONTACT, **TO)
    juliet = log_in(server, JULIET)
    for entity in (component, gateway):
        entity.drain()
    refused = [
        component.iq("set", JULIET, query(item(OTHER), item("z@stranger.lit", subscription="remove"))),
        component.iq("set", JULIET, query(item(OTHER), item(OTHER + "/resource"))),
        component.iq("set", JULIET, query(item(OTHER, subscription="friend"))),
        gateway.iq("set", JULIET, query(item(OTHER))),
        stranger.iq("set", JULIET, query(item(OTHER))),
        juliet.iq("set", None, query(item(OTHER, subscription="remove"))),
    ]
    assert [answer.get("type") for answer in refused] == ["error"] * len(refused)
    server.lua("break_store('capulet.lit', 'roster')")
    failed = [
        component.iq("set", JULIET, query(item(OTHER))),
        component.iq("set", JULIET, query(item(OTHER), item(CONTACT, subscription="remove"))),
        juliet.iq("set", None, query(item(OTHER))),
        juliet.iq("set", None, query(item(CONTACT, subscription="remove"))),
    ]
    assert [answer.get("type") for answer in failed] == ["error"] * len(failed)
    assert pushes(component) == [] and pushes(gateway) == []
    server.lua("mend_stores()")
    assert component.iq("set", JULIET, query(item(OTHER))).get("type") == "result"
    assert pushed(component, JULIET) == [(OTHER, NONE)]
    assert pushed(gateway, JULIET) == [(OTHER, NONE)]


def test_r7_failed_saves_of_the_servers_own(server, component, stranger):
    """R7: an approval that could not be stored is not pushed."""
    server.put_roster_item(JULIET, CONTACT, **ASKING)
    component.drain()
    server.lua("break_store('capulet.lit', 'roster')")
    stranger.send_presence("subscribed", JULIET, from_=CONTACT)
    stranger.sync()
    assert pushes(component) == []
    # Nor a change of one contact, nor of several at once.
    code = """
        local r = rostermanager.load_roster("juliet", "capulet.lit");
        r[contact].name = "X";
        r["new@stranger.lit"] = { subscription = "none", groups = {} };
        return not not rostermanager.save_roster("juliet", "capulet.lit", r, contact),
            not not rostermanager.save_roster("juliet", "capulet.lit", r);
    """
    assert server.lua(code, contact=CONTACT) == [False, False]
    assert pushes(component) == []


def test_r7_only_who_may_see_the_roster(server):
    """R7, C7: no pushes go to entities with `roster_push = false` or `roster = "set"`, to those outside the scope, nor to
    strangers."""
    told = {}
    entities = {
        domain: server.component(domain)
        for domain in ("pubsub.capulet.lit", "gateway.capulet.lit", "stranger.lit", *MORE_COMPONENTS)
    }
    for entity in entities.values():
        entity.drain()
    for account in (JULIET, NURSE, LADY, ROMEO):
        user, host = account.split("@")
        client = log_in(server, account)
        client_set(client, item(CONTACT))
        for domain, entity in entities.items():
            for found in pushes(entity):
                told.setdefault(domain, []).append(found[0])
    assert told == {
        "pubsub.capulet.lit": [JULIET, NURSE, LADY],
        "gateway.capulet.lit": [JULIET, NURSE],
        "only-juliet.lit": [JULIET],
        "not-juliet.lit": [NURSE],
    }


# The server's own functions


def test_r7_saves_by_contact_and_of_all(server, component):
    """R7: rostermanager.save_roster is pushed for one contact, and for the whole roster with several changes."""
    server.put_roster_item(JULIET, CONTACT, **TO)
    server.put_roster_item(JULIET, OTHER, subscription="both", name="Y", groups=["G"])
    component.drain()
    change = "local r = rostermanager.load_roster('juliet', 'capulet.lit');"
    save = "return not not rostermanager.save_roster('juliet', 'capulet.lit', r, contact)"
    save_all = "return not not rostermanager.save_roster('juliet', 'capulet.lit', r)"

    assert server.lua(change + "r[contact].name = 'X'; " + save, contact=CONTACT) is True
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "to", "name": "X"})]
    assert server.lua(change + save, contact=CONTACT) is True
    assert pushed(component, JULIET) == []
    assert server.lua(change + "r[contact] = nil; " + save, contact=CONTACT) is True
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "remove"})]
    assert server.lua(change + save, contact=CONTACT) is True
    assert pushed(component, JULIET) == []

    several = """
        r["new@stranger.lit"] = { subscription = "none", groups = { A = true } };
        r["y@stranger.lit"].groups.G = nil;
        r["x@stranger.lit"] = { subscription = "from", groups = {} };
    """
    assert server.lua(change + several + save_all) is True
    assert sorted(pushed(component, JULIET), key=str) == [
        ("new@stranger.lit", {"subscription": "none", "groups": ["A"]}),
        (CONTACT, FROM),
        (OTHER, {"subscription": "both", "name": "Y"}),
    ]
    assert server.lua(change + save_all) is True
    assert pushed(component, JULIET) == []
    assert server.lua(change + "r['new@stranger.lit'], r['y@stranger.lit'] = nil, nil;" + save_all) is True
    assert sorted(pushed(component, JULIET), key=str) == [
        ("new@stranger.lit", {"subscription": "remove"}), (OTHER, {"subscription": "remove"})
    ]


def test_r7_every_function_of_the_rostermanager(server, component):
    """R7: each rostermanager call that changes something is pushed once, with the account offline."""
    steps = [
        ("set_contact_pending_out", ASKING),
        ("set_contact_pending_out", None),
        ("process_inbound_subscription_approval", TO),
        ("process_inbound_subscription_approval", None),
        ("set_contact_pending_in", None),
        ("subscribed", BOTH),
        ("unsubscribed", TO),
        ("process_inbound_subscription_cancellation", NONE),
        ("process_outbound_subscription_request", ASKING),
        ("unsubscribe", NONE),
        ("set_contact_pending_in", None),
        ("subscribed", FROM),
        ("process_inbound_unsubscribe", NONE),
        ("set_contact_pending_in", None),
        ("unsubscribed", None),
    ]
    component.drain()
    for function, expected in steps:
        call(server, JULIET, function, CONTACT)
        assert pushed(component, JULIET) == ([] if expected is None else [(CONTACT, expected)]), function


def test_r7_add_to_and_remove_from_roster(server, component):
    """R7: the rostermanager functions that act on a session are pushed."""
    juliet = log_in(server, JULIET)
    component.drain()
    code = "local s = prosody.full_sessions[full]; return (rostermanager[f](s, contact, { subscription = 'to', groups = {} }))"
    assert server.lua(code, full=juliet.jid, f="add_to_roster", contact=CONTACT)
    assert pushed(component, JULIET) == [(CONTACT, TO)]
    assert server.lua(code, full=juliet.jid, f="remove_from_roster", contact=CONTACT)
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "remove"})]


def test_r8_metadata_is_nobodys_business(server, component):
    """R8: changes of the private rows (version, pending requests, other metadata) are not pushed."""
    server.put_roster_item(JULIET, CONTACT, **TO)
    component.drain()
    code = """
        local r = rostermanager.load_roster('juliet', 'capulet.lit');
        r[false].version = (r[false].version or 0) + 10;
        r[false].pending["asks@stranger.lit"] = true;
        r[false].more = "metadata";
        local one = rostermanager.save_roster('juliet', 'capulet.lit', r, contact);
        return not not one, not not rostermanager.save_roster('juliet', 'capulet.lit', r);
    """
    assert server.lua(code, contact=CONTACT) == [True, True]
    assert pushes(component) == []
    # A private field of an item is never visible.
    code = """
        local r = rostermanager.load_roster('juliet', 'capulet.lit');
        r[contact].secret = "nobody's";
        return not not rostermanager.save_roster('juliet', 'capulet.lit', r, contact);
    """
    assert server.lua(code, contact=CONTACT) is True
    assert pushes(component) == []


def test_r8_an_old_rosters_pending_row(server, component):
    """R8: the row "pending" of old rosters, which goes when the roster is loaded, is not pushed."""
    server.lua(
        """
        assert(storagemanager.open("capulet.lit", "roster"):set("juliet", {
            [false] = { version = 7 };
            pending = { ["x@stranger.lit"] = true };
            ["y@stranger.lit"] = { subscription = "both", groups = {} };
        }));
        hosts["capulet.lit"].roster_cache = nil;
        """
    )
    component.drain()
    server.lua("rostermanager.load_roster('juliet', 'capulet.lit')")
    assert pushes(component) == []
    client_set(log_in(server, JULIET), item(OTHER, name="Y"))
    assert pushed(component, JULIET) == [(OTHER, {"subscription": "both", "name": "Y"})]


def test_r7_the_servers_roster_commands(server, component):
    """R7: the roster commands of prosodyctl shell are pushed: subscribe, unsubscribe and those for both sides."""
    if server.version < (13,):
        pytest.skip("Prosody 0.12 has no roster commands")
    component.drain()

    def run(command: str, *arguments: str):
        output = server.shell(f"roster {command} {' '.join(arguments)}")
        assert "OK" in output or "Result" in output or output.strip() == "", output
        return pushes(component)

    assert run("subscribe", JULIET, NURSE) == [(JULIET, NURSE, ASKING), (NURSE, JULIET, FROM), (JULIET, NURSE, TO)]
    assert run("unsubscribe", JULIET, NURSE) == [(JULIET, NURSE, NONE), (NURSE, JULIET, NONE)]
    assert run("subscribe_both", TYBALT, ROMEO) == [(TYBALT, ROMEO, ASKING), (TYBALT, ROMEO, TO), (TYBALT, ROMEO, BOTH)]
    assert run("unsubscribe_both", TYBALT, ROMEO) == [(TYBALT, ROMEO, FROM), (TYBALT, ROMEO, NONE)]


# Accounts that go


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_r7_a_deleted_account(server, component, gateway, stranger, online):
    """R7: where an account is deleted, the removal of each of its items is pushed once, and so is each change of its contacts'
    rosters."""
    server.put_roster_item(JULIET, CONTACT, **BOTH)
    server.put_roster_item(JULIET, OTHER, **NONE)
    server.put_roster_item(JULIET, NURSE, **BOTH)
    server.put_roster_item(JULIET, ROMEO, **BOTH)
    server.put_roster_item(NURSE, JULIET, **BOTH)
    server.put_roster_item(TYBALT, JULIET, **ASKING)
    ask(stranger, JULIET, "pending@stranger.lit")
    if online:
        log_in(server, JULIET)
    else:
        forget_rosters(server)
    entities = (component, gateway)
    for entity in entities:
        entity.drain()
    server.delete_account(JULIET)
    for entity in entities:
        found = pushes(entity)
        mine = sorted(p[1:] for p in found if p[0] == JULIET)
        assert mine == sorted((jid, {"subscription": "remove"}) for jid in (CONTACT, OTHER, NURSE, ROMEO))
        nurses = [p[2] for p in found if p[0] == NURSE]
        assert len(nurses) == 2 and nurses[1] == NONE, nurses
        assert {p[0] for p in found} == {JULIET, NURSE}

    # An account made again under that name starts with nothing, and changes of it are told.
    server.add_account(JULIET)
    assert pushes(component) == []
    client_set(log_in(server, JULIET), item(CONTACT, name="again"))
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "none", "name": "again"})]


def test_r7_a_deleted_contact(server, component):
    """R7: where a contact of a host that grants nothing is deleted, the change of the account's roster is pushed."""
    server.put_roster_item(JULIET, ROMEO, **BOTH)
    server.put_roster_item(ROMEO, JULIET, **BOTH)
    component.drain()
    server.delete_account(ROMEO)
    found = pushed(component, JULIET)
    assert [jid for jid, _ in found] == [ROMEO, ROMEO] and found[1][1] == NONE


def test_r7_an_account_that_deletes_itself(server, component):
    """R7: that holds for an account that deletes itself by in-band registration."""
    if "register" not in (server.lua("local t = {}; for n in pairs(hosts['capulet.lit'].modules) do t[#t + 1] = n end return t")):
        server.load_module("user_account_management")
    server.put_roster_item(JULIET, CONTACT, **BOTH)
    juliet = log_in(server, JULIET)
    component.drain()
    juliet.send_iq("set", None, "<query xmlns='jabber:iq:register'><remove/></query>")
    server.wait_until("return not usermanager.user_exists('juliet', 'capulet.lit')")
    juliet.expect_closed()
    assert pushed(component, JULIET) == [(CONTACT, {"subscription": "remove"})]


# The push itself


def test_r7_what_a_push_says(server, component):
    """R7: a push is an IQ of type set from the account to the entity, with one whole item and the roster's version."""
    juliet = log_in(server, JULIET)
    component.drain()
    name = "Romeo & Juliet <3 \"'\u2603 \U0001f339 e\u0301"
    client_set(juliet, item(CONTACT, "A & B", "<C>", "\u2603", name=name))
    (push,) = [s for s in component.drain() if is_push(s)]
    (hers,) = [s for s in juliet.drain() if is_push(s)]
    assert push.tag == "{jabber:component:accept}iq"
    assert (push.get("from"), push.get("to"), push.get("type")) == (JULIET, component.jid, "set")
    assert len(push) == 1 and len(push[0]) == 1
    expected = {"subscription": "none", "name": name, "groups": ["<C>", "A & B", "\u2603"]}
    assert read_item(push[0][0]) == (CONTACT, expected)
    # The version is the one the account's own client is told, and has now.
    assert push[0].get("ver") == payload(hers).get("ver")
    assert push[0].get("ver") == juliet.iq("get", None, query())[0].get("ver")
    # A push holds only what the account can see, and no empty attributes.
    client_set(juliet, item(CONTACT))
    (push,) = [s for s in component.drain() if is_push(s)]
    assert set(push[0][0].attrib) == {"jid", "subscription"} and len(push[0][0]) == 0


def test_r7_versions_rise_with_every_push(server, component):
    """R7: the version rises with every push, whatever causes it."""
    juliet = log_in(server, JULIET)
    component.drain()
    client_set(juliet, item(CONTACT))
    component.iq("set", JULIET, query(item(CONTACT, name="X")))
    component.iq("set", JULIET, query(item(OTHER), item("z@stranger.lit")))
    call(server, JULIET, "set_contact_pending_out", CONTACT)
    client_set(juliet, item(OTHER, subscription="remove"))
    versions = [int(s[0].get("ver")) for s in component.drain() if is_push(s)]
    assert len(versions) == 6
    assert versions == sorted(versions)
    current = int(juliet.iq("get", None, query())[0].get("ver"))
    assert versions[-1] == current
    # Each change has one of its own, also where several share a save (R11).
    assert len(set(versions)) == 6


@pytest.mark.parametrize("answer", ("result", "error", "result with content", "twice"))
def test_r7_answers_are_consumed(server, component, answer):
    """R7: the entity's answers to a push reach nobody and are not answered."""
    juliet = log_in(server, JULIET)
    component.drain()
    client_set(juliet, item(CONTACT))
    (push,) = [s for s in component.drain() if is_push(s)]
    juliet.drain()
    since = len(server.log())
    content = {
        "error": "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        "result with content": query(item(OTHER)),
    }.get(answer, "")
    for _ in range(2 if answer == "twice" else 1):
        component.send_iq(answer if answer == "error" else "result", JULIET, content, id=push.get("id"))
    component.expect_nothing()
    juliet.expect_nothing()
    for level in ("info", "warn", "error"):
        assert server.log_lines(level, since=since) == []
    assert list(server.roster(JULIET)) == [CONTACT]


def test_r7_only_the_answers_are_consumed(server, component):
    """R7: other IQs of the entity to the account are not consumed."""
    juliet = log_in(server, JULIET)
    answer = component.iq("get", JULIET, "<query xmlns='urn:example:unknown'/>")
    assert error_of(answer)[:2] == ("cancel", "service-unavailable")
    component.send_iq("set", juliet.jid, "<query xmlns='urn:example:unknown'/>", id="to the client")
    assert juliet.expect("iq", id="to the client").get("from") == component.jid


# Coming and going


def test_r7_an_entity_that_comes_and_goes(server, component, gateway):
    """R7: a change that happens while an entity is not connected is not pushed to it, then or later."""
    juliet = log_in(server, JULIET)
    component.drain()
    gateway.drain()
    component.close()
    since = len(server.log())
    client_set(juliet, item(CONTACT))
    assert len(pushed(gateway, JULIET)) == 1
    assert [t for t in server.log_lines("warn", since=since) if "not connected" in t] == []
    back = server.component("pubsub.capulet.lit")
    assert pushes(back) == []
    client_set(juliet, item(OTHER))
    assert pushed(back, JULIET) == [(OTHER, NONE)]
    assert pushed(gateway, JULIET) == [(OTHER, NONE)]
    juliet.drain()
    juliet.expect_nothing()


def test_r7_many_changes_stay_in_order(server, component):
    """R7: many changes are pushed once each, in the order they were made."""
    juliet = log_in(server, JULIET)
    component.drain()
    numbers = range(200)
    for number in numbers:
        juliet.send_iq("set", None, query(item(f"c{number % 7}@stranger.lit", name=str(number))))
    juliet.sync()
    found = pushed(component, JULIET)
    assert [(jid, i["name"]) for jid, i in found] == [(f"c{n % 7}@stranger.lit", str(n)) for n in numbers]


def test_r7_costs_nothing_while_nobody_wants_pushes(server, gateway):
    """R7: while no entity gets pushes, the module does not read the storage for them."""
    count = """
        prosody.spec_reads = 0;
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or type(real) ~= "table" then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                local value = real[key];
                if type(value) ~= "function" then return value; end
                return function (_, ...)
                    if key:match("^get") then prosody.spec_reads = prosody.spec_reads + 1; end
                    return value(real, ...);
                end
            end });
        end, 100);
    """
    save_all = "assert(rostermanager.save_roster('juliet', 'capulet.lit', rostermanager.load_roster('juliet', 'capulet.lit')))"
    juliet = log_in(server, JULIET)
    server.lua(count)
    names = iter("abcdefgh")

    def reads() -> int:
        """How often the storage is read for a change of one item and one of all."""
        server.lua("prosody.spec_reads = 0")
        client_set(juliet, item(CONTACT, name=next(names)))
        server.lua(save_all)
        return server.lua("return prosody.spec_reads")

    with_pushes = reads()
    gateway.close()
    others = [server.component(domain) for domain in ("quiet.lit", "writer.lit", "not-juliet.lit")]
    for entity in others:
        entity.sync()
    without_pushes = reads()
    server.unload_module()
    try:
        without_module = reads()
    finally:
        server.load_module()
    assert without_pushes == without_module < with_pushes
    assert [pushes(entity) for entity in others] == [[], [], []]


def test_r7_two_hosts_push_to_one_entity(server, component):
    """R7: each of two hosts pushes the changes of its own accounts to the entity."""
    server.put_roster_item(JULIET, LADY, **BOTH)
    server.put_roster_item(LADY, JULIET, **BOTH)
    juliet = log_in(server, JULIET)
    component.drain()
    client_set(juliet, item(LADY, subscription="remove"))
    found = pushes(component)
    assert [p for p in found if p[0] == JULIET] == [(JULIET, LADY, {"subscription": "remove"})]
    ladys = [p[1:] for p in found if p[0] == LADY]
    assert len(ladys) == 2 and ladys[1] == (JULIET, NONE) and len(found) == 3


def test_r7_with_the_default_configuration(start_server):
    """R7: `roster = "both"` alone is enough for pushes, whatever else the grant has."""
    server = start_server(privileged_entities=PRIVILEGES)
    component = server.component("pubsub.capulet.lit")
    assert [host for host, _ in advertised(component)] == ["capulet.lit"]
    juliet = server.client(JULIET)
    client_set(juliet, item(CONTACT))
    found = [s for s in component.drain() if local(s) == "iq"]
    assert len(found) == 1 and is_push(found[0])
