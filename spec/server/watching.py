"""Reads what an entity or a client was told, and what a roster holds; waits until the module has nothing left to do."""

from __future__ import annotations

import os

from wire import local, payload, text_of


def seeds(*default: int) -> list[int]:
    """The seeds that a model runs with: those of PRIVILEGE_SEEDS ("17", "1-200") if it is set."""
    if "PRIVILEGE_SEEDS" not in os.environ:
        return list(default)
    first, _, last = os.environ["PRIVILEGE_SEEDS"].partition("-")
    return list(range(int(first), int(last or first) + 1))


#: The timers of the module that have not run out, whichever host it is on: { "host", ... }
TIMERS = """
local timers;
for i = 1, 20 do
    local name, value = debug.getupvalue(require "util.timer".add_task, i);
    if name == "timers" then timers = value; end
end
local found = {};
for _, callback in pairs(assert(timers, "this server keeps its timers elsewhere").items) do
    for i = 1, 20 do
        local name, value = debug.getupvalue(callback, i);
        if name == nil then break; end
        local owner = name == "param" and type(value) == "table" and value.module_env;
        if owner and owner.name == "privilege" then found[#found + 1] = owner.host; end
    end
end
"""


def timers(server) -> list[str]:
    """The hosts on which the module waits for a timer, one entry for each timer."""
    return server.lua(TIMERS + "return #found > 0 and found or nil") or []


def settle(server, timeout: float = 5):
    """Returns when the module has done what it does by and by (telling a new entity who is there).

    What others answer to questions of its is not waited for.
    """
    server.wait_until(TIMERS + "return #found == 0", timeout=timeout)


# Rosters


def read_item(element) -> tuple[str, dict]:
    """(contact, {name, subscription, ask, approved, groups}); what is not there is left out."""
    assert element.tag == "{jabber:iq:roster}item", text_of(element)
    found = dict(element.attrib)
    assert set(found) <= {"jid", "name", "subscription", "ask", "approved"}, text_of(element)
    assert all(group.tag == "{jabber:iq:roster}group" and not group.attrib for group in element), text_of(element)
    if len(element):
        found["groups"] = sorted(group.text for group in element)
    return found.pop("jid"), found


def read_items(element) -> dict:
    """{contact: {name, subscription, ask, approved, groups}} of a <query/>; groups are there in any case."""
    found = {}
    for child in element:
        jid, attributes = read_item(child)
        assert jid not in found, f"{jid} twice"
        found[jid] = {"groups": [], **attributes}
    return found


def is_push(stanza) -> bool:
    child = payload(stanza)
    return (
        local(stanza) == "iq"
        and stanza.get("type") == "set"
        and child is not None
        and child.tag == "{jabber:iq:roster}query"
    )


def pushes(peer) -> list[tuple[str, str, dict]]:
    """The pushes an entity has got, in order: (account, contact, item). Takes everything out of the inbox.

    A push is one item from the account's bare JID to the entity, with an id of its own and a version.
    """
    found, ids = [], set()
    for stanza in peer.drain():
        if is_push(stanza):
            assert stanza.get("to") == peer.jid, text_of(stanza)
            assert stanza.get("id") and stanza.get("id") not in ids, text_of(stanza)
            ids.add(stanza.get("id"))
            assert set(stanza.attrib) == {"type", "from", "to", "id"} and len(stanza) == 1, text_of(stanza)
            assert set(stanza[0].attrib) <= {"ver"} and len(stanza[0]) == 1, text_of(stanza)
            found.append((stanza.get("from"), *read_item(stanza[0][0])))
    return found


def pushed(peer, account: str) -> list[tuple[str, dict]]:
    """As pushes(), where all must be about one account."""
    found = pushes(peer)
    assert {push[0] for push in found} <= {account}, found
    return [push[1:] for push in found]


def client_pushes(client) -> list[tuple[str, dict]]:
    """The roster pushes that a client has got, one item each. Takes everything out of the inbox."""
    found = []
    for stanza in client.drain():
        if local(stanza) == "iq" and stanza.get("type") == "set":
            assert stanza.get("from") in (None, client.bare), text_of(stanza)
            assert stanza.get("id")
            items = read_items(payload(stanza))
            assert len(items) == 1, text_of(stanza)
            found.extend(items.items())
    return found


def held(server, account: str) -> dict:
    """{contact: {subscription, ask, name, groups}} as the server itself uses the roster of an account."""
    return _visible(server, account, "return (rostermanager.load_roster(user, h))")


def stored(server, account: str) -> dict:
    """The same as it is in storage."""
    return _visible(server, account, "return (storagemanager.open(h, 'roster'):get(user))")


def _visible(server, account: str, code: str) -> dict:
    user, host = account.split("@")
    found = {}
    for contact, row in (server.lua(code, h=host, user=user) or {}).items():
        if contact not in ("false", "pending"):
            found[contact] = {k: row[k] for k in ("subscription", "ask", "name") if k in row}
            if row.get("groups"):
                found[contact]["groups"] = sorted(row["groups"])
    return found


def subscription(server, account: str, contact: str) -> str | None:
    """A contact's subscription in the roster of an account, which is the same in memory and in storage."""
    here, there = held(server, account).get(contact), stored(server, account).get(contact)
    assert here == there, (here, there)
    return here and here["subscription"]


def in_one_turn(server, *stanzas: tuple[str, str]):
    """Hands stanzas to the server one after another in one turn of its event loop.

    Each is (JID of a connected component or full JID of a client, XML). A component's stanza gets its `from`.
    A text "lua: ..." in the place of the XML is run instead.
    """
    server.lua(
        """
        local parse = require "util.xml".parse;
        for _, pair in ipairs(list) do
            local jid, text = pair[1], pair[2];
            local code = text:match("^lua: (.*)$");
            if code then
                assert(load(code, "=turn", "t", _ENV))();
            else
                local stanza = assert(parse(text));
                local component = hosts[jid] and hosts[jid].modules.component;
                if component then stanza.attr.from = jid; end
                prosody.core_process_stanza(component and component.session or prosody.full_sessions[jid], stanza);
            end
        end
        """,
        list=[list(pair) for pair in stanzas],
    )


# Presence


def presence_of(stanza) -> tuple:
    """(from, type, show, status), what is missing at the end left out."""
    fields = [stanza.get("from"), stanza.get("type"), stanza.findtext("{*}show"), stanza.findtext("{*}status")]
    while len(fields) > 2 and fields[-1] is None:
        fields.pop()
    return tuple(fields)


def told(peer) -> list[tuple]:
    """The presence an entity has got, in order; see presence_of(). Takes everything out of the inbox."""
    found = []
    for stanza in peer.drain():
        if local(stanza) == "presence":
            assert stanza.get("to") == peer.jid, text_of(stanza)
            found.append(presence_of(stanza))
    return found


# Advertisements


def advertised(peer) -> list[tuple[str, dict]]:
    """The permissions that an entity has been told: (host, {access: type}). Leaves the rest in the inbox.

    IQ permissions are {namespace: type}. What is "none" is left out.
    """
    peer.sync()
    found, rest = [], []
    for stanza in peer.inbox:
        privilege = stanza.find("{urn:xmpp:privilege:2}privilege")
        if local(stanza) != "message" or privilege is None:
            rest.append(stanza)
            continue
        assert stanza.get("to") == peer.jid and stanza.get("id"), text_of(stanza)
        perms = {}
        for perm in privilege:
            access = perm.get("access")
            assert access not in perms, text_of(stanza)
            perms[access] = {n.get("ns"): n.get("type") for n in perm} if access == "iq" else perm.get("type")
        # Each of them is always there (A1).
        assert {"roster", "message", "presence"} <= perms.keys(), text_of(stanza)
        iq = {namespace: type_ for namespace, type_ in perms.pop("iq", {}).items() if type_ != "none"}
        perms = {access: type_ for access, type_ in perms.items() if type_ != "none"} | ({"iq": iq} if iq else {})
        found.append((stanza.get("from"), perms))
    peer.inbox[:] = rest
    return found
