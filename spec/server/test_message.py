"""Messages sent as an account (M1 to M7)."""

import asyncio

import pytest
import slixmpp

import slix

from harness import IQ_GRANTS
from helpers import (
    DEEP,
    PAYLOAD,
    SENT_PAYLOAD,
    archive,
    assert_refused,
    block,
    bodies,
    bounce,
    carbon_sent,
    deep,
    depth_of,
    grants,
    is_message_with_body,
    payload_of,
    watcher,
)
from wire import NS, body, error_of, local, message_from

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"


# M1: as if the account had sent it


def test_m1_delivered_copied_and_archived(component, juliet, romeo):
    """M1: the recipient, the account's own client (by a carbon) and both archives have the message."""
    component.privileged_message(message_from(JULIET, ROMEO, body("Romeo!"), id="m1"))
    got = romeo.expect("message", id="m1")
    assert (got.get("from"), got.get("to"), got.get("type")) == (JULIET, ROMEO, "chat")
    assert bodies([got]) == ["Romeo!"]
    copied = carbon_sent(juliet)
    assert (copied.get("from"), copied.get("to"), copied.get("id")) == (JULIET, ROMEO, "m1")
    assert bodies([copied]) == ["Romeo!"]
    (kept,) = archive(juliet)
    assert (kept.get("from"), kept.get("to"), kept.get("id")) == (JULIET, ROMEO, "m1")
    assert bodies(archive(romeo)) == ["Romeo!"]
    component.expect_nothing(lambda s: local(s) == "message" and s.get("type") == "error")
    romeo.expect_nothing("message")
    juliet.expect_nothing("message")


@pytest.mark.parametrize("to", [ROMEO, "full"])
def test_m1_payload_is_intact(component, juliet, romeo, to):
    """M1: payload, xml:lang, id, type and unknown extensions are intact, and so is jabber:client deep in the payload."""
    to = romeo.jid if to == "full" else to
    component.privileged_message(
        f"<message xmlns='jabber:client' from='{JULIET}' to='{to}' type='chat' id='an id &amp; more' "
        f"xml:lang='it'>{PAYLOAD}</message>"
    )
    got = romeo.expect("message", from_=JULIET)
    copied = carbon_sent(juliet)
    (kept,) = archive(juliet)
    for message in (got, copied, kept):
        assert message.get("id") == "an id & more" and message.get("type") == "chat"
        assert message.get("{http://www.w3.org/XML/1998/namespace}lang") == "it"
        assert message.tag == "{jabber:client}message"
        assert payload_of(message) == SENT_PAYLOAD


def test_m1_same_as_the_client_itself_sends(component, juliet, romeo):
    """M1: the message arrives and is archived exactly as if the account's client had sent it, the resource apart."""
    juliet.send_message(ROMEO, PAYLOAD, id="same", **{"xml:lang": "it"})
    own = romeo.expect("message", from_=juliet.jid)
    component.privileged_message(
        f"<message xmlns='jabber:client' from='{JULIET}' to='{ROMEO}' type='chat' id='same' xml:lang='it'>{PAYLOAD}</message>"
    )
    privileged = romeo.expect("message", from_=JULIET)

    def comparable(message):
        attributes = {k: v for k, v in message.attrib.items() if k != "from"}
        return attributes, payload_of(message), len(message)

    assert comparable(privileged) == comparable(own)
    kept = archive(juliet)
    assert len(kept) == 2 and comparable(kept[0]) == comparable(kept[1])


@pytest.mark.parametrize("type_", ["chat", "normal", None, "headline"])
def test_m1_types(component, romeo, type_):
    """M1: a message of any type is sent."""
    component.privileged_message(message_from(JULIET, ROMEO, body("typed"), type_=type_))
    assert romeo.expect("message", from_=JULIET).get("type") == type_


def test_m1_without_a_body(component, juliet, romeo):
    """M1: a message without a body is sent, such as the chat markers of gateways."""
    component.privileged_message(
        message_from(JULIET, ROMEO, "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>", id="marker")
    )
    assert romeo.expect("message", id="marker").find("{urn:xmpp:chat-markers:0}displayed") is not None
    assert carbon_sent(juliet).get("id") == "marker"


@pytest.mark.parametrize("to", [None, JULIET])
def test_m1_to_the_account_itself(component, server, juliet, to):
    """M1: a message to the account itself is a note to self, with `to` absent or the account's bare JID."""
    component.privileged_message(message_from(JULIET, to, body("note to self"), id="self"))
    component.sync()
    got = [m for m in juliet.drain() if m.get("id") == "self"]
    assert len(got) == 1 and bodies(got) == ["note to self"]
    assert "note to self" in bodies(archive(juliet))


def test_m1_to_another_account_of_the_same_host(component, juliet, nurse):
    """M1: a message to another account of the host is delivered, to a bare and to a full JID."""
    component.privileged_message(message_from(JULIET, NURSE, body("bare")))
    component.privileged_message(message_from(JULIET, nurse.jid, body("full")))
    component.sync()
    messages = [s for s in nurse.drain() if local(s) == "message"]
    assert bodies(messages) == ["bare", "full"]
    assert {m.get("from") for m in messages} == {JULIET}


def test_m1_to_a_component(component, gateway, juliet):
    """M1: another component, and the entity itself, get the message as from the account."""
    component.privileged_message(message_from(JULIET, "x@gateway.capulet.lit", body("to a component")))
    got = gateway.expect(is_message_with_body("to a component"))
    assert (got.get("from"), got.get("to")) == (JULIET, "x@gateway.capulet.lit")
    component.privileged_message(message_from(JULIET, "y@pubsub.capulet.lit", body("to the entity")))
    assert component.expect(is_message_with_body("to the entity")).get("from") == JULIET
    assert bodies([carbon_sent(juliet), carbon_sent(juliet)]) == ["to a component", "to the entity"]


def test_m1_account_offline(component, romeo, server):
    """M1: a message of an account that is offline is sent, and its archive has it."""
    component.privileged_message(message_from("tybalt@capulet.lit", ROMEO, body("unseen")))
    assert romeo.expect("message", from_="tybalt@capulet.lit") is not None
    component.sync()
    assert bodies(archive(server.client("tybalt@capulet.lit"))) == ["unseen"]


def test_m1_offline_storage(component, server):
    """M1: a recipient who is offline gets the message when he comes, with the delay noted."""
    component.privileged_message(message_from(JULIET, "benvolio@montague.lit", body("for later"), id="later"))
    component.sync()
    benvolio = server.client("benvolio@montague.lit")
    got = benvolio.expect("message", id="later")
    assert got.get("from") == JULIET and got.find("delay:delay", NS) is not None
    component.expect_nothing("message", type="error")


# M1: bounces are ordinary bounces


@pytest.mark.parametrize(
    ("to", "condition"),
    [
        ("nobody@montague.lit", "service-unavailable"),
        ("nobody@capulet.lit", "service-unavailable"),
        ("x@offline.capulet.lit", "remote-server-timeout"),
        ("offline.capulet.lit", "remote-server-timeout"),
        ("someone@remote.example", "not-allowed"),
    ],
)
def test_m1_an_ordinary_bounce(component, juliet, server, to, condition):
    """M1: a bounce (unknown account, offline component, unreachable server) goes to the account, not to the entity."""
    phone = watcher(server)
    component.privileged_message(message_from(JULIET, to, body("lost"), id="lost"))
    assert carbon_sent(juliet).get("id") == "lost"
    error = bounce(phone)
    assert error.get("from") == to and error.get("id") == "lost"
    assert error_of(error)[1] == condition
    component.expect_nothing("message", type="error")
    component.expect_nothing(lambda s: s.get("id") == "lost")


def test_m1_a_bounce_for_an_offline_account_is_discarded(component, server):
    """M1: a bounce for an account that is offline is discarded, and is never an error in the log."""
    component.privileged_message(message_from("tybalt@capulet.lit", "nobody@montague.lit", body("lost")))
    component.expect_nothing("message", type="error")
    tybalt = server.client("tybalt@capulet.lit")
    tybalt.expect_nothing("message")


def test_m1_bounce_of_a_room_one_is_not_in(component, server):
    """M1: the error with which a room answers goes to the account."""
    juliet = server.client(JULIET, carbons=True)
    nurse = server.client(NURSE)
    nurse.send_presence(to="room@rooms.capulet.lit/nurse", content="<x xmlns='http://jabber.org/protocol/muc'/>")
    nurse.expect("message", from_="room@rooms.capulet.lit")
    component.privileged_message(message_from(JULIET, "room@rooms.capulet.lit", body("hello"), type_="groupchat"))
    component.expect_nothing("message", type="error")
    nurse.expect_nothing(is_message_with_body("hello"))
    juliet.expect_nothing(is_message_with_body("hello"))


def test_m1_the_accounts_blocklist(component, juliet, romeo):
    """M1: a contact the account has blocked gets nothing."""
    block(juliet, ROMEO)
    component.privileged_message(message_from(JULIET, ROMEO, body("blocked"), id="b"))
    component.privileged_message(message_from(JULIET, romeo.jid, body("blocked"), id="b"))
    component.expect_nothing("message", type="error")
    romeo.expect_nothing("message")
    assert not [m for m in archive(juliet) if m.get("type") != "error"]


def test_m1_the_recipients_blocklist(component, juliet, romeo, server):
    """M1: a recipient who has blocked the account gets nothing, and the entity is not told."""
    phone = watcher(server)
    block(romeo, JULIET)
    component.privileged_message(message_from(JULIET, ROMEO, body("blocked"), id="b"))
    if server.version < (13,):
        assert error_of(bounce(phone))[:2] == ("cancel", "service-unavailable")
    # Prosody 13 drops stanzas of a blocked contact.
    component.expect_nothing("message", type="error")
    romeo.expect_nothing("message")


def test_m1_filters_of_other_modules(component, romeo, server):
    """M1: pre-message hooks see the message with the account's session and may stop it."""
    server.lua(
        """
        hook("capulet.lit", "pre-message/bare", function (event)
            local origin = event.origin;
            if event.stanza:get_child_text("body") ~= "stop" then return; end
            seen = { origin.type, origin.username, origin.host, tostring(event.stanza.attr.from), event.stanza.attr.xmlns or "none" };
            prosody.spec_seen = seen;
            return true;
        end, 10);
        """
    )
    component.privileged_message(message_from(JULIET, ROMEO, body("stop")))
    component.sync()
    romeo.expect_nothing("message")
    assert server.lua("return prosody.spec_seen") == ["c2s", "juliet", "capulet.lit", JULIET, "none"]


# M1: order


@pytest.mark.parametrize("target", ["component", "client"])
def test_m1_order_is_kept(component, gateway, romeo, target):
    """M1: privileged messages, privileged IQs and plain stanzas of two accounts leave in the order they came."""
    there = gateway if target == "component" else romeo
    to = "gateway.capulet.lit" if target == "component" else romeo.jid
    gateway.drain()
    count = 40
    for number in range(count):
        account = (JULIET, NURSE)[number % 2]
        component.privileged_message(message_from(account, to, body(str(number)), id=f"m{number}"))
        component.send_privileged_iq("get", account, f"<echo xmlns='urn:example:echo' n='{number}'/>", to=to)
        component.send_message(to, body(str(number)), id=f"p{number}")
    component.sync()
    seen = []
    for stanza in there.drain():
        if local(stanza) == "message":
            seen.append(stanza.get("id"))
        elif local(stanza) == "iq" and stanza.find("{urn:example:echo}echo") is not None:
            seen.append("q" + stanza[0].get("n"))
    assert seen == [f"{kind}{number}" for number in range(count) for kind in "mqp"]


# M2: the inner sender

FORBIDDEN_SENDERS = {
    "resource": "juliet@capulet.lit/balcony",
    "other host of this server": ROMEO,
    "other host itself": "montague.lit",
    "unknown account": "nobody@capulet.lit",
    "another component": "gateway.capulet.lit",
    "account of another component": "x@gateway.capulet.lit",
    "the entity itself": "pubsub.capulet.lit",
    "account of the entity": "x@pubsub.capulet.lit",
    "remote": "someone@remote.example",
    "host with resource": "capulet.lit/balcony",
    "no node": "@capulet.lit",
    "no host": "juliet@",
    "at": "@",
    "empty resource": "juliet@capulet.lit/",
    "empty": "",
    "two hosts": "juliet@capulet.lit@capulet.lit",
    "space": "juliet @capulet.lit",
    "subdomain": "juliet@x.capulet.lit",
    "parent": "juliet@lit",
    "slash in front": "/juliet@capulet.lit",
    "upper case resource": "JULIET@CAPULET.LIT/Balcony",
    "wildcard": "*@capulet.lit",
    "pattern": "julie.@capulet.lit",
    "too long": "j" * 1024 + "@capulet.lit",
    "control character": "juliet\u0080@capulet.lit",
}


@pytest.mark.parametrize("sender", FORBIDDEN_SENDERS.values(), ids=FORBIDDEN_SENDERS)
def test_m2_sender_is_forbidden(component, juliet, romeo, sender):
    """M2: an inner `from` is forbidden unless it is the bare JID of an existing account of the host addressed, or that host."""
    id_ = component.privileged_message(message_from(sender, ROMEO, body("forged")))
    answer = component.expect("message", id=id_)
    assert_refused(answer, "auth", "forbidden", "from|sender|account|address|resource|exist")
    assert (answer.get("from"), answer.get("to")) == ("capulet.lit", "pubsub.capulet.lit")
    romeo.expect_nothing("message")
    juliet.expect_nothing("message")


def test_m2_missing_from(component, juliet, romeo):
    """M2: a missing inner `from` is forbidden."""
    id_ = component.privileged_message(f"<message xmlns='jabber:client' to='{ROMEO}'><body>forged</body></message>")
    assert_refused(component.expect("message", id=id_), "auth", "forbidden", "from")
    romeo.expect_nothing("message")
    juliet.expect_nothing("message")


def test_m2_granted_on_both_hosts_but_sent_through_the_other(start_server):
    """M2: the account must be of the host the message was addressed to, wherever else the entity is granted."""
    both = {host: {"pubsub.capulet.lit": {"message": "outgoing"}} for host in ("capulet.lit", "montague.lit")}
    server = start_server(privileged_entities=both)
    component, nurse = server.component(), server.client(NURSE)
    id_ = component.privileged_message(message_from(ROMEO, NURSE, body("forged")), to="capulet.lit")
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    id_ = component.privileged_message(message_from(JULIET, NURSE, body("forged")), to="montague.lit")
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    component.privileged_message(message_from(ROMEO, NURSE, body("true")), to="montague.lit")
    component.privileged_message(message_from(JULIET, NURSE, body("true")), to="capulet.lit")
    component.sync()
    got = [(m.get("from"), *bodies([m])) for m in nurse.drain() if local(m) == "message"]
    assert got == [(ROMEO, "true"), (JULIET, "true")]


def test_m2_deleted_account(component, romeo, server):
    """M2, L7: an account that was deleted a moment ago is unknown, even if it was used a moment before."""
    component.privileged_message(message_from(NURSE, ROMEO, body("alive")))
    romeo.expect(is_message_with_body("alive"))
    server.delete_account(NURSE)
    id_ = component.privileged_message(message_from(NURSE, ROMEO, body("a ghost")))
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    romeo.expect_nothing("message")


@pytest.mark.parametrize("scope", [{"accounts": ["juliet", "tybalt"]}, {"except": ["nurse"]}], ids=["accounts", "except"])
def test_m2_out_of_scope(start_server, scope):
    """M2, C7: an account outside the grant's scope is refused as an unknown one is."""
    server = start_server(privileged_entities=grants(**scope))
    component, romeo = server.component(), server.client(ROMEO)
    refusals = []
    for sender in (NURSE, "nobody@capulet.lit"):
        id_ = component.privileged_message(message_from(sender, ROMEO, body("forged")))
        answer = component.expect("message", id=id_)
        assert_refused(answer, "auth", "forbidden")
        refusals.append(error_of(answer)[2].replace(sender, "X"))
    if "accounts" in scope:
        assert refusals[0] == refusals[1]
    component.privileged_message(message_from(JULIET, ROMEO, body("in scope")))
    component.sync()
    assert bodies(m for m in romeo.drain() if local(m) == "message") == ["in scope"]


def test_m2_empty_scope_is_nobody(start_server):
    """M2, C7: an empty `accounts` list means nobody; the host itself is not an account."""
    server = start_server(privileged_entities=grants(accounts=[]))
    component, romeo = server.component(), server.client(ROMEO)
    id_ = component.privileged_message(message_from(JULIET, ROMEO, body("forged")))
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    romeo.expect_nothing("message")


# M3: the host itself


@pytest.mark.parametrize("sender", ["capulet.lit", "CAPULET.LIT"])
def test_m3_as_the_host_itself(component, juliet, romeo, server, sender):
    """M3: a message on behalf of the host is routed as the server's own, without the user hooks (no carbons, no archive of a
    sender)."""
    server.lua(
        """
        prosody.spec_count = 0;
        for _, kind in ipairs { "bare", "full", "host" } do
            hook("capulet.lit", "pre-message/"..kind, function () prosody.spec_count = prosody.spec_count + 1; end, 1000);
        end
        """
    )
    component.privileged_message(message_from(sender, ROMEO, body("to all"), id="host"))
    assert romeo.expect("message", id="host").get("from") == "capulet.lit"
    component.privileged_message(message_from(sender, juliet.jid, body("to one"), id="host"))
    assert juliet.expect("message", id="host").get("from") == "capulet.lit"
    component.sync()
    assert server.lua("return prosody.spec_count") == 0
    component.expect_nothing("message", type="error")
    juliet.expect_nothing("message")


@pytest.mark.parametrize("to", ["nobody@capulet.lit", "nobody@montague.lit", "offline.capulet.lit", "x@remote.example"])
def test_m3_bounce_to_the_host(component, to):
    """M3, M1: a bounce to the host itself ends there, without an error in the log."""
    component.privileged_message(message_from("capulet.lit", to, body("lost"), id="lost"))
    component.expect_nothing(lambda s: s.get("id") == "lost")


# M4: exactly one of each


def wrapper(content: str) -> str:
    return f"<privilege xmlns='urn:xmpp:privilege:2'>{content}</privilege>"


def forwarded(content: str) -> str:
    return f"<forwarded xmlns='urn:xmpp:forward:0'>{content}</forwarded>"


GOOD = message_from(JULIET, ROMEO, body("malformed"))
DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z' from='capulet.lit'/>"

MALFORMED = {
    "nothing": (wrapper(""), "forwarded"),
    "only text": (wrapper("text"), "forwarded"),
    "message without forwarded": (wrapper(GOOD), "forwarded"),
    "two forwarded": (wrapper(forwarded(GOOD) * 2), "forwarded"),
    "forwarded of another namespace": (wrapper(f"<forwarded xmlns='urn:example:forward'>{GOOD}</forwarded>"), "forwarded"),
    "forwarded without namespace": (wrapper(f"<forwarded>{GOOD}</forwarded>"), "forwarded"),
    "empty forwarded": (wrapper(forwarded("")), "message"),
    "only a delay": (wrapper(forwarded(DELAY)), "message"),
    "two messages": (wrapper(forwarded(GOOD * 2)), "message"),
    "an iq": (wrapper(forwarded(f"<iq xmlns='jabber:client' from='{JULIET}' type='get' id='x'/>")), "message"),
    "a presence": (wrapper(forwarded(f"<presence xmlns='jabber:client' from='{JULIET}'/>")), "message"),
    "a message and an iq": (wrapper(forwarded(f"{GOOD}<iq xmlns='jabber:client' type='get' id='x'/>")), "message"),
    "message of another namespace": (wrapper(forwarded(GOOD.replace("jabber:client", "urn:example:x"))), "jabber:client|message"),
    "empty namespace": (wrapper(forwarded(GOOD.replace("jabber:client", ""))), "jabber:client|message"),
    "perm instead": (wrapper("<perm access='message' type='outgoing'/>"), "forwarded"),
}


@pytest.mark.parametrize(("content", "text"), MALFORMED.values(), ids=MALFORMED)
def test_m4_malformed(component, juliet, romeo, content, text):
    """M4: anything but one `<forwarded>` with one `<message>` is `modify/bad-request`, with a text that says what is wrong."""
    id_ = component.send_message("capulet.lit", content, type_=None)
    assert_refused(component.expect("message", id=id_), "modify", "bad-request", text)
    romeo.expect_nothing("message")
    juliet.expect_nothing("message")


@pytest.mark.parametrize("order", ["before", "after"])
def test_m4_delay_goes_into_the_message(component, romeo, order):
    """M4: a `<delay>` before or after the message is allowed, and goes into the message."""
    content = DELAY + GOOD if order == "before" else GOOD + DELAY
    component.send_message("capulet.lit", wrapper(forwarded(content)), type_=None)
    got = romeo.expect(is_message_with_body("malformed"))
    assert got.get("from") == JULIET
    assert [child.get("stamp") for child in got.findall("delay:delay", NS)] == ["2026-01-01T00:00:00Z"]
    component.expect_nothing("message", type="error")


def test_m4_a_message_keeps_its_own_delay(component, romeo):
    """M4: a `<delay>` beside a message that has one of its own goes nowhere."""
    own = "<delay xmlns='urn:xmpp:delay' stamp='2025-01-01T00:00:00Z'/>"
    component.send_message("capulet.lit", wrapper(forwarded(DELAY + GOOD.replace("</message>", f"{own}</message>"))), type_=None)
    got = romeo.expect(is_message_with_body("malformed"))
    assert [child.get("stamp") for child in got.findall("delay:delay", NS)] == ["2025-01-01T00:00:00Z"]


@pytest.mark.parametrize("xmlns", ["jabber:component:accept", "urn:xmpp:forward:0", None], ids=str)
def test_m4_the_namespaces_that_clients_send(component, juliet, romeo, xmlns):
    """M4: the message may be in the namespace of a component's stream, or inherit that of `<forwarded>`; it leaves as
    jabber:client, with the children that merely inherited. A child named `forwarded` keeps its namespace."""
    own = f" xmlns='{xmlns}'" if xmlns else ""
    inner = (
        f"<message{own} from='{JULIET}' to='{ROMEO}' type='chat'><body>inherited</body>"
        "<x xmlns='urn:example:x'><body>foreign</body></x>"
        "<forwarded xmlns='urn:xmpp:forward:0'><body>kept</body></forwarded>"
        "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    component.send_message("capulet.lit", wrapper(forwarded(inner)), type_=None)
    for got in (romeo.expect(is_message_with_body("inherited")), carbon_sent(juliet)):
        assert got.tag == "{jabber:client}message"
        assert [child.tag for child in got if "stanza-id" not in child.tag] == [
            "{jabber:client}body",
            "{urn:example:x}x",
            "{urn:xmpp:forward:0}forwarded",
            "{http://jabber.org/protocol/chatstates}active",
        ]
        assert got[1][0].tag == "{urn:example:x}body" and got[2][0].tag == "{urn:xmpp:forward:0}body"
    assert bodies(archive(juliet)) == ["inherited"]
    component.expect_nothing("message", type="error")


def test_m4_whitespace_between_elements(component, romeo):
    """M4: whitespace between the elements changes nothing."""
    component.send_message("capulet.lit", "\n " + wrapper("\n  " + forwarded("\n   " + GOOD + "\n  ") + "\n ") + "\n", type_=None)
    romeo.expect(is_message_with_body("malformed"))


@pytest.mark.parametrize(
    "content",
    [wrapper(forwarded(GOOD)) * 2, wrapper(forwarded(GOOD)) + wrapper(""), wrapper("") + wrapper(forwarded(GOOD))],
    ids=["two good ones", "good and bad", "bad and good"],
)
def test_m4_two_wrappers(component, romeo, content):
    """M4: two wrappers in one message send at most one message, or are refused."""
    id_ = component.send_message("capulet.lit", content, type_=None)
    component.sync()
    refused = [s for s in component.drain() if s.get("id") == id_]
    delivered = [s for s in romeo.drain() if local(s) == "message"]
    assert len(refused) + len(delivered) == 1


# M5: the JID that was judged is the JID that leaves


@pytest.mark.parametrize("sender", ["JULIET@CAPULET.LIT", "Juliet@capulet.lit", "juliet@Capulet.Lit", "\uff4auliet@capulet.lit"])
def test_m5_normalised_sender_leaves(component, juliet, romeo, server, sender):
    """M5: the recipient, the carbon and the archive have the normalised sender."""
    component.privileged_message(message_from(sender, "ROMEO@Montague.LIT", body("in capitals")))
    got = romeo.expect(is_message_with_body("in capitals"))
    copied = carbon_sent(juliet)
    (kept,) = archive(juliet)
    for message in (got, copied, kept):
        assert (message.get("from"), message.get("to")) == (JULIET, ROMEO)


@pytest.mark.parametrize("sender", ["juliet@capulet.lit.", "capulet.lit.", "juliet@capulet\u3002lit", "ju\u00adliet@capulet.lit"])
def test_m5_other_spellings(component, romeo, sender):
    """M5, M2: for another spelling of the sender the message is refused, or leaves with the address that was judged, and never
    with a third address."""
    id_ = component.privileged_message(message_from(sender, ROMEO, body("spelled")))
    component.sync()
    messages = [s for s in romeo.drain() if local(s) == "message"]
    if messages:
        assert [m.get("from") for m in messages] == ["juliet@capulet.lit" if "@" in sender else "capulet.lit"]
    else:
        assert_refused(component.expect("message", id=id_), "auth", "forbidden")


def test_m5_resource_of_the_recipient_keeps_its_case(component, server):
    """M5: normalisation leaves the case of the recipient's resource as it is."""
    romeo = server.client(ROMEO, resource="Orchard Wall")
    component.privileged_message(message_from(JULIET, "Romeo@MONTAGUE.lit/Orchard Wall", body("here")))
    assert romeo.expect(is_message_with_body("here")).get("to") == "romeo@montague.lit/Orchard Wall"


@pytest.mark.parametrize(
    "to",
    ["@", "romeo@", "@montague.lit", "a@b@c", "", "romeo@montague.lit/", "ro meo@montague.lit", "r" * 1024 + "@montague.lit"],
)
def test_m5_recipient_that_is_no_address(component, juliet, to):
    """M5: an invalid inner `to` is `jid-malformed`, and the entity is told so."""
    id_ = component.privileged_message(message_from(JULIET, to, body("nowhere")))
    assert_refused(component.expect("message", id=id_), "modify", "jid-malformed")
    juliet.expect_nothing("message")


# M6: errors and nested wrappers


@pytest.mark.parametrize(
    "content",
    [
        wrapper(forwarded(GOOD)),
        wrapper(forwarded(message_from(ROMEO, NURSE, body("x")))),
        wrapper(""),
        wrapper(forwarded(GOOD)) + "<error type='cancel'><x xmlns='urn:example:x'/></error>",
    ],
    ids=["good", "forbidden", "malformed", "real error"],
)
def test_m6_outer_error_is_neither_answered_nor_executed(component, juliet, romeo, content):
    """M6: an outer message of type='error' is neither answered nor executed."""
    id_ = component.send_message("capulet.lit", content, type_="error")
    component.expect_nothing("message", id=id_)
    romeo.expect_nothing("message")
    juliet.expect_nothing("message")


@pytest.mark.parametrize("to", ["capulet.lit", "montague.lit", JULIET])
def test_m6_nested_wrapper_has_no_privilege(component, juliet, nurse, romeo, to):
    """M6: a wrapper inside a privileged message is a stanza of the account, and the account has no privilege."""
    nested = wrapper(forwarded(message_from(NURSE, ROMEO, body("nested"))))
    component.privileged_message(message_from(JULIET, to, nested, id="outer"))
    component.expect_nothing("message", id="outer")
    romeo.expect_nothing("message")
    nurse.expect_nothing("message")
    if to != JULIET:
        assert not [s for s in juliet.drain() if "nested" in bodies([s])]


def test_m6_a_hundred_wrappers(component, romeo):
    """M6: of nested wrappers only the outermost has the privilege, however many there are."""
    content = message_from(NURSE, ROMEO, body("nested"))
    for _ in range(100):
        content = message_from(JULIET, "capulet.lit", wrapper(forwarded(content)))
    component.privileged_message(content)
    component.expect_nothing("message", type="error")
    romeo.expect_nothing("message")


# M7: without the permission


def test_m7_host_that_grants_nothing(component, romeo, nurse):
    """M7: a message through a host that grants nothing is `auth/forbidden`."""
    id_ = component.privileged_message(message_from(ROMEO, NURSE, body("forged")), to="montague.lit")
    answer = component.expect("message", id=id_)
    assert answer.get("type") == "error"
    nurse.expect_nothing("message")
    romeo.expect_nothing("message")


@pytest.mark.parametrize("message", [None, "none", "outgoign"])
def test_m7_granted_something_else(start_server, message):
    """M7: permissions for roster, presence and IQs do not permit messages."""
    grant = {"roster": "both", "presence": "roster", "iq": IQ_GRANTS}
    if message:
        grant["message"] = message
    server = start_server(privileged_entities={"capulet.lit": {"pubsub.capulet.lit": grant}})
    if message == "outgoign":
        server.expect_errors("outgoign")
    component, romeo = server.component(), server.client(ROMEO)
    id_ = component.privileged_message(message_from(JULIET, ROMEO, body("forged")))
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    id_ = component.send_message("capulet.lit", wrapper(""), type_=None)
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")
    romeo.expect_nothing("message")


# A5: the namespace before


def test_a5_previous_namespace_is_accepted(component, juliet, romeo):
    """A5: forwarded messages are accepted in urn:xmpp:privilege:1 too."""
    component.privileged_message(message_from(JULIET, ROMEO, body("old style")), version=1)
    assert romeo.expect(is_message_with_body("old style")).get("from") == JULIET
    assert bodies([carbon_sent(juliet)]) == ["old style"]
    id_ = component.privileged_message(message_from(ROMEO, NURSE, body("forged")), version=1)
    assert_refused(component.expect("message", id=id_), "auth", "forbidden")


# Clients and libraries


def test_m1_stream_management_stays_in_sync(component, server):
    """M1: the clients of sender and recipient have counted every stanza that the server has counted."""
    juliet = server.client(JULIET, carbons=True, smacks=True)
    romeo = server.client(ROMEO, smacks=True)
    for number in range(5):
        component.privileged_message(message_from(JULIET, (ROMEO, romeo.jid)[number % 2], body(str(number))))
    component.sync()
    for client in (juliet, romeo):
        client.sync()
        messages = [s for s in client.inbox if local(s) == "message"]
        assert len(messages) == 5
        client.send(f"<a xmlns='urn:xmpp:sm:3' h='{client.sm_handled}'/>")
        client.sync()
        # The test can tell: one more than the server has sent ends the stream.
        client.send(f"<a xmlns='urn:xmpp:sm:3' h='{client.sm_handled + 1}'/>")
        assert client.expect_closed() is not None


async def test_m1_slixmpp_sends_as_the_account(server):
    """M1: slixmpp's send_privileged_message sends as the account, as gateways use it."""
    async with slix.component(server) as component, slix.client(server, ROMEO) as romeo:
        heard = asyncio.Queue()
        romeo.add_event_handler("message", heard.put_nowait)
        message = slixmpp.Message()
        message["from"], message["to"], message["type"], message["body"] = JULIET, ROMEO, "chat", "Wherefore?"
        component.plugin["xep_0356"].send_privileged_message(message)
        got = await asyncio.wait_for(heard.get(), 5)
        assert (got["from"], got["body"]) == (JULIET, "Wherefore?")


# Depth


def test_m1_deeply_nested_payload(component, server):
    """M1: a payload of 70,000 nested elements is delivered like any other."""
    romeo = server.client(ROMEO)
    component.privileged_message(message_from(JULIET, romeo.jid, deep(), type_="headline"))
    got = romeo.expect("message", from_=JULIET, timeout=20)
    assert depth_of(got) == DEEP
    component.sync()


def test_m1_deeply_nested_payload_bounces(component):
    """M1: a payload of 70,000 nested elements to an unknown account bounces like any other."""
    component.privileged_message(message_from(JULIET, "nobody@montague.lit", deep(), type_="normal"))
    component.expect_nothing("message", type="error")


@pytest.mark.parametrize("where", ["privilege", "forwarded", "message", "beside"])
def test_m4_deeply_nested_in_place_of_the_envelope(component, romeo, where):
    """M4, L2: 70,000 nested elements in place of the envelope are refused like any other."""
    content = {
        "privilege": wrapper(deep()),
        "forwarded": wrapper(forwarded(deep())),
        "message": wrapper(forwarded(f"<message xmlns='urn:example:x'>{deep()}</message>")),
        "beside": wrapper(forwarded(GOOD) + deep()),
    }[where]
    id_ = component.send_message("capulet.lit", content, type_=None)
    assert_refused(component.expect("message", id=id_, timeout=20), "modify", "bad-request")
    romeo.expect_nothing("message")


def test_m4_thousands_of_children(component, romeo):
    """M4: 20,000 `<forwarded>` elements are refused like two."""
    id_ = component.send_message("capulet.lit", wrapper("<forwarded xmlns='x'/>" * 20_000), type_=None)
    assert_refused(component.expect("message", id=id_, timeout=20), "modify", "bad-request")
