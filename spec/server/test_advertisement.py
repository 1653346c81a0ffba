"""A1 to A3 and A5: the advertisement of a component's permissions: when, how often, and in which words."""

from __future__ import annotations

import asyncio

import pytest

import slix

from harness import PRIVILEGES, Prosody
from wire import NS, body, error_of, local, message_from, namespace, text_of

ENTITY = "pubsub.capulet.lit"
NAMESPACES = {f"urn:example:{letter}{letter}": access for letter, access in zip("zqbkfaxm", ("get", "set", "both", "none") * 2)}


def advertisements(component, version: int = 2) -> list:
    """All the messages with a <privilege/> that have come so far."""
    tag = f"{{urn:xmpp:privilege:{version}}}privilege"
    return [s for s in component.drain() if local(s) == "message" and s.find(tag) is not None]


def comparable(element) -> tuple:
    """An element as a value that can be compared: name, attributes, text, children in order."""
    return element.tag, dict(element.attrib), (element.text or "").strip(), [comparable(child) for child in element]


def perm(access: str, *children, version: int = 2, **attributes) -> tuple:
    return f"{{urn:xmpp:privilege:{version}}}perm", {"access": access, **attributes}, "", list(children)


def granted(ns: str, type_: str) -> tuple:
    return "{urn:xmpp:privilege:2}namespace", {"ns": ns, "type": type_}, "", []


def assert_privilege(message, perms: list[tuple], host: str = "capulet.lit", to: str = ENTITY, version: int = 2):
    """The message is exactly this, whatever the order of its parts."""

    def sort(element):
        tag, attributes, text, children = element
        return tag, sorted(attributes.items()), text, sorted(sort(child) for child in children)

    assert message.tag == "{jabber:component:accept}message"
    assert set(message.attrib) == {"from", "to", "id"}, text_of(message)
    assert (message.get("from"), message.get("to")) == (host, to)
    assert message.get("id")
    # What is not granted is "none", and never left out (A1).
    accesses = {attributes["access"] for _, attributes, _, _ in perms}
    tag = f"{{urn:xmpp:privilege:{version}}}perm"
    nones = [(tag, {"access": a, "type": "none"}, "", []) for a in ("roster", "message", "presence") if a not in accesses]
    expected = (f"{{urn:xmpp:privilege:{version}}}privilege", {}, "", perms + nones)
    assert [sort(comparable(child)) for child in message] == [sort(expected)], text_of(message)


@pytest.fixture(scope="module")
def session_server():
    grants = {
        # Every permission, and every value once.
        "capulet.lit": {
            ENTITY: {"roster": "both", "message": "outgoing", "presence": "roster", "iq": NAMESPACES},
            "gateway.capulet.lit": {"roster": "get", "roster_push": False, "presence": "managed_entity"},
            "set.lit": {"roster": "set"},
            "set-push.lit": {"roster": "set", "message": "outgoing"},
            "none.lit": {"roster": "none", "message": "none", "presence": "none", "iq": {"urn:example:a": "none"}},
            "empty.lit": {},
            "late.lit": {"message": "outgoing"},
        },
        # A second granting host, with other grants to some of them.
        "montague.lit": {
            ENTITY: {"roster": "get", "message": "none", "iq": {"urn:example:only": "get"}},
            "none.lit": {"message": "outgoing"},
        },
        # A host that grants nothing at all, in two spellings.
        "mantua.lit": {},
        # The previous version of the protocol.
        "old.lit": {
            "old.capulet.lit": {
                "roster": "both",
                "message": "outgoing",
                "presence": "managed_entity",
                "protocol": "1",
            },
            "new.capulet.lit": {"message": "outgoing", "protocol": "2"},
        },
    }
    with Prosody(
        hosts=("capulet.lit", "montague.lit", "mantua.lit", "verona.lit", "old.lit"),
        accounts=("juliet@capulet.lit", "nurse@old.lit"),
        components=("set.lit", "set-push.lit", "none.lit", "empty.lit", "late.lit", "old.capulet.lit", "new.capulet.lit"),
        privileged_entities=grants,
    ) as running:
        yield running


def test_a1_a2_everything_as_exact_xml(server):
    """A1, A2: the advertisement holds one <perm/> per access; roster carries `push`; iq has no `type`, and its namespaces are
    siblings."""
    component = server.component(ENTITY)
    told = {message.get("from"): message for message in advertisements(component)}
    assert set(told) == {"capulet.lit", "montague.lit"}
    assert_privilege(
        told["capulet.lit"],
        [
            perm("roster", type="both", push="true"),
            perm("message", type="outgoing"),
            perm("presence", type="roster"),
            perm("iq", *(granted(ns, access) for ns, access in NAMESPACES.items() if access != "none")),
        ],
    )
    assert_privilege(
        told["montague.lit"],
        [perm("roster", type="get", push="true"), perm("iq", granted("urn:example:only", "get"))],
        host="montague.lit",
    )
    assert told["capulet.lit"].get("id") != told["montague.lit"].get("id")


def test_a2_push_is_said_when_it_is_off_too(server):
    """A2: `roster` carries an explicit push='true' or push='false'; it is 'false' for an entity that may only set."""
    for domain, perms in {
        "gateway.capulet.lit": [perm("roster", type="get", push="false"), perm("presence", type="managed_entity")],
        "set.lit": [perm("roster", type="set", push="false")],
        "set-push.lit": [perm("roster", type="set", push="false"), perm("message", type="outgoing")],
    }.items():
        messages = advertisements(server.component(domain))
        assert len(messages) == 1, domain
        assert_privilege(messages[0], perms, to=domain)


def test_a1_an_entity_that_is_granted_nothing_is_told_so(server):
    """A1: an entity that a host names and grants nothing is told "none" of everything; one that is named nowhere gets no
    message."""
    assert_privilege(*advertisements(server.component("empty.lit")), [], to="empty.lit")
    assert server.component("stranger.lit").drain() == []
    told = {message.get("from"): message for message in advertisements(server.component("none.lit"))}
    assert set(told) == {"capulet.lit", "montague.lit"}
    assert_privilege(told["capulet.lit"], [], to="none.lit")
    assert_privilege(told["montague.lit"], [perm("message", type="outgoing")], host="montague.lit", to="none.lit")


def test_a1_clients_are_told_nothing(server):
    """A1: an account that is named nowhere gets no message, on a granting host and on another."""
    assert server.client("juliet@capulet.lit").drain() == []
    assert server.client("nurse@old.lit").drain() == []


def test_a2_the_order_is_the_same_each_time(server, start_server):
    """A2: the namespaces stand in a stable order, on every connection and on a server that read the same in another order."""

    def told(running):
        component = running.component(ENTITY)
        messages = [m for m in advertisements(component) if m.get("from") == "capulet.lit"]
        component.close()
        assert len(messages) == 1
        return comparable(messages[0][0])

    first = told(server)
    assert told(server) == first
    for turn in range(2):
        grant = {
            "presence": "roster",
            "iq": dict(sorted(NAMESPACES.items(), reverse=bool(turn))),
            "message": "outgoing",
            "roster": "both",
        }
        other = start_server(hosts=("capulet.lit",), privileged_entities={"capulet.lit": {ENTITY: grant}}, accounts=())
        assert told(other) == first


def test_a3_once_per_connection(server):
    """A3: a component is told on authentication, again after a reconnect, and never twice."""
    first = server.component("late.lit")
    assert len(advertisements(first)) == 1
    assert advertisements(first) == []
    first.close()
    again = server.component("late.lit")
    assert len(advertisements(again)) == 1
    again.abort()
    server.wait_until("return not hosts['late.lit'].modules.component.session")
    assert len(advertisements(server.component("late.lit"))) == 1


def test_a3_a_connection_that_replaces_another_is_told_and_the_old_one_not(server):
    """A3: with component_conflict_resolve = "kick_old" the new connection is told, and the old one is not."""
    old = server.component("late.lit")
    assert len(advertisements(old)) == 1
    new = server.component("late.lit")
    assert len(advertisements(new)) == 1
    assert old.expect_closed() is not None
    assert [s for s in old.inbox if local(s) == "message"] == []


def test_a3_somebody_elses_connection_changes_nothing(server):
    """A3: only the component that has just authenticated is told."""
    component = server.component(ENTITY)
    assert len(advertisements(component)) == 2
    server.component("late.lit").sync()
    server.component("stranger.lit").sync()
    server.client("juliet@capulet.lit").sync()
    assert advertisements(component) == []


def test_a3_components_connected_before_the_module(start_server):
    """A3: components that are connected when the module is loaded are told once, by each host that grants them something."""
    server = start_server(
        privileged_entities={**PRIVILEGES, "montague.lit": {ENTITY: {"message": "outgoing"}}},
        modules=(),
        without=("privilege",),
    )
    component, stranger = server.component(ENTITY), server.component("stranger.lit")
    assert advertisements(component) == []

    server.load_module(host="capulet.lit")
    messages = advertisements(component)
    assert [m.get("from") for m in messages] == ["capulet.lit"]
    late = comparable(messages[0][0])
    server.load_module(host="montague.lit")
    assert [m.get("from") for m in advertisements(component)] == ["montague.lit"]
    stranger.expect_nothing()

    # The component has the permissions that it was told.
    assert component.iq("get", "juliet@capulet.lit", "<query xmlns='jabber:iq:roster'/>").get("type") == "result"

    # A component that connects later is told the same, once.
    component.close()
    messages = advertisements(server.component(ENTITY))
    assert sorted(m.get("from") for m in messages) == ["capulet.lit", "montague.lit"]
    assert comparable(next(m for m in messages if m.get("from") == "capulet.lit")[0]) == late


@pytest.mark.parametrize("order", ("before", "after"))
def test_a3_with_privilege_in_the_component_section_too(start_server, order):
    """A3: the advertisement works whether or not "privilege" is enabled in the Component section too, and never comes twice."""
    server = start_server(
        host_options={ENTITY: {"modules_enabled": ["privilege"]}, "stranger.lit": {"modules_enabled": ["privilege"]}},
        without=("privilege",) if order == "after" else (),
    )
    component = server.component(ENTITY)
    if order == "after":
        assert advertisements(component) == []
        server.load_module()
    messages = advertisements(component)
    assert [m.get("from") for m in messages] == ["capulet.lit"]
    component.close()
    again = server.component(ENTITY)
    assert [m.get("from") for m in advertisements(again)] == ["capulet.lit"]
    assert server.component("stranger.lit").drain() == []
    assert again.iq("get", "juliet@capulet.lit", "<query xmlns='jabber:iq:roster'/>").get("type") == "result"
    # Nothing wrong was said about a section that needs no configuration.
    assert server.log_lines("warn", f"{ENTITY}:privilege") == []


def test_a3_a_reload_does_not_repeat_what_has_not_changed(server):
    """A3, C6: a reload advertises only what changed."""
    component = server.component(ENTITY)
    assert len(advertisements(component)) == 2
    for _ in range(3):
        server.reload_module()
    assert advertisements(component) == []
    component.close()
    # A component that connects afterwards is told once, not once per reload.
    messages = advertisements(server.component(ENTITY))
    assert sorted(m.get("from") for m in messages) == ["capulet.lit", "montague.lit"]


def test_a5_the_previous_namespace(server):
    """A5: `protocol = "1"` in the grant advertises in urn:xmpp:privilege:1, and only there."""
    component = server.component("old.capulet.lit")
    stanzas = component.drain()
    assert [namespace(s[0]) for s in stanzas] == ["urn:xmpp:privilege:1"]
    told = {p.get("access"): p for p in stanzas[0][0]}
    assert all(namespace(p) == "urn:xmpp:privilege:1" for p in told.values())
    assert {access: p.get("type") for access, p in told.items()} == {
        "roster": "both",
        "message": "outgoing",
        "presence": "managed_entity",
    }
    assert (stanzas[0].get("from"), stanzas[0].get("to")) == ("old.lit", "old.capulet.lit")


@pytest.mark.parametrize("domain", ("old.capulet.lit", "new.capulet.lit"))
@pytest.mark.parametrize("version", (1, 2))
def test_a5_forwarded_messages_are_accepted_in_either(server, domain, version):
    """A5: forwarded messages are accepted in either namespace, whichever the grant advertises."""
    component = server.component(domain)
    juliet = server.client("juliet@capulet.lit")
    component.privileged_message(
        message_from("nurse@old.lit", juliet.jid, body("Madam!")), to="old.lit", version=version
    )
    assert juliet.expect("message", from_="nurse@old.lit").findtext("c:body", namespaces=NS) == "Madam!"
    component.sync()
    assert [s for s in component.drain() if s.get("type") == "error"] == []


def test_a5_no_other_version_is_accepted(server):
    """A5: a wrapper in a third namespace of the same form is not accepted."""
    component = server.component("old.capulet.lit")
    juliet = server.client("juliet@capulet.lit")
    component.privileged_message(message_from("nurse@old.lit", juliet.jid, body("Madam!")), to="old.lit", version=3)
    component.sync()
    juliet.expect_nothing("message")


def test_a1_a_component_may_be_told_by_the_host_it_is_no_part_of(start_server):
    """A1: a grant does not need the component to be a subdomain of the host, and does not spread to other hosts."""
    server = start_server(privileged_entities={"montague.lit": {"stranger.lit": {"roster": "get"}}})
    stranger = server.component("stranger.lit")
    messages = advertisements(stranger)
    assert len(messages) == 1
    assert_privilege(messages[0], [perm("roster", type="get", push="true")], host="montague.lit", to="stranger.lit")
    roster = "<query xmlns='jabber:iq:roster'/>"
    assert stranger.iq("get", "romeo@montague.lit", roster).get("type") == "result"
    assert error_of(stranger.iq("get", "juliet@capulet.lit", roster))[:2] == ("auth", "forbidden")


# A real client library


async def test_a1_c6_slixmpp_sees_what_is_revoked(start_server):
    """A1, C6: slixmpp merges what it is told, so a revocation on reload is seen by its own `granted_privileges`."""
    grant = {"roster": "both", "message": "outgoing", "presence": "roster", "iq": {"urn:example:a": "both", "urn:example:b": "get"}}
    server = start_server(privileged_entities={"capulet.lit": {ENTITY: grant}})
    async with slix.component(server, ENTITY) as component:
        told = asyncio.Queue()
        component.add_event_handler("privileges_advertised", told.put_nowait)

        async def granted(grants: dict) -> tuple:
            server.reconfigure(privileged_entities={"capulet.lit": grants})
            await asyncio.wait_for(told.get(), 5)
            found = component.plugin["xep_0356"].granted_privileges["capulet.lit"]
            return (found.roster, found.message, found.presence, dict(found.iq))

        assert await granted({ENTITY: {"roster": "get", "iq": {"urn:example:b": "get"}}}) == (
            "get", "none", "none", {"urn:example:a": "none", "urn:example:b": "get"},
        )
        assert await granted({}) == ("none", "none", "none", {"urn:example:a": "none", "urn:example:b": "none"})
        assert await granted({ENTITY: {"message": "outgoing"}}) == (
            "none", "outgoing", "none", {"urn:example:a": "none", "urn:example:b": "none"},
        )
