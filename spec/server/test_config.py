"""C1 to C5 and C7: the grants of a configuration, and the log lines about its mistakes.

Each host of one server has another configuration. A component reads its grants from the advertisements, and tries them out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from harness import Lua, Prosody
from wire import NS, body, error_of, inner_iq, local, message_from

ENTITY = "pubsub.capulet.lit"
ECHO = "urn:example:echo"
PING = "urn:xmpp:ping"

#: A grant without mistakes, and its advertisement.
GOOD = {
    "roster": "get",
    "message": "outgoing",
    "presence": "managed_entity",
    "iq": {ECHO: "both", PING: "get"},
}
GOOD_PERMS = {
    "roster": ("get", "true"),
    "message": "outgoing",
    "presence": "managed_entity",
    "iq": {ECHO: "both", PING: "get"},
}


def changed(**options) -> dict:
    return {ENTITY: {**GOOD, **options}}


def perms_but(*lost: str, **other) -> dict:
    return {key: value for key, value in {**GOOD_PERMS, **other}.items() if key not in lost}


@dataclass
class Mistake:
    """A host's configuration with a mistake, the grant that is left, and the words of each log line."""

    config: object
    perms: dict | None
    errors: list[tuple] = field(default_factory=list)
    warnings: list[tuple] = field(default_factory=list)
    entity: str = ENTITY


ROSTER_VALUES = ("none", "get", "set", "both")
NEAREST = {
    "rooster": "roster",
    "Roster": "roster",
    "roster_pushes": "roster_push",
    "mesage": "message",
    "presense": "presence",
    "iqs": "iq",
}
BAD_ENTITIES = ("@capulet.lit", "a@@capulet.lit", "gateway.capulet.lit/resource", "", "in valid@capulet.lit")

FORGED_LINE = "get\nNov 22 00:00:00 forged.lit:privilege\terror\tforged"

MISTAKES = {
    # Values
    "roster-value": Mistake(changed(roster="bogus"), perms_but("roster"), [("roster", "bogus", *ROSTER_VALUES)]),
    "roster-case": Mistake(changed(roster="Both"), perms_but("roster"), [("roster", "Both", *ROSTER_VALUES)]),
    "roster-blank": Mistake(changed(roster=""), perms_but("roster"), [("roster", *ROSTER_VALUES)]),
    "message-value": Mistake(
        changed(message="incoming"), perms_but("message"), [("message", "incoming", "none", "outgoing")]
    ),
    "presence-value": Mistake(
        changed(presence="everything"),
        perms_but("presence"),
        [("presence", "everything", "none", "managed_entity", "roster")],
    ),
    "iq-value": Mistake(
        changed(iq={ECHO: "sets", PING: "get"}),
        perms_but(iq={PING: "get"}),
        [("iq", ECHO, "sets", *ROSTER_VALUES)],
    ),
    "one-line": Mistake(changed(roster=FORGED_LINE), perms_but("roster"), [("roster", "forged", *ROSTER_VALUES)]),
    "not-utf8": Mistake(
        changed(roster=b"\xff\xfe", message=b"out\xc3going"),
        perms_but("roster", "message"),
        [("roster", *ROSTER_VALUES), ("message", "none", "outgoing")],
    ),
    # Types
    "roster-boolean": Mistake(changed(roster=True), perms_but("roster"), [("roster", "true", *ROSTER_VALUES)]),
    "roster-number": Mistake(changed(roster=5), perms_but("roster"), [("roster", "5", *ROSTER_VALUES)]),
    "roster-table": Mistake(
        changed(roster=["get"]), perms_but("roster"), [("roster", "the key 1", "type"), ("roster.type", *ROSTER_VALUES)]
    ),
    "roster-function": Mistake(
        changed(roster=Lua("function () return 'both' end")),
        perms_but("roster"),
        [("roster", "function", *ROSTER_VALUES)],
    ),
    "message-boolean": Mistake(
        changed(message=True), perms_but("message"), [("message", "true", "none", "outgoing")]
    ),
    "presence-number": Mistake(
        changed(presence=1), perms_but("presence"), [("presence", "1", "none", "managed_entity", "roster")]
    ),
    "push-string": Mistake(
        changed(roster_push="yes"),
        perms_but(roster=("get", "false")),
        [("roster_push", "yes", "true", "false")],
    ),
    "iq-string": Mistake(changed(iq="both"), perms_but("iq"), [("iq", "both", "namespace")]),
    "iq-entry": Mistake(
        changed(iq={ECHO: True, PING: "get"}), perms_but(iq={PING: "get"}), [("iq", ECHO, "true", *ROSTER_VALUES)]
    ),
    "grant-string": Mistake({ENTITY: "both"}, {}, [("both",)]),
    "grant-boolean": Mistake({ENTITY: True}, {}, [("true",)]),
    "option-string": Mistake(Lua('"pubsub.capulet.lit"'), None, [("pubsub.capulet.lit",)], entity=""),
    "option-boolean": Mistake(Lua("true"), None, [("true",)], entity=""),
    "endless": Mistake(
        Lua('(function () local t = {}; t["pubsub.capulet.lit"] = t; t.roster = t; t.iq = t; return t; end)()'),
        {},
        entity="",
    ),
    # Namespaces
    "namespace": Mistake(
        changed(iq={"": "get", "two words": "get", ECHO: "both", PING: "get"}),
        GOOD_PERMS,
        [("iq",), ("iq", "two words")],
    ),
    "namespace-list": Mistake(
        changed(iq=[ECHO]), perms_but("iq"), [("iq", "1", "namespace")]
    ),
    # C3
    "c3-none": Mistake(
        {ENTITY: {"presence": "roster", "message": "outgoing"}},
        {"message": "outgoing"},
        [("presence", "roster", "get", "both")],
    ),
    "c3-set": Mistake(
        changed(roster="set", presence="roster"),
        perms_but("presence", roster=("set", "false")),
        [("presence", "roster", "set", "get", "both")],
    ),
    "c3-typo": Mistake(
        changed(roster="bogus", presence="roster"),
        perms_but("presence", "roster"),
        [("roster", "bogus", *ROSTER_VALUES), ("presence", "roster", "get", "both")],
    ),
    # C4
    "c4": Mistake(
        changed(
            iq={
                "urn:xmpp:privilege:2": "both",
                "urn:xmpp:privilege:1": "get",
                "urn:xmpp:privilege:99": "set",
                ECHO: "both",
                PING: "get",
            }
        ),
        GOOD_PERMS,
        [("iq", "urn:xmpp:privilege:2"), ("iq", "urn:xmpp:privilege:1"), ("iq", "urn:xmpp:privilege:99")],
    ),
    # Scope: an unreadable list covers nobody, see COVERED
    "accounts-string": Mistake(changed(accounts="juliet"), None, [("accounts", "juliet", "list")]),
    "accounts-keys": Mistake(changed(accounts={"juliet": True}), None, [("accounts",)]),
    "accounts-invalid": Mistake(
        changed(roster="both", accounts=["juliet", "in valid"]), None, [("accounts", "in valid")]
    ),
    "accounts-number": Mistake(changed(roster="both", accounts=["juliet", 5]), None, [("accounts", "5")]),
    "accounts-jid": Mistake(changed(accounts=["juliet@accounts-jid.lit"]), None, [("accounts", "juliet@accounts-jid.lit")]),
    "except-string": Mistake(changed(except_="nurse"), None, [("except", "nurse", "list")]),
    "except-invalid": Mistake(changed(except_=["nurse", "in valid"]), None, [("except", "in valid")]),
    "except-number": Mistake(changed(except_=[5, "nurse"]), None, [("except", "5")]),
    # Entities
    "entities": Mistake(
        {ENTITY: GOOD, **{bad: {"roster": "get"} for bad in BAD_ENTITIES}},
        GOOD_PERMS,
        [(bad,) for bad in BAD_ENTITIES],
        entity="",
    ),
    "entity-number": Mistake(
        Lua('{ [5] = { roster = "get" }; ["pubsub.capulet.lit"] = { message = "outgoing" } }'),
        {"message": "outgoing"},
        [("5",)],
        entity="",
    ),
    "entity-remote": Mistake(
        {ENTITY: GOOD, "romeo@remote.example": {"roster": "get"}},
        GOOD_PERMS,
        warnings=[("romeo@remote.example",)],
        entity="",
    ),
    # Unknown options
    "unknown": Mistake(
        {ENTITY: {"message": "outgoing", **{name: "get" for name in NEAREST}}},
        {"message": "outgoing"},
        warnings=[(unknown, re.compile(rf"(?<![\w]){nearest}(?![\w])")) for unknown, nearest in NEAREST.items()],
    ),
    # Near the name of an option that narrows the grant: to ignore it would be to grant more than was meant.
    **{
        f"unknown-{wrong}": Mistake(changed(**{wrong: ["juliet"]}), {}, [(wrong, meant)])
        for wrong, meant in {"account": "accounts", "exept": "except", "profil": "profile", "nodes": "nodes"}.items()
    },
    # C5
    "c5-twice": Mistake(
        {
            ENTITY: {
                "roster": "both",
                "message": "outgoing",
                "presence": "roster",
                "iq": {ECHO: "both", PING: "get", "vcard-temp": "get"},
            },
            "PubSub.Capulet.LIT": {
                "roster": "get",
                "roster_push": False,
                "message": "outgoing",
                "presence": "managed_entity",
                "iq": {ECHO: "set", PING: "both", "vcard-temp": "set"},
            },
        },
        {
            "roster": ("get", "false"),
            "message": "outgoing",
            "presence": "managed_entity",
            "iq": {ECHO: "set", PING: "get"},
        },
        [("pubsub.capulet.lit", "PubSub.Capulet.LIT")],
        entity="",
    ),
    "c5-disjoint": Mistake(
        {
            ENTITY: {"roster": "get", "presence": "roster", "message": "outgoing"},
            "pubsub.capulet.LIT": {"roster": "set", "message": "outgoing"},
        },
        {"message": "outgoing"},
        [("pubsub.capulet.lit", "pubsub.capulet.LIT")],
        entity="",
    ),
    "c5-scope": Mistake(
        {
            ENTITY: {**GOOD, "roster": "both", "accounts": ["juliet", "nurse"]},
            "PUBSUB.capulet.lit": {**GOOD, "roster": "both", "except": ["nurse"]},
        },
        None,
        [("pubsub.capulet.lit", "PUBSUB.capulet.lit")],
        entity="",
    ),
}

#: Configurations without a mistake: nothing may be said about them at level warn or error.
CORRECT = {
    "empty": ({}, None),
    "nothing": ({ENTITY: {}}, {}),
    "all-none": (
        {ENTITY: {"roster": "none", "message": "none", "presence": "none", "iq": {ECHO: "none"}}},
        {},
    ),
    "some-none": (
        {ENTITY: {"roster": "none", "message": "outgoing", "presence": "none", "iq": {ECHO: "none", PING: "set"}}},
        {"message": "outgoing", "iq": {PING: "set"}},
    ),
    "c3-get": (changed(presence="roster"), perms_but(presence="roster")),
    "c3-both": (
        changed(roster="both", presence="roster"),
        perms_but(roster=("both", "true"), presence="roster"),
    ),
    "c5-case": ({"PubSub.CAPULET.lit": GOOD}, GOOD_PERMS),
    "accounts-as-entities": ({ENTITY: GOOD, "juliet@capulet.lit": GOOD, "Romeo@Montague.LIT": GOOD}, GOOD_PERMS),
    # Scope, see COVERED
    "c7-accounts": (changed(roster="both", accounts=["juliet"]), None),
    "c7-except": (changed(roster="both", except_=["nurse"]), None),
    "c7-both": (changed(roster="both", accounts=["juliet", "nurse"], except_=["nurse"]), None),
    "c7-nobody": (changed(roster="both", accounts=[]), None),
    "c7-nobody-excepted": (changed(roster="both", except_=[]), None),
    "c5-accounts": (changed(roster="both", accounts=["JULIET"]), None),
    "c5-except": (changed(roster="both", except_=["NURSE"]), None),
    # A full-width J: stringprep, not only case.
    "c5-stringprep": (changed(roster="both", accounts=["\uff2auliet"]), None),
}

#: Which of juliet and nurse the grants of a host cover.
COVERED = {
    "c7-accounts": {"juliet"},
    "c7-except": {"juliet"},
    "c7-both": {"juliet"},
    "c7-nobody": set(),
    "c7-nobody-excepted": {"juliet", "nurse"},
    "c5-accounts": {"juliet"},
    "c5-except": {"juliet"},
    "c5-stringprep": {"juliet"},
    "c5-scope": {"juliet"},
    "accounts-string": set(),
    "accounts-keys": set(),
    "accounts-invalid": {"juliet"},
    "accounts-number": {"juliet"},
    "accounts-jid": set(),
    "except-string": set(),
    "except-invalid": set(),
    "except-number": set(),
}


def without_underscores(config):
    """Python does not take `except` as a keyword argument, so the grants here write `except_`."""
    if isinstance(config, dict):
        return {key.rstrip("_"): without_underscores(value) for key, value in config.items()}
    return config


@pytest.fixture(scope="module")
def session_server():
    configs = {name: mistake.config for name, mistake in MISTAKES.items()}
    configs.update({name: config for name, (config, _) in CORRECT.items()})
    running = Prosody(
        hosts=("capulet.lit", "montague.lit", *(f"{name}.lit" for name in configs)),
        accounts=[
            "juliet@capulet.lit",
            *(f"{user}@{name}.lit" for name in COVERED for user in ("juliet", "nurse")),
        ],
        privileged_entities={f"{name}.lit": without_underscores(config) for name, config in configs.items()},
        # Only what the tests need: there are many hosts.
        without=("bookmarks", "mam", "pep", "vcard4", "vcard_legacy", "smacks", "csi_simple", "carbons", "blocklist"),
    )
    with running:
        # The errors of the start are tested here, so they are not faults.
        running.new_log()
        yield running


@pytest.fixture(scope="module")
def told_by_host(session_server) -> dict:
    """The advertisements that one connection of the component got: {host: [permissions, ...]}."""
    component = session_server.component(ENTITY)
    found = {}
    for stanza in component.drain():
        if local(stanza) == "message":
            found.setdefault(stanza.get("from"), []).append(permissions(stanza.find("priv:privilege", NS)))
    component.close()
    return found


def permissions(privilege) -> dict:
    """<privilege/> as GOOD_PERMS has it. What is "none" is left out."""
    found = {}
    for perm in privilege:
        access = perm.get("access")
        assert access not in found
        if access == "roster":
            found[access] = (perm.get("type"), perm.get("push"))
        elif access == "iq":
            found[access] = {ns.get("ns"): ns.get("type") for ns in perm}
        else:
            found[access] = perm.get("type")
    assert {"roster", "message", "presence"} <= found.keys()  # A1
    return {access: type_ for access, type_ in found.items() if type_ not in ("none", ("none", None))}


def says(line: str, words) -> bool:
    return all(word.search(line) if isinstance(word, re.Pattern) else word in line for word in words)


def assert_lines(lines: list[str], expected: list[tuple], always: tuple):
    """Each line belongs to one expectation, and the other way round."""
    left = list(lines)
    # The most demanding first, so that a vague one does not take its line.
    for words in sorted(expected, key=len, reverse=True):
        words = tuple(word for word in (*words, *always) if word)
        match = next((line for line in left if says(line, words)), None)
        assert match, f"no line says {words} in:\n" + "\n".join(left)
        left.remove(match)
    assert not left, "more lines than mistakes:\n" + "\n".join(left)


@pytest.mark.parametrize("name", MISTAKES)
def test_c2_each_mistake_is_one_line_and_costs_that_permission_only(server, told_by_host, name):
    """C2: a mistake makes that permission "none", the rest of the grant stands, and one line names host, entity, option, the
    value found and the values allowed. C3 to C5 are among the mistakes."""
    mistake, host = MISTAKES[name], f"{name}.lit"
    source = f"{host}:privilege"
    if name == "endless":
        # A table that contains itself is a wrong type wherever it stands, and no endless loop.
        assert server.log_lines("error", source)
    else:
        always = (host, mistake.entity)
        assert_lines(server.log_lines("error", source), mistake.errors, always)
        assert_lines(server.log_lines("warn", source), mistake.warnings, always)
    if name not in COVERED:
        assert told_by_host.get(host, []) == ([] if mistake.perms is None else [mistake.perms])


@pytest.mark.parametrize("name", CORRECT)
def test_c1_nothing_is_said_about_a_correct_configuration(server, told_by_host, name):
    """C1: a correct configuration is accepted unchanged; no line of level `warn` or `error` is about it."""
    config, perms = CORRECT[name]
    host = f"{name}.lit"
    assert server.log_lines("error", f"{host}:privilege") == []
    # Accounts are made when the server has started; test_authority.py has the warnings about missing ones.
    assert [line for line in server.log_lines("warn", f"{host}:privilege") if "does not exist" not in line] == []
    if name not in COVERED:
        assert told_by_host.get(host, []) == ([] if perms is None else [perms])


def test_c2_a_value_cannot_forge_a_log_line(server):
    """C2: a line names the value found, and a line break in the value does not begin a line of its own."""
    assert server.log_lines(source="forged.lit:privilege") == []


def test_c2_every_host_loads(server, component):
    """C2: the host always loads, and so does the module."""
    hosts = [f"{name}.lit" for name in (*MISTAKES, *CORRECT)]
    for host in hosts:
        assert server.lua("return hosts[h].modules.privilege ~= nil", h=host), host
        component.send_iq("get", host, "<ping xmlns='urn:xmpp:ping'/>", id=f"ping-{host}")
    for host in hosts:
        assert component.expect("iq", id=f"ping-{host}").get("type") == "result", host


def test_c2_problems_are_logged_at_the_start_and_never_again(server, component):
    """C2: each problem is one log line at the start, whoever connects and whatever is asked later."""
    before = len(server.log())
    component.sync()
    server.component("gateway.capulet.lit").sync()
    for name in ("roster-value", "accounts-invalid", "except-invalid"):
        component.iq("get", f"juliet@{name}.lit", "<query xmlns='jabber:iq:roster'/>")
    for level in ("warn", "error"):
        assert server.log_lines(level, since=before) == []


@pytest.mark.parametrize("name", ("roster-value", "roster-boolean", "roster-table", "roster-function", "grant-string", "option-boolean"))
def test_c2_what_was_not_understood_is_not_allowed(component, name):
    """C2: a permission that was not understood is refused on the wire, and not only left out of the advertisement."""
    for type_ in ("get", "set"):
        query = "<query xmlns='jabber:iq:roster'><item jid='a@b.lit'/></query>"
        answer = component.iq(type_, f"juliet@{name}.lit", query)
        assert error_of(answer)[:2] == ("auth", "forbidden")


def test_c4_privileges_do_not_nest(server, component):
    """C4: an IQ permission for `urn:xmpp:privilege:*` that the configuration names is refused on the wire."""
    server.add_account("juliet@c4.lit")
    nested = "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq></privileged_iq>"
    answer = component.privileged_iq("get", "juliet@c4.lit", nested, to="juliet@c4.lit")
    assert error_of(answer)[:2] == ("auth", "forbidden")


def roster_item(jid="contact@stranger.lit"):
    return f"<query xmlns='jabber:iq:roster'><item jid='{jid}'/></query>"


@pytest.mark.parametrize("name", COVERED)
def test_c7_accounts_and_except_limit_roster_message_and_iq_alike(server, component, gateway, name):
    """C7: `accounts` and `except` limit every permission: for an account outside, or with an unreadable list, nothing is
    granted."""
    host = f"{name}.lit"
    may_set = name.startswith(("c7", "c5")) or COVERED[name]
    for user in ("juliet", "nurse"):
        account, covered = f"{user}@{host}", user in COVERED[name]

        answers = [component.iq("get", account, "<query xmlns='jabber:iq:roster'/>")]
        if may_set:
            answers.append(component.iq("set", account, roster_item()))
        answers.append(component.privileged_iq("get", account, "<ping xmlns='urn:xmpp:ping'/>", to=host))
        for answer in answers:
            if covered:
                assert answer.get("type") == "result", account
            else:
                assert error_of(answer)[:2] == ("auth", "forbidden"), account
        if covered:
            assert inner_iq(answers[-1]).get("type") == "result"
        assert (server.roster(account) != {}) is (covered and bool(may_set))

        id_ = component.privileged_message(message_from(account, "x@gateway.capulet.lit", body("Ay me!")), to=host)
        component.sync()
        heard = [s for s in gateway.drain() if local(s) == "message" and s.find("{*}body") is not None]
        refused = [s for s in component.drain() if local(s) == "message" and s.get("id") == id_]
        if covered:
            assert [s.get("from") for s in heard] == [account] and refused == []
        else:
            assert heard == []
            assert [error_of(s)[:2] for s in refused] == [("auth", "forbidden")]


def test_c7_an_account_outside_and_an_unknown_one_look_the_same(component):
    """C7: an account outside the grant and one that does not exist get the same answers."""

    def told(user):
        answers = [
            component.iq("get", f"{user}@c7-accounts.lit", "<query xmlns='jabber:iq:roster'/>"),
            component.iq("set", f"{user}@c7-accounts.lit", roster_item()),
            component.privileged_iq("get", f"{user}@c7-accounts.lit", "<ping xmlns='urn:xmpp:ping'/>", to="c7-accounts.lit"),
        ]
        return [error_of(answer) for answer in answers]

    # Their names have the same length, and the texts may name them.
    existing, unknown = told("nurse"), told("ghost")
    assert [tuple((part or "").replace("ghost", "nurse") for part in error) for error in unknown] == [
        tuple(part or "" for part in error) for error in existing
    ]
    assert existing[0][:2] == ("auth", "forbidden")


# C1: the configurations of the community module

README_EXAMPLE = Lua(
    """{
            ["romeo@montaigu.lit"] = {
                roster = "get";
                presence = "managed_entity";
            },
            ["juliet@capulet.lit"] = {
                roster = "both";
                message = "outgoing";
                presence = "roster";
            },
            ["pubsub.yourdomain.tld"] = {
                roster = "get";
                message = "outgoing";
                presence = "roster";
                iq = {
                    ["http://jabber.org/protocol/pubsub"] = "set";
                };
            },
        }"""
)


def test_c1_the_example_of_the_community_module_works_unchanged(start_server):
    """C1: the example of the community module's README works unchanged, with "privilege" enabled in the Component section as it
    asks for."""
    server = start_server(
        hosts=("yourdomain.tld", "capulet.lit"),
        accounts=("nurse@yourdomain.tld", "juliet@capulet.lit"),
        components=("pubsub.yourdomain.tld",),
        host_options={"pubsub.yourdomain.tld": {"modules_enabled": ["privilege"]}},
        privileged_entities={"yourdomain.tld": README_EXAMPLE},
    )
    # No account of montaigu.lit can exist here. That is a warning, not an error.
    warnings = [w for w in server.log_lines("warn", "yourdomain.tld:privilege") if "does not exist" not in w]
    assert len(warnings) == 1 and "romeo@montaigu.lit" in warnings[0] and "yourdomain.tld" in warnings[0]

    component = server.component("pubsub.yourdomain.tld")
    assert permissions(component.permissions("yourdomain.tld")) == {
        "roster": ("get", "true"),
        "message": "outgoing",
        "presence": "roster",
        "iq": {"http://jabber.org/protocol/pubsub": "set"},
    }
    component.expect_nothing("message")

    account = "nurse@yourdomain.tld"
    nurse = server.client(account)
    assert component.iq("get", account, "<query xmlns='jabber:iq:roster'/>").get("type") == "result"
    assert error_of(component.iq("set", account, roster_item()))[:2] == ("auth", "forbidden")
    component.privileged_message(message_from(account, nurse.jid, body("Anon!")), to="yourdomain.tld")
    assert nurse.expect("message", from_=account).findtext("c:body", namespaces=NS) == "Anon!"
    publish = (
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:node'>"
        "<item id='1'><x xmlns='urn:example:x'/></item></publish></pubsub>"
    )
    answer = component.privileged_iq("set", account, publish)
    assert answer.get("type") == "result" and inner_iq(answer).get("type") == "result"
    items = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:node'/></pubsub>"
    assert error_of(component.privileged_iq("get", account, items))[:2] == ("auth", "forbidden")


def test_c1_a_global_option_holds_for_every_host(start_server):
    """C1: `privileged_entities` in the global section holds for every host, and a host's own replaces it."""
    server = start_server(
        privileged_entities={"montague.lit": {ENTITY: {"message": "outgoing"}}},
        options={"privileged_entities": {ENTITY: GOOD}},
    )
    component = server.component(ENTITY)
    assert permissions(component.permissions("capulet.lit")) == GOOD_PERMS
    assert permissions(component.permissions("montague.lit")) == {"message": "outgoing"}
