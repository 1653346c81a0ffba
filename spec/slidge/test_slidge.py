"""G4: the profile "gateway" is enough for slidge itself, and grants nothing that it does not use.

A real slidge, of the two versions that spec/support/slidge.sh installs, is the component of a real Prosody. It runs
network_double.py in the place of a network, and does what the user writes to the contact "control". Each thing is tried with
full grants as well, so that a fault of slidge is not taken for one of the profile.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "server"))

from harness import COMPONENT_SECRET, LOOPBACK, PUBSUB, PUBSUB_OWNER, REPO, Prosody, die_with_parent
from wire import local, text_of

HOST, JULIET, SLIDGE, UPLOAD = "capulet.lit", "juliet@capulet.lit", "slidge.capulet.lit", "upload.capulet.lit"
CONTROL, FRIEND, GROUP = f"control@{SLIDGE}", f"tybalt@{SLIDGE}", f"group@{SLIDGE}"
GRANTS = {
    "wide": {"roster": "both", "message": "outgoing", "iq": {PUBSUB: "both", PUBSUB_OWNER: "set", "urn:xmpp:http:upload:0": "get"}},
    "profile": {"profile": "gateway"},
}
PATIENCE = 30


def installed() -> dict[str, tuple[Path, str]]:
    """Version to the root that it runs in and the directory inside."""
    lines = subprocess.run([REPO / "spec/support/slidge.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {version: (Path(root), directory) for version, root, directory in (line.split() for line in lines)}


VERSIONS = installed()


class Slidge:
    """slidge as a process of its own, connected to a server."""

    def __init__(self, server: Prosody, version: str):
        root, directory = VERSIONS[version]
        self.root = root
        self.home = Path(tempfile.mkdtemp(prefix="slidge-", dir=root / "tmp"))
        shutil.copy(HERE / "network_double.py", self.home)
        self.inside = "/" + str(self.home.relative_to(root))
        python = "python3" if root != Path("/") else str(REPO / "target" / "venv" / "bin" / "python")
        command = [
            python, "-m", "slidge", "--legacy-module", "network_double", "--jid", SLIDGE, "--secret", COMPONENT_SECRET,
            "--server", LOOPBACK, "--port", str(server.component_port), "--home-dir", self.inside, "--upload-service", UPLOAD,
            "--user-jid-validator", ".*@capulet.lit", "--debug",
        ]
        if root != Path("/"):
            command = ["chroot", str(root), *command]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": self.inside,
            "PYTHONPATH": f"{directory}:{self.inside}", "SLIDGE_CONF_DIR": self.inside,
        }
        self.log = self.home / "slidge.log"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd="/",
                preexec_fn=die_with_parent,
            )

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


class Gateway:
    """A server with slidge on it, and juliet registered with it."""

    def __init__(self, version: str, grant: str):
        self.server = Prosody(
            privileged_entities={HOST: {SLIDGE: GRANTS[grant]}}, components=(SLIDGE,), upload=True,
        ).start()
        self.slidge = Slidge(self.server, version)
        try:
            self.server.wait_until("return not not hosts[d].modules.component.session", timeout=PATIENCE, d=SLIDGE)
            self.juliet = self.server.client(JULIET, carbons=True)
            form = "<x xmlns='jabber:x:data' type='submit'><field var='username'><value>juliet</value></field></x>"
            done = self.juliet.iq("set", SLIDGE, f"<query xmlns='jabber:iq:register'>{form}</query>")
            assert done.get("type") == "result", text_of(done)
            self.wait_for(lambda s: local(s) == "presence" and s.get("from").startswith(CONTROL))
        except BaseException as problem:
            text = self.slidge.log.read_text("utf-8", "replace")[-4000:]
            self.stop()
            raise AssertionError(f"{problem}\n{text}") from problem

    def wait_for(self, what):
        return self.juliet.expect(what, timeout=PATIENCE)

    def ask(self, text: str) -> str:
        """Has the network double do something, and returns how it says that it went."""
        self.juliet.send_message(CONTROL, f"<body>{text}</body>")
        said = self.wait_for(lambda s: local(s) == "message" and (s.findtext("{*}body") or "").startswith(f"{text}: "))
        return said.findtext("{*}body").removeprefix(f"{text}: ")

    def refused(self) -> list[str]:
        """Everything that the module has refused slidge."""
        return [line for line in self.server.log_lines("debug", f"{HOST}:privilege") if line.startswith(f"Refused ") and SLIDGE in line]

    def stop(self):
        self.slidge.stop()
        self.server.stop()


@pytest.fixture(scope="module", params=[f"{version}-{grant}" for version in VERSIONS for grant in GRANTS])
def gateway(request):
    version, grant = request.param.split("-")
    running = Gateway(version, grant)
    yield running
    running.stop()


def items(gateway: Gateway, node: str) -> str:
    answer = gateway.juliet.iq("get", None, f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
    return text_of(answer)


def test_g4_contacts_are_added(gateway):
    """G4: slidge writes itself into the roster at the registration, and its contacts later."""
    assert gateway.ask("add mercutio") == "done"
    roster = text_of(gateway.juliet.iq("get", None, "<query xmlns='jabber:iq:roster'/>"))
    for contact in (SLIDGE, f"mercutio@{SLIDGE}"):
        found = re.search(rf'<[^>]*jid="{re.escape(contact)}"[^>]*>', roster)
        assert found and 'subscription="both"' in found[0], roster


def test_g4_a_message_sent_elsewhere_is_shown(gateway):
    """G4: a message that the user has sent with another client of the network, and its read marker, come as carbons."""
    assert gateway.ask("carbon written elsewhere") == "done"
    copy = gateway.wait_for(lambda s: s.find("{urn:xmpp:carbons:2}sent") is not None and "written elsewhere" in text_of(s))
    assert FRIEND in text_of(copy)
    assert gateway.ask("read") == "done"
    gateway.wait_for(lambda s: s.find("{urn:xmpp:carbons:2}sent") is not None and "urn:xmpp:chat-markers:0" in text_of(s))


def test_g4_bookmarks_are_written(gateway):
    """G4: a group of the network is bookmarked for the user."""
    assert gateway.ask("bookmark") == "done"
    assert GROUP in items(gateway, "urn:xmpp:bookmarks:1")


def test_g4_read_markers_are_written(gateway):
    """G4: the node of the read markers is made and opened to slidge, and a marker is published."""
    assert gateway.ask("mark") == "done"
    for _ in range(100):
        if GROUP in items(gateway, "urn:xmpp:mds:displayed:0"):
            break
        gateway.ask("unknown")  # a turn of slidge, which publishes beside its answer
    assert GROUP in items(gateway, "urn:xmpp:mds:displayed:0")


def test_g4_an_upload_slot_is_taken(gateway):
    """G4: slidge is given an upload slot in the user's name. (No file goes there: the address of the service is nobody's.)"""
    gateway.server.lua(
        """
        hook("upload.capulet.lit", "iq-get/host/urn:xmpp:http:upload:0:request", function (event)
            prosody.spec_asked = event.stanza.attr.from;
        end, 10)
        """
    )
    said = gateway.ask(f"upload {gateway.slidge.inside}/file.txt")
    assert gateway.server.lua("return prosody.spec_asked") == JULIET, said
    assert f"Cannot connect to host {UPLOAD}" in said  # so slidge has the address of the slot


def test_g4_nothing_is_refused_that_slidge_needs(gateway):
    """G4: in all of the above slidge was refused nothing."""
    assert gateway.refused() == []
