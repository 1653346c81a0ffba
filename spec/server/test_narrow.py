"""G1 to G4 and G7: grants that are narrowed to what a gateway needs."""

from __future__ import annotations

import pytest

from harness import PUBSUB, PUBSUB_OWNER, REPO, Prosody
from helpers import is_message_with_body
from test_config import permissions
from test_roster import get_roster, must_set, set_roster, state
from watching import is_push, pushed
from wire import body, error_of, inner_iq, local, message_from, payload, text_of
from words import COMMANDS, FORBIDDEN, item

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"
GATEWAY, WIDE, BOT = "gateway.capulet.lit", "wide.lit", "benvolio@montague.lit"
PUPPET = f"tybalt@{GATEWAY}"
NODES = ("urn:xmpp:bookmarks:1", "urn:xmpp:mds:displayed:0")
BOOKMARKS, DISPLAYED = NODES
UPLOAD = "urn:xmpp:http:upload:0"
ECHO = "urn:example:echo"
EVENT = f"<event xmlns='{PUBSUB}#event'><items node='{BOOKMARKS}'><item id='x'/></items></event>"

NARROW = {
    GATEWAY: {
        "roster": {"type": "both", "contacts": "own"},
        "message": "own",
        "presence": "roster",
        "iq": {
            PUBSUB: {"type": "both", "to": "self", "nodes": list(NODES)},
            PUBSUB_OWNER: {"type": "set", "to": "self", "nodes": [DISPLAYED]},
            ECHO: {"type": "get", "to": ["stranger.lit", ROMEO]},
            "urn:example:own": {"type": "get", "to": "own"},
        },
    },
    WIDE: {"roster": "both", "message": "outgoing", "presence": "roster", "iq": {PUBSUB: "both", COMMANDS: "both"}},
    "profile.lit": {"profile": "gateway"},
    "beside.lit": {
        "profile": "gateway",
        "message": "none",
        "roster_push": False,
        "iq": {UPLOAD: "none", PUBSUB: "get", ECHO: "set"},
    },
    "service.lit": {"profile": "pubsub"},
    BOT: {"message": "own"},
}


@pytest.fixture(scope="module")
def session_server():
    others = ("wide.lit", "profile.lit", "beside.lit", "service.lit")
    with Prosody(privileged_entities={"capulet.lit": NARROW}, components=others) as running:
        running.expect_errors(r'entity "benvolio@montague.lit": option "message": found "own"')
        running.check_log()
        yield running


def publish(node: str, content: str = "<x xmlns='urn:x'/>") -> str:
    return f"<publish node='{node}'><item id='current'>{content}</item></publish>"


def pubsub(content: str, namespace: str = PUBSUB) -> str:
    return f"<pubsub xmlns='{namespace}'>{content}</pubsub>"


def refused(answer, rule_words: str) -> bool:
    """Whether an IQ was refused as what is not granted is, with a text that names the option."""
    kind, condition, text = error_of(answer)
    return (kind, condition) == FORBIDDEN and rule_words in text


# G1


def test_g1_only_own_contacts_are_read_set_and_pushed(server, gateway):
    """G1: a get shows own contacts only, a set that touches any other is refused as a whole, pushes of others are not sent."""
    wide = server.component(WIDE)
    must_set(wide, JULIET, item(ROMEO, name="Romeo"), item(PUPPET, name="Tybalt"), item(f"x@a.{GATEWAY}"), item("x@capulet.lit.evil"))
    assert list(get_roster(gateway, JULIET)) == [PUPPET]
    before = state(server, JULIET)
    for wrong in (item(ROMEO, name="Mine"), item(f"x@a.{GATEWAY}"), item(f"x@x{GATEWAY}"), item("capulet.lit"), item(f"{ROMEO}", subscription="remove")):
        answer = set_roster(gateway, JULIET, item(f"new@{GATEWAY}"), wrong)
        assert refused(answer, 'contacts = "own"'), text_of(answer)
    assert state(server, JULIET) == before
    gateway.drain()
    must_set(gateway, JULIET, item(GATEWAY, name="The gateway", subscription="both"), item(f"new@{GATEWAY}", subscription="both"))
    assert set(get_roster(gateway, JULIET)) == {PUPPET, GATEWAY, f"new@{GATEWAY}"}
    assert set(get_roster(wide, JULIET)) >= {ROMEO, GATEWAY, f"new@{GATEWAY}"}
    must_set(wide, JULIET, item("other@montague.lit"), item(PUPPET, name="Renamed"))
    told = [contact for contact, _ in pushed(gateway, JULIET)]
    assert sorted(told) == sorted([GATEWAY, f"new@{GATEWAY}", PUPPET])


def test_g1_the_version_is_that_of_what_is_shown(server, gateway):
    """G1: `ver` is that of what is shown: it changes when an own contact does, and at no other time."""
    wide = server.component(WIDE)
    must_set(wide, JULIET, item(PUPPET), item(ROMEO))

    def ver() -> str:
        return payload(gateway.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")).get("ver")

    def is_current(version: str) -> bool:
        return len(gateway.iq("get", JULIET, f"<query xmlns='jabber:iq:roster' ver='{version}'/>")) == 0

    first = ver()
    assert first and is_current(first)
    must_set(wide, JULIET, item("another@montague.lit"))
    assert ver() == first and is_current(first)
    must_set(wide, JULIET, item(PUPPET, name="Renamed"))
    assert ver() != first and not is_current(first)
    # The version of the whole roster tells nothing here.
    whole = payload(wide.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")).get("ver")
    assert not is_current(whole)
    gateway.drain()
    must_set(wide, JULIET, item(PUPPET, name="Again"))
    assert [payload(stanza).get("ver") for stanza in gateway.drain() if is_push(stanza)] == [None]


def test_g1_the_presence_of_contacts_is_narrowed_alike(server):
    """G1: contacts' presence is narrowed alike, since it shows every contact's address."""
    for host, user, jid, subscription in (("capulet.lit", "juliet", ROMEO, "to"), ("montague.lit", "romeo", JULIET, "from")):
        server.lua(
            "put_roster_item(u, h, jid, { subscription = s, groups = {} })", h=host, u=user, jid=jid, s=subscription
        )
    juliet, gateway, wide = server.client(JULIET), server.component(GATEWAY), server.component(WIDE)
    for peer in (gateway, wide):
        peer.expect("presence", from_=juliet.jid)
    romeo = server.client(ROMEO)
    wide.expect("presence", from_=romeo.jid)
    romeo.send_presence(content="<status>here</status>")
    wide.expect("presence", from_=romeo.jid)
    gateway.expect_nothing(lambda s: local(s) == "presence" and s.get("from").startswith(ROMEO))


# G2, M8


def test_g2_messages_go_to_own_addresses_and_to_the_account(gateway, juliet, romeo):
    """G2: messages only to addresses in the entity's own domain and to the account itself; advertised as outgoing."""
    assert permissions(gateway.permissions())["message"] == "outgoing"
    gateway.privileged_message(message_from(JULIET, PUPPET, body("to a puppet"), id="g2-own"))
    assert gateway.expect("message", id="g2-own").get("from") == JULIET
    for to in (JULIET, juliet.jid, None):
        gateway.privileged_message(message_from(JULIET, to, body("to herself"), id="g2-self"))
        assert juliet.expect("message", id="g2-self").get("from") == JULIET
    for to in (ROMEO, NURSE, f"x@a.{GATEWAY}", "capulet.lit", "montague.lit/x"):
        gateway.privileged_message(message_from(JULIET, to, body("to another"), id="g2-other"), id="w")
        error = gateway.expect("message", type="error", id="w")
        assert refused(error, 'message = "own"'), to
    gateway.privileged_message(message_from("capulet.lit", PUPPET, body("of the host"), id="g2-host"))
    assert gateway.expect("message", id="g2-host").get("from") == "capulet.lit"
    for to in (JULIET, ROMEO):
        gateway.privileged_message(message_from("capulet.lit", to, body("of the host")), id="w")
        assert refused(gateway.expect("message", type="error", id="w"), 'message = "own"')
    romeo.expect_nothing("message")


def test_m8_no_pubsub_events_where_messages_or_nodes_are_narrowed(gateway, juliet):
    """M8: with message = "own", or pubsub narrowed by nodes, pubsub events are refused, also in a carbon."""
    inner = f"<message xmlns='jabber:client' from='{JULIET}' to='{PUPPET}'>{EVENT}</message>"
    carbon = f"<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></sent>"
    for to, content in ((JULIET, EVENT), (PUPPET, EVENT), (JULIET, carbon)):
        gateway.privileged_message(message_from(JULIET, to, content), id="w")
        assert error_of(gateway.expect("message", type="error", id="w"))[:2] == ("modify", "not-acceptable"), content
    harmless = carbon.replace(EVENT, body("written elsewhere"))
    gateway.privileged_message(message_from(JULIET, JULIET, harmless, id="c"))
    assert juliet.expect("message", id="c")


def test_g2_an_account_has_no_domain_of_its_own(server):
    """G2: an account entity sends to the account itself alone, and the log says so."""
    bot = server.client(BOT)
    juliet = server.client(JULIET)
    bot.send_message("capulet.lit", _wrapped(message_from(JULIET, NURSE, body("x"))), type_=None, id="w")
    assert refused(bot.expect("message", type="error", id="w"), 'message = "own"')
    bot.send_message("capulet.lit", _wrapped(message_from(JULIET, JULIET, body("x"), id="g2-bot")), type_=None)
    assert juliet.expect("message", id="g2-bot")


def _wrapped(inner: str) -> str:
    return f"<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege>"


# G3


def test_g3_pubsub_of_listed_nodes_and_of_nothing_else(server, gateway, juliet):
    """G3: requests about the listed nodes of the account itself are sent; any other leaves every node as it was."""
    options = "<publish-options><x xmlns='jabber:x:data' type='submit'/></publish-options>"
    for node in NODES:
        done = gateway.privileged_iq("set", JULIET, pubsub(publish(node) + options))
        assert inner_iq(done).get("type") == "result", text_of(done)
        got = gateway.privileged_iq("get", JULIET, pubsub(f"<items node='{node}'/>"))
        assert inner_iq(got)[0][0][0].get("id") == "current"
    juliet.iq("set", None, pubsub(publish("urn:example:secret")))
    for content in (
        publish("urn:example:secret", "<forged xmlns='urn:x'/>"),
        # The server acts on the first child: the second one would carry it in.
        publish("urn:example:secret", "<forged xmlns='urn:x'/>") + publish(BOOKMARKS),
        publish(BOOKMARKS) + publish("urn:example:secret", "<forged xmlns='urn:x'/>"),
        publish(BOOKMARKS) + "<retract node='urn:example:secret'><item id='current'/></retract>",
        f"<publish><item id='current' node='{BOOKMARKS}'/></publish>",
        f"<publish xmlns:n='urn:n' n:node='{BOOKMARKS}'><item id='current'/></publish>",
        "<create/>",
    ):
        answer = gateway.privileged_iq("set", JULIET, pubsub(content))
        assert refused(answer, "nodes = ..."), content
    for content in ("<items node='urn:example:secret'/>", "<items/>", "<subscriptions/>", ""):
        assert refused(gateway.privileged_iq("get", JULIET, pubsub(content)), "nodes = ..."), content
    got = juliet.iq("get", None, pubsub("<items node='urn:example:secret'/>"))
    assert "forged" not in text_of(got) and "current" in text_of(got)


def test_g3_owner_requests_name_their_node(server, gateway, juliet):
    """G3: a configuration without a node, or of another one, is refused: it would open what only the account may open."""
    juliet.iq("set", None, pubsub(publish(DISPLAYED)))
    juliet.iq("set", None, pubsub(publish(BOOKMARKS)))
    form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field><field var='pubsub#access_model'><value>whitelist</value></field></x>"
    done = gateway.privileged_iq("set", JULIET, pubsub(f"<configure node='{DISPLAYED}'>{form}</configure>", PUBSUB_OWNER))
    assert inner_iq(done).get("type") == "result", text_of(done)
    for content in (
        f"<configure>{form}</configure>",
        f"<configure node='{BOOKMARKS}'>{form}</configure>",
        f"<configure node='{DISPLAYED}'>{form}</configure><delete node='{BOOKMARKS}'/>",
    ):
        assert refused(gateway.privileged_iq("set", JULIET, pubsub(content, PUBSUB_OWNER)), "nodes = ..."), content


def test_g3_recipients(server, gateway, stranger, romeo):
    """G3: `to` names who may be addressed: the account itself, the entity's own addresses, or those of a list."""
    payload_ = f"<echo xmlns='{ECHO}'/>"
    for to in (None, JULIET, GATEWAY, "capulet.lit", f"{ROMEO}/x", "romeo@capulet.lit"):
        assert refused(gateway.privileged_iq("get", JULIET, payload_, to=to), "to = ..."), to
    for to in ("stranger.lit", "somebody@stranger.lit"):
        gateway.send_privileged_iq("get", JULIET, payload_, to=to)
        assert stranger.expect("iq", type="get").get("from") == JULIET
    assert refused(gateway.privileged_iq("get", JULIET, pubsub("<items node='urn:xmpp:bookmarks:1'/>"), to=NURSE), "to = ...")
    assert refused(gateway.privileged_iq("get", JULIET, "<own xmlns='urn:example:own'/>", to="stranger.lit"), "to = ...")
    gateway.send_privileged_iq("get", JULIET, "<own xmlns='urn:example:own'/>", to=PUPPET)
    assert gateway.expect("iq", type="get", to=PUPPET).get("from") == JULIET


# G4


def test_g4_a_profile_is_a_ready_grant(server):
    """G4: a profile grants what it says; options beside it win, `iq` namespace by namespace."""
    ready = {
        "roster": ("both", "true"),
        "message": "outgoing",
        "iq": {PUBSUB: "both", PUBSUB_OWNER: "set", UPLOAD: "get"},
    }
    assert permissions(server.component("profile.lit").permissions()) == ready
    assert permissions(server.component("beside.lit").permissions()) == {
        "roster": ("both", "false"),
        "iq": {PUBSUB: "get", PUBSUB_OWNER: "set", ECHO: "set"},
    }
    assert permissions(server.component("service.lit").permissions()) == {
        "roster": ("get", "true"), "message": "outgoing", "presence": "roster",
    }


def test_g4_what_the_gateway_profile_refuses(server, juliet):
    """G4: the profile "gateway" is narrowed to own contacts, own addresses, and two nodes of the account itself."""
    entity = server.component("profile.lit")
    must_set(entity, JULIET, item("x@profile.lit", subscription="both"))
    assert refused(set_roster(entity, JULIET, item(ROMEO)), 'contacts = "own"')
    entity.privileged_message(message_from(JULIET, ROMEO, body("x")), id="w")
    assert refused(entity.expect("message", type="error", id="w"), 'message = "own"')
    assert refused(entity.privileged_iq("get", JULIET, pubsub("<items node='eu.siacs.conversations.axolotl.devicelist'/>")), "nodes = ...")
    assert refused(entity.privileged_iq("set", JULIET, pubsub(f"<delete node='{BOOKMARKS}'/>", PUBSUB_OWNER)), "nodes = ...")
    assert inner_iq(entity.privileged_iq("set", JULIET, pubsub(publish(BOOKMARKS)))).get("type") == "result"


# G7


def test_g7_never_a_blocklist_nor_the_command_of_the_user(server, juliet):
    """G7: requests of XEP-0191, and the user's own command, are never sent in an account's name, whatever is granted."""
    wide = server.component(WIDE)
    for kind, content in (
        ("get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
        ("set", f"<unblock xmlns='urn:xmpp:blocking'><item jid='{WIDE}'/></unblock>"),
        ("set", f"<command xmlns='{COMMANDS}' node='urn:xmpp:privilege:2#services' action='execute'/>"),
    ):
        answer = wide.privileged_iq(kind, JULIET, content, to="capulet.lit" if "command" in content else None)
        assert error_of(answer)[:2] == FORBIDDEN, text_of(answer)
    other = wide.privileged_iq("set", JULIET, f"<command xmlns='{COMMANDS}' node='urn:other' action='execute'/>", to="capulet.lit")
    assert inner_iq(other).get("type") == "error"  # it reached the host, which has no such command


# Downgrades


class Community(Prosody):
    """A server with the community module of the same name."""

    def write_config(self):
        self.options["plugin_paths"] = [self.inside(REPO / "spec" / "support" / "plugins")]
        super().write_config()


def test_g1_the_community_module_grants_nothing_of_what_is_narrowed():
    """G1, G2, G3, G4: narrowed grants are written in values and tables that the community module refuses."""
    narrowed = {entity: grant for entity, grant in NARROW.items() if entity in (GATEWAY, "profile.lit")}
    narrowed["message.lit"] = {"message": "own", "iq": {PUBSUB: {"type": "both", "to": "self", "nodes": list(NODES)}}}
    components = ("profile.lit", "message.lit")
    with Community(
        privileged_entities={"capulet.lit": narrowed}, components=components,
        host_options={name: {"modules_enabled": ["privilege"]} for name in (GATEWAY, *components)},
    ) as server:
        romeo = server.client(ROMEO)
        for name in (GATEWAY, *components):
            entity = server.component(name)
            entity.send_message("capulet.lit", _wrapped(message_from(JULIET, ROMEO, body("x"))), type_=None)
            answer = entity.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>")
            assert answer.get("type") == "error", text_of(answer)
            answer = entity.privileged_iq("get", JULIET, pubsub(f"<items node='{BOOKMARKS}'/>"))
            assert answer.get("type") == "error", text_of(answer)
        romeo.sync()
        romeo.expect_nothing(is_message_with_body("x"))
