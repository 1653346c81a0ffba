"""slidge as the component of a real Prosody, with a user who is registered with it, for the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "server"))

from harness import COMPONENT_SECRET, LOOPBACK, PUBSUB, PUBSUB_OWNER, REPO, Prosody, die_with_parent
from wire import Timeout, escape, local, text_of

HOST, JULIET, SLIDGE, UPLOAD = "capulet.lit", "juliet@capulet.lit", "slidge.capulet.lit", "upload.capulet.lit"
CONTROL, FRIEND, GROUP = f"control@{SLIDGE}", f"tybalt@{SLIDGE}", f"group@{SLIDGE}"
BOOKMARKS, DISPLAYED = "urn:xmpp:bookmarks:1", "urn:xmpp:mds:displayed:0"
UPLOADS = "urn:xmpp:http:upload:0"
WIDE = {"roster": "both", "message": "outgoing", "iq": {PUBSUB: "both", PUBSUB_OWNER: "set", UPLOADS: "get"}}
PROFILE = {"profile": "gateway"}
#: What the gateway is granted while it connects and its user registers, and afterwards.
GRANTS = {"wide": (WIDE, WIDE), "profile": (PROFILE, PROFILE), "narrowed": (WIDE, PROFILE)}
PATIENCE = 30

# Notes each privileged stanza of slidge, before the module judges it: what it is, about which nodes, to whom.
NOTE_WHAT_SLIDGE_SENDS = """
    local jid = require "util.jid";
    prosody.spec_sent = {};

    local function to_whom(to, account)
        if not to or to == account then return "the account"; end
        return jid.host(to) == slidge and "own" or to;
    end

    local function note(...)
        prosody.spec_sent[table.concat({ ... }, " ")] = true;
    end

    local function is_of_slidge(event)
        return event.origin.type == "component" and event.origin.host == slidge;
    end

    hook(h, "iq/bare", function (event)
        local stanza = event.stanza;
        local wrapper = stanza:get_child("privileged_iq", "urn:xmpp:privilege:2");
        local roster = stanza:get_child("query", "jabber:iq:roster");
        if not is_of_slidge(event) then return; end
        if wrapper then
            local inner = wrapper.tags[1];
            local payload = inner.tags[1];
            local words = { inner.attr.type, payload.attr.xmlns };
            if payload.name == "pubsub" then
                for _, child in ipairs(payload.tags) do words[#words + 1] = child.name; end
                words[#words + 1] = payload.tags[1].attr.node;
            end
            words[#words + 1] = "to " .. to_whom(inner.attr.to, stanza.attr.to);
            note(table.unpack(words));
        elseif roster and (stanza.attr.type == "get" or stanza.attr.type == "set") then
            note("roster", stanza.attr.type);
            for _, item in ipairs(roster.tags) do note("roster item", to_whom(item.attr.jid)); end
        end
    end, 1000000);

    hook(h, "message/host", function (event)
        local wrapper = event.stanza:get_child("privilege", "urn:xmpp:privilege:2");
        if not wrapper or not is_of_slidge(event) then return; end
        local inner = wrapper.tags[1].tags[1];
        note("message from", inner.attr.from == h and "the host" or "an account", "to", to_whom(inner.attr.to, inner.attr.from));
    end, 1000000);
"""


def installed() -> dict[str, tuple[Path, str]]:
    """Version to the root that it runs in and the directory inside."""
    lines = subprocess.run([REPO / "spec/support/slidge.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {version: (Path(root), directory) for version, root, directory in (line.split() for line in lines)}


VERSIONS = installed()


class Slidge:
    """slidge as a process of its own, with a directory that it finds again when it is started anew."""

    def __init__(self, server: Prosody, version: str):
        self.server = server
        self.root, self.directory = VERSIONS[version]
        self.home = Path(tempfile.mkdtemp(prefix="slidge-", dir=self.root / "tmp"))
        (self.home / "conf").mkdir()
        shutil.copy(HERE / "network_double.py", self.home)
        self.inside = "/" + str(self.home.relative_to(self.root))
        self.log_file = self.home / "slidge.log"
        self.process: subprocess.Popen | None = None

    def start(self):
        """Starts it, and returns when its component is connected."""
        is_here = self.root == Path("/")
        command = [
            str(REPO / "target" / "venv" / "bin" / "python") if is_here else "python3", "-m", "slidge",
            "--legacy-module", "network_double", "--jid", SLIDGE, "--secret", COMPONENT_SECRET, "--server", LOOPBACK,
            "--port", str(self.server.component_port), "--home-dir", self.inside, "--upload-service", UPLOAD,
            "--user-jid-validator", f".*@{HOST}", "--debug",
        ]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": self.inside,
            "PYTHONPATH": f"{self.directory}:{self.inside}", "SLIDGE_CONF_DIR": f"{self.inside}/conf",
        }
        with open(self.log_file, "ab") as output:
            self.process = subprocess.Popen(
                command if is_here else ["chroot", str(self.root), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd="/", preexec_fn=die_with_parent,
            )
        self.server.wait_until("return not not hosts[d].modules.component.session", timeout=PATIENCE, d=SLIDGE)

    def end(self):
        """Ends it, and returns when the server has seen that."""
        if self.process:
            # slidge raises an exception where the signal meets it. Something that it was just doing may swallow that.
            for _ in range(5):
                self.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(2)
                    break
            else:
                self.process.kill()
                self.process.wait()
            self.process = None
            self.server.wait_until("return not hosts[d].modules.component.session", timeout=PATIENCE, d=SLIDGE)

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def stop(self):
        """Kills it, and removes all that it had."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.home, ignore_errors=True)


def options(access_model: str) -> str:
    """The options with which a client publishes to a node that others may read, or not."""
    fields = {
        "FORM_TYPE": f"{PUBSUB}#publish-options", "pubsub#persist_items": "true", "pubsub#max_items": "max",
        "pubsub#send_last_published_item": "never", "pubsub#access_model": access_model,
    }
    form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
    return f"<publish-options><x xmlns='jabber:x:data' type='submit'>{form}</x></publish-options>"


def is_logged_in(stanza) -> bool:
    """Whether this is slidge's own presence at the end of a login, when contacts and groups are there."""
    return local(stanza) == "presence" and stanza.get("from") == SLIDGE and stanza.findtext("{*}status") == "Logged in"


class Gateway:
    """A server with slidge on it, and juliet registered with it."""

    def __init__(self, version: str, grant: str):
        self.version, self.grant = tuple(map(int, version.split("."))), grant
        at_first, afterwards = GRANTS[grant]
        self.asked = self.told_of = 0
        self.server = Prosody(privileged_entities={HOST: {SLIDGE: at_first}}, components=(SLIDGE,), upload=True).start()
        self.slidge = None
        try:
            # The address that uploads go to has to be one that slidge can reach.
            self.server.reconfigure(host_options={UPLOAD: {"http_external_url": f"http://{LOOPBACK}:{self.server.http_port}/"}})
            self.server.reload_module("http_file_share", UPLOAD)
            self.server.lua(NOTE_WHAT_SLIDGE_SENDS, h=HOST, slidge=SLIDGE)
            self.slidge = Slidge(self.server, version)
            self.slidge.start()
            self.juliet = self.server.client(JULIET, carbons=True)
            form = "<x xmlns='jabber:x:data' type='submit'><field var='username'><value>juliet</value></field></x>"
            done = self.juliet.iq("set", SLIDGE, f"<query xmlns='jabber:iq:register'>{form}</query>", timeout=PATIENCE)
            assert done.get("type") == "result", text_of(done)
            self.wait_for(is_logged_in)
            # A client of juliet makes the node of her read markers, as XEP-0490 wants it. Where slidge is the first, it makes it in
            # another way, and cannot publish to it afterwards.
            self.mark("romance@rooms.lit", "seen-elsewhere")
            self.ask("nothing")
            # Only now slidge lets itself read them: it does so for the users that it knows when it starts.
            self.slidge.end()
            self.slidge.start()
            self.wait_for(is_logged_in)
            self.sent_at_start = self.sent()
            self.ask("nothing")
            self.server.reconfigure(privileged_entities={HOST: {SLIDGE: afterwards}})
        except BaseException as problem:
            text = self.slidge.log()[-4000:] if self.slidge else ""
            self.stop()
            raise AssertionError(f"{problem}\n{text}") from problem

    def wait_for(self, what):
        """The next stanza for juliet that is meant."""
        assert self.slidge.process.poll() is None, f"slidge has ended\n{self.slidge.log()[-4000:]}"
        try:
            return self.juliet.expect(what, timeout=PATIENCE)
        except Timeout as problem:
            raise AssertionError(f"{problem}\n{self.slidge.log()[-4000:]}") from None

    def ask(self, request: str) -> str:
        """Has the network double do something, and returns how it says that it went."""
        self.asked += 1
        begin = f"{self.asked}: "
        self.juliet.send_message(CONTROL, f"<body>{self.asked} {escape(request)}</body>")
        said = self.wait_for(lambda s: local(s) == "message" and (s.findtext("{*}body") or "").startswith(begin))
        return said.findtext("{*}body").removeprefix(begin)

    def say(self, text: str, answer: str) -> str:
        """Has juliet write to the gateway itself, and returns what it answers that has these words."""
        self.juliet.send_message(SLIDGE, f"<body>{text}</body>")
        said = self.wait_for(lambda s: local(s) == "message" and s.get("from") == SLIDGE and answer in (s.findtext("{*}body") or ""))
        return said.findtext("{*}body")

    def sync_contacts(self) -> str:
        """Has juliet give the command of slidge that compares her roster with her contacts, and returns what it did."""
        self.say("sync-contacts", "Are you sure")
        return self.say("yes", "removed")

    def mark(self, room: str, id: str):
        """Has a client of juliet publish what she has read in a room."""
        marker = f"<displayed xmlns='{DISPLAYED}'><stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='{id}'/></displayed>"
        publish = f"<publish node='{DISPLAYED}'><item id='{room}'>{marker}</item></publish>"
        done = self.juliet.iq("set", None, f"<pubsub xmlns='{PUBSUB}'>{publish}{options('whitelist')}</pubsub>")
        assert done.get("type") == "result", text_of(done)

    def items(self, node: str) -> str:
        """What juliet's own server holds in a node of hers."""
        return text_of(self.juliet.iq("get", None, f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"))

    def sent(self) -> set[str]:
        """Every kind of privileged stanza that slidge has sent since this was last asked, granted or not."""
        return set(self.server.lua(
            "local t = {}; for what in pairs(prosody.spec_sent) do t[#t + 1] = what; end prosody.spec_sent = {}; return t"
        ))

    def refused(self) -> list[str]:
        """What the module has refused slidge since this was last asked."""
        lines = [line for line in self.server.log_lines("debug", f"{HOST}:privilege") if line.startswith("Refused ") and SLIDGE in line]
        new, self.told_of = lines[self.told_of:], len(lines)
        return new

    def stop(self):
        if self.slidge:
            self.slidge.stop()
        self.server.stop()
