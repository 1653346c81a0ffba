"""slixmpp on the test server: the client library most privileged components are written with.

    async def test_x(server):
        async with slix.component(server) as component, slix.client(server, "juliet@capulet.lit") as juliet:
            roster = await component.plugin["xep_0356"].get_roster("juliet@capulet.lit")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict

import slixmpp
from slixmpp.plugins.xep_0356.permissions import Permissions

from harness import COMPONENT_SECRET, LOOPBACK, PASSWORD

TIMEOUT = 5


@contextlib.asynccontextmanager
async def component(server, domain: str = "pubsub.capulet.lit", plugins=(), advertised: int = 1):
    """A connected ComponentXMPP with xep_0356, which has seen so many advertisements (0: do not wait)."""
    xmpp = slixmpp.ComponentXMPP(domain, COMPONENT_SECRET, LOOPBACK, server.component_port)
    for plugin in ("xep_0356", "xep_0060", "xep_0030", "xep_0199", *plugins):
        xmpp.register_plugin(plugin)
    # The plugin keeps what was granted in its class, for all components of the process.
    xmpp.plugin["xep_0356"].granted_privileges = defaultdict(Permissions)
    seen = asyncio.Queue()
    xmpp.add_event_handler("privileges_advertised", seen.put_nowait)
    async with _connected(xmpp):
        for _ in range(advertised):
            await asyncio.wait_for(seen.get(), TIMEOUT)
        yield xmpp


@contextlib.asynccontextmanager
async def client(server, jid: str, plugins=()):
    """A ClientXMPP, logged in, roster received, available."""
    xmpp = slixmpp.ClientXMPP(jid, PASSWORD)
    xmpp.enable_starttls = False
    xmpp.enable_direct_tls = False
    xmpp.enable_plaintext = True
    for plugin in ("xep_0030", "xep_0060", "xep_0163", "xep_0199", "xep_0280", *plugins):
        xmpp.register_plugin(plugin)
    xmpp.plugin["feature_mechanisms"].unencrypted_plain = True
    async with _connected(xmpp, LOOPBACK, server.c2s_port):
        await xmpp.get_roster()
        xmpp.send_presence()
        # Our own presence comes back when the server knows of us.
        await xmpp.plugin["xep_0199"].ping(xmpp.boundjid.host, timeout=TIMEOUT)
        yield xmpp


@contextlib.asynccontextmanager
async def _connected(xmpp, *address):
    started = asyncio.get_running_loop().create_future()

    def settle(outcome):
        def handler(event):
            if not started.done():
                if outcome:
                    started.set_result(None)
                else:
                    started.set_exception(ConnectionError(f"{xmpp.boundjid} could not connect: {event}"))

        return handler

    xmpp.add_event_handler("session_start", settle(True))
    xmpp.add_event_handler("failed_all_auth", settle(False))
    xmpp.add_event_handler("connection_failed", settle(False))
    xmpp.connect(*address)
    try:
        await asyncio.wait_for(started, TIMEOUT)
        yield xmpp
    finally:
        await xmpp.disconnect(wait=2)
