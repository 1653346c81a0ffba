"""Words that several test files share: stanzas to write and to read, and what one client, contact or entity does.

What an entity was told is read with watching.py; archives, carbons and raw bytes are in helpers.py.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from watching import settle
from wire import RawComponent, local, text_of

#: The type and condition of the error for "not granted".
FORBIDDEN = ("auth", "forbidden")

COMMANDS = "http://jabber.org/protocol/commands"


def messages(peer) -> list[ET.Element]:
    """The messages that have come. Takes everything out of the inbox."""
    return [stanza for stanza in peer.drain() if local(stanza) == "message"]


# Rosters


def escaped(text: str) -> str:
    """Text for an attribute or an element, such that every character arrives."""
    return "".join(f"&#{ord(c)};" if c in "&<>\"'\t\n\r" else c for c in text)


def item(jid: str | None, *groups: str, **attributes: str) -> str:
    given = {} if jid is None else {"jid": jid}
    given.update(attributes)
    head = "".join(f" {key}='{escaped(value)}'" for key, value in given.items())
    return f"<item{head}>" + "".join(f"<group>{escaped(group)}</group>" for group in groups) + "</item>"


def query(*items: str) -> str:
    return f"<query xmlns='jabber:iq:roster'>{''.join(items)}</query>"


def log_in(server, account: str, **options):
    """Returns a client with an empty inbox: what its login caused has come and is forgotten.

    At a login the server repeats subscription requests of the account that are not answered, and pushes that.
    """
    client = server.client(account, **options)
    client.drain()
    return client


def client_set(client, *items: str):
    """The account's own client sets items of its roster."""
    answer = client.iq("set", None, query(*items))
    assert answer.get("type") == "result", text_of(answer)


def forget_rosters(server, host: str = "capulet.lit"):
    """Empties the server's cache of the rosters of offline accounts. The next reader reads the storage."""
    server.lua("hosts[h].roster_cache = nil", h=host)


# IQs. A request is an <echo/> with a word by which it is known.

#: Sent by clients as by components: privileged_message(client, ...), send_privileged_iq(client, ...)
privileged_message = RawComponent.privileged_message
send_privileged_iq = RawComponent.send_privileged_iq


def iq_wrapper(content: str) -> str:
    return f"<privileged_iq xmlns='urn:xmpp:privilege:2'>{content}</privileged_iq>"


def echo(word: object = "", content: str = "") -> str:
    return f"<echo xmlns='urn:example:echo' word={quoteattr(str(word))}>{content}</echo>"


def word_of(iq: ET.Element) -> str | None:
    found = iq.find("{urn:example:echo}echo")
    return None if found is None else found.get("word")


def is_request(word: object = None):
    """Matches an echo request that has arrived where it was sent to, with this word or with any."""
    return lambda s: (
        local(s) == "iq" and s.get("type") in ("get", "set") and word_of(s) is not None
        and (word is None or word_of(s) == str(word))
    )


def answer(connection, request: ET.Element, content: str = "", type_: str = "result", **attributes):
    """Answers a request from the address it was sent to."""
    attributes.setdefault("from_", request.get("to"))
    connection.send_iq(type_, request.get("from"), content, id=request.get("id"), **attributes)


# Presence


def friends(server, *accounts: str):
    """Each of these has each other in its roster, as `both`. A contact at stranger.lit has no roster here."""
    for one in accounts:
        for other in accounts:
            if one != other and not one.endswith("stranger.lit"):
                server.put_roster_item(one, other, subscription="both")


def connect(server, domain: str):
    """Connects an entity. It has been sent all it is told when it connects, but has not read it."""
    entity = server.component(domain)
    settle(server)
    return entity


def waiting(server, domain: str):
    """Connects an entity and empties its inbox."""
    entity = connect(server, domain)
    entity.drain()
    return entity


def say(
    stranger, to: str, content: str = "", type_: str | None = None, from_: str = "x@stranger.lit/r", **attributes
):
    """A contact at stranger.lit sends its presence."""
    stranger.send_presence(type_, to, content, from_=from_, **attributes)
    stranger.sync()
