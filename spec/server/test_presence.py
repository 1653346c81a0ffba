"""P1 to P7: the presence that an entity is sent: whose, when, and how often."""

from __future__ import annotations

import time

import pytest

from harness import Prosody
from helpers import block, canonical
from watching import presence_of, settle, told
from wire import local, text_of
from words import connect, friends, item, query, say, waiting

JULIET, NURSE, TYBALT, LADY = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "lady@mantua.lit"
ROMEO, BENVOLIO = "romeo@montague.lit", "benvolio@montague.lit"
CONTACT, OTHER = "x@stranger.lit", "y@stranger.lit"

ROSTER = {"roster": "get", "roster_push": False, "presence": "roster"}

GRANTS = {
    "capulet.lit": {
        "contacts.lit": ROSTER,
        "managed.lit": {"presence": "managed_entity"},
        "only-juliet.lit": {**ROSTER, "accounts": ["juliet"]},
        "not-nurse.lit": {**ROSTER, "except": ["nurse"]},
        "both.lit": ROSTER,
        "silent.lit": {"roster": "get", "roster_push": False, "message": "outgoing"},
    },
    "mantua.lit": {"both.lit": ROSTER},
}
ENTITIES = ("contacts.lit", "managed.lit", "only-juliet.lit", "not-nurse.lit", "both.lit", "silent.lit")


@pytest.fixture(scope="module")
def session_server():
    with Prosody(
        privileged_entities=GRANTS,
        hosts=("capulet.lit", "montague.lit", "mantua.lit"),
        accounts=(JULIET, NURSE, TYBALT, LADY, ROMEO, BENVOLIO),
        components=ENTITIES,
    ) as running:
        yield running


@pytest.fixture
def reconfigure(server):
    """As server.reconfigure, until the end of the test."""
    yield server.reconfigure
    server.reconfigure(options={}, privileged_entities=GRANTS)


def resources(presences: list[tuple]) -> list[tuple]:
    """The presences from a full JID: at a login the server also tells of offline contacts, as bare JIDs."""
    return [presence for presence in presences if "/" in presence[0]]


def told_client(client) -> list[tuple]:
    return [presence_of(s) for s in client.drain() if local(s) == "presence"]


def probes(stranger) -> list[tuple[str, str]]:
    """The probes that have come: (from, to)"""
    found = [s for s in stranger.drain() if local(s) == "presence"]
    assert {s.get("type") for s in found} <= {"probe"}, [text_of(s) for s in found]
    return [(s.get("from"), s.get("to")) for s in found]


def show(value: str) -> str:
    return f"<show>{value}</show>"


def children(stanza) -> list[str]:
    return sorted(canonical(child) for child in stanza if local(child) != "delay")


# P1: broadcasts of accounts


@pytest.mark.parametrize("domain", ("managed.lit", "contacts.lit"))
def test_p1_what_an_account_broadcasts(server, domain):
    """P1: each available and unavailable broadcast of an account's resource goes to the entity, from the full JID."""
    entity = waiting(server, domain)
    juliet = server.client(JULIET)
    assert told(entity) == [(juliet.jid, None)]
    juliet.send_presence(content=show("away") + "<status>gone to church</status>")
    juliet.sync()
    assert told(entity) == [(juliet.jid, None, "away", "gone to church")]
    second = server.client(JULIET)
    assert told(entity) == [(second.jid, None)]
    juliet.send_presence("unavailable", content="<status>good night</status>")
    juliet.sync()
    assert told(entity) == [(juliet.jid, "unavailable", None, "good night")]
    juliet.send_presence()
    juliet.sync()
    assert told(entity) == [(juliet.jid, None)]
    second.close()
    juliet.close()
    assert told(entity) == [(second.jid, "unavailable"), (juliet.jid, "unavailable")]


def test_p1_the_payload_is_intact(server):
    """P1: the entity gets the presence with its whole payload, and each entity at its own address."""
    entities = [waiting(server, domain) for domain in ("managed.lit", "contacts.lit")]
    juliet = server.client(JULIET)
    for entity in entities:
        entity.drain()
    content = (
        "<show>xa</show><status>a &lt; b &amp; \u2603 \"'</status><status xml:lang='it'>  via  </status><priority>-5</priority>"
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v='/>"
        "<x xmlns='urn:example:x' a='&lt;&quot;'><y xmlns='jabber:client'>t</y><z xmlns=''/></x>"
    )
    juliet.send_presence(content=content, id="an id", **{"xml:lang": "en"})
    own = juliet.expect("presence", id="an id")
    for entity in entities:
        (got,) = [s for s in entity.drain() if local(s) == "presence"]
        assert got.tag == "{jabber:component:accept}presence"
        assert (got.get("from"), got.get("to"), got.get("type")) == (juliet.jid, entity.jid, None)
        assert got.get("{http://www.w3.org/XML/1998/namespace}lang") == "en"

        def comparable(stanza):
            # The namespace of a stream is not that of the other.
            return [text.replace("jabber:component:accept", "jabber:client") for text in children(stanza)]

        assert comparable(got) == comparable(own)


@pytest.mark.parametrize("end", ("account deleted", "aborted", "closed by the server", "replaced"))
def test_p1_a_connection_that_ends(server, end):
    """P1: the unavailable presence that the server broadcasts for a lost connection goes to the entity."""
    managed = waiting(server, "managed.lit")
    juliet = server.client(JULIET, resource="balcony")
    managed.drain()
    if end == "account deleted":
        server.delete_account(JULIET)
        juliet.expect_closed()
        juliet.close()
    elif end == "aborted":
        juliet.abort()
    elif end == "closed by the server":
        server.lua("prosody.full_sessions[full]:close()", full=juliet.jid)
        juliet.expect_closed()
        juliet.close()
    else:
        server.client(JULIET, resource="balcony", presence=False)
    gone = managed.expect("presence")
    assert (gone.get("from"), gone.get("type")) == (juliet.jid, "unavailable")
    managed.expect_nothing()


def test_p1_nothing_else(server):
    """P1: subscriptions, probes, errors, presence that the account directed to somebody, and stanzas of other kinds never go to
    the entity."""
    friends(server, JULIET, ROMEO)
    entities = [waiting(server, domain) for domain in ("managed.lit", "contacts.lit")]
    juliet, nurse, benvolio = (server.client(jid) for jid in (JULIET, NURSE, BENVOLIO))
    for entity in entities:
        entity.drain()
    for to in (ROMEO, NURSE, CONTACT, benvolio.jid, nurse.jid, "stranger.lit"):
        for type_ in ("subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"):
            content = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>" if type_ == "error" else ""
            juliet.send_presence(type_, to, content)
        juliet.send_presence(None, to, show("dnd"))
        juliet.send_presence("unavailable", to)
    juliet.send_presence("frobnicate")
    juliet.send_message(ROMEO, "<body>x</body>")
    juliet.sync()
    for entity in entities:
        entity.expect_nothing()
    # The next presence is told.
    juliet.send_presence(content=show("dnd"))
    juliet.sync()
    for entity in entities:
        assert told(entity) == [(juliet.jid, None, "dnd")]


def test_p1_presence_directed_to_the_entity_comes_once(server):
    """P1: presence that an account sends to the entity itself is an ordinary stanza and comes once."""
    managed = waiting(server, "managed.lit")
    juliet = server.client(JULIET)
    managed.drain()
    juliet.send_presence(None, "managed.lit", show("chat"))
    juliet.send_presence(None, "somebody@managed.lit", show("chat"))
    juliet.sync()
    assert [(s.get("to"), s.get("from")) for s in managed.drain()] == [
        ("managed.lit", juliet.jid), ("somebody@managed.lit", juliet.jid)
    ]


def test_p1_presence_to_oneself(server):
    """P1: presence that an account sends to itself is told to the entity exactly as to the contacts, once."""
    friends(server, JULIET, ROMEO)
    managed = waiting(server, "managed.lit")
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    managed.drain(), romeo.drain()
    for to in (JULIET, juliet.jid):
        juliet.send_presence(None, to, show("dnd"))
        juliet.sync()
        assert told(managed) == [p for p in told_client(romeo) if p[0] == juliet.jid]


def test_p1_p3_who_is_granted_nothing_is_told_nothing(server):
    """P1, P3: an entity without a grant of presence, one of another host, and a stranger are sent none."""
    friends(server, JULIET, ROMEO, LADY)
    silent, stranger, managed = (waiting(server, d) for d in ("silent.lit", "stranger.lit", "managed.lit"))
    juliet, romeo, lady = (server.client(jid) for jid in (JULIET, ROMEO, LADY))
    romeo.send_presence(content=show("away"))
    romeo.sync()
    silent.expect_nothing()
    stranger.expect_nothing()
    # Of accounts, not of contacts; and of this host's accounts alone.
    assert told(managed) == [(juliet.jid, None)]


# P2: when an entity connects


@pytest.mark.parametrize("domain", ("managed.lit", "contacts.lit"))
def test_p2_current_presence_of_every_resource(server, domain):
    """P2: on connect the entity gets the current presence of every available resource once, and none of other resources."""
    first, second = server.client(JULIET), server.client(JULIET)
    first.send_presence(content=show("away"))
    first.send_presence(content=show("xa") + "<status>now</status><priority>-1</priority>")
    server.client(NURSE, presence=False)
    gone = server.client(TYBALT)
    gone.send_presence("unavailable")
    server.client(ROMEO)
    for client in (first, gone):
        client.sync()
    entity = connect(server, domain)
    assert sorted(told(entity), key=str) == sorted([(first.jid, None, "xa", "now"), (second.jid, None)], key=str)
    # Afterwards only changes are told.
    second.send_presence()
    second.sync()
    assert told(entity) == []


def test_p2_p4_an_account_that_is_a_contact_too(server):
    """P2, P3, P4: an account that is also another account's contact is told once."""
    friends(server, JULIET, NURSE, TYBALT)
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    contacts = connect(server, "contacts.lit")
    assert sorted(told(contacts)) == sorted([(juliet.jid, None), (nurse.jid, None)])
    nurse.send_presence(content=show("away"))
    nurse.sync()
    assert told(contacts) == [(nurse.jid, None, "away")]
    nurse.close()
    assert told(contacts) == [(nurse.jid, "unavailable")]


# P3: contacts


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p3_a_contact_on_a_host_that_grants_nothing(server, online):
    """P3: a contact on a host that grants nothing is told when it comes, changes and goes, whether the account is online or
    not."""
    friends(server, JULIET, ROMEO)
    contacts = waiting(server, "contacts.lit")
    if online:
        server.client(JULIET)
        contacts.drain()
    romeo = server.client(ROMEO)
    assert told(contacts) == [(romeo.jid, None)]
    romeo.send_presence(content=show("away") + "<status>in Mantua</status>")
    romeo.sync()
    assert told(contacts) == [(romeo.jid, None, "away", "in Mantua")]
    romeo.send_presence("unavailable")
    romeo.sync()
    assert told(contacts) == [(romeo.jid, "unavailable")]
    romeo.send_presence()
    romeo.sync()
    assert told(contacts) == [(romeo.jid, None)]
    romeo.abort()
    assert contacts.expect("presence").get("type") == "unavailable"
    contacts.expect_nothing()


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p3_a_contact_that_lives_on_a_component(server, stranger, online):
    """P3: the presence of a contact on a component is told, from a full JID, a bare JID and the component itself."""
    for contact in (CONTACT, "stranger.lit"):
        server.put_roster_item(JULIET, contact, subscription="to")
    contacts = waiting(server, "contacts.lit")
    juliet = server.client(JULIET) if online else None
    contacts.drain()
    for address in (CONTACT + "/r", CONTACT, "stranger.lit", "stranger.lit/r"):
        say(stranger, JULIET, show("chat"), from_=address)
        assert told(contacts) == [(address, None, "chat")]
        say(stranger, juliet.jid if online else JULIET, type_="unavailable", from_=address)
        assert told(contacts) == [(address, "unavailable")]


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p3_contacts_the_account_is_subscribed_to(server, stranger, online):
    """P3: contacts with subscription `to` or `both` are told; others, pending ones and strangers are not."""
    items = {
        "to@stranger.lit": {"subscription": "to"},
        "both@stranger.lit": {"subscription": "both"},
        "from@stranger.lit": {"subscription": "from"},
        "none@stranger.lit": {"subscription": "none"},
        "asked@stranger.lit": {"subscription": "none", "ask": "subscribe"},
        "from-asked@stranger.lit": {"subscription": "from", "ask": "subscribe"},
    }
    for contact, stored in items.items():
        server.put_roster_item(JULIET, contact, **stored)
    stranger.send_presence("subscribe", JULIET, from_="waiting@stranger.lit")
    stranger.sync()
    contacts = waiting(server, "contacts.lit")
    juliet = server.client(JULIET) if online else None
    contacts.drain()
    for contact in (*items, "waiting@stranger.lit", "nobody@stranger.lit", "to@stranger.lit.example", "stranger.lit"):
        if not contact.endswith(".example"):
            for type_ in (None, "unavailable"):
                say(stranger, JULIET, type_=type_, from_=contact + "/r")
                if juliet:
                    say(stranger, juliet.jid, show("away"), type_=type_, from_=contact + "/r")
    assert {presence[0] for presence in told(contacts)} == {"to@stranger.lit/r", "both@stranger.lit/r"}


def test_p3_strangers_and_former_contacts(server, stranger, romeo):
    """P3, P8: presence of somebody the account is not, or no longer, subscribed to is not told; the last unavailable of a
    former contact is."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")
    juliet = server.client(JULIET)
    romeo.send_presence(None, JULIET, show("chat"))
    romeo.send_presence(None, juliet.jid, show("away"))
    romeo.sync()
    say(stranger, JULIET)
    assert [p for p in told(contacts) if p[0] != juliet.jid] == [(CONTACT + "/r", None)]
    assert juliet.iq("set", None, query(item(CONTACT, subscription="remove"))).get("type") == "result"
    assert told(contacts) == [(CONTACT, "unavailable")]
    say(stranger, JULIET, show("away"))
    say(stranger, juliet.jid, type_="unavailable")
    contacts.expect_nothing()
    # A subscription that the contact has cancelled.
    server.put_roster_item(JULIET, OTHER, subscription="both")
    say(stranger, JULIET, from_=OTHER + "/r")
    assert told(contacts) == [(OTHER + "/r", None)]
    say(stranger, JULIET, type_="unsubscribed", from_=OTHER)
    assert told(contacts) == [(OTHER, "unavailable")]
    say(stranger, JULIET, show("dnd"), from_=OTHER + "/r")
    contacts.expect_nothing()


def test_p3_a_contact_that_is_won(server, component):
    """P3: the presence of a new contact is told from the approval of the subscription on."""
    contacts = waiting(server, "contacts.lit")
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    contacts.drain()
    juliet.send_presence("subscribe", ROMEO)
    juliet.sync()
    contacts.expect_nothing("presence")
    romeo.send_presence("subscribed", JULIET)
    romeo.sync()
    assert told(contacts) == [(romeo.jid, None)]
    romeo.send_presence(content=show("away"))
    romeo.sync()
    assert told(contacts) == [(romeo.jid, None, "away")]
    romeo.send_presence("unsubscribed", JULIET)
    romeo.send_presence(content=show("dnd"))
    romeo.sync()
    assert (romeo.jid, None, "dnd") not in told(contacts)


def test_p3_never_anything_but_available_and_unavailable(server, stranger):
    """P3: subscriptions, probes and errors of contacts never go to the entity."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")
    juliet = server.client(JULIET)
    contacts.drain()
    for to in (JULIET, juliet.jid):
        for type_ in ("probe", "subscribe", "subscribed", "error", "frobnicate"):
            say(stranger, to, type_=type_)
            say(stranger, to, type_=type_, from_=CONTACT)
    contacts.expect_nothing()


def test_p3_accounts_that_do_not_exist(server, stranger):
    """P3, L7: presence that is sent to an unknown account, to a deleted one or to the host is not told."""
    server.put_roster_item(TYBALT, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")
    say(stranger, TYBALT)
    assert told(contacts) == [(CONTACT + "/r", None)]
    # Rosters may outlive their accounts in the storage.
    put = """
        local store = storagemanager.open("capulet.lit", "roster");
        assert(store:set("tybalt", roster));
        assert(store:set("ghost", roster));
        hosts["capulet.lit"].roster_cache = nil;
    """
    outliving = "local roster = storagemanager.open('capulet.lit', 'roster'):get('tybalt'); delete_user('tybalt', 'capulet.lit');"
    server.lua(outliving + put)
    contacts.drain()
    for to in (TYBALT, "ghost@capulet.lit", "ghost@capulet.lit/r", "capulet.lit", "capulet.lit/r"):
        say(stranger, to, show("away"))
        say(stranger, to, type_="unavailable")
    contacts.expect_nothing()
    contacts.close()
    stranger.drain()
    # Nor are their contacts asked for.
    connect(server, "contacts.lit").expect_nothing("presence")
    assert probes(stranger) == []
    server.lua(put.replace("roster)", "nil)"))


def test_p3_contacts_are_asked_for_on_connect(server, stranger):
    """P3: contacts of all accounts, offline ones included, are asked for on connect, each once, in the name of an account that
    may ask."""
    contacts_of = {
        JULIET: ("shared@stranger.lit", "one@stranger.lit"),
        NURSE: ("shared@stranger.lit", "two@stranger.lit"),
        TYBALT: ("shared@stranger.lit", "three@stranger.lit", "stranger.lit"),
    }
    for account, contacts in contacts_of.items():
        for contact in contacts:
            server.put_roster_item(account, contact, subscription="to" if contact.startswith("t") else "both")
        server.put_roster_item(account, "from@stranger.lit", subscription="from")
        server.put_roster_item(account, "asked@stranger.lit", subscription="none", ask="subscribe")
    juliet = server.client(JULIET)
    stranger.drain()
    contacts = connect(server, "contacts.lit")
    asked = probes(stranger)
    assert sorted(to for _, to in asked) == [
        "one@stranger.lit", "shared@stranger.lit", "stranger.lit", "three@stranger.lit", "two@stranger.lit"
    ]
    assert all(to in contacts_of[account] for account, to in asked)
    # The answers are told, once: those that come to every account too.
    assert told(contacts) == [(juliet.jid, None)]
    for account in contacts_of:
        say(stranger, account, show("away"), from_="shared@stranger.lit/r")
    say(stranger, TYBALT, from_="three@stranger.lit/r")
    say(stranger, TYBALT, type_="unavailable", from_="stranger.lit")
    assert told(contacts) == [
        ("shared@stranger.lit/r", None, "away"), ("three@stranger.lit/r", None), ("stranger.lit", "unavailable")
    ]


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p3_contacts_on_this_server_on_connect(server, online):
    """P3: on connect the entity is told each available resource of contacts on this server once, if the contact lets the
    account see it."""
    friends(server, JULIET, ROMEO)
    friends(server, NURSE, ROMEO)
    server.put_roster_item(JULIET, BENVOLIO, subscription="both")  # who knows nothing of it
    server.put_roster_item(BENVOLIO, JULIET, subscription="to")
    first, second = server.client(ROMEO), server.client(ROMEO)
    first.send_presence(content=show("xa"))
    first.sync()
    server.client(BENVOLIO)
    mine = [(server.client(JULIET).jid, None)] if online else []
    contacts = connect(server, "contacts.lit")
    expected = [(first.jid, None, "xa"), (second.jid, None), *mine]
    assert sorted(told(contacts), key=str) == sorted(expected, key=str)


def test_p3_a_contact_that_only_one_account_may_see(server):
    """P3: a contact that refuses the first account is asked in the name of the next."""
    for account in (JULIET, NURSE, TYBALT):
        server.put_roster_item(account, ROMEO, subscription="both")
    server.put_roster_item(ROMEO, TYBALT, subscription="both")
    romeo = server.client(ROMEO)
    contacts = connect(server, "contacts.lit")
    assert told(contacts) == [(romeo.jid, None)]
    # The rosters have not changed.
    assert {a: server.roster(a)[ROMEO]["subscription"] for a in (JULIET, NURSE, TYBALT)} == {
        JULIET: "both", NURSE: "both", TYBALT: "both"
    }


def test_p3_p4_a_contact_on_another_server(start_server):
    """P3, P4: a contact on another server, shared by two accounts, is asked for on connect; its changes and its leaving are
    told once."""
    verona = start_server(s2s=True, privileged_entities={"capulet.lit": {"pubsub.capulet.lit": ROSTER}})
    mantua = start_server(hosts=("mantua.lit",), accounts=("romeo@mantua.lit",), s2s=True, privileged_entities={})
    verona.reconfigure(s2s_targets={"mantua.lit": mantua.s2s_port})
    mantua.reconfigure(s2s_targets={"capulet.lit": verona.s2s_port})
    remote = "romeo@mantua.lit"
    for account in (JULIET, NURSE):
        verona.put_roster_item(account, remote, subscription="both")
        mantua.put_roster_item(remote, account, subscription="both")
    romeo = mantua.client(remote)
    romeo.send_presence(content=show("chat"))
    romeo.sync()
    # When his presence has come to each account, only answers to probes can still be under way.
    watch = verona.client(NURSE)
    while watch.expect("presence", from_=romeo.jid).findtext("{*}show") != "chat":
        pass

    def next_told(entity):
        stanza = entity.expect("presence")
        return stanza.get("from"), stanza.get("type"), stanza.findtext("{*}show")

    def answered(client):
        """All that the other server has sent so far has arrived."""
        client.send_message(romeo.jid, "<body>?</body>")
        romeo.expect("message", from_=client.jid)
        romeo.send_message(client.jid, "<body>!</body>")
        client.expect("message", from_=romeo.jid)

    entity = verona.component("pubsub.capulet.lit")
    assert {next_told(entity), next_told(entity)} == {(watch.jid, None, None), (romeo.jid, None, "chat")}
    settle(verona)
    answered(watch)
    assert told(entity) == []
    romeo.send_presence(content=show("away"))
    answered(watch)
    assert told(entity) == [(romeo.jid, None, "away")]
    watch.close()
    entity.drain()
    romeo.send_presence(content=show("dnd"))
    assert next_told(entity) == (romeo.jid, None, "dnd")
    romeo.close()
    assert next_told(entity) == (romeo.jid, "unavailable", None)
    entity.expect_nothing("presence")


@pytest.mark.parametrize("who", (JULIET, ROMEO), ids=("the account blocks", "the contact blocks"))
@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p3_a_blocked_contact(server, who, online):
    """P3: presence that the account is not shown, because one has blocked the other, is not told to the entity for it."""
    friends(server, JULIET, ROMEO)
    blocker = server.client(who)
    block(blocker, ROMEO if who == JULIET else JULIET)
    blocker.close()
    juliet = server.client(JULIET) if online else None
    romeo = server.client(ROMEO)
    contacts = connect(server, "contacts.lit")
    expected = [(juliet.jid, None)] if online else []
    assert told(contacts) == expected
    romeo.send_presence(content=show("away"))
    romeo.sync()
    assert told(contacts) == []
    if juliet:
        assert [s for s in juliet.drain() if s.get("from") == romeo.jid] == []


def test_p3_a_blocked_contact_is_not_asked(server, stranger):
    """P3: a contact that the account has blocked gets no probe, nor anything else."""
    for contact in (CONTACT, OTHER):
        server.put_roster_item(JULIET, contact, subscription="both")
    juliet = server.client(JULIET)
    block(juliet, CONTACT)
    stranger.drain()
    connect(server, "contacts.lit")
    assert probes(stranger) == [(JULIET, OTHER)]


@pytest.mark.parametrize("name", ("a", "presence"))
def test_p1_p3_deep_payloads(server, stranger, name):
    """P1, P3, L6: presence of any depth is told like any other."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts, managed = waiting(server, "contacts.lit"), waiting(server, "managed.lit")
    juliet = server.client(JULIET)
    contacts.drain(), managed.drain()
    deep = f"<{name}>" * 10_000 + f"</{name}>" * 10_000
    for _ in range(2):
        say(stranger, JULIET, deep)
        juliet.send_presence(content=deep)
        juliet.sync()
    assert told(contacts) == [(CONTACT + "/r", None), (juliet.jid, None)]
    assert told(managed) == [(juliet.jid, None)]


# P4: once


def test_p4_two_accounts_share_a_contact(server):
    """P4: the same presence of a shared contact is delivered once, and a change is delivered."""
    friends(server, JULIET, ROMEO)
    friends(server, NURSE, ROMEO)
    contacts, second = waiting(server, "contacts.lit"), waiting(server, "not-nurse.lit")
    server.client(JULIET), server.client(NURSE)
    contacts.drain(), second.drain()
    romeo = server.client(ROMEO)
    for entity in (contacts, second):
        assert told(entity) == [(romeo.jid, None)]
    romeo.send_presence(content=show("away"))
    romeo.sync()
    for entity in (contacts, second):
        assert told(entity) == [(romeo.jid, None, "away")]
    for id_ in ("one", "two"):
        romeo.send_presence(content=show("away"), id=id_)
    romeo.sync()
    for entity in (contacts, second):
        assert told(entity) == []
    romeo.close()
    for entity in (contacts, second):
        assert told(entity) == [(romeo.jid, "unavailable")]


def test_p4_ten_accounts_share_a_contact(server, stranger):
    """P4: available and unavailable are delivered once each, to whichever account the contact sends them."""
    accounts = [f"account{number}@capulet.lit" for number in range(10)]
    for account in accounts:
        server.add_account(account)
        server.put_roster_item(account, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")

    def say_to_all(content="", type_=None):
        for account in accounts:
            say(stranger, account, content, type_)

    for _ in range(2):
        say_to_all(show("away"))
        assert told(contacts) == [(CONTACT + "/r", None, "away")]
        say_to_all(type_="unavailable")
        assert told(contacts) == [(CONTACT + "/r", "unavailable")]
        say_to_all(type_="unavailable")
        assert told(contacts) == []


def test_p4_what_makes_no_difference(server, stranger):
    """P4: a presence that differs in `id`, `to` or a delay stamp only is the same presence."""
    for account in (JULIET, NURSE):
        server.put_roster_item(account, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")
    juliet = server.client(JULIET)
    contacts.drain()
    content = show("away") + "<status>s</status>"
    say(stranger, JULIET, content)
    assert told(contacts) == [(CONTACT + "/r", None, "away", "s")]
    delay = "<delay xmlns='urn:xmpp:delay' from='stranger.lit' stamp='2026-01-0{}T00:00:00Z'/>"
    for to in (JULIET, NURSE, juliet.jid):
        say(stranger, to, content)
        say(stranger, to, content, id="one")
        say(stranger, to, content, id="two")
        say(stranger, to, content + delay.format(1))
        say(stranger, to, delay.format(2) + content)
    assert told(contacts) == []


def test_p4_what_makes_a_difference(server, stranger):
    """P4: a change of anything else is delivered, also with the same id, and also back again."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts = waiting(server, "contacts.lit")
    variants = [
        "",
        "<priority>0</priority>",
        "<priority>1</priority>",
        show("away"),
        show("away") + "<status>s</status>",
        show("away") + "<status xml:lang='it'>s</status>",
        show("away") + "<status>S</status>",
        show("away") + "<status>s</status><status xml:lang='it'>s</status>",
        show("away") + "<status/>",
        "<x xmlns='urn:example:x'/>",
        "<x xmlns='urn:example:y'/>",
        "<y xmlns='urn:example:y'/>",
        "<x xmlns='urn:example:x' a='1'/>",
        "<x xmlns='urn:example:x' a='2'/>",
        "<x xmlns='urn:example:x' b='2'/>",
        "<x xmlns='urn:example:x'>1</x>",
        "<x xmlns='urn:example:x'><a/></x>",
        "<x xmlns='urn:example:x'><a/><a/></x>",
        "<x xmlns='urn:example:x'><a><a/></a></x>",
        "<x xmlns='urn:example:x'>1<a/></x>",
        "<x xmlns='urn:example:x'><a/>1</x>",
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='1='/>",
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='2='/>",
    ]
    for content in (*variants, *variants):
        say(stranger, JULIET, content, id="the same id")
        assert len(told(contacts)) == 1, content
        say(stranger, JULIET, content, id="the same id")
        assert told(contacts) == [], content


def test_p4_each_resource_for_itself(server, stranger):
    """P4: each resource is remembered for itself; presence of another one in between makes nothing new."""
    for contact in (CONTACT, OTHER):
        for account in (JULIET, NURSE):
            server.put_roster_item(account, contact, subscription="both")
    contacts = waiting(server, "contacts.lit")
    addresses = (CONTACT + "/r", CONTACT + "/R", CONTACT, OTHER + "/r")
    for turn in range(3):
        for account in (JULIET, NURSE):
            for address in addresses:
                say(stranger, account, show("dnd"), from_=address)
        assert told(contacts) == ([] if turn else [(address, None, "dnd") for address in addresses])


def test_p4_many_contacts(server, stranger):
    """P4: of a thousand contacts each is told once, to whichever account it sends presence."""
    server.lua(
        """
        for _, username in ipairs { "juliet", "nurse" } do
            local roster = rostermanager.load_roster(username, "capulet.lit");
            for i = 1, 1000 do
                roster["c"..i.."@stranger.lit"] = { subscription = "both", groups = {} };
            end
            assert(rostermanager.save_roster(username, "capulet.lit", roster));
        end
        """
    )
    contacts = server.component("both.lit")
    for account in (JULIET, NURSE):
        stranger.send(
            "".join(f"<presence from='c{i}@stranger.lit/r' to='{account}'/>" for i in range(1, 1001))
        )
    stranger.sync()
    found = told(contacts)
    assert len(found) == len(set(found)) == 1000
    contacts.close()


# P5


def test_p5_not_what_comes_from_the_entity_itself(server):
    """P5: an entity is not sent presence of its own domain; another entity is."""
    for contact in ("me@contacts.lit", "contacts.lit"):
        server.put_roster_item(JULIET, contact, subscription="both")
    contacts, both = waiting(server, "contacts.lit"), waiting(server, "both.lit")
    juliet = server.client(JULIET)
    contacts.drain(), both.drain()
    for address in ("me@contacts.lit/r", "me@contacts.lit", "contacts.lit"):
        for to in (JULIET, juliet.jid):
            say(contacts, to, show("away"), from_=address)
        assert told(both) == [(address, None, "away")]
        say(contacts, JULIET, type_="unavailable", from_=address)
        assert told(both) == [(address, "unavailable")]
    contacts.expect_nothing()


def directly(peer, from_: str) -> list[tuple]:
    """The presence that a peer has been sent from a JID, since it was last looked at: (type, show)."""
    peer.sync()
    return [
        (s.get("type"), s.findtext("{*}show"))
        for s in peer.drain()
        if local(s) == "presence" and s.get("from") == from_ and s.get("type") != "probe"
    ]


@pytest.mark.parametrize("contact_of", ["account", "contact"])
def test_p5_an_entity_that_is_a_contact_is_told_once(server, contact_of):
    """P5: an entity that is itself a contact of an account is sent each presence once, and not once as a contact and once as
    privileged; an entity that is not a contact is sent it as before."""
    sender = JULIET if contact_of == "account" else ROMEO
    server.put_roster_item(sender, "both.lit", subscription="both")
    friends(server, JULIET, ROMEO)
    both, account = waiting(server, "both.lit"), waiting(server, "contacts.lit")
    client = server.client(sender)
    assert directly(both, client.jid) == [(None, None)]
    for content, expected in ((show("away"), (None, "away")), (show("dnd"), (None, "dnd"))):
        client.send_presence(content=content)
        client.sync()
        assert directly(both, client.jid) == [expected]
    directly(account, client.jid)
    client.close()
    server.wait_until("return not prosody.full_sessions[j]", j=client.jid)
    assert directly(both, client.jid) == [("unavailable", None)]
    assert directly(account, client.jid) == [("unavailable", None)]


# P6: asking within bounds


def test_p6_probe_online_asks_contacts_of_those_online(server, stranger, reconfigure):
    """P6: `privilege_probe = "online"` asks only for contacts of accounts that are online."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    server.put_roster_item(TYBALT, OTHER, subscription="both")
    friends(server, JULIET, ROMEO)
    friends(server, TYBALT, BENVOLIO)
    reconfigure(options={"privilege_probe": "online"})
    juliet, romeo, benvolio = (server.client(jid) for jid in (JULIET, ROMEO, BENVOLIO))
    stranger.drain()
    contacts = connect(server, "contacts.lit")
    assert probes(stranger) == [(JULIET, CONTACT)]
    assert sorted(told(contacts)) == sorted([(juliet.jid, None), (romeo.jid, None)])
    # Presence of contacts of offline accounts is told all the same.
    benvolio.send_presence(content=show("away"))
    benvolio.sync()
    say(stranger, TYBALT, from_=OTHER + "/r")
    assert told(contacts) == [(benvolio.jid, None, "away"), (OTHER + "/r", None)]


def test_p6_probe_none_asks_nobody(server, stranger, reconfigure):
    """P6: `privilege_probe = "none"` asks nobody; accounts (P2) and later presence of contacts (P3) are told."""
    for account in (JULIET, TYBALT):
        server.put_roster_item(account, CONTACT, subscription="both")
    reconfigure(options={"privilege_probe": "none"})
    juliet = server.client(JULIET)
    stranger.drain()
    contacts = connect(server, "contacts.lit")
    assert probes(stranger) == []
    assert told(contacts) == [(juliet.jid, None)]
    say(stranger, TYBALT)
    assert told(contacts) == [(CONTACT + "/r", None)]


@pytest.mark.parametrize("value", ("sometimes", "ALL", True, 7), ids=str)
def test_p6_c2_an_invalid_probe_option(server, stranger, reconfigure, value):
    """P6, C2: an invalid `privilege_probe` is an error that names host, option, value and the values allowed; nobody is
    asked."""
    server.put_roster_item(TYBALT, CONTACT, subscription="both")
    since = len(server.log())
    reconfigure(options={"privilege_probe": value})
    found = [
        line for line in server.log_lines("error", "capulet.lit:privilege", since=since) if "privilege_probe" in line
    ]
    server.expect_errors("privilege_probe")
    assert len(found) == 1, found
    for word in ("capulet.lit", str(value).lower() if value is True else str(value), "all", "online", "none"):
        assert word in found[0], found[0]
    contacts = connect(server, "contacts.lit")
    assert probes(stranger) == []
    say(stranger, TYBALT)
    assert told(contacts) == [(CONTACT + "/r", None)]


def test_p6_the_probe_rate(server, stranger, reconfigure):
    """P6: `privilege_probe_rate` limits the probes of each second."""
    contacts = [f"c{number}@stranger.lit" for number in range(60)]
    for contact in contacts:
        server.put_roster_item(TYBALT, contact, subscription="both")
    reconfigure(options={"privilege_probe_rate": 100})
    began = time.monotonic()
    server.component("contacts.lit")
    asked = []
    while len(asked) < len(contacts):
        asked.append(stranger.expect("presence", type="probe").get("to"))
    took = time.monotonic() - began
    assert sorted(asked) == sorted(contacts)
    # The first may go at once.
    assert 0.4 < took, took
    settle(server)
    stranger.expect_nothing("presence")


def test_p6_p7_asking_stops_when_the_entity_goes(server, stranger, reconfigure):
    """P6, P7: probing stops when the entity goes, and a new connection starts afresh."""
    contacts = [f"c{number}@stranger.lit" for number in range(40)]
    for contact in contacts:
        server.put_roster_item(TYBALT, contact, subscription="both")
    reconfigure(options={"privilege_probe_rate": 50})
    entity = server.component("contacts.lit")
    asked = [stranger.expect("presence", type="probe").get("to") for _ in range(3)]
    entity.close()
    settle(server, timeout=0.5)
    asked += [to for _, to in probes(stranger)]
    assert len(asked) < len(contacts)
    reconfigure(options={"privilege_probe_rate": 1000})
    connect(server, "contacts.lit")
    assert sorted(to for _, to in probes(stranger)) == sorted(contacts)


def test_p6_stanzas_are_handled_while_contacts_are_asked(server, stranger, reconfigure):
    """P6: probing is sliced: other stanzas are handled meanwhile, and changes of presence are told at once."""
    for number in range(40):
        server.put_roster_item(TYBALT, f"c{number}@stranger.lit", subscription="both")
    reconfigure(options={"privilege_probe_rate": 50})
    contacts = server.component("contacts.lit")
    stranger.expect("presence", type="probe")
    juliet = server.client(JULIET)
    assert told(contacts) == [(juliet.jid, None)]
    asked = 1 + len([s for s in stranger.drain() if s.get("type") == "probe"])
    assert asked < 40


def test_p6_no_probe_error_reaches_the_accounts_clients(server, stranger):
    """P6: an error that answers a probe (unreachable server, absent component) reaches neither the account's clients nor the
    entity."""
    contacts = ("x@nowhere.example", "nowhere.example", "x@offline.capulet.lit", "offline.capulet.lit", CONTACT)
    for account in (JULIET, TYBALT):
        for contact in contacts:
            server.put_roster_item(account, contact, subscription="both")
    juliet = server.client(JULIET)
    juliet.drain(), stranger.drain()
    entity = connect(server, "contacts.lit")
    (probe,) = [s for s in stranger.drain() if s.get("type") == "probe"]
    error = "<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    for _ in range(2):
        stranger.send_presence("error", probe.get("from"), error, from_=CONTACT, id=probe.get("id"))
        stranger.sync()
    juliet.expect_nothing()
    assert told(entity) == [(juliet.jid, None)]
    # The module does not handle a stanza that is not an answer to one of its probes.
    stranger.send_presence("error", JULIET, error, from_=CONTACT, id="something else")
    stranger.sync()
    assert juliet.expect("presence", type="error").get("id") == "something else"


def test_p6_accounts_that_have_gone_meanwhile(server, stranger, reconfigure):
    """P6: rosters and accounts may change between two slices."""
    accounts = [f"account{number}" for number in range(10)]
    for account in accounts:
        server.add_account(account + "@capulet.lit")
        for number in range(4):
            server.put_roster_item(account + "@capulet.lit", f"{account}-{number}@stranger.lit", subscription="both")
    reconfigure(options={"privilege_probe_rate": 50})
    server.component("contacts.lit")
    stranger.expect("presence", type="probe")
    server.lua("for _, u in ipairs(list) do usermanager.delete_user(u, 'capulet.lit'); end", list=accounts)
    settle(server)
    # The deleted accounts cancel their subscriptions themselves; afterwards no account is left to ask for.
    came = [s.get("type") for s in stranger.drain()]
    last = max(n for n, type_ in enumerate(came) if type_.startswith("unsubscribe"))
    assert "probe" not in came[last:]


# P7: gone


def test_p7_nothing_after_a_disconnect(server, stranger):
    """P7: after a disconnect nothing more is sent to the entity, so nothing bounces and no line is logged."""
    friends(server, JULIET, ROMEO)
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts, managed = waiting(server, "contacts.lit"), waiting(server, "managed.lit")
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    contacts.close()
    managed.abort()
    server.wait_until("return not hosts['managed.lit'].modules.component.session")
    for client in (juliet, romeo, stranger):
        client.drain()
    since = len(server.log())
    for client in (juliet, romeo):
        client.send_presence(content=show("away"))
        client.sync()
    say(stranger, JULIET, show("away"))
    romeo.close()
    settle(server)
    for client in (juliet, stranger):
        for stanza in client.drain():
            assert local(stanza) == "presence" and stanza.get("type") in (None, "unavailable"), text_of(stanza)
    assert [t for t in server.log_lines(since=since) if "not connected" in t or "bouncing" in t] == []


def test_p4_p7_a_reconnect_starts_afresh(server, stranger):
    """P4, P7: a reconnect is told again all that the connection before was told."""
    friends(server, JULIET, ROMEO)
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    expected = sorted([(juliet.jid, None), (romeo.jid, None)])
    for _ in range(3):
        contacts = connect(server, "contacts.lit")
        assert sorted(told(contacts)) == expected
        say(stranger, JULIET)
        assert told(contacts) == [(CONTACT + "/r", None)]
        contacts.close()


def test_p7_fifty_reconnects(server, stranger):
    """P7: each of fifty reconnects is told everything once; nothing bounces and nothing is logged."""
    friends(server, JULIET, NURSE, ROMEO)
    clients = [server.client(jid) for jid in (JULIET, NURSE, ROMEO)]
    for client in clients:
        client.drain()
    expected = sorted((client.jid, None) for client in clients)
    since = len(server.log())
    for turn in range(50):
        contacts = server.component("contacts.lit")
        got = []
        while len(got) < len(expected):
            stanza = contacts.expect("presence")
            got.append((stanza.get("from"), stanza.get("type")))
        assert sorted(got) == expected, turn
        contacts.expect_nothing("presence")
        if turn % 2:
            contacts.close()
        else:
            contacts.abort()
            server.wait_until("return not hosts['contacts.lit'].modules.component.session")
    contacts = connect(server, "contacts.lit")
    assert sorted(told(contacts)) == expected
    clients[2].send_presence(content=show("away"))
    clients[2].sync()
    assert told(contacts) == [(clients[2].jid, None, "away")]
    for level in ("warn", "error"):
        found = [t for t in server.log_lines(level, since=since) if "Component disconnected" not in t]
        assert found == [], found
    for client in clients:
        assert all(s.get("type") != "error" for s in client.drain())


# C7: whose accounts and contacts


def test_c7_presence_of_accounts_in_scope(server):
    """C7, P1, P2: presence of accounts in the scope is told, of others not, when accounts come and when the entity does."""
    only, but = waiting(server, "only-juliet.lit"), waiting(server, "not-nurse.lit")
    juliet, nurse, tybalt = (server.client(jid) for jid in (JULIET, NURSE, TYBALT))
    assert told(only) == [(juliet.jid, None)]
    assert told(but) == [(juliet.jid, None), (tybalt.jid, None)]
    only.close(), but.close()
    assert told(connect(server, "only-juliet.lit")) == [(juliet.jid, None)]
    assert sorted(told(connect(server, "not-nurse.lit"))) == sorted([(juliet.jid, None), (tybalt.jid, None)])


def test_c7_contacts_of_accounts_in_scope(server, stranger):
    """C7, P3: contacts that only accounts outside the scope have are neither told nor asked for."""
    friends(server, NURSE, ROMEO)
    server.put_roster_item(NURSE, CONTACT, subscription="both")
    server.put_roster_item(JULIET, OTHER, subscription="both")
    romeo = server.client(ROMEO)
    for domain in ("only-juliet.lit", "not-nurse.lit"):
        stranger.drain()
        entity = connect(server, domain)
        assert probes(stranger) == [(JULIET, OTHER)]
        assert told(entity) == []
        romeo.send_presence(content=show("away"))
        romeo.sync()
        say(stranger, NURSE)
        say(stranger, JULIET, show("away"), from_=OTHER + "/r")
        assert told(entity) == [(OTHER + "/r", None, "away")]


@pytest.mark.parametrize("when", ("before", "after"))
def test_c7_an_account_outside_as_a_contact(server, when):
    """C7, P3: with `accounts`, an account outside is told as a contact of one inside; an account in `except` never is."""
    friends(server, JULIET, NURSE, TYBALT)
    if when == "before":
        nurse, tybalt = server.client(NURSE), server.client(TYBALT)
        only, but = connect(server, "only-juliet.lit"), connect(server, "not-nurse.lit")
    else:
        only, but = waiting(server, "only-juliet.lit"), waiting(server, "not-nurse.lit")
        nurse, tybalt = server.client(NURSE), server.client(TYBALT)
    assert sorted(resources(told(only))) == sorted([(nurse.jid, None), (tybalt.jid, None)])
    found = told(but)
    assert resources(found) == [(tybalt.jid, None)]
    assert NURSE not in [presence[0] for presence in found]
    nurse.send_presence(content=show("away"))
    nurse.sync()
    assert told(only) == [(nurse.jid, None, "away")]
    nurse.close()
    assert told(only) == [(nurse.jid, "unavailable")]
    but.expect_nothing()


# Two hosts


def test_p4_two_granting_hosts(server, stranger):
    """P4: a presence that two hosts show is delivered once, be it of a shared contact or of an account that is a contact of the
    other host."""
    friends(server, JULIET, LADY, ROMEO)
    for account in (JULIET, LADY):
        server.put_roster_item(account, CONTACT, subscription="both")
    both = waiting(server, "both.lit")
    juliet, lady, romeo = (server.client(jid) for jid in (JULIET, LADY, ROMEO))
    assert resources(told(both)) == [(juliet.jid, None), (lady.jid, None), (romeo.jid, None)]
    for account in (JULIET, LADY):
        say(stranger, account, show("away"))
    for client in (juliet, romeo):
        client.send_presence(content=show("dnd"))
        client.sync()
    assert told(both) == [(CONTACT + "/r", None, "away"), (juliet.jid, None, "dnd"), (romeo.jid, None, "dnd")]
    both.close()
    both = connect(server, "both.lit")
    assert sorted(told(both), key=str) == sorted(
        [(juliet.jid, None, "dnd"), (lady.jid, None), (romeo.jid, None, "dnd")], key=str
    )
    for client in (romeo, juliet):
        client.close()
    assert told(both) == [(romeo.jid, "unavailable"), (juliet.jid, "unavailable")]
    # Another entity sees of this what one of the hosts grants it.
    contacts = connect(server, "contacts.lit")
    assert told(contacts) == [(lady.jid, None)]


def test_p3_a_roster_that_cannot_be_read_is_not_remembered(server, stranger):
    """P3, R11: a roster that cannot be read at one moment is not remembered as broken; the account's client finds it when it
    logs in."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    contacts = connect(server, "contacts.lit")
    told(contacts)
    server.lua("hosts['capulet.lit'].roster_cache = nil; break_store('capulet.lit', 'roster', true)")
    say(stranger, JULIET, show("away"))
    server.lua("mend_stores()")
    answer = server.client(JULIET).iq("get", None, query())
    assert [found.get("jid") for found in answer[0]] == [CONTACT], text_of(answer)
