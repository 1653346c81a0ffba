"""Results as a line on the terminal, a Markdown table and an SVG chart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from xml.sax.saxutils import escape

NO_MODULE = "none"
COMMUNITY = "community"
OURS = "ours"

COLOURS = {NO_MODULE: "#8b949e", "none2": "#b8c0c8", COMMUNITY: "#d29922", OURS: "#1f6feb"}


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    if len(values) < 3:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle if middle else 0.0


def duration(microseconds: float) -> str:
    """With as many digits as mean something."""
    if microseconds >= 1000:
        return f"{microseconds / 1000:.3g} ms"
    return f"{microseconds:.3g} µs"


def better_quarter(values: list[float]) -> float:
    """What the best quarter of the rounds stayed under: noise only ever adds, so that is nearer to the truth than the median."""
    return statistics.quantiles(values, n=4)[0] if len(values) > 1 else values[0]


def ratio(result: dict, of: str, over: str) -> float | None:
    """How many times what `of` costs `over` costs."""
    pair = [result["contenders"].get(name, {}).get("us") for name in (of, over)]
    if not all(pair):
        return None
    return better_quarter(pair[1]) / better_quarter(pair[0])


def lost(entry: dict) -> str:
    return f" ({entry['good']:,} of {entry['asked']:,} answered)" if entry["good"] < entry["asked"] else ""


def progress(result: dict, columns, seconds: float):
    """One line as soon as an operation is through."""
    parts = []
    for column in columns:
        entry = result["contenders"].get(column.name)
        if entry and entry["us"]:
            note = f" [{entry['note']}]" if entry.get("note") else ""
            parts.append(f"{column.name} {duration(median(entry['us']))} ±{spread(entry['us']):.0%}{lost(entry)}{note}")
    print(f"{result['title']:<62} {'; '.join(parts)}  ({seconds:.0f} s)", flush=True)


def _further_entity(run: dict, name: str) -> float | None:
    """What each further privileged entity adds to a presence change: the slope of the line through all rows.

    Through all of them, since the difference of two is at the mercy of one noisy spell.
    """
    points = [
        (row["entities"], better_quarter(row["contenders"][name]["us"]))
        for key, row in run["operations"].items()
        if key.startswith("presence-") and name in row["contenders"]
    ]
    if len(points) < 3:
        return None
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _shown(run: dict) -> list[str]:
    return [name for name in run["columns"] if name != "none2"]


def _row(run: dict, result: dict) -> list[str]:
    cells = [result["title"]]
    for name in _shown(run):
        entry = result["contenders"].get(name)
        cells.append(f"{duration(median(entry['us']))} ±{spread(entry['us']):.0%}{lost(entry)}" if entry else "")
    for of, over in ((OURS, COMMUNITY), (NO_MODULE, OURS)):
        found = ratio(result, of, over)
        if not found:
            cells.append("")
        else:
            cells.append(f"{found - 1:+.1%}" if result["plain"] else f"{found:.1f}x")
    garbage = [result["contenders"].get(name, {}).get("garbage") for name in _shown(run)]
    cells.append(" / ".join("-" if found is None else f"{found / 1024:.1f}" for found in garbage) if any(garbage) else "")
    stopped = [result["contenders"].get(name, {}).get("stopped_us") for name in _shown(run)]
    cells.append(" / ".join(duration(better_quarter(found)) if found else "-" for found in stopped) if any(stopped) else "")
    delays = [result["contenders"].get(name, {}).get("ping_ms") for name in _shown(run)]
    cells.append(" / ".join(f"{median(delay):.1f}" if delay else "-" for delay in delays))
    return cells


def markdown(run: dict) -> str:
    """The table for the README."""
    shown = _shown(run)
    columns = [run["columns"][name] for name in shown]
    head = ["operation", *columns, "community / this", "this over no module", "garbage, KiB", "collector stopped", "worst ping, ms"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for result in run["operations"].values():
        lines.append("| " + " | ".join(_row(run, result)) + " |")
    further = {name: _further_entity(run, name) for name in shown}
    if any(further.values()):
        cells = [duration(found) if found else "" for found in further.values()]
        times = ""
        if further.get(OURS) and further.get(COMMUNITY) and further[OURS] > 0:
            times = f"{further[COMMUNITY] / further[OURS]:.1f}x"
        lines.append("| presence change, each further entity | " + " | ".join(cells) + f" | {times} |  |  |  |  |")
    return "\n".join(lines) + "\n\n" + notes(run) + "\n"


def notes(run: dict) -> str:
    """How it was measured, and how noisy it was."""
    machine = run["machine"]
    rounds = [len(entry["us"]) for row in run["operations"].values() for entry in row["contenders"].values()]
    spreads = [spread(entry["us"]) for row in run["operations"].values() for entry in row["contenders"].values()]
    lines = [
        "Processor time of the server process per operation: median over rounds, ± half the distance between the quartiles. "
        f"Prosody {machine['prosody']}, log level info, no TLS, {machine['processor']}, {machine['processors']} processors. "
        f"{min(rounds)} to {max(rounds)} rounds per figure, the servers taking turns; median spread {median(spreads):.1%}; "
        f"{run['seconds']} s in all; load average {machine['load'][0]} before and {machine['load'][1]} after; "
        f"version {machine['commit']}{', quick run' if run['quick'] else ''}{'' if run['gc'] == 'default' else ', gc ' + run['gc']}. "
        "Worst ping: how long a second client waited at most for an answer meanwhile "
        f"({' / '.join(run['columns'][name] for name in _shown(run))})."
    ]
    twins = [found for row in run["operations"].values() if (found := ratio(row, NO_MODULE, "none2"))]
    lines.append(
        "Ratios and percentages compare what the best quarter of the rounds stayed under, as noise only ever adds. "
        "Garbage: what one operation leaves to the collector, which is more than half of the processor time "
        f"({' / '.join(run['columns'][name] for name in _shown(run))}). "
        "Collector stopped: the processor time of an operation while nothing is collected, so of the code alone, which the best "
        "quarter of the batches stayed under. It repeats within a few percent."
    )
    if twins:
        lines.append(
            "Two servers without the module, measured the same way, differed by "
            f"{', '.join(f'{found - 1:+.1%}' for found in twins)}: no smaller difference means anything."
        )
    for name, costs in run["handlers_ns"].items():
        if name in _shown(run):
            figures = ", ".join(f"{event} {cost:.0f} ns" for event, cost in sorted(costs.items()))
            lines.append(
                "What a stanza without privileges spends, while an entity is connected, in the handlers of "
                f"{run['columns'][name]}: {figures}."
            )
    memory = {
        group: {name: found for name, found in servers.items() if name in _shown(run)} for group, servers in run["memory_mib"].items()
    }
    for group, servers in memory.items():
        figures = "; ".join(
            f"{run['columns'][name]} {found['started']['now']:.1f} at start, {found['ended']['now']:.1f} at the end, "
            f"{found['ended']['peak']:.1f} at most"
            for name, found in servers.items()
            if "ended" in found
        )
        if group in ("privileged", "connect") and figures:
            lines.append(f"Resident memory in MiB, operations of group {group}: {figures}.")
    return "\n\n".join(lines)


def summary(run: dict) -> str:
    """The table for the terminal."""
    rows = [
        ["operation", *(run["columns"][name] for name in _shown(run)), "community / this", "over none", "garbage, KiB", "collector stopped", "worst ping, ms"],
        *(_row(run, result) for result in run["operations"].values()),
    ]
    for name in _shown(run):
        found = _further_entity(run, name)
        if found:
            rows.append([f"presence change, each further entity: {run['columns'][name]} {duration(found)}"])
    widths = [max(len(row[i]) for row in rows if len(row) > 1) for i in range(len(rows[0]))]
    text = "\n".join(
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=False)))
        for row in rows
    )
    return "\n" + text.rstrip() + "\n\n" + notes(run)


def chart(run: dict) -> str:
    """How many times dearer each operation is with the community's module than with ours: bars on a log scale."""
    bars = []
    for result in run["operations"].values():
        found = ratio(result, OURS, COMMUNITY)
        if found and not result["plain"]:
            figures = f"{duration(median(result['contenders'][COMMUNITY]['us']))} → {duration(median(result['contenders'][OURS]['us']))}"
            # What the server without the module does instead is of no concern here.
            bars.append((result["title"].partition(" (")[0], found, figures))
    row, left, width, right = 26, 430, 360, 190
    top = 64
    height = top + row * len(bars) + 40
    most = max([value for _, value, _ in bars] + [10])
    # A log scale from a half, so that what is no faster is seen as well.
    low, high = math.log10(0.5), math.log10(most * 1.1)

    def x(value: float) -> float:
        return left + (math.log10(max(value, 0.5)) - low) / (high - low) * width

    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{left + width + right}' height='{height}' "
        f"viewBox='0 0 {left + width + right} {height}' font-family='system-ui, sans-serif' font-size='13' role='img'>",
        "<title>How many times less processor time this module takes than the community module</title>",
        "<rect width='100%' height='100%' fill='#ffffff'/>",
        "<text x='16' y='26' font-size='16' font-weight='600' fill='#1f2328'>Processor time, community module over this module</text>",
        f"<text x='16' y='46' fill='#59636e'>Prosody {escape(run['machine']['prosody'])}; longer is better; "
        "beside the bars: community → this, per operation</text>",
    ]
    for tick in (1, 2, 5, 10, 20, 50, 100):
        if tick <= most * 1.1:
            colour = "#59636e" if tick == 1 else "#d1d9e0"
            out.append(
                f"<line x1='{x(tick):.1f}' y1='{top}' x2='{x(tick):.1f}' y2='{height - 30}' stroke='{colour}'/>"
                f"<text x='{x(tick):.1f}' y='{height - 12}' text-anchor='middle' fill='#59636e'>{tick}x</text>"
            )
    for index, (title, value, figures) in enumerate(bars):
        y = top + row * index
        start, end = sorted((x(1), x(value)))
        out.append(
            f"<text x='{left - 10}' y='{y + 17}' text-anchor='end' fill='#1f2328'>{escape(title)}</text>"
            f"<rect x='{start:.1f}' y='{y + 5}' width='{max(end - start, 1):.1f}' height='16' rx='2' fill='{COLOURS[OURS]}'/>"
            f"<text x='{end + 6:.1f}' y='{y + 17}' fill='#1f2328'><tspan font-weight='600'>{value:.1f}x</tspan>"
            f"<tspan fill='#59636e'>  {escape(figures)}</tspan></text>"
        )
    return "\n".join([*out, "</svg>"]) + "\n"
