"""G5 and G6: the user's say. Blocking an entity in any client ends what it may do in the account's name."""

from __future__ import annotations

import asyncio

import pytest

import slix

from harness import IQ_GRANTS, Prosody
from helpers import is_message_with_body
from test_roster import get_roster, must_set, set_roster
from watching import pushed
from wire import body, error_of, inner_iq, local, message_from, payload, text_of
from words import COMMANDS, FORBIDDEN, answer, echo, friends, is_request, item

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"
ENTITY, GATEWAY, BOT = "pubsub.capulet.lit", "gateway.capulet.lit", "benvolio@montague.lit"
EVERYTHING = {"roster": "both", "message": "outgoing", "presence": "roster", "iq": IQ_GRANTS}
SERVICES = "urn:xmpp:privilege:2#services"
ECHO_TO = "stranger.lit"


@pytest.fixture(scope="module")
def session_server():
    grants = {"capulet.lit": {ENTITY: EVERYTHING, GATEWAY: EVERYTHING, BOT: {**EVERYTHING, "roster_push": False}}}
    with Prosody(privileged_entities=grants) as running:
        yield running


def change(client, verb: str, *jids: str):
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    done = client.iq("set", None, f"<{verb} xmlns='urn:xmpp:blocking'>{items}</{verb}>")
    assert done.get("type") == "result", text_of(done)


def error_to(entity, stanza_id: str):
    return error_of(entity.expect(lambda s: s.get("id") == stanza_id and s.get("type") == "error"))[:2]


def refusals(entity, account: str = JULIET) -> list:
    """The errors to everything that an entity may ask for in the name of an account."""
    message = entity.privileged_message(message_from(account, ROMEO, body("x")))
    of_host = entity.privileged_message(message_from("capulet.lit", account, body("x")))
    iq = entity.send_privileged_iq("get", account, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    full = entity.send_privileged_iq("get", account + "/x", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
    get = entity.send_iq("get", account, "<query xmlns='jabber:iq:roster'/>")
    set_ = entity.send_iq("set", account, f"<query xmlns='jabber:iq:roster'>{item('a@b.lit')}</query>")
    return [error_to(entity, id_) for id_ in (message, of_host, iq, full, get, set_)]


def is_allowed(entity, account: str = JULIET):
    assert get_roster(entity, account) is not None
    done = entity.privileged_iq("get", account, "<ping xmlns='urn:xmpp:ping'/>", to="capulet.lit")
    assert inner_iq(done).get("type") == "result", text_of(done)


def presences(entity, of: str = JULIET) -> list[tuple]:
    found = [s for s in entity.drain() if local(s) == "presence" and s.get("from").startswith(of)]
    return [(s.get("from"), s.get("type")) for s in found]


def test_g5_a_blocked_entity_is_refused_everything_with_the_next_stanza(server, component, gateway, juliet):
    """G5: an account on whose blocklist the entity's bare JID or its domain stands is out of its scope: same answers, before
    mod_blocklist gives its own."""
    is_allowed(component)
    change(juliet, "block", ENTITY)
    assert refusals(component) == [FORBIDDEN] * 6
    is_allowed(component, NURSE)
    is_allowed(gateway)
    change(juliet, "unblock", ENTITY)
    is_allowed(component)
    component.privileged_message(message_from(JULIET, JULIET, body("again")))
    assert juliet.expect(is_message_with_body("again"))


def test_g5_a_bot_is_blocked_by_its_address_or_its_domain(server, juliet):
    """G5: of an account entity the bare JID and the domain count."""
    bot = server.client(BOT)
    for jid in (BOT, "montague.lit"):
        change(juliet, "block", jid)
        assert get_error(bot) == FORBIDDEN, jid
        change(juliet, "unblock", jid)
        assert get_roster(bot, JULIET) is not None


def get_error(entity, account: str = JULIET):
    got = entity.iq("get", account, "<query xmlns='jabber:iq:roster'/>")
    return error_of(got)[:2] if got.get("type") == "error" else None


@pytest.mark.parametrize("jid", [f"somebody@{ENTITY}", f"{ENTITY}/x", "lit", f"a.{ENTITY}"])
def test_g5_other_addresses_do_not_count(server, component, juliet, jid):
    """G5: addresses behind the entity, resources and parent domains do not count."""
    change(juliet, "block", jid)
    is_allowed(component)
    change(juliet, "unblock", jid)


def test_g5_presence_ends_and_comes_back(server, juliet):
    """G5: on a block, one `unavailable` per resource that was told, then nothing; unblocking: the account's current presence."""
    second = server.client(JULIET, resource="second")
    entity = server.component(ENTITY)
    for client in (juliet, second):
        entity.expect("presence", from_=client.jid)
    entity.drain()
    change(juliet, "block", ENTITY)
    assert sorted(presences(entity)) == sorted([(juliet.jid, "unavailable"), (second.jid, "unavailable")])
    juliet.send_presence(content="<status>hidden</status>")
    second.close()
    juliet.sync()
    assert presences(entity) == []
    juliet.send_presence(content="<status>shown again</status>")
    juliet.sync()
    change(juliet, "unblock", ENTITY)
    assert presences(entity) == [(juliet.jid, None)]
    juliet.send_presence(content="<status>and on</status>")
    juliet.sync()
    assert presences(entity) == [(juliet.jid, None)]


def test_g5_contacts_end_and_come_back_with_the_account(server):
    """G5: the contacts that nobody else shares are gone for the entity, and are told again after the unblocking."""
    friends(server, JULIET, ROMEO)
    friends(server, JULIET, "benvolio@montague.lit")
    friends(server, NURSE, "benvolio@montague.lit")
    juliet, romeo, benvolio = server.client(JULIET), server.client(ROMEO), server.client(BOT, resource="x")
    entity = server.component(ENTITY)
    for client in (juliet, romeo, benvolio):
        entity.expect("presence", from_=client.jid)
    entity.drain()
    change(juliet, "block", ENTITY)
    told = [(s.get("from"), s.get("type")) for s in entity.drain() if local(s) == "presence"]
    assert sorted(told) == sorted([(juliet.jid, "unavailable"), (ROMEO, "unavailable")])
    change(juliet, "unblock", ENTITY)
    entity.expect("presence", from_=romeo.jid)
    assert entity.expect("presence", from_=juliet.jid).get("type") is None


def test_g5_an_entity_that_is_a_contact_is_told_once(server, juliet):
    """G5, P5: the server itself tells a contact that it is blocked, so the entity is not told twice."""
    server.lua("put_roster_item('juliet', 'capulet.lit', jid, { subscription = 'both', groups = {} })", jid=ENTITY)
    entity = server.component(ENTITY)
    entity.expect("presence", from_=juliet.jid)
    entity.drain()
    change(juliet, "block", ENTITY)
    assert presences(entity) == [(juliet.jid, "unavailable")]


def test_g5_pushes_end(server, component, gateway, juliet):
    """G5: a blocked entity is pushed nothing of the account."""
    change(juliet, "block", ENTITY)
    component.drain()
    must_set(gateway, JULIET, item("a@b.lit"))
    assert pushed(component, JULIET) == []
    change(juliet, "unblock", ENTITY)
    must_set(gateway, JULIET, item("c@d.lit"))
    assert [contact for contact, _ in pushed(component, JULIET)] == ["c@d.lit"]


def test_g5_requests_in_flight_are_answered(server, component, stranger, juliet):
    """G5: requests in flight are answered `forbidden`; the late answer changes nothing."""
    id_ = component.send_privileged_iq("get", JULIET, echo("first"), to=ECHO_TO)
    request = stranger.expect(is_request("first"))
    change(juliet, "block", ENTITY)
    assert error_to(component, id_) == FORBIDDEN
    answer(stranger, request)
    stranger.sync()
    component.expect_nothing("iq")


def test_g5_the_stored_list_counts(server, component, juliet):
    """G5: the stored list counts, not the request, so a failed save changes nothing."""
    is_allowed(component)
    server.lua("break_store('capulet.lit', 'blocklist'); modulemanager.reload('capulet.lit', 'blocklist')")
    failed = juliet.iq("set", None, f"<block xmlns='urn:xmpp:blocking'><item jid='{ENTITY}'/></block>")
    assert error_of(failed)[:2] == ("wait", "internal-server-error")
    is_allowed(component)
    server.lua("mend_stores(); modulemanager.reload('capulet.lit', 'blocklist')")
    change(juliet, "block", ENTITY)
    assert get_error(component) == FORBIDDEN


def test_g5_a_list_that_cannot_be_read_allows_nothing(server, component, juliet):
    """G5: an account whose list cannot be read is acted for by nobody; when it can be read again, all is as before."""
    server.lua("break_store('capulet.lit', 'blocklist', true); modulemanager.reload('capulet.lit', 'privilege')")
    assert get_error(component) == ("wait", "internal-server-error")
    component.drain()
    juliet.send_presence(content="<status>unseen</status>")
    juliet.sync()
    assert presences(component) == []
    server.lua("mend_stores(); modulemanager.reload('capulet.lit', 'privilege')")
    assert get_error(component) is None
    juliet.send_presence(content="<status>seen</status>")
    juliet.sync()
    assert presences(component) == [(juliet.jid, None)]


def test_g5_no_storage_read_per_stanza(server, component, juliet):
    """G5: the list is read once, and again after a change."""
    server.lua(
        """
        prosody.spec_reads = 0;
        local store = getmetatable(storagemanager.open("capulet.lit", "blocklist")).__index;
        local real = store.get;
        prosody.spec_undo = function () store.get = real; end;
        store.get = function (self, ...)
            if self.store == "blocklist" and (...) == "juliet" then prosody.spec_reads = prosody.spec_reads + 1; end
            return real(self, ...);
        end;
        """
    )
    try:
        is_allowed(component)
        before = server.lua("return prosody.spec_reads")
        for _ in range(5):
            is_allowed(component)
        assert server.lua("return prosody.spec_reads") == before
        change(juliet, "block", ENTITY)
        before = server.lua("return prosody.spec_reads")
        for _ in range(5):
            assert get_error(component) == FORBIDDEN
        assert server.lua("return prosody.spec_reads") == before
    finally:
        server.lua("prosody.spec_undo()")


def test_g5_a_list_goes_with_its_account(server, component, juliet):
    """G5, L7: an account that is created again starts afresh."""
    change(juliet, "block", ENTITY)
    assert get_error(component) == FORBIDDEN
    server.lua("delete_user('juliet', 'capulet.lit'); create_user('juliet', 'capulet.lit')")
    assert get_error(component) is None


def test_g5_blocklists_come_and_go(server, component, juliet):
    """G5: where mod_blocklist is not loaded there is no list; when it is there again, its lists count."""
    change(juliet, "block", ENTITY)
    assert get_error(component) == FORBIDDEN
    server.lua("modulemanager.unload('capulet.lit', 'blocklist')")
    assert get_error(component) is None
    server.lua("modulemanager.load('capulet.lit', 'blocklist')")
    assert get_error(component) == FORBIDDEN
    server.lua("modulemanager.reload('capulet.lit', 'privilege')")
    assert get_error(component) == FORBIDDEN


@pytest.mark.prosody13
def test_g5_a_list_of_an_account_that_was_disabled(start_server):
    """G5, L7: an account that is enabled again has the list that is stored."""
    server = start_server(authentication="internal_hashed", privileged_entities={"capulet.lit": {ENTITY: EVERYTHING}})
    if server.version < (13,):
        pytest.skip("accounts cannot be disabled before Prosody 13")
    component = server.component(ENTITY)

    def disable_and_enable():
        for verb in ("disable", "enable"):
            server.lua(f"assert(usermanager.{verb}_user('juliet', 'capulet.lit'))")

    change(server.client(JULIET), "block", ENTITY)
    disable_and_enable()
    assert get_error(component) == FORBIDDEN
    change(server.client(JULIET), "unblock", ENTITY)
    disable_and_enable()
    is_allowed(component)
    component.privileged_message(message_from(JULIET, JULIET, body("again")))
    component.expect_nothing("message", type="error")


# G6


def run_command(client, action: str = "execute", form: str = "", session: str = "") -> object:
    session = f" sessionid='{session}'" if session else ""
    return client.iq("set", "capulet.lit", f"<command xmlns='{COMMANDS}' node='{SERVICES}' action='{action}'{session}>{form}</command>")


def choose(client, session: str, *jids: str):
    values = "".join(f"<value>{jid}</value>" for jid in jids)
    field = f"<field var='blocked' type='list-multi'>{values}</field>"
    form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{SERVICES}</value></field>{field}</x>"
    return run_command(client, "complete", form, session)


def blocklist(client) -> set:
    got = client.iq("get", None, "<blocklist xmlns='urn:xmpp:blocking'/>")
    return {entry.get("jid") for entry in got[0]}


def test_g6_the_user_sees_and_blocks_services(server, component, juliet):
    """G6: the command lists who may do what in the account's name, and lets the user block and unblock each."""
    shown = payload(run_command(juliet))
    assert shown.get("status") == "executing", text_of(shown)
    text = text_of(shown)
    for words in (ENTITY, GATEWAY, BOT, "your contacts", "in your name"):
        assert words in text, words
    done = payload(choose(juliet, shown.get("sessionid"), ENTITY))
    assert done.get("status") == "completed", text_of(done)
    assert blocklist(juliet) == {ENTITY}
    assert get_error(component) == FORBIDDEN
    shown = payload(run_command(juliet))
    assert f"<value>{ENTITY}</value>" in text_of(shown).replace("ns1:", "").replace("ns0:", "").replace("ns2:", "")
    choose(juliet, shown.get("sessionid"))
    assert blocklist(juliet) == set()
    assert get_error(component) is None


def test_g6_with_slixmpp(server, component):
    """G6: a real client library runs the command, is shown the services, and blocks one."""

    async def run():
        async with slix.client(server, JULIET, plugins=("xep_0004", "xep_0050", "xep_0191")) as juliet:
            commands = await juliet.plugin["xep_0050"].get_commands("capulet.lit")
            assert SERVICES in [node for _, node, _ in commands["disco_items"]["items"]]
            shown = await juliet.plugin["xep_0050"].send_command("capulet.lit", SERVICES, action="execute")
            assert ENTITY in str(shown["command"]["form"])
            answer = juliet.plugin["xep_0004"].make_form(ftype="submit")
            answer.add_field(var="FORM_TYPE", ftype="hidden", value=SERVICES)
            answer.add_field(var="blocked", ftype="list-multi", value=[ENTITY])
            done = await juliet.plugin["xep_0050"].send_command(
                "capulet.lit", SERVICES, action="complete", sessionid=shown["command"]["sessionid"], payload=answer,
            )
            assert done["command"]["status"] == "completed"
            blocked = await juliet.plugin["xep_0191"].get_blocked()
            assert [str(entry["jid"]) for entry in blocked["blocklist"]] == [ENTITY]

    asyncio.run(run())
    assert get_error(component) == FORBIDDEN


def test_g6_each_step_is_about_its_sender(server, component, juliet, nurse):
    """G6: each step acts on the account of the sender of that step, whoever began."""
    shown = payload(run_command(juliet))
    choose(nurse, shown.get("sessionid"), ENTITY)
    assert (blocklist(juliet), blocklist(nurse)) == (set(), {ENTITY})
    change(nurse, "unblock", ENTITY)


def test_g6_not_for_a_component_that_claims_to_be_the_account(start_server):
    """G6: where components may say that they are anybody, the command is still for the account's own clients alone."""
    server = start_server(
        privileged_entities={"capulet.lit": {ENTITY: EVERYTHING}}, host_options={"stranger.lit": {"validate_from_addresses": False}},
    )
    juliet, stranger = server.client(JULIET), server.component("stranger.lit")
    change(juliet, "block", ENTITY)
    command = f"<command xmlns='{COMMANDS}' node='{SERVICES}' action='execute'><x xmlns='jabber:x:data' type='submit'/></command>"
    stranger.send(f"<iq type='set' from='{JULIET}' to='capulet.lit' id='x'>{command}</iq>")
    stranger.sync()
    assert blocklist(juliet) == {ENTITY}


def test_g6_not_for_others_and_not_without_its_parts(server, juliet, romeo):
    """G6: the command is for the accounts of the host; without mod_blocklist, or switched off, it is not there."""

    def is_there(client) -> bool:
        found = client.iq("get", "capulet.lit", f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>")
        return SERVICES in text_of(found)

    assert is_there(juliet) and not is_there(romeo)
    assert run_command(romeo).get("type") == "error"
    server.lua("modulemanager.unload('capulet.lit', 'blocklist')")
    assert not is_there(juliet)
    server.lua("modulemanager.load('capulet.lit', 'blocklist')")
    assert is_there(juliet)
    server.lua("modulemanager.unload('capulet.lit', 'admin_adhoc'); modulemanager.unload('capulet.lit', 'adhoc')")
    info = server.shell("module info privilege capulet.lit")
    assert "Adhoc (1 item)" not in info
    server.lua("modulemanager.load('capulet.lit', 'adhoc')")
    assert is_there(juliet)
    server.reconfigure(options={**server.options, "privilege_user_command": False})
    assert not is_there(juliet)
    server.reconfigure(options={key: value for key, value in server.options.items() if key != "privilege_user_command"})
    assert is_there(juliet)
