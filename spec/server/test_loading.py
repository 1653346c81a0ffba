"""Loading (L3), versions (L4), and other modules and storage beside it (L5)."""

import shutil
from pathlib import Path

import pytest

from harness import REPO, LuaError
from helpers import PING, archive, bodies, carbon_sent, grants, is_message_with_body
from wire import NS, body, error_of, inner_iq, local, message_from, new_id

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"
HOST = "capulet.lit"

BUILT = REPO / "target" / "plugins" / "mod_privilege"


def library() -> Path:
    """The native library as built."""
    (found,) = BUILT.glob("*.so")
    return found


def does_its_job(server):
    """A message, an IQ, and the roster."""
    component, romeo = server.component(), server.client(ROMEO)
    component.privileged_message(message_from(JULIET, ROMEO, body("it works")))
    romeo.expect(is_message_with_body("it works"))
    assert component.privileged_iq("get", JULIET, PING, to=HOST).get("type") == "result"
    assert component.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>").get("type") == "result"
    component.close()
    romeo.close()


# L3: without the native library


@pytest.fixture
def copied_plugin(tmp_path):
    """A plugin path with a copy of the module, whose library a test may spoil before the server starts."""
    shutil.copytree(BUILT, tmp_path / "mod_privilege")
    return tmp_path


def spoil(file: Path, how: str, server_root: Path | None):
    """Makes the native library unusable: missing, garbage, or some other library."""
    file.unlink()
    if how == "garbage":
        file.write_bytes(b"this is no library\n" * 100)
    elif how == "empty":
        file.touch()
    elif how == "another library":
        shutil.copy((server_root or Path("/")) / "usr/lib/prosody/util/hashes.so", file)
    elif how == "a directory":
        file.mkdir()


def where(server, path: Path) -> Path:
    """The path of a file in a plugin path, as the server sees it."""
    return server.directory / "plugins" / path.relative_to("/") if server.root else path


def only_on_capulet() -> dict:
    """The module is loaded by the tests themselves."""
    return {"without": ("privilege",)}


@pytest.mark.parametrize("how", ["missing", "garbage", "empty", "another library", "a directory"])
def test_l3_unusable_library(start_server, copied_plugin, how):
    """L3: the log says once which file is missing or wrong and which command builds it, the module refuses to load, and the
    server works; after a repair the module loads."""
    file = copied_plugin / "mod_privilege" / library().name
    server = start_server(plugins=[copied_plugin], **only_on_capulet())
    spoil(where(server, file), how, server.root)
    hooks = {host: server.lua("return count_hooks(h)", h=host) for host in ("*", HOST, "pubsub.capulet.lit")}
    since = len(server.log())
    server.expect_errors("make", "mod_privilege|privilege_native")
    with pytest.raises(LuaError) as raised:
        server.load_module()
    assert file.name in str(raised.value)
    # The host says it once, with all that is needed.
    (said,) = server.log_lines("error", since=since)
    assert HOST in said and server.inside(where(server, file)) in said and "make" in said
    # The module is not half loaded.
    assert server.lua("return modulemanager.is_loaded(h, 'privilege')", h=HOST) in (False, None)
    for host, before in hooks.items():
        assert server.lua("return count_hooks(h)", h=host) == before
    # The host works, and a privileged stanza is an ordinary one.
    component, juliet, romeo = server.component(), server.client(JULIET, carbons=True), server.client(ROMEO)
    juliet.send_message(ROMEO, body("as ever"))
    romeo.expect(is_message_with_body("as ever"))
    component.privileged_message(message_from(JULIET, ROMEO, body("forged")))
    got = component.privileged_iq("get", JULIET, PING, to=HOST)
    assert got.get("type") == "error"
    component.expect_nothing(lambda s: local(s) == "message" and s.find("priv:privilege/priv:perm", NS) is not None)
    romeo.expect_nothing("message")
    component.close()
    if how == "another library":
        # Lua never opens a library anew under the name of one that it has opened. That takes a restart.
        return
    # Repaired.
    target = where(server, file)
    if target.is_dir():
        target.rmdir()
    shutil.copy(library(), target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)
    server.load_module()
    does_its_job(server)


def test_l3_reload_after_a_repair(start_server, copied_plugin):
    """L3, L1: a reload without the library is refused; after the library is put back, the module loads and works as before."""
    file = copied_plugin / "mod_privilege" / library().name
    server = start_server(plugins=[copied_plugin])
    target = where(server, file)
    does_its_job(server)
    target.rename(target.with_suffix(".away"))
    server.expect_errors("make")
    with pytest.raises(LuaError):
        server.reload_module()
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    juliet.send_message(ROMEO, body("as ever"))
    romeo.expect(is_message_with_body("as ever"))
    target.with_suffix(".away").rename(target)
    if server.lua("return modulemanager.is_loaded(h, 'privilege')", h=HOST):
        server.reload_module()
    else:
        server.load_module()
    does_its_job(server)


def test_l3_unusable_from_the_start(start_server, copied_plugin):
    """L3: a server starts without a usable library, and each host says so once."""
    file = copied_plugin / "mod_privilege" / library().name
    file.unlink()
    server = start_server(plugins=[copied_plugin])
    server.expect_errors("make")
    for host in ("capulet.lit", "montague.lit"):
        (said,) = [line for line in server.log_lines("error") if host in line]
        assert file.name in said and "make" in said
        assert server.lua("return modulemanager.is_loaded(h, 'privilege')", h=host) in (False, None)
    juliet, romeo = server.client(JULIET), server.client(ROMEO)
    juliet.send_message(ROMEO, body("as ever"))
    romeo.expect(is_message_with_body("as ever"))


def test_l3_from_another_directory(start_server, copied_plugin):
    """L3: the module's directory works in any plugin path: the library is found beside the shim, and not elsewhere."""
    server = start_server(plugins=[copied_plugin])
    path = server.lua("return hosts[h].modules.privilege.module.path", h=HOST)
    assert path == server.inside(where(server, copied_plugin / "mod_privilege" / "mod_privilege.lua"))
    does_its_job(server)


# L4


def test_l4_the_module_under_test_is_ours(server):
    """L4: the tests run Prosody 0.12 or 13.0 and our module, not the distribution's of the same name."""
    assert server.version[:2] in ((0, 12), (13, 0)) or server.version > (13, 0)
    for host in ("capulet.lit", "montague.lit"):
        path = server.lua("return hosts[h].modules.privilege.module.path", h=host)
        assert path == server.inside(BUILT / "mod_privilege.lua")


def test_l4_on_every_kind_of_host(start_server):
    """L4, A3: the module may be enabled in component sections too, as the community module wanted, and on built-in
    components."""
    inside = {"modules_enabled": ["privilege"]}
    server = start_server(
        muc=True, host_options={name: inside for name in ("pubsub.capulet.lit", "stranger.lit", "rooms.capulet.lit")}
    )
    assert server.log_lines("warn") == []
    does_its_job(server)
    component = server.component()
    component.permissions()
    component.expect_nothing("message")


# L5: beside others


@pytest.mark.parametrize("storage", ["memory", "sql"])
def test_l5_storage(start_server, storage):
    """L5: messages, archive, IQs, rosters and a deleted account work with any storage driver."""
    server = start_server(storage=storage)
    component, juliet, romeo = server.component(), server.client(JULIET, carbons=True), server.client(ROMEO)
    component.privileged_message(message_from(JULIET, ROMEO, body("Romeo!")))
    romeo.expect(is_message_with_body("Romeo!"))
    assert bodies([carbon_sent(juliet)]) == ["Romeo!"] == bodies(archive(juliet))
    publish = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:mood'><item id='now'>"
        "<mood xmlns='urn:example:mood'>sorrow</mood></item></publish></pubsub>"
    )
    assert component.privileged_iq("set", JULIET, publish).get("type") == "result"
    read = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:mood'/></pubsub>"
    assert inner_iq(component.privileged_iq("get", JULIET, read)).findtext(".//{urn:example:mood}mood") == "sorrow"
    items = "<item jid='a@b.lit' name='A' subscription='both'><group>G</group></item><item jid='c@d.lit' subscription='to'/>"
    assert component.iq("set", JULIET, f"<query xmlns='jabber:iq:roster'>{items}</query>").get("type") == "result"
    got = component.iq("get", JULIET, "<query xmlns='jabber:iq:roster'/>").find("roster:query", NS)
    assert {i.get("jid"): (i.get("name"), i.get("subscription")) for i in got} == {
        "a@b.lit": ("A", "both"),
        "c@d.lit": (None, "to"),
    }
    assert sorted(server.roster(JULIET)) == ["a@b.lit", "c@d.lit"]
    for account in (NURSE, "nobody@capulet.lit"):
        if account == NURSE:
            server.delete_account(NURSE)
        id_ = component.privileged_message(message_from(account, ROMEO, body("forged")))
        assert error_of(component.expect("message", id=id_))[:2] == ("auth", "forbidden")
        assert error_of(component.privileged_iq("get", account, PING, to=HOST))[:2] == ("auth", "forbidden")
        got = component.iq("get", account, "<query xmlns='jabber:iq:roster'/>")
        assert error_of(got)[:2] == ("cancel", "item-not-found")


DELEGATED = "urn:example:delegated"


def answer_delegated(component, word: str):
    """Takes the next delegated request, answers it, and returns it."""
    outer = component.expect(lambda s: local(s) == "iq" and s.find("{urn:xmpp:delegation:2}delegation") is not None)
    request = outer.find("{urn:xmpp:delegation:2}delegation/fwd:forwarded/c:iq", NS)
    component.send_iq(
        "result",
        outer.get("from"),
        "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<iq xmlns='jabber:client' type='result' from='{request.get('to') or JULIET}' to='{request.get('from')}' "
        f"id='{request.get('id')}'><done xmlns='{DELEGATED}' word='{word}'/></iq></forwarded></delegation>",
        id=outer.get("id"),
    )
    return request


def test_l5_beside_namespace_delegation(start_server):
    """L5: the module works beside the community mod_delegation: clients and a privileged component use the delegated namespace,
    and both modules go on working."""
    enabled = {"modules_enabled": ["delegation"]}
    server = start_server(
        privileged_entities=grants(iq={DELEGATED: "both"}),
        host_options={
            HOST: {"modules_enabled": ["delegation"], "delegations": {DELEGATED: {"jid": "gateway.capulet.lit"}}},
            "gateway.capulet.lit": enabled,
            "pubsub.capulet.lit": enabled,
        },
    )
    component, gateway = server.component(), server.component("gateway.capulet.lit")
    delegated = gateway.expect(lambda s: s.find("{urn:xmpp:delegation:2}delegation/{*}delegated") is not None)
    assert delegated.get("from") == HOST
    gateway.permissions()
    component.permissions()
    # Discovery of what is delegated.
    for _ in range(2):
        disco = gateway.expect("iq", type="get")
        gateway.send_iq(
            "result",
            disco.get("from"),
            f"<query xmlns='http://jabber.org/protocol/disco#info' node='{disco[0].get('node')}'/>",
            id=disco.get("id"),
        )
    gateway.sync()
    juliet = server.client(JULIET)
    for to in (HOST, None):
        juliet.send_iq("get", to, f"<ask xmlns='{DELEGATED}'/>", id=(id_ := new_id()))
        assert answer_delegated(gateway, "client").get("from") == juliet.jid
        assert juliet.expect("iq", id=id_).find(f"{{{DELEGATED}}}done").get("word") == "client"
    for to in (HOST, None, JULIET):
        id_ = component.send_privileged_iq("get", JULIET, f"<ask xmlns='{DELEGATED}'/>", to=to, inner_id="asked")
        assert answer_delegated(gateway, "privileged").get("from") == JULIET
        found = inner_iq(component.expect("iq", id=id_))
        assert found.get("id") == "asked"
        assert found.find(f"{{{DELEGATED}}}done").get("word") == "privileged"
    does_its_job(server)
