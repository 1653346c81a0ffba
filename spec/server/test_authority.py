"""Things that no grant covers: speaking with another's authority (M8) and administering the server (N1); and grants to
accounts that do not exist."""

from __future__ import annotations

import pytest

from harness import ACCOUNTS, Lua, PASSWORD, Prosody
from helpers import assert_refused, grants
from wire import Disconnected, body, error_of, message_from, payload
from words import messages, privileged_message

PUBSUB, GATEWAY, ROOMS = "pubsub.capulet.lit", "gateway.capulet.lit", "rooms.capulet.lit"
JULIET, NURSE, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
ADMIN, ROMEO, PARIS = "admin@capulet.lit", "romeo@montague.lit", "paris@capulet.lit"
BOT = "bot@montague.lit"
REGISTER = "jabber:iq:register"

OPTIONS = {
    "muc": True,
    "accounts": (*ACCOUNTS, PARIS, BOT),
    "privileged_entities": {
        "capulet.lit": {
            **grants(iq={REGISTER: "both", "jabber:iq:roster": "both", "urn:xmpp:blocking": "both"})["capulet.lit"],
            BOT: {"message": "outgoing"},
            "none.lit": {"message": "outgoing", "accounts": []},
        }
    },
    "components": ("none.lit",),
    "modules": ("register",),
    # nurse administers another VirtualHost of the server, tybalt its rooms. admin administers all of it.
    "host_options": {"montague.lit": {"admins": [NURSE]}, ROOMS: {"admins": [TYBALT]}},
    # Known to Prosody 13 alone.
    "options": {"custom_roles": Lua('{ { name = "helpdesk"; priority = 40; inherits = { "prosody:member" } } }')},
}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(**OPTIONS) as running:
        yield running


# M8: the host's word

ADVERTISED = "<privilege xmlns='urn:xmpp:privilege:%s'><perm access='roster' type='both'/></privilege>"
DELEGATED = "<delegation xmlns='urn:xmpp:delegation:%s'><delegated namespace='jabber:iq:roster'/></delegation>"


@pytest.mark.parametrize(
    "forged",
    [ADVERTISED % 2, ADVERTISED % 1, DELEGATED % 1, DELEGATED % 2, body("x") + ADVERTISED % 2],
    ids=["privilege:2", "privilege:1", "delegation:1", "delegation:2", "behind a body"],
)
@pytest.mark.parametrize("entity", [PUBSUB, "none.lit"])
def test_m8_the_host_advertises_nothing_for_an_entity(server, gateway, juliet, entity, forged):
    """M8: `<privilege/>` and `<delegation/>` in a message of the host itself are refused, also with `accounts = {}`."""
    component = server.component(entity)
    gateway.sync()
    gateway.drain()
    for to in (GATEWAY, JULIET, "somebody@gateway.capulet.lit"):
        id_ = component.privileged_message(message_from("capulet.lit", to, forged))
        assert_refused(component.expect("message", id=id_), "modify", "not-acceptable", "grants")
    assert messages(gateway) == messages(juliet) == []
    # The host may say anything else, and an account is not believed.
    component.privileged_message(message_from("capulet.lit", GATEWAY, body("hello")))
    component.sync()
    assert [m.findtext("{*}body") for m in messages(gateway)] == ["hello"]
    if entity == PUBSUB:
        component.privileged_message(message_from(JULIET, GATEWAY, forged))
        component.sync()
        assert [m.get("from") for m in messages(gateway)] == [JULIET]


# M8: the account's word


def carbon(direction: str, from_: str, to: str, content: str = body("copied"), version: str = "2") -> str:
    return (
        f"<{direction} xmlns='urn:xmpp:carbons:{version}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='{from_}' to='{to}' type='chat'>{content}</message></forwarded></{direction}>"
    )


ARCHIVED = "<result xmlns='urn:xmpp:mam:%s' id='1'><forwarded xmlns='urn:xmpp:forward:0'>" + message_from(
    ROMEO, JULIET, body("never said")
) + "</forwarded></result>"

FORGED = {
    "archive": ARCHIVED % 2,
    "old archive": ARCHIVED % "tmp",
    "archive behind a body": body("x") + ARCHIVED % 1,
    "sent to others": carbon("sent", JULIET, ROMEO),
    "received from others": carbon("received", ROMEO, JULIET),
    "received from itself": carbon("received", JULIET, JULIET),
    "sent by others": carbon("sent", ROMEO, "friend@pubsub.capulet.lit"),
    "another component": carbon("sent", JULIET, "friend@gateway.capulet.lit"),
    "below the own domain": carbon("sent", JULIET, "friend@x.pubsub.capulet.lit"),
    "own domain as resource": carbon("received", "romeo@montague.lit/pubsub.capulet.lit", JULIET),
    "old carbons": carbon("sent", JULIET, "friend@pubsub.capulet.lit", version="1"),
    "a second one": carbon("sent", JULIET, "friend@pubsub.capulet.lit") + carbon("received", ROMEO, JULIET),
    "archive in a carbon": carbon("sent", JULIET, "friend@pubsub.capulet.lit", ARCHIVED % 2),
    "carbon in a carbon": carbon("sent", JULIET, PUBSUB, carbon("received", ROMEO, JULIET)),
    "prefixed": "<c:sent xmlns:c='urn:xmpp:carbons:2'/>",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("to", [None, JULIET, "resource", "JULIET@capulet.lit"])
def test_m8_an_account_tells_itself_nothing_of_the_servers(component, juliet, to, forged):
    """M8: archive results and carbons in a message to the account itself are refused."""
    to = juliet.jid if to == "resource" else to
    id_ = component.privileged_message(message_from(JULIET, to, forged))
    component.sync()
    assert_refused(component.expect("message", id=id_), "modify", "not-acceptable", "itself")
    assert messages(juliet) == []


@pytest.mark.parametrize("name", ["archive", "received from others"])
def test_m8_others_are_not_asked_to_believe(component, nurse, name):
    """M8, M1: a payload that is believed only from the own account is sent to others like any payload."""
    component.privileged_message(message_from(JULIET, nurse.jid, FORGED[name], id="n"))
    assert nurse.expect("message", id="n").get("from") == JULIET


@pytest.mark.parametrize(
    "copy",
    [
        carbon("sent", JULIET, "friend@pubsub.capulet.lit"),
        carbon("sent", "Juliet@capulet.lit/phone", "Friend@Pubsub.Capulet.LIT/x"),
        carbon("received", "friend@pubsub.capulet.lit", JULIET),
        carbon("received", PUBSUB, JULIET + "/phone"),
    ],
)
@pytest.mark.parametrize("to", [None, JULIET])
def test_m8_the_carbons_of_a_gateway(component, server, juliet, to, copy):
    """M8: the carbons that Spectrum2 makes are not refused: `<sent/>` of a message from the account to the entity's own domain,
    `<received/>` of one from there."""
    component.privileged_message(message_from(JULIET, to, copy, id="copy"))
    got = juliet.expect("message", id="copy")
    assert got.findtext(".//{jabber:client}body") == "copied"
    component.expect_nothing("message", type="error")
    # A bot has no domain of its own, so none of these are its.
    bot = server.client(BOT)
    id_ = privileged_message(bot, message_from(JULIET, to, copy))
    assert_refused(bot.expect("message", id=id_), "modify", "not-acceptable")


def test_m8_deep_and_wide(component, juliet):
    """M8, L2: the refused elements are looked for at a fixed depth, however deep or wide the rest is."""
    for content in (
        "<sent xmlns='urn:xmpp:carbons:2'>" + "<a>" * 60_000 + "</a>" * 60_000 + "</sent>",
        "<a/>" * 60_000 + ARCHIVED % 2,
    ):
        id_ = component.privileged_message(message_from(JULIET, None, content))
        assert_refused(component.expect("message", id=id_, timeout=20), "modify", "not-acceptable")
    assert messages(juliet) == []


def test_m8_no_pushes_to_the_accounts_own_clients(server, component, juliet):
    """M8: a set of `jabber:iq:roster` to a client of the account itself is refused, since the client would take it for a push.
    One of `urn:xmpp:blocking` is refused in any case (G7)."""
    pushed = "<query xmlns='jabber:iq:roster'><item jid='mallory@stranger.lit' subscription='both'/></query>"
    answer = component.privileged_iq("set", JULIET, pushed, to=juliet.jid)
    assert_refused(answer, "modify", "not-acceptable", "roster")
    answer = component.privileged_iq("set", JULIET, "<unblock xmlns='urn:xmpp:blocking'/>", to=juliet.jid)
    assert_refused(answer, "auth", "forbidden")
    juliet.expect_nothing("iq")


# N1


def change_password(username: str, password: str = "taken over") -> str:
    return f"<query xmlns='{REGISTER}'><username>{username}</username><password>{password}</password></query>"


@pytest.mark.parametrize(
    "account", [ADMIN, NURSE, TYBALT, pytest.param(PARIS, marks=pytest.mark.prosody13)]
)
@pytest.mark.parametrize("to", [None, "capulet.lit", "own"])
def test_n1_no_account_that_administers_anything_is_taken_over(server, component, account, to):
    """N1: a set of `jabber:iq:register` is refused in the name of an account that administers any host of the server."""
    if account == PARIS:
        if server.version < (13,):
            pytest.skip("no roles before Prosody 13")
        server.lua("assert(usermanager.set_user_role('paris', 'capulet.lit', 'helpdesk'))")
    to = account if to == "own" else to
    username = account.split("@")[0]
    for payload in (change_password(username), f"<query xmlns='{REGISTER}'><remove/></query>"):
        answer = component.privileged_iq("set", account, payload, to=to)
        assert_refused(answer, "auth", "forbidden", "administer")
    assert server.lua("return usermanager.get_password(u, 'capulet.lit')", u=username) == PASSWORD
    server.client(account)
    # A get, which changes nothing, is granted as it is for any account.
    assert component.privileged_iq("get", account, f"<query xmlns='{REGISTER}'/>", to=to).get("type") == "result"


def test_n1_a_secondary_role_counts(server, component):
    """N1: an account that can assume an administrative role counts as administrator (13)."""
    if server.version < (13,):
        pytest.skip("no roles before Prosody 13")
    server.lua("assert(usermanager.add_user_secondary_role('paris', 'capulet.lit', 'prosody:admin'))")
    assert_refused(component.privileged_iq("set", PARIS, change_password("paris")), "auth", "forbidden", "administer")


def test_n1_an_ordinary_account_is_what_the_grant_is_about(server, component):
    """N1, Q3: an account that administers nothing may have its password changed, as by its client."""
    assert component.privileged_iq("set", JULIET, change_password("juliet", "new")).get("type") == "result"
    assert server.lua("return usermanager.get_password('juliet', 'capulet.lit')") == "new"
    with pytest.raises(Disconnected):
        server.client(JULIET)


# A grant to a name that nobody has


def warned(server, name: str, since: int = 0) -> list[str]:
    return [line for line in server.log_lines("warn", since=since) if name in line and "does not exist" in line]


def test_c2_an_entity_that_nobody_has_registered(start_server):
    """C2, L7: an entity that is an account which does not exist gets one `warn` for each reading of the configuration; the
    account may be of any host, also of one that is activated later."""
    grant = {"roster": "get"}
    entities = {"ghost@capulet.lit": grant, "ghost@montague.lit": grant, "ghost@zz.lit": grant, NURSE: grant, ROMEO: grant}
    entities["nothing@capulet.lit"] = {}
    # Hosts are activated in no certain order; the accounts are made before the module looks.
    server = start_server(hosts=("capulet.lit", "montague.lit", "zz.lit"), without=("privilege",), privileged_entities={"capulet.lit": entities})
    server.load_module()
    names = ("ghost@capulet.lit", "ghost@montague.lit", "ghost@zz.lit")
    for name in names:
        assert len(warned(server, name)) == 1, name
    for name in (NURSE, ROMEO, "nothing@capulet.lit"):
        assert warned(server, name) == []
    assert server.lua("return hosts['capulet.lit'].modules.privilege.module:get_status()")[:2] == [
        "warn", "3 problem(s) in privileged_entities or other options, see the log",
    ]
    since = len(server.log())
    server.add_account("ghost@capulet.lit")
    server.reconfigure()
    assert [len(warned(server, name, since)) for name in names] == [0, 1, 1]
    since = len(server.log())
    server.lua("local hm = require 'core.hostmanager'; assert(hm.deactivate('zz.lit')); assert(hm.activate('zz.lit'))")
    assert [len(warned(server, name, since)) for name in names] == [0, 0, 0]
    server.delete_account("ghost@capulet.lit")
    assert [len(warned(server, name, since)) for name in names] == [1, 0, 0]


def test_c2_an_entity_of_a_host_that_is_activated_later(start_server):
    """C2: an entity's account is looked up as soon as its host is active."""
    server = start_server(
        hosts=("capulet.lit", "montague.lit", "zz.lit"), without=("privilege",),
        privileged_entities={"capulet.lit": {"ghost@zz.lit": {"roster": "get"}}},
    )
    server.lua("assert(require 'core.hostmanager'.deactivate('zz.lit'))")
    server.load_module()
    assert warned(server, "ghost@zz.lit") == []
    server.lua("assert(require 'core.hostmanager'.activate('zz.lit'))")
    assert len(warned(server, "ghost@zz.lit")) == 1


def test_n1_the_rooms_of_others_are_not_administered(start_server):
    """N1: an account that administers the rooms service owns every room on Prosody 0.12. Requests of `muc#owner` to rooms of
    others are refused in its name; a room of its own is still its own."""
    owner = "http://jabber.org/protocol/muc#owner"
    server = start_server(muc=True, host_options={ROOMS: {"admins": [TYBALT]}}, privileged_entities=grants(iq={owner: "set"}))
    romeo, component = server.client(ROMEO), server.component(PUBSUB)
    room = "r@" + ROOMS
    romeo.send(f"<presence to='{room}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    romeo.sync()
    romeo.iq("set", room, f"<query xmlns='{owner}'><x xmlns='jabber:x:data' type='submit'/></query>")
    destroy = f"<query xmlns='{owner}'><destroy/></query>"
    assert error_of(component.privileged_iq("set", TYBALT, destroy, to=room))[:2] == ("auth", "forbidden")
    # In the name of an account that administers nothing, the rooms answer.
    assert payload(component.privileged_iq("set", "juliet@capulet.lit", destroy, to=room)).tag.endswith("}privilege")
