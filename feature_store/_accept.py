"""Which rows of a source may be stored, and why the others may not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import SCHEMA, bar_close, bar_open, conform, epoch_s, seconds

_PRICES = ("open", "high", "low", "close")
# Sources aggregate and round sides apart; a millionth of the price is far below any point size.
_ROUNDING = 1e-9

UNREADABLE = "time unreadable"
OFF_GRID = "time off the grid"
FORMING = "forming"
DUPLICATE = "duplicate"
CLASH = "duplicate time with other content"
# A row gets the first of these that holds. 0 is a row that may be stored.
REASONS = (
    "",
    UNREADABLE,
    "price missing",
    "price not positive",
    "high below low",
    "open or close outside low to high",
    "volume negative",
    OFF_GRID,
    FORMING,
    DUPLICATE,
    CLASH,
)

Codes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

REJECTED: dict[str, pl.DataType] = {"source_row": pl.Int64(), "reason": pl.String(), **SCHEMA}
"""Columns of rejected rows: where they stood, why they may not be stored, and what was read of them."""

TOLD: dict[str, pl.DataType] = {
    "source_row": pl.Int64(), "reason": pl.String(), "time": SCHEMA["time"], "content": pl.String(),
}  # fmt: skip
"""Columns of rejected rows as the store keeps them; content is the text of the source's row."""


@dataclass(frozen=True)
class Sorted:
    """Rows that may be stored, in time order, unique in time, and those that may not.

    accepted: columns of `SCHEMA`. rows: source row of each of them. rejected: columns of `REJECTED`.
    """

    accepted: pl.DataFrame
    rows: Rows
    rejected: pl.DataFrame
    spreads_cleared: int  # rows kept whose negative spread is stored as unknown

    @property
    def rejects(self) -> dict[str, int]:
        """How many rows were rejected, by reason."""
        return count_reasons(self.rejected)


def count_reasons(rejected: pl.DataFrame) -> dict[str, int]:
    """Number of rows by reason, reasons in alphabetical order."""
    return dict(rejected.group_by("reason").len().sort("reason").iter_rows())


def sort_rows(bars: pl.DataFrame, timeframe: str, at_s: float, *, rows_before: int = 0) -> Sorted:
    """Split `bars` into rows to store and rejects; `at_s` (epoch s) is now: later closes are forming.

    A row is rejected for the first reason that holds: time unreadable, price missing, price not positive,
    high below low, open or close outside low to high, volume negative, time off the grid, forming, duplicate
    (same content; one copy stays), duplicate time with other content (none stays: which is right is unknown).
    A column `source_row` says where each row stood; without it they are counted from `rows_before` + 1.
    """
    frame = conform(bars)
    codes = _value_codes(frame)
    _mark_times(codes, frame["time"], timeframe, at_s)
    if codes.any():
        good = np.flatnonzero(codes == 0)
        kept = frame[good]
    else:
        good, kept = None, frame
    moments = _ms(kept["time"])
    if not bool((moments[1:] > moments[:-1]).all()):
        good = np.arange(frame.height) if good is None else good
        codes[good] = duplicate_codes(kept)
        good = good[codes[good] == 0]
        good = good[np.argsort(_ms(frame["time"])[good], kind="stable")]
        kept = frame[good]
    numbers = _source_rows(bars, rows_before)
    kept, cleared = _clear_spreads(kept)
    return Sorted(kept, numbers if good is None else numbers[good], _rejected(frame, codes, numbers), cleared)


def _ms(times: pl.Series) -> Rows:
    """Epoch milliseconds, 0 where the time is unreadable."""
    return times.to_physical().fill_null(0).to_numpy()


def _source_rows(bars: pl.DataFrame, rows_before: int) -> Rows:
    if "source_row" in bars.columns:
        return bars["source_row"].cast(pl.Int64).to_numpy()
    return np.arange(rows_before + 1, rows_before + bars.height + 1)


def _value_codes(frame: pl.DataFrame) -> Codes:
    """Code of the first reason that lies in the row's own values."""
    slack = pl.col("close") * _ROUNDING
    outside = (pl.max_horizontal("open", "close") > pl.col("high") + slack) | (
        pl.min_horizontal("open", "close") < pl.col("low") - slack
    )
    conditions = [
        pl.col("time").is_null(),
        pl.any_horizontal(pl.col(c).is_null() | ~pl.col(c).is_finite() for c in _PRICES),
        pl.min_horizontal(*_PRICES) <= 0,
        pl.col("high") < pl.col("low"),
        outside,
        (pl.col("tick_volume") < 0) | (pl.col("real_volume") < 0),
    ]
    # One pass that says whether anything is wrong: nearly always nothing is.
    wrong = frame.select(pl.any_horizontal(c.fill_null(False) for c in conditions).alias("wrong"))["wrong"]
    if not wrong.any():
        return np.zeros(frame.height, dtype=np.uint8)
    code = pl.lit(0)
    for number, condition in reversed(list(enumerate(conditions, start=1))):
        code = pl.when(condition).then(pl.lit(number)).otherwise(code)
    # copied: what polars hands out is not ours to write to
    return frame.select(code.cast(pl.UInt8).alias("code"))["code"].to_numpy().copy()


def _mark_times(codes: Codes, times: pl.Series, timeframe: str, at_s: float) -> None:
    """Give rows without a code the one of their time: off the grid, or still forming at `at_s`."""
    ms = _ms(times)
    length_s = seconds(timeframe)
    if length_s <= 3600:
        off_grid = ms % (length_s * 1000) != 0
    else:
        whole_s = epoch_s(pl.Series(ms).cast(pl.Datetime("ms")))
        off_grid = (ms % 1000 != 0) | (bar_open(whole_s, timeframe) != whole_s)
    codes[(codes == 0) & off_grid] = REASONS.index(OFF_GRID)
    # A clock change makes a bar an hour longer than its name at most; mostly the newest closed long ago.
    if ms.size and (int(ms.max()) // 1000 + length_s + 3600) > at_s:
        forming = bar_close(ms // 1000, timeframe) > at_s
        codes[(codes == 0) & forming] = REASONS.index(FORMING)


def duplicate_codes(bars: pl.DataFrame) -> Codes:
    """Code of each row of `bars`: 0, a copy of an earlier row, or one of several contents of one time."""
    codes = np.zeros(bars.height, dtype=np.uint8)
    again = np.flatnonzero(bars["time"].is_duplicated().to_numpy())
    if not again.size:
        return codes
    shared = bars.select(list(SCHEMA))[again]
    first = shared.select(pl.struct(pl.all()).is_first_distinct().alias("first"))["first"].to_numpy()
    codes[again[~first]] = REASONS.index(DUPLICATE)
    contents = shared.filter(first)["time"].is_duplicated().to_numpy()
    codes[again[first][contents]] = REASONS.index(CLASH)
    return codes


def _clear_spreads(kept: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The bars with negative spreads unknown: a bid above the ask is two sides aggregated apart, not a cost."""
    negative = int((kept["spread_points"] < 0).sum())
    if not negative:
        return kept, 0
    known = pl.when(pl.col("spread_points") >= 0).then(pl.col("spread_points"))
    return kept.with_columns(known.alias("spread_points")), negative


def _rejected(frame: pl.DataFrame, codes: Codes, numbers: Rows) -> pl.DataFrame:
    bad = np.flatnonzero(codes)
    if not bad.size:
        return pl.DataFrame(schema=REJECTED)
    reasons = pl.Series("reason", [REASONS[code] for code in codes[bad]], dtype=pl.String)
    return frame[bad].with_columns(reasons, pl.Series("source_row", numbers[bad])).select(list(REJECTED))
