"""What a file source is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import polars as pl

from feature_store._errors import Final
from feature_store.sources._content import Content

Side = Literal["bid", "ask"]
Refused = Callable[[str], None]
"""Takes the line that says why a file cannot be read."""


@contextmanager
def going_on(refused: Refused | None) -> Iterator[None]:
    """Hand the line of a `Final` raised in the block to `refused`; without one it goes its way."""
    try:
        yield
    except Final as error:
        if refused is None:
            raise
        refused(str(error))


@dataclass(frozen=True)
class Asked:
    """What the user said of the files; None where content and names shall tell."""

    symbol: str | None = None
    timeframe: str | None = None
    clock_rule: str | None = None
    side: Side | None = None


@dataclass(frozen=True)
class RawBars:
    """Bars of one symbol as a file holds them, times on the file's own clock. Nothing is repaired.

    chunks: frames with the columns of `bars.SCHEMA` and `source_row` (Int64, 1-based line or row of the file), in
    the order of the file; may be called again. `time` is the wall clock as written, cells that cannot be read are
    null. A file below some 200 MB is one chunk, parsed once; larger ones come in chunks of about a million rows.
    stated_rule: clock rule that the content proves or the caller gave, None when neither does.
    label: what the file claims without proof, such as "labelled UTC". notes: one line each, for the user.
    content: text of those source rows, in the order asked, for the reject table.
    side: "bid" or "ask" where the file holds and names one side alone; "" otherwise. Store bid only.
    is_day: the file holds one day of a series; days that are given together are joined.
    """

    symbol: str
    timeframe: str
    chunks: Callable[[], Iterator[pl.DataFrame]]
    stated_rule: str | None
    label: str
    origin: str
    sha256: str
    content: Callable[[Sequence[int]], list[str]]
    notes: tuple[str, ...] = ()
    side: str = ""
    is_day: bool = False


class Source(Protocol):
    """One file format. A module in this folder with a line `SOURCE = ...` adds one."""

    name: ClassVar[str]
    generic: ClassVar[bool]
    """Whether more special formats are asked first."""

    def recognises(self, content: Content) -> bool:
        """Whether the content is of this format."""

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        """Bars of the content; what is not asked for is taken from content or names. Raises `Final`."""
