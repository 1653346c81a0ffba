"""P3, P4, P6 to P8: the memory of the presence that an entity was told: when it is kept and when it is forgotten; in whose
name contacts are asked; and that stanzas an entity never received do not come back to anybody."""

from __future__ import annotations

import base64
import itertools
import time

import pytest

from harness import Prosody
from helpers import block
from watching import is_push, presence_of, settle, told
from wire import NS, local, new_id, text_of
from words import connect, friends, item, query, say, waiting

JULIET, NURSE, TYBALT, BOT = "juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "bot@capulet.lit"
LADY, ROMEO = "lady@mantua.lit", "romeo@montague.lit"
CONTACT = "x@stranger.lit"
ENTITY = "entity.lit"

ROSTER = {"roster": "both", "roster_push": False, "presence": "roster", "message": "outgoing"}
MANAGED = {**ROSTER, "presence": "managed_entity"}
NOTHING = {"roster": "both", "roster_push": False, "message": "outgoing"}
IQ = {"jabber:iq:private": "both", "urn:example:echo": "both"}
GRANTS = {
    "capulet.lit": {ENTITY: ROSTER, "second.lit": ROSTER, BOT: {**ROSTER, "roster_push": True, "iq": IQ}},
    "mantua.lit": {ENTITY: ROSTER},
}


@pytest.fixture(scope="module")
def session_server():
    with Prosody(
        privileged_entities=GRANTS,
        hosts=("capulet.lit", "montague.lit", "mantua.lit"),
        accounts=(JULIET, NURSE, TYBALT, BOT, LADY, ROMEO),
        components=(ENTITY, "second.lit"),
    ) as running:
        yield running


@pytest.fixture
def grant(server, regrant):
    """grant(what, host) changes what a host grants the entity, until the end of the test, and waits for the effects."""

    def change(what: dict, host: str = "capulet.lit"):
        regrant(ENTITY, what, host)
        settle(server)

    return change


@pytest.fixture
def options(server):
    """options(name=value, ...) sets global options, until the end of the test."""
    yield lambda **given: server.reconfigure(options=given)
    server.reconfigure(options={})


def away(status: str = "away") -> str:
    return f"<status>{status}</status>"


def of(presences: list[tuple], *addresses: str) -> list[tuple]:
    """The presences from these addresses, or from resources of them."""
    return [p for p in presences if p[0].split("/")[0] in addresses or p[0] in addresses]


# P3: contacts that other modules add


def test_p3_contacts_of_a_group_are_told_on_connect(start_server, tmp_path):
    """P3: contacts that the server adds by itself (mod_groups) are asked for on connect, those of offline accounts included."""
    server = start_server(privileged_entities={"capulet.lit": {"pubsub.capulet.lit": ROSTER}}, modules=("groups",))
    groups = server.directory / "groups.txt"
    groups.write_text(f"[Verona]\n{JULIET}=Juliet\n{ROMEO}=Romeo\n{CONTACT}=X\n")
    server.options["groups_file"] = server.inside(groups)
    server.write_config()
    server.lua("assert(prosody.reload_config())")
    server.reload_module("groups")
    server.reload_module("groups", "montague.lit")
    server.lua("for _, host in pairs(hosts) do host.roster_cache = nil; end")
    stranger = server.component("stranger.lit")
    romeo = server.client(ROMEO)
    stranger.drain()
    cached = "local cache = hosts['capulet.lit'].roster_cache; return cache and cache:count() or 0"
    before = server.lua(cached)
    entity = connect(server, "pubsub.capulet.lit")
    assert told(entity) == [(romeo.jid, None)]
    assert [(s.get("from"), s.get("to")) for s in stranger.drain()] == [(JULIET, CONTACT)]
    assert server.roster(JULIET) == {}, "what others add is not stored"
    # The server's cache is for rosters that are in use.
    assert server.lua(cached) == before
    # Their later presence is told.
    romeo.send_presence(content=away())
    romeo.sync()
    assert told(entity) == [(romeo.jid, None, None, "away")]


# P3: which contacts have been asked


@pytest.mark.parametrize("who", ("the account", "the contact"))
@pytest.mark.parametrize("online", ("first", "both", "none"))
def test_p3_a_contact_blocked_by_one_of_two_accounts(server, who, online):
    """P3: a contact that an account has blocked, or that has blocked it, is asked in the name of the next account that shares
    it."""
    friends(server, ROMEO, JULIET)
    friends(server, ROMEO, NURSE)
    for blocked in (JULIET, NURSE):
        # Whichever of the two is asked first.
        romeo = server.client(ROMEO)
        blocker = server.client(blocked) if who == "the account" else romeo
        block(blocker, ROMEO if who == "the account" else blocked)
        if blocker is not romeo:
            blocker.close()
        clients = [server.client(jid) for jid in {"first": (JULIET,), "both": (JULIET, NURSE), "none": ()}[online]]
        romeo.send_presence(content=away())
        romeo.sync()
        entity = connect(server, ENTITY)
        assert of(told(entity), ROMEO) == [(romeo.jid, None, None, "away")], blocked
        entity.close()
        unblocker = server.client(blocked) if who == "the account" else romeo
        unblocker.iq("set", None, "<unblock xmlns='urn:xmpp:blocking'/>")
        for client in (*clients, unblocker, romeo):
            client.close()


def test_p3_a_contact_elsewhere_blocked_by_one_of_two_accounts(server):
    """P3: a blocked contact of another server is asked in the name of the next account too: a probe that never left does not
    count."""
    stranger = server.component("stranger.lit")
    for account in (JULIET, NURSE):
        friends(server, account, CONTACT)
    for blocker in (JULIET, NURSE):
        client = server.client(blocker)
        block(client, CONTACT)
        client.close()
        stranger.drain()
        entity = connect(server, ENTITY)
        probes = [(s.get("from"), s.get("to")) for s in stranger.drain() if s.get("type") == "probe"]
        assert probes == [(NURSE if blocker == JULIET else JULIET, CONTACT)]
        entity.close()
        client = server.client(blocker)
        client.iq("set", None, "<unblock xmlns='urn:xmpp:blocking'/>")
        client.close()


def test_p3_an_offline_account_asks_for_those_online(server):
    """P3: where an offline account shares the contact, it asks, since the clients of an online one would get the answer too."""
    stranger = server.component("stranger.lit")
    for account in (JULIET, NURSE, TYBALT):
        friends(server, account, CONTACT)
    for account in (JULIET, TYBALT):
        server.client(account)
    stranger.drain()
    connect(server, ENTITY)
    assert [(s.get("from"), s.get("type")) for s in stranger.drain()] == [(NURSE, "probe")]


# P4, P8: contacts that are lost and won


@pytest.mark.parametrize("online", (True, False), ids=("online", "offline"))
def test_p4_p8_a_contact_removed_and_won_again(server, online):
    """P4, P8: the memory is forgotten when the contact is no longer to be shown, and its last unavailable is told."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    if online:
        server.client(JULIET)
    entity = waiting(server, ENTITY)
    say(stranger, JULIET, away())
    assert told(entity) == [(CONTACT + "/r", None, None, "away")]
    server.put_roster_item(JULIET, CONTACT)
    assert told(entity) == [(CONTACT, "unavailable")]
    say(stranger, JULIET, away())
    assert told(entity) == []
    server.put_roster_item(JULIET, CONTACT, subscription="both")
    say(stranger, JULIET, away())
    assert told(entity) == [(CONTACT + "/r", None, None, "away")]
    say(stranger, JULIET, away())
    assert told(entity) == []


@pytest.mark.parametrize("who", ("the account unsubscribes", "the account removes", "the contact cancels", "an entity removes"))
def test_p8_the_last_unavailable(server, who):
    """P8: the last `unavailable` of a contact that cancels the subscription, or is removed, reaches the entity in every
    case."""
    friends(server, JULIET, ROMEO)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    entity, second = waiting(server, ENTITY), waiting(server, "second.lit")
    for turn in range(2):
        if who == "the account unsubscribes":
            juliet.send_presence("unsubscribe", ROMEO)
        elif who == "the account removes":
            juliet.iq("set", None, query(item(ROMEO, subscription="remove")))
        elif who == "the contact cancels":
            romeo.send_presence("unsubscribed", JULIET)
        else:
            second.iq("set", JULIET, query(item(ROMEO, subscription="remove")))
        for peer in (juliet, romeo, second):
            peer.sync()
        assert told(entity) == [(ROMEO, "unavailable")], turn
        romeo.send_presence(content=away(str(turn)))
        romeo.sync()
        assert told(entity) == []
        # Won again, his presence unchanged.
        juliet.send_presence("subscribe", ROMEO)
        juliet.sync()
        romeo.send_presence("subscribed", JULIET)
        romeo.send_presence("subscribe", JULIET)
        romeo.sync()
        juliet.send_presence("subscribed", ROMEO)
        juliet.sync()
        assert [p for p in told(entity) if p[0] == romeo.jid] == [(romeo.jid, None, None, str(turn))], turn


def test_p8_p4_a_contact_that_another_account_shares(server):
    """P8, P4: a contact that another account still shares is not told as gone, and stays known."""
    friends(server, ROMEO, JULIET)
    friends(server, ROMEO, NURSE)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    entity = waiting(server, ENTITY)
    juliet.iq("set", None, query(item(ROMEO, subscription="remove")))
    romeo.sync()
    assert told(entity) == []
    romeo.send_presence()
    romeo.sync()
    assert told(entity) == []
    romeo.send_presence(content=away())
    romeo.sync()
    assert told(entity) == [(romeo.jid, None, None, "away")]


@pytest.mark.parametrize("contact", (CONTACT, ROMEO))
def test_p8_p3_a_contact_that_another_account_shares_and_has_blocked(server, contact):
    """P8, P3: a contact that only a blocking account still shares has gone for the entity."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, contact)
    friends(server, NURSE, contact)
    juliet, nurse, romeo = server.client(JULIET), server.client(NURSE), server.client(ROMEO)
    entity = waiting(server, ENTITY)
    if contact == CONTACT:
        say(stranger, JULIET)
        assert told(entity) == [(CONTACT + "/r", None)]
    block(nurse, contact)
    juliet.iq("set", None, query(item(contact, subscription="remove")))
    romeo.sync()
    assert told(entity) == [(contact, "unavailable")]


# P4: grants that narrow


SCOPES = {
    "scope": {**ROSTER, "accounts": ["nurse"]},
    "except": {**ROSTER, "except": ["juliet"]},
    "managed_entity": MANAGED,
    "nothing": NOTHING,
}


@pytest.mark.parametrize("narrow", SCOPES, ids=str)
def test_p4_who_went_while_the_grant_was_narrower(server, grant, narrow):
    """P4: the memory is forgotten when the grant of presence narrows; a contact that went meanwhile does not stay online for
    ever."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, ROMEO)
    friends(server, JULIET, CONTACT)
    juliet, gone, romeo = server.client(JULIET), server.client(JULIET), server.client(ROMEO)
    leaves = server.client(ROMEO)
    entity = waiting(server, ENTITY)
    say(stranger, JULIET)
    assert told(entity) == [(CONTACT + "/r", None)]
    grant(SCOPES[narrow])
    is_seen = narrow == "managed_entity"
    entity.drain(), stranger.drain()
    gone.close()
    leaves.close()
    assert of(told(entity), JULIET) == ([(gone.jid, "unavailable")] if is_seen else [])
    grant(ROSTER)
    found = told(entity)
    # An account of which a resource has left is told as gone, and then its available resources are told.
    if not is_seen:
        assert of(found, JULIET) == [(JULIET, "unavailable"), (juliet.jid, None)]
    assert of(found, ROMEO) == [(ROMEO, "unavailable"), (romeo.jid, None)]
    # A contact elsewhere is probed, and its answer says how it is.
    assert of(found, CONTACT) == [(CONTACT, "unavailable")]
    assert [s.get("to") for s in stranger.drain() if s.get("type") == "probe"] == [CONTACT]
    for client in (juliet, romeo):
        client.send_presence()
        client.sync()
    say(stranger, JULIET)
    assert told(entity) == [(CONTACT + "/r", None)]
    # Each of them goes once.
    romeo.close(), juliet.close()
    assert sorted(told(entity)) == sorted([(juliet.jid, "unavailable"), (romeo.jid, "unavailable")])


ENDLESS_LIST = """
local usermanager, now = require "core.usermanager", require "util.time".now;
prosody.spec_users, prosody.spec_is_endless = usermanager.users, true;
usermanager.users = function (host)
    local iterate, state, username = prosody.spec_users(host);
    return function ()
        if prosody.spec_is_endless then
            local slice_end = now() + 0.002;
            repeat until now() > slice_end;
            return "nobody";
        end
        username = iterate(state, username);
        return username;
    end
end
"""


@pytest.mark.parametrize("reloads", (False, True), ids=("no reload", "and a reload"))
def test_p4_l1_granted_again_while_what_is_left_is_confirmed(server, regrant, reloads):
    """P4, L1: where a grant narrows and widens again before it is known what the narrow one showed, the entity is told who went
    meanwhile."""
    juliet, nurse = server.client(JULIET), server.client(NURSE)
    entity = waiting(server, ENTITY)
    server.lua(ENDLESS_LIST)
    try:
        regrant(ENTITY, {**ROSTER, "except": ["nurse"]})
        time.sleep(0.1)
        nurse.close()
        regrant(ENTITY, ROSTER)
        # It is told of those who are online at once.
        entity.expect("presence", from_=juliet.jid)
        if reloads:
            server.reload_module()
        entity.expect_nothing("presence", from_=NURSE)
    finally:
        server.lua("prosody.spec_is_endless = false")
        settle(server)
        server.lua("require 'core.usermanager'.users = prosody.spec_users")
    assert told(entity) == [(NURSE, "unavailable")]


@pytest.mark.parametrize("all_go", (True, False), ids=("all have gone", "one has gone"))
def test_p4_an_account_and_a_contact_that_went_offline_meanwhile(server, grant, all_go):
    """P4: that holds for an account and a contact that went offline meanwhile, where nobody is left to ask."""
    friends(server, JULIET, ROMEO)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    nurse = server.client(NURSE)
    entity = waiting(server, ENTITY)
    grant(NOTHING)
    juliet.close()
    if all_go:
        romeo.close()
    grant(ROSTER)
    expected = [(JULIET, "unavailable"), (ROMEO, "unavailable") if all_go else (romeo.jid, None), (nurse.jid, None)]
    assert sorted(told(entity)) == sorted(expected)
    for _ in range(2):
        grant(NOTHING)
        grant(ROSTER)
        assert sorted(told(entity)) == sorted(expected[2:] if all_go else expected[1:])


def test_p4_l1_unload_and_load(server):
    """P4, L1: after an unload and a load the grant is advertised again, and the entity is told who is there and who is gone."""
    friends(server, JULIET, ROMEO)
    juliet, nurse, romeo = server.client(JULIET), server.client(NURSE), server.client(ROMEO)
    entity = waiting(server, ENTITY)
    server.unload_module()
    try:
        nurse.close()
    finally:
        server.load_module()
    settle(server)
    assert sorted(of(told(entity), JULIET, NURSE, ROMEO)) == sorted(
        [(juliet.jid, None), (romeo.jid, None), (NURSE, "unavailable")]
    )


def test_p4_a_bare_jid_that_is_gone(server):
    """P4: a contact whose bare JID was told as gone, and that comes back as before, is told again."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    entity = waiting(server, ENTITY)
    say(stranger, JULIET, away())
    stranger.send_presence("unavailable", JULIET, from_=CONTACT)
    say(stranger, JULIET, away())
    assert told(entity) == [(CONTACT + "/r", None, None, "away"), (CONTACT, "unavailable"), (CONTACT + "/r", None, None, "away")]


def test_p4_a_bare_jid_that_is_gone_again(server):
    """P4: a contact whose bare JID was told as gone, and that came back, is told as gone again in the same way."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    entity = waiting(server, ENTITY)
    for _ in range(3):
        say(stranger, JULIET)
        stranger.send_presence("unavailable", JULIET, from_=CONTACT)
        stranger.send_presence("unavailable", JULIET, from_=CONTACT)
        stranger.sync()
        assert told(entity) == [(CONTACT + "/r", None), (CONTACT, "unavailable")]


# P4: two granting hosts, and more


def test_p4_p8_each_of_many_hosts_has_a_reason_of_its_own(start_server):
    """P4, P8: a contact that one of ten hosts loses has not gone while another shows it."""
    hosts = tuple(f"h{number}.lit" for number in range(10))
    server = start_server(
        privileged_entities={host: {ENTITY: ROSTER} for host in hosts},
        hosts=hosts,
        accounts=tuple(f"a@{host}" for host in hosts),
        components=(ENTITY,),
    )
    stranger = server.component("stranger.lit")
    entity = waiting(server, ENTITY)
    for one, other in itertools.combinations(hosts, 2):
        for host in (one, other):
            server.put_roster_item(f"a@{host}", CONTACT, subscription="both")
            say(stranger, f"a@{host}")
        assert told(entity) == [(CONTACT + "/r", None)]
        server.put_roster_item(f"a@{one}", CONTACT)
        assert told(entity) == [], f"{other} shows it still, and not {one}"
        server.put_roster_item(f"a@{other}", CONTACT)
        assert told(entity) == [(CONTACT, "unavailable")]


def test_p4_one_of_two_hosts_revokes_presence(server, grant):
    """P4: a host that revokes presence does not make the entity forget what the other host shows."""
    friends(server, JULIET, ROMEO)
    friends(server, LADY, ROMEO)
    entity = waiting(server, ENTITY)
    clients = [server.client(jid) for jid in (JULIET, LADY)]
    romeo = server.client(ROMEO)
    entity.drain()
    for host in ("capulet.lit", "mantua.lit", "capulet.lit"):
        grant(NOTHING, host)
        grant(ROSTER, host)
        # Presence that the other host went on showing is known; the accounts of this host are told anew.
        mine = clients[0] if host == "capulet.lit" else clients[1]
        assert told(entity) == [(mine.jid, None)]
        romeo.send_presence(content=away(new_id()))
        romeo.sync()
        assert len(told(entity)) == 1
        romeo.send_presence()
        romeo.sync()
        assert told(entity) == [(romeo.jid, None)]


def test_p4_over_reloads_of_either_host(server):
    """P4, L1: a reload of one host's module leaves the shared memory as it is."""
    friends(server, JULIET, ROMEO)
    friends(server, LADY, ROMEO)
    romeo = server.client(ROMEO)
    entity = waiting(server, ENTITY)
    for host in ("capulet.lit", "mantua.lit"):
        server.reload_module(host=host)
        server.reload_module(host=host)
        settle(server)
        romeo.send_presence()
        romeo.sync()
        assert told(entity) == []
        romeo.send_presence(content=away(host))
        romeo.sync()
        assert told(entity) == [(romeo.jid, None, None, host)]
        romeo.send_presence()
        romeo.sync()
        entity.drain()


# Has the module save its state in the form of version 0.1.0. `change` is called with each connection.
AS_THE_FIRST_VERSION_SAVED = """
    local env = modulemanager.get_module("capulet.lit", "privilege");
    local save = env.module.save;
    local function save_as(change)
        env.module.save = function ()
            local state = save();
            local told, requests = {}, {};
            for address, known in pairs(state.connections) do
                told[address] = { session = known.session, told = known.advertised };
                change(address, told[address]);
            end
            for i, request in ipairs(state.core.requests) do
                requests[i] = {
                    request.number, request.deadline, request.entity, request.reply_to, request.outer_id, request.inner_id,
                    request.account, request.to or "";
                };
            end
            return {
                id_prefix = state.id_prefix, link = {}, told = told;
                requests = { next = state.core.next, requests = requests };
            };
        end
    end
"""


def test_l1_a_reload_from_the_state_of_the_first_version(server):
    """L1, I2: the state that version 0.1.0 saved is taken over: nothing is advertised again, and pending presence is told."""
    stranger = server.component("stranger.lit")
    for number in range(3):
        friends(server, JULIET, f"c{number}@stranger.lit")
    romeo = server.client(ROMEO)
    entity, second = waiting(server, ENTITY), waiting(server, "second.lit")
    stranger.drain()
    # No memory beside the connection, and the contacts that had been asked.
    server.lua(
        AS_THE_FIRST_VERSION_SAVED
        + """
        save_as(function (address, entry)
            entry.session.privilege_told = nil;
            entry.presence_pending = address == "entity.lit" and { ["c0@stranger.lit"] = true } or nil;
        end);
        """
    )
    server.reload_module()
    settle(server)
    assert [s for s in entity.drain() + second.drain() if local(s) == "message"] == []
    asked = sorted(s.get("to") for s in stranger.drain() if s.get("type") == "probe")
    assert asked == ["c1@stranger.lit", "c2@stranger.lit"]
    friends(server, JULIET, ROMEO)
    romeo.send_presence(content=away())
    romeo.sync()
    for peer in (entity, second):
        assert told(peer) == [(romeo.jid, None, None, "away")]


@pytest.mark.parametrize("entity", (ENTITY, BOT))
def test_p6_p7_one_that_goes_while_it_is_not_granted_anything(server, regrant, entity):
    """P6, P7, L1: an entity that is named no more, over a reload too, and goes then is gone: nobody is asked for it when it is
    granted something again."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    peer = server.client(BOT) if entity == BOT else server.component(ENTITY)
    settle(server)
    regrant(entity, None)
    server.reload_module()
    peer.close()
    stranger.drain()
    regrant(entity, ROSTER)
    settle(server)
    assert stranger.drain() == []


# P7: stanzas that were never received


def resumable(server):
    """A client of the entity that is an account, with stream management and resumption; and its session's id."""
    bot = server.client(BOT, presence=False)
    bot.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    id_ = bot.expect("enabled").get("id")
    bot.send_presence()
    bot.expect("presence", from_=bot.jid)
    settle(server)
    bot.drain()
    return bot, id_


BOUNCES = """
bounces = {};
prosody.spec_bounces = bounces;
for _, name in ipairs { "capulet.lit", "montague.lit", "mantua.lit" } do
    for _, event in ipairs { "iq/bare", "iq/full", "iq/host", "presence/bare", "presence/full", "presence/host", "message/bare", "message/full", "message/host" } do
        hook(name, event, function (e)
            local attr = e.stanza.attr;
            if attr.type == "error" and tostring(attr.from):find("^bot@") then
                prosody.spec_bounces[#prosody.spec_bounces + 1] = tostring(e.stanza);
            end
        end, 1e6);
    end
end
"""


def send_everything(server, bot, stranger, juliet, romeo):
    """Sends an entity whose connection hibernates all that it may get in another's name; returns the number of stanzas."""
    bot.send_iq("get", JULIET, query())
    for number, content in enumerate(("<query xmlns='jabber:iq:private'><x xmlns='x:y'/></query>", "<x xmlns='urn:example:echo'/>")):
        to = f" to='{CONTACT}'" if number else ""
        bot.send_iq(
            "get",
            JULIET,
            f"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='i{number}'{to}>"
            f"{content}</iq></privileged_iq>",
        )
    bot.sync()
    request = stranger.expect("iq", type="get")
    bot.drain()
    # No more answers to the server's question of what has arrived, and then the connection is gone.
    bot.abort()
    server.wait_until("return prosody.full_sessions[full].hibernating", full=bot.jid)
    stranger.send_iq("result", JULIET, "<x xmlns='urn:example:echo'/>", id=request.get("id"), from_=CONTACT)
    say(stranger, JULIET, away())
    juliet.send_presence(content=away())
    juliet.iq("set", None, query(item("y@stranger.lit")))
    romeo.send_presence(content=away())
    for peer in (stranger, juliet, romeo):
        peer.sync()


def test_l1_i2_a_version_without_memory_came_between(server):
    """L1, I2: after a downgrade and an upgrade no presence counts as known that the older version may have told otherwise."""
    friends(server, JULIET, ROMEO)
    friends(server, LADY, ROMEO)
    romeo, nurse = server.client(ROMEO), server.client(NURSE)
    entity = waiting(server, ENTITY)
    server.lua(AS_THE_FIRST_VERSION_SAVED + "save_as(function () end);")
    server.reload_module()
    settle(server)
    # Romeo is known from another host, which has noted all that it told.
    assert told(entity) == [(nurse.jid, None)]
    romeo.send_presence(content=away())
    romeo.sync()
    assert told(entity) == [(romeo.jid, None, None, "away")]
    server.reload_module()
    settle(server)
    assert told(entity) == []


def test_p7_what_a_dead_session_never_received_does_not_come_back(server):
    """P7: stanzas that an entity was sent and never received do not come back to the accounts or contacts they were about."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, ROMEO)
    friends(server, JULIET, CONTACT)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    server.lua(BOUNCES)
    bot, _ = resumable(server)
    send_everything(server, bot, stranger, juliet, romeo)
    server.reconfigure(privileged_entities={**GRANTS, "mantua.lit": {**GRANTS["mantua.lit"], BOT: ROSTER}})
    settle(server)
    # Stanzas of others to the account bounce as usual.
    romeo.send_iq("get", bot.jid, "<ping xmlns='urn:xmpp:ping'/>", id="mine")
    romeo.sync()
    for peer in (stranger, juliet, romeo):
        peer.drain()
    try:
        queued = server.lua(
            """
            local session = prosody.full_sessions[full];
            local n = session.outgoing_stanza_queue:count_unacked();
            session.resumption_token = nil;
            require "core.sessionmanager".destroy_session(session, "gone");
            return n;
            """,
            full=bot.jid,
        )
        assert queued >= 6
        assert [s.get("id") for s in romeo.drain() if s.get("type") == "error"] == ["mine"]
        for peer in (stranger, juliet):
            assert [text_of(s) for s in peer.drain() if s.get("type") == "error"] == []
        found = [b for b in server.lua("return prosody.spec_bounces") or [] if "id='mine'" not in b]
        assert found == []
    finally:
        server.reconfigure(privileged_entities=GRANTS)


def test_p7_a_resumed_session_gets_everything(server):
    """P7: a resumed session gets each stanza that was sent meanwhile once."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, ROMEO)
    friends(server, JULIET, CONTACT)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    bot, id_ = resumable(server)
    send_everything(server, bot, stranger, juliet, romeo)
    bot._open_socket()
    bot.inbox.clear()
    bot.sm_enabled = False
    bot._open_stream("capulet.lit", " version='1.0'")
    bot.expect("features")
    token = base64.b64encode(b"\0bot\0secret").decode()
    bot.send(f"<auth xmlns='{NS['sasl']}' mechanism='PLAIN'>{token}</auth>")
    bot.expect("success")
    bot._open_stream("capulet.lit", " version='1.0'")
    bot.expect("features")
    bot.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id_}' h='{bot.sm_handled}'/>")
    bot.expect("resumed")
    stanzas = bot.drain()
    presences = [presence_of(s) for s in stanzas if local(s) == "presence"]
    assert {(CONTACT + "/r", None, None, "away"), (juliet.jid, None, None, "away"), (romeo.jid, None, None, "away")} <= set(presences)
    assert len(presences) == len(set(presences))
    assert len([s for s in stanzas if is_push(s)]) == 1
    assert len([s for s in stanzas if s.find("priv:privilege", NS) is not None and s.get("type") == "result"]) == 1
    # The catch-up goes on.
    juliet.send_presence()
    juliet.sync()
    assert (juliet.jid, None) in told(bot)


# Q7


def test_p3_q7_a_presence_too_deep_to_be_written(server):
    """P3, Q7: a presence that is too deep to be written leaves no log line and nothing half changed, and the next presence is
    told."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    entity, bot = waiting(server, ENTITY), server.client(BOT)
    settle(server)
    bot.drain()
    for levels in (70_000, 74_000):
        say(stranger, JULIET, "<a>" * levels + "</a>" * levels)
        entity.drain(), bot.drain()
        say(stranger, JULIET, away(str(levels)))
        for peer in (entity, bot):
            assert told(peer) == [(CONTACT + "/r", None, None, str(levels))]


# P6


def test_p6_an_account_is_read_once_for_all_who_wait(server, options):
    """P6: an offline account's roster is read once, however many entities connect at the same time."""
    stranger = server.component("stranger.lit")
    for number in range(8):
        friends(server, TYBALT, f"c{number}@stranger.lit")
    server.lua(
        """
        prosody.spec_reads = {};
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or event.store_type == "map" or not real then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                if type(real[key]) ~= "function" then return real[key]; end
                return function (_, username, ...)
                    if key == "get" then
                        prosody.spec_reads[username] = (prosody.spec_reads[username] or 0) + 1;
                    end
                    return real[key](real, username, ...);
                end
            end });
        end, 1000);
        for _, host in pairs(hosts) do host.roster_cache = nil; end
        """
    )
    options(privilege_probe_rate=1)
    first = server.component(ENTITY)
    stranger.expect("presence", type="probe")
    # Two that come while the contacts of that account are being asked.
    entities = [first, server.component("second.lit"), server.client(BOT)]
    options(privilege_probe_rate=5000)
    settle(server)
    reads = server.lua("return prosody.spec_reads")
    assert reads["tybalt"] == 2, reads
    asked = [s.get("to") for s in stranger.drain()]
    assert set(asked) == {f"c{number}@stranger.lit" for number in range(8)}
    assert all(asked.count(contact) <= 2 for contact in asked)
    for number in range(8):
        stranger.send_presence(None, TYBALT, from_=f"c{number}@stranger.lit/r")
    stranger.sync()
    for entity in entities:
        assert len([p for p in told(entity) if "stranger" in p[0]]) == 8


def test_p6_a_roster_that_cannot_be_read(server):
    """P6: a roster that cannot be read does not delay other accounts; a change that another module makes to a roster it reads
    stays in that copy."""
    stranger = server.component("stranger.lit")
    for account in (JULIET, NURSE, TYBALT):
        friends(server, account, account.split("@")[0] + "@stranger.lit")
    server.lua(
        """
        for _, host in pairs(hosts) do host.roster_cache = nil; end
        hook("capulet.lit", "store-opened", function (event)
            local real = event.store;
            if event.store_name ~= "roster" or event.store_type == "map" or not real then return; end
            event.store = setmetatable({}, { __index = function (_, key)
                if type(real[key]) ~= "function" then return real[key]; end
                return function (_, username, ...)
                    if username == "nurse" and key == "get" then error("the disk is gone"); end
                    return real[key](real, username, ...);
                end
            end });
        end, 1000);
        hook("capulet.lit", "roster-load", function (event)
            if event.username == "tybalt" then error("a bad module"); end
            event.roster["added@stranger.lit"] = { subscription = "both", groups = {} };
            for _, item in pairs(event.roster) do if item.groups then item.groups.Added = true; end end
        end);
        """
    )
    since = len(server.log())
    entity = connect(server, ENTITY)
    assert sorted(s.get("to") for s in stranger.drain()) == ["added@stranger.lit", "juliet@stranger.lit"]
    warned = [line for line in server.log_lines("warn", since=since) if "cannot be read" in line]
    assert len(warned) == 2 and any("the disk is gone" in line for line in warned), warned
    entity.close()
    server.lua("unhook_all(); for _, host in pairs(hosts) do host.roster_cache = nil; end")
    assert {jid: item["groups"] for jid, item in server.roster(JULIET).items()} == {"juliet@stranger.lit": {}}
    connect(server, ENTITY)
    assert len(stranger.drain()) == 3


def test_p6_one_that_comes_later_is_told_everything(server, options):
    """P6, P2, P3: an entity that connects while others are being told is told everything, and no contact is asked twice for
    it."""
    stranger = server.component("stranger.lit")
    contacts = [f"c{number}@stranger.lit" for number in range(30)]
    for number, contact in enumerate(contacts):
        friends(server, (TYBALT, NURSE)[number % 2], contact)
    options(privilege_probe_rate=200)
    juliet = server.client(JULIET)
    first = server.component(ENTITY)
    asked = [stranger.expect("presence", type="probe").get("to") for _ in range(10)]
    second = server.component("second.lit")
    # It is told of the accounts that are online without waiting for the entities before it.
    assert second.expect("presence").get("from") == juliet.jid
    third = server.client(BOT)
    settle(server)
    asked += [s.get("to") for s in stranger.drain() if s.get("type") == "probe"]
    assert set(asked) == set(contacts)
    # At most one probe for each entity; entities that were all there share one.
    assert all(asked.count(contact) <= 3 for contact in contacts)
    assert of(told(first), JULIET) == [(juliet.jid, None)]
    assert of(told(third), JULIET) == [(juliet.jid, None)]
    second.expect_nothing("presence", from_=juliet.jid)


def test_p6_hosts_take_turns(start_server):
    """P6: all entities and granting hosts share one budget and one rate of probes."""
    hosts = ("capulet.lit", "montague.lit", "mantua.lit")
    server = start_server(
        privileged_entities={host: {ENTITY: ROSTER} for host in hosts},
        hosts=hosts,
        accounts=(TYBALT, ROMEO, LADY),
        components=(ENTITY,),
        options={"privilege_probe_rate": 100},
    )
    stranger = server.component("stranger.lit")
    for account in (TYBALT, ROMEO, LADY):
        for number in range(10):
            server.put_roster_item(account, f"{account.split('@')[0]}{number}@stranger.lit", subscription="both")
    began = server.lua("return require 'util.time'.now()")
    server.component(ENTITY)
    asked = [stranger.expect("presence", type="probe").get("from") for _ in range(30)]
    took = server.lua("return require 'util.time'.now()") - began
    # Thirty at a hundred a second: not a third of that time because there are three hosts.
    assert took > 0.25, took
    # Nobody waits until the others are done.
    assert all(asked.index(account) < 10 for account in (TYBALT, ROMEO, LADY)), asked
    # A host that goes in the middle keeps nobody waiting.
    server.component(ENTITY)
    stranger.expect("presence", type="probe")
    server.unload_module(host="montague.lit")
    settle(server)
    assert {s.get("from") for s in stranger.drain()} >= {TYBALT, LADY}


def test_p6_a_list_of_accounts_that_breaks_off(server):
    """P6: where the list of accounts breaks off, the accounts listed before and those online are still handled."""
    stranger = server.component("stranger.lit")
    friends(server, JULIET, CONTACT)
    friends(server, NURSE, "y@stranger.lit")
    nurse = server.client(NURSE)
    stranger.drain()
    server.lua(
        """
        local usermanager = require "core.usermanager";
        prosody.spec_users = usermanager.users;
        usermanager.users = function ()
            local count = 0;
            return function ()
                count = count + 1;
                return count == 1 and "juliet" or error("broken");
            end
        end
        """
    )
    before = len(server.log())
    try:
        entity = connect(server, ENTITY)
    finally:
        server.lua("require 'core.usermanager'.users, prosody.spec_users = prosody.spec_users, nil")
    assert told(entity) == [(nurse.jid, None)]
    probed = [stanza.get("to") for stanza in stranger.drain() if stanza.get("type") == "probe"]
    assert sorted(probed) == [CONTACT, "y@stranger.lit"]
    said = [line for line in server.log_lines("warn", since=before) if "breaks off" in line]
    assert len(said) == 2, said  # of capulet.lit and of mantua.lit
