"""XMPP over a plain socket: whatever a test wants to send, well-formed or not, and what comes back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import socket
import time
from collections.abc import Callable
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

#: Prefixes for find(): el.find("priv:privilege/fwd:forwarded/c:message", NS)
NS = {
    "c": "jabber:client",
    "comp": "jabber:component:accept",
    "priv": "urn:xmpp:privilege:2",
    "priv1": "urn:xmpp:privilege:1",
    "fwd": "urn:xmpp:forward:0",
    "err": "urn:ietf:params:xml:ns:xmpp-stanzas",
    "roster": "jabber:iq:roster",
    "carbons": "urn:xmpp:carbons:2",
    "mam": "urn:xmpp:mam:2",
    "sid": "urn:xmpp:sid:0",
    "pubsub": "http://jabber.org/protocol/pubsub",
    "event": "http://jabber.org/protocol/pubsub#event",
    "disco": "http://jabber.org/protocol/disco#info",
    "upload": "urn:xmpp:http:upload:0",
    "delay": "urn:xmpp:delay",
    "stream": "http://etherx.jabber.org/streams",
    "sasl": "urn:ietf:params:xml:ns:xmpp-sasl",
    "bind": "urn:ietf:params:xml:ns:xmpp-bind",
    "sm": "urn:xmpp:sm:3",
}

TIMEOUT = 5.0

_ids = itertools.count(1)


class Timeout(Exception):
    """The stanza that was waited for did not come; the text says which ones did."""


class Disconnected(Exception):
    """The server closed the stream."""


def new_id(prefix: str = "t") -> str:
    return f"{prefix}{next(_ids)}"


def local(element: ET.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace(element: ET.Element) -> str:
    return element.tag.rpartition("}")[0].lstrip("{")


def text_of(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode")


def payload(element: ET.Element) -> ET.Element | None:
    """The first child that is not an error."""
    return next((child for child in element if local(child) != "error"), None)


def error_of(element: ET.Element) -> tuple[str, str, str | None]:
    """Type, condition and text of a stanza's error: ("auth", "forbidden", "...")."""
    error = element.find("{*}error")
    assert error is not None, f"no error in {text_of(element)}"
    conditions = [c for c in error if namespace(c) == NS["err"] and local(c) != "text"]
    assert len(conditions) == 1, f"not one condition in {text_of(element)}"
    text = error.find("err:text", NS)
    return error.get("type"), local(conditions[0]), None if text is None else text.text


def matcher(what=None, **attributes) -> Callable[[ET.Element], bool]:
    """A test for stanzas: a predicate, a name ("message"), and attributes, with from_ for from."""
    wanted = {key.rstrip("_"): value for key, value in attributes.items()}

    def matches(stanza: ET.Element) -> bool:
        if callable(what):
            if not what(stanza):
                return False
        elif what is not None and local(stanza) != what:
            return False
        return all(stanza.get(key) == value for key, value in wanted.items())

    return matches


class Connection:
    """The common part of a component's and a client's stream.

    Stanzas that have come and nobody took are in `inbox`, oldest first.
    """

    namespace = ""

    def __init__(self, address: tuple[str, int], jid: str):
        self.address = address
        self.jid = jid
        self.inbox: list[ET.Element] = []
        self.closed = False
        self.features: ET.Element | None = None
        self._socket: socket.socket | None = None

    # Stream

    def _open_socket(self):
        self._socket = socket.create_connection(self.address, timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False

    def _open_stream(self, to: str, more: str = "") -> ET.Element:
        """Sends a stream header and returns the server's."""
        self._parser = ET.XMLPullParser(["start", "end"])
        self._depth = 0
        self._root: ET.Element | None = None
        self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='{self.namespace}' "
            f"xmlns:stream='{NS['stream']}' to={quoteattr(to)}{more}>"
        )
        deadline = time.monotonic() + TIMEOUT
        while self._root is None:
            self._read(deadline, "the stream header")
        return self._root

    def _read(self, deadline: float, what: object):
        """Reads once from the socket and puts what is complete into the inbox."""
        if self.closed:
            raise Disconnected(f"waiting for {what}")
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._timeout(what)
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            raise self._timeout(what) from None
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
        else:
            self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root = element
            else:
                self._depth -= 1
                if self._depth == 1:
                    self._root.remove(element)
                    # Whitespace between stanzas belongs to none of them.
                    element.tail = None
                    self._received(element)
                elif self._depth == 0:
                    self.closed = True

    def _timeout(self, what: object) -> Timeout:
        came = "\n".join("  " + text_of(stanza) for stanza in self.inbox) or "  nothing"
        return Timeout(f"{self.jid} waited for {what}; in the inbox:\n{came}")

    def _received(self, element: ET.Element):
        self.inbox.append(element)

    # Sending

    def send(self, stanza: str | bytes | ET.Element):
        """Sends any text (or an element) as it is."""
        if isinstance(stanza, ET.Element):
            stanza = text_of(stanza)
        if isinstance(stanza, str):
            stanza = stanza.encode("utf-8", "surrogatepass")
        self._socket.settimeout(60)
        self._socket.sendall(stanza)

    # Receiving

    def receive(self, timeout: float = TIMEOUT) -> ET.Element:
        """The next stanza, whatever it is."""
        return self.expect(timeout=timeout)

    def expect(self, what=None, timeout: float = TIMEOUT, **attributes) -> ET.Element:
        """Takes the first stanza that matches and returns it; the others stay in the inbox.

        expect("message", from_="juliet@capulet.lit"), expect(lambda s: ...), expect("iq", id="x")
        """
        matches = matcher(what, **attributes)
        deadline = time.monotonic() + timeout
        looked_at = 0
        while True:
            for index in range(looked_at, len(self.inbox)):
                if matches(self.inbox[index]):
                    return self.inbox.pop(index)
            looked_at = len(self.inbox)
            self._read(deadline, f"{what or 'a stanza'} {attributes or ''}")

    def sync(self):
        """Returns when the server has handled all we sent and all it sent us before is in the inbox.

        When another connection caused something for this one, sync() that one first, then this.
        """
        id_ = new_id("sync")
        self._send_ping(id_)
        self.expect("iq", id=id_)

    def _send_ping(self, id_: str):
        raise NotImplementedError

    def drain(self) -> list[ET.Element]:
        """Syncs and takes everything out of the inbox."""
        self.sync()
        taken, self.inbox[:] = list(self.inbox), []
        return taken

    def expect_nothing(self, what=None, **attributes):
        """Syncs, and fails if something (that matches) came."""
        self.sync()
        matches = matcher(what, **attributes)
        came = [text_of(stanza) for stanza in self.inbox if matches(stanza)]
        assert not came, f"{self.jid} should have got nothing, but got:\n" + "\n".join(came)

    def expect_closed(self, timeout: float = TIMEOUT) -> ET.Element | None:
        """Waits for the server to close the stream; returns the stream error if it gave one."""
        deadline = time.monotonic() + timeout
        while not self.closed:
            self._read(deadline, "the end of the stream")
        return next((e for e in self.inbox if namespace(e) == NS["stream"] and local(e) == "error"), None)

    # Stanzas

    def _from(self) -> str:
        """Components must say who they are, the server says it of clients."""
        return ""

    def send_iq(self, type_: str, to: str | None, content: str = "", id: str | None = None, **attributes) -> str:
        """Sends an IQ and returns its id."""
        id_ = new_id() if id is None else id
        self.send(f"<iq{self._head(type_, to, id_, attributes)}>{content}</iq>")
        return id_

    def iq(
        self, type_: str, to: str | None, content: str = "", id: str | None = None, timeout: float = TIMEOUT, **attributes
    ) -> ET.Element:
        """Sends an IQ and returns the answer, a result or an error."""
        id_ = self.send_iq(type_, to, content, id, **attributes)
        return self.expect(
            lambda s: local(s) == "iq" and s.get("id") == id_ and s.get("type") in ("result", "error"), timeout
        )

    def send_message(self, to: str | None, content: str = "", type_: str | None = "chat", id: str | None = None, **attributes) -> str:
        """Sends a message (content is XML, such as <body>) and returns its id."""
        id_ = new_id() if id is None else id
        self.send(f"<message{self._head(type_, to, id_, attributes)}>{content}</message>")
        return id_

    def send_presence(self, type_: str | None = None, to: str | None = None, content: str = "", **attributes):
        self.send(f"<presence{self._head(type_, to, None, attributes)}>{content}</presence>")

    def _head(self, type_, to, id_, attributes) -> str:
        given = {"type": type_, "to": to, "id": id_}
        given.update({key.rstrip("_"): value for key, value in attributes.items()})
        if "from" not in given and self._from():
            given["from"] = self._from()
        return "".join(f" {key}={quoteattr(value)}" for key, value in given.items() if value is not None)

    # End

    def close(self):
        """Ends the stream properly and waits until the server has let go."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError, Timeout, Disconnected, ET.ParseError):
            if not self.closed:
                self.send("</stream:stream>")
                self.expect_closed()
        self.abort()

    def abort(self):
        """Drops the connection without a word."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.closed = True


class RawComponent(Connection):
    """An external component (XEP-0114)."""

    namespace = NS["comp"]

    def __init__(self, address, domain: str, *, secret: str, ping: str):
        super().__init__(address, domain)
        self.secret = secret
        self.ping = ping

    def connect(self) -> "RawComponent":
        self._open_socket()
        header = self._open_stream(self.jid)
        digest = hashlib.sha1((header.get("id") + self.secret).encode()).hexdigest()
        self.send(f"<handshake>{digest}</handshake>")
        self.expect("handshake")
        return self

    def _from(self) -> str:
        return self.jid

    def _send_ping(self, id_: str):
        self.send_iq("get", self.ping, "<ping xmlns='urn:xmpp:ping'/>", id=id_)

    # Privileges

    def permissions(self, host: str = "capulet.lit", version: int = 2) -> ET.Element:
        """Waits for the advertisement of a host and returns its <privilege/> element."""
        tag = f"{{urn:xmpp:privilege:{version}}}privilege"
        message = self.expect(lambda s: local(s) == "message" and s.get("from") == host and s.find(tag) is not None)
        return message.find(tag)

    def privileged_message(
        self, inner: str, to: str = "capulet.lit", id: str | None = None, version: int = 2, **attributes
    ) -> str:
        """Sends a <message/> (given as XML, xmlns included) through a host; returns the outer id."""
        return self.send_message(
            to,
            f"<privilege xmlns='urn:xmpp:privilege:{version}'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege>",
            type_=None,
            id=id,
            **attributes,
        )

    def send_privileged_iq(
        self,
        type_: str,
        account: str,
        content: str,
        *,
        to: str | None = None,
        inner_from: str | None = None,
        inner_id: str | None = None,
        inner_type: str | None = None,
        id: str | None = None,
    ) -> str:
        """Sends an IQ as an account; `to` is the inner one. Returns the outer id."""
        inner = {
            "xmlns": NS["c"],
            "type": inner_type or type_,
            "id": new_id("inner") if inner_id is None else inner_id,
            "to": to,
            "from": inner_from,
        }
        head = "".join(f" {key}={quoteattr(value)}" for key, value in inner.items() if value is not None)
        return self.send_iq(
            type_, account, f"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq{head}>{content}</iq></privileged_iq>", id=id
        )

    def privileged_iq(self, type_: str, account: str, content: str, timeout: float = TIMEOUT, **options) -> ET.Element:
        """Sends an IQ as an account and returns the outer answer; see inner_iq()."""
        id_ = self.send_privileged_iq(type_, account, content, **options)
        return self.expect(
            lambda s: local(s) == "iq" and s.get("id") == id_ and s.get("type") in ("result", "error"), timeout
        )


def inner_iq(answer: ET.Element) -> ET.Element:
    """The forwarded <iq/> in the answer to a privileged IQ."""
    found = answer.findall("priv:privilege/fwd:forwarded/c:iq", NS)
    assert len(found) == 1, f"not one forwarded IQ in {text_of(answer)}"
    return found[0]


def message_from(sender: str, to: str | None, content: str = "", type_: str | None = "chat", id: str | None = None) -> str:
    """XML of a client's message, to be forwarded by privileged_message()."""
    given = {"xmlns": NS["c"], "from": sender, "to": to, "type": type_, "id": id}
    head = "".join(f" {key}={quoteattr(value)}" for key, value in given.items() if value is not None)
    return f"<message{head}>{content}</message>"


def body(text: str) -> str:
    return f"<body>{escape(text)}</body>"


class RawClient(Connection):
    """A client: SASL PLAIN without TLS, a resource, and what the options ask for.

    resource   the resource to ask for, a new one by default
    presence   send initial presence (default)
    roster     ask for the roster first, so as to get roster pushes (default)
    carbons    switch message carbons on
    smacks     switch stream management on: requests are answered, `sm_handled` counts
    resume     (id, h): resume this session instead of binding a resource
    """

    namespace = NS["c"]

    def __init__(
        self, address, jid: str, *, password: str, resource: str | None = None,
        presence: bool = True, roster: bool = True, carbons: bool = False, smacks: bool = False,
        resume: tuple[str, int] | None = None,
    ):
        super().__init__(address, jid)
        self.resume = resume
        self.username, self.domain = jid.split("@", 1)
        self.bare = jid
        self.password = password
        self.resource = resource or new_id("resource")
        self.want_presence, self.want_roster = presence, roster
        self.want_carbons, self.want_smacks = carbons, smacks
        self.roster: ET.Element | None = None
        self.sm_enabled = False
        self.sm_handled = 0

    def connect(self) -> "RawClient":
        self._open_socket()
        more = " version='1.0' xml:lang='en'"
        self._open_stream(self.domain, more)
        self.expect("features")
        token = base64.b64encode(f"\0{self.username}\0{self.password}".encode()).decode()
        self.send(f"<auth xmlns='{NS['sasl']}' mechanism='PLAIN'>{token}</auth>")
        answer = self.expect()
        if local(answer) != "success":
            raise Disconnected(f"{self.jid} could not log in: {text_of(answer)}")
        self._open_stream(self.domain, more)
        self.features = self.expect("features")
        if self.resume:
            token, handled = self.resume
            self.send(f"<resume xmlns='{NS['sm']}' previd='{escape(token)}' h='{handled}'/>")
            self.expect("resumed")
            return self
        bound = self.iq("set", None, f"<bind xmlns='{NS['bind']}'><resource>{escape(self.resource)}</resource></bind>")
        self.jid = bound.findtext("bind:bind/bind:jid", namespaces=NS)
        if self.want_smacks:
            self.send(f"<enable xmlns='{NS['sm']}'/>")
            self.expect("enabled")
        if self.want_roster:
            self.roster = self.iq("get", None, f"<query xmlns='{NS['roster']}'/>")
        if self.want_carbons:
            self.iq("set", None, f"<enable xmlns='{NS['carbons']}'/>")
        if self.want_presence:
            self.send_presence()
            # The server sends our own presence back, which no test needs.
            self.expect("presence", from_=self.jid)
            self.sync()
        return self

    def _received(self, element: ET.Element):
        if namespace(element) == NS["sm"]:
            if local(element) == "enabled":
                self.sm_enabled = True
            elif local(element) == "r":
                self.send(f"<a xmlns='{NS['sm']}' h='{self.sm_handled}'/>")
                return
            elif local(element) == "a":
                return
        elif self.sm_enabled and local(element) in ("iq", "message", "presence"):
            self.sm_handled += 1
        super()._received(element)

    def _send_ping(self, id_: str):
        self.send_iq("get", self.domain, "<ping xmlns='urn:xmpp:ping'/>", id=id_)
