"""The servers that are compared: without the module, with the community's, with ours, with a variant of ours."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import COMPONENT_SECRET, IQ_GRANTS, LOOPBACK, REPO, Prosody
from wire import RawComponent

from load import Link, Pinger, ProcessClock

HOST = "capulet.lit"
PARTNER = "mantua.lit"

#: Answers, receives, is granted nothing.
ECHO = "echo.capulet.lit"
#: Privileged entities that get no roster pushes. The first does what one entity does.
CROWD = tuple(f"entity{number}.capulet.lit" for number in range(100))
#: Those that most servers have; only where many connect together there is the whole crowd.
ENTITIES = CROWD[:11]
#: A privileged entity with roster pushes, which are the default.
PUSHED = "pushed.capulet.lit"

GRANT = {"roster": "both", "message": "outgoing", "presence": "roster", "iq": IQ_GRANTS}


HANDLER_COSTS = """
local parse = require "util.xml".parse;
local head = " from='romeo@montague.lit/orchard' id='i' to='";
local stanzas = {
    ["message/host"] = "<message" .. head .. h .. "'><body>Shall I hear more?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
    ["iq/bare"] = "<iq type='result'" .. head .. account .. "'/>";
    ["iq/full"] = "<iq type='get'" .. head .. account .. "/balcony'><ping xmlns='urn:xmpp:ping'/></iq>";
    ["presence/bare"] = "<presence" .. head .. account .. "'><show>away</show></presence>";
};
local costs = {};
for event, text in pairs(stanzas) do
    local data = { origin = { type = "s2sin" }, stanza = parse(text) };
    for _, handler in ipairs(hosts[h].events.get_handlers(event) or {}) do
        if debug.getinfo(handler, "S").source:find("mod_privilege", 1, true) then
            local best = math.huge;
            for _ = 1, 7 do
                local began = os.clock();
                for _ = 1, 5000 do handler(data); end
                best = math.min(best, (os.clock() - began) / 5000 * 1e9);
            end
            costs[event] = (costs[event] or 0) + best;
        end
    end
end
return costs;
"""


@dataclass(frozen=True)
class Contender:
    """A column of the table."""

    name: str
    title: str
    #: A directory that holds mod_privilege/, "" for the distribution's, None for none.
    plugins: str | None


def contenders(scratch: Path, variants: dict[str, str]) -> list[Contender]:
    """What is compared, ours as it is built now: a copy, as it may be built anew before the end."""
    copies = {}
    for name, directory in {"ours": str(REPO / "target" / "plugins"), **variants}.items():
        source = Path(directory)
        if not (source / "mod_privilege" / "mod_privilege.lua").exists():
            raise SystemExit(f"there is no mod_privilege/mod_privilege.lua in {source}: run make build")
        copies[name] = str(scratch / name)
        shutil.copytree(source / "mod_privilege", scratch / name / "mod_privilege")
    return [
        Contender("none", "no module", None),
        # The same again: how much two equal servers differ is what the other differences are to be held against.
        Contender("none2", "no module, again", None),
        Contender("community", "community module", ""),
        *(Contender(name, "this module" if name == "ours" else name, path) for name, path in copies.items()),
    ]


class Greeting(RawComponent):
    """A component that stops before the handshake."""

    def greet(self) -> str:
        """Opens the stream, and gives the handshake to be sent."""
        self._open_socket()
        header = self._open_stream(self.jid)
        digest = hashlib.sha1((header.get("id") + self.secret).encode()).hexdigest()
        return f"<handshake>{digest}</handshake>"


class Subject(Prosody):
    """One server under test, and the connections of whoever plays with it."""

    def __init__(self, contender: Contender, entities: tuple[str, ...] = ENTITIES, **options):
        self.contender = contender
        without = ["mam"] + ([] if contender.plugins is not None else ["privilege"])
        components = {ECHO: {}}
        privileged = {}
        if contender.plugins is not None:
            for entity in (*entities, PUSHED):
                # The community module asks to be loaded on the component too; ours does not mind.
                components[entity] = {"modules_enabled": ["privilege"]} if contender.plugins == "" else {}
                privileged[entity] = {**GRANT, **({} if entity == PUSHED else {"roster_push": False})}
        else:
            components.update({entity: {} for entity in (*entities, PUSHED)})
        super().__init__(
            **{
                "privileged_entities": {HOST: privileged} if privileged else {},
                "components": tuple(components),
                "host_options": components,
                "without": without,
                "log_level": "info",
                # Else the server waits for the driver's delayed acknowledgement, 40 ms each time, and a processor that
                # has slept takes twice as long for the same work.
                "options": {"network_settings": {"nagle": False}},
                "plugins": [contender.plugins] if contender.plugins else [],
                **options,
            }
        )
        self._links: dict[tuple, Link] = {}
        self.clock: ProcessClock | None = None
        self._pinger: Pinger | None = None

    def write_config(self):
        # Only this contender's module is to be found, and not the one that was built.
        own = [*self.plugins, REPO / "spec" / "support" / "plugins"]
        self.options["plugin_paths"] = [self.inside(path) for path in own]
        super().write_config()

    def start(self) -> Subject:
        super().start()
        self.clock = ProcessClock(self.process.pid)
        return self

    def link(self, who: str, **options) -> Link:
        """The connection of a component or (with an @) of a client, made when it is first asked for."""
        key = (who, *sorted(options.items()))
        if key not in self._links:
            connection = self.client(who, **options) if "@" in who else self.component(who, **options)
            connection.sync()
            self._links[key] = Link(connection)
        return self._links[key]

    def greet(self, domain: str) -> Link:
        """A component's connection up to where the server waits for the handshake, which is queued."""
        connection = Greeting((LOOPBACK, self.component_port), domain, secret=COMPONENT_SECRET, ping=HOST)
        handshake = connection.greet()
        self._connections.append(connection)
        link = self._links[(domain,)] = Link(connection)
        link.queue(handshake.encode())
        return link

    def unlink(self, who: str):
        """Closes what `link` made."""
        for key in [key for key in self._links if key[0] == who]:
            self._links.pop(key).close()

    @property
    def pinger(self) -> Pinger:
        if self._pinger is None:
            self._pinger = Pinger(self.link(f"nurse@{HOST}", resource="pinger"), self.clock, HOST)
        return self._pinger

    def memory(self) -> dict[str, float]:
        """Resident memory in MiB: now, and at its highest."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines())
        return {name: int(found[key].split()[0]) / 1024 for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))}

    @contextlib.contextmanager
    def without_collector(self) -> Iterator[list[float]]:
        """Counts the bytes that are allocated meanwhile, and collects nothing: the one figure without any noise."""
        left = [0.0]
        before = self.lua("collectgarbage(); collectgarbage('stop'); return collectgarbage('count')")
        try:
            yield left
        finally:
            after = self.lua("local count = collectgarbage('count'); collectgarbage('restart'); return count")
            left[0] = (after - before) * 1024

    def handler_costs(self) -> dict[str, float]:
        """Nanoseconds that stanzas without any privilege spend in the module's own handlers, by event.

        A difference of tenths of a percent, which no comparison of servers shows; so the handlers are called by themselves.
        """
        return self.lua(HANDLER_COSTS, h=HOST, account=f"juliet@{HOST}")

    def add_accounts(self, usernames: list[str]):
        self.lua(
            "for _, name in ipairs(names) do create_user(name, h); end", names=usernames, h=HOST
        )

    def fill_roster(self, username: str, size: int):
        """Gives an account contacts nobody has heard of, with names and groups as people have them."""
        self.lua(
            """
            local roster = { [false] = { version = 1, pending = {} } };
            local kinds = { "both", "to", "from", "none" };
            for i = 1, size do
                local groups = {};
                if i % 2 == 0 then groups["Friends & family"] = true; end
                if i % 5 == 0 then groups["Verona"] = true; end
                roster[("contact%05d@verona.lit"):format(i)] = {
                    subscription = kinds[i % 4 + 1], name = "Contact Number " .. i, groups = groups;
                };
            end
            hosts[h].roster_cache = nil;
            assert(storagemanager.open(h, "roster"):set(username, roster));
            """,
            username=username,
            size=size,
            h=HOST,
        )

    def roster_size(self, username: str) -> int:
        return self.lua(
            """
            local n = 0;
            for jid in pairs(storagemanager.open(h, "roster"):get(username) or {}) do if jid then n = n + 1; end end
            return n;
            """,
            username=username,
            h=HOST,
        )
