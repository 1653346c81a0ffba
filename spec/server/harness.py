"""A real Prosody for tests: its own directory, its own free loopback ports, gone when stopped.

    with Prosody(privileged_entities={"capulet.lit": {...}}) as server:
        component = server.component("pubsub.capulet.lit")
        juliet = server.client("juliet@capulet.lit")

The environment chooses which Prosody: PROSODY_ROOT names a root to chroot into (make test-prosody13).
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from wire import RawClient, RawComponent

REPO = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
PASSWORD = "secret"
COMPONENT_SECRET = "component-secret"

PUBSUB = "http://jabber.org/protocol/pubsub"
PUBSUB_OWNER = PUBSUB + "#owner"

#: The accounts every server starts with.
ACCOUNTS = (
    "juliet@capulet.lit",
    "nurse@capulet.lit",
    "tybalt@capulet.lit",
    "admin@capulet.lit",
    "romeo@montague.lit",
    "benvolio@montague.lit",
)

#: The IQ namespaces granted by default.
IQ_GRANTS = {
    PUBSUB: "both",
    PUBSUB_OWNER: "set",
    "http://jabber.org/protocol/disco#info": "get",
    "jabber:iq:private": "both",
    "urn:xmpp:http:upload:0": "get",
    "urn:xmpp:mam:2": "both",
    "urn:xmpp:ping": "get",
    "urn:example:echo": "both",
    "vcard-temp": "both",
}

#: The default grants. montague.lit grants nothing.
PRIVILEGES = {
    "capulet.lit": {
        "pubsub.capulet.lit": {
            "roster": "both",
            "message": "outgoing",
            "presence": "roster",
            "iq": IQ_GRANTS,
        },
        "gateway.capulet.lit": {
            "roster": "both",
            "message": "outgoing",
            "presence": "managed_entity",
            "iq": IQ_GRANTS,
        },
    },
}

#: External components every server has. stranger.lit is granted nothing; offline.capulet.lit never connects.
COMPONENTS = ("pubsub.capulet.lit", "gateway.capulet.lit", "stranger.lit", "offline.capulet.lit")

MODULES = (
    "admin_shell",
    "adhoc",
    "blocklist",
    "bookmarks",
    "carbons",
    "csi_simple",
    "disco",
    "lastactivity",
    "mam",
    "pep",
    "ping",
    "private",
    "privilege",
    "roster",
    "saslauth",
    "smacks",
    "spec_control",
    "time",
    "vcard4",
    "vcard_legacy",
    "version",
)


class LuaError(Exception):
    """Lua run inside the server raised; the text is its traceback."""


class ServerFailed(Exception):
    """The server did not start, or stopped by itself; the text ends with its log."""


class Lua(str):
    """A piece of Lua to be put into the configuration as it is."""


def to_lua(value) -> str:
    """A Python value as a Lua expression: dict, list, tuple, str, bytes, numbers, bool, None, Lua."""
    if isinstance(value, Lua):
        return str(value)
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, bytes)):
        raw = value.encode() if isinstance(value, str) else value
        plain = b"".join(
            b"\\%03d" % byte if byte < 32 or byte in (34, 92, 127) else bytes([byte]) for byte in raw
        )
        return '"' + plain.decode("utf-8", "surrogateescape") + '"'
    if isinstance(value, dict):
        return "{ " + "".join(f"[{to_lua(k)}] = {to_lua(v)}; " for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "{ " + "".join(f"{to_lua(v)}; " for v in value) + "}"
    raise TypeError(f"no Lua for {value!r}")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, outside the range the system takes outgoing connections from."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


_libc = ctypes.CDLL(None)


def die_with_parent():
    """In a child: have the system end it when the test runner ends, however that comes about."""
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGTERM)


class Prosody:
    """One throwaway server. Options, all by keyword:

    privileged_entities  {host: {entity: grant}} (or {host: Lua("...")}); PRIVILEGES by default
    hosts                VirtualHosts, by default capulet.lit and montague.lit
    accounts             bare JIDs made at the start, password "secret"; ACCOUNTS by default
    components           external components to add to COMPONENTS
    muc                  True adds the rooms component rooms.capulet.lit
    upload               True adds mod_http_file_share as upload.capulet.lit
    s2s                  True switches s2s on (no TLS, dialback); s2s_targets = {domain: port} says where
                         other domains are, as no DNS knows them
    modules, without     modules to add to MODULES, or to leave out of it
    authentication       "internal_plain" (default), "internal_hashed"
    storage              "internal" (default), "memory", "sql" (SQLite)
    log_level            "debug" (default)
    options              {option: value} for the global section
    host_options         {host: {option: value}} for VirtualHosts and components
    config               Lua text to append to the configuration
    plugins              directories that come before the built one in plugin_paths
    files                {name: text} of files beside the configuration
    """

    def __init__(
        self,
        *,
        privileged_entities=None,
        hosts=("capulet.lit", "montague.lit"),
        accounts=ACCOUNTS,
        components=(),
        muc=False,
        upload=False,
        s2s=False,
        s2s_targets=None,
        modules=(),
        without=(),
        authentication="internal_plain",
        storage="internal",
        log_level="debug",
        options=None,
        host_options=None,
        config="",
        plugins=(),
        files=None,
    ):
        self.privileged_entities = copy.deepcopy(
            PRIVILEGES if privileged_entities is None else privileged_entities
        )
        self.hosts = list(hosts)
        self.accounts = [tuple(jid.split("@", 1)) for jid in accounts]
        self.components = [*COMPONENTS, *components]
        self.muc = muc
        self.upload = upload
        self.s2s = s2s
        self.s2s_targets = dict(s2s_targets or {})
        self.modules = [m for m in (*MODULES, *modules) if m not in without]
        self.disabled = [] if s2s else ["s2s"]
        self.authentication = authentication
        self.storage = storage
        self.log_level = log_level
        self.options = dict(options or {})
        self.host_options = copy.deepcopy(host_options or {})
        self.config = config
        self.plugins = [Path(p) for p in plugins]
        self.files = dict(files or {})

        root = os.environ.get("PROSODY_ROOT") or None
        self.root = Path(root) if root else None
        self.token = secrets.token_hex(16)
        self.process: subprocess.Popen | None = None
        self.started_in = 0.0
        self._control: socket.socket | None = None
        self._control_file = None
        self._connections: list = []
        self._log_read = 0
        self._stderr_read = 0
        self._expected: list[re.Pattern] = []

    # Start and stop

    def __enter__(self) -> "Prosody":
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self) -> "Prosody":
        """Starts the server and returns when every host of it is up and every account made."""
        # A port may be taken between looking for it and the server's taking it: then try others.
        for attempt in range(5):
            began = time.monotonic()
            self._make_directory()
            try:
                self._launch()
                self._connect_control(began + 30)
                if "Failed to open server port" in self.log():
                    raise ServerFailed("a port was taken by somebody else")
                self.lua("reset(accounts)", accounts=self._account_list())
            except BaseException as problem:
                tail = self._tail()
                self.stop()
                if isinstance(problem, ServerFailed) and attempt < 4 and (
                    "Failed to open server port" in tail or "in use" in tail
                ):
                    continue
                if isinstance(problem, ServerFailed):
                    raise ServerFailed(f"{problem}\n{tail}") from None
                raise
            self.started_in = time.monotonic() - began
            return self
        raise AssertionError("unreachable")

    def stop(self):
        """Stops the server and removes all it had. The log checks are the caller's."""
        for connection in self._connections:
            connection.abort()
        self._connections.clear()
        if self._control:
            self._control_file.close()
            self._control.close()
            self._control = None
        if self.process:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
            self.process = None
        if getattr(self, "directory", None):
            shutil.rmtree(self.directory, ignore_errors=True)

    def _make_directory(self):
        parent = self.root / "tmp" if self.root else None
        self.directory = Path(tempfile.mkdtemp(prefix="mod_privilege-", dir=parent))
        for name in ("data", "certs"):
            (self.directory / name).mkdir()
        for name, text in self.files.items():
            (self.directory / name).write_text(text, "utf-8")
        if self.root:
            # Only what lies under the root can be reached from inside it.
            for source in (*self.plugins, REPO / "spec" / "support" / "plugins", REPO / "target" / "plugins"):
                if source.is_dir():
                    shutil.copytree(source, self.directory / "plugins" / source.relative_to("/"))
        ports = free_ports(5)
        self.c2s_port, self.component_port, self.control_port, self.http_port, self.s2s_port = ports
        self._log_read = self._stderr_read = 0
        self.write_config()

    def inside(self, path: Path) -> str:
        """A path as the server sees it."""
        if not self.root:
            return str(path)
        if path.is_relative_to(self.root):
            return "/" + str(path.relative_to(self.root))
        return "/" + str((self.directory / "plugins" / path.relative_to("/")).relative_to(self.root))

    @property
    def config_file(self) -> Path:
        return self.directory / "prosody.cfg.lua"

    @property
    def log_file(self) -> Path:
        return self.directory / "prosody.log"

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [program, "--config", self.inside(self.config_file), *arguments]
        return ["chroot", str(self.root), *command] if self.root else command

    def _environment(self) -> dict:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LUA_")}
        environment.setdefault("PATH", "/usr/bin:/bin")
        environment["LC_ALL"] = "C.UTF-8"
        return environment

    def _launch(self):
        with open(self.directory / "stderr.log", "wb") as output:
            self.process = subprocess.Popen(
                self._command("prosody", "-F"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment(),
                cwd="/",
                preexec_fn=die_with_parent,
            )

    def _connect_control(self, deadline: float):
        while True:
            if self.process.poll() is not None:
                raise ServerFailed(f"the server exited with status {self.process.returncode}")
            try:
                self._control = socket.create_connection((LOOPBACK, self.control_port), timeout=30)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise ServerFailed("the server does not listen") from None
                time.sleep(0.01)
        self._control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._control_file = self._control.makefile("rb")
        try:
            # An answer means that start-up is over: the server reads nothing before.
            self.lua("return true")
        except LuaError as problem:
            # Somebody else's server.
            raise ServerFailed(f"a port is in use: {problem}") from None

    def _account_list(self):
        return [[user, host, PASSWORD] for user, host in self.accounts]

    # Configuration

    def write_config(self):
        """Writes the configuration as the attributes say now."""
        directory = self.directory
        plugin_paths = [*self.plugins, REPO / "spec" / "support" / "plugins", REPO / "target" / "plugins"]
        options = {
            "run_as_root": True,
            "pidfile": self.inside(directory / "prosody.pid"),
            "data_path": self.inside(directory / "data"),
            "admin_socket": self.inside(directory / "prosody.sock"),
            "plugin_paths": [self.inside(path) for path in plugin_paths],
            "interfaces": [LOOPBACK],
            "c2s_ports": [self.c2s_port],
            "c2s_direct_tls_ports": [],
            "component_ports": [self.component_port],
            "component_interfaces": [LOOPBACK],
            "http_ports": [self.http_port],
            "http_interfaces": [LOOPBACK],
            "https_ports": [],
            "s2s_ports": [self.s2s_port],
            "s2s_direct_tls_ports": [],
            "spec_control_ports": [self.control_port],
            "spec_control_token": self.token,
            "spec_s2s_targets": self.s2s_targets,
            "modules_enabled": self.modules + (["s2s", "dialback"] if self.s2s else []),
            "modules_disabled": self.disabled,
            "authentication": self.authentication,
            "allow_unencrypted_plain_auth": True,
            "c2s_require_encryption": False,
            "s2s_require_encryption": False,
            "s2s_secure_auth": False,
            "component_conflict_resolve": "kick_old",
            "admins": ["admin@capulet.lit"],
            "statistics": None,
            "http_default_host": "upload.capulet.lit",
            "storage": self.storage,
            **({"sql": {"driver": "SQLite3", "database": "spec.sqlite"}} if self.storage == "sql" else {}),
            **self.options,
        }
        lines = [f"{name} = {to_lua(value)}" for name, value in options.items() if value is not None]
        lines.append(
            "log = { { levels = { min = %s }, to = \"file\", filename = %s } }"
            % (to_lua(self.log_level), to_lua(self.inside(self.log_file)))
        )

        def section(head: str, name: str, more: dict):
            lines.append(head)
            lines.extend(f"\t{k} = {to_lua(v)}" for k, v in {**more, **self.host_options.get(name, {})}.items())

        for host in self.hosts:
            grants = self.privileged_entities.get(host)
            section(
                f'VirtualHost "{host}"',
                host,
                {} if grants is None else {"privileged_entities": grants},
            )
        for name in self.components:
            section(f'Component "{name}"', name, {"component_secret": COMPONENT_SECRET})
        if self.muc:
            section('Component "rooms.capulet.lit" "muc"', "rooms.capulet.lit", {})
        if self.upload:
            section('Component "upload.capulet.lit" "http_file_share"', "upload.capulet.lit", {})
        text = "\n".join(lines) + "\n" + self.config + "\n"
        temporary = self.directory / "prosody.cfg.lua.new"
        temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
        temporary.replace(self.config_file)

    def reconfigure(self, **attributes):
        """Changes attributes (privileged_entities, options, ...), rewrites the file, reloads it.

        The server has handled `config-reloaded` when this returns.
        """
        for name, value in attributes.items():
            if not hasattr(self, name):
                raise AttributeError(name)
            setattr(self, name, copy.deepcopy(value))
        self.write_config()
        self.lua("assert(prosody.reload_config())")

    # Inside the server

    def lua(self, code: str, host: str = "*", **args):
        """Runs Lua in the server and returns what it returns (several values as a list).

        Keyword arguments are variables there; `module` is the API object of the host given. See
        mod_spec_control for the helpers: hook, count_hooks, break_store, create_user, delete_user,
        put_roster_item and the core's managers.
        """
        request = {"token": self.token, "host": host, "code": code, "args": args}
        self._control.sendall(json.dumps(request).encode() + b"\n")
        line = self._control_file.readline()
        if not line:
            raise ServerFailed("the server has gone\n" + self._tail())
        reply = json.loads(line.decode("utf-8", "replace"))
        if not reply["ok"]:
            raise LuaError(reply["error"])
        return reply.get("value")

    def wait_until(self, code: str, timeout: float = 5, host: str = "*", **args):
        """Runs Lua until it returns something true, and returns that."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.lua(code, host, **args)
            if value:
                return value
            if time.monotonic() > deadline:
                raise TimeoutError(f"never true: {code}")
            time.sleep(0.005)

    def cpu(self) -> float:
        """Seconds of processor time the server has used."""
        return self.lua("return os.clock()")

    def reload_module(self, name: str = "privilege", host: str = "capulet.lit"):
        self.lua("assert(modulemanager.reload(h, name))", h=host, name=name)

    def load_module(self, name: str = "privilege", host: str = "capulet.lit"):
        self.lua("assert(modulemanager.load(h, name))", h=host, name=name)

    def unload_module(self, name: str = "privilege", host: str = "capulet.lit"):
        self.lua("assert(modulemanager.unload(h, name))", h=host, name=name)

    def roster(self, jid: str) -> dict:
        """The stored roster of an account: {contact: {...}}, without the private rows."""
        user, host = jid.split("@")
        stored = self.lua(
            "return (storagemanager.open(h, 'roster'):get(user))", h=host, user=user
        ) or {}
        return {k: v for k, v in stored.items() if k not in ("false", "pending")}

    def put_roster_item(self, jid: str, contact: str, **item):
        """Stores a roster item without telling anybody; without keywords, removes it."""
        user, host = jid.split("@")
        self.lua("put_roster_item(user, h, contact, item)", user=user, h=host, contact=contact, item=item or False)

    def add_account(self, jid: str):
        user, host = jid.split("@")
        self.lua("create_user(user, h, password)", user=user, h=host, password=PASSWORD)

    def delete_account(self, jid: str):
        user, host = jid.split("@")
        self.lua("delete_user(user, h)", user=user, h=host)

    def shell(self, command: str) -> str:
        """Output of `prosodyctl shell COMMAND`: takes a third of a second."""
        done = subprocess.run(
            self._command("prosodyctl", "shell", *command.split()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            cwd="/",
            timeout=30,
            text=True,
        )
        return done.stdout

    @property
    def version(self) -> tuple[int, ...]:
        """(0, 12, 3) or (13, 0, 1)"""
        text = self.lua("return prosody.version")
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    def close_connections(self):
        """Closes every connection made through this object; the server has seen to it on return."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self.lua("return true")

    def reset(self):
        """Closes every connection made through this object and makes all accounts anew."""
        self.close_connections()
        self.lua("reset(accounts)", accounts=self._account_list())

    # Connections: closed by reset() and stop() at the latest

    def component(self, domain: str = "pubsub.capulet.lit", **options) -> RawComponent:
        """A connected external component."""
        connection = RawComponent(
            (LOOPBACK, self.component_port), domain, secret=COMPONENT_SECRET, ping=self.hosts[0], **options
        )
        self._connections.append(connection)
        connection.connect()
        return connection

    def client(self, jid: str = "juliet@capulet.lit", **options) -> RawClient:
        """A connected client; see RawClient for resource, presence, carbons, smacks, roster."""
        connection = RawClient((LOOPBACK, self.c2s_port), jid, password=PASSWORD, **options)
        self._connections.append(connection)
        connection.connect()
        return connection

    # The log

    def log(self) -> str:
        """All of the log so far."""
        try:
            return self.log_file.read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def _tail(self, lines: int = 40) -> str:
        text = self.log()
        with contextlib.suppress(FileNotFoundError):
            text += (self.directory / "stderr.log").read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])

    def new_log(self) -> str:
        """The text that the log (and the standard error stream) gained since the last call."""
        text = ""
        for path, name in ((self.log_file, "_log_read"), (self.directory / "stderr.log", "_stderr_read")):
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(getattr(self, name))
                data = file.read()
                setattr(self, name, getattr(self, name) + len(data))
                text += data.decode("utf-8", "replace")
        return text

    def log_lines(self, level: str | None = None, source: str | None = None, since: int = 0) -> list[str]:
        """Messages in the log, only those of a level ("warn") or source ("capulet.lit:privilege").

        `since` is a length of log() taken before.
        """
        found = []
        for line in self.log()[since:].splitlines():
            parts = LOG_LINE.match(line)
            if parts and level in (None, parts["level"]) and source in (None, parts["source"]):
                found.append(parts["text"])
        return found

    def expect_errors(self, *patterns: str):
        """From now until the end of the test, log errors matching these are expected, and must come."""
        self._expected.extend(re.compile(pattern) for pattern in patterns)

    def check_log(self):
        """Fails if the log has gained errors nobody expected, or lacks expected ones."""
        expected, self._expected = self._expected, []
        problems = []
        seen = set()
        for line in log_problems(self.new_log()):
            matching = [pattern for pattern in expected if pattern.search(line)]
            seen.update(matching)
            if not matching:
                problems.append(line)
        missing = [pattern.pattern for pattern in expected if pattern not in seen]
        if self.process and self.process.poll() is not None:
            problems.append(f"the server exited with status {self.process.returncode}")
        if problems:
            raise AssertionError("the server's log has errors:\n" + "\n".join(problems))
        if missing:
            raise AssertionError(f"expected in the log but not there: {missing}")


LOG_LINE = re.compile(r"^\w{3} \d\d \d\d:\d\d:\d\d (?P<source>\S+)\t(?P<level>debug|info|warn|error)\t(?P<text>.*)$")

PROBLEM = re.compile(r"stack traceback:|Traceback\[|panicked at|attempt to (index|call|concatenate|compare)")


def log_problems(text: str) -> list[str]:
    """The entries of a log that tell of a fault: errors, tracebacks, panics."""
    entries: list[str] = []
    for line in text.splitlines():
        if LOG_LINE.match(line) or not entries or line.startswith("thread '"):
            entries.append(line)
        else:
            entries[-1] += "\n" + line
    found = []
    for entry in entries:
        parts = LOG_LINE.match(entry)
        if (parts and parts["level"] == "error") or PROBLEM.search(entry):
            # Stanzas of peers are logged too, at debug, and may look like anything.
            if parts and parts["level"] == "debug" and "stack traceback:" not in entry:
                continue
            found.append(entry)
    return found
