"""Hostile or broken surroundings: accounts that administer the server, storage and handlers that raise, options of the
wrong type, stanzas made to confuse, and connections whose host, account or module has gone."""

from __future__ import annotations

import pytest

from harness import ACCOUNTS, Lua, Prosody
from helpers import PING, assert_refused, bodies, deep, depth_of, grants
from watching import advertised, is_push, presence_of, pushed, settle, told
from wire import body, error_of, inner_iq, local, message_from, new_id, text_of
from words import COMMANDS, item, messages, query

PUBSUB = "pubsub.capulet.lit"
GATEWAY = "gateway.capulet.lit"
ROOMS = "rooms.capulet.lit"
JULIET, NURSE, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit"
ADMIN, ROMEO, PARIS = "admin@capulet.lit", "romeo@montague.lit", "paris@capulet.lit"
CONTACT, OTHER = "contact@stranger.lit", "other@stranger.lit"
THREE = (JULIET, NURSE, TYBALT)

ADD_USER = "http://jabber.org/protocol/admin#add-user"
ECHO = "<q xmlns='urn:example:echo'/>"

#: nurse administers another VirtualHost of the server, tybalt its rooms. admin administers all of it.
OPTIONS = {
    "muc": True,
    "accounts": (*ACCOUNTS, PARIS),
    "privileged_entities": grants(iq={COMMANDS: "both"}),
    "modules": ("admin_adhoc", "announce", "uptime"),
    "host_options": {
        "montague.lit": {"admins": [NURSE]},
        ROOMS: {"admins": [TYBALT], "modules_enabled": ["adhoc", "admin_adhoc", "uptime"]},
        "stranger.lit": {"validate_from_addresses": False},
    },
    # Known to Prosody 13 alone.
    "options": {
        "custom_roles": Lua(
            '{ { name = "helpdesk"; priority = 40; inherits = { "prosody:member" }; allow = { "adhoc:%s" } } }' % ADD_USER
        )
    },
}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(**OPTIONS) as running:
        yield running


def command(node: str) -> str:
    return f"<command xmlns='{COMMANDS}' node='{node}' action='execute'/>"


def roster_iq(type_: str, account: str, content: str, id: str, entity: str = PUBSUB) -> str:
    """An <iq/> as text, for those that are to arrive in one piece."""
    return f"<iq from='{entity}' to='{account}' id='{id}' type='{type_}'>{content}</iq>"


def answers_to(peer, *ids: str) -> list:
    """All answers to some requests that have come, in order. Syncs; leaves everything else."""
    peer.sync()
    found = [s for s in peer.inbox if local(s) == "iq" and s.get("id") in ids and s.get("type") in ("result", "error")]
    for stanza in found:
        peer.inbox.remove(stanza)
    return found


def seen(peer, account: str) -> dict:
    """The account's roster as an entity reads it: what the server holds in memory."""
    answer = peer.iq("get", account, query())
    assert answer.get("type") == "result", text_of(answer)
    return {
        i.get("jid"): {"name": i.get("name"), "subscription": i.get("subscription"), "groups": {g.text for g in i}}
        for i in answer[0]
    }


def on_disk(server, account: str) -> dict:
    return {
        jid: {"name": row.get("name"), "subscription": row["subscription"], "groups": set(row.get("groups") or ())}
        for jid, row in server.roster(account).items()
    }


# Administrators


COUNT = """
local event = "iq-set/host/http://jabber.org/protocol/commands:command";
prosody.spec_executed = {};
for _, h in ipairs(watched) do
    hook(h, event, function (e) table.insert(prosody.spec_executed, e.stanza.attr.from); end, 10000);
end
"""


@pytest.mark.parametrize(
    "account, target",
    [
        (ADMIN, "capulet.lit"),
        (ADMIN, "montague.lit"),
        (ADMIN, ROOMS),
        (NURSE, "montague.lit"),
        (NURSE, "Montague.LIT"),
        (TYBALT, ROOMS),
        pytest.param(PARIS, "capulet.lit", marks=pytest.mark.prosody13),
    ],
)
def test_n1_no_commands_as_who_administers_the_target(server, component, account, target):
    """N1: an ad-hoc command is refused in the name of an account that administers the granting host or the host addressed; a
    custom role counts (13)."""
    if account == PARIS:
        if server.version < (13,):
            pytest.skip("no roles before Prosody 13")
        server.lua("assert(usermanager.set_user_role('paris', 'capulet.lit', 'helpdesk'))")
    # The account's own client may, so it is the entity that is refused.
    assert server.client(account).iq("set", target, command(ADD_USER)).get("type") == "result"
    server.lua(COUNT, watched=["capulet.lit", "montague.lit", ROOMS])
    for node in (ADD_USER, "uptime"):
        answer = component.privileged_iq("set", account, command(node), to=target)
        assert_refused(answer, "auth", "forbidden", "administer")
    assert server.lua("return #prosody.spec_executed") == 0
    # An account that administers nothing may run public commands. An ordinary request of an administrator is not refused.
    answer = component.privileged_iq("set", JULIET, command("uptime"), to=target)
    assert answer.get("type") == "result" and "running for" in text_of(answer)
    assert server.lua("return table.concat(prosody.spec_executed, ' ')") == JULIET
    assert component.privileged_iq("get", account, PING, to="capulet.lit").get("type") == "result"


@pytest.mark.parametrize(
    "account, target",
    [(ADMIN, "capulet.lit"), (ADMIN, "montague.lit"), (NURSE, "montague.lit")],
)
def test_n1_no_announcements_as_who_administers_the_target(server, component, romeo, juliet, account, target):
    """N1: a message to a host is refused in the name of an account that administers it."""
    since = len(server.log())
    id_ = component.privileged_message(message_from(account, target + "/announce/online", body("Everybody!")))
    component.sync()
    assert_refused(component.expect("message", id=id_), "auth", "forbidden", "administer")
    assert bodies(messages(romeo)) == messages(juliet) == []
    assert [line for line in server.log_lines(since=since) if "Announcement sent" in line] == []
    # The message goes to the host, whatever the resource is.
    for resource in ("announce/online@x", "x@y", "a"):
        id_ = component.privileged_message(message_from(account, f"{target}/{resource}", body("Everybody!")))
        assert_refused(component.expect("message", id=id_), "auth", "forbidden", "administer")
    # The same accounts may still send messages to other accounts.
    component.privileged_message(message_from(account, ROMEO, body("Romeo!")))
    component.sync()
    assert bodies(messages(romeo)) == ["Romeo!"]
    # The account's own client may announce.
    server.client(account).send_message(target + "/announce/online", body("Everybody!"))
    listener = juliet if target == "capulet.lit" else romeo
    assert listener.expect("message", type="headline").findtext("{*}body") == "Everybody!"


# Saves that fail

#: Every way of saving rosters on capulet.lit goes as prosody.spec_save says: nil well, "raise", or a number of
#: saves that fail and say so.
FAILING = """
prosody.spec_save = mode;
hook("capulet.lit", "store-opened", function (event)
    if event.store_name ~= "roster" then return; end
    for _, name in ipairs({ "set", "set_key", "set_keys" }) do
        local method = event.store[name];
        if method then
            event.store[name] = function (...)
                local mode = prosody.spec_save;
                if mode == "raise" then
                    error("driver died");
                elseif type(mode) == "number" and mode > 0 then
                    prosody.spec_save = mode - 1;
                    return nil, "disk full";
                end
                return method(...);
            end
        end
    end
end, 1000);
"""


@pytest.mark.parametrize("storage", ("internal", "memory", "sql"))
@pytest.mark.parametrize("then", ("ping", "nothing"))
def test_r4_storage_that_raises(start_server, storage, then):
    """R2, R4, L5: of three sets for three accounts each has one answer. Stanzas that came with them are handled, memory equals
    storage, and no trace of a failed set stays."""
    server = start_server(storage=storage)
    component, gateway = server.component(), server.component(GATEWAY)
    for account in THREE:
        server.put_roster_item(account, OTHER, name="as before", subscription="both")
    component.drain(), gateway.drain()
    before = {account: on_disk(server, account) for account in THREE}
    server.lua(FAILING, mode="raise")
    server.expect_errors(*(f"roster of {account} failed: .*driver died" for account in THREE))
    ids, ping = [new_id() for _ in THREE], new_id()
    sets = "".join(
        roster_iq("set", account, query(item(CONTACT, name="n"), item(OTHER, name="changed")), id_)
        for account, id_ in zip(THREE, ids)
    )
    component.send(sets + (roster_iq("get", "capulet.lit", PING, ping) if then == "ping" else ""))
    if then == "ping":
        assert component.expect("iq", id=ping).get("type") == "result"
    settle(server)
    got = answers_to(component, *ids)
    assert [s.get("id") for s in got] == ids
    for answer in got:
        assert_refused(answer, "wait", "internal-server-error")
    component.expect_nothing(is_push), gateway.expect_nothing(is_push)
    server.lua("prosody.spec_save = nil")
    for account in THREE:
        assert seen(component, account) == on_disk(server, account) == before[account]
    # Later changes succeed, the account's own and the entity's.
    juliet = server.client(JULIET)
    assert juliet.iq("set", None, query(item("own@x.lit", name="own"))).get("type") == "result"
    assert component.iq("set", JULIET, query(item(CONTACT, name="later"))).get("type") == "result"
    for entity in (component, gateway):
        assert [(jid, i.get("name")) for jid, i in pushed(entity, JULIET)] == [("own@x.lit", "own"), (CONTACT, "later")]
    assert [s[0][0].get("jid") for s in juliet.drain() if is_push(s)] == ["own@x.lit", CONTACT]
    assert seen(component, JULIET) == on_disk(server, JULIET)
    assert set(on_disk(server, JULIET)) == {OTHER, "own@x.lit", CONTACT}


def pipelined(server, component, *changes: str) -> list:
    """Sends sets for juliet in one piece, of which the first cannot be saved; the answers."""
    server.lua(FAILING, mode=1)
    ids = [new_id() for _ in changes]
    component.send("".join(roster_iq("set", JULIET, query(change), id_) for change, id_ in zip(changes, ids)))
    settle(server)
    got = answers_to(component, *ids)
    assert [s.get("id") for s in got] == ids
    assert_refused(got[0], "wait", "internal-server-error")
    assert seen(component, JULIET) == on_disk(server, JULIET)
    return got[1:]


def test_r4_a_set_behind_one_that_is_not_saved(server, component):
    """R3, R4: a set that follows a set that is not saved inherits neither its name nor its subscription."""
    (second,) = pipelined(server, component, item(CONTACT, name="first", subscription="both"), item(CONTACT, "group"))
    assert second.get("type") == "result"
    assert on_disk(server, JULIET) == {CONTACT: {"name": None, "subscription": "none", "groups": {"group"}}}
    assert [i for _, i in pushed(component, JULIET)] == [{"subscription": "none", "groups": ["group"]}]


def test_r4_a_set_behind_a_removal_that_is_not_saved(server, component):
    """R3, R4: an item whose removal is not saved keeps what it has."""
    server.put_roster_item(JULIET, CONTACT, name="friend", subscription="both")
    component.drain()
    (second,) = pipelined(server, component, item(CONTACT, subscription="remove"), item(CONTACT, "group", name="friend"))
    assert second.get("type") == "result"
    assert on_disk(server, JULIET) == {CONTACT: {"name": "friend", "subscription": "both", "groups": {"group"}}}


def test_r4_a_removal_behind_a_set_that_is_not_saved(server, component):
    """R4: removing a contact whose set is not saved is `cancel/item-not-found`."""
    (second,) = pipelined(server, component, item(CONTACT, name="first"), item(CONTACT, subscription="remove"))
    assert_refused(second, "cancel", "item-not-found")
    assert on_disk(server, JULIET) == {}


def test_r4_a_removal_behind_a_removal_that_is_not_saved(server, component):
    """R4: an item whose removal is not saved is still there and can be removed."""
    server.put_roster_item(JULIET, CONTACT, name="friend", subscription="none")
    component.drain()
    remove = item(CONTACT, subscription="remove")
    (second,) = pipelined(server, component, remove, remove)
    assert second.get("type") == "result", text_of(second)
    assert on_disk(server, JULIET) == {}
    assert [i["subscription"] for _, i in pushed(component, JULIET)] == ["remove"]


def test_r7_l5_a_store_that_somebody_has_wrapped(server, component, juliet):
    """R7, L5: a change is pushed once, also where another module wraps the roster's store."""
    settle(server)
    component.drain()
    server.lua("""
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                local method = real[key];
                if type(method) ~= "function" then return method; end
                return function (_, ...) return method(real, ...); end
            end });
        end, 1000);
    """)
    assert juliet.iq("set", None, query(item(CONTACT, name="n"))).get("type") == "result"
    assert component.iq("set", JULIET, query(item(OTHER, name="o"))).get("type") == "result"
    assert [jid for jid, _ in pushed(component, JULIET)] == [CONTACT, OTHER]


# Options


NONSENSE = {
    "privilege_iq_limit": ("many", "many"),
    "privilege_iq_timeout": (Lua("math.huge"), "inf"),
    "privilege_probe_rate": ({}, "table"),
    "privilege_probe": ({}, "table"),
}


def complaints(server, since: int = 0) -> list[str]:
    return [line for line in server.log_lines("error", since=since) if "privilege_" in line]


def test_c2_options_that_are_no_numbers(start_server):
    """C2: each option that is not a number gets one error that names option, host and value; the module is loaded and works."""
    server = start_server(options={name: value for name, (value, _) in NONSENSE.items()})
    server.expect_errors(*NONSENSE)
    lines = complaints(server)
    for host in ("capulet.lit", "montague.lit"):
        assert server.lua("return modulemanager.is_loaded(h, 'privilege')", h=host)
        for name, (_, value) in NONSENSE.items():
            of_option = [line for line in lines if f"{name} of {host}:" in line]
            assert len(of_option) == 1 and value in of_option[0] and "allowed" in of_option[0], lines
    assert len(lines) == 2 * len(NONSENSE)
    component = server.component()
    assert component.permissions() is not None
    assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, value) for name, (value, _) in NONSENSE.items()),
        *(("privilege_iq_limit", value) for value in (-1, False, Lua("0/0"), Lua("-math.huge"))),
    ],
    ids=str,
)
def test_c2_c6_a_revocation_beside_nonsense(start_server, name, value):
    """C2, C6: a permission that the same edit revokes is revoked in full, whatever nonsense stands beside it."""
    server = start_server()
    component, juliet, romeo = server.component(), server.client(JULIET), server.client(ROMEO)
    settle(server)
    advertised(component), component.drain()
    since = len(server.log())
    server.expect_errors(f"{name} of (capulet|montague).lit:")
    server.reconfigure(
        privileged_entities={"capulet.lit": {PUBSUB: {"message": "outgoing"}}},
        options={name: value},
    )
    assert len(complaints(server, since)) == 2
    assert advertised(component) == [("capulet.lit", {"message": "outgoing"})]
    assert juliet.iq("set", None, query(item(CONTACT))).get("type") == "result"
    juliet.send_presence(content="<show>away</show>")
    juliet.sync()
    assert component.drain() == []
    assert_refused(component.iq("get", JULIET, query()), "auth", "forbidden")
    assert_refused(component.privileged_iq("get", JULIET, PING, to="capulet.lit"), "auth", "forbidden")
    component.privileged_message(message_from(JULIET, romeo.jid, body("still mine")))
    component.sync()
    assert bodies(messages(romeo)) == ["still mine"]


# Presence


def test_p3_l6_deep_presence_for_an_account_that_is_an_entity(start_server):
    """P3, L6, L2: a contact chooses how deep its presence is. At any depth nothing fails, and every viewer gets it."""
    bot = "bot@montague.lit"
    server = start_server(
        accounts=(*ACCOUNTS, bot), privileged_entities={"capulet.lit": {bot: {"roster": "get", "presence": "roster"}}}
    )
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    stranger, juliet, entity = server.component("stranger.lit"), server.client(JULIET), server.client(bot)
    settle(server)
    entity.drain()
    levels = 70_000
    stranger.send_presence(None, JULIET, deep(levels), from_=CONTACT + "/deep")
    stranger.sync()
    for client in (juliet, entity):
        presence = client.expect("presence", from_=CONTACT + "/deep", timeout=10)
        assert presence.get("to") in (client.jid, client.bare)
        assert depth_of(presence) == levels


@pytest.mark.parametrize("to", (NURSE, "resource"))
def test_p1_directed_presence_of_a_subscribed_contact(server, component, juliet, nurse, to):
    """P1: presence that an account directs to a subscribed contact does not go to the entity."""
    server.put_roster_item(JULIET, NURSE, subscription="both")
    server.put_roster_item(NURSE, JULIET, subscription="both")
    settle(server)
    component.drain()
    to = nurse.jid if to == "resource" else to
    juliet.send_presence(None, to, "<status>only for you</status>")
    juliet.send_presence("unavailable", to)
    juliet.sync()
    got = [presence_of(s) for s in nurse.drain() if s.get("from") == juliet.jid]
    assert got == [(juliet.jid, None, None, "only for you"), (juliet.jid, "unavailable")]
    assert told(component) == []
    # Broadcasts still go to the entity.
    juliet.send_presence(content="<status>for all</status>")
    juliet.sync()
    assert told(component) == [(juliet.jid, None, None, "for all")]


def test_p3_a_contact_that_uses_our_ids(server):
    """P3, L6: a contact may put what it learnt from a probe into a resource, an id or any other attribute; its presence is sent
    unchanged."""
    stranger = server.component("stranger.lit")
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    component = server.component()
    probe = stranger.expect("presence", type="probe").get("id")
    settle(server)
    component.drain()
    word = probe.removesuffix("probe") + "to"
    assert word != probe + "to"
    sent = []
    # Where the address stands among the attributes is up to the server: try many places.
    for number, more in enumerate((0, 1, 2, 3, 5, 8, 13, 21, 34)):
        for resource, id_ in ((f"{word}{number}", f"i{number}"), (f"r{number}", word)):
            attributes = {f"a{place}": f"{word}{place}" for place in range(more)}
            sender = f"{CONTACT}/{resource}"
            stranger.send_presence(None, JULIET, f"<status>{word}</status>", from_=sender, id=id_, **attributes)
            sent.append({"from": sender, "to": PUBSUB, "id": id_, **attributes})
    stranger.sync()
    got = [s for s in component.drain() if local(s) == "presence"]
    lang = "{http://www.w3.org/XML/1998/namespace}lang"
    assert [{k: v for k, v in s.attrib.items() if k != lang} for s in got] == sent
    assert {s.findtext("{*}status") for s in got} == {word}


def test_c6_p2_presence_revoked_and_granted_again(server):
    """C6, P2: an entity that is granted presence again is told the current presence, even if nothing has changed."""
    juliet = server.client(JULIET)
    component = server.component()
    settle(server)
    assert told(component) == [(juliet.jid, None)]
    granted = server.privileged_entities
    try:
        revoked = grants(presence="none")
        server.reconfigure(privileged_entities=revoked)
        settle(server)
        assert told(component) == []
        server.reconfigure(privileged_entities=granted)
        settle(server)
        assert told(component) == [(juliet.jid, None)]
    finally:
        server.reconfigure(privileged_entities=granted)


# IQs and messages


LATE = """
hook("capulet.lit", "iq-get/host/urn:example:echo:q", function (event)
    prosody.spec_late = event;
    return true;
end, 10);
"""
ANSWER = "prosody.spec_late.origin.send(st.reply(prosody.spec_late.stanza))"


@pytest.mark.parametrize("reloads", (1, 2))
def test_l1_q5_an_answer_after_a_reload(start_server, reloads):
    """L1, Q4, Q5: a local service that answers after a reload of the module is relayed, exactly once."""
    server = start_server()
    component = server.component()
    settle(server)
    server.lua(LATE)
    id_ = component.send_privileged_iq("get", JULIET, ECHO, to="capulet.lit", inner_id="mine")
    component.sync()
    for _ in range(reloads):
        server.reload_module()
    assert answers_to(component, id_) == []
    server.lua(ANSWER)
    (answer,) = answers_to(component, id_)
    assert answer.get("type") == "result"
    assert inner_iq(answer).get("id") == "mine"
    # The request is held no more, neither for a second answer nor to be given up.
    server.lua(ANSWER)
    server.unload_module()
    server.lua(ANSWER)
    server.load_module()
    server.lua(ANSWER)
    assert answers_to(component, id_) == []


def test_l1_q5_an_answer_after_an_unload(start_server):
    """L1, Q5: a request that was given up is not answered again, with the module unloaded or another instance in its place."""
    server = start_server()
    component = server.component()
    server.lua(LATE)
    id_ = component.send_privileged_iq("get", JULIET, ECHO, to="capulet.lit")
    component.sync()
    server.unload_module()
    (answer,) = answers_to(component, id_)
    assert answer.get("type") == "error"
    server.lua(ANSWER)
    server.load_module()
    server.lua(ANSWER)
    assert answers_to(component, id_) == []


HANDLER_FAILED = "A handler of this server failed on a {} sent for {}"

RAISING = """
hook("capulet.lit", "iq-get/host/urn:example:echo:q", function (event)
    prosody.spec_late = event;
    if first then event.origin.send(st.reply(event.stanza)); end
    error("died on it");
end, 10);
"""


def only_warned(server, since: int, name: str, account: str = JULIET):
    """One line says that a handler failed, and none is an error."""
    expected = HANDLER_FAILED.format(name, account)
    assert len([line for line in server.log_lines("warn", since=since) if line.startswith(expected)]) == 1
    assert server.log_lines("error", since=since) == []


@pytest.mark.parametrize("first", (False, True), ids=("raises", "answers and raises"))
def test_q4_l2_a_handler_that_raises(start_server, first):
    """Q4, Q6, L2: where a handler raises, the entity has one answer, the service's if there was one, and nothing is left in
    flight."""
    server = start_server(options={"privilege_iq_limit": 1})
    component = server.component()
    settle(server)
    server.lua(RAISING, first=first)
    for _ in range(3):
        since, id_, ping = len(server.log()), new_id(), new_id()
        inner = f"<iq xmlns='jabber:client' type='get' id='i' to='capulet.lit'>{ECHO}</iq>"
        component.send(
            roster_iq("get", JULIET, f"<privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq>", id_)
            + roster_iq("get", "capulet.lit", PING, ping)
        )
        assert component.expect("iq", id=ping).get("type") == "result"
        (answer,) = answers_to(component, id_)
        if first:
            assert answer.get("type") == "result" and inner_iq(answer).get("id") == "i"
        else:
            assert_refused(answer, "wait", "internal-server-error")
        only_warned(server, since, "iq")
        # An answer that the service gives later reaches nobody.
        server.lua(ANSWER)
        assert answers_to(component, id_) == []
        # The limit is one: nothing is in flight.
        assert component.privileged_iq("get", JULIET, PING, to="capulet.lit").get("type") == "result"


@pytest.mark.parametrize(
    "sender",
    [
        JULIET,
        "capulet.lit",
    ],
)
def test_m1_m3_l2_a_handler_that_raises_on_a_message(server, component, romeo, sender):
    """M1, M3, L2: where a handler raises on a message, the entity is told once, and the next message is delivered."""
    server.lua('hook("montague.lit", "message/bare", function () error("attempt to call it a day"); end, 10)')
    since = len(server.log())
    server.expect_errors("attempt to call it a day")
    id_ = component.privileged_message(message_from(sender, ROMEO, body("lost")))
    component.sync()
    refusals = [s for s in component.drain() if s.get("id") == id_]
    server.lua("unhook_all()")
    assert len(refusals) == 1
    assert_refused(refusals[0], "wait", "internal-server-error")
    only_warned(server, since, "message", sender)
    component.privileged_message(message_from(sender, ROMEO, body("arrives")))
    component.sync()
    assert bodies(messages(romeo)) == ["arrives"]


def test_p3_l2_a_handler_that_raises_on_a_probe(server, stranger):
    """P3, L2: a contact whose probe raises does not keep other contacts from being asked."""
    for account, contact in ((JULIET, CONTACT), (NURSE, OTHER), (TYBALT, "third@stranger.lit")):
        server.put_roster_item(account, contact, subscription="both")
    server.lua(
        'hook("capulet.lit", "pre-presence/bare", function (event) if event.stanza.attr.to == it then error("died"); end end, 10)',
        it=OTHER,
    )
    since = len(server.log())
    server.component()
    settle(server)
    probed = [s.get("to") for s in stranger.drain() if s.get("type") == "probe"]
    assert sorted(probed) == [CONTACT, "third@stranger.lit"]
    only_warned(server, since, "presence", NURSE)


def test_q3_l2_a_service_that_never_met_an_offline_account(server, component):
    """Q3, Q4, L2: a service may raise for an offline account after it has done its work, as mod_blocklist does; the work is
    kept, and the entity has one answer."""
    since = len(server.log())
    server.expect_errors(HANDLER_FAILED.format("iq", JULIET))  # at level warn, but with Lua's words
    server.lua(
        """
        hook("capulet.lit", "iq-set/self/urn:example:echo:q", function (event)
            local origin, stanza = event.origin, event.stanza;
            prosody.spec_done = origin.username;
            if first then origin.send(require "util.stanza".reply(stanza)); end
            for resource in pairs(hosts["capulet.lit"].sessions[origin.username].sessions) do end
        end, 10)
        """,
        first=True,
    )
    (answer,) = answers_to(component, component.send_privileged_iq("set", JULIET, ECHO))
    assert answer.get("type") == "result", text_of(answer)
    assert server.lua("return prosody.spec_done") == "juliet"
    only_warned(server, since, "iq")


def test_m1_l2_a_service_that_never_met_a_stranger(server, component, nurse):
    """M1, L2: the rooms service raises on a voice request of an account that is not in the room; that stanza alone fails."""
    room = "room@" + ROOMS
    nurse.send_presence(None, room + "/nurse", "<x xmlns='http://jabber.org/protocol/muc'/>")
    nurse.sync()
    since = len(server.log())
    server.expect_errors(HANDLER_FAILED.format("message", JULIET))
    form = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
        "<value>http://jabber.org/protocol/muc#request</value></field>"
        "<field var='muc#role'><value>participant</value></field></x>"
    )
    id_ = component.privileged_message(message_from(JULIET, room, form, type_=None))
    component.sync()
    assert_refused(component.expect("message", id=id_), "wait", "internal-server-error")
    only_warned(server, since, "message")


@pytest.mark.parametrize("type_", ("get", "set"))
@pytest.mark.parametrize("what", ("privileged_iq", "roster"))
def test_q2_r4_no_id(server, component, juliet, what, type_):
    """Q2, R4: an IQ without an id is `modify/bad-request` and is not executed."""
    server.lua("prosody.spec_late = nil; " + LATE + LATE.replace("iq-get", "iq-set"))
    if what == "roster":
        content = query(item(CONTACT, name="n") if type_ == "set" else "")
    else:
        inner = f"<iq xmlns='jabber:client' type='{type_}' id='i' to='capulet.lit'>{ECHO}</iq>"
        content = f"<privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq>"
    component.sync()
    component.inbox.clear()
    component.send(f"<iq from='{PUBSUB}' to='{JULIET}' type='{type_}'>{content}</iq>")
    got = [s for s in component.drain() if local(s) == "iq"]
    assert len(got) == 1, [text_of(s) for s in got]
    assert_refused(got[0], "modify", "bad-request", "id")
    assert not got[0].get("id")
    assert server.lua("return prosody.spec_late == nil")
    assert on_disk(server, JULIET) == {}
    juliet.expect_nothing(is_push)


def test_q5_only_the_target_answers_though_nobody_checks_addresses(server, component, gateway, stranger):
    """Q5: only the addressed JID can answer, also where a component may use any address (validate_from_addresses = false)."""
    id_ = component.send_privileged_iq("get", JULIET, ECHO, to=GATEWAY, inner_id="mine")
    request = gateway.expect("iq", type="get", from_=JULIET)
    for type_ in ("result", "error"):
        for sender in (GATEWAY, GATEWAY + "/x", "stranger.lit"):
            stranger.send_iq(type_, JULIET, "<forged xmlns='x'/>", id=request.get("id"), from_=sender)
    stranger.sync()
    assert answers_to(component, id_) == []
    gateway.send_iq("result", JULIET, "<true xmlns='x'/>", id=request.get("id"))
    gateway.sync()
    (answer,) = answers_to(component, id_)
    assert answer.get("type") == "result" and inner_iq(answer)[0].tag == "{x}true"


# Hosts, accounts, and hooks of other modules


def test_l1_a_component_whose_host_is_gone(start_server):
    """L1, C6: a component whose host is removed has no privilege, though its connection stays open, and has one when the host
    is back."""
    server = start_server()
    component, romeo, juliet = server.component(), server.client(ROMEO), server.client(JULIET)
    settle(server)
    component.drain()
    server.lua(LATE)
    server.lua("assert(require 'core.hostmanager'.deactivate(h))", h=PUBSUB)
    id_ = component.privileged_message(message_from(JULIET, romeo.jid, body("still privileged?")))
    get, set_, iq = (new_id() for _ in range(3))
    component.send_iq("get", JULIET, query(), id=get)
    component.send_iq("set", JULIET, query(item(CONTACT)), id=set_)
    component.send_privileged_iq("get", JULIET, ECHO, to="capulet.lit", id=iq)
    component.sync()
    settle(server)
    assert bodies(messages(romeo)) == []
    assert on_disk(server, JULIET) == {}
    assert server.lua("return prosody.spec_late == nil")
    juliet.send_presence(content="<show>away</show>")
    assert juliet.iq("set", None, query(item(OTHER))).get("type") == "result"
    for stanza in component.drain():
        # The entity may be told at once or not at all; it gets nothing else.
        assert stanza.get("type") == "error" and stanza.get("id") in (id_, get, set_, iq), text_of(stanza)
    component.abort()
    server.lua("assert(require 'core.hostmanager'.activate(h))", h=PUBSUB)
    component = server.component()
    assert component.permissions() is not None
    assert set(seen(component, JULIET)) == {OTHER}


@pytest.mark.prosody13
def test_r7_l7_a_disabled_account_is_not_pushed(start_server):
    """R7, L7: a disabled account is no account, so changes of its roster are not pushed."""
    server = start_server(authentication="internal_hashed")
    if server.version < (13,):
        pytest.skip("accounts cannot be disabled before Prosody 13")
    component, stranger = server.component(), server.component("stranger.lit")
    server.put_roster_item(JULIET, CONTACT, name="n", subscription="both")
    settle(server)
    component.drain(), stranger.drain()
    server.lua("assert(usermanager.disable_user('juliet', 'capulet.lit'))")
    stranger.send_presence("unsubscribed", JULIET, from_=CONTACT)
    stranger.sync()
    server.lua("put_roster_item('juliet', 'capulet.lit', contact, { name = 'x' })", contact=OTHER)
    component.expect_nothing(is_push)
    server.lua("assert(usermanager.enable_user('juliet', 'capulet.lit'))")
    server.lua("put_roster_item('juliet', 'capulet.lit', contact, { name = 'y' })", contact=OTHER)
    assert [jid for jid, _ in pushed(component, JULIET)] == [OTHER]


def test_r2_r5_somebody_elses_handler_raises_on_a_removal(server, component, gateway):
    """R2, R5, L2: where another module's handler raises on a removal, each set is answered and each change is pushed."""
    for account in THREE:
        server.put_roster_item(account, CONTACT, subscription="none")
    component.drain(), gateway.drain()
    server.lua('hook("capulet.lit", "roster-item-removed", function () error("died on it"); end, 10)')
    server.expect_errors("failed after a roster was changed: .*died on it")
    ids, ping = [new_id() for _ in THREE], new_id()
    changes = (item(CONTACT, subscription="remove"), item(OTHER, name="o"), item(CONTACT, subscription="remove"))
    component.send(
        "".join(roster_iq("set", account, query(c), id_) for account, c, id_ in zip(THREE, changes, ids))
        + roster_iq("get", "capulet.lit", PING, ping)
    )
    assert component.expect("iq", id=ping).get("type") == "result"
    settle(server)
    assert [(s.get("id"), s.get("type")) for s in answers_to(component, *ids)] == [(id_, "result") for id_ in ids]
    for entity in (component, gateway):
        found = [(s.get("from"), s[0][0].get("jid"), s[0][0].get("subscription")) for s in entity.drain() if is_push(s)]
        assert found == [(JULIET, CONTACT, "remove"), (NURSE, OTHER, "none"), (TYBALT, CONTACT, "remove")]
    assert [set(on_disk(server, account)) for account in THREE] == [set(), {CONTACT, OTHER}, set()]
