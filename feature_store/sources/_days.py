"""Files that each hold one day of a series become the series: a day alone tells neither clock nor gaps."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import polars as pl

from feature_store.sources._raw import RawBars

_SHOWN_NOTES = 3
_DATE = re.compile(r"(19|20)\d{6}")


def joined_days(days: Sequence[RawBars]) -> Iterator[RawBars]:
    """One `RawBars` for the days of each symbol and timeframe, in the order of their first bar.

    Days belong together when their files are named alike but for the date: another market has another clock.
    """
    series: dict[tuple[str, str, str], list[RawBars]] = {}
    for day in days:
        series.setdefault((day.symbol, day.timeframe, _DATE.sub("*", day.origin)), []).append(day)
    for same in series.values():
        yield same[0] if len(same) == 1 else _joined(same)


def _joined(days: Sequence[RawBars]) -> RawBars:
    frames = [pl.concat(list(day.chunks())) for day in days]
    order = sorted(range(len(days)), key=lambda n: (frames[n]["time"].min() is None, frames[n]["time"].min()))
    days, frames = [days[n] for n in order], [frames[n] for n in order]
    # Rows go on counting through the files, so that each names one line.
    ends = list(accumulate(int(frame.select(pl.col("source_row").max().fill_null(0)).item()) for frame in frames))
    starts = [0, *ends[:-1]]
    whole = pl.concat([f.with_columns(pl.col("source_row") + start) for f, start in zip(frames, starts, strict=True)])

    def content(rows: Sequence[int]) -> list[str]:
        at = [(bisect_right(starts, row - 1) - 1, row) for row in rows]
        return [days[n].content([row - starts[n]])[0] for n, row in at]

    notes = list(dict.fromkeys(note for day in days for note in day.notes))
    more = [f"{len(notes) - _SHOWN_NOTES:,} more notes like these"] if len(notes) > _SHOWN_NOTES else []
    return replace(
        days[0],
        chunks=lambda: iter((whole,)),
        origin=f"{days[0].origin} and {len(days) - 1:,} more days",
        sha256=hashlib.sha256("".join(day.sha256 for day in days).encode()).hexdigest(),
        content=content,
        notes=(f"{len(days):,} files of a day each joined", *notes[:_SHOWN_NOTES], *more),
    )
