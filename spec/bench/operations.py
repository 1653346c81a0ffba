"""What is measured. Each operation says what it sends, and by what it knows that the server has done it.

On a server without the module, an operation that needs the privilege does the nearest thing that does not:
a plain message, the account's own client asking for its own roster.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from harness import Prosody

from load import IqResponder, Link, Pinger, wait
from subjects import CROWD, ECHO, ENTITIES, HOST, PARTNER, PUSHED, Subject
from watching import timers

ENTITY = ENTITIES[0]
JULIET = f"juliet@{HOST}"
#: Whom messages are for: as most are, somebody behind a component and not the component itself.
ROMEO = f"romeo@{ECHO}"

PING = "<ping xmlns='urn:xmpp:ping'/>"
DISCO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:example:bench'/></pubsub>"
PUBLISH = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:example:bench'>"
    "<item id='current'><bench xmlns='urn:example:bench'>a little text</bench></item></publish></pubsub>"
)
ECHOED = "<echo xmlns='urn:example:echo'/>"
CONTENT = (
    "<body>Shall I hear more, or shall I speak at this? I have forgot why I did call thee back.</body>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/>"
    "<origin-id xmlns='urn:xmpp:sid:0' id='{i}'/>"
    "<markable xmlns='urn:xmpp:chat-markers:0'/>"
)

#: How long nothing may come before what is missing counts as lost, in seconds.
PATIENCE = 3.0

_numbers = itertools.count(1)


@dataclass
class Done:
    """What a batch came to: how many operations it was, and how many of them were answered as they should be."""

    count: int
    good: int
    note: str = ""


class Operation:
    """Something that is done many times over. `size` is how often in one batch, `quick` in a quick run."""

    #: What else is on the server does not matter to it: further rounds in other processes.
    plain = False
    #: The contenders that can do it; None for all but the second server without the module.
    only: tuple[str, ...] | None = None
    #: How many privileged entities are told; the rows that "each further entity" comes from.
    entities = 0
    #: How many operations the smaller batch of a count has (count.py), so that it takes no minutes.
    counted = 100
    #: How many pieces of work one operation is; a count is given for one of them.
    pieces = 1
    #: In how many passes a second client pings meanwhile.
    delay_passes = 3
    #: Whether what a batch leaves to the garbage collector is worth counting, and fits into memory.
    garbage = True

    def __init__(self, name: str, title: str, size: int, quick: int | None = None):
        self.name, self.title, self.size = name, title, size
        self.quick = quick or max(1, size // 4)

    def prepare(self, subject: Subject):
        """Before the first batch on a server: connections and accounts."""

    def run(self, subject: Subject, count: int, pinger: Pinger | None) -> Done:
        raise NotImplementedError

    def after(self, subject: Subject):
        """After a batch, not measured."""

    def close(self):
        """When the servers are about to be stopped."""


def takes_part(operation: Operation, name: str) -> bool:
    """Whether a contender is measured with an operation."""
    if operation.only is not None:
        return name in operation.only or (name not in ("none", "none2", "community") and "ours" in operation.only)
    return name != "none2" or operation.plain


def numbers(count: int) -> Iterator[int]:
    return itertools.islice(_numbers, count)


def _has(link: Link, count: int) -> bool:
    return link.count >= count


def _is_over(when: float) -> bool:
    return time.monotonic() >= when


def _have(links: list[Link], count: int) -> bool:
    return all(link.count >= count for link in links)


def exchange(
    sender: Link, stanzas: list[str], taker: Link, marker: str, pinger: Pinger | None, good: str = "", window: int = 0,
    others: tuple[Link, ...] = (), per_stanza: int = 1,
) -> Done:
    """Sends stanzas, all at once or so many at a time, and waits for as many markers to come out."""
    taker.expect(marker.encode(), (good or marker).encode())
    links = {sender, taker, *others}
    window = window or len(stanzas)
    sent = 0
    while sent < len(stanzas):
        sender.queue("".join(stanzas[sent : sent + window]).encode())
        sent = min(sent + window, len(stanzas))
        if not wait(links, partial(_has, taker, sent * per_stanza), PATIENCE, pinger):
            break
    return Done(len(stanzas), taker.counts[1] // per_stanza)


def is_plain(subject: Subject) -> bool:
    return subject.contender.plugins is None


class Messages(Operation):
    """Messages to a component: as a component, a client, or with the privilege."""

    def __init__(self, name: str, title: str, size: int, how: str):
        super().__init__(name, title, size)
        self.how = how
        self.plain = how not in ("privileged", "denied")
        if how == "denied":
            self.only = ("community", "ours")

    def prepare(self, subject: Subject):
        for who in (ENTITY, ECHO, JULIET):
            subject.link(who)

    def run(self, subject, count, pinger):
        how = "component" if self.how == "privileged" and is_plain(subject) else self.how
        sender = subject.link(JULIET if how == "client" else ENTITY)
        stanzas = []
        for i in numbers(count):
            content = CONTENT.format(i=i)
            if how in ("privileged", "denied"):
                # An account of another host is none that the entity may speak for.
                account = JULIET if how == "privileged" else f"juliet@{PARTNER}"
                stanzas.append(
                    f"<message from='{ENTITY}' to='{HOST}' id='o-{i}'><privilege xmlns='urn:xmpp:privilege:2'>"
                    "<forwarded xmlns='urn:xmpp:forward:0'>"
                    f"<message xmlns='jabber:client' from='{account}' to='{ROMEO}' type='chat' id='m-{i}'>{content}</message>"
                    "</forwarded></privilege></message>"
                )
            else:
                to = HOST if how == "host" else ROMEO
                address = "" if how == "client" else f" from='{ENTITY}'"
                stanzas.append(f"<message{address} to='{to}' type='chat' id='m-{i}'>{content}</message>")
        if how == "denied":
            return exchange(sender, stanzas, sender, "'o-", pinger, "type='error'")
        return exchange(sender, stanzas, sender if how == "host" else subject.link(ECHO), "'m-", pinger)


class Iqs(Operation):
    """IQs, plain or with the privilege; in its place, without the module, the account's own client asks.

    Two hundred at a time: the community module loses requests when more than 256 wait for their answer.
    """

    def __init__(
        self, name: str, title: str, size: int, kind: str, payload: str, to: str | None, *, plain: bool = False,
        window: int = 200, hold: int = 1, by_component: bool = False,
    ):
        super().__init__(name, title, size, size if hold > 1 else None)
        self.kind, self.payload, self.to, self.plain = kind, payload, to, plain
        self.window, self.hold = window, hold
        #: Without the module: whether the component asks for itself.
        self.by_component = by_component

    def prepare(self, subject):
        for who in (ENTITY, ECHO, JULIET):
            subject.link(who)
        if self.to is None:
            exchange(subject.link(JULIET), [f"<iq type='set' id='x-1'>{PUBLISH}</iq>"], subject.link(JULIET), "'x-", None)

    def run(self, subject, count, pinger):
        privileged = not self.plain and not is_plain(subject)
        own = not privileged and not self.plain and not self.by_component
        sender = subject.link(JULIET if own else ENTITY)
        echo = subject.link(ECHO)
        echo.expect(b"'i-")
        echo.responder = IqResponder(min(self.hold, count)) if self.to == ECHO else None
        to = f" to='{self.to}'" if self.to else ""
        stanzas = []
        for i in numbers(count):
            if privileged:
                stanzas.append(
                    f"<iq from='{ENTITY}' to='{JULIET}' type='{self.kind}' id='o-{i}'>"
                    f"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='{self.kind}'{to} id='i-{i}'>"
                    f"{self.payload}</iq></privileged_iq></iq>"
                )
            else:
                address = "" if own else f" from='{ENTITY}'"
                stanzas.append(f"<iq{address}{to} type='{self.kind}' id='o-{i}'>{self.payload}</iq>")
        done = exchange(
            sender, stanzas, sender, "'o-", pinger, "<forwarded " if privileged else "", self.window, (echo,)
        )
        if self.hold > 1 and sender.counts[0] < count:
            # What has not come to the component never will: it answers what it has got.
            echo.queue(echo.responder.release())
            wait({sender, echo}, partial(_has, sender, count), PATIENCE, pinger)
            done = Done(count, sender.counts[1])
        echo.responder = None
        return done


class RosterGet(Operation):
    """The roster of an account that is offline, from the server's cache; without the module, a client's own.

    Each answer is waited for: nobody asks for so many at once, and the server copies whatever waits to be sent.
    """

    def __init__(self, items: int, size: int):
        super().__init__(f"roster-get-{items}", f"roster get, {items:,} items", size)
        self.items = items
        self.counted = min(100, 2000 // items)

    def prepare(self, subject):
        subject.add_accounts([f"has{self.items}"])
        subject.fill_roster(f"has{self.items}", self.items)
        subject.link(ENTITY)
        if is_plain(subject):
            subject.link(f"has{self.items}@{HOST}", roster=False, presence=False)

    def run(self, subject, count, pinger):
        account = f"has{self.items}@{HOST}"
        own = is_plain(subject)
        sender = subject.link(account, roster=False, presence=False) if own else subject.link(ENTITY)
        address = "" if own else f" from='{ENTITY}' to='{account}'"
        stanzas = [
            f"<iq{address} type='get' id='o-{i}'><query xmlns='jabber:iq:roster'/></iq>" for i in numbers(count)
        ]
        # The id is at the beginning of an answer: what has come to its end is counted by the items.
        return exchange(sender, stanzas, sender, "<item ", pinger, window=1, per_stanza=self.items)


class RosterSet(Operation):
    """A new account's roster grows item by item. Without the module, a client fills its own."""

    garbage = False

    def __init__(self, size: int, window: int, pushed: bool):
        how = "one by one" if window == 1 else "pipelined"
        push = ", pushes on (default)" if pushed else ", pushes off"
        super().__init__(
            f"roster-set-{'single' if window == 1 else 'pipelined'}{'-pushed' if pushed else ''}",
            f"roster set, {how}, growing to {size}{push}", size, min(size, 150),
        )
        self.counted = 100 if window == 0 else 20
        self.window, self.pushed = window, pushed
        # Half a minute for each round.
        self.delay_passes = 1
        self.only = ("ours",) if pushed else None
        self._accounts: dict[Subject, str] = {}

    def prepare(self, subject):
        entity = PUSHED if self.pushed else ENTITY
        # Whoever else is connected and gets pushes would be sent them too.
        subject.unlink(ENTITY if self.pushed else PUSHED)
        subject.link(entity).responder = IqResponder() if self.pushed else None
        self._renew(subject)

    def _renew(self, subject):
        username = f"grows{next(_numbers)}"
        subject.add_accounts([username])
        self._accounts[subject] = username
        if is_plain(subject):
            subject.link(f"{username}@{HOST}", roster=False, presence=False)

    def run(self, subject, count, pinger):
        entity = PUSHED if self.pushed else ENTITY
        account = f"{self._accounts[subject]}@{HOST}"
        own = is_plain(subject)
        sender = subject.link(account, roster=False, presence=False) if own else subject.link(entity)
        address = "" if own else f" from='{entity}' to='{account}'"
        stanzas = [
            f"<iq{address} type='set' id='o-{i}'><query xmlns='jabber:iq:roster'>"
            f"<item jid='contact{n}@verona.lit' name='Contact Number {n}' subscription='both'><group>Verona</group></item>"
            "</query></iq>"
            for n, i in enumerate(numbers(count))
        ]
        return exchange(sender, stanzas, sender, "'o-", pinger, window=self.window)

    def after(self, subject):
        username = self._accounts[subject]
        if is_plain(subject):
            subject.unlink(f"{username}@{HOST}")
        # Cancelling the subscriptions of contacts elsewhere would need s2s.
        subject.lua(
            "storagemanager.open(h, 'roster'):set(u, nil); hosts[h].roster_cache = nil; delete_user(u, h)", u=username, h=HOST
        )
        self._renew(subject)


class PresenceChange(Operation):
    """An account changes its presence, and so many entities are told."""

    def __init__(self, entities: int, size: int):
        super().__init__(
            f"presence-{entities}", f"presence change, {entities} {'entity' if entities == 1 else 'entities'}", size
        )
        self.entities = entities
        self.plain = entities == 0
        if entities:
            self.only = ("community", "ours")

    def prepare(self, subject):
        subject.link(JULIET)
        for entity in ENTITIES[: self.entities]:
            subject.link(entity)

    def run(self, subject, count, pinger):
        juliet = subject.link(JULIET)
        takers = [juliet, *(subject.link(entity) for entity in ENTITIES[: self.entities])]
        for taker in takers:
            taker.expect(b">p-")
        juliet.queue(
            "".join(
                f"<presence><show>{('away', 'chat')[i % 2]}</show><status>p-{i}</status><priority>5</priority>"
                "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://verona.lit' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
                "</presence>"
                for i in numbers(count)
            ).encode()
        )
        wait(takers, partial(_have, takers, count), PATIENCE, pinger)
        return Done(count, min(taker.count for taker in takers))


class SharedContacts(Operation):
    """Contacts on another server, each in the rosters of fifty accounts that are online, change presence.

    The other server is a real one, one for each contender, connected by s2s.
    """

    garbage = False

    ACCOUNTS = 50
    CONTACTS = 10
    counted = 20

    def __init__(self, size: int):
        super().__init__(
            "shared-contacts", f"a remote contact of {self.ACCOUNTS} accounts changes presence", size, size // 2
        )
        self._partners: dict[Subject, tuple[Prosody, list[Link]]] = {}

    def prepare(self, subject):
        contacts = [f"contact{n}" for n in range(self.CONTACTS)]
        accounts = [f"account{n}" for n in range(self.ACCOUNTS)]
        partner = Prosody(
            hosts=(PARTNER,), accounts=(), s2s=True, s2s_targets={HOST: subject.s2s_port}, privileged_entities={},
            without=("privilege", "mam"), log_level="info",
        ).start()
        subject.reconfigure(s2s_targets={PARTNER: partner.s2s_port})
        befriend = """
            for _, name in ipairs(names) do
                create_user(name, h);
                local roster = { [false] = { version = 1, pending = {} } };
                for _, friend in ipairs(friends) do
                    roster[friend .. "@" .. there] = { subscription = "both", groups = {} };
                end
                assert(storagemanager.open(h, "roster"):set(name, roster));
            end
        """
        subject.lua(befriend, names=accounts, friends=contacts, h=HOST, there=PARTNER)
        partner.lua(befriend, names=contacts, friends=accounts, h=PARTNER, there=HOST)
        subject.link(ENTITY)
        for account in accounts:
            subject.link(f"{account}@{HOST}")
        self._partners[subject] = partner, [Link(partner.client(f"{name}@{PARTNER}")) for name in contacts]

    def run(self, subject, count, pinger):
        _, contacts = self._partners[subject]
        accounts = [subject.link(f"account{n}@{HOST}") for n in range(self.ACCOUNTS)]
        entity = subject.link(ENTITY)
        for link in (*accounts, entity):
            link.expect(b">p-")
        for contact in contacts:
            contact.expect(b">p-")
        total = 0
        while total < count:
            for contact, i in zip(contacts, numbers(self.CONTACTS), strict=True):
                contact.queue(f"<presence><show>away</show><status>p-{i}</status></presence>".encode())
            total += self.CONTACTS
            wait(
                (*contacts, *accounts, entity),
                partial(_have, accounts, total),
                PATIENCE,
                pinger,
            )
        told = entity.count / total
        return Done(total, min(link.count for link in accounts), "" if is_plain(subject) else f"told {told:.3g} times")

    def close(self):
        for partner, _ in self._partners.values():
            partner.stop()
        self._partners.clear()


class Connect(Operation):
    """A privileged entity connects while many accounts are online, each with ten of the others as contacts."""

    garbage = False

    only = ("community", "ours")
    CONTACTS = 10

    def __init__(self, accounts: int):
        super().__init__("connect", f"an entity connects, {accounts:,} accounts online", 1, 1)
        self.accounts = accounts
        self.counted, self.pieces = 1, accounts

    def prepare(self, subject):
        names = [f"crowd{n}" for n in range(self.accounts)]
        subject.lua(
            """
            for i, name in ipairs(names) do
                create_user(name, h);
                local roster = { [false] = { version = 1, pending = {} } };
                -- Contacts are mutual: so many before and so many after.
                for d = -contacts / 2, contacts / 2 do
                    if d ~= 0 then
                        roster[names[(i - 1 + d) % #names + 1] .. "@" .. h] = { subscription = "both", groups = {} };
                    end
                end
                assert(storagemanager.open(h, "roster"):set(name, roster));
            end
            """,
            names=names,
            contacts=self.CONTACTS,
            h=HOST,
        )
        for name in names:
            subject.client(f"{name}@{HOST}", roster=False)

    def run(self, subject, count, pinger):
        # The pinger, and whoever else is there, are told too.
        expected = subject.lua("local n = 0; for _, s in pairs(prosody.full_sessions) do if s.presence then n = n + 1; end end return n")
        subject.unlink(ENTITY)
        entity = subject.greet(ENTITY)
        entity.expect(b"<presence")
        wait([entity], partial(_has, entity, expected), PATIENCE, pinger)
        # Only then are the contacts gone through: until nothing happens any more.
        until = time.monotonic() + 2 if pinger else 0.0
        quiet = subject.clock()
        while True:
            wait([entity], partial(_is_over, time.monotonic() + 0.1), 1, pinger)
            now = subject.clock()
            # With a pinger the server is never quiet.
            if time.monotonic() > until and (pinger or now - quiet < 1_000_000):
                break
            quiet = now
        return Done(1, int(entity.count == expected), f"{entity.count:,} presences")


class ConnectTogether(Operation):
    """Entities connect together, as after a restart. Most accounts are offline; their contacts are of another host.

    It is over when the module has nothing left to do.
    """

    garbage = False

    only = ("ours",)
    CONTACTS = 30
    CONTACTS_ONLINE = 20
    ACCOUNTS_ONLINE = 100
    #: The host of the contacts. It grants nothing.
    OTHER = "montague.lit"

    def __init__(self, entities: int, accounts: int):
        noun = "entity connects" if entities == 1 else "entities connect together"
        super().__init__(
            f"connect-{entities}-together", f"{entities} {noun}, {accounts:,} accounts of {self.CONTACTS} contacts", entities, entities
        )
        self.connecting = entities
        self.accounts = accounts
        self.counted = 0

    def prepare(self, subject):
        if subject.lua("return prosody.bench_is_crowded"):
            return
        names = [f"crowd{n}" for n in range(self.accounts)]
        others = [f"contact{n}" for n in range(self.accounts // 5)]
        subject.lua(
            """
            prosody.bench_is_crowded = true;
            local rosters = {};
            for i, name in ipairs(names) do
                create_user(name, h);
                local roster = { [false] = { version = 1, pending = {} } };
                for d = 1, contacts do
                    local other = others[(i * 7 + d) % #others + 1];
                    roster[other .. "@" .. there] = { subscription = "both", groups = {} };
                    rosters[other] = rosters[other] or { [false] = { version = 1, pending = {} } };
                    rosters[other][name .. "@" .. h] = { subscription = "both", groups = {} };
                end
                assert(storagemanager.open(h, "roster"):set(name, roster));
            end
            for _, other in ipairs(others) do
                create_user(other, there);
                assert(storagemanager.open(there, "roster"):set(other, rosters[other]));
            end
            """,
            names=names,
            others=others,
            contacts=self.CONTACTS,
            h=HOST,
            there=self.OTHER,
        )
        for name in names[: self.ACCOUNTS_ONLINE]:
            subject.client(f"{name}@{HOST}", roster=False)
        for other in others[: self.CONTACTS_ONLINE]:
            subject.client(f"{other}@{self.OTHER}", roster=False)

    def run(self, subject, count, pinger):
        expected = subject.lua("local n = 0; for _, s in pairs(prosody.full_sessions) do if s.presence then n = n + 1; end end return n")
        entities = [subject.greet(entity) for entity in CROWD[:count]]
        for entity in entities:
            entity.expect(b"<presence")
        looked = time.monotonic()

        def is_over() -> bool:
            nonlocal looked
            if time.monotonic() - looked < 0.1 or not _have(entities, expected):
                return False
            looked = time.monotonic()
            return not timers(subject)

        wait(entities, is_over, PATIENCE, pinger)
        return Done(count, sum(entity.count == expected for entity in entities), f"{expected:,} presences each")

    def after(self, subject):
        for entity in CROWD[: self.connecting]:
            subject.unlink(entity)


def groups(quick: bool) -> dict[str, tuple[dict, Callable[[], list[Operation]]]]:
    """Name of a group of operations: the server options they need, and the operations in order."""
    crowd = 200 if quick else 2000
    grow = 150 if quick else 500

    def rosters(storage: str) -> Callable[[], list[Operation]]:
        def make() -> list[Operation]:
            sets: list[Operation] = [
                RosterSet(grow, 1, False), RosterSet(grow, 0, False), RosterSet(grow, 1, True), RosterSet(grow, 0, True),
            ]
            for operation in sets:
                if storage != "internal":
                    operation.name += f"-{storage}"
                    operation.title += ", SQLite"
            return sets

        return make

    return {
        "plain": ({}, lambda: [
            Messages("message", "message, component to component", 600, "component"),
            Messages("message-client", "message, client to component", 500, "client"),
            Messages("message-host", "message to the host, bounced", 600, "host"),
            Iqs("iq", "IQ ping to the host", 1000, "get", PING, HOST, plain=True),
            Iqs("iq-account", "IQ to an account (disco#info)", 600, "get", DISCO, JULIET, plain=True),
        ]),
        "privileged": ({}, lambda: [
            Messages("privileged-message", "privileged message (plain one)", 500, "privileged"),
            Messages("privileged-denied", "privileged message, denied", 500, "denied"),
            Iqs("privileged-iq", "privileged IQ ping to the host (plain one)", 500, "get", PING, HOST, by_component=True),
            Iqs("privileged-pep-items", "privileged IQ, own PEP node, items (own client)", 300, "get", ITEMS, None),
            Iqs("privileged-pep-publish", "privileged IQ, own PEP node, publish (own client)", 200, "set", PUBLISH, None),
            Iqs("privileged-iq-component", "privileged IQ to a component (own client)", 300, "get", ECHOED, ECHO),
            Iqs("in-flight", "1,000 privileged IQs in flight (own client)", 1000, "get", ECHOED, ECHO, window=1000, hold=1000),
            RosterGet(10, 200), RosterGet(500, 20), RosterGet(5000, 4),
        ]),
        "roster-set": ({}, rosters("internal")),
        "roster-set-sql": ({"storage": "sql"}, rosters("sql")),
        "presence": ({}, lambda: [
            PresenceChange(0, 400), PresenceChange(1, 300), PresenceChange(5, 200), PresenceChange(11, 150),
        ]),
        "shared": ({"s2s": True}, lambda: [SharedContacts(40)]),
        "connect": ({}, lambda: [Connect(crowd)]),
        "together": ({"entities": CROWD}, lambda: [
            ConnectTogether(entities, crowd * 3 // 4) for entities in (1, 20, 100)
        ]),
    }
