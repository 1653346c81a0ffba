"""Fixtures: a server for the whole run, connections for each test, and a look at the log after each."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os

import pytest

from harness import Prosody, REPO


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "expect_log_error(pattern, ...): errors this test causes in the server's log; they must come"
    )
    config.addinivalue_line("markers", "prosody13: needs Prosody 13 or newer")


def pytest_report_header():
    root = os.environ.get("PROSODY_ROOT")
    built = (REPO / "target" / "plugins" / "mod_privilege").is_dir()
    return [
        f"server: {'Debian 13 root' if root else 'this machine'}",
        f"mod_privilege: {'target/plugins' if built else 'the one of the distribution (run make build for ours)'}",
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs `async def test_...` to its end in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}), 60))
    return True


@pytest.fixture(scope="session")
def session_server():
    """The one server most tests share. Use `server`."""
    with Prosody(muc=True, upload=True) as running:
        yield running


@pytest.fixture
def server(session_server):
    """A running server with PRIVILEGES, ACCOUNTS, COMPONENTS, rooms and uploads.

    Shared by all tests; every account is made anew after each, every connection closed.
    A module that needs another configuration defines its own `session_server` (scope "module").
    """
    return session_server


@pytest.fixture
def start_server(_log_check):
    """start_server(**options) starts a further server of this test's own; see Prosody for the options."""
    started = []

    def start(**options) -> Prosody:
        running = Prosody(**options).start()
        started.append(running)
        _log_check.append(running)
        return running

    yield start


@pytest.fixture(autouse=True)
def _log_check(request):
    """After each test: no server it used has logged an error or a traceback, or died."""
    used: list[Prosody] = []
    shared = request.getfixturevalue("server") if "server" in request.fixturenames else None
    patterns = [p for mark in request.node.iter_markers("expect_log_error") for p in mark.args]
    if shared:
        used.append(shared)
        shared.expect_errors(*patterns)
    yield used
    problems = []
    for running in used:
        if running is not shared:
            running.expect_errors(*(patterns if not shared else ()))
        try:
            # The log must hold the effects of closing and of the last stanzas.
            running.close_connections()
            running.check_log()
        except Exception as problem:  # noqa: BLE001: every server is to be looked at and stopped
            problems.append(problem)
        if running is not shared:
            running.stop()
    if shared:
        try:
            shared.reset()
            # An error that a reset causes must not count for the next test.
            shared.check_log()
        except Exception as problem:  # noqa: BLE001
            problems.append(problem)
    if problems:
        raise problems[0]


@pytest.fixture
def regrant(server):
    """regrant(entity, grant, host) changes a grant (None: takes it away) of a running server, until the end of the test."""
    before = copy.deepcopy(server.privileged_entities)

    def change(entity: str, grant: dict | None, host: str = "capulet.lit"):
        grants = copy.deepcopy(server.privileged_entities)
        if grant is None:
            grants[host].pop(entity, None)
        else:
            grants[host][entity] = grant
        server.reconfigure(privileged_entities=grants)

    yield change
    server.reconfigure(privileged_entities=before)


@pytest.fixture
def component(server):
    """pubsub.capulet.lit, connected, its advertisement still in the inbox."""
    return server.component("pubsub.capulet.lit")


@pytest.fixture
def gateway(server):
    """gateway.capulet.lit, a second privileged component."""
    return server.component("gateway.capulet.lit")


@pytest.fixture
def stranger(server):
    """stranger.lit, a component that is granted nothing."""
    return server.component("stranger.lit")


@pytest.fixture
def juliet(server):
    """juliet@capulet.lit, online, with carbons."""
    return server.client("juliet@capulet.lit", carbons=True)


@pytest.fixture
def nurse(server):
    """nurse@capulet.lit, online."""
    return server.client("nurse@capulet.lit")


@pytest.fixture
def romeo(server):
    """romeo@montague.lit, online: a host that grants nothing."""
    return server.client("romeo@montague.lit")
