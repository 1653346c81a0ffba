"""make bench-growth: how the cost of an operation grows with the server it is on, in instructions counted by valgrind.

    make bench-growth                             every series, some ten minutes
    make bench-growth ARGS="--only roster"        only series whose name contains "roster"
    make bench-growth ARGS="--publish"            also writes docs/growth.md and docs/growth.svg

Each point is a server of its own. Figures repeat within some 2 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))

from harness import REPO

from count import Counted, count, notes
from load import IqResponder
from operations import DISCO, ITEMS, ENTITY, ECHO, JULIET, Iqs, Messages, Operation, PresenceChange, RosterGet, exchange, numbers
from subjects import ENTITIES, GRANT, HOST, Contender, contenders

OUTPUT = REPO / "target" / "bench"
PUBLISHED = REPO / "docs"
PUBSUB = "http://jabber.org/protocol/pubsub"

#: What a series changes before the server starts, and after.
Grants = Callable[[int], dict]
Prepare = Callable[[Counted, int], None]


@dataclass(frozen=True)
class Series:
    """One operation, on servers that have more and more of something."""

    name: str
    #: What there is more and more of.
    axis: str
    sizes: tuple[int, ...]
    #: The operation, by size.
    operation: Callable[[int], Operation]
    #: What is granted to the entity, beside `GRANT`; and to others.
    grant: Grants = lambda _: {}
    others: Grants = lambda _: {}
    prepare: Prepare = lambda subject, size: None
    #: Whether the cost may follow the size, in a straight line; else it has to be flat.
    is_linear: bool = False


def message(_: int) -> Operation:
    return Messages("message", "privileged message", 100, "privileged")


def somebody(size: int) -> list[str]:
    """Usernames, the one of the operation last."""
    return [f"user{number}" for number in range(size - 1)] + ["juliet"]


def go_online(subject: Counted, size: int):
    names = [f"crowd{number}" for number in range(size)]
    subject.add_accounts(names)
    for name in names:
        subject.client(f"{name}@{HOST}", roster=False)


def hold(subject: Counted, size: int):
    """So many privileged IQs wait for the answer of a component that gives none."""
    echo, sender = subject.link(ECHO), subject.link(ENTITY)
    echo.responder = IqResponder(size + 1)
    stanzas = [
        f"<iq from='{ENTITY}' to='{JULIET}' type='get' id='o-{i}'><privileged_iq xmlns='urn:xmpp:privilege:2'>"
        f"<iq xmlns='jabber:client' type='get' to='{ECHO}' id='h-{i}'>{DISCO}</iq></privileged_iq></iq>"
        for i in numbers(size)
    ]
    exchange(sender, stanzas, echo, "<iq ", None)
    echo.responder = None


class Waiting(Iqs):
    """An IQ ping, while others wait."""

    def prepare(self, subject):
        for who in (ENTITY, ECHO, JULIET):
            subject.link(who)


def ping(_: int) -> Operation:
    return Waiting("ping", "privileged IQ ping", 100, "get", "<ping xmlns='urn:xmpp:ping'/>", HOST)


def items(_: int) -> Operation:
    return Iqs("items", "privileged IQ, own PEP node, items", 100, "get", ITEMS, None)


def of_nodes(size: int) -> dict:
    nodes = [f"urn:example:node{number}" for number in range(size - 1)] + ["urn:example:bench"]
    return {"iq": {PUBSUB: {"type": "both", "nodes": nodes}}}


def roster_get(size: int) -> Operation:
    operation = RosterGet(size, 1)
    operation.counted = max(4, min(100, 24_000 // size))
    return operation


STEPS = (1, 10, 100, 1000, 10_000)
ALL = (
    Series("entities configured", "entities", (1, 10, 100, 1000), message,
           others=lambda size: {f"other{number}.capulet.lit": GRANT for number in range(size - 1)}),
    Series("accounts that are covered", "names in `accounts`", STEPS, message, lambda size: {"accounts": somebody(size)}),
    Series("accounts that are not", "names in `except`", STEPS, message, lambda size: {"except": somebody(size)[:-1] or ["nurse"]}),
    Series("pubsub nodes", "names in `nodes`", STEPS, items, of_nodes),
    Series("privileged IQs in flight", "requests", (10, 100, 1000, 9000), ping, prepare=hold),
    Series("accounts online: a message", "accounts", (100, 300, 1000, 3000), message, prepare=go_online),
    Series("accounts online: a presence, one entity", "accounts", (100, 300, 1000, 3000), lambda _: PresenceChange(1, 100),
           prepare=go_online),
    Series("entities connected: a presence", "entities", (1, 3, 5, 11), lambda size: PresenceChange(size, 100), is_linear=True),
    Series("roster get", "items", (10, 100, 1000, 10_000), roster_get, is_linear=True),
)


@contextmanager
def server(contender: Contender, series: Series, size: int) -> Iterator[Counted]:
    subject = Counted(contender)
    granted = subject.privileged_entities[HOST]
    granted[ENTITIES[0]].update(series.grant(size))
    granted.update(series.others(size))
    with subject:
        yield subject


def measure(contender: Contender, series: Series, size: int) -> float:
    """Returns the instructions of one operation."""
    with server(contender, series, size) as subject:
        operation = series.operation(size)
        operation.prepare(subject)
        series.prepare(subject, size)
        operation.run(subject, operation.counted, None)
        return count(operation, subject)[0]


def verdict(series: Series, found: list[float]) -> str:
    """Returns how the cost grows, in words."""
    if not series.is_linear:
        return f"{max(found) / min(found) - 1:+.0%} at most"
    slopes = [
        (found[i + 1] - found[i]) / (series.sizes[i + 1] - series.sizes[i]) for i in range(len(found) - 1)
    ]
    return f"{min(slopes) / 1000:,.1f} to {max(slopes) / 1000:,.1f} thousand for each further one"


def table(results: dict[Series, list[float]]) -> str:
    lines = ["| series | of | thousand instructions per operation | growth |", "| --- | --- | --- | --- |"]
    for series, found in results.items():
        figures = ", ".join(f"{size:,}: {work / 1000:,.0f}" for size, work in zip(series.sizes, found, strict=True))
        lines.append(f"| {series.name} | {series.axis} | {figures} | {verdict(series, found)} |")
    return "\n".join(lines) + "\n"


def chart(results: dict[Series, list[float]]) -> str:
    """One small chart for each series, the size on a log scale; a straight line in it is flat or, where linear, a curve."""
    width, height, columns = 300, 190, 3
    rows = -(-len(results) // columns)
    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width * columns}' height='{height * rows}' "
        "font-family='system-ui, sans-serif' font-size='11' role='img'>",
        "<title>How the cost of an operation grows</title>", "<rect width='100%' height='100%' fill='#ffffff'/>",
    ]
    for place, (series, found) in enumerate(results.items()):
        left, top = place % columns * width + 50, place // columns * height + 40
        inner, tall = width - 80, height - 80
        most = max(found) * 1.1
        # Where the cost may follow the size both axes are linear, so that a straight line is one.
        span = max(series.sizes)
        points = [
            (left + inner * (size / span if series.is_linear else number / max(1, len(found) - 1)), top + tall * (1 - work / most))
            for number, (size, work) in enumerate(zip(series.sizes, found, strict=True))
        ]
        out.append(f"<text x='{left - 40}' y='{top - 18}' font-weight='600' fill='#1f2328'>{escape(series.name)}</text>")
        out.append(f"<path d='M{left} {top} V{top + tall} H{left + inner}' fill='none' stroke='#d1d9e0'/>")
        out.append(f"<text x='{left - 4}' y='{top + 8}' text-anchor='end' fill='#59636e'>{most / 1000:,.0f}k</text>")
        out.append("<polyline fill='none' stroke='#1f6feb' stroke-width='2' points='" + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + "'/>")
        for (x, y), size in zip(points, series.sizes, strict=True):
            out.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='#1f6feb'/>")
            if not series.is_linear or size == span:
                out.append(f"<text x='{x:.1f}' y='{top + tall + 14}' text-anchor='middle' fill='#59636e'>{size:,}</text>")
        out.append(f"<text x='{left + inner / 2}' y='{top + tall + 28}' text-anchor='middle' fill='#59636e'>{escape(series.axis)}</text>")
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", help="series whose name contains this (repeatable)")
    parser.add_argument("--publish", action="store_true", help="write the table and the chart to docs as well")
    arguments = parser.parse_args()
    results: dict[Series, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="privilege-bench-") as scratch:
        tempfile.tempdir = scratch
        ours = next(contender for contender in contenders(Path(scratch), {}) if contender.name == "ours")
        for series in ALL:
            if not arguments.only or any(part in series.name for part in arguments.only):
                for found in map(partial(measure, ours, series), series.sizes):
                    results.setdefault(series, []).append(found)
                print(f"{series.name:44} " + " ".join(f"{found / 1000:10,.1f} k" for found in results[series]), flush=True)
        text = table(results) + "\n" + notes(ours)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for directory in (OUTPUT, *([PUBLISHED] if arguments.publish else [])):
        directory.mkdir(exist_ok=True)
        (directory / "growth.md").write_text(text)
        (directory / "growth.svg").write_text(chart(results))
    print("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
