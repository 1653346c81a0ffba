"""A privileged component at work: a throwaway Prosody, a user's client, a gateway, and what passes between.

Every step is a function that does something and checks that it happened; a step that did not happen
ends the demo with a status of 1. Add one by writing a function below with @step("what it shows").
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from harness import PUBSUB, Prosody  # noqa: E402
from wire import (  # noqa: E402
    NS, body, error_of, inner_iq, local, message_from, namespace, text_of,
)

GATEWAY = "gateway.capulet.lit"
JULIET = "juliet@capulet.lit"
ROMEO = "romeo@montague.lit"
NURSE = "nurse%verona@gateway.capulet.lit"
DISPLAYED = "urn:xmpp:mds:displayed:0"

GRANTS = {
    "capulet.lit": {
        GATEWAY: {
            "roster": "both",
            "message": "outgoing",
            "presence": "roster",
            "iq": {PUBSUB: "both"},
        }
    }
}

STEPS = []


def step(title: str):
    """Marks a function as a step of the demo; its title is the line it is announced with."""

    def register(function):
        STEPS.append((title, function))
        return function

    return register


class Stage:
    """Who takes part, and a transcript of what they say."""

    def __init__(self, server: Prosody):
        self.server = server
        self.gateway = server.component(GATEWAY)
        self.juliet = server.client(JULIET, resource="balcony", carbons=True)
        self.romeo = server.client(ROMEO, resource="orchard")

    def show(self, who: str, does: str, stanza: ET.Element | str):
        """Prints one line and under it the stanza, shortened."""
        if isinstance(stanza, str):
            stanza = ET.fromstring(stanza)
        print(f"   {who} {does}")
        for line in pretty(stanza):
            print(f"      {grey(line)}")

    def ask(self, who: str, does: str, connection, stanza: str, id: str) -> ET.Element:
        """Shows and sends an IQ, and returns its answer."""
        self.show(who, does, stanza)
        connection.send(stanza)
        return connection.expect(lambda s: local(s) == "iq" and s.get("id") == id and s.get("type") != "get")


@step("The server tells the gateway what it may do")
def advertisement(stage: Stage):
    message = stage.gateway.expect("message", from_="capulet.lit")
    stage.show("capulet.lit", f"says to {GATEWAY}:", message)
    granted = {perm.get("access"): perm.get("type") for perm in message.find("priv:privilege", NS)}
    assert granted.get("roster") == "both" and granted.get("message") == "outgoing", granted
    assert "iq" in granted, granted


@step("The gateway puts a contact into Juliet's roster; her client learns of it at once")
def roster(stage: Stage):
    query = (
        f"<query xmlns='jabber:iq:roster'><item jid='{NURSE}' name='Nurse (Verona)' subscription='both'>"
        "<group>Verona</group></item></query>"
    )
    answer = stage.ask(
        GATEWAY, "asks:", stage.gateway,
        f"<iq type='set' from='{GATEWAY}' to='{JULIET}' id='roster1'>{query}</iq>", "roster1",
    )
    assert answer.get("type") == "result", text_of(answer)
    push = stage.juliet.expect(lambda s: s.find("roster:query", NS) is not None)
    stage.show("Juliet's client", "is pushed:", push)
    item = push.find("roster:query/roster:item", NS)
    assert item.get("jid") == NURSE and item.get("subscription") == "both", text_of(push)


@step("The gateway sends a message as Juliet: Romeo has it from her, her own client a copy, her archive keeps it")
def message(stage: Stage):
    said = "My bounty is as boundless as the sea."
    forwarded = message_from(JULIET, ROMEO, body(said), id="said1")
    stage.show(GATEWAY, "sends:", (
        f"<message from='{GATEWAY}' to='capulet.lit' id='wrap1'><privilege xmlns='{NS['priv']}'>"
        f"<forwarded xmlns='{NS['fwd']}'>{forwarded}</forwarded></privilege></message>"
    ))
    stage.gateway.privileged_message(forwarded, id="wrap1")

    received = stage.romeo.expect("message")
    stage.show("Romeo's client", "receives:", received)
    assert received.get("from") == JULIET and received.findtext("c:body", namespaces=NS) == said

    carbon = stage.juliet.expect(lambda s: s.find("carbons:sent", NS) is not None)
    stage.show("Juliet's client", "is sent a carbon copy:", carbon)
    assert carbon.findtext("carbons:sent/fwd:forwarded/c:message/c:body", namespaces=NS) == said

    ended = stage.juliet.iq("set", None, f"<query xmlns='{NS['mam']}'/>")
    assert ended.get("type") == "result", text_of(ended)
    archived = stage.juliet.expect(lambda s: s.find("mam:result", NS) is not None)
    stage.show("Juliet's client", "finds in her archive:", archived.find("mam:result/fwd:forwarded/c:message", NS))
    assert archived.findtext("mam:result/fwd:forwarded/c:message/c:body", namespaces=NS) == said


@step("The gateway publishes to Juliet's personal eventing node, where her client finds it")
def eventing(stage: Stage):
    publish = (
        f"<pubsub xmlns='{PUBSUB}'><publish node='{DISPLAYED}'><item id='{ROMEO}'>"
        f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{JULIET}' id='1595'/></displayed>"
        "</item></publish></pubsub>"
    )
    answer = stage.ask(
        GATEWAY, "asks, as Juliet:", stage.gateway,
        f"<iq type='set' from='{GATEWAY}' to='{JULIET}' id='publish1'><privileged_iq xmlns='{NS['priv']}'>"
        f"<iq xmlns='jabber:client' type='set' id='publish1'>{publish}</iq></privileged_iq></iq>", "publish1",
    )
    stage.show("capulet.lit", "answers:", answer)
    assert answer.get("type") == "result" and inner_iq(answer).get("type") == "result", text_of(answer)
    found = stage.juliet.iq("get", None, f"<pubsub xmlns='{PUBSUB}'><items node='{DISPLAYED}'/></pubsub>")
    stage.show("Juliet's client", "reads:", found)
    item = found.find("pubsub:pubsub/pubsub:items/pubsub:item", NS)
    assert item is not None and item.get("id") == ROMEO, text_of(found)


@step("Juliet's client renames the contact; the gateway is pushed the change")
def push(stage: Stage):
    renamed = (
        f"<query xmlns='jabber:iq:roster'><item jid='{NURSE}' name='Nurse'><group>Verona</group></item></query>"
    )
    assert stage.juliet.iq("set", None, renamed).get("type") == "result"
    own = stage.gateway.expect("iq", type="set")  # what it set itself is pushed as well
    pushed = stage.gateway.expect("iq", type="set")
    stage.show(GATEWAY, "is pushed:", pushed)
    names = [one.find("roster:query/roster:item", NS).get("name") for one in (own, pushed)]
    assert pushed.get("from") == JULIET and names == ["Nurse (Verona)", "Nurse"], text_of(pushed)


@step("Juliet and Romeo subscribe to each other; the gateway sees the presence of both, each change once")
def presence(stage: Stage):
    stage.server.put_roster_item(JULIET, ROMEO, subscription="both")
    stage.server.put_roster_item(ROMEO, JULIET, subscription="both")
    for name, client, status in (("Juliet", stage.juliet, "At the window"), ("Romeo", stage.romeo, "In the orchard")):
        for _ in range(2):  # saying it again is no news
            client.send(f"<presence><status>{status}</status></presence>")
        client.sync()
        seen = stage.gateway.expect("presence", from_=client.jid, to=GATEWAY)
        while seen.findtext("{*}status") != status:  # what was said before the demo came here
            seen = stage.gateway.expect("presence", from_=client.jid, to=GATEWAY)
        stage.show(GATEWAY, f"sees {name}:", seen)
        stage.gateway.expect_nothing("presence", from_=client.jid, to=GATEWAY)


@step("The gateway tries to speak as Romeo, whose server granted it nothing, and is refused")
def refused(stage: Stage):
    forged = message_from(ROMEO, JULIET, body("I never loved you."))
    stage.show(GATEWAY, "tries:", forged)
    id_ = stage.gateway.privileged_message(forged)
    answer = stage.gateway.expect("message", id=id_)
    stage.show("capulet.lit", "answers:", answer.find("{*}error"))
    type_, condition, text = error_of(answer)
    assert (type_, condition) == ("auth", "forbidden") and text, text_of(answer)
    stage.juliet.expect_nothing("message")


def pretty(element: ET.Element, outer: str = "", indent: str = "", width: int = 110) -> list[str]:
    """An element as indented lines, without prefixes, long values shortened."""
    spaces = {"", NS["c"], NS["comp"]} if not outer else {outer}
    head = "<" + local(element)
    own = namespace(element)
    if own not in spaces:
        head += f' xmlns="{own}"'
    for name, value in element.attrib.items():
        name = name.replace("{http://www.w3.org/XML/1998/namespace}", "xml:").rpartition("}")[2]
        head += f" {name}={quoteattr(shortened(value))}"
    if len(element) == 0:
        text = (element.text or "").strip()
        line = f"{head}>{escape(shortened(text))}</{local(element)}>" if text else head + "/>"
        return [indent + line]
    inner = [line for child in element for line in pretty(child, own or NS["c"], indent + "  ", width)]
    together = f"{indent}{head}>{inner[0].strip()}</{local(element)}>"
    if len(inner) == 1 and len(together) <= width:
        return [together]
    return [f"{indent}{head}>", *inner, f"{indent}</{local(element)}>"]


def shortened(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def grey(text: str) -> str:
    return f"\033[90m{text}\033[0m" if COLOURS else text


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOURS else text


def main() -> int:
    # So that what is running is stopped and removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Prosody(privileged_entities=GRANTS) as server:
        version = ".".join(map(str, server.version))
        print(f"Prosody {version} on {server.c2s_port} (clients) and {server.component_port} (components) of the loopback")
        path = server.lua("return modulemanager.get_module('capulet.lit', 'privilege').module.path")
        print(f"capulet.lit and montague.lit; mod_privilege from {os.path.relpath(path)}")
        stage = Stage(server)
        for number, (title, run) in enumerate(STEPS, 1):
            print(f"\n{bold(f'{number}. {title}')}")
            try:
                run(stage)
            except Exception as problem:  # noqa: BLE001: whatever it was, the step did not happen
                print(f"   DID NOT HAPPEN: {type(problem).__name__}: {problem}")
                return 1
        server.close_connections()
        server.check_log()
    print(f"\nAll {len(STEPS)} steps happened, the server's log is clean, and nothing is left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
