"""A4, C6 and L1: accounts as entities, permissions that change, and modules, hosts and connections that
come and go in any order."""

from __future__ import annotations

import copy

import pytest

from harness import Prosody
from helpers import PING
from watching import advertised, is_push, pushed, pushes, settle, timers, told
from wire import NS, body, error_of, inner_iq, local, message_from, new_id, text_of
from words import FORBIDDEN, client_set, item, query

JULIET, NURSE, TYBALT, BOT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "bot@capulet.lit"
ROMEO, LADY = "romeo@montague.lit", "lady@mantua.lit"
CONTACT = "x@stranger.lit"
PUBSUB, GATEWAY = "pubsub.capulet.lit", "gateway.capulet.lit"
ECHO = "<x xmlns='urn:example:echo'/>"

IQS = {"urn:xmpp:ping": "get", "urn:example:echo": "both", "jabber:iq:private": "both"}
ALL = {"roster": "both", "message": "outgoing", "presence": "roster", "iq": IQS}
TOLD = {"roster": "both", "message": "outgoing", "presence": "roster", "iq": IQS}
GRANTS = {
    "capulet.lit": {
        PUBSUB: ALL,
        GATEWAY: {"roster": "get", "presence": "managed_entity"},
        BOT: ALL,
        ROMEO: {"roster": "get", "message": "outgoing"},
        "refused@capulet.lit": {},
    },
    "mantua.lit": {
        PUBSUB: {"message": "outgoing"},
        "late.lit": {"roster": "get"},
    },
}
OPTIONS = {
    "privileged_entities": GRANTS,
    "hosts": ("capulet.lit", "montague.lit", "mantua.lit"),
    "accounts": (JULIET, NURSE, TYBALT, BOT, "refused@capulet.lit", ROMEO, LADY),
    "components": ("late.lit",),
}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(**OPTIONS) as running:
        yield running


def without(*accesses: str) -> dict:
    return {access: value for access, value in ALL.items() if access not in accesses}


def send_as(entity, account: str, to: str, text: str, host: str = "capulet.lit") -> str:
    """A privileged message, from a component or a client."""
    wrapper = "<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{}</forwarded></privilege>"
    return entity.send_message(host, wrapper.format(message_from(account, to, body(text))), type_=None)


def iq_as(entity, account: str, content: str, to: str | None = "capulet.lit", type_: str = "get", id: str | None = None) -> str:
    """A privileged IQ, from a component or a client; returns its outer id."""
    target = f" to='{to}'" if to else ""
    inner = f"<iq xmlns='jabber:client' type='{type_}' id='same'{target}>{content}</iq>"
    return entity.send_iq(type_, account, f"<privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq>", id=id)


def answer_to(entity, id_: str):
    return entity.expect(lambda s: local(s) == "iq" and s.get("id") == id_ and s.get("type") in ("result", "error"))


def error_to(entity, id_: str) -> tuple:
    """The error with which a stanza was refused."""
    return error_of(entity.expect(lambda s: s.get("id") == id_ and s.get("type") == "error"))[:2]


def may(server, entity, witness, account: str = JULIET) -> set[str]:
    """Tries out which of message, get, set and iq an entity may use now. Messages go to the client `witness`."""
    host = account.split("@")[1]
    found = set()
    id_ = send_as(entity, account, witness.jid, "may I?", host)
    entity.sync()
    refusals = [s for s in entity.inbox if s.get("id") == id_]
    came = [s for s in witness.drain() if local(s) == "message" and s.get("from") == account]
    assert len(refusals) + len(came) == 1
    if came:
        found.add("message")
    if entity.iq("get", account, query()).get("type") == "result":
        found.add("get")
    if entity.iq("set", account, query(item("may@stranger.lit", name=new_id("name")))).get("type") == "result":
        found.add("set")
    if answer_to(entity, iq_as(entity, account, PING, to=host)).get("type") == "result":
        found.add("iq")
    return found


EVERYTHING = {"message", "get", "set", "iq"}


def hooks(server) -> dict:
    """How many handlers every event of every host and of the server has."""
    return server.lua(
        "local t = { ['*'] = count_hooks('*') }; for host in pairs(hosts) do t[host] = count_hooks(host); end return t"
    )


# A4: accounts as entities


def test_a4_told_on_initial_presence(server):
    """A4: each resource is told once, on its initial presence and not before, at its full JID."""
    first = server.client(BOT, presence=False)
    assert advertised(first) == []
    first.send_presence()
    assert advertised(first) == [("capulet.lit", TOLD)]
    first.send_presence(content="<show>away</show>")
    first.send_presence()
    assert advertised(first) == []
    second = server.client(BOT)
    assert advertised(second) == [("capulet.lit", TOLD)]
    assert advertised(first) == []
    third = server.client(BOT, presence=False)
    third.send_presence(None, ROMEO)
    third.send_presence("unavailable", ROMEO)
    assert advertised(third) == []


def test_a4_who_is_granted_nothing_is_told_nothing(server):
    """A4: accounts that are named nowhere get nothing, and so does the same name on another host. A1: one that is named with
    nothing is told so."""
    server.add_account("bot@mantua.lit")
    for account in (JULIET, "refused@capulet.lit", LADY, "bot@mantua.lit"):
        client = server.client(account)
        assert advertised(client) == ([("capulet.lit", {})] if account == "refused@capulet.lit" else []), account
        assert client.drain() == [], account
        assert may(server, client, server.client(JULIET)) <= ({"get", "set"} if account == JULIET else set())
    server.delete_account("bot@mantua.lit")


def test_a4_an_account_of_another_host(server):
    """A4: an account of another host is told by the granting host, and has that grant and no more."""
    romeo = server.client(ROMEO)
    assert advertised(romeo) == [("capulet.lit", {"roster": "get", "message": "outgoing"})]
    assert may(server, romeo, server.client(NURSE)) == {"message", "get"}
    # On its own host it is an account like any other.
    assert error_of(romeo.iq("get", LADY, query()))[:2] == FORBIDDEN


def test_a4_messages_rosters_and_iqs_from_its_client(server):
    """A4: a client of an account entity can use every permission."""
    bot, juliet, romeo = server.client(BOT), server.client(JULIET, carbons=True), server.client(ROMEO)
    bot.drain(), romeo.drain()
    send_as(bot, JULIET, ROMEO, "Romeo!")
    got = romeo.expect("message")
    assert (got.get("from"), got.findtext("c:body", namespaces=NS)) == (JULIET, "Romeo!")
    assert juliet.expect("message").find("carbons:sent", NS) is not None

    assert bot.iq("set", JULIET, query(item(CONTACT, "G", name="X", subscription="both"))).get("type") == "result"
    answer = bot.iq("get", JULIET, query())
    assert (answer.get("from"), answer.get("to"), len(answer[0])) == (JULIET, bot.jid, 1)
    assert answer[0][0].get("jid") == CONTACT
    assert server.roster(JULIET)[CONTACT]["subscription"] == "both"
    assert error_of(bot.iq("set", JULIET, query(item("a@b.lit/r"))))[0] == "modify"
    assert [s for s in juliet.drain() if is_push(s)] != []

    content = "<query xmlns='jabber:iq:private'><notes xmlns='urn:example:notes'>{}</notes></query>"
    stored = answer_to(bot, iq_as(bot, JULIET, content.format("kept"), to=None, type_="set"))
    assert (stored.get("type"), stored.get("from"), stored.get("to")) == ("result", JULIET, bot.jid)
    assert inner_iq(stored).get("type") == "result"
    assert juliet.iq("get", None, content.format("")).find(".//{urn:example:notes}notes").text == "kept"
    # Its own rights are as they were.
    client_set(bot, item(CONTACT))
    assert list(server.roster(BOT)) == [CONTACT]
    assert bot.iq("get", "capulet.lit", PING).get("type") == "result"
    assert error_of(answer_to(bot, iq_as(bot, JULIET, "<query xmlns='jabber:iq:version'/>")))[:2] == FORBIDDEN


def test_a4_an_answer_that_comes_later(server, stranger):
    """A4, Q5: a late answer goes to the resource that asked, and to no other of the account."""
    bot, other = server.client(BOT), server.client(BOT)
    bot.drain(), other.drain()
    id_ = iq_as(bot, JULIET, ECHO, to=CONTACT)
    asked = stranger.expect("iq", type="get")
    assert asked.get("from") == JULIET
    stranger.send_iq("result", JULIET, ECHO, id=asked.get("id"), from_=CONTACT)
    stranger.sync()
    assert inner_iq(answer_to(bot, id_)).find("{urn:example:echo}x") is not None
    assert [s for s in other.drain() if local(s) == "iq"] == []


def test_a4_presence_and_pushes(server, stranger):
    """A4, P1 to P3, R7: each resource gets presence and pushes at its full JID, those of others and not those of itself."""
    server.put_roster_item(JULIET, ROMEO, subscription="both")
    server.put_roster_item(ROMEO, JULIET, subscription="both")
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    bots = [server.client(BOT), server.client(BOT)]
    settle(server)
    for bot in bots:
        assert sorted(p for p in told(bot) if not p[0].startswith(BOT)) == sorted([(juliet.jid, None), (romeo.jid, None)])
    romeo.send_presence(content="<show>away</show>")
    romeo.sync()
    client_set(juliet, item(CONTACT, name="X"))
    juliet.close()
    for bot in bots:
        stanzas = bot.drain()
        assert [
            (local(s), s.get("from"), s.get("type"), s.get("to")) for s in stanzas if not s.get("from", BOT).startswith(BOT)
        ] == [
            ("presence", romeo.jid, None, bot.jid),
            ("iq", JULIET, "set", bot.jid),
            ("presence", juliet.jid, "unavailable", bot.jid),
        ]
    # One of them answers, and nobody hears of it.
    push = next(s for s in stanzas if is_push(s))
    bot.send_iq("result", JULIET, id=push.get("id"))
    bot.expect_nothing()


def test_a4_its_own_roster(server):
    """A4, R7: the entity's own roster is a roster like any other: its client gets the server's push and the module's."""
    bot = server.client(BOT)
    bot.drain()
    client_set(bot, item(CONTACT, name="X"))
    found = [s for s in bot.drain() if is_push(s)]
    assert 1 <= len(found) <= 2
    assert all(s.get("from") in (None, BOT) for s in found)
    assert list(server.roster(BOT)) == [CONTACT]


def test_a4_stream_management_stays_in_sync(server, stranger):
    """A4: the server has counted each stanza that the client has got."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    bot = server.client(BOT, smacks=True)
    juliet = server.client(JULIET)
    settle(server)
    for number in range(20):
        client_set(juliet, item(CONTACT, name=f"X{number}"))
        juliet.send_presence(content=f"<status>{number}</status>")
        juliet.sync()
        stranger.send_presence(None, JULIET, f"<status>{number}</status>", from_=CONTACT + "/r")
        stranger.sync()
        bot.iq("get", JULIET, query())
        bot.iq("set", JULIET, query(item("y@stranger.lit", name=str(number))))
        bot.iq("set", JULIET, query(item("/")))
        answer_to(bot, iq_as(bot, JULIET, PING))
        send_as(bot, ROMEO, JULIET, "refused")
    bot.drain()
    counted = """
        local queue = prosody.full_sessions[full].outgoing_stanza_queue;
        return queue:count_acked() + queue:count_unacked();
    """
    assert server.lua(counted, full=bot.jid) == bot.sm_handled > 100
    # The server accepts the acknowledgement of as many.
    bot.send(f"<a xmlns='urn:xmpp:sm:3' h='{bot.sm_handled}'/>")
    bot.sync()
    assert not bot.closed


def test_a4_lost_with_its_session(server):
    """A4, P7: nothing more is sent to a resource that has gone, and a new one starts afresh."""
    first, second = server.client(BOT), server.client(BOT)
    juliet = server.client(JULIET)
    settle(server)
    first.close(), second.abort()
    server.wait_until("return not hosts['capulet.lit'].sessions.bot")
    since = len(server.log())
    juliet.drain()
    client_set(juliet, item(CONTACT))
    juliet.send_presence(content="<show>away</show>")
    juliet.sync()
    settle(server)
    assert [s for s in juliet.drain() if s.get("type") == "error"] == []
    for level in ("warn", "error"):
        assert server.log_lines(level, since=since) == []
    back = server.client(BOT)
    settle(server)
    assert advertised(back) == [("capulet.lit", TOLD)]
    assert (juliet.jid, None, "away") in told(back)
    client_set(juliet, item(CONTACT, name="X"))
    assert pushed(back, JULIET) == [(CONTACT, {"subscription": "none", "name": "X"})]


def test_a4_a_resource_that_replaces_another(server):
    """A4: the same resource on a new connection is told anew, and the old connection gets nothing more."""
    old = server.client(BOT, resource="r")
    settle(server)
    old.drain()
    new = server.client(BOT, resource="r")
    settle(server)
    assert advertised(new) == [("capulet.lit", TOLD)]
    juliet = server.client(JULIET)
    assert told(new)[-1:] == [(juliet.jid, None)]
    old.expect_closed()
    assert [s for s in old.inbox if s.get("from") == juliet.jid] == []


def test_a4_an_account_that_is_deleted(server):
    """A4, L7: an account that is made again under the name of a deleted entity is told on its initial presence, as any is."""
    bot, juliet = server.client(BOT), server.client(JULIET)
    settle(server)
    server.delete_account(BOT)
    bot.expect_closed()
    bot.close()
    client_set(juliet, item(CONTACT))
    server.add_account(BOT)
    again = server.client(BOT)
    assert advertised(again) == [("capulet.lit", TOLD)]
    assert may(server, again, juliet) == EVERYTHING


# C6: configuration


@pytest.mark.parametrize("who", ("component", "client"))
@pytest.mark.parametrize(
    ("grant", "left", "said"),
    [
        pytest.param(without("message"), {"get", "set", "iq"}, {"roster", "presence", "iq"}, id="message"),
        pytest.param({**ALL, "roster": "get"}, {"message", "get", "iq"}, {"roster", "message", "presence", "iq"}, id="roster set"),
        pytest.param(without("roster", "presence"), {"message", "iq"}, {"message", "iq"}, id="roster"),
        pytest.param({**ALL, "iq": {"urn:xmpp:ping": "set"}}, {"message", "get", "set"}, set(ALL), id="iq"),
        pytest.param(without("iq"), {"message", "get", "set"}, {"roster", "message", "presence"}, id="all iqs"),
    ],
)
def test_c6_what_is_revoked_stops_with_the_next_stanza(server, regrant, who, grant, left, said):
    """C6: a revoked permission stops working with the next stanza, the new grant is advertised once, and a restored one works
    again."""
    name = PUBSUB if who == "component" else BOT
    entity = server.component(PUBSUB) if who == "component" else server.client(BOT)
    nurse = server.client(NURSE)
    advertised(entity)
    assert may(server, entity, nurse) == EVERYTHING
    regrant(name, grant)
    assert may(server, entity, nurse) == left
    news = advertised(entity)
    assert len(news) == 1 and news[0][0] == "capulet.lit" and set(news[0][1]) == said
    regrant(name, ALL)
    assert may(server, entity, nurse) == EVERYTHING
    assert advertised(entity) == [("capulet.lit", TOLD)]


@pytest.mark.parametrize("how", ("left out", "empty", "none"))
def test_c6_full_revocation_is_told(server, regrant, how):
    """C6: an entity that is named no more is told `none` of everything, once, and gets nothing more."""
    component, gateway, bot = server.component(PUBSUB), server.component(GATEWAY), server.client(BOT)
    nurse, juliet = server.client(NURSE), server.client(JULIET)
    settle(server)
    for entity in (component, gateway, bot):
        entity.drain()
    none = {"left out": None, "empty": {}, "none": {"roster": "none", "message": "none", "presence": "none"}}[how]
    grants = copy.deepcopy(GRANTS)
    for entity in (PUBSUB, GATEWAY, BOT):
        if none is None:
            del grants["capulet.lit"][entity]
        else:
            grants["capulet.lit"][entity] = none
    server.reconfigure(privileged_entities=grants)
    for entity in (component, gateway, bot):
        (message,) = entity.drain()
        assert (local(message), message.get("from"), message.get("to")) == ("message", "capulet.lit", entity.jid)
        (privilege,) = message
        assert privilege.tag == "{urn:xmpp:privilege:2}privilege" and not privilege.attrib
        accesses = {perm.get("access"): perm.get("type") for perm in privilege if perm.get("access") != "iq"}
        assert accesses == {"roster": "none", "message": "none", "presence": "none"}
        assert {namespace.get("type") for perm in privilege for namespace in perm} <= {"none"}
        assert may(server, entity, nurse) == set()
        entity.drain()
    juliet.send_presence(content="<show>away</show>")
    client_set(juliet, item(CONTACT))
    server.reconfigure()
    for entity in (component, gateway, bot):
        entity.expect_nothing()


def test_c6_presence_revoked_and_granted(server, regrant, stranger):
    """C6, P1 to P3: presence stops at once when it is revoked; when it is granted, the current presence is told."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    component, gateway = server.component(PUBSUB), server.component(GATEWAY)
    juliet = server.client(JULIET)
    settle(server)
    component.drain(), gateway.drain()

    def say(status: str):
        juliet.send_presence(content=f"<status>{status}</status>")
        juliet.sync()
        stranger.send_presence(None, JULIET, f"<status>{status}</status>", from_=CONTACT + "/r")
        stranger.sync()

    regrant(PUBSUB, without("presence"))
    say("one")
    assert told(component) == []
    assert told(gateway) == [(juliet.jid, None, None, "one")]
    regrant(PUBSUB, {**ALL, "presence": "managed_entity"})
    settle(server)
    assert told(component) == [(juliet.jid, None, None, "one")]
    say("two")
    assert told(component) == [(juliet.jid, None, None, "two")]
    regrant(PUBSUB, ALL)
    settle(server)
    found = told(component)
    say("three")
    assert told(component) == [(juliet.jid, None, None, "three"), (CONTACT + "/r", None, None, "three")]
    # Presence that the entity knew need not come again, and nothing comes twice.
    assert found in ([], [(juliet.jid, None, None, "two")])


def test_c6_p7_presence_revoked_and_granted_again(server, regrant):
    """C6, P7: a change of presence that happened while presence was revoked is told when it is granted again."""
    component = server.component(PUBSUB)
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    settle(server)
    component.drain()
    regrant(PUBSUB, without("presence"))
    juliet.send_presence(content="<show>away</show>")
    juliet.sync()
    regrant(PUBSUB, ALL)
    settle(server)
    assert (juliet.jid, None, "away") in told(component)
    nurse.close()
    assert told(component) == [(nurse.jid, "unavailable")]


def test_c6_pushes_revoked_and_granted(server, regrant):
    """C6, R7: pushes stop and begin with the next change."""
    component, gateway = server.component(PUBSUB), server.component(GATEWAY)
    juliet = server.client(JULIET)
    settle(server)
    component.drain(), gateway.drain()
    numbers = iter(range(100))

    def change() -> tuple[int, int]:
        client_set(juliet, item(CONTACT, name=str(next(numbers))))
        return len(pushes(component)), len(pushes(gateway))

    assert change() == (1, 1)
    for grant in ({**ALL, "roster_push": False}, {**ALL, "roster": "set", "presence": "none"}, without("roster", "presence"), None):
        regrant(PUBSUB, grant)
        assert change() == (0, 1)
    regrant(PUBSUB, ALL)
    assert change() == (1, 1)
    regrant(GATEWAY, {"roster": "get", "roster_push": False})
    regrant(PUBSUB, {"roster": "get", "roster_push": False})
    assert change() == (0, 0)
    regrant(PUBSUB, {"roster": "get"})
    assert change() == (1, 0)


def test_c6_the_scope_is_narrowed(server, regrant):
    """C6, C7: an account that leaves the scope is out of it with the next stanza."""
    component, nurse = server.component(PUBSUB), server.client(NURSE)
    juliet = server.client(JULIET)
    settle(server)
    component.drain()
    for scope in ({"accounts": ["nurse"]}, {"except": ["juliet"]}, {"accounts": []}):
        regrant(PUBSUB, {**ALL, **scope})
        assert may(server, component, nurse) == set()
        component.drain()
        client_set(juliet, item(CONTACT, name=new_id()))
        juliet.send_presence(content=f"<status>{new_id()}</status>")
        juliet.sync()
        assert pushes(component) == [] and told(component) == []
    regrant(PUBSUB, ALL)
    assert may(server, component, nurse) == EVERYTHING


def test_c6_what_has_not_changed_is_not_repeated(server, regrant):
    """C6: a grant that has not changed is not advertised again, neither by a reload nor when another grant changes."""
    server.put_roster_item(JULIET, ROMEO, subscription="both")
    server.put_roster_item(ROMEO, JULIET, subscription="both")
    entities = [server.component(PUBSUB), server.component(GATEWAY), server.client(BOT)]
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    settle(server)
    for entity in entities:
        entity.drain()
    for _ in range(3):
        server.reconfigure()
    regrant("late.lit", {"message": "outgoing"})
    regrant(ROMEO, {"message": "outgoing"})
    settle(server)
    for entity in entities:
        entity.expect_nothing()
    assert advertised(romeo)[-1:] == [("capulet.lit", {"message": "outgoing"})]
    # One change is delivered once.
    juliet.send_presence(content="<show>away</show>")
    juliet.sync()
    for entity in entities:
        assert told(entity) == [(juliet.jid, None, "away")]


def test_c6_granted_to_those_who_are_there(server, regrant):
    """C6, A3, A4: a component and an account that are connected when they are first granted something are told, and may use
    it."""
    late, tybalt, nurse = server.component("late.lit"), server.client(TYBALT), server.client(NURSE)
    assert advertised(late) == [("mantua.lit", {"roster": "get"})]
    assert may(server, late, nurse) == set() and may(server, tybalt, nurse) == set()
    assert advertised(tybalt) == []
    settle(server)
    late.drain(), tybalt.drain()
    regrant("late.lit", ALL)
    regrant(TYBALT, ALL)
    settle(server)
    for entity in (late, tybalt):
        assert advertised(entity) == [("capulet.lit", TOLD)]
        assert (nurse.jid, None) in told(entity)
        assert may(server, entity, nurse) == EVERYTHING
    juliet = server.client(JULIET)
    for entity in (late, tybalt):
        assert (juliet.jid, None) in told(entity)


def test_c6_a_mistake_in_the_configuration(server, regrant):
    """C6, C2: the permission that a mistake spoils stops, and the rest goes on."""
    component, nurse = server.component(PUBSUB), server.client(NURSE)
    advertised(component)
    server.expect_errors("capulet.lit.*pubsub.capulet.lit.*message")
    regrant(PUBSUB, {**ALL, "message": "outbound"})
    assert may(server, component, nurse) == {"get", "set", "iq"}
    assert [set(perms) for _, perms in advertised(component)] == [{"roster", "presence", "iq"}]


# L1: the module


def test_l1_unload_and_load(server):
    """L1: after an unload with entities connected nothing works; after a load everything does, and each entity is told once."""
    component, gateway, bot = server.component(PUBSUB), server.component(GATEWAY), server.client(BOT)
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    settle(server)
    for entity in (component, gateway, bot):
        entity.drain()
    server.unload_module()
    try:
        juliet.send_presence(content="<show>away</show>")
        client_set(juliet, item(CONTACT))
        juliet.sync()
        for entity in (component, bot):
            assert told(entity) == [] and pushes(entity) == []
            for type_ in ("get", "set"):
                assert entity.iq(type_, JULIET, query(item("y@stranger.lit"))).get("type") == "error"
            send_as(entity, JULIET, nurse.jid, "x")
            assert answer_to(entity, iq_as(entity, JULIET, PING)).get("type") == "error"
            entity.drain()
        gateway.expect_nothing()
        assert [s for s in nurse.drain() if local(s) == "message"] == []
        assert list(server.roster(JULIET)) == [CONTACT]
    finally:
        server.load_module()
    settle(server)
    for entity in (component, bot):
        assert advertised(entity) == [("capulet.lit", TOLD)]
        found = [p for p in told(entity) if not p[0].startswith(BOT)]
        # Changes made meanwhile are told. The rest is known (P4), and may be told again or not.
        assert sorted(found, key=str) in ([(juliet.jid, None, "away")], sorted([(juliet.jid, None, "away"), (nurse.jid, None)], key=str))
        assert may(server, entity, nurse) == EVERYTHING
    assert len(advertised(gateway)) == 1
    for entity in (component, bot):
        entity.drain()
    client_set(juliet, item(CONTACT, name="X"))
    for entity in (component, bot):
        assert pushed(entity, JULIET) == [(CONTACT, {"subscription": "none", "name": "X"})]


def test_l1_requests_in_flight_when_the_module_goes(server, stranger):
    """L1, Q6: an entity with a request in flight is told when the module goes; the answer that comes later reaches nobody."""
    component, juliet = server.component(PUBSUB), server.client(JULIET)
    id_ = iq_as(component, JULIET, ECHO, to=CONTACT)
    asked = stranger.expect("iq", type="get")
    server.unload_module()
    try:
        answer = answer_to(component, id_)
        assert answer.get("type") == "error"
        stranger.send_iq("result", JULIET, ECHO, id=asked.get("id"), from_=CONTACT)
        stranger.sync()
        component.expect_nothing("iq")
    finally:
        server.load_module()
    juliet.expect_nothing("iq", type="get")


def test_l1_a_reload_loses_nothing(server, stranger):
    """L1: over 100 reloads under traffic each request is answered, each message and change is told once, and nothing is
    repeated."""
    component, gateway, bot = server.component(PUBSUB), server.component(GATEWAY), server.client(BOT)
    juliet, nurse, romeo = server.client(JULIET), server.client(NURSE), server.client(ROMEO)
    settle(server)
    for peer in (component, gateway, bot, juliet, nurse, romeo, stranger):
        peer.drain()
    rounds = range(100)
    waiting, expected_presence = [], []
    for number in rounds:
        # Before: a request that will be answered after the reload, which has the same inner id each time.
        for entity in (component, bot):
            id_ = iq_as(entity, JULIET, ECHO, to=CONTACT)
            waiting.append((entity, id_, stranger.expect("iq", type="get").get("id")))
            send_as(entity, JULIET, nurse.jid, f"{entity.jid} {number}")
        client_set(juliet, item(CONTACT, name=str(number)))
        juliet.send_presence(content=f"<status>{number}</status>")
        juliet.sync()
        expected_presence.append((juliet.jid, None, None, str(number)))
        if number % 10:
            # Some wait for more than one reload.
            server.reload_module()
            for entity, id_, inner in waiting:
                stranger.send_iq("result", JULIET, f"<x xmlns='urn:example:echo'>{id_}</x>", id=inner, from_=CONTACT)
            stranger.sync()
            for entity, id_, inner in waiting:
                answer = answer_to(entity, id_)
                assert answer.get("type") == "result", text_of(answer)
                assert inner_iq(answer).findtext("{urn:example:echo}x") == id_
            waiting.clear()
        else:
            server.reload_module()
    settle(server)
    for entity in (component, bot, gateway):
        stanzas = entity.drain()
        kinds = {(local(s), s.get("type")) for s in stanzas}
        assert kinds <= {("presence", None), ("iq", "set")}, kinds
        assert [p for p in (s.findtext("{*}status") for s in stanzas if local(s) == "presence")] == [str(n) for n in rounds]
        assert [s[0][0].get("name") for s in stanzas if is_push(s)] == [str(n) for n in rounds]
    said = [s.findtext("c:body", namespaces=NS) for s in nurse.drain() if local(s) == "message"]
    assert said == [f"{entity.jid} {number}" for number in rounds for entity in (component, bot)]


def test_l1_messages_over_a_hundred_reloads(server):
    """L1: messages that are sent without waiting during 100 reloads arrive once each, in order."""
    component, nurse = server.component(PUBSUB), server.client(NURSE)
    for number in range(100):
        for part in range(3):
            send_as(component, JULIET, nurse.jid, f"{number} {part}")
        server.reload_module()
    component.sync()
    got = [s.findtext("c:body", namespaces=NS) for s in nurse.drain() if local(s) == "message"]
    assert got == [f"{number} {part}" for number in range(100) for part in range(3)]
    assert [s for s in component.drain() if s.get("type") == "error"] == []
    assert [host for host, _ in advertised(component)] == []


def test_l1_a_reload_while_an_entity_is_being_told(server, stranger):
    """L1, P2, P3: the presence that an entity had not been told before a reload, the new instance tells it; nothing comes
    twice."""
    contacts = [f"c{number}@stranger.lit" for number in range(30)]
    for contact in contacts:
        server.put_roster_item(TYBALT, contact, subscription="both")
    server.reconfigure(options={"privilege_probe_rate": 100})
    try:
        juliet = server.client(JULIET)
        component = server.component(PUBSUB)
        stranger.expect("presence", type="probe")
        for _ in range(3):
            server.reload_module()
        settle(server)
        assert told(component) == [(juliet.jid, None)]
        asked = [s.get("to") for s in stranger.drain() if s.get("type") == "probe"]
        assert len(set(asked)) >= len(contacts) - 1
    finally:
        server.reconfigure(options={})


def test_l1_a_reload_with_another_configuration(server):
    """L1, C6: a reload reads the configuration anew, and only entities whose grant changed are told."""
    component, gateway, nurse = server.component(PUBSUB), server.component(GATEWAY), server.client(NURSE)
    settle(server)
    component.drain(), gateway.drain()
    grants = copy.deepcopy(GRANTS)
    grants["capulet.lit"][PUBSUB] = without("message")
    # The file changes and the server reads it; the module is reloaded without having heard of it.
    server.privileged_entities = grants
    server.write_config()
    try:
        server.lua(
            "assert(require 'core.configmanager'.load(prosody.config_file or prosody.paths.config .. '/prosody.cfg.lua'))"
        )
        server.reload_module()
        assert [set(perms) for _, perms in advertised(component)] == [{"roster", "presence", "iq"}]
        assert advertised(gateway) == []
        assert may(server, component, nurse) == {"get", "set", "iq"}
    finally:
        server.reconfigure(privileged_entities=GRANTS)


def use_everything(server):
    """A life of the module in which all that it has is used, and everybody still there at the end."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    stranger = server.component("stranger.lit")
    component, gateway, bot = server.component(PUBSUB), server.component(GATEWAY), server.client(BOT)
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    for entity in (component, bot):
        may(server, entity, nurse)
        iq_as(entity, JULIET, ECHO, to=CONTACT)  # never answered
    stranger.send_presence(None, JULIET, from_=CONTACT + "/r")
    juliet.send_presence(content="<show>away</show>")
    client_set(juliet, item(CONTACT, name="X"))
    for peer in (stranger, component, gateway, bot, juliet, nurse):
        peer.sync()


def test_l1_nothing_is_left_after_an_unload(start_server):
    """L1: after an unload no host and not the server has a handler, a proxy or a timer, and nothing refers to the module."""
    server = start_server(**OPTIONS, without=("privilege",))
    # The server sets some things up by itself when they are first needed.
    use_everything(server)
    server.close_connections()
    server.reset()
    store = "local s = storagemanager.open('capulet.lit', 'roster', kind); return { tostring(s.set), tostring(s.get), tostring(s.set_keys) }"
    before = hooks(server)
    stores = [server.lua(store, kind=kind) for kind in ("keyval", "map")]
    weak = "return setmetatable({ modulemanager.get_module('capulet.lit', 'privilege'), modulemanager.get_module('mantua.lit', 'privilege') }, { __mode = 'v' })"
    for _ in range(2):
        for host in ("capulet.lit", "mantua.lit"):
            server.load_module(host=host)
        use_everything(server)
        assert hooks(server) != before and timers(server) != []
        server.reload_module()
        server.lua("prosody.spec_weak = (function () " + weak + " end)()")
        for host in ("capulet.lit", "mantua.lit"):
            server.unload_module(host=host)
        server.close_connections()
        assert hooks(server) == before
        assert [server.lua(store, kind=kind) for kind in ("keyval", "map")] == stores
        settle(server)
        left = server.lua(
            "for _ = 1, 4 do collectgarbage(); end local n = 0; for _ in pairs(prosody.spec_weak) do n = n + 1; end return n"
        )
        assert left == 0, "the environment of an unloaded module is still referred to"
        server.reset()


def test_l1_reloads_take_no_more_memory(start_server):
    """L1: the hundredth reload leaves no more behind than the tenth."""
    server = start_server(**OPTIONS)
    component = server.component(PUBSUB)
    settle(server)
    component.drain()
    handlers = hooks(server)
    measure = "for _ = 1, 4 do collectgarbage(); end return collectgarbage('count')"
    for _ in range(10):
        server.reload_module()
    settle(server)
    before = server.lua(measure)
    for _ in range(50):
        server.reload_module()
    settle(server)
    grown = server.lua(measure) - before
    assert hooks(server) == handlers
    # KiB. An environment of the module alone is more than ten a time.
    assert grown < 250, grown


# L1: connections and hosts


def test_l1_a_component_replaced_by_a_new_connection(server, stranger):
    """L1, A3, P7: with component_conflict_resolve = "kick_old" the new connection starts afresh, and the old one gets nothing
    more."""
    old = server.component(PUBSUB)
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    settle(server)
    old.drain()
    iq_as(old, JULIET, ECHO, to=CONTACT)
    asked = stranger.expect("iq", type="get")
    new = server.component(PUBSUB)
    settle(server)
    assert sorted(host for host, _ in advertised(new)) == ["capulet.lit", "mantua.lit"]
    assert sorted(told(new)) == sorted([(juliet.jid, None), (nurse.jid, None)])
    juliet.send_presence(content="<show>away</show>")
    client_set(juliet, item(CONTACT))
    stranger.send_iq("result", JULIET, ECHO, id=asked.get("id"), from_=CONTACT)
    stranger.sync()
    stanzas = new.drain()
    assert sorted((local(s), s.get("type") or "") for s in stanzas) == [("iq", "set"), ("presence", "")]
    assert may(server, new, nurse) == EVERYTHING
    old.expect_closed()
    assert [text_of(s) for s in old.inbox if local(s) in ("iq", "message", "presence")] == []


@pytest.mark.parametrize("times", (1, 3))
def test_l1_the_granting_host_goes_and_comes(start_server, times):
    """L1: a host's grants go with it and come with it; the other host's grant stays, and no handler is left over."""
    server = start_server(**OPTIONS)
    component, gateway, late = server.component(PUBSUB), server.component(GATEWAY), server.component("late.lit")
    lady = server.client(LADY)
    settle(server)
    handlers = hooks(server)
    assert sorted(host for host, _ in advertised(component)) == ["capulet.lit", "mantua.lit"]
    gateway.drain(), late.drain()
    for _ in range(times):
        server.lua("assert(require 'core.hostmanager'.deactivate('capulet.lit'))")
        component.ping = gateway.ping = late.ping = "mantua.lit"
        for entity in (component, gateway):
            assert entity.iq("get", JULIET, query()).get("type") == "error"
        assert may(server, component, lady, LADY) == {"message"}
        server.lua("assert(require 'core.hostmanager'.activate('capulet.lit'))")
        settle(server)
        assert advertised(component) == [("capulet.lit", TOLD)]
        assert len(advertised(gateway)) == 1
        assert advertised(late) == []
        juliet, nurse = server.client(JULIET), server.client(NURSE)
        assert may(server, component, nurse) == EVERYTHING
        component.drain()
        client_set(juliet, item(CONTACT, name=new_id()))
        juliet.send_presence(content="<show>away</show>")
        juliet.sync()
        assert sorted(local(s) for s in component.drain()) == ["iq", "presence"]
        juliet.close(), nurse.close()
    after = hooks(server)
    for host in (PUBSUB, GATEWAY, "late.lit", "mantua.lit", "montague.lit"):
        assert after[host] == handlers[host], host
    privilege = {event: n for event, n in after["*"].items() if handlers["*"].get(event) != n}
    assert privilege == {}, privilege


def test_l1_the_component_host_goes_and_comes(start_server):
    """L1: nothing more is sent to a component whose host is removed; on its next connection each granting host tells it
    once."""
    server = start_server(**OPTIONS)
    component, juliet = server.component(PUBSUB), server.client(JULIET)
    settle(server)
    handlers = hooks(server)
    for _ in range(2):
        server.lua("assert(require 'core.hostmanager'.deactivate(h))", h=PUBSUB)
        # The server leaves the connection open, and serves it no more.
        since = len(server.log())
        client_set(juliet, item(CONTACT, name=new_id()))
        juliet.send_presence(content=f"<status>{new_id()}</status>")
        juliet.sync()
        settle(server)
        assert [s for s in juliet.drain() if s.get("type") == "error"] == []
        assert server.log_lines("warn", since=since) == []
        component.abort()
        server.lua("assert(require 'core.hostmanager'.activate(h))", h=PUBSUB)
        component = server.component(PUBSUB)
        settle(server)
        assert sorted(host for host, _ in advertised(component)) == ["capulet.lit", "mantua.lit"]
        assert [p[0] for p in told(component)] == [juliet.jid]
        client_set(juliet, item(CONTACT, name="X"))
        assert len(pushes(component)) == 1
    after = hooks(server)
    assert after[PUBSUB] == handlers[PUBSUB]
    assert after["capulet.lit"] == handlers["capulet.lit"] and after["*"] == handlers["*"]


def test_l1_the_host_of_an_account_that_is_an_entity(server):
    """L1, A4: the host of an account entity goes with its sessions; when it is back, the account is told on its initial
    presence."""
    romeo, juliet = server.client(ROMEO), server.client(JULIET)
    assert len(advertised(romeo)) == 1
    handlers = hooks(server)
    server.lua("assert(require 'core.hostmanager'.deactivate('montague.lit'))")
    romeo.expect_closed()
    romeo.close()
    client_set(juliet, item(CONTACT))
    server.lua("assert(require 'core.hostmanager'.activate('montague.lit'))")
    again = server.client(ROMEO)
    assert advertised(again) == [("capulet.lit", {"roster": "get", "message": "outgoing"})]
    assert may(server, again, server.client(NURSE)) == {"message", "get"}
    assert hooks(server)["montague.lit"] == handlers["montague.lit"]


def test_l1_a_host_enabled_at_run_time(start_server):
    """L1, A3: a granting host that is enabled after an entity connected tells the entity."""
    server = start_server(**OPTIONS)
    component = server.component(PUBSUB)
    assert len(advertised(component)) == 2
    grants = {**GRANTS, "verona.lit": {PUBSUB: ALL, "new.lit": {"message": "outgoing"}}}
    server.reconfigure(
        privileged_entities=grants, hosts=[*server.hosts, "verona.lit"], components=[*server.components, "new.lit"]
    )
    assert advertised(component) == []
    server.lua("assert(require 'core.hostmanager'.activate('verona.lit'))")
    assert advertised(component) == [("verona.lit", TOLD)]
    server.add_account("prince@verona.lit")
    prince = server.client("prince@verona.lit")
    assert may(server, component, prince, "prince@verona.lit") == EVERYTHING
    assert (prince.jid, None) in told(component)
    # And a component whose host comes after the host that grants.
    server.lua("assert(require 'core.hostmanager'.activate('new.lit'))")
    new = server.component("new.lit")
    assert advertised(new) == [("verona.lit", {"message": "outgoing"})]
    assert may(server, new, prince, "prince@verona.lit") == {"message"}


def test_l1_two_hosts_with_different_grants(server, regrant):
    """L1, A1: a grant, a change or an unload on one host changes nothing of the other host's grant."""
    component = server.component(PUBSUB)
    juliet, lady = server.client(JULIET), server.client(LADY)
    assert dict(advertised(component)) == {"capulet.lit": TOLD, "mantua.lit": {"message": "outgoing"}}
    settle(server)
    # Only accounts of the host that grants presence are seen.
    assert told(component) == [(juliet.jid, None)]
    assert may(server, component, lady) == EVERYTHING
    assert may(server, component, juliet, LADY) == {"message"}
    # A message is sent through the host whose account it is.
    component.drain()
    assert error_to(component, send_as(component, LADY, juliet.jid, "x", "capulet.lit")) == FORBIDDEN
    regrant(PUBSUB, {"iq": {"urn:xmpp:ping": "get"}}, host="mantua.lit")
    assert advertised(component) == [("mantua.lit", {"iq": {"urn:xmpp:ping": "get"}})]
    assert may(server, component, lady) == EVERYTHING
    assert may(server, component, juliet, LADY) == {"iq"}
    server.unload_module(host="capulet.lit")
    try:
        assert may(server, component, juliet, LADY) == {"iq"}
        server.reload_module(host="mantua.lit")
        assert may(server, component, juliet, LADY) == {"iq"}
    finally:
        server.load_module(host="capulet.lit")
    component.inbox.clear()
    server.unload_module(host="mantua.lit")
    try:
        assert may(server, component, lady) == EVERYTHING
    finally:
        server.load_module(host="mantua.lit")
    assert may(server, component, juliet, LADY) == {"iq"}


def test_l1_entities_come_and_go_while_the_module_is_reloaded(server):
    """L1: entities come and go during reloads in any order; each that is there at the end has been told once and is served."""
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    for turn in range(12):
        component = server.component(PUBSUB)
        bot = server.client(BOT)
        if turn % 2:
            server.reload_module()
        if turn % 3 == 0:
            server.unload_module()
            server.load_module()
        if turn % 3 == 1:
            component.close()
            server.reload_module()
            component = server.component(PUBSUB)
        if turn % 3 == 2:
            bot.close()
            server.reload_module()
            bot = server.client(BOT)
        settle(server)
        expected = 2 if turn % 3 == 0 else 1
        assert [host for host, _ in advertised(component)].count("capulet.lit") == expected, turn
        assert [host for host, _ in advertised(bot)].count("capulet.lit") == expected, turn
        component.drain(), bot.drain()
        client_set(juliet, item(CONTACT, name=str(turn)))
        juliet.send_presence(content=f"<status>{turn}</status>")
        juliet.sync()
        for entity in (component, bot):
            assert sorted(local(s) for s in entity.drain()) == ["iq", "presence"], turn
        for entity in (component, bot):
            assert entity.iq("get", JULIET, query()).get("type") == "result"
            send_as(entity, JULIET, nurse.jid, f"{turn}")
            entity.sync()
        assert len([s for s in nurse.drain() if local(s) == "message"]) == 2
        component.close(), bot.close()
        juliet.drain()


@pytest.mark.parametrize("host", (PUBSUB, "montague.lit", "*"))
def test_l1_loaded_where_it_has_nothing_to_do(server, host):
    """L1: the module can be loaded, reloaded and unloaded on a component, on a host that grants nothing, and globally."""
    component = server.component(PUBSUB)
    component.drain()
    before = hooks(server)
    loaded = server.lua("return modulemanager.is_loaded(h, 'privilege') == true", h=host)
    if loaded:
        server.unload_module(host=host)
        server.load_module(host=host)
    else:
        server.load_module(host=host)
        server.unload_module(host=host)
    assert hooks(server) == before
    assert advertised(component) == []
