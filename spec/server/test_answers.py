"""Answers that cannot be relayed (Q7), the receiver of an answer (Q6), answers about an account that is deleted and about
its own roster (Q3), and accounts whose lookup takes time."""

from __future__ import annotations

import pytest

from harness import IQ_GRANTS, Prosody
from helpers import PING, archive, assert_refused, deep, grants, watcher
from wire import NS, body, error_of, inner_iq, local, message_from, text_of
from words import answer, echo, is_request, messages, privileged_message, send_privileged_iq

PUBSUB, GATEWAY = "pubsub.capulet.lit", "gateway.capulet.lit"
JULIET, NURSE, BOT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
ROMEO, BENVOLIO = "romeo@montague.lit", "benvolio@montague.lit"
CONTACT = "contact@stranger.lit"
REGISTER, ROSTER = "jabber:iq:register", "jabber:iq:roster"

#: Nested as deep as fits into a stanza, and deeper than the server can write.
TOO_DEEP = 74_000

IQS = {**IQ_GRANTS, REGISTER: "both", ROSTER: "both"}
GRANTS = grants(iq={REGISTER: "both", ROSTER: "both"})
GRANTS["capulet.lit"][BOT] = {"roster": "both", "message": "outgoing", "iq": IQS}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(privileged_entities=GRANTS, modules=("register",)) as running:
        yield running


def is_answer(id_: str):
    return lambda s: local(s) == "iq" and s.get("id") == id_ and s.get("type") in ("result", "error")


# Q7

DEEP_ANSWERS = {
    "result": ("result", echo(content=deep(TOO_DEEP))),
    "error": (
        "error",
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        f"<x xmlns='urn:example:why'>{deep(TOO_DEEP)}</x></error>",
    ),
}


@pytest.mark.parametrize("entity", ["component", "bot", "bot without presence"])
@pytest.mark.parametrize("type_, content", DEEP_ANSWERS.values(), ids=DEEP_ANSWERS)
def test_q7_a_deep_answer_from_a_component(server, gateway, entity, type_, content):
    """Q7: an answer that is nested too deeply to be written is answered `wait/internal-server-error`; nothing is left half
    changed, and nothing bounces to a third party."""
    if entity == "component":
        peer = server.component(PUBSUB)
    else:
        peer = server.client(BOT, presence=entity == "bot", smacks=True)
    id_ = send_privileged_iq(peer, "get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    gateway.drain()
    answer(gateway, request, content, type_)
    got = peer.expect(is_answer(id_), timeout=20)
    assert_refused(got, "wait", "internal-server-error", "deep")
    assert got.get("from") == JULIET
    gateway.expect_nothing()
    # No trace is left: the request is answered once, and the next one is answered.
    answer(gateway, request, echo())
    gateway.sync()
    peer.expect_nothing(is_answer(id_))
    id_ = send_privileged_iq(peer, "get", JULIET, echo(), to=GATEWAY)
    answer(gateway, gateway.expect(is_request()), echo(content="again"))
    assert inner_iq(peer.expect(is_answer(id_))).findtext("{urn:example:echo}echo") == "again"


@pytest.mark.parametrize("entity", ["component", "bot"])
def test_q7_where_the_depth_begins_to_be_too_much(server, gateway, entity):
    """Q7: at each depth the entity gets the service's answer or `wait/internal-server-error`."""
    peer = server.component(PUBSUB) if entity == "component" else server.client(BOT, smacks=True)
    kinds = set()
    for levels in (30_000, 40_000, 60_000, *range(71_300, 71_440, 7), 71_500, 72_000):
        id_ = send_privileged_iq(peer, "get", JULIET, echo(), to=GATEWAY)
        answer(gateway, gateway.expect(is_request()), echo(content=deep(levels)))
        got = peer.expect(is_answer(id_), timeout=20)
        kinds.add(got.get("type"))
        assert got.get("type") == "result" or error_of(got)[1] == "internal-server-error", error_of(got)
    assert "error" in kinds
    gateway.expect_nothing(type="error")


SERVICE = """
hook("capulet.lit", "iq-get/host/urn:example:echo:echo", function (event)
    local function nest(stanza)
        stanza:tag("x", { xmlns = "urn:example:deep" });
        for _ = 1, levels do stanza:tag("a"); end
        return stanza:reset();
    end
    local origin, stanza = event.origin, event.stanza;
    if ahead then
        origin.send(nest(st.message({ to = stanza.attr.from, from = "capulet.lit" })));
        origin.send(st.reply(stanza));
    else
        origin.send(nest(st.reply(stanza)));
    end
    return true;
end);
"""


@pytest.mark.parametrize("entity", ["component", "bot"])
@pytest.mark.parametrize("ahead", [False, True], ids=["answer", "ahead of the answer"])
def test_q7_a_deep_answer_of_the_server_itself(server, entity, ahead):
    """Q7: the rule also holds for an immediate answer, and for a message that belongs to the answer and comes before it."""
    server.lua(SERVICE, levels=100_000, ahead=ahead)
    peer = server.component(PUBSUB) if entity == "component" else server.client(BOT, smacks=True)
    id_ = send_privileged_iq(peer, "get", JULIET, echo(), to="capulet.lit")
    assert_refused(peer.expect(is_answer(id_), timeout=20), "wait", "internal-server-error")
    peer.expect_nothing(lambda s: local(s) == "message" and s.get("from") == JULIET)
    peer.expect_nothing(is_answer(id_))
    id_ = send_privileged_iq(peer, "get", JULIET, PING, to="capulet.lit")
    assert peer.expect(is_answer(id_)).get("type") == "result"


@pytest.mark.parametrize("to", ["component", "client", "offline", "nobody", "self"])
@pytest.mark.parametrize("entity", ["component", "host"])
def test_q7_a_deep_message_is_sent_to_nobody_by_halves(server, component, gateway, juliet, romeo, to, entity):
    """Q7, M1: a message that cannot be written is neither archived nor delivered, and the entity gets an error."""
    to = {"component": GATEWAY, "client": romeo.jid, "offline": BENVOLIO, "nobody": "x@montague.lit", "self": JULIET}[to]
    sender = JULIET if entity == "component" else "capulet.lit"
    gateway.sync()
    gateway.drain()
    id_ = component.privileged_message(message_from(sender, to, body("deep") + f"<x xmlns='y'>{deep(TOO_DEEP)}</x>"))
    got = component.expect("message", id=id_, timeout=20)
    assert_refused(got, "wait", "internal-server-error")
    assert messages(gateway) == messages(romeo) == messages(juliet) == []
    assert archive(juliet) == []
    assert messages(server.client(BENVOLIO)) == []


def test_q7_m4_a_deep_delay_is_sent_to_nobody_by_halves(component, gateway, juliet, romeo):
    """Q7, M4: a message whose `<delay>` cannot be written is neither archived nor delivered, and the entity gets an error."""
    delay = f"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'>{deep(TOO_DEEP)}</delay>"
    gateway.sync()
    gateway.drain()
    for to in (GATEWAY, romeo.jid, BENVOLIO):
        id_ = component.privileged_message(delay + message_from(JULIET, to, body("deep")))
        assert_refused(component.expect("message", id=id_, timeout=20), "wait", "internal-server-error")
    assert messages(gateway) == messages(romeo) == messages(juliet) == []
    assert archive(juliet) == []


def test_q4_an_answer_with_very_many_children(component, gateway):
    """Q4: an answer goes back whole, and one with very many children costs no more than its length."""
    count = 100_000
    id_ = send_privileged_iq(component, "get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    gateway.send(
        f"<iq type='result' id='{request.get('id')}' from='{GATEWAY}' to='{JULIET}'>" + "<a/>text &amp; more" + "<a/>" * (count - 1) + "</iq>"
    )
    inner = inner_iq(component.expect(is_answer(id_), timeout=5))
    assert len(inner) == count and inner[0].tail == "text & more"


@pytest.mark.parametrize("levels", [30_000, 50_000, 60_000])
def test_q7_a_deep_message_arrives_or_is_refused(component, romeo, levels):
    """Q7, M1: the server may fail to copy a message at a smaller depth; then nobody gets the message."""
    content = f"<x xmlns='y'>{deep(levels)}</x>"
    id_ = component.privileged_message(message_from(JULIET, romeo.jid, content, type_="headline"))
    component.sync()
    arrived, refused = messages(romeo), [s for s in component.drain() if s.get("id") == id_]
    assert len(arrived) + len(refused) == 1
    for answered in refused:
        assert_refused(answered, "wait", "internal-server-error")


def test_q7_a_deep_request_is_sent_to_nobody(component, gateway, romeo):
    """Q7: an IQ that cannot be written is sent to nobody, and the entity gets an error."""
    gateway.sync()
    gateway.drain()
    for to in (GATEWAY, romeo.jid):
        answered = component.privileged_iq("get", JULIET, echo(content=deep(TOO_DEEP)), to=to, timeout=20)
        assert_refused(answered, "wait", "internal-server-error")
    gateway.expect_nothing()
    romeo.expect_nothing("iq")


# Q6: whom an answer is for


@pytest.mark.parametrize("presence", [False, True])
@pytest.mark.parametrize("how", ["closed", "cut off", "replaced"])
def test_q6_the_next_session_of_a_resource_gets_no_old_answers(server, gateway, presence, how):
    """Q6: nothing is leaked when either side disconnects, an entity's client without presence included."""
    bot = server.client(BOT, resource="same", presence=presence)
    id_ = send_privileged_iq(bot, "get", JULIET, echo(), to=GATEWAY, id="first")
    request = gateway.expect(is_request())
    if how == "closed":
        bot.close()
    elif how == "cut off":
        bot.abort()
        server.wait_until("return not prosody.full_sessions['tybalt@capulet.lit/same']")
    again = server.client(BOT, resource="same", presence=presence)
    answer(gateway, request, echo(content="for somebody else"))
    gateway.sync()
    again.expect_nothing(is_answer(id_))
    id_ = send_privileged_iq(again, "get", JULIET, echo(), to=GATEWAY, id="second")
    answer(gateway, gateway.expect(is_request()), echo(content="mine"))
    assert inner_iq(again.expect(is_answer(id_))).findtext("{urn:example:echo}echo") == "mine"
    gateway.expect_nothing(lambda s: s.get("type") == "error")


@pytest.mark.parametrize("presence", [False, True])
def test_q6_a_resumed_session_gets_its_answers(server, gateway, presence):
    """Q6: a session that is resumed gets the answers to its requests."""
    bot = server.client(BOT, resource="same", presence=presence)
    bot.send(f"<enable xmlns='{NS['sm']}' resume='true'/>")
    token = bot.expect("enabled").get("id")
    bot.sync()
    id_ = send_privileged_iq(bot, "get", JULIET, echo(), to=GATEWAY)
    bot.sync()
    request = gateway.expect(is_request())
    bot.abort()
    server.wait_until("return prosody.full_sessions['tybalt@capulet.lit/same'].hibernating ~= nil")
    answer(gateway, request, echo(content="late"))
    gateway.sync()
    resumed = server.client(BOT, presence=False, roster=False, resume=(token, bot.sm_handled))
    assert inner_iq(resumed.expect(is_answer(id_))).findtext("{urn:example:echo}echo") == "late"


def test_c6_a_revoked_grant_ends_the_requests_of_a_client_without_presence(start_server):
    """C6: a revoked grant stops working immediately, also for the requests in flight of a client without presence."""
    server = start_server(privileged_entities=GRANTS)
    bot, gateway = server.client(BOT, presence=False), server.component(GATEWAY)
    id_ = send_privileged_iq(bot, "get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    server.reconfigure(privileged_entities=grants())
    assert bot.expect(is_answer(id_)).get("type") == "error"
    answer(gateway, request, echo(content="secret"))
    gateway.sync()
    bot.expect_nothing(is_answer(id_))


def test_c6_an_account_that_leaves_the_scope_takes_its_requests_along(start_server):
    """C6, C7: requests in flight for an account that leaves the scope are given up; those for other accounts go on."""
    server = start_server(privileged_entities=GRANTS)
    component, gateway = server.component(PUBSUB), server.component(GATEWAY)
    ids = [component.send_privileged_iq("get", account, echo(), to=GATEWAY) for account in (JULIET, NURSE)]
    requests = [gateway.expect(is_request()) for _ in ids]
    server.reconfigure(privileged_entities=grants(accounts=["nurse"]))
    for request in requests:
        answer(gateway, request, echo(content="x"))
    assert [component.expect(is_answer(id_)).get("type") for id_ in ids] == ["error", "result"]


# Q3, L7: the account goes

REMOVE = f"<query xmlns='{REGISTER}'><remove/></query>"


@pytest.mark.parametrize("entity", ["component", "bot"])
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("to", [None, JULIET, "capulet.lit"])
def test_q3_the_answer_to_a_deletion_is_the_real_one(server, gateway, entity, online, to):
    """Q3, Q4: where the request deletes the account, its own client is told so, and the entity gets the server's answer."""
    peer = server.component(PUBSUB) if entity == "component" else server.client(BOT)
    juliet = server.client(JULIET) if online else None
    waiting = send_privileged_iq(peer, "get", JULIET, echo(), to=GATEWAY)
    gateway.expect(is_request())
    id_ = send_privileged_iq(peer, "set", JULIET, REMOVE, to=to)
    got = peer.expect(is_answer(id_))
    assert got.get("type") == "result", text_of(got)
    assert inner_iq(got).get("type") == "result"
    # The other request in its name is given up.
    assert_refused(peer.expect(is_answer(waiting)), "cancel", "service-unavailable")
    peer.expect_nothing(is_answer(id_))
    assert not server.lua("return (usermanager.user_exists('juliet', 'capulet.lit'))")
    if juliet:
        juliet.expect_closed()
    id_ = send_privileged_iq(peer, "get", JULIET, PING, to="capulet.lit")
    assert_refused(peer.expect(is_answer(id_)), "auth", "forbidden")


def test_q3_a_deletion_that_fails_is_answered_so(server, component):
    """Q3: where the deletion fails, the entity gets that error, and the account still exists."""
    server.lua(
        """
        local users = hosts["capulet.lit"].users;
        prosody.spec_delete_user = users.delete_user;
        users.delete_user = function () return nil, "not today"; end;
        """
    )
    try:
        got = component.privileged_iq("set", JULIET, REMOVE)
        assert error_of(got)[1] == "service-unavailable"
        assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"
    finally:
        server.lua("hosts['capulet.lit'].users.delete_user = prosody.spec_delete_user")


# Q3: the account's own roster


def roster_query(content: str = "") -> str:
    return f"<query xmlns='{ROSTER}'>{content}</query>"


def items(iq) -> dict:
    query = iq.find(f"{{{ROSTER}}}query")
    return {
        i.get("jid"): (i.get("name"), i.get("subscription"), sorted(g.text for g in i)) for i in query
    }


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("to", [None, JULIET])
def test_q3_the_accounts_own_roster(server, component, online, to):
    """Q3: a roster get and set in a wrapper act exactly as if the account had sent them, also while it is offline."""
    juliet = server.client(JULIET) if online else None
    other = server.component(GATEWAY)
    other.sync()
    other.drain()

    def push():
        pushed = [i for i in other.drain() if local(i) == "iq" and i.get("type") == "set"]
        assert len(pushed) == 1, [text_of(i) for i in pushed]
        if juliet:
            own = juliet.expect("iq", type="set")
            assert items(own) == items(pushed[0])
        return items(pushed[0])[CONTACT]

    # A client cannot say that it is subscribed to somebody.
    content = f"<item jid='{CONTACT}' name='Contact' subscription='both'><group>Friends</group></item>"
    got = component.privileged_iq("set", JULIET, roster_query(content), to=to)
    assert got.get("type") == "result" and inner_iq(got).get("type") == "result", text_of(got)
    assert push() == ("Contact", "none", ["Friends"])
    got = component.privileged_iq("get", JULIET, roster_query(), to=to)
    assert items(inner_iq(got)) == {CONTACT: ("Contact", "none", ["Friends"])}
    # The whole of name and groups, as in a client's set.
    got = component.privileged_iq("set", JULIET, roster_query(f"<item jid='{CONTACT}'/>"), to=to)
    assert got.get("type") == "result" and push() == (None, "none", [])
    assert server.roster(JULIET)[CONTACT]["subscription"] == "none"
    got = component.privileged_iq("set", JULIET, roster_query(f"<item jid='{CONTACT}' subscription='remove'/>"), to=to)
    assert got.get("type") == "result" and push() == (None, "remove", [])
    assert server.roster(JULIET) == {}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(
    "content, condition",
    [
        ("", "bad-request"),
        (f"<item jid='{CONTACT}'/><item jid='other@stranger.lit'/>", "bad-request"),
        (f"<item jid='{CONTACT}/x'/>", "bad-request"),
        ("<item/>", "bad-request"),
        (f"<item jid='{JULIET}'/>", "not-allowed"),
        (f"<item jid='{CONTACT}' subscription='remove'/>", "item-not-found"),
    ],
)
def test_q3_a_wrong_set_of_the_own_roster(server, component, online, content, condition):
    """Q3: a wrong roster set in a wrapper is refused as one of the account's own client is."""
    if online:
        server.client(JULIET)
    got = component.privileged_iq("set", JULIET, roster_query(content))
    assert error_of(got)[1] == condition
    assert server.roster(JULIET) == {}


@pytest.mark.parametrize("online", [True, False])
def test_q3_a_set_of_the_own_roster_that_cannot_be_saved(server, component, online):
    """Q3: a roster set in a wrapper that cannot be saved is answered with an error, and nothing has changed."""
    if online:
        server.client(JULIET)
    server.put_roster_item(JULIET, CONTACT, name="before", subscription="both")
    server.lua("break_store('capulet.lit', 'roster')")
    for content in (f"<item jid='{CONTACT}' name='after'/>", "<item jid='other@stranger.lit'/>"):
        got = component.privileged_iq("set", JULIET, roster_query(content))
        assert error_of(got)[:2] == ("wait", "internal-server-error")
    server.lua("mend_stores()")
    got = component.privileged_iq("get", JULIET, roster_query())
    assert items(inner_iq(got)) == {CONTACT: ("before", "both", [])}


def test_r5_a_contact_removed_while_offline_is_told(server, component, stranger):
    """Q3, R5: a removal cancels the subscriptions towards the contact, as the account's own removal does."""
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    stranger.drain()
    got = component.privileged_iq("set", JULIET, roster_query(f"<item jid='{CONTACT}' subscription='remove'/>"))
    assert got.get("type") == "result"
    stranger.sync()
    assert {s.get("type") for s in stranger.drain() if local(s) == "presence"} == {"unsubscribe", "unsubscribed"}


# L7: accounts that take time to be found


@pytest.fixture
def slow(start_server):
    """Its mod_blocklist would ask for the account of every IQ a component sends, and fail outside a runner. No presence
    is granted, for the sake of which accounts would be looked up beforehand."""
    without_presence = grants(presence="none")
    without_presence["capulet.lit"][BOT] = GRANTS["capulet.lit"][BOT]
    return start_server(
        authentication="spec_slow", privileged_entities=without_presence, components=("peer.lit",), accounts=(JULIET, NURSE, BOT, ROMEO),
        without=("blocklist",),
    )


def release(server):
    """Answers the lookups that wait, those that they cause included."""
    server.lua("local held = prosody.spec_slow; prosody.spec_slow = nil; for _, done in ipairs(held) do done(); end")


def waits(server):
    server.wait_until("return prosody.spec_slow[1] ~= nil")


def test_l7_m1_a_bot_waits_for_the_lookup_and_order_is_kept(slow):
    """L7, M1: stanzas leave in the order they came, also where each account has to be looked up first."""
    bot, peer = slow.client(BOT), slow.component("peer.lit")
    for number in range(3):
        account = (JULIET, NURSE)[number % 2]
        privileged_message(bot, message_from(account, "peer.lit", body(f"m{number}")))
        send_privileged_iq(bot, "get", account, echo(content=f"q{number}"), to="peer.lit")
        bot.send_message("peer.lit", body(f"p{number}"))
    bot.sync()
    seen = []
    while len(seen) < 9:
        stanza = peer.receive()
        if local(stanza) != "presence":
            seen.append(stanza[0].text)
    assert seen == [f"{kind}{number}" for number in range(3) for kind in "mqp"]
    # An account that does not exist is refused after the lookup as before.
    id_ = privileged_message(bot, message_from("nobody@capulet.lit", "peer.lit", body("x")))
    assert_refused(bot.expect("message", id=id_), "auth", "forbidden")
    id_ = send_privileged_iq(bot, "get", "nobody@capulet.lit", echo(), to="peer.lit")
    assert_refused(bot.expect(is_answer(id_)), "auth", "forbidden")


def test_l7_a_component_is_told_to_try_again(slow):
    """L7: a component's stanza cannot wait for the lookup of an account. It is refused with "try again", and succeeds the next
    time."""
    component, peer = slow.component(PUBSUB), slow.component("peer.lit")
    slow.lua("prosody.spec_slow = {}")
    id_ = component.privileged_message(message_from(JULIET, "peer.lit", body("one")))
    assert_refused(component.expect("message", id=id_), "wait", "internal-server-error", "again")
    assert_refused(component.privileged_iq("get", NURSE, echo(), to="peer.lit"), "wait", "internal-server-error", "again")
    release(slow)
    component.privileged_message(message_from(JULIET, "peer.lit", body("two")))
    component.send_privileged_iq("get", NURSE, echo(), to="peer.lit")
    assert peer.expect("message").findtext("{*}body") == "two"
    assert peer.expect(is_request()).get("from") == NURSE
    # An account that is online is known.
    slow.client(BOT)
    component.privileged_message(message_from(BOT, "peer.lit", body("three")))
    assert peer.expect("message").findtext("{*}body") == "three"
    # An account that is not there is refused whenever it is asked for.
    for _ in range(2):
        id_ = component.privileged_message(message_from("nobody@capulet.lit", "peer.lit", body("x")))
        assert error_of(component.expect("message", id=id_))[1] in ("internal-server-error", "forbidden")
        component.sync()


def test_l7_a_roster_get(slow):
    """L7: a component's roster get for an account that has to be looked up is refused with "try again"; a bot's waits and is
    answered."""
    bot, component = slow.client(BOT), slow.component(PUBSUB)
    slow.lua("prosody.spec_slow = {}")
    assert_refused(component.iq("get", NURSE, roster_query()), "wait", "internal-server-error", "again")
    release(slow)
    assert component.iq("get", NURSE, roster_query()).get("type") == "result"
    assert bot.iq("get", JULIET, roster_query()).get("type") == "result"
    assert error_of(bot.iq("get", "nobody@capulet.lit", roster_query()))[:2] == ("cancel", "item-not-found")


def test_l7_r11_roster_sets(slow):
    """L7, R11: a bot's roster sets wait for the lookup, keep their order and are saved; a component is told to try again."""
    bot, component = slow.client(BOT), slow.component(PUBSUB)

    def contact(number: int) -> str:
        return f"<query xmlns='jabber:iq:roster'><item jid='c@stranger.lit' name='N{number}'/></query>"

    ids = [bot.send_iq("set", JULIET, contact(number)) for number in range(5)]
    answers = [bot.expect(is_answer(id_)).get("type") for id_ in ids]
    assert answers == ["result"] * 5
    assert slow.roster(JULIET)["c@stranger.lit"]["name"] == "N4"
    # Now the account is known, also to the component.
    assert component.iq("set", JULIET, contact(5)).get("type") == "result"
    assert slow.roster(JULIET)["c@stranger.lit"]["name"] == "N5"
    slow.lua("prosody.spec_slow = {}")
    assert_refused(component.iq("set", NURSE, contact(6)), "wait", "internal-server-error", "again")
    release(slow)
    assert component.iq("set", NURSE, contact(7)).get("type") == "result"
    assert slow.roster(NURSE)["c@stranger.lit"]["name"] == "N7"


def test_p7_a_message_ahead_of_an_answer_for_a_client_that_is_gone(server):
    """P7, Q6: a message that comes before an answer does not bounce to the account, nor wait for the bot's next client, where
    the bot's client is gone."""
    bot, juliet = server.client(BOT, presence=False), watcher(server)
    # The archive answers in pieces; the client goes between the question and the pieces.
    server.lua(
        """
        hook("capulet.lit", "iq-set/self/urn:xmpp:mam:2:query", function (event)
            prosody.full_sessions[jid]:close();
            event.origin.send(st.message({ to = event.stanza.attr.from }):tag("result", { xmlns = "urn:xmpp:mam:2" }):up());
            return true;
        end, 100);
        """,
        jid=bot.jid,
    )
    send_privileged_iq(bot, "set", JULIET, "<query xmlns='urn:xmpp:mam:2'/>")
    bot.expect_closed()
    juliet.expect_nothing(lambda s: s.find(".//{*}error") is not None)
    server.client(BOT).expect_nothing(lambda s: s.find(".//{urn:xmpp:mam:2}result") is not None)


@pytest.mark.parametrize("kind", ["message", "iq", "roster"])
@pytest.mark.parametrize(
    "meanwhile", ["nothing", "reload", "unload", "revoked", "deleted", "bot deleted", "bot gone"]
)
def test_l7_what_was_judged_before_the_lookup_is_judged_again(slow, kind, meanwhile):
    """L7, L1, C6: a stanza that waited for a lookup is judged again, since grant, module or sender may have changed
    meanwhile."""
    bot, peer = slow.client(BOT), slow.component("peer.lit")
    peer.sync()
    peer.drain()
    slow.lua("prosody.spec_slow = {}")
    if kind == "message":
        id_ = privileged_message(bot, message_from(JULIET, "peer.lit", body("sent")))
    elif kind == "roster":
        id_ = bot.send_iq("get", JULIET, roster_query())
    else:
        id_ = send_privileged_iq(bot, "get", JULIET, echo(content="sent"), to="peer.lit")
    waits(slow)
    if meanwhile == "reload":
        slow.reload_module()
    elif meanwhile == "unload":
        slow.unload_module()
    elif meanwhile == "revoked":
        slow.reconfigure(privileged_entities=grants())
    elif meanwhile == "deleted":
        slow.delete_account(JULIET)
    elif meanwhile == "bot deleted":
        slow.delete_account(BOT)
    elif meanwhile == "bot gone":
        bot.abort()
        slow.wait_until("return not hosts['capulet.lit'].sessions.tybalt")
    release(slow)
    if meanwhile not in ("bot deleted", "bot gone"):
        bot.sync()
    peer.sync()
    goes_ahead = meanwhile in ("nothing", "reload")
    if kind != "roster":
        sent = [s for s in peer.drain() if local(s) == kind and s.get("from") == JULIET]
        assert len(sent) == (1 if goes_ahead else 0)
    elif goes_ahead:
        assert bot.expect(is_answer(id_)).get("type") == "result"
    if kind == "iq" and goes_ahead:
        # The request is in flight once: unloading the module gives up each that is.
        slow.unload_module()
        bot.sync()
    if meanwhile in ("unload", "revoked", "deleted") or kind == "iq" and goes_ahead:
        answers = [s for s in bot.drain() if s.get("id") == id_]
        assert [s.get("type") for s in answers] == ["error"], [text_of(s) for s in answers]


def test_l6_a_provider_that_raises(slow):
    """L6, L7: an authentication provider that raises makes the stanza fail closed, and the sender cannot fill the log with
    it."""
    component = slow.component(PUBSUB)
    slow.lua("hosts['capulet.lit'].users.user_exists = function () error('no directory today'); end")
    since = len(slow.log())
    for _ in range(5):
        id_ = component.privileged_message(message_from(JULIET, "peer.lit", body("x")))
        assert error_of(component.expect("message", id=id_))[:2] == ("wait", "internal-server-error")
        got = component.privileged_iq("get", JULIET, echo(), to="peer.lit")
        assert error_of(got)[:2] == ("wait", "internal-server-error")
    lines = [line for line in slow.log_lines("warn", since=since) if "no directory today" in line]
    assert len(lines) == 1


def test_c2_a_slow_lookup_of_an_entity(start_server):
    """C2: an entity that nobody has registered gets a `warn`, however long the lookup takes."""
    server = start_server(
        authentication="spec_slow", privileged_entities={"capulet.lit": {"ghost@montague.lit": {"roster": "get"}, BOT: {"roster": "get"}}},
        accounts=(BOT,), without=("privilege",),
    )
    server.load_module()
    server.wait_until("return hosts['capulet.lit'].modules.privilege.module:get_status() == 'warn'")
    warned = [line for line in server.log_lines("warn") if "does not exist" in line]
    assert len(warned) == 1 and "ghost@montague.lit" in warned[0]
