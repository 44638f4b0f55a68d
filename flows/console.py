"""What a person sees while work goes on: lines and bars on stderr, so that stdout stays for results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tasks import progress

# What is not a terminal (a file, a pipe) has no width: lines there stay whole.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line on stdout as it is, never wrapped."""
    out.print(text, soft_wrap=True, markup=False)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, default=str, allow_nan=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str] = ()) -> None:
    """A table on stdout; the first column and those in `text` are text, the others are numbers."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or column in text else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    out.print(table)


@contextmanager
def watching() -> Iterator[None]:
    """Show progress messages of tasks as bars while the block runs; nothing when stderr is not a terminal's."""
    if not err.is_terminal:
        yield
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        transient=False,
    )
    known: dict[str, Any] = {}

    def show(step: str, done: int, total: int, note: str) -> None:
        if step not in known:
            known[step] = bar.add_task(step, total=total or None, note=note)
        bar.update(known[step], completed=done, total=total or None, note=note)

    with bar, progress.listening(show):
        yield


def number(value: float | None, pattern: str) -> str:
    """The number as text, `-` where it is undefined."""
    return "-" if value is None or value != value else format(value, pattern)
