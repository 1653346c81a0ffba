"""Senders without privileges (R6, M7, Q1, L6) and accounts that no longer exist (L7)."""

import re

import pytest

from harness import PRIVILEGES
from helpers import PING, Tap, assert_refused, bodies, grants, is_message_with_body, loud_lines
from wire import NS, body, error_of, local, message_from
from words import iq_wrapper

JULIET, NURSE, ROMEO, TYBALT = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit", "tybalt@capulet.lit"
NOBODY = "nobody@capulet.lit"
ENTITY = "pubsub.capulet.lit"

ROSTER_GET = "<query xmlns='jabber:iq:roster'/>"
ROSTER_SET = "<query xmlns='jabber:iq:roster'><item jid='spy@stranger.lit' subscription='both'/></query>"
ROSTER_REMOVE = "<query xmlns='jabber:iq:roster'><item jid='romeo@montague.lit' subscription='remove'/></query>"


def message_wrapper(account: str, version: int = 2) -> str:
    return (
        f"<privilege xmlns='urn:xmpp:privilege:{version}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"{message_from(account, ROMEO, body('forged'))}</forwarded></privilege>"
    )


def wrapped_ping(type_: str = "get", to: str = "capulet.lit") -> str:
    return iq_wrapper(f"<iq xmlns='jabber:client' type='{type_}' id='i' to='{to}'>{PING}</iq>")


class Stranger:
    """A sender without a grant; `answer` returns all that comes back to one stanza, byte for byte."""

    def __init__(self, connection, address: str | None):
        self.connection = connection
        self.head = f" from='{address}'" if address else ""
        connection.drain()
        self.tap = Tap(connection)

    def answer(self, stanza: str, *names: str) -> str:
        """Sends it (@ is where `from` goes) and returns what came, the names in it replaced."""
        # Stanzas that others cause (presence) are not part of the answer.
        self.connection.drain()
        self.tap.data = b""
        self.connection.send(stanza.replace("@FROM", self.head))
        self.connection.sync()
        self.connection.inbox.clear()
        text = self.tap.data.decode()
        # The answer to our own ping is the last thing.
        text = re.sub(r"<iq[^>]*id=['\"]sync\d+['\"][^>]*/>$", "", text)
        for name in names:
            text = text.replace(name, "NAME")
        return text


@pytest.fixture(params=["component", "client", "client of another host", "user of the entity", "resource of the entity"])
def somebody(request, server):
    """Each kind of stranger in turn."""
    if request.param == "component":
        return Stranger(server.component("stranger.lit"), "stranger.lit")
    if request.param == "client":
        return Stranger(server.client(NURSE), None)
    if request.param == "client of another host":
        return Stranger(server.client(ROMEO), None)
    address = {"user of the entity": "user@" + ENTITY, "resource of the entity": ENTITY + "/x"}[request.param]
    return Stranger(server.component(ENTITY), address)


# The attempts of a stranger: name -> stanza about an account
ATTEMPTS = {
    "message wrapper": lambda who: f"<message@FROM to='capulet.lit' id='x'>{message_wrapper(who)}</message>",
    "message wrapper of version 1": lambda who: f"<message@FROM to='capulet.lit' id='x'>{message_wrapper(who, 1)}</message>",
    "iq wrapper get": lambda who: f"<iq@FROM type='get' to='{who}' id='x'>{wrapped_ping()}</iq>",
    "iq wrapper set": lambda who: f"<iq@FROM type='set' to='{who}' id='x'>{wrapped_ping('set')}</iq>",
    "iq wrapper malformed": lambda who: f"<iq@FROM type='set' to='{who}' id='x'><privileged_iq xmlns='urn:xmpp:privilege:2'/></iq>",
    "iq wrapper to a resource": lambda who: f"<iq@FROM type='get' to='{who}/balcony' id='x'>{wrapped_ping()}</iq>",
    "roster get": lambda who: f"<iq@FROM type='get' to='{who}' id='x'>{ROSTER_GET}</iq>",
    "roster get with ver": lambda who: f"<iq@FROM type='get' to='{who}' id='x'><query xmlns='jabber:iq:roster' ver=''/></iq>",
    "roster set": lambda who: f"<iq@FROM type='set' to='{who}' id='x'>{ROSTER_SET}</iq>",
    "roster remove": lambda who: f"<iq@FROM type='set' to='{who}' id='x'>{ROSTER_REMOVE}</iq>",
    "roster malformed": lambda who: f"<iq@FROM type='set' to='{who}' id='x'>{ROSTER_GET}</iq>",
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_l6_the_answer_tells_nothing(somebody, server, attempt):
    """L6, R6, M7, Q1: a stranger gets `forbidden`, the same to the byte whether the account is online, exists or does not. No
    log line is written, nothing is delivered and nothing changes."""
    juliet = server.client(JULIET, resource="balcony", carbons=True)
    romeo = server.client(ROMEO, carbons=True)
    since = len(server.log())
    answers = {who: somebody.answer(attempt(who), who, who.split("@")[0]) for who in (JULIET, TYBALT, NOBODY)}
    # The first connection of a stranger is a user of the server, but not an account of the granting host.
    assert loud_lines(server, since) == []
    for text in answers.values():
        assert "type='error'" in text or 'type="error"' in text, text
        assert "<forbidden" in text and ("type='auth'" in text or 'type="auth"' in text), text
        assert text.count("<error") == 1
    assert len(set(answers.values())) == 1, answers
    juliet.expect_nothing()
    romeo.expect_nothing("message")
    assert server.roster(JULIET) == {} == server.roster(TYBALT)


def test_l6_wrapper_to_the_host(somebody, server):
    """L6, Q1: an IQ wrapper to the host itself, or to a host that grants nothing, is refused."""
    since = len(server.log())
    for to in ("capulet.lit", "montague.lit"):
        for content in (wrapped_ping(), wrapped_ping("get", JULIET)):
            text = somebody.answer(f"<iq@FROM type='get' to='{to}' id='x'>{content}</iq>")
            assert text.count("<error") == 1, text
            if to == "capulet.lit":
                assert "<forbidden" in text
    assert loud_lines(server, since) == []


@pytest.mark.parametrize("type_", ["error", "result"])
def test_l6_answers_are_not_answered(somebody, server, type_):
    """L6, M6: errors and results with a wrapper in them are not answered."""
    juliet = server.client(JULIET, carbons=True)
    romeo = server.client(ROMEO)
    since = len(server.log())
    for who in (JULIET, NOBODY):
        assert somebody.answer(f"<iq@FROM type='{type_}' to='{who}' id='x'>{wrapped_ping()}</iq>") == ""
        assert somebody.answer(f"<iq@FROM type='{type_}' to='{who}' id='x'>{ROSTER_SET}</iq>") == ""
    assert somebody.answer(f"<iq@FROM type='{type_}' to='capulet.lit' id='x'>{wrapped_ping()}</iq>") == ""
    if type_ == "error":
        assert somebody.answer(f"<message@FROM type='error' to='capulet.lit' id='x'>{message_wrapper(JULIET)}</message>") == ""
    assert loud_lines(server, since) == []
    juliet.expect_nothing()
    romeo.expect_nothing("message")


@pytest.mark.parametrize("to", ["@", "capulet.lit", "juliet@capulet.lit/balcony"])
def test_l6_odd_addresses_inside(somebody, server, to):
    """L6: the module does not look at the inside of a stranger's wrapper."""
    since = len(server.log())
    expected = somebody.answer(f"<iq@FROM type='get' to='{JULIET}' id='x'>{wrapped_ping()}</iq>")
    assert somebody.answer(f"<iq@FROM type='get' to='{JULIET}' id='x'>{wrapped_ping('get', to)}</iq>") == expected
    expected = somebody.answer(f"<message@FROM to='capulet.lit' id='x'>{message_wrapper(JULIET)}</message>")
    assert somebody.answer(f"<message@FROM to='capulet.lit' id='x'>{message_wrapper(to)}</message>") == expected
    assert loud_lines(server, since) == []


def test_l6_no_work(somebody, server):
    """L6, R6: for a stranger's stanza the module neither looks up the account nor opens a store."""
    server.lua(
        """
        local users = hosts[h].users;
        local real = users.user_exists;
        prosody.spec_asked = 0;
        -- The blocklist asks too, of every stanza; and the presence of contacts is asked for after an entity
        -- has connected, by a timer. A lookup has a coroutine of its own; what it is for is on the main stack.
        local main = coroutine.running();
        local function count()
            if debug.traceback():find("mod_privilege", 1, true) and debug.traceback(main):find("xmppstream", 1, true) then
                prosody.spec_asked = prosody.spec_asked + 1;
            end
        end
        users.user_exists = function (...) count(); return real(...); end
        hook(h, "store-opened", count);
        prosody.spec_restore = function () users.user_exists = real; end
        """,
        h="capulet.lit",
    )
    try:
        for attempt in ATTEMPTS.values():
            for who in (TYBALT, NOBODY):
                somebody.answer(attempt(who))
        assert server.lua("return prosody.spec_asked") == 0
        # An entity's stanza does, so the test would see it.
        server.component("gateway.capulet.lit").privileged_iq("get", NOBODY, PING, to="capulet.lit")
        assert server.lua("return prosody.spec_asked") > 0
    finally:
        server.lua("prosody.spec_restore()")


def test_l6_a_remote_stranger(start_server):
    """L6: a stranger on another server gets the same `forbidden` for every account, existing or not."""
    veronica = start_server(s2s=True)
    mantua = start_server(hosts=("mantua.lit",), accounts=("balthasar@mantua.lit",), s2s=True, privileged_entities={})
    veronica.reconfigure(s2s_targets={"mantua.lit": mantua.s2s_port})
    mantua.reconfigure(s2s_targets={"capulet.lit": veronica.s2s_port})
    juliet, balthasar = veronica.client(JULIET, resource="balcony", carbons=True), mantua.client("balthasar@mantua.lit")
    # Connected, both ways.
    assert balthasar.iq("get", "capulet.lit", PING).get("type") == "result"
    juliet.drain()
    since = len(veronica.log())
    for name, attempt in ATTEMPTS.items():
        answers = set()
        for who in (JULIET, TYBALT, NOBODY):
            balthasar.send(attempt(who).replace("@FROM", ""))
            got = balthasar.expect(lambda s: s.get("id") == "x")
            assert error_of(got)[:2] == ("auth", "forbidden"), name
            answers.add((got.get("type"), *error_of(got)))
        assert len(answers) == 1, (name, answers)
    assert loud_lines(veronica, since) == []
    juliet.expect_nothing()


def test_r6_the_accounts_own_roster_is_its_own(juliet, nurse):
    """R6: an account that asks for its own roster, with `to` absent or its bare JID, is not refused."""
    for to in (None, JULIET):
        got = juliet.iq("set", to, "<query xmlns='jabber:iq:roster'><item jid='a@b.lit' name='A'/></query>")
        assert got.get("type") == "result"
        got = juliet.iq("get", to, ROSTER_GET)
        assert [i.get("jid") for i in got.find("roster:query", NS)] == ["a@b.lit"]
    nurse.expect_nothing("iq")


def test_q1_a_clients_wrapper_to_itself(juliet, server):
    """Q1, L6: an account has no privilege over itself, with `to` absent or its own bare JID."""
    since = len(server.log())
    for to in (None, JULIET):
        got = juliet.iq("get", to, wrapped_ping())
        assert error_of(got)[:2] == ("auth", "forbidden")
    assert error_of(juliet.iq("get", juliet.jid, wrapped_ping()))[0:2] == ("auth", "forbidden")
    juliet.expect_nothing("iq")
    assert loud_lines(server, since) == []


def test_m7_a_clients_wrapper_from_itself(juliet, romeo):
    """M7: an account has no privilege for a message of its own either."""
    id_ = juliet.send_message("capulet.lit", message_wrapper(JULIET), type_=None)
    assert error_of(juliet.expect("message", id=id_))[:2] == ("auth", "forbidden")
    romeo.expect_nothing("message")


def test_l6_one_permission_is_not_another(start_server):
    """L6, R6, Q1, M7: an entity that is granted only messages is a stranger to rosters and IQs, and so on for each
    permission."""
    one_each = {
        "pubsub.capulet.lit": {"message": "outgoing"},
        "gateway.capulet.lit": {"iq": {"urn:xmpp:ping": "get"}},
        "stranger.lit": {"roster": "get"},
    }
    server = start_server(privileged_entities={"capulet.lit": one_each})
    romeo = server.client(ROMEO)
    for domain in one_each:
        component = server.component(domain)
        component.drain()
        may = {
            "message": "message" in one_each[domain],
            "iq": "iq" in one_each[domain],
            "get": "roster" in one_each[domain],
            "set": False,
        }
        id_ = component.privileged_message(message_from(JULIET, ROMEO, body(domain)))
        if may["message"]:
            romeo.expect(is_message_with_body(domain))
        else:
            assert_refused(component.expect("message", id=id_), "auth", "forbidden")
        for kind, got in (
            ("iq", component.privileged_iq("get", JULIET, PING, to="capulet.lit")),
            ("get", component.iq("get", JULIET, ROSTER_GET)),
            ("set", component.iq("set", JULIET, ROSTER_SET)),
        ):
            if may[kind]:
                assert got.get("type") == "result", (domain, kind)
            else:
                assert error_of(got)[:2] == ("auth", "forbidden"), (domain, kind)
        component.expect_nothing("message")
    romeo.expect_nothing("message")
    assert server.roster(JULIET) == {}


def test_l6_out_of_scope_tells_no_more(start_server):
    """L6, C7: for accounts outside its scope an entity is a stranger, and cannot tell which exist."""
    server = start_server(privileged_entities=grants(accounts=["juliet"]))
    connection = server.component(ENTITY)
    entity = Stranger(connection, ENTITY)
    for name, attempt in ATTEMPTS.items():
        if name in ("iq wrapper malformed", "roster malformed"):
            continue
        answers = {entity.answer(attempt(who), who, who.split("@")[0]) for who in (TYBALT, NOBODY)}
        assert len(answers) == 1, (name, answers)
        assert "<forbidden" in answers.pop(), name


# L7: accounts that are deleted, disabled or created again


def use(component, account: str) -> dict:
    """Sends a message, an IQ and a roster request for an account; returns the condition of each answer."""
    id_ = component.privileged_message(message_from(account, ROMEO, body("as " + account)))
    iq = component.privileged_iq("get", account, PING, to="capulet.lit")
    roster = component.iq("get", account, ROSTER_GET)
    refused = [s for s in component.inbox if local(s) == "message" and s.get("id") == id_]
    for stanza in refused:
        component.inbox.remove(stanza)
    return {
        "message": error_of(refused[0])[1] if refused else "sent",
        "iq": error_of(iq)[1] if iq.get("type") == "error" else "result",
        "roster": error_of(roster)[1] if roster.get("type") == "error" else "result",
    }


ALIVE = {"message": "sent", "iq": "result", "roster": "result"}
DEAD = {"message": "forbidden", "iq": "forbidden", "roster": "item-not-found"}


@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_l7_deleted_account_is_refused_at_once(component, server, romeo, online):
    """L7: a deleted account is refused at once, though it was used a moment before."""
    if online:
        server.client(TYBALT)
    assert use(component, TYBALT) == ALIVE
    romeo.expect(is_message_with_body("as " + TYBALT))
    server.delete_account(TYBALT)
    assert use(component, TYBALT) == DEAD
    romeo.expect_nothing("message")


def test_l7_created_again_starts_afresh(component, server):
    """L7: an account that is created again under the same name starts afresh."""
    item = "<query xmlns='jabber:iq:roster'><item jid='a@b.lit' name='A' subscription='both'/></query>"
    for _ in range(2):
        got = component.iq("get", TYBALT, ROSTER_GET)
        assert len(got.find("roster:query", NS)) == 0
        store = "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'>kept</x></query>"
        read = "<query xmlns='jabber:iq:private'><x xmlns='urn:example:x'/></query>"
        found = component.privileged_iq("get", TYBALT, read).find(".//{urn:example:x}x")
        assert found is None or not found.text
        assert component.iq("set", TYBALT, item).get("type") == "result"
        assert component.privileged_iq("set", TYBALT, store).get("type") == "result"
        assert len(component.iq("get", TYBALT, ROSTER_GET).find("roster:query", NS)) == 1
        server.delete_account(TYBALT)
        assert use(component, TYBALT) == DEAD
        server.add_account(TYBALT)
        assert use(component, TYBALT) == ALIVE


def test_l7_a_new_account_is_one_at_once(component, server):
    """L7: a new account is an account at once: the module does not remember that it did not exist."""
    assert use(component, "paris@capulet.lit") == DEAD
    server.add_account("paris@capulet.lit")
    try:
        assert use(component, "paris@capulet.lit") == ALIVE
    finally:
        server.delete_account("paris@capulet.lit")
    assert use(component, "paris@capulet.lit") == DEAD


def test_l7_the_same_name_on_another_host(component, server):
    """L7: the deletion of an account of the same name on another host changes nothing."""
    assert use(component, TYBALT) == ALIVE
    server.add_account("tybalt@montague.lit")
    server.delete_account("tybalt@montague.lit")
    assert use(component, TYBALT) == ALIVE


@pytest.mark.prosody13
@pytest.mark.parametrize("online", [False, True], ids=["offline", "online"])
def test_l7_disabled_account(start_server, online):
    """L7: a disabled account is not an account; enabled again it is one. (0.12 cannot disable accounts.)"""
    server = start_server(authentication="internal_hashed", privileged_entities=PRIVILEGES)
    if server.version < (13,):
        pytest.skip("accounts cannot be disabled before Prosody 13")
    component, romeo = server.component(), server.client(ROMEO)
    if online:
        server.client(TYBALT)
    assert use(component, TYBALT) == ALIVE
    romeo.drain()
    server.lua("assert(usermanager.disable_user('tybalt', 'capulet.lit'))")
    assert use(component, TYBALT) == DEAD
    romeo.expect_nothing("message")
    server.lua("assert(usermanager.enable_user('tybalt', 'capulet.lit'))")
    assert use(component, TYBALT) == ALIVE
    component.sync()
    assert bodies(s for s in romeo.drain() if local(s) == "message") == ["as " + TYBALT]
