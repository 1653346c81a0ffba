"""make bench-count: instructions and bytes of garbage for each operation, on a real Prosody under callgrind.

    make bench-count                              every operation, with the community's module and with ours
    make bench-count ARGS="--only message"        only operations whose name contains "message"
    make bench-count ARGS="--profile"             also writes where the instructions go: target/bench/callgrind.*

Both figures repeat within some 2 %, on any machine and beside any other work, where processor time does not. The collector
stands still meanwhile, so its work is not in them: it is the garbage that pays for it. How to read it: spec/bench/README.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))

from harness import REPO

import operations
from operations import Done, Operation, groups, takes_part
from subjects import Contender, Subject, contenders

# Everything takes fifty times as long here.
operations.PATIENCE = 120.0

OUTPUT = REPO / "target" / "bench"
PUBLISHED = REPO / "spec" / "bench"
INSTRUCTIONS = re.compile(r"^(?:summary|totals): *(\d+)", re.MULTILINE)

class Counted(Subject):
    """A server under callgrind, which counts only when it is told to."""

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = super()._command(program, *arguments)
        if program != "prosody":
            return command
        self._dump = Path(tempfile.mkdtemp(prefix="privilege-count-")) / "callgrind.out"
        # Valgrind does not follow a script to its interpreter, so that one is named.
        return [
            "valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self._dump}",
            "lua5.4", f"/usr/bin/{program}", *command[1:],
        ]

    def _tell(self, *command: str):
        subprocess.run(["vgdb", f"--pid={self.process.pid}", *command], check=True, capture_output=True)

    def instructions(self, work: Callable[[], Done]) -> int:
        """Returns how many instructions the server needs for some work."""
        self._tell("zero")
        self._tell("instrumentation", "on")
        work()
        self._tell("dump")
        self._tell("instrumentation", "off")
        newest = max(self._dump.parent.glob("callgrind.out.*"), key=lambda path: int(path.suffix[1:]))
        self.profile = newest
        return int(INSTRUCTIONS.findall(newest.read_text())[-1])


def count(operation: Operation, subject: Counted) -> tuple[float, float]:
    """Returns the instructions and the bytes of garbage of one operation.

    It is the slope between a batch and one twice as large, so what a batch costs but once is not in it. An operation that
    cannot be done twice at a time is counted once, and divided by its pieces.
    """
    found = []
    for batch in (operation.counted, 2 * operation.counted) if operation.pieces == 1 else (operation.counted,):
        done = []
        with subject.without_collector() as left:
            work = subject.instructions(lambda batch=batch, done=done: done.append(operation.run(subject, batch, None)))
        operation.after(subject)
        if done[0].good < done[0].count and subject.contender.name != "community":
            raise RuntimeError(f"{operation.name}: {done[0].good} of {done[0].count} done")
        found.append((work, left[0], done[0].count))
    (work, garbage, size), (more_work, more_garbage, more_size) = found if len(found) == 2 else ((0, 0, 0), found[0])
    pieces = (more_size - size) * operation.pieces
    return (more_work - work) / pieces, (more_garbage - garbage) / pieces


def table(counts: dict[str, dict[str, tuple[float, float]]], titles: dict[str, str], columns: list) -> str:
    """Returns what was counted as a Markdown table."""
    lines = [
        "| thousand instructions / bytes of garbage per operation | " + " | ".join(column.title for column in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for name, found in counts.items():
        cells = [f"{found[c.name][0] / 1000:,.1f} / {found[c.name][1]:,.0f}" if c.name in found else "" for c in columns]
        lines.append(f"| {titles[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def slow_down(column: Contender):
    """The module works in slices of two milliseconds. Under callgrind everything takes fifty times as long, so does a slice."""
    slices = Path(column.plugins or "/nowhere") / "mod_privilege" / "slices.lib.lua"
    if slices.exists():
        slices.write_text(slices.read_text().replace("slice_time = 0.002;", "slice_time = 0.1;"))


def notes(column: Contender) -> str:
    with Subject(column) as subject:
        version = ".".join(map(str, subject.version))
    commit = subprocess.run(
        ["git", "-C", str(REPO), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"Counted by callgrind on Prosody {version}, the collector stopped, version {commit}. Each figure is the slope between two "
        "batches, and repeats within some 2 %; roster sets more, as a batch may take a save more or less.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", help="operations whose name contains this (repeatable)")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=DIR", help="another mod_privilege to compare")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out none, community, ...")
    parser.add_argument("--publish", action="store_true", help="write the table to spec/bench/count.md as well")
    parser.add_argument("--profile", action="store_true", help="keep where the instructions of the larger batch went")
    arguments = parser.parse_args()
    variants = dict(text.split("=", 1) for text in arguments.variant)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="privilege-bench-") as scratch:
        tempfile.tempdir = scratch
        columns = [c for c in contenders(Path(scratch), variants) if c.name not in ("none2", *arguments.without)]
        for column in columns:
            slow_down(column)
        counts: dict[str, dict[str, tuple[float, float]]] = {}
        titles: dict[str, str] = {}
        for options, make in groups(quick=True).values():
            wanted = [
                operation.name for operation in make()
                if operation.counted and (not arguments.only or any(part in operation.name for part in arguments.only))
            ]
            for column in columns if wanted else ():
                with Counted(column, **options) as subject:
                    for operation in make():
                        if operation.name not in wanted or not takes_part(operation, column.name):
                            continue
                        began = time.monotonic()
                        operation.prepare(subject)
                        operation.run(subject, operation.counted, None)
                        operation.after(subject)
                        work, garbage = count(operation, subject)
                        operation.close()
                        counts.setdefault(operation.name, {})[column.name] = work, garbage
                        titles[operation.name] = operation.title
                        print(f"{operation.name:28} {column.name:10} {work / 1000:10.1f} k {garbage:10.0f} B  ({time.monotonic() - began:.0f} s)", flush=True)
                        if arguments.profile:
                            shutil.copy(subject.profile, OUTPUT / f"callgrind.{operation.name}.{column.name}")
        columns = [column for column in columns if any(column.name in found for found in counts.values())]
        text = table(counts, titles, columns) + "\n" + notes(columns[-1])
    for directory in (OUTPUT, *([PUBLISHED] if arguments.publish else [])):
        (directory / "count.md").write_text(text)
    print("\n" + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
