"""How commands write tables, numbers, sizes and durations."""

import json
from collections.abc import Iterable
from math import log10
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from noisezoo.record import Record

UNCUT = 10_000
"""Columns of what goes to a file or a pipe, where no line may be folded or cut."""


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: no markup, no colours of its own, and to a file or a pipe whole lines.

    `stderr` keeps standard output free for JSON.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False, stderr=stderr)
    if not console.is_terminal:
        console.width = UNCUT
    return console


def make_table(*names: str) -> Table:
    """A table of words; on a narrow terminal its cells are folded, never cut."""
    return Table(*(Column(name, overflow="fold") for name in names))


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """A label and a text a row."""
    table = Table(Column(overflow="fold"), Column(overflow="fold"), show_header=False, box=None, padding=(0, 2, 0, 0))
    for fact in facts:
        table.add_row(*fact)
    return table


def load_call(folder: Path) -> str:
    """How to load a folder. `datasets` reads brackets and stars in a path as a pattern, which may name another one."""
    module = "noisezoo.load" if set("[]{}*?") & set(str(folder)) else "datasets.load_dataset"
    return f'{module}("{folder}")'


def numbers_table(first: str, *names: str) -> Table:
    """A table of numbers, narrow enough for a terminal of eighty columns, whose first column is never cut."""
    numbers = (Column(name, justify="right", overflow="fold") for name in names)
    return Table(Column(first, no_wrap=True), *numbers, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def print_json(found: Any) -> None:
    """One JSON value on a line of its own."""
    print(json.dumps(found), flush=True)


def rounded(value: float | None, digits: int = 3) -> str:
    """A number to so many digits, as people write it; `-` for what is not known."""
    if value is None:
        return "-"
    kept = float(f"{value:.{digits}g}")
    return f"{kept:,.0f}" if kept >= 100 else f"{kept:g}"


def size_text(count: float) -> str:
    """Bytes in the unit that fits."""
    power = min(int(log10(max(count, 1))) // 3, 4)
    return f"{rounded(count / 1000**power)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits; `-` for what is not known."""
    if seconds is None:
        return "-"
    units = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    name, length = next((unit for unit in units if seconds >= 2 * unit[1]), units[-1])
    return f"{rounded(seconds / length, 2 if length > 1 else 3)} {name}"


def show_record(record: Record) -> None:
    """One row a source: its images and its configs."""
    table = make_table("source", "images", "refused", "removed", "configs")
    for section in record.sections:
        counts = (str(count) for count in (section.rows, section.refused, section.removed))
        table.add_row(section.source, *counts, ", ".join(section.configs))
    plain_console().print(table)
