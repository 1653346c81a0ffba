"""The load generator: many stanzas over raw sockets, without parsing what comes back.

The answers are counted by a piece of text each of them holds once. That keeps the driver cheap, so that
the server is what there is to wait for, and the only thing measured is the server's processor time.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wire import Connection

_libc = ctypes.CDLL(None, use_errno=True)

IQ_START = re.compile(rb"<iq [^>]*>")
ATTRIBUTE = re.compile(rb" (from|to|id|type)='([^']*)'")


class ProcessClock:
    """The processor time of another process, user and system, in nanoseconds.

    The scheduler's own count (clock_getcpuclockid), exact at any moment; the times in /proc/PID/stat come
    in steps of ten milliseconds.
    """

    def __init__(self, pid: int):
        clock = ctypes.c_int()
        error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise OSError(error, f"no processor clock of process {pid}")
        self._clock = clock.value

    def __call__(self) -> int:
        return time.clock_gettime_ns(self._clock)


class Link:
    """A connected stream that is written to and read as bytes from now on."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.jid = connection.jid
        self._socket: socket.socket = connection._socket
        self._socket.setblocking(False)
        self._out = bytearray()
        self._tail = b""
        self._markers: tuple[bytes, ...] = ()
        self.counts: list[int] = []
        self.bytes = 0
        #: Called with what came, gives what is to be sent back.
        self.responder: Callable[[bytes], bytes] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def expect(self, *markers: bytes):
        """From now on, count these texts, of 2 to 64 bytes each."""
        self._markers = markers
        self.counts = [0] * len(markers)
        self.bytes = 0
        self._tail = b""

    @property
    def count(self) -> int:
        """How often the first marker has come."""
        return self.counts[0]

    def queue(self, data: bytes):
        self._out += data

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out)

    def write(self):
        with contextlib.suppress(BlockingIOError):
            sent = self._socket.send(memoryview(self._out)[:262144])
            del self._out[:sent]

    def read(self):
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError(f"the server closed the stream of {self.jid}")
        self.bytes += len(data)
        for index, marker in enumerate(self._markers):
            # A marker may come in two pieces; one that is whole in the tail has been counted.
            tail = self._tail[-(len(marker) - 1) :]
            self.counts[index] += (tail + data).count(marker)
        self._tail = (self._tail + data)[-64:]
        if self.responder:
            self._out += self.responder(data)

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.setblocking(True)
        self.connection.close()


class IqResponder:
    """Answers IQ requests, at once or when `hold` of them have come."""

    def __init__(self, hold: int = 1):
        self.hold = hold
        self._text = b""
        self._answers: list[bytes] = []
        self.seen = 0

    def __call__(self, data: bytes) -> bytes:
        text = self._text + data
        end = 0
        for start in IQ_START.finditer(text):
            end = start.end()
            said = dict(ATTRIBUTE.findall(start.group()))
            if said.get(b"type") not in (b"get", b"set"):
                continue
            self.seen += 1
            self._answers.append(
                b"<iq type='result' id='%s' from='%s' to='%s'/>" % (said[b"id"], said[b"to"], said[b"from"])
            )
        # What may become a start tag with the next piece.
        cut = text.rfind(b"<iq ")
        self._text = text[cut:] if cut >= end else text[-3:]
        return self.release() if len(self._answers) >= self.hold else b""

    def release(self) -> bytes:
        answers, self._answers = b"".join(self._answers), []
        return answers


@dataclass
class Pinger:
    """A second client that pings all the time, to learn how long the server listens to nobody else.

    `cpu` is how much processor time the server used between a ping and its answer: what the stall would
    be on a machine with nothing else to do.
    """

    link: Link
    clock: ProcessClock
    to: str
    wall: float = 0.0
    cpu: float = 0.0
    count: int = 0
    _since: tuple[float, int] | None = None
    _number: int = field(default=0)

    def reset(self):
        self.wall = self.cpu = 0.0
        self.count = 0

    def step(self):
        if self._since is not None:
            if not self.link.count:
                return
            self.wall = max(self.wall, time.monotonic() - self._since[0])
            self.cpu = max(self.cpu, (self.clock() - self._since[1]) / 1e9)
            self.count += 1
        self._number += 1
        self.link.expect(b"'ping-%d'" % self._number)
        self.link.queue(
            f"<iq type='get' to='{self.to}' id='ping-{self._number}'><ping xmlns='urn:xmpp:ping'/></iq>".encode()
        )
        self._since = (time.monotonic(), self.clock())

    @property
    def waits(self) -> bool:
        return self._since is not None and not self.link.count

    def finish(self):
        """Takes the answer that is still under way."""
        until = time.monotonic() + 10
        while self.waits and time.monotonic() < until:
            pump([self.link], 0.1)
        if self._since is not None:
            self.wall = max(self.wall, time.monotonic() - self._since[0])
            self.cpu = max(self.cpu, (self.clock() - self._since[1]) / 1e9)
            self.count += 1
        self._since = None


def pump(links: Iterable[Link], timeout: float):
    """Waits for something to happen on one of the links, and lets it."""
    by_descriptor = {link.fileno(): link for link in links}
    # Not select(), which knows no descriptor above 1023.
    poll = select.poll()
    for descriptor, link in by_descriptor.items():
        poll.register(descriptor, select.POLLIN | (select.POLLOUT if link.wants_to_write else 0))
    for descriptor, event in poll.poll(timeout * 1000):
        link = by_descriptor[descriptor]
        if event & select.POLLOUT:
            link.write()
        if event & ~select.POLLOUT:
            link.read()


def wait(links: Iterable[Link], done: Callable[[], bool], timeout: float, pinger: Pinger | None = None) -> bool:
    """Lets things happen until `done`, or until nothing has come for `timeout` seconds; whether it was done."""
    links = list(links)
    if pinger:
        links.append(pinger.link)
    came, deadline = -1, 0.0
    while True:
        if pinger:
            pinger.step()
        if done():
            return True
        so_far = sum(link.bytes for link in links if not pinger or link is not pinger.link)
        if so_far != came:
            came, deadline = so_far, time.monotonic() + timeout
        elif time.monotonic() > deadline:
            return False
        pump(links, min(timeout, 0.5))
