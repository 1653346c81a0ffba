#!/usr/bin/env python3
"""Checks that the docstring of each server test names the requirement that the test proves.

A docstring begins with the numbers of spec/requirements.md and a colon, then says in a sentence what is proved:
`R3: an absent attribute keeps what the item has.` A number in the test's name stands in the docstring as well.
Tests of the harness itself prove no requirement and have a plain sentence.

Usage: spec/support/check_docstrings.py [FILE...]; prints the offenders and exits with 1 if there are any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SPEC = Path(__file__).resolve().parents[1]

#: Files whose subject is the harness, not a requirement.
PLAIN = {"test_smoke.py"}

#: "R3", "R3, Q5", "P1 to P5, L1"
NUMBER = r"[A-Z]\d+"
HEAD = re.compile(rf"({NUMBER}(?:(?:, | to ){NUMBER})*): (\S.*)", re.DOTALL)

#: A clause without a subject: the reader has to find out what it is about.
HEADLESS = re.compile(r"(what|whatever|who|whoever|whom|whose|which|and|also|likewise|as above)\b", re.IGNORECASE)


def requirements() -> set[str]:
    return set(re.findall(rf"^- \*\*({NUMBER})\*\*", (SPEC / "requirements.md").read_text("utf-8"), re.MULTILINE))


def tests(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield node


def numbers_of(name: str) -> list[str]:
    """The numbers in a test's name: test_r10_l7_... -> R10, L7"""
    found = re.match(r"test((?:_[a-z]\d+)+)_", name)
    return found[1].upper().strip("_").split("_") if found else []


def numbers_in(head: str) -> set[str]:
    """The numbers that a docstring names: "P1 to P3, L1" names P1, P2, P3 and L1."""
    found = set(re.findall(NUMBER, head))
    for letter, first, last in re.findall(r"([A-Z])(\d+) to \1(\d+)", head):
        found.update(f"{letter}{number}" for number in range(int(first), int(last) + 1))
    return found


def problems(test, plain: bool, known: set[str]) -> Iterator[str]:
    docstring = ast.get_docstring(test)
    if not docstring:
        yield "has no docstring"
        return
    found = HEAD.match(docstring)
    sentence = found[2] if found else docstring
    if found:
        numbers = numbers_in(found[1])
        for number in sorted(numbers - known):
            yield f"names {number}, which spec/requirements.md does not have"
        for number in numbers_of(test.name):
            if number not in numbers:
                yield f"carries {number} in its name but not in its docstring"
    elif not plain:
        yield "does not begin with the number of a requirement and a colon"
    if headless := HEADLESS.match(sentence):
        yield f"has a sentence without a subject, it begins with {headless[0]!r}"
    if not sentence.rstrip().endswith((".", ".)")):
        yield "does not end as a sentence does"


def main(arguments: list[str]) -> int:
    known = requirements()
    count = offenders = 0
    for file in [Path(name) for name in arguments] or sorted([*(SPEC / "server").glob("test_*.py"), *(SPEC / "slidge").glob("test_*.py")]):
        for test in tests(file):
            count += 1
            for problem in problems(test, file.name in PLAIN, known):
                offenders += 1
                print(f"{file}:{test.lineno}: {test.name} {problem}")
    if not count:
        print("no tests were found")
    elif not offenders:
        print(f"{count} tests, each with the sentence that it proves")
    return 0 if count and not offenders else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
