#!/usr/bin/env python3
"""Checks the rules of ARCHITECTURE.md, section "Rules that hold everywhere", that a program can check. Names each line that breaks one."""

import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SHIM = sorted((REPO / "lua" / "mod_privilege").glob("*.lua"))
CORE = sorted((REPO / "src").rglob("*.rs"))
BORDER = sorted((REPO / "src" / "lua").glob("*.rs"))
PAGE = "mod_privilege.lua"

MOST_LINES_OF_LUA = 170
MOST_LINES_OF_RUST = 350

problems: list[str] = []


def nowhere(files, pattern: str, rule: str, but: tuple[str, ...] = ()):
    """No line of these files matches, except in files with these names."""
    for file in files:
        if file.name in but:
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(pattern, line):
                problems.append(f"{file.relative_to(REPO)}:{number}: {rule}: {line.strip()}")


def production_lines(file: Path) -> int:
    """The lines of a Rust file without its tests."""
    text = file.read_text()
    return len(re.split(r"^#\[cfg\(test\)\]$", text, maxsplit=1, flags=re.M)[0].splitlines())


nowhere(SHIM, r"_, _", "no values are passed over by position")
nowhere(SHIM, r"local judged", "a variable holds one kind of thing: a permit, or a denial")
nowhere(
    SHIM,
    r'"(none|both|outgoing|managed_entity)"|"to" or|prosody:(admin|member)',
    "permissions and subscriptions are known to the core, roles to roles.lib.lua",
    but=("roles.lib.lua",),
)
nowhere(SHIM, r"<iq|<message|xml_escape", "the core writes XML")
nowhere(BORDER, r"Denial::", "the border does not decide")
nowhere(SHIM, r"module:hook(_global|_tag)?\(", "every hook is on the page of hooks", but=(PAGE,))
nowhere(SHIM, r"takes_text", "only delivery.lib.lua knows which session takes text", but=("delivery.lib.lua",))
nowhere(
    [*SHIM, *CORE],
    r"(--|//[/!]?) (What|Whoever|Whom) ",
    "a comment names its subject",
)
nowhere([*SHIM, *CORE], r"(--|//[/!]?) .*\b(dear|steers?|lent|kin|takes? leave)\b", "a comment is plain English")

for file in SHIM:
    lines = len(file.read_text().splitlines())
    if lines > MOST_LINES_OF_LUA:
        problems.append(f"{file.relative_to(REPO)}: {lines} lines, at most {MOST_LINES_OF_LUA}")
for file in CORE:
    lines = production_lines(file)
    if lines > MOST_LINES_OF_RUST and file.name != "config.rs" and not file.name.endswith("_tests.rs"):
        problems.append(f"{file.relative_to(REPO)}: {lines} lines without tests, at most {MOST_LINES_OF_RUST}")

print("\n".join(problems) or f"{len(SHIM)} Lua files and {len(CORE)} Rust files keep the rules")
sys.exit(bool(problems))
