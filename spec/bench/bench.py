"""make bench: what privileged stanzas cost a real Prosody, without the module, with the community's, with ours.

    make bench ARGS="--quick"                     a minute, for a first look
    make bench ARGS="--only iq --rounds 5"        only operations whose name contains "iq"
    make bench ARGS="--gc generational"           with another setting of the server's garbage collector: see GC
    make bench ARGS="--variant try=/tmp/plugins"  one more contender: a directory that holds mod_privilege/

How it measures, and how to read it: spec/bench/README.md. Writes target/bench/bench.json, bench.md and
bench.svg; with --publish also spec/bench/bench.md and bench.svg, which the README of the project shows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The harness of the server tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))

from harness import REPO

import report
from operations import Done, Operation, groups, takes_part
from subjects import Contender, Subject, contenders

#: Settings of the server's garbage collector. Prosody 0.12 and 13.0 have the same default: incremental, threshold 105.
GC = {
    "default": None,
    "150": {"mode": "incremental", "threshold": 150},
    "200": {"mode": "incremental", "threshold": 200},
    "generational": {"mode": "generational"},
}

OUTPUT = REPO / "target" / "bench"
PUBLISHED = REPO / "spec" / "bench"

#: Servers without the module differ from process to process (hash seeds, memory layout) by more than the
#: module costs: such operations are repeated on servers started anew.
GENERATIONS = {"plain": 4}
ROUNDS = {"plain": 12, "privileged": 11, "presence": 11, "shared": 7, "connect": 4, "together": 3, "roster-set": 3, "roster-set-sql": 3}
#: Batches of each operation and server while the collector stands still. They differ by a few percent only.
PASSES_STOPPED = 7


def settle(subject: Subject):
    """Waits until the server has nothing left to do."""
    before = subject.clock()
    while True:
        time.sleep(0.002)
        now = subject.clock()
        if now - before < 30_000:
            return
        before = now


class Bench:
    """One run: all results as they come in."""

    def __init__(self, arguments: argparse.Namespace, columns: list[Contender]):
        self.arguments = arguments
        self.columns = columns
        self.results: dict[str, dict] = {}
        self.memory: dict[str, dict] = {}
        self.handlers: dict[str, dict] = {}

    def wanted(self, operation: Operation) -> bool:
        only = self.arguments.only
        return not only or any(part in operation.name for part in only)

    def rounds(self, group: str) -> int:
        if self.arguments.rounds:
            return self.arguments.rounds
        return max(3, ROUNDS[group] // 3) if self.arguments.quick else ROUNDS[group]

    def run_group(self, name: str, options: dict, make) -> None:
        generations = 1 if self.arguments.quick else GENERATIONS.get(name, 1)
        for generation in range(generations):
            operations = [operation for operation in make() if self.wanted(operation)]
            if not operations:
                return
            taking_part = [
                column for column in self.columns if any(takes_part(operation, column.name) for operation in operations)
            ]
            subjects: list[Subject] = []
            try:
                for column in taking_part:
                    subjects.append(Subject(column, **options))
                    if GC[self.arguments.gc]:
                        subjects[-1].options["gc"] = GC[self.arguments.gc]
                    subjects[-1].start()
                    self._remember(name, subjects[-1], "started")
                for operation in operations:
                    self.run_operation(operation, subjects, self.rounds(name), last=generation == generations - 1)
                for subject in subjects:
                    self._remember(name, subject, "ended")
                    if name == "plain" and subject.contender.plugins is not None:
                        self.handlers[subject.contender.name] = subject.handler_costs()
            finally:
                for operation in operations:
                    operation.close()
                for subject in subjects:
                    subject.stop()

    def _remember(self, group: str, subject: Subject, when: str):
        self.memory.setdefault(group, {}).setdefault(subject.contender.name, {})[when] = subject.memory()

    def run_operation(self, operation: Operation, subjects: list[Subject], rounds: int, *, last: bool):
        subjects = [subject for subject in subjects if takes_part(operation, subject.contender.name)]
        result = self.results.setdefault(
            operation.name,
            {"title": operation.title, "entities": operation.entities, "plain": operation.plain, "contenders": {}},
        )
        count = operation.quick if self.arguments.quick else operation.size
        result["batch"] = count
        began = time.monotonic()
        for subject in subjects:
            operation.prepare(subject)
            # Caches fill, allocations settle.
            operation.run(subject, count, None)
            operation.after(subject)
        for number in range(rounds):
            # Nobody is always the first.
            shift = number % len(subjects)
            for subject in subjects[shift:] + subjects[:shift]:
                settle(subject)
                before = subject.clock()
                done = operation.run(subject, count, None)
                settle(subject)
                self._record(result, subject, done, (subject.clock() - before) / 1000)
                operation.after(subject)
        if last and operation.garbage:
            for _ in range(PASSES_STOPPED):
                for subject in subjects:
                    self._run_stopped(operation, subject, count, result["contenders"][subject.contender.name])
        if last and not self.arguments.no_delay:
            for _ in range(operation.delay_passes):
                for subject in subjects:
                    pinger = subject.pinger
                    pinger.reset()
                    operation.run(subject, count, pinger)
                    pinger.finish()
                    operation.after(subject)
                    entry = result["contenders"][subject.contender.name]
                    entry.setdefault("ping_ms", []).append(round(pinger.wall * 1000, 3))
                    entry.setdefault("ping_cpu_ms", []).append(round(pinger.cpu * 1000, 3))
        report.progress(result, self.columns, time.monotonic() - began)

    def _run_stopped(self, operation: Operation, subject: Subject, count: int, entry: dict):
        """One batch while the collector stands still: what the code alone costs, and what it leaves to the collector."""
        settle(subject)
        with subject.without_collector() as left:
            settle(subject)
            before = subject.clock()
            done = operation.run(subject, count, None)
            settle(subject)
            microseconds = (subject.clock() - before) / 1000
        operation.after(subject)
        entry.setdefault("stopped_us", []).append(round(microseconds / max(1, done.count), 3))
        entry["garbage"] = round(left[0] / max(1, done.count))

    def _record(self, result: dict, subject: Subject, done: Done, microseconds: float):
        entry = result["contenders"].setdefault(subject.contender.name, {"us": [], "asked": 0, "good": 0})
        entry["us"].append(round(microseconds / max(1, done.count), 3))
        entry["asked"] += done.count
        entry["good"] += done.good
        if done.note:
            entry["note"] = done.note


def machine() -> dict:
    """What the figures depend on."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": subprocess.run(
            ["git", "-C", str(REPO), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", help="operations whose name contains this (repeatable)")
    parser.add_argument("--rounds", type=int, help="batches per operation and server (default: 3 to 12)")
    parser.add_argument("--quick", action="store_true", help="smaller batches, fewer rounds, 200 accounts online")
    parser.add_argument("--no-delay", action="store_true", help="do not measure how long a second client waits")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=DIR", help="another mod_privilege to compare")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out none2, community, ...")
    parser.add_argument("--publish", action="store_true", help="write the table and the chart to spec/bench as well")
    parser.add_argument("--gc", choices=GC, default="default", help="the server's garbage collector")
    parser.add_argument("--list", action="store_true", help="the names of all operations")
    arguments = parser.parse_args()

    everything = groups(arguments.quick)
    if arguments.list:
        for _, make in everything.values():
            for operation in make():
                print(f"{operation.name:32} {operation.title}")
        return 0
    names = [operation.name for _, make in everything.values() for operation in make()]
    for part in arguments.only or ():
        if not any(part in name for name in names):
            parser.error(f"no operation has {part!r} in its name; --list names them all")
    variants = dict(text.split("=", 1) for text in arguments.variant)
    began = time.monotonic()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="privilege-bench-") as scratch:
        # The servers' directories too: whatever happens, nothing of ours is left.
        tempfile.tempdir = scratch
        columns = [c for c in contenders(Path(scratch), variants) if c.name not in arguments.without]
        bench = Bench(arguments, columns)
        for name, (options, make) in everything.items():
            bench.run_group(name, options, make)
        with Subject(columns[0]) as subject:
            version = ".".join(map(str, subject.version))
    run = {
        "machine": {**machine(), "prosody": version, "load": [round(load_before[0], 2), round(os.getloadavg()[0], 2)]},
        "seconds": round(time.monotonic() - began),
        "quick": arguments.quick,
        "gc": arguments.gc,
        "columns": {column.name: column.title for column in columns},
        "operations": bench.results,
        "memory_mib": bench.memory,
        "handlers_ns": bench.handlers,
    }
    print(report.summary(run))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for directory in (OUTPUT, *([PUBLISHED] if arguments.publish else [])):
        (directory / "bench.md").write_text(report.markdown(run))
        (directory / "bench.svg").write_text(report.chart(run))
    (OUTPUT / "bench.json").write_text(json.dumps(run, indent=1) + "\n")
    print(f"\nwritten: {OUTPUT.relative_to(REPO)}/bench.json, bench.md, bench.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
