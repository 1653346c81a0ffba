"""IQs sent as an account (Q1 to Q6)."""

import random
import re
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from slixmpp import Iq
from slixmpp.plugins.xep_0356.privilege import PrivilegedIqError
from slixmpp.stanza import Error

import slix

from harness import IQ_GRANTS
from helpers import (
    DEEP,
    PAYLOAD,
    PING,
    assert_refused,
    assert_wrapped,
    block,
    bodies,
    canonical,
    deep,
    depth_of,
    grants,
    loud_lines,
    payload_of,
    relayed_message,
)
from wire import NS, body, error_of, inner_iq, local, message_from, new_id, text_of
from words import COMMANDS, answer, echo, iq_wrapper, is_request, privileged_message, send_privileged_iq, word_of

JULIET, NURSE, ROMEO, ADMIN = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit", "admin@capulet.lit"
ENTITY, GATEWAY = "pubsub.capulet.lit", "gateway.capulet.lit"

DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"


def outer_answers(component) -> list[ET.Element]:
    """All answers to the component's privileged IQs that have come, without those to its own pings."""
    return [s for s in component.drain() if local(s) == "iq" and s.get("type") in ("result", "error")]


# Q1: what is forbidden


def inner(content: str = echo(), xmlns: str | None = "jabber:client", **attributes) -> str:
    given = {"type": "get", "id": "inner", "to": GATEWAY, "xmlns": xmlns}
    given.update({key.rstrip("_"): value for key, value in attributes.items()})
    head = "".join(f" {key}={quoteattr(value)}" for key, value in given.items() if value is not None)
    return f"<iq{head}>{content}</iq>"


FORBIDDEN_TARGETS = {
    "resource that is not there": JULIET + "/nowhere",
    "the host": "capulet.lit",
    "the host with a resource": "capulet.lit/x",
    "unknown account": "nobody@capulet.lit",
    "unknown account with a resource": "nobody@capulet.lit/x",
}


@pytest.mark.parametrize("to", FORBIDDEN_TARGETS.values(), ids=FORBIDDEN_TARGETS)
@pytest.mark.parametrize("type_", ["get", "set"])
def test_q1_wrong_address(component, gateway, to, type_):
    """Q1: a wrapper is forbidden unless it is sent to the bare JID of an existing account of the granting host."""
    got = component.privileged_iq(type_, to, echo(), to=GATEWAY)
    assert_refused(got, "auth", "forbidden", "bare|account|exist|resource|user")
    assert (got.get("from"), got.get("to")) == (to, ENTITY)
    gateway.expect_nothing("iq")


@pytest.mark.parametrize("type_", ["get", "set"])
def test_q1_a_client_never_sees_a_wrapper(component, gateway, juliet, type_):
    """Q1: a wrapper sent to a full JID is refused, and never reaches the client."""
    got = component.privileged_iq(type_, juliet.jid, echo(), to=GATEWAY)
    assert_refused(got, "auth", "forbidden", "bare|full|resource")
    juliet.expect_nothing("iq")
    gateway.expect_nothing("iq")


def test_q1_account_of_a_host_that_grants_nothing(component, gateway, romeo):
    """Q1: a wrapper to an account of a host that grants nothing, bare or full, or to that host, is forbidden."""
    for to in (ROMEO, romeo.jid, "montague.lit", "nobody@montague.lit"):
        got = component.privileged_iq("get", to, echo(), to=GATEWAY)
        assert got.get("type") == "error", text_of(got)
        if to == ROMEO:
            assert error_of(got)[:2] == ("auth", "forbidden")
    romeo.expect_nothing("iq")
    gateway.expect_nothing("iq")


@pytest.mark.parametrize("scope", [{"accounts": ["juliet"]}, {"except": ["nurse"]}, {"accounts": []}], ids=str)
def test_q1_out_of_scope(start_server, scope):
    """Q1, C7: a wrapper for an account outside the scope is forbidden; one for an account inside is not."""
    server = start_server(privileged_entities=grants(**scope))
    component, nurse = server.component(), server.client(NURSE)
    assert_refused(component.privileged_iq("get", NURSE, PING, to="capulet.lit"), "auth", "forbidden")
    assert_refused(component.privileged_iq("get", nurse.jid, PING, to="capulet.lit"), "auth", "forbidden")
    nurse.expect_nothing("iq")
    if scope != {"accounts": []}:
        assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"


FORBIDDEN = {
    # name: (outer type, inner iq, what the text says)
    "namespace not granted": ("get", inner("<query xmlns='urn:example:secret'/>"), "urn:example:secret|namespace"),
    "roster not granted as iq": ("get", inner("<query xmlns='jabber:iq:roster'/>", to=None), "jabber:iq:roster|namespace"),
    "prefix of a granted namespace": ("get", inner("<x xmlns='urn:example:ech'/>"), "urn:example:ech|namespace"),
    "longer than a granted namespace": ("get", inner("<x xmlns='urn:example:echo2'/>"), "urn:example:echo2|namespace"),
    "case of a namespace": ("get", inner("<x xmlns='urn:example:ECHO'/>"), "urn:example:ECHO|namespace"),
    "payload without namespace": ("get", inner("<x xmlns=''/>"), "namespace|payload"),
    "payload of the client namespace": ("get", inner("<query/>"), "namespace|payload"),
    "set where get is granted": ("set", inner(PING, type="set"), "set|type|ping"),
    "get where set is granted": (
        "get",
        inner("<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'/>"),
        "get|type|owner",
    ),
    "inner of the wrapper's namespace": ("get", inner(xmlns=None), "jabber:client"),
    "inner of the component's namespace": ("get", inner(xmlns="jabber:component:accept"), "jabber:client"),
    "inner of a server's namespace": ("get", inner(xmlns="jabber:server"), "jabber:client"),
    "inner without namespace": ("get", inner(xmlns=""), "jabber:client"),
    "from another account": ("get", inner(from_=NURSE), "from"),
    "from an account of another host": ("get", inner(from_=ROMEO), "from"),
    "from a resource": ("get", inner(from_=JULIET + "/balcony"), "from"),
    "from the host": ("get", inner(from_="capulet.lit"), "from"),
    "from the entity": ("get", inner(from_=ENTITY), "from"),
    "from no address": ("get", inner(from_="@"), "from"),
    "from empty": ("get", inner(from_=""), "from"),
    "outer get, inner set": ("get", inner(type="set"), "type"),
    "outer set, inner get": ("set", inner(type="get"), "type"),
    "inner result": ("get", inner(type="result"), "type"),
    "inner error": ("set", inner(type="error"), "type"),
    "inner unknown type": ("get", inner(type="GET"), "type"),
    "inner without type": ("get", inner(type=None), "type"),
}


@pytest.mark.parametrize(("type_", "content", "text"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_q1_forbidden(component, gateway, juliet, type_, content, text):
    """Q1: the refusal is `auth/forbidden` with a text that names the rule broken, and nothing is sent to anybody."""
    got = component.iq(type_, JULIET, iq_wrapper(content))
    assert_refused(got, "auth", "forbidden", text)
    assert (got.get("from"), got.get("to")) == (JULIET, ENTITY)
    gateway.expect_nothing("iq")
    juliet.expect_nothing("iq")


@pytest.mark.parametrize("type_", ["result", "error"])
def test_q1_an_outer_answer_is_no_request(component, gateway, juliet, type_):
    """Q1: a wrapper in a result or an error is neither answered nor executed."""
    id_ = component.send_iq(type_, JULIET, iq_wrapper(inner()))
    component.expect_nothing("iq", id=id_)
    gateway.expect_nothing("iq")
    juliet.expect_nothing("iq")


def test_q1_from_in_any_case_is_the_account(component, gateway):
    """Q1, M5: the inner `from` is compared, and sent, in its normalised form."""
    component.send_iq("get", "JULIET@capulet.LIT", iq_wrapper(inner(from_="Juliet@Capulet.Lit", to="Gateway.CAPULET.lit")))
    request = gateway.expect(is_request())
    assert (request.get("from"), request.get("to")) == (JULIET, GATEWAY)


@pytest.mark.parametrize("to", ["@", "a@b@c", "romeo@", "@montague.lit", "", "romeo@montague.lit/"])
def test_q1_inner_to_that_is_no_address(component, gateway, to):
    """Q1, M5: an invalid inner `to` is `jid-malformed`."""
    got = component.iq("get", JULIET, iq_wrapper(inner(to=to)))
    assert_refused(got, "modify", "jid-malformed")


# Q2: what is malformed

BAD_REQUESTS = {
    "nothing": (iq_wrapper(""), "iq"),
    "text": (iq_wrapper("hello"), "iq"),
    "a message": (iq_wrapper(message_from(JULIET, GATEWAY, body("x"))), "iq"),
    "another element": (iq_wrapper("<query xmlns='jabber:client'/>"), "iq"),
    "two iqs": (iq_wrapper(inner() * 2), "one|iq"),
    "an iq and a message": (iq_wrapper(inner() + message_from(JULIET, GATEWAY, body("x"))), "one|iq"),
    "forwarded in between": (iq_wrapper(f"<forwarded xmlns='urn:xmpp:forward:0'>{inner()}</forwarded>"), "iq"),
    "no payload": (iq_wrapper(inner("")), "payload|child|one"),
    "text payload": (iq_wrapper(inner("hello")), "payload|child|one"),
    "two payloads": (iq_wrapper(inner(echo() * 2)), "payload|child|one"),
    "a granted and a forbidden payload": (iq_wrapper(inner(echo() + "<x xmlns='urn:example:secret'/>")), "payload|child|one"),
    "no id": (iq_wrapper(inner(id=None)), "id"),
}


@pytest.mark.parametrize(("content", "text"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_q2_malformed(component, gateway, juliet, content, text):
    """Q2: a malformed wrapper is `modify/bad-request`, with a text that says what is wrong, and nothing is sent to anybody."""
    got = component.iq("get", JULIET, content)
    assert_refused(got, "modify", "bad-request", text)
    assert (got.get("from"), got.get("to")) == (JULIET, ENTITY)
    gateway.expect_nothing(lambda s: local(s) in ("iq", "message") and s.get("from") != "capulet.lit")
    juliet.expect_nothing(lambda s: local(s) in ("iq", "message"))


@pytest.mark.parametrize(
    ("where", "refusal"),
    [
        ("wrapper", ("modify", "bad-request")),
        ("inner", ("auth", "forbidden")),
        ("beside", ("modify", "bad-request")),
        ("namespace", ("auth", "forbidden")),
    ],
)
def test_q2_deeply_nested_in_place_of_the_envelope(component, where, refusal):
    """Q2, L2: 70,000 nested elements in place of the envelope are refused like any other."""
    content = {
        "wrapper": iq_wrapper(deep()),
        "inner": iq_wrapper(inner(deep(), xmlns="urn:example:x")),
        "beside": iq_wrapper(inner() + deep()),
        "namespace": iq_wrapper(inner(f"<x xmlns='urn:example:secret'>{deep()}</x>")),
    }[where]
    got = component.iq("get", JULIET, content, timeout=20)
    assert error_of(got)[:2] == refusal


# Q3: sent as if the account had sent it


def test_q3_ping_to_the_server(component):
    """Q3: a ping in a wrapper reaches the server and is answered."""
    id_ = new_id()
    got = component.privileged_iq("get", JULIET, PING, to="capulet.lit", id=id_, inner_id="ping")
    found = assert_wrapped(got, account=JULIET, entity=ENTITY, id=id_, type_="result")
    assert (found.get("id"), found.get("from"), found.get("to")) == ("ping", "capulet.lit", JULIET)


@pytest.mark.parametrize("to", [None, JULIET, "Juliet@CAPULET.lit"])
@pytest.mark.parametrize("online", [False, True])
def test_q3_personal_eventing(component, server, to, online):
    """Q3: an item published to the account's own node can be read, with `to` absent or the account's bare JID."""
    juliet = server.client(JULIET) if online else None
    publish = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:mood'><item id='now'>"
        "<mood xmlns='urn:example:mood'>sorrow</mood></item></publish></pubsub>"
    )
    read = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:mood'/></pubsub>"
    id_ = new_id()
    done = component.privileged_iq("set", JULIET, publish, to=to, id=id_, inner_id="publish")
    assert assert_wrapped(done, account=JULIET, entity=ENTITY, id=id_, type_="result").get("id") == "publish"
    got = inner_iq(component.privileged_iq("get", JULIET, read, to=to))
    assert got.findtext(".//{urn:example:mood}mood") == "sorrow"
    juliet = juliet or server.client(JULIET)
    assert juliet.iq("get", None, read).findtext(".//{urn:example:mood}mood") == "sorrow"


def test_q3_owner_of_the_node(component, romeo):
    """Q3: personal eventing sees the account as owner of its nodes: it may open them, and others then read them."""
    publish = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:tune'><item id='now'>"
        "<tune xmlns='urn:example:tune'>lark</tune></item></publish><publish-options><x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
        "<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>"
    )
    assert component.privileged_iq("set", JULIET, publish).get("type") == "result"
    read = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:tune'/></pubsub>"
    assert romeo.iq("get", JULIET, read).findtext(".//{urn:example:tune}tune") == "lark"
    delete = "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='urn:example:tune'/></pubsub>"
    assert component.privileged_iq("set", JULIET, delete, to=JULIET).get("type") == "result"
    assert error_of(component.privileged_iq("get", JULIET, read))[1] == "item-not-found"
    assert romeo.iq("get", JULIET, read).get("type") == "error"


def test_q3_upload_slot(component, juliet):
    """Q3: HTTP upload sees the account, not the entity (on 13 only the account has the right)."""
    request = "<request xmlns='urn:xmpp:http:upload:0' filename='rose.png' size='42' content-type='image/png'/>"
    got = component.privileged_iq("get", JULIET, request, to="upload.capulet.lit")
    assert got.get("type") == "result", text_of(got)
    slot = inner_iq(got).find("upload:slot", NS)
    assert slot.find("upload:put", NS).get("url").endswith("/rose.png")
    assert slot.find("upload:get", NS) is not None


def test_q3_private_storage(component, juliet):
    """Q3: private storage that is set in a wrapper is read by the account's own client."""
    store = "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'>kept</x></query>"
    assert component.privileged_iq("set", JULIET, store).get("type") == "result"
    read = "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>"
    assert juliet.iq("get", None, read).findtext(".//{urn:example:x}x") == "kept"
    assert inner_iq(component.privileged_iq("get", JULIET, read, to=JULIET)).findtext(".//{urn:example:x}x") == "kept"
    assert inner_iq(component.privileged_iq("get", NURSE, read)).findtext(".//{urn:example:x}x") in (None, "")


def test_q3_vcard(component, nurse):
    """Q3: a vCard that is set in a wrapper is the account's, and another account reads it."""
    vcard = "<vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard>"
    assert component.privileged_iq("set", JULIET, vcard).get("type") == "result"
    ask = "<vCard xmlns='vcard-temp'/>"
    assert nurse.iq("get", JULIET, ask).findtext(".//{vcard-temp}FN") == "Juliet"
    assert inner_iq(component.privileged_iq("get", NURSE, ask, to=JULIET)).findtext(".//{vcard-temp}FN") == "Juliet"


@pytest.mark.parametrize("account", [JULIET, "tybalt@capulet.lit"], ids=["online", "offline"])
@pytest.mark.parametrize("type_", ["get", "set"])
def test_q3_a_component_answers(component, gateway, juliet, account, type_):
    """Q3, Q4: a component sees a request of the account, and its answer comes back, payloads intact."""
    content = f"<echo xmlns='urn:example:echo' word=''>{PAYLOAD}</echo>"
    sent = payload_of(ET.fromstring(content))
    id_ = component.send_privileged_iq(type_, account, content, to="x@gateway.capulet.lit/res", inner_id="a & b")
    request = gateway.expect(is_request())
    assert (request.get("from"), request.get("to"), request.get("type")) == (account, "x@gateway.capulet.lit/res", type_)
    assert payload_of(request[0]) == sent
    answer(gateway, request, f"<echoed xmlns='urn:example:echo'>{PAYLOAD}</echoed>")
    got = component.expect("iq", id=id_)
    found = assert_wrapped(got, account=account, entity=ENTITY, id=id_, type_="result")
    assert (found.get("id"), found.get("from"), found.get("to")) == ("a & b", "x@gateway.capulet.lit/res", account)
    assert [local(child) for child in found] == ["echoed"]
    assert payload_of(found[0]) == sent
    juliet.expect_nothing("iq")


def test_q3_another_local_user_answers(component, nurse, romeo):
    """Q3: clients of the same and of another host get the request from the account's bare JID."""
    for client in (nurse, romeo):
        id_ = component.send_privileged_iq("get", JULIET, echo("who"), to=client.jid, inner_id="user")
        request = client.expect(is_request("who"))
        assert (request.get("from"), request.get("to")) == (JULIET, client.jid)
        answer(client, request, echo("me"))
        found = inner_iq(component.expect("iq", id=id_))
        assert (found.get("from"), found.get("id"), word_of(found)) == (client.jid, "user", "me")


def test_q3_the_entity_itself_and_the_accounts_own_client(component, juliet):
    """Q3: the target may be the entity, or a resource of the account."""
    id_ = component.send_privileged_iq("get", JULIET, echo("mirror"), to=ENTITY)
    request = component.expect(is_request("mirror"))
    assert request.get("from") == JULIET
    answer(component, request, echo("myself"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "myself"
    id_ = component.send_privileged_iq("get", JULIET, echo("own client"), to=juliet.jid)
    answer(juliet, juliet.expect(is_request("own client")), echo("here"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "here"


def test_q3_remote_domain(start_server):
    """Q3: a user of another server gets the request and answers it."""
    veronica = start_server(s2s=True)
    mantua = start_server(hosts=("mantua.lit",), accounts=("balthasar@mantua.lit",), s2s=True, privileged_entities={})
    veronica.reconfigure(s2s_targets={"mantua.lit": mantua.s2s_port})
    mantua.reconfigure(s2s_targets={"capulet.lit": veronica.s2s_port})
    component, balthasar = veronica.component(), mantua.client("balthasar@mantua.lit")
    id_ = component.send_privileged_iq("get", JULIET, echo("afar"), to=balthasar.jid, inner_id="remote")
    request = balthasar.expect(is_request("afar"))
    assert request.get("from") == JULIET
    answer(balthasar, request, echo("heard"))
    got = component.expect("iq", id=id_)
    found = assert_wrapped(got, account=JULIET, entity=ENTITY, id=id_, type_="result")
    assert (found.get("from"), found.get("id"), word_of(found)) == (balthasar.jid, "remote", "heard")
    # A privileged IQ of the remote user is a stranger's here.
    answer_to_stranger = balthasar.iq("get", JULIET, iq_wrapper(inner()))
    assert error_of(answer_to_stranger)[:2] == ("auth", "forbidden")


SAME_AS_THE_CLIENT = {
    "ping host": ("get", "capulet.lit", PING),
    "ping self": ("get", None, PING),
    "disco host": ("get", "capulet.lit", DISCO),
    "disco self": ("get", None, DISCO),
    "disco own bare": ("get", JULIET, DISCO),
    "disco other host": ("get", "montague.lit", DISCO),
    "disco rooms": ("get", "rooms.capulet.lit", DISCO),
    "disco upload": ("get", "upload.capulet.lit", DISCO),
    "disco unknown node": ("get", "capulet.lit", DISCO.replace("/>", " node='urn:example:none'/>")),
    "disco a stranger": ("get", ROMEO, DISCO),
    "private": ("get", None, "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>"),
    "private malformed": ("get", None, "<query xmlns='jabber:iq:private'/>"),
    "vcard of nobody": ("get", "nobody@capulet.lit", "<vCard xmlns='vcard-temp'/>"),
    "own nodes": ("get", None, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscriptions/></pubsub>"),
    "unknown node": ("get", None, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='none'/></pubsub>"),
    "nodes of another": ("get", NURSE, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='none'/></pubsub>"),
    "pubsub nonsense": ("set", None, "<pubsub xmlns='http://jabber.org/protocol/pubsub'><nonsense/></pubsub>"),
    "upload too large": (
        "get", "upload.capulet.lit",
        "<request xmlns='urn:xmpp:http:upload:0' filename='x' size='999999999999'/>",
    ),
    "unknown to the host": ("get", "capulet.lit", echo()),
    "unknown to a user": ("get", NURSE, echo()),
    "unknown account": ("get", "nobody@montague.lit", echo()),
    "unknown resource": ("get", NURSE + "/nowhere", echo()),
    "offline component": ("set", "offline.capulet.lit", echo()),
    "remote, switched off": ("set", "someone@remote.example", echo()),
    "empty archive": ("set", None, "<query xmlns='urn:xmpp:mam:2'/>"),
}


@pytest.mark.parametrize(("type_", "to", "content"), SAME_AS_THE_CLIENT.values(), ids=SAME_AS_THE_CLIENT)
def test_q3_same_answer_as_the_client_gets(component, juliet, type_, to, content):
    """Q3, Q4: results and errors, of local services and routed, equal those that the account's own client gets."""
    own = juliet.iq(type_, to, content)
    id_ = new_id()
    got = component.privileged_iq(type_, JULIET, content, to=to, id=id_, inner_id="same")
    found = assert_wrapped(got, account=JULIET, entity=ENTITY, id=id_, type_=own.get("type"))
    assert found.get("id") == "same"
    # A service may name the account, without `to` it may not.
    assert (found.get("from") or JULIET) == (own.get("from") or JULIET)
    assert [canonical(child) for child in found] == [canonical(child).replace(juliet.jid, JULIET) for child in own]
    if own.get("type") == "error":
        assert error_of(got) == error_of(own)


def test_q3_the_accounts_blocklist(component, gateway, juliet):
    """Q3: an IQ to a contact that the account has blocked is not sent."""
    block(juliet, GATEWAY)
    got = component.privileged_iq("get", JULIET, echo(), to=GATEWAY)
    assert error_of(got)[:2] == ("cancel", "not-acceptable")
    assert inner_iq(got).get("type") == "error"
    gateway.expect_nothing("iq")


def test_q3_the_targets_blocklist(component, romeo):
    """Q3: an IQ does not reach a target that has blocked the account."""
    block(romeo, JULIET)
    got = component.privileged_iq("get", JULIET, echo(), to=romeo.jid)
    assert error_of(got)[:2] == ("cancel", "service-unavailable")
    romeo.expect_nothing("iq")


def test_q3_filters_of_other_modules(component, gateway, server):
    """Q3: pre-iq hooks see the IQ with the account's session."""
    server.lua(
        """
        hook("capulet.lit", "pre-iq/host", function (event)
            local origin = event.origin;
            if not event.stanza:get_child("echo", "urn:example:echo") then return; end
            prosody.spec_seen = { origin.type, origin.username, origin.host, event.stanza.attr.from, event.stanza.attr.xmlns or "none" };
            origin.send(st.error_reply(event.stanza, "cancel", "policy-violation", "filtered"));
            return true;
        end, 10);
        """
    )
    got = component.privileged_iq("get", JULIET, echo(), to=GATEWAY)
    assert error_of(got) == ("cancel", "policy-violation", "filtered")
    assert server.lua("return prosody.spec_seen") == ["c2s", "juliet", "capulet.lit", JULIET, "none"]
    gateway.expect_nothing("iq")


def test_q3_archive_query(component, juliet):
    """Q3: the archive's messages come to the entity in wrappers, before the answer."""
    for number in range(3):
        component.privileged_message(message_from(JULIET, ROMEO, body(str(number))))
    component.sync()
    id_ = component.send_privileged_iq("set", JULIET, "<query xmlns='urn:xmpp:mam:2' queryid='q'/>")
    component.sync()
    stanzas = component.inbox
    ours = [s for s in stanzas if relayed_message(s) is not None or s.get("id") == id_]
    assert [local(s) for s in ours] == ["message"] * 3 + ["iq"]
    assert_wrapped(ours[3], account=JULIET, entity=ENTITY, id=id_, type_="result")
    for number, stanza in enumerate(ours[:3]):
        assert (stanza.get("from"), stanza.get("to")) == (JULIET, ENTITY)
        result = relayed_message(stanza).find("mam:result", NS)
        assert result.get("queryid") == "q"
        assert bodies([result.find("fwd:forwarded/c:message", NS)]) == [str(number)]
    juliet.expect_nothing(lambda s: s.find("mam:result", NS) is not None)


def test_q3_archive_query_of_an_offline_account(component):
    """Q3: the archive is read in the same way while the account is offline."""
    component.privileged_message(message_from("tybalt@capulet.lit", ROMEO, body("kept")))
    got = component.privileged_iq("set", "tybalt@capulet.lit", "<query xmlns='urn:xmpp:mam:2'/>", to="tybalt@capulet.lit")
    assert got.get("type") == "result"
    (message,) = [relayed_message(s) for s in component.inbox if relayed_message(s) is not None]
    assert bodies([message.find("mam:result/fwd:forwarded/c:message", NS)]) == ["kept"]


def test_n2_not_the_rights_of_an_administrator(start_server):
    """N1, N2: with the namespace of commands granted, an entity still does not administer the server."""
    server = start_server(privileged_entities=grants(iq={COMMANDS: "both"}), modules=("admin_adhoc", "uptime"))
    component = server.component()
    list_users = f"<command xmlns='{COMMANDS}' node='http://jabber.org/protocol/admin#get-online-users-list' action='execute'/>"
    uptime = f"<command xmlns='{COMMANDS}' node='uptime' action='execute'/>"
    # The administrator's own client may.
    assert server.client(ADMIN).iq("set", "capulet.lit", list_users).get("type") == "result"
    for account in (ADMIN, "Admin@Capulet.lit", JULIET):
        got = component.privileged_iq("set", account, list_users, to="capulet.lit")
        assert got.get("type") == "error", text_of(got)
        assert error_of(got)[:2] == ("auth", "forbidden")
    # Public commands are allowed, and an administrator's account is an ordinary account for other requests.
    assert component.privileged_iq("set", JULIET, uptime, to="capulet.lit").get("type") == "result"
    assert component.privileged_iq("get", ADMIN, PING, to="capulet.lit").get("type") == "result"


def test_q3_ordinary_rights_remain(component, gateway, romeo):
    """Q3: plain IQs of and to a privileged entity are routed as those of any component."""
    id_ = component.send_iq("get", romeo.jid, echo("plain"))
    request = romeo.expect(is_request("plain"))
    assert (request.get("from"), request.get("id")) == (ENTITY, id_)
    answer(romeo, request, echo("answer"))
    got = component.expect("iq", id=id_)
    assert word_of(got) == "answer" and got.get("from") == romeo.jid
    romeo.send_iq("get", ENTITY, echo("to the entity"), id="q")
    assert component.expect(is_request("to the entity")).get("from") == romeo.jid


def test_q3_deeply_nested_payload(component, gateway):
    """Q3, L2: a payload of 70,000 nested elements goes there and comes back."""
    id_ = component.send_privileged_iq("get", JULIET, f"<echo xmlns='urn:example:echo' word=''>{deep()}</echo>", to=GATEWAY)
    request = gateway.expect(is_request(), timeout=20)
    assert depth_of(request) == DEEP + 1
    answer(gateway, request, f"<echo xmlns='urn:example:echo' word=''>{deep()}</echo>")
    got = component.expect("iq", id=id_, timeout=20)
    assert depth_of(inner_iq(got)) == DEEP + 1


def test_q3_order_with_a_message_sent_after_it(component, gateway):
    """Q3, M1: an IQ leaves before a stanza that was sent after it, and storage sees requests in order."""
    gateway.drain()
    for number in range(20):
        component.send_privileged_iq("get", JULIET, echo(number), to=GATEWAY)
        component.privileged_message(message_from(JULIET, GATEWAY, body(str(number))))
    component.sync()
    came = [word_of(s) if local(s) == "iq" else "m" + s.findtext("{*}body") for s in gateway.drain()]
    assert came == [text for number in range(20) for text in (str(number), f"m{number}")]
    ids = []
    for number in range(5):
        component.send_privileged_iq(
            "set", JULIET, f"<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'>{number}</x></query>"
        )
        ids.append(
            component.send_privileged_iq("get", JULIET, "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>")
        )
    read = [inner_iq(component.expect("iq", id=id_)).findtext(".//{urn:example:x}x") for id_ in ids]
    assert read == ["0", "1", "2", "3", "4"]


# Q4: the answer


def without_namespace(error: ET.Element) -> str:
    """An error in canonical form, be it of a component's stream or of jabber:client."""
    text = text_of(error)
    return ET.canonicalize(re.sub("jabber:(client|component:accept)", "jabber:client", text))


@pytest.mark.parametrize("form", ["plain", "with payload", "rich"])
def test_q4_routed_error(component, gateway, form):
    """Q4: the target's error is copied beside the forwarded original, word for word."""
    error = {
        "plain": "<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        "with payload": echo("yours")
        + "<error type='auth'><registration-required xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        "rich": "<error type='modify' by='gateway.capulet.lit' code='409'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='it'>gi\u00e0 preso &lt;&amp;</text>"
        "<taken xmlns='urn:example:error' a='b'><c>d</c></taken></error>",
    }[form]
    id_ = component.send_privileged_iq("set", JULIET, echo("mine"), to=GATEWAY, inner_id="fails")
    answer(gateway, gateway.expect(is_request("mine")), error, type_="error")
    got = component.expect("iq", id=id_)
    found = assert_wrapped(got, account=JULIET, entity=ENTITY, id=id_, type_="error")
    assert (found.get("id"), found.get("from"), found.get("to")) == ("fails", GATEWAY, JULIET)
    sent = ET.fromstring(f"<iq xmlns='jabber:client'>{error}</iq>")
    assert [without_namespace(child) for child in found] == [without_namespace(child) for child in sent]
    assert without_namespace(got.find("{*}error")) == without_namespace(sent.find("{*}error"))


def test_q4_local_error(component):
    """Q4: an error of a local service is copied beside the forwarded original too."""
    id_ = new_id()
    got = component.privileged_iq(
        "get", JULIET, DISCO.replace("/>", " node='none'/>"), to="capulet.lit", id=id_, inner_id="none"
    )
    found = assert_wrapped(got, account=JULIET, entity=ENTITY, id=id_, type_="error")
    assert found.get("id") == "none"
    assert error_of(got)[:2] == error_of(found)[:2] == ("cancel", "item-not-found")


def test_q4_the_same_id_outside_and_inside(component, gateway):
    """Q4: the answer has both ids also where they are equal, as slixmpp makes them."""
    component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY, id="both", inner_id="both")
    answer(gateway, gateway.expect(is_request()), echo("x"))
    got = component.expect("iq", id="both")
    assert inner_iq(got).get("id") == "both"


@pytest.mark.parametrize("id_", ["", " ", "\u2603", "a'b\"c<d>&", "x" * 3000], ids=["empty", "space", "unicode", "markup", "long"])
def test_q4_ids_come_back_as_they_were(component, gateway, id_):
    """Q4: the inner id comes back exactly as the entity gave it."""
    outer = component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY, inner_id=id_)
    answer(gateway, gateway.expect(is_request()), echo("x"))
    assert inner_iq(component.expect("iq", id=outer)).get("id") == id_


async def test_q4_slixmpp_result(server):
    """Q4: slixmpp's send_privileged_iq returns the forwarded IQ."""
    async with slix.component(server) as component:
        iq = Iq()
        iq["type"], iq["from"], iq["to"] = "get", JULIET, "capulet.lit"
        iq.enable("disco_info")
        got = await component.plugin["xep_0356"].send_privileged_iq(iq)
        assert got["from"] == "capulet.lit" and got["type"] == "result"
        assert "urn:xmpp:ping" in got["disco_info"]["features"]


def fix_error_namespace(monkeypatch):
    """Lets slixmpp see a component's errors, as ComponentXMPP(fix_error_ns=True) does, for one test only."""
    monkeypatch.setattr(Error, "namespace", NS["comp"])
    monkeypatch.setitem(Iq.plugin_tag_map, f"{{{NS['comp']}}}error", Error)


def disco_of_an_unknown_node(to: str) -> Iq:
    iq = Iq()
    iq["type"], iq["from"], iq["to"] = "get", JULIET, to
    iq["disco_info"]["node"] = "none"
    return iq


@pytest.mark.parametrize(
    ("to", "condition", "type_"),
    [("capulet.lit", "item-not-found", "cancel"), ("offline.capulet.lit", "remote-server-timeout", "wait")],
    ids=["local", "routed"],
)
async def test_q4_slixmpp_nested_error(server, monkeypatch, to, condition, type_):
    """Q4: the nested error of slixmpp's PrivilegedIqError is the target's, and so is the outer one."""
    async with slix.component(server) as component:
        with pytest.raises(PrivilegedIqError) as raised:
            await component.plugin["xep_0356"].send_privileged_iq(disco_of_an_unknown_node(to))
        nested = raised.value.nested_error()
        assert (nested.condition, nested.etype) == (condition, type_)
        fix_error_namespace(monkeypatch)
        with pytest.raises(PrivilegedIqError) as raised:
            await component.plugin["xep_0356"].send_privileged_iq(disco_of_an_unknown_node(to))
        assert (raised.value.condition, raised.value.etype) == (condition, type_)


async def test_q4_slixmpp_refusal_has_no_nested_error(server, monkeypatch):
    """Q1, Q4: a refusal of the server itself has no forwarded answer of a target."""
    fix_error_namespace(monkeypatch)
    async with slix.component(server) as component:
        server.delete_account(JULIET)
        with pytest.raises(PrivilegedIqError) as raised:
            await component.plugin["xep_0356"].send_privileged_iq(disco_of_an_unknown_node("capulet.lit"))
        assert (raised.value.condition, raised.value.etype) == ("forbidden", "auth")
        assert raised.value.nested_error() is None


# Q5: which answer belongs to which request


def test_q5_same_inner_id_for_two_accounts(component, gateway):
    """Q5: equal inner ids for two accounts never mix, also where the answers come in reverse order."""
    first = component.send_privileged_iq("get", JULIET, echo("juliet"), to=GATEWAY, inner_id="same")
    second = component.send_privileged_iq("get", NURSE, echo("nurse"), to=GATEWAY, inner_id="same")
    requests = [gateway.expect(is_request(word)) for word in ("juliet", "nurse")]
    for request in reversed(requests):
        answer(gateway, request, echo("for " + word_of(request)))
    for id_, account, word in ((first, JULIET, "for juliet"), (second, NURSE, "for nurse")):
        found = assert_wrapped(component.expect("iq", id=id_), account=account, entity=ENTITY, id=id_, type_="result")
        assert (found.get("id"), word_of(found)) == ("same", word)


def test_q5_same_inner_id_twice_for_one_account(component, gateway):
    """Q5: equal inner ids to one target at the same time never mix; even with an equal outer id nothing is lost."""
    outer = [component.send_privileged_iq("get", JULIET, echo(n), to=GATEWAY, inner_id="same") for n in range(2)]
    requests = [gateway.expect(is_request(n)) for n in range(2)]
    assert requests[0].get("id") != requests[1].get("id")
    for request in reversed(requests):
        answer(gateway, request, echo(word_of(request)))
    for number, id_ in enumerate(outer):
        found = inner_iq(component.expect("iq", id=id_))
        assert (found.get("id"), word_of(found)) == ("same", str(number))
    for number in range(2):
        component.send_privileged_iq("get", JULIET, echo(number), to=GATEWAY, inner_id="same", id="outer")
    for number in range(2):
        answer(gateway, gateway.expect(is_request(number)), echo(number))
    assert {word_of(inner_iq(component.expect("iq", id="outer"))) for _ in range(2)} == {"0", "1"}


def test_q5_same_ids_by_two_entities(component, gateway, romeo):
    """Q5: equal ids by two entities never mix."""
    entities = {"pubsub": component, "gateway": gateway}
    for name, entity in entities.items():
        entity.send_privileged_iq("get", JULIET, echo(name), to=romeo.jid, inner_id="same", id="outer")
        entity.sync()
    requests = [romeo.expect(is_request(name)) for name in entities]
    for request in reversed(requests):
        answer(romeo, request, echo(word_of(request)))
    for name, entity in entities.items():
        assert word_of(inner_iq(entity.expect("iq", id="outer"))) == name
        entity.expect_nothing("iq", id="outer")


def test_q5_same_inner_id_to_two_targets(component, gateway, romeo):
    """Q5: equal inner ids to two targets never mix."""
    first = component.send_privileged_iq("get", JULIET, echo("g"), to=GATEWAY, inner_id="same")
    second = component.send_privileged_iq("get", JULIET, echo("r"), to=romeo.jid, inner_id="same")
    answer(romeo, romeo.expect(is_request("r")), echo("from romeo"))
    answer(gateway, gateway.expect(is_request("g")), echo("from gateway"))
    assert word_of(inner_iq(component.expect("iq", id=second))) == "from romeo"
    assert word_of(inner_iq(component.expect("iq", id=first))) == "from gateway"


def test_q5_a_clients_request_with_the_same_id(component, gateway, juliet):
    """Q5: the account's own client and the entity do not get each other's answers."""
    id_ = component.send_privileged_iq("get", JULIET, echo("entity"), to=GATEWAY, inner_id="same")
    entitys = gateway.expect(is_request("entity"))
    juliet.send_iq("get", GATEWAY, echo("client"), id=entitys.get("id"))
    clients = gateway.expect(is_request("client"))
    assert clients.get("from") == juliet.jid
    answer(gateway, clients, echo("for the client"))
    assert word_of(juliet.expect("iq", id=entitys.get("id"))) == "for the client"
    component.expect_nothing("iq", id=id_)
    answer(gateway, entitys, echo("for the entity"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "for the entity"
    juliet.expect_nothing("iq")


@pytest.mark.parametrize("type_", ["result", "error"])
def test_q5_a_forged_answer_changes_nothing(component, gateway, stranger, juliet, romeo, server, type_):
    """Q5: only the addressed JID can answer, whoever knows the id; the true answer still comes, once."""
    error = "<error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    content = echo("forged") + (error if type_ == "error" else "")
    id_ = component.send_privileged_iq("get", JULIET, echo("whom"), to="x@gateway.capulet.lit/res", inner_id="inner")
    request = gateway.expect(is_request("whom"))
    since = len(server.log())
    forgers = [
        (stranger, {"from_": "stranger.lit"}),
        (gateway, {"from_": GATEWAY}),
        (gateway, {"from_": "x@gateway.capulet.lit"}),
        (gateway, {"from_": "x@gateway.capulet.lit/RES"}),
        (gateway, {"from_": "y@gateway.capulet.lit/res"}),
        (component, {"from_": ENTITY}),
        (juliet, {"from_": None}),
        (romeo, {"from_": None}),
    ]
    for connection, attributes in forgers:
        for forged_id in (request.get("id"), "inner", id_):
            connection.send_iq(type_, JULIET, content, id=forged_id, **attributes)
        connection.sync()
    component.expect_nothing("iq", id=id_)
    assert loud_lines(server, since) == []
    answer(gateway, request, echo("true"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "true"
    component.expect_nothing("iq", id=id_)


def test_q5_a_forged_answer_from_another_resource(component, server):
    """Q5: neither another resource of the addressed user nor his bare JID may answer."""
    asked, other = server.client(ROMEO), server.client(ROMEO)
    id_ = component.send_privileged_iq("get", JULIET, echo("whom"), to=asked.jid)
    request = asked.expect(is_request("whom"))
    other.send_iq("result", JULIET, echo("forged"), id=request.get("id"))
    other.sync()
    component.expect_nothing("iq", id=id_)
    answer(asked, request, echo("true"), from_=None)
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "true"


def test_q5_a_second_answer_changes_nothing(component, gateway, juliet):
    """Q5: an answer counts once, whatever else comes from the right JID with the right id."""
    id_ = component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    for word in ("first", "second"):
        answer(gateway, request, echo(word))
    answer(gateway, request, "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", type_="error")
    gateway.sync()
    came = outer_answers(component)
    assert [word_of(inner_iq(s)) for s in came] == ["first"] and came[0].get("id") == id_
    juliet.expect_nothing("iq")


def test_q5_odd_answers(component, gateway):
    """Q5: an answer with an empty or a wrong id changes nothing; one with two children, with none, or an error without a
    condition is relayed."""
    id_ = component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    gateway.send(f"<iq type='result' from='{GATEWAY}' to='{JULIET}' id=''/>")
    gateway.send(f"<iq type='error' from='{GATEWAY}' to='{JULIET}' id='{request.get('id')}x'/>")
    answer(gateway, request)
    found = assert_wrapped(component.expect("iq", id=id_), account=JULIET, entity=ENTITY, id=id_, type_="result")
    assert len(found) == 0
    id_ = component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY)
    answer(gateway, gateway.expect(is_request()), echo("a") + echo("b"))
    assert len(inner_iq(component.expect("iq", id=id_))) == 2
    # An error that does not say what it is.
    id_ = component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY)
    answer(gateway, gateway.expect(is_request()), "", type_="error")
    got = component.expect("iq", id=id_)
    assert got.get("type") == "error" and inner_iq(got).get("type") == "error"


def test_q5_five_thousand_in_flight(component, gateway):
    """Q5, Q6: 5,000 requests of two accounts, answered in random order, each get their own answer."""
    count = 5000
    accounts = (JULIET, NURSE)
    ids = [
        component.send_privileged_iq("get", accounts[n % 2], echo(n), to=GATEWAY, inner_id=f"i{n % 7}") for n in range(count)
    ]
    component.sync()
    requests = [s for s in gateway.drain() if is_request()(s)]
    assert [int(word_of(s)) for s in requests] == list(range(count))
    assert len({s.get("id") for s in requests}) == count
    random.Random(356).shuffle(requests)
    for request in requests:
        answer(gateway, request, echo("answer " + word_of(request)))
    gateway.sync()
    got = {s.get("id"): s for s in outer_answers(component)}
    assert len(got) == count
    for number, id_ in enumerate(ids):
        assert got[id_].get("from") == accounts[number % 2]
        found = inner_iq(got[id_])
        assert (found.get("id"), word_of(found)) == (f"i{number % 7}", f"answer {number}")


# Q6: limits and time


def test_q6_ten_thousand_by_default(start_server):
    """Q6: an entity may have 10,000 requests in flight; beyond it `wait/resource-constraint` comes until one is answered; each
    entity has its own limit."""
    server = start_server(log_level="warn")
    component, gateway, stranger = server.component(), server.component(GATEWAY), server.component("stranger.lit")
    for number in range(10_000):
        component.send_privileged_iq("get", JULIET, echo(number), to="stranger.lit")
    component.sync()
    assert not [s for s in component.drain() if local(s) == "iq"]
    requests = [s for s in stranger.drain() if is_request()(s)]
    assert len(requests) == 10_000
    got = component.privileged_iq("get", NURSE, echo("one more"), to="stranger.lit")
    assert error_of(got)[:2] == ("wait", "resource-constraint")
    stranger.expect_nothing(is_request())
    gateway.send_privileged_iq("get", JULIET, echo("other"), to="stranger.lit")
    stranger.expect(is_request("other"))
    answer(stranger, requests[77], echo("done"))
    assert word_of(inner_iq(component.expect("iq"))) == "done"
    component.send_privileged_iq("get", NURSE, echo("again"), to="stranger.lit")
    stranger.expect(is_request("again"))


@pytest.mark.parametrize("how", ["host", "global"])
def test_q6_configured_limit(start_server, how):
    """Q6: `privilege_iq_limit` sets the limit; a request that the server answers itself does not stay in flight."""
    options = {"privilege_iq_limit": 3}
    server = start_server(**({"host_options": {"capulet.lit": options}} if how == "host" else {"options": options}))
    component, gateway = server.component(), server.component(GATEWAY)
    for _ in range(10):
        assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"
    ids = [component.send_privileged_iq("get", JULIET, echo(n), to=GATEWAY) for n in range(5)]
    component.sync()
    refused = [s for s in component.drain() if s.get("type") == "error"]
    assert [s.get("id") for s in refused] == ids[3:]
    for stanza in refused:
        assert_refused(stanza, "wait", "resource-constraint")
    requests = [s for s in gateway.drain() if is_request()(s)]
    assert [word_of(s) for s in requests] == ["0", "1", "2"]
    # Refused ones take no place, answered ones give theirs back.
    answer(gateway, requests[1], echo())
    component.expect("iq", id=ids[1])
    component.send_privileged_iq("get", JULIET, echo("next"), to=GATEWAY)
    gateway.expect(is_request("next"))
    assert error_of(component.privileged_iq("get", JULIET, echo("full"), to=GATEWAY))[1] == "resource-constraint"


def test_q6_timeout(start_server):
    """Q6: no answer within `privilege_iq_timeout` is `wait/remote-server-timeout`; a late answer changes nothing, and the place
    is free again."""
    server = start_server(options={"privilege_iq_timeout": 1, "privilege_iq_limit": 2})
    component, gateway = server.component(), server.component(GATEWAY)
    ids = [component.send_privileged_iq("get", account, echo(account), to=GATEWAY, inner_id="late") for account in (JULIET, NURSE)]
    requests = [gateway.expect(is_request(account)) for account in (JULIET, NURSE)]
    component.expect_nothing("iq")
    for id_, account in zip(ids, (JULIET, NURSE)):
        got = component.expect("iq", id=id_, timeout=8)
        assert got.get("type") == "error" and (got.get("from"), got.get("to")) == (account, ENTITY)
        assert error_of(got)[:2] == ("wait", "remote-server-timeout")
    for request in requests:
        answer(gateway, request, echo("late"))
    gateway.sync()
    component.expect_nothing("iq")
    for word in ("a", "b"):
        component.send_privileged_iq("get", JULIET, echo(word), to=GATEWAY)
        answer(gateway, gateway.expect(is_request(word)), echo("in time"))
    component.sync()
    assert [word_of(inner_iq(s)) for s in outer_answers(component)] == ["in time"] * 2


@pytest.mark.parametrize("how", ["close", "abort", "replaced"])
def test_q6_the_entity_goes(start_server, how):
    """Q6: nothing is leaked when the entity disconnects: its next connection gets none of the old answers and has all
    places."""
    server = start_server(options={"privilege_iq_limit": 3})
    component, gateway = server.component(), server.component(GATEWAY)
    gateway.drain()
    for number in range(3):
        component.send_privileged_iq("get", JULIET, echo(number), to=GATEWAY)
    component.sync()
    requests = [s for s in gateway.drain() if is_request()(s)]
    if how == "replaced":
        component = server.component()
    else:
        getattr(component, how)()
        server.wait_until(
            "local session = hosts['pubsub.capulet.lit'].modules.component.session; return not session or session.destroyed"
        )
        component = server.component()
    component.permissions()
    for request in requests:
        answer(gateway, request, echo("too late"))
    gateway.sync()
    component.expect_nothing()
    for number in range(3):
        component.send_privileged_iq("get", JULIET, echo(f"new {number}"), to=GATEWAY)
    component.sync()
    again = [s for s in gateway.drain() if is_request()(s)]
    assert [word_of(s) for s in again] == ["new 0", "new 1", "new 2"]
    assert not {s.get("id") for s in again} & {s.get("id") for s in requests}
    for request in again:
        answer(gateway, request, echo("answer"))
    gateway.sync()
    assert len(outer_answers(component)) == 3


def test_q6_the_entity_is_gone_when_it_is_answered(component, gateway, server):
    """Q6: where the entity is gone when the answer comes, nobody is told."""
    component.send_privileged_iq("get", JULIET, echo(), to=GATEWAY)
    request = gateway.expect(is_request())
    component.close()
    answer(gateway, request, echo("too late"))
    gateway.drain()
    gateway.expect_nothing("iq")


def test_q6_the_target_goes(start_server):
    """Q6: a target that disconnects does not answer; the requests time out and leave nothing behind."""
    server = start_server(options={"privilege_iq_timeout": 1, "privilege_iq_limit": 1})
    component, gateway, romeo = server.component(), server.component(GATEWAY), server.client(ROMEO)
    for target, to in ((gateway, GATEWAY), (romeo, romeo.jid)):
        id_ = component.send_privileged_iq("get", JULIET, echo(to), to=to)
        target.expect(is_request(to))
        target.close()
        got = component.expect("iq", id=id_, timeout=8)
        assert error_of(got)[0:2] == ("wait", "remote-server-timeout")
    assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"


def test_q6_the_account_goes(start_server):
    """Q6, L7: where an account is deleted while its request is in flight, the place is free again after the timeout at the
    latest."""
    server = start_server(options={"privilege_iq_timeout": 1, "privilege_iq_limit": 1})
    component, gateway = server.component(), server.component(GATEWAY)
    id_ = component.send_privileged_iq("get", JULIET, echo("last"), to=GATEWAY)
    request = gateway.expect(is_request("last"))
    server.delete_account(JULIET)
    assert_refused(component.privileged_iq("get", JULIET, echo("ghost"), to=GATEWAY), "auth", "forbidden")
    answer(gateway, request, echo("too late"))
    gateway.sync()
    # Any answer will do, but there is only one.
    component.expect("iq", id=id_, timeout=8)
    id_ = component.send_privileged_iq("get", NURSE, echo("next"), to=GATEWAY)
    answer(gateway, gateway.expect(is_request("next")), echo("fine"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "fine"
    component.expect_nothing("iq")


def test_q6_reload_with_requests_in_flight(start_server):
    """Q6, L1: a reload neither raises an error nor leaves a request unanswered for ever."""
    server = start_server(options={"privilege_iq_timeout": 1})
    component, gateway = server.component(), server.component(GATEWAY)
    id_ = component.send_privileged_iq("get", JULIET, echo("before"), to=GATEWAY)
    request = gateway.expect(is_request("before"))
    server.reload_module()
    answer(gateway, request, echo("after"))
    got = component.expect("iq", id=id_, timeout=8)
    assert got.get("type") in ("result", "error")
    id_ = component.send_privileged_iq("get", JULIET, echo("anew"), to=GATEWAY)
    answer(gateway, gateway.expect(is_request("anew")), echo("fine"))
    assert word_of(inner_iq(component.expect("iq", id=id_))) == "fine"


# The entity may be an account


BOT = "tybalt@capulet.lit"


@pytest.fixture
def bots_server(start_server):
    grant = {"roster": "both", "message": "outgoing", "iq": IQ_GRANTS}
    return start_server(privileged_entities={"capulet.lit": {BOT: grant}}, options={"privilege_iq_limit": 3})


# Clients send these as components do.
def privileged_iq(client, *arguments, **options) -> ET.Element:
    id_ = send_privileged_iq(client, *arguments, **options)
    return client.expect(lambda s: local(s) == "iq" and s.get("id") == id_ and s.get("type") in ("result", "error"))


def test_q4_an_account_as_the_entity(bots_server):
    """Q4, Q1: the answer comes to the resource that asked, to no other, and stream management stays in sync."""
    server = bots_server
    bot, other, romeo = server.client(BOT, smacks=True), server.client(BOT), server.client(ROMEO)
    other.drain()
    got = privileged_iq(bot, "get", JULIET, PING, to="capulet.lit", id="p", inner_id="i")
    assert assert_wrapped(got, account=JULIET, entity=bot.jid, id="p", type_="result").get("id") == "i"
    assert error_of(privileged_iq(bot, "get", JULIET, echo(), to="capulet.lit"))[1] == "service-unavailable"
    assert_refused(privileged_iq(bot, "get", "nobody@capulet.lit", PING, to="capulet.lit"), "auth", "forbidden")
    assert_refused(privileged_iq(bot, "get", JULIET, "<x xmlns='urn:example:secret'/>"), "auth", "forbidden")
    privileged_message(bot, message_from(JULIET, ROMEO, body("as juliet")))
    assert romeo.expect("message").get("from") == JULIET
    assert_refused(bot.expect("message", id=privileged_message(bot, message_from(ROMEO, NURSE, body("x")))), "auth", "forbidden")
    id_ = send_privileged_iq(bot, "set", JULIET, "<query xmlns='urn:xmpp:mam:2'/>")
    bot.expect("iq", id=id_)
    assert len([s for s in bot.inbox if relayed_message(s) is not None]) == 1
    id_ = send_privileged_iq(bot, "get", JULIET, echo("whom"), to=romeo.jid)
    answer(romeo, romeo.expect(is_request("whom")), echo("me"), from_=None)
    assert word_of(inner_iq(bot.expect("iq", id=id_))) == "me"
    bot.sync()
    # The server has counted exactly these stanzas: it accepts this acknowledgement, and one more ends the stream.
    bot.send(f"<a xmlns='urn:xmpp:sm:3' h='{bot.sm_handled}'/>")
    bot.sync()
    bot.send(f"<a xmlns='urn:xmpp:sm:3' h='{bot.sm_handled + 1}'/>")
    assert bot.expect_closed() is not None
    other.expect_nothing(lambda s: local(s) in ("iq", "message"))


def test_q4_an_account_as_the_entity_gets_the_answer_as_it_was(bots_server):
    """Q4: the answer comes to a client as it was sent, elements without a namespace and attributes with one included."""
    server = bots_server
    bot, gateway = server.client(BOT), server.component(GATEWAY)
    for type_, more in (("result", ""), ("error", "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")):
        content = (
            "<x xmlns='urn:example:echo' xmlns:o='urn:example:other' o:c='3' xml:lang='fr'>mixed<o:y/>text"
            f"<z xmlns='' a='1'><w/></z><c xmlns='jabber:client'/></x>{more}"
        )
        id_ = send_privileged_iq(bot, "get", JULIET, echo(type_), to=GATEWAY)
        request = gateway.expect(is_request(type_))
        gateway.send_iq(type_, request.get("from"), content, id=request.get("id"))
        got = assert_wrapped(bot.expect("iq", id=id_), account=JULIET, entity=bot.jid, id=id_, type_=type_)
        sent = ET.fromstring(f"<iq xmlns='jabber:client'>{content}</iq>")
        assert [canonical(child) for child in got] == [canonical(child) for child in sent]


def test_q6_an_account_as_the_entity_goes(bots_server):
    """Q6: the requests of a resource are forgotten with it; another resource gets none of its answers."""
    server = bots_server
    bot, gateway = server.client(BOT, resource="first"), server.component(GATEWAY)
    for number in range(3):
        send_privileged_iq(bot, "get", JULIET, echo(number), to=GATEWAY)
    bot.sync()
    gateway.sync()
    requests = [gateway.expect(is_request(number)) for number in range(3)]
    assert error_of(privileged_iq(bot, "get", JULIET, echo("full"), to=GATEWAY))[:2] == ("wait", "resource-constraint")
    bot.close()
    other = server.client(BOT, resource="second")
    for request in requests[:2]:
        answer(gateway, request, echo("too late"))
    again = server.client(BOT, resource="first")
    answer(gateway, requests[2], echo("too late"))
    gateway.sync()
    for client in (other, again):
        client.expect_nothing(lambda s: local(s) == "iq" and s.get("from") == JULIET)
    for number in range(3):
        send_privileged_iq(other, "get", JULIET, echo(f"new {number}"), to=GATEWAY)
        answer(gateway, gateway.expect(is_request(f"new {number}")), echo("fine"))
    gateway.sync()
    other.sync()
    assert len([s for s in other.inbox if s.get("from") == JULIET and s.get("type") == "result"]) == 3
