"""The files in examples/, and the outputs and texts that the README shows.

Each example is the configuration of a real server. Only ports, paths and the modules of the test
harness are added.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from harness import LOOPBACK, PUBSUB, PUBSUB_OWNER, REPO
from test_config import permissions
from wire import RawComponent, body, error_of, local, message_from

HOST = "example.org"
SECRET = "a long secret"
ACCOUNTS = ("juliet@example.org", "romeo@example.org", "admin@example.org", "rosterbot@example.org")

#: What each file grants: the entity, the permissions it is told, and the accounts they are for.
GATEWAY = (
    "gateway.example.org",
    {
        "roster": ("both", "true"),
        "message": "outgoing",
        "iq": {PUBSUB: "both", PUBSUB_OWNER: "set", "urn:xmpp:http:upload:0": "get"},
    },
    {"juliet", "romeo", "rosterbot"},
)
PUBSUB_SERVICE = (
    "pubsub.example.org",
    {"roster": ("get", "true"), "message": "outgoing", "presence": "roster"},
    {"juliet", "romeo", "admin", "rosterbot"},
)
BOT = ("rosterbot@example.org", {"roster": ("both", "false")}, {"juliet", "romeo"})
EXAMPLES = {"gateway.cfg.lua": GATEWAY, "pubsub.cfg.lua": PUBSUB_SERVICE, "bot.cfg.lua": BOT}

README = (REPO / "README.md").read_text("utf-8")


def example(name: str) -> str:
    return (REPO / "examples" / name).read_text("utf-8")


@pytest.fixture
def start(start_server):
    """start(text) starts a server with a configuration; the accounts exist when it is read again."""

    def started(text: str):
        server = start_server(hosts=(), accounts=ACCOUNTS, without=("privilege",), config=text)
        server.lua("assert(prosody.reload_config())")
        return server

    return started


def connect(server, entity: str):
    """The entity, connected: a component with the secret of the file, or a client of the account."""
    if "@" in entity:
        return server.client(entity)
    component = RawComponent((LOOPBACK, server.component_port), entity, secret=SECRET, ping=HOST)
    server._connections.append(component)
    return component.connect()


def advertisements(connection) -> list[ET.Element]:
    """The messages of the host that the entity has been sent."""
    connection.sync()
    return [s for s in connection.drain() if local(s) == "message" and s.get("from") == HOST]


def test_every_example_is_tested():
    """L4: no file in examples/ is left out here."""
    assert {path.name for path in (REPO / "examples").iterdir()} == set(EXAMPLES)
    assert all(f"examples/{name}" in README for name in EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_c2_nothing_is_said_about_an_example(start, name):
    """C2: an example has no mistake, so the log has no error and no warning about it."""
    server = start(example(name))
    source = f"{HOST}:privilege"
    assert server.log_lines("error", source) == []
    # The harness makes the accounts when the server has started.
    warnings = [line for line in server.log_lines("warn", source) if "does not exist" not in line]
    assert warnings == []

    before = len(server.log())
    server.lua("assert(prosody.reload_config())")
    assert [server.log_lines(level, since=before) for level in ("warn", "error")] == [[], []]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a1_an_entity_is_told_what_the_example_grants(start, name):
    """A1: the entity of the file is sent one message, with the permissions of the file and no others."""
    entity, granted, _ = EXAMPLES[name]
    server = start(example(name))
    (message,) = advertisements(connect(server, entity))
    assert message.get("to").split("/")[0] == entity
    (privilege,) = message
    told = {k: v for k, v in permissions(privilege).items() if v not in ("none", ("none", "false"))}
    assert told == granted


@pytest.mark.parametrize("name", EXAMPLES)
def test_c7_an_example_is_about_the_accounts_it_says(start, name):
    """C7: for an account outside of `accounts`, or in `except`, it is as if nothing were granted."""
    entity, _, covered = EXAMPLES[name]
    server = start(example(name))
    connection = connect(server, entity)
    for account in ACCOUNTS:
        if account == entity:
            continue  # its own roster, which is not a privilege
        answer = connection.iq("get", account, "<query xmlns='jabber:iq:roster'/>")
        if account.split("@")[0] in covered:
            assert answer.get("type") == "result", account
        else:
            assert error_of(answer)[:2] == ("auth", "forbidden"), account


# The README


def blocks(language: str) -> list[str]:
    """The blocks of code in the README that are in a language, without the indentation of the list they stand in."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, name, text in found if name == language]


def as_installed(server, text: str) -> str:
    """A text of the server with the path that `make install` copies the module to."""
    built = server.inside(REPO / "target" / "plugins")
    return text.replace(built, "/usr/local/lib/prosody/modules")


def test_a1_the_readme_shows_the_message_that_the_component_receives(start):
    """A1: the message in the README is what the component of the quick start is sent, but for its id."""
    server = start(blocks("lua")[0])
    (message,) = advertisements(connect(server, "gateway.example.org"))
    shown = ET.fromstring(blocks("xml")[0])

    def outline(element):
        attributes = {k: v for k, v in element.attrib.items() if k != "id"}
        return element.tag.rpartition("}")[2], attributes, [outline(child) for child in element]

    assert outline(shown) == outline(message)
    assert shown.find("{urn:xmpp:privilege:2}privilege") is not None
    assert message.get("id")


@pytest.mark.parametrize("profile", ["gateway", "pubsub"])
def test_g4_the_readme_shows_what_a_profile_grants(start, profile):
    """G4: the options that the README shows for a profile grant the same, and refuse the same."""
    (shown,) = [text for text in blocks("lua") if text.startswith(("roster = {" if profile == "gateway" else "roster = \"get\""))]
    entities = (f"profile.{HOST}", f"written.{HOST}")
    components = "".join(f'Component "{entity}"\n\tcomponent_secret = "{SECRET}"\n' for entity in entities)
    server = start(
        f'VirtualHost "{HOST}"\n\tmodules_enabled = {{ "privilege" }}\n\tprivileged_entities = {{\n'
        f'["{entities[0]}"] = {{ profile = "{profile}" }};\n["{entities[1]}"] = {{\n{shown}}};\n}}\n{components}'
    )
    told = []
    for entity in entities:
        component = connect(server, entity)
        (message,) = advertisements(component)
        answers = [permissions(message[0])]
        for node in ("urn:xmpp:bookmarks:1", "urn:xmpp:mds:displayed:0", "urn:example:other"):
            for namespace, request in ((PUBSUB, "items"), (PUBSUB_OWNER, "purge")):
                content = f"<pubsub xmlns='{namespace}'><{request} node='{node}'/></pubsub>"
                kind = "get" if request == "items" else "set"
                for to in (None, "romeo@example.org"):
                    answer = component.privileged_iq(kind, "juliet@example.org", content, to=to)
                    answers.append(error_of(answer)[:2] if answer.get("type") == "error" else "result")
        for to in (f"x@{entity}", "romeo@example.org", "juliet@example.org"):
            component.privileged_message(message_from("juliet@example.org", to, body("x")), to=HOST)
            component.sync()
            answers.append([error_of(s)[:2] for s in component.drain() if local(s) == "message" and s.get("type") == "error"])
        told.append(answers)
    assert told[0] == told[1]


def test_l1_the_readme_shows_what_loading_prints(start_server):
    """L1: the shell and the log say what the README says they do, when the module is enabled at run time."""
    plain = f'VirtualHost "{HOST}"\nComponent "gateway.example.org"\n\tcomponent_secret = "{SECRET}"\n'
    server = start_server(hosts=(), accounts=ACCOUNTS, without=("privilege",), config=plain)
    missing = server.shell("module info privilege")
    server.reconfigure(config=blocks("lua")[0])
    reloaded = server.shell("config reload")
    loaded = server.shell(f"module load privilege {HOST}")
    found = as_installed(server, server.shell("module info privilege"))

    shown = [line for block in blocks("") for line in block.splitlines()]
    for output in (reloaded, loaded, found):
        # Before the answer a server may complain that something optional is not installed.
        answer = [line for line in output.rpartition("****\n")[2].splitlines() if line.strip()]
        assert answer and all(line in shown for line in answer), answer
    assert "does not appear to be loaded on the specified hosts" in missing

    (line,) = [line for line in server.log_lines("debug", f"{HOST}:privilege") if line.startswith("mod_privilege ")]
    assert f"{HOST}:privilege\tdebug\t{as_installed(server, line)}" in shown
    connect(server, "gateway.example.org")
    (line,) = server.log_lines("info", "gateway.example.org:component")
    assert f"gateway.example.org:component\tinfo\t{line}" in shown


def test_m2_the_readme_shows_the_line_of_a_refusal(start):
    """M2: an account that the quick start excepts is refused, and the line in the log is that of the README."""
    server = start(blocks("lua")[0])
    component = connect(server, "gateway.example.org")
    component.privileged_message(message_from("admin@example.org", "juliet@example.org", body("x")), to=HOST)
    component.sync()
    (line,) = [line for line in server.log_lines("debug", f"{HOST}:privilege") if line.startswith("Refused ")]
    assert f"{HOST}:privilege\tdebug\t{line}\n" in README


def sources() -> str:
    """All texts of the module, as one line of code each would have them."""
    files = [*(REPO / "src").rglob("*.rs"), *(REPO / "lua").rglob("*.lua")]
    text = "\n".join(path.read_text("utf-8") for path in files).replace('\\"', '"')
    text = re.sub(r"\\\n\s*", "", text)  # Rust: a string goes on in the next line
    return re.sub(r'"\s*\n\s*\.\."', "", text)  # Lua: so does one here


#: What Prosody and its libraries say themselves.
OF_OTHERS = ("does not appear to be loaded on the specified hosts", "feature-not-implemented", "[core] Loaded")


def test_o7_the_texts_in_the_troubleshooting_tables_are_those_of_the_module():
    """O7: each quoted text is in the sources; "..." stands for what differs from case to case."""
    section = README[README.index("\n## Troubleshooting\n") :]
    section = section[: section.index("\n## ", 1)]
    seen = [row.split(" | ")[0] for row in section.splitlines() if row.startswith("| ")]
    quoted = [text for cell in seen for text in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 10
    known = sources()
    for text in quoted:
        if any(other in text for other in OF_OTHERS):
            continue
        for part in text.split("..."):
            assert part.strip() in known, text
