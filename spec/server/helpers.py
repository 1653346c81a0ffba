"""Helpers of several test files: archives, carbons, blocklists, wrapped answers, raw bytes."""

from __future__ import annotations

import copy
import re
from xml.etree import ElementTree as ET

from harness import PRIVILEGES
from wire import NS, error_of, local, namespace, new_id, text_of

#: Nested elements that still fit into Prosody's limit for one stanza (512 KiB).
DEEP = 70_000

PING = "<ping xmlns='urn:xmpp:ping'/>"


#: A payload that must come out as it went in.
NESTED = "<message xmlns='jabber:client' from='a@b.lit' to='c@d.lit' type='chat'><body>as it was</body></message>"

PAYLOAD = f"""
<body>plain &amp; &lt;simple&gt; \u2603 \U0001f339 e\u0301 "'</body>
<body xml:lang='fr'>  \u00e0 bient\u00f4t\n\t </body>
<thread parent='p'>t</thread>
<x xmlns='urn:example:unknown' a='1' b='&quot;&apos;' xmlns:o='urn:example:other' o:c='3'>mixed<o:y/>text<z xmlns=''/> </x>
<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>{NESTED}</forwarded>
<result xmlns='urn:xmpp:mam:2' id='i'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='get'/></forwarded></result>
<markable xmlns='urn:xmpp:chat-markers:0'/>
<origin-id xmlns='urn:xmpp:sid:0' id='origin'/>
""".replace("\n<", "<").strip()


def deep(levels: int = DEEP) -> str:
    return "<a>" * levels + "</a>" * levels


def depth_of(element: ET.Element) -> int:
    """The number of elements nested in each other's first child; counted without recursion."""
    depth = 0
    while len(element):
        element = element[0]
        depth += 1
    return depth


def canonical(element: ET.Element) -> str:
    return ET.canonicalize(text_of(element))


def payload_of(message: ET.Element) -> list[str]:
    """The children of a message in canonical form, without what the server adds."""
    return [
        canonical(child)
        for child in message
        if not (local(child) == "stanza-id" and child.tag.startswith("{urn:xmpp:sid:0}")) and local(child) != "delay"
    ]


SENT_PAYLOAD = payload_of(ET.fromstring(f"<message xmlns='jabber:client'>{PAYLOAD}</message>"))


def grants(**changes) -> dict:
    """PRIVILEGES with the grant of pubsub.capulet.lit changed; iq namespaces are added to those it has."""
    changed = copy.deepcopy(PRIVILEGES)
    grant = changed["capulet.lit"]["pubsub.capulet.lit"]
    iq = changes.pop("iq", None)
    if iq:
        grant["iq"].update(iq)
    grant.update(changes)
    return changed


def archive(client) -> list[ET.Element]:
    """The messages in the account's archive, oldest first."""
    query = new_id("mam")
    answer = client.iq("set", None, f"<query xmlns='urn:xmpp:mam:2' queryid='{query}'/>")
    assert answer.get("type") == "result", text_of(answer)
    found = [s for s in client.inbox if s.find(f"mam:result[@queryid='{query}']", NS) is not None]
    for stanza in found:
        client.inbox.remove(stanza)
    return [s.find("mam:result/fwd:forwarded/c:message", NS) for s in found]


def bodies(messages) -> list[str | None]:
    return [m.findtext("c:body", namespaces=NS) for m in messages]


def carbon_sent(client) -> ET.Element:
    """Takes the next `sent` carbon and returns the message in it."""
    carbon = client.expect(lambda s: s.find("carbons:sent", NS) is not None)
    assert carbon.get("from") == client.bare
    return carbon.find("carbons:sent/fwd:forwarded/c:message", NS)


def watcher(server, jid: str = "juliet@capulet.lit"):
    """A client of the account that sees errors sent to the bare JID.

    Prosody discards these, but carbons show them to resources of less than the highest priority.
    """
    client = server.client(jid, carbons=True)
    client.send_presence(content="<priority>-1</priority>")
    client.drain()
    return client


def bounce(client) -> ET.Element:
    """Takes the carbon of an error that was sent to the account's bare JID, returns the error; see watcher()."""
    carbon = client.expect(lambda s: s.find("carbons:received", NS) is not None)
    message = carbon.find("carbons:received/fwd:forwarded/c:message", NS)
    assert message.get("type") == "error" and message.get("to") == client.bare, text_of(carbon)
    return message


def block(client, jid: str):
    answer = client.iq("set", None, f"<block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block>")
    assert answer.get("type") == "result", text_of(answer)


def is_message_with_body(text: str):
    return lambda s: local(s) == "message" and s.findtext("{*}body") == text


def assert_refused(answer: ET.Element, type_: str, condition: str, text: str | None = None):
    """An error with exactly this type and condition, and a text that matches."""
    assert answer.get("type") == "error", text_of(answer)
    found = error_of(answer)
    assert found[:2] == (type_, condition), text_of(answer)
    assert found[2], f"no text in {text_of(answer)}"
    if text:
        assert re.search(text, found[2], re.IGNORECASE), f"{found[2]!r} does not say {text!r}"


def relayed_message(stanza: ET.Element) -> ET.Element | None:
    """The message in `<message><privilege><forwarded><message xmlns='jabber:client'>`, if it is one."""
    return stanza.find("priv:privilege/fwd:forwarded/c:message", NS)


def assert_wrapped(answer: ET.Element, *, account: str, entity: str, id: str, type_: str) -> ET.Element:
    """The shape of an answer to a privileged IQ (Q4); returns the forwarded IQ."""
    assert answer.get("type") == type_, text_of(answer)
    assert (answer.get("from"), answer.get("to"), answer.get("id")) == (account, entity, id)
    expected = ["privilege"] if type_ == "result" else ["privilege", "error"]
    assert [local(child) for child in answer] == expected, text_of(answer)
    privilege = answer[0]
    assert namespace(privilege) == NS["priv"] and len(privilege) == 1
    forwarded = privilege[0]
    assert (local(forwarded), namespace(forwarded), len(forwarded)) == ("forwarded", NS["fwd"], 1)
    inner = forwarded[0]
    assert (local(inner), namespace(inner)) == ("iq", "jabber:client"), text_of(answer)
    assert inner.get("type") == type_
    return inner


def loud_lines(server, since: int) -> list[str]:
    """Log messages at info or above since the log had this length, without the server's periodic ones."""
    lines = [line for level in ("info", "warn", "error") for line in server.log_lines(level, since=since)]
    periodic = re.compile(r"Running periodic tasks|No expired |.* for 0 users$|Pruned ")
    return [line for line in lines if not periodic.match(line)]


class Tap:
    """Records the bytes a connection receives from now on."""

    def __init__(self, connection):
        self.data = b""
        self._parser = connection._parser
        connection._parser = self

    def feed(self, data: bytes):
        self.data += data
        self._parser.feed(data)

    def read_events(self):
        return self._parser.read_events()
