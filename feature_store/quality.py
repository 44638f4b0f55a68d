"""A short report on bars: what is missing, repeated, unknown or odd. It removes nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._errors import Final
from feature_store.bars import bar_close, epoch_s, seconds
from feature_store.clock import from_epoch, is_open_s, new_york_hour
from feature_store.spreads import MAX_ZERO_SHARE
from feature_store.symbols import is_pair

REPORT_SCHEMA = 1

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_LISTED = 5
_STALE_BARS = 5  # unchanged bars in a row that count as a frozen quote
_JUMP_IN_SDS = 15.0  # of robust standard deviations; fat tails reach 8 every month
_CLOSED_SHARE = 0.005  # above this share of bars in closed hours, the clock was read wrongly


@dataclass(frozen=True)
class Gap:
    """Missing bars inside the trading week. start: close of the bar before, end: open of the next."""

    start: datetime
    end: datetime
    bars_missing: int  # counted in open hours only


@dataclass(frozen=True)
class Jump:
    """A return far outside the usual, kept: real crashes look like this too."""

    time: datetime
    return_bp: float


@dataclass(frozen=True)
class QualityReport:
    """What was found. gaps, jumps: the largest few; shares are of rows, 0 to 1."""

    feed: str
    symbol: str
    timeframe: str
    rows: int
    first: datetime
    last: datetime
    gap_count: int
    bars_missing: int
    gaps: tuple[Gap, ...]
    duplicates: int
    closed_hours_share: float
    spread_unknown_share: float
    spread_zero_share: float
    spread_median_points: float | None
    spread_max_points: int | None
    stale_runs: int
    longest_stale_bars: int
    jump_count: int
    jumps: tuple[Jump, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Same values ready for JSON, with the number of their `schema`."""
        return {"schema": REPORT_SCHEMA} | {name: _plain(value) for name, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """The report as a few short lines, warnings last."""
        span = f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC"
        known = (
            f"spread median {self.spread_median_points:g}, max {self.spread_max_points} points; "
            if self.spread_max_points
            else ""
        )
        text = [
            f"{self.feed} {self.symbol} {self.timeframe}: {self.rows} bars, {span}",
            f"{self.bars_missing} bars missing in {self.gap_count} gaps inside the week, {self.duplicates} duplicate times",
            f"{known}spread unknown in {self.spread_unknown_share:.1%}, zero in {self.spread_zero_share:.1%} of bars",
            f"{self.stale_runs} runs of {_STALE_BARS} or more unchanged bars (longest {self.longest_stale_bars}), "
            f"{self.jump_count} jumps",
        ]
        text += [f"gap {g.start:%Y-%m-%d %H:%M} to {g.end:%Y-%m-%d %H:%M}: {g.bars_missing} bars" for g in self.gaps]
        text += [f"jump {j.time:%Y-%m-%d %H:%M}: {j.return_bp:+.0f} bp" for j in self.jumps]
        return text + [f"warning: {warning}" for warning in self.warnings]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def report(bars: pl.DataFrame, feed: str, symbol: str, timeframe: str) -> QualityReport:
    """What is odd about `bars` (columns of `SCHEMA`, at least one row, any order). Raises `Final` for no rows."""
    if bars.is_empty():
        raise Final(f"{feed} {symbol} {timeframe}: there are no bars to report on")
    bars = bars.sort("time", maintain_order=True)
    times = epoch_s(bars["time"])
    gap_rows, missing = _gaps(times, feed, symbol, timeframe)
    closes = bar_close(times, timeframe)
    close = bars["close"].to_numpy().astype(np.float64)
    jumps = _jumps(times, close, timeframe)
    stale = _stale_runs(bars)
    spread = bars["spread_points"]
    median = spread.median()
    largest = spread.max()
    closed_share = float(np.mean(~is_open_s(feed, times)))
    unknown_share = spread.null_count() / bars.height
    zero_share = int((spread == 0).sum()) / bars.height
    return QualityReport(
        feed=feed,
        symbol=symbol,
        timeframe=timeframe,
        rows=bars.height,
        first=from_epoch(int(times[0])),
        last=from_epoch(int(times[-1])),
        gap_count=len(gap_rows),
        bars_missing=int(missing.sum()),
        gaps=tuple(
            Gap(from_epoch(int(closes[gap_rows[i]])), from_epoch(int(times[gap_rows[i] + 1])), int(missing[i]))
            for i in np.argsort(-missing, kind="stable")[:_LISTED]
        ),
        duplicates=int((np.diff(times) == 0).sum()),
        closed_hours_share=closed_share,
        spread_unknown_share=unknown_share,
        spread_zero_share=zero_share,
        spread_median_points=float(median) if isinstance(median, int | float) else None,
        spread_max_points=int(largest) if isinstance(largest, int) else None,
        stale_runs=len(stale),
        longest_stale_bars=max(stale, default=0),
        jump_count=len(jumps),
        jumps=tuple(sorted(jumps, key=lambda jump: -abs(jump.return_bp))[:_LISTED]),
        warnings=_warnings(symbol, float(np.median(close)), closed_share, unknown_share, zero_share),
    )


def _quoted(times: IntArray, feed: str, symbol: str) -> npt.NDArray[np.bool_]:
    """Whether the symbol is expected to quote: metals rest from 17 to 18 New York every day."""
    open_ = is_open_s(feed, times)
    return open_ & (new_york_hour(times) != 17) if symbol.startswith(("XAU", "XAG", "XPT", "XPD")) else open_


def _gaps(times: IntArray, feed: str, symbol: str, timeframe: str) -> tuple[IntArray, IntArray]:
    """Rows after which bars are missing, and how many: grid moments of the hole at which the symbol quotes."""
    closes = bar_close(times, timeframe)[:-1]
    rows = np.flatnonzero(times[1:] > closes)
    if not len(rows):
        return rows, rows
    length = seconds(timeframe)
    holes = -(-(times[rows + 1] - closes[rows]) // length)  # rounded up
    starts = np.cumsum(holes) - holes
    steps = np.arange(holes.sum()) - np.repeat(starts, holes)
    missing = np.add.reduceat(_quoted(np.repeat(closes[rows], holes) + steps * length, feed, symbol).astype(np.int64), starts)
    return rows[missing > 0], missing[missing > 0]


def _jumps(times: IntArray, close: FloatArray, timeframe: str) -> list[Jump]:
    """Returns between adjacent bars beyond `_JUMP_IN_SDS` robust standard deviations; gaps are no jumps."""
    if len(close) < 2:
        return []
    adjacent = times[1:] == bar_close(times, timeframe)[:-1]
    returns = np.log(close[1:] / close[:-1])
    moved = np.abs(returns[adjacent & (returns != 0)])
    if not len(moved):
        return []
    limit = _JUMP_IN_SDS * float(np.median(moved)) / 0.6745
    return [
        Jump(from_epoch(int(times[i + 1])), float(returns[i] * 1e4)) for i in np.flatnonzero(adjacent & (np.abs(returns) > limit))
    ]


def _stale_runs(bars: pl.DataFrame) -> list[int]:
    """Lengths of runs of bars without range at one price, `_STALE_BARS` or longer."""
    flat = ((bars["high"] == bars["low"]) & (bars["close"] == bars["close"].shift(1))).fill_null(False).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    return [int(n) for n in lengths[lengths >= _STALE_BARS]]


def _warnings(symbol: str, price: float, closed: float, unknown: float, zero: float) -> tuple[str, ...]:
    found = []
    if closed > _CLOSED_SHARE:
        found.append(f"{closed:.1%} of bars stand in hours when the market is closed; the clock rule may be wrong")
    if zero > MAX_ZERO_SHARE:
        found.append(f"the spread is zero in {zero:.0%} of bars; costs will be assumed instead")
    if unknown > 0.5:
        found.append(f"the spread is unknown in {unknown:.0%} of bars; costs will be assumed unless the rest is enough")
    # No currency of the list is worth more than 30,000 of another (forint, yen, baht and won stay far below).
    if is_pair(symbol) and not symbol.startswith("X") and price > 30_000:
        found.append(f"prices near {price:g} are no {symbol} rate; they may be multiplied by a power of ten")
    return tuple(found)
