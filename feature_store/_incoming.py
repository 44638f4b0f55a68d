"""What a source brings, sorted into rows to store and rejects, in memory or, when it is long, in a file of its own."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import polars as pl

from feature_store._accept import CLASH, DUPLICATE, REASONS, REJECTED, TOLD, Sorted, count_reasons, duplicate_codes, sort_rows
from feature_store.bars import SCHEMA

Content = Callable[[Sequence[int]], list[str]]

_ONE_MS = timedelta(milliseconds=1)  # the finest step of a bar's time
_AT_ONCE = 1_000_000  # rows that are held in memory together


class _Spool:
    """Frames in a file that has no name, so that it vanishes with the process however that ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._places)

    def add(self, frame: pl.DataFrame) -> None:
        block = io.BytesIO()
        frame.write_ipc(block, compression="lz4")
        start = self._file.seek(0, io.SEEK_END)
        self._places.append((start, self._file.write(block.getbuffer())))

    def __getitem__(self, number: int) -> pl.DataFrame:
        start, length = self._places[number]
        self._file.seek(start)
        return pl.read_ipc(io.BytesIO(self._file.read(length)))


@dataclass
class Incoming:
    """One source, sorted. `accepted()` and `rejected()` give frames one after the other, each time anew.

    accepted: columns of `SCHEMA`, each frame in time order, no time twice in all of them. rejected: columns of `TOLD`.
    long: whether it came in several frames.
    """

    accepted: Callable[[], Iterator[pl.DataFrame]]
    rejected: Callable[[], Iterator[pl.DataFrame]]
    rows_read: int
    spreads_cleared: int
    long: bool
    first: datetime | None = None  # naive UTC
    last: datetime | None = None
    rejects: dict[str, int] = field(default_factory=dict)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """First and last time, naive UTC; None when nothing is accepted."""
        return None if self.first is None or self.last is None else (self.first, self.last)


@contextmanager
def incoming(
    bars: pl.DataFrame | Iterable[pl.DataFrame], timeframe: str, at_s: float, content: Content | None, folder: Path
) -> Iterator[Incoming]:
    """The source, sorted, for the time of the block. folder: where a source of several frames may put a file."""
    frames = iter([bars] if isinstance(bars, pl.DataFrame) else bars)
    head = next(frames, None)
    if head is None:
        head = pl.DataFrame(schema=SCHEMA)
    second = next(frames, None)
    if second is None:
        yield _whole(sort_rows(head, timeframe, at_s), head.height, content)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as kept, TemporaryFile(dir=folder) as others:
        yield _Long(timeframe, at_s, _Spool(kept), _Spool(others)).take(chain([head, second], frames), content)


def _whole(rows: Sorted, height: int, content: Content | None) -> Incoming:
    kept, told = rows.accepted, with_content(rows.rejected, content)
    return Incoming(
        accepted=lambda: iter([kept]),
        rejected=lambda: iter([told] if told.height else []),
        rows_read=height,
        spreads_cleared=rows.spreads_cleared,
        long=False,
        first=kept["time"][0] if kept.height else None,
        last=kept["time"][-1] if kept.height else None,
        rejects=rows.rejects,
    )


class _Long:
    """A source of several frames: each is sorted by itself, then times that stand in two of them are found."""

    def __init__(self, timeframe: str, at_s: float, kept: _Spool, others: _Spool) -> None:
        self._timeframe, self._at_s, self._kept, self._others = timeframe, at_s, kept, others
        self._spans: list[tuple[datetime, datetime]] = []
        self._clashes: list[pl.Series] = []
        self._dropped: dict[int, list[int]] = {}  # by frame: source rows that others contradict or repeat
        self._counts: Counter[str] = Counter()

    def take(self, frames: Iterator[pl.DataFrame], content: Content | None) -> Incoming:
        read = cleared = 0
        rejected = _Told(self._others, content)
        for frame in frames:
            rows = sort_rows(frame, self._timeframe, self._at_s, rows_before=read)
            read += frame.height
            cleared += rows.spreads_cleared
            self._counts.update(rows.rejects)
            rejected.add(rows.rejected)
            clashing = rows.rejected.filter(pl.col("reason") == CLASH)["time"].unique()
            if clashing.len():
                self._clashes.append(clashing)
            if rows.accepted.height:
                self._kept.add(rows.accepted.with_columns(pl.Series("source_row", rows.rows)))
                self._spans.append((rows.accepted["time"][0], rows.accepted["time"][-1]))
        for repeated in self._repeated():
            self._counts.update(count_reasons(repeated))
            rejected.add(repeated)
        rejected.flush()
        spans = [span for number in range(len(self._kept)) if (span := self._span(number)) is not None]
        return Incoming(
            accepted=self._accepted,
            rejected=lambda: (self._others[number] for number in range(len(self._others))),
            rows_read=read,
            spreads_cleared=cleared,
            long=True,
            first=min((first for first, _ in spans), default=None),
            last=max((last for _, last in spans), default=None),
            rejects=dict(sorted(self._counts.items())),
        )

    def _accepted(self) -> Iterator[pl.DataFrame]:
        for number in range(len(self._kept)):
            yield self._frame(number).select(list(SCHEMA))

    def _span(self, number: int) -> tuple[datetime, datetime] | None:
        """First and last time of a frame, dropped rows left out."""
        if number not in self._dropped:
            return self._spans[number]
        times = self._frame(number)["time"]
        return (times[0], times[-1]) if times.len() else None

    def _frame(self, number: int) -> pl.DataFrame:
        frame, dropped = self._kept[number], self._dropped.get(number)
        return frame.filter(~pl.col("source_row").is_in(dropped)) if dropped else frame

    def _repeated(self) -> Iterator[pl.DataFrame]:
        """Rejected rows whose time stands in several frames: copies, or rows that contradict each other."""
        clashes = pl.concat(self._clashes).unique() if self._clashes else pl.Series("time", [], dtype=SCHEMA["time"])
        if clashes.len():
            for number in range(len(self._kept)):
                frame = self._kept[number]
                yield self._drop(number, frame.filter(pl.col("time").is_in(clashes.implode())), CLASH)
        for begins, end in self._shared_windows():
            rows = pl.concat(list(self._inside(begins, end)))
            codes = duplicate_codes(rows)
            for reason in (DUPLICATE, CLASH):
                bad = rows[np.flatnonzero(codes == REASONS.index(reason))]
                for (number, *_), part in bad.group_by("frame", maintain_order=True):
                    yield self._drop(int(str(number)), part, reason)

    def _drop(self, number: int, rows: pl.DataFrame, reason: str) -> pl.DataFrame:
        self._dropped.setdefault(number, []).extend(rows["source_row"])
        return rows.with_columns(pl.lit(reason).alias("reason")).select(list(REJECTED))

    def _shared_windows(self) -> Iterator[tuple[datetime, datetime]]:
        """Half-open spans of time that two frames or more cover, cut so that each holds about `_AT_ONCE` rows."""
        shared: list[tuple[datetime, datetime]] = []
        reach = datetime.min
        for begins, ends in sorted(self._spans):
            if begins <= reach:
                end = min(reach, ends) + _ONE_MS
                if shared and begins <= shared[-1][1]:
                    shared[-1] = shared[-1][0], max(shared[-1][1], end)
                else:
                    shared.append((begins, end))
            reach = max(reach, ends)
        for begins, end in shared:
            parts = -(-sum(part.height for part in self._inside(begins, end)) // _AT_ONCE)
            # Whole steps: polars would cut what is finer off, and then this side and that would count a bar differently.
            cuts = [begins + (end - begins) // _ONE_MS * k // parts * _ONE_MS for k in range(parts)]
            yield from pairwise([*cuts, end])

    def _inside(self, begins: datetime, end: datetime) -> Iterator[pl.DataFrame]:
        """Rows of every frame with times in [begins, end), with the frame's number."""
        for number, (first, last) in enumerate(self._spans):
            if first < end and last >= begins:
                inside = self._frame(number).filter(pl.col("time").is_between(begins, end, closed="left"))
                yield inside.with_columns(pl.lit(number).alias("frame"))


class _Told:
    """Rejected rows on their way into a spool, the text of many of them asked for at once: that reads the source again."""

    def __init__(self, spool: _Spool, content: Content | None) -> None:
        self._spool, self._content = spool, content
        self._waiting: list[pl.DataFrame] = []

    def add(self, rejected: pl.DataFrame) -> None:
        if rejected.height:
            self._waiting.append(rejected)
        if sum(frame.height for frame in self._waiting) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._spool.add(with_content(pl.concat(self._waiting), self._content))
            self._waiting = []


def with_content(rejected: pl.DataFrame, content: Content | None) -> pl.DataFrame:
    """Rejected rows with the text of the source's row, or what was read of it where the source has no text."""
    if content is not None and rejected.height:
        text = pl.Series("content", content(rejected["source_row"].to_list()), dtype=pl.String)
        return rejected.with_columns(text).select(list(TOLD))
    cells = [pl.col(name).cast(pl.String).fill_null("") for name in SCHEMA]
    return rejected.with_columns(pl.concat_str(cells, separator=",").alias("content")).select(list(TOLD))
