"""The harness itself: the server starts, stanzas travel, the log is watched."""

import asyncio

import pytest

import slix

from harness import LuaError, Prosody, log_problems
from wire import body, error_of


def test_starts_quickly(start_server):
    """A server starts within five seconds."""
    server = start_server()
    assert server.started_in < 5
    assert server.version >= (0, 12)


def test_a_plain_message_from_component_to_client(component, juliet):
    """A plain message goes from a component to a client."""
    component.send_message("juliet@capulet.lit", body("Art thou not Romeo?"), from_="nobody@pubsub.capulet.lit")
    message = juliet.expect("message", from_="nobody@pubsub.capulet.lit")
    assert message.findtext("{jabber:client}body") == "Art thou not Romeo?"


def test_a_component_is_pinged_back(component):
    """A component gets the answer to a ping."""
    assert component.iq("get", "capulet.lit", "<ping xmlns='urn:xmpp:ping'/>").get("type") == "result"


def test_a_stranger_is_refused_a_roster(stranger, juliet):
    """R6: a component without the permission is refused a roster."""
    answer = stranger.iq("get", "juliet@capulet.lit", "<query xmlns='jabber:iq:roster'/>")
    assert answer.get("type") == "error"
    assert error_of(answer)[0] in ("auth", "cancel")
    juliet.expect_nothing("iq")


def test_sync_orders_what_another_connection_caused(component, juliet):
    """After `a.sync()`, all that `a` caused for `b` is in order in `b.drain()`."""
    for number in range(50):
        component.send_message(juliet.jid, body(str(number)))
    component.sync()
    bodies = [m.findtext("{jabber:client}body") for m in juliet.drain() if m.get("from") == component.jid]
    assert bodies == [str(number) for number in range(50)]
    juliet.expect_nothing()


def test_lua_runs_inside_the_server(server, juliet):
    """`server.lua` runs in the server, passes variables, returns values and raises LuaError."""
    assert server.lua("return host, (next(hosts[host].sessions))", host="capulet.lit") == ["capulet.lit", "juliet"]
    assert server.lua("return word", word='quotes " and \n lines, unicode ☃') == 'quotes " and \n lines, unicode ☃'
    assert server.lua("return st.message({ to = 'a' })") == "<message to='a'/>"
    with pytest.raises(LuaError, match="mind the step"):
        server.lua("error('mind the step')")


def test_rosters_are_seen_and_start_empty(server, juliet):
    """`server.roster` shows the stored roster, which starts empty, and `put_roster_item` adds to it."""
    assert server.roster("juliet@capulet.lit") == {}
    juliet.iq("set", None, "<query xmlns='jabber:iq:roster'><item jid='a@b.lit' name='A'><group>G</group></item></query>")
    stored = server.roster("juliet@capulet.lit")
    assert list(stored) == ["a@b.lit"] and stored["a@b.lit"]["name"] == "A"
    server.put_roster_item("nurse@capulet.lit", "c@d.lit", name="C", subscription="both", groups=["X"])
    assert server.roster("nurse@capulet.lit")["c@d.lit"]["subscription"] == "both"


def test_rosters_of_the_test_before_are_gone(server, juliet):
    """The rosters of the test before are gone."""
    assert server.roster("juliet@capulet.lit") == {}
    assert len(juliet.roster[0]) == 0
    assert server.roster("nurse@capulet.lit") == {}


def test_a_broken_store_fails_until_the_end_of_the_test(server, juliet):
    """A store that is broken by `break_store` fails."""
    server.lua("break_store('capulet.lit', 'roster')")
    answer = juliet.iq("set", None, "<query xmlns='jabber:iq:roster'><item jid='a@b.lit'/></query>")
    assert answer.get("type") == "error"


def test_smacks_counts(server):
    """A client with stream management counts the stanzas it has handled."""
    nurse = server.client("nurse@capulet.lit", smacks=True)
    nurse.send_message(nurse.jid, body("hush"))
    nurse.expect("message")
    assert nurse.sm_handled > 0


@pytest.mark.expect_log_error("on purpose")
def test_expected_errors_pass(server):
    """An error in the log that is expected does not fail the test."""
    server.lua("module:log('error', 'on purpose')", host="capulet.lit")


def test_unexpected_errors_are_found(start_server):
    """An error in the log that is not expected is found, and so is an expected one that did not come."""
    server = start_server()
    server.new_log()
    server.lua("module:log('error', 'by accident')", host="capulet.lit")
    with pytest.raises(AssertionError, match="by accident"):
        server.check_log()
    server.expect_errors("never said")
    with pytest.raises(AssertionError, match="never said"):
        server.check_log()


def test_tracebacks_and_panics_are_found():
    """Tracebacks and panics are found in the log, and a stanza that quotes one is not."""
    debug = "Jan 01 00:00:00 mod_c2s\tdebug\tReceived[c2s]: <message id='panicked at'>"
    trace = "Jan 01 00:00:00 x\twarn\tproblem\nstack traceback:\n\t[C]: in ?"
    panic = "thread '<unnamed>' panicked at src/lib.rs:1:1:\nboom"
    assert log_problems("\n".join([debug, trace, panic])) == [trace, panic]


def test_the_configuration_can_change_while_running(start_server):
    """`reconfigure` changes the configuration of a running server."""
    server = start_server()
    server.reconfigure(options={"spec_word": "changed"})
    assert server.lua("return module:get_option_string('spec_word')") == "changed"


@pytest.mark.parametrize("storage", ["memory", "sql"])
def test_other_storage(start_server, storage):
    """The harness works with other storage drivers, and `reset` empties them."""
    server = start_server(storage=storage)
    juliet = server.client("juliet@capulet.lit")
    juliet.iq("set", None, "<query xmlns='jabber:iq:roster'><item jid='a@b.lit' name='A'/></query>")
    assert server.roster("juliet@capulet.lit")["a@b.lit"]["name"] == "A"
    server.reset()
    assert server.roster("juliet@capulet.lit") == {}


def test_two_servers_talk(start_server):
    """Two servers of the harness exchange messages over server-to-server."""
    veronica = start_server(s2s=True)
    mantua = start_server(hosts=("mantua.lit",), accounts=("romeo@mantua.lit",), s2s=True, privileged_entities={})
    veronica.reconfigure(s2s_targets={"mantua.lit": mantua.s2s_port})
    mantua.reconfigure(s2s_targets={"capulet.lit": veronica.s2s_port})
    juliet, romeo = veronica.client("juliet@capulet.lit"), mantua.client("romeo@mantua.lit")
    juliet.send_message(romeo.jid, body("Romeo!"))
    romeo.expect("message", from_=juliet.jid)
    romeo.send_message(juliet.jid, body("Juliet!"))
    juliet.expect("message", from_=romeo.jid)


def test_the_shell_is_there(server):
    """`server.shell` runs a command of prosodyctl shell."""
    assert "capulet.lit" in server.shell("host list")


def test_nothing_is_left_behind():
    """A stopped server leaves neither a process nor a directory behind."""
    server = Prosody().start()
    process, directory = server.process, server.directory
    server.stop()
    assert process.poll() is not None
    assert not directory.exists()


async def test_slixmpp_component_and_client(server):
    """A slixmpp component and a slixmpp client exchange a message."""
    async with slix.component(server, advertised=0) as component, slix.client(server, "juliet@capulet.lit") as juliet:
        heard = asyncio.Queue()
        juliet.add_event_handler("message", heard.put_nowait)
        component.send_message("juliet@capulet.lit", "Good morrow", mfrom="a@pubsub.capulet.lit")
        message = await asyncio.wait_for(heard.get(), 5)
        assert message["body"] == "Good morrow"
