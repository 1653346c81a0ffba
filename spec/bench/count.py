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
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))

from harness import REPO

from operations import Done, Operation, groups, takes_part
from subjects import Subject, contenders

OUTPUT = REPO / "target" / "bench"
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


def count(operation: Operation, subject: Counted, size: int) -> tuple[float, float]:
    """Returns the instructions and the bytes of garbage of one operation: the slope between two batches."""
    found = []
    for batch in (size, 2 * size):
        with subject.without_collector() as left:
            work = subject.instructions(lambda batch=batch: operation.run(subject, batch, None))
        operation.after(subject)
        found.append((work, left[0]))
    (work, garbage), (more_work, more_garbage) = found
    return (more_work - work) / size, (more_garbage - garbage) / size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PART", help="operations whose name contains this (repeatable)")
    parser.add_argument("--size", type=int, default=100, help="operations in the smaller batch")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=DIR", help="another mod_privilege to compare")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave out none, community, ...")
    parser.add_argument("--profile", action="store_true", help="keep where the instructions of the larger batch went")
    arguments = parser.parse_args()
    variants = dict(text.split("=", 1) for text in arguments.variant)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="privilege-bench-") as scratch:
        tempfile.tempdir = scratch
        columns = [c for c in contenders(Path(scratch), variants) if c.name not in ("none2", *arguments.without)]
        for options, make in groups(quick=True).values():
            names = [operation.name for operation in make()]
            wanted = [name for name in names if not arguments.only or any(part in name for part in arguments.only)]
            rows: dict[str, list[str]] = {name: [] for name in wanted}
            for column in columns if wanted else ():
                with Counted(column, **options) as subject:
                    for operation in make():
                        if operation.name not in wanted or not takes_part(operation, column.name):
                            continue
                        operation.prepare(subject)
                        operation.run(subject, arguments.size, None)
                        operation.after(subject)
                        work, garbage = count(operation, subject, arguments.size)
                        print(f"{operation.name:28} {column.name:10} {work / 1000:10.1f} k {garbage:10.0f} B", flush=True)
                        if arguments.profile:
                            shutil.copy(subject.profile, OUTPUT / f"callgrind.{operation.name}.{column.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
