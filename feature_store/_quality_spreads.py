"""What the spread column is worth: its regimes over time, values that stand for nothing, months full of zeros."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._quality_calendar import fx_wall_s
from feature_store.clock import from_epoch, server_to_utc

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_CONSTANT_SHARE = 0.95
_MIN_DAYS = 40  # a shorter spell is a crisis, not a regime
_PENALTY = 30.0  # of the noise's variance times log n, that one more regime must explain
_LEAST_NOISE = 0.15  # in log points: one point at 6
_LEAST_STEP = 0.2  # regimes closer than a fifth are one
_PLUG_ROWS, _PLUG_SHARE, _PLUG_NEAR, _PLUG_ABOVE = 30, 0.002, 0.5, 1.5


@dataclass(frozen=True)
class Regime:
    """Days between two changes of the daily median spread. constant_points: one value in 95 % of its bars."""

    start: datetime
    end: datetime
    days: int
    median_points: float
    p95_points: float
    zero_share: float
    constant_points: int | None


@dataclass(frozen=True)
class Plug:
    """A spread that stands for `nobody knew`: far above the usual and far more often than values around it."""

    points: int
    rows: int


@dataclass(frozen=True)
class Month:
    """One month of bars. Shares are of its rows; median_points: None when no spread is known."""

    month: str  # 2024-06
    rows: int
    spread_zero_share: float
    spread_unknown_share: float
    median_points: float | None


@dataclass(frozen=True)
class Spreads:
    regimes: tuple[Regime, ...]
    plugs: tuple[Plug, ...]
    months: tuple[Month, ...]


def find_spreads(times: IntArray, bars: pl.DataFrame) -> Spreads:
    """Regimes, plugs and months of `bars` that open at `times` (UTC epoch s, ascending)."""
    table = pl.DataFrame(
        {
            "day": fx_wall_s(times) // 86400,
            "spread": bars["spread_points"],
        }
    )
    months = _months(bars)
    known = table.drop_nulls()
    if known.is_empty():
        return Spreads((), (), months)
    regimes = _regimes(known)
    return Spreads(regimes, _plugs(known["spread"], regimes), months)


def _months(bars: pl.DataFrame) -> tuple[Month, ...]:
    spread = pl.col("spread_points")
    table = (
        bars.lazy()
        .group_by(pl.col("time").dt.truncate("1mo").alias("month"))
        .agg(
            pl.len().alias("rows"),
            (spread == 0).sum().alias("zero"),
            spread.null_count().alias("unknown"),
            spread.median().alias("median"),
        )
        .sort("month")
        .collect()
    )
    return tuple(
        Month(f"{month:%Y-%m}", rows, zero / rows, unknown / rows, median)
        for month, rows, zero, unknown, median in table.iter_rows()
    )


def _regimes(known: pl.DataFrame) -> tuple[Regime, ...]:
    daily = known.lazy().group_by("day").agg(pl.col("spread").median().alias("median")).sort("day").collect()
    days, level = daily["day"].to_numpy(), np.log1p(np.maximum(daily["median"].to_numpy(), 0.0))
    cuts = [0, *_changes(level), len(level)]
    numbered = pl.DataFrame({"day": days, "regime": np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))})
    spread = pl.col("spread")
    table = (
        known.lazy()
        .join(numbered.lazy(), on="day")
        .group_by("regime")
        .agg(
            spread.median().alias("median"),
            spread.quantile(0.95).alias("p95"),
            (spread == 0).mean().alias("zero"),
            spread.mode().first().alias("mode"),
            (spread == spread.mode().min()).mean().alias("mode_share"),
        )
        .sort("regime")
        .collect()
    )
    found = []
    for i, (_, median, p95, zero, mode, share) in enumerate(table.iter_rows()):
        found.append(
            Regime(
                start=_day(days[cuts[i]]),
                end=_day(days[cuts[i + 1] - 1] + 1),
                days=cuts[i + 1] - cuts[i],
                median_points=median,
                p95_points=p95,
                zero_share=zero,
                constant_points=int(mode) if share >= _CONSTANT_SHARE else None,
            )
        )
    return tuple(found)


def _day(number: int) -> datetime:
    """UTC moment at which the FX day of that number starts: 17:00 New York on its eve."""
    return from_epoch(int(server_to_utc(np.array([number * 86400]), "ny+7")[0]))


def _changes(level: FloatArray) -> list[int]:
    """Where the level changes for good: binary segmentation by squares, then near neighbours joined.

    The penalty is that of Yao 1988, Estimating the number of change-points via Schwarz' criterion, made heavier:
    daily medians are not independent.
    """
    if len(level) < 2 * _MIN_DAYS:
        return []
    noise = max(float(np.median(np.abs(np.diff(level)))) * 1.05, _LEAST_NOISE)
    penalty = _PENALTY * noise**2 * float(np.log(len(level)))
    sums, squares = (np.concatenate([[0.0], np.cumsum(level**power)]) for power in (1, 2))

    def cost(start: IntArray | int, end: IntArray | int) -> FloatArray:
        return np.asarray(squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / (np.asarray(end) - start))

    found: list[int] = []
    open_ = [(0, len(level))]
    while open_:
        start, end = open_.pop()
        if end - start < 2 * _MIN_DAYS:
            continue
        at = np.arange(start + _MIN_DAYS, end - _MIN_DAYS + 1)
        gain = cost(start, end) - cost(start, at) - cost(at, end)
        best = int(np.argmax(gain))
        if gain[best] > penalty:
            found.append(int(at[best]))
            open_ += [(start, int(at[best])), (int(at[best]), end)]
    return _joined(level, sorted(found))


def _joined(level: FloatArray, cuts: list[int]) -> list[int]:
    """The cuts without those whose two sides have nearly one median, the closest taken out first."""
    while cuts:
        ends = [0, *cuts, len(level)]
        medians = [float(np.median(level[a:b])) for a, b in pairwise(ends)]
        steps = np.abs(np.diff(medians))
        weakest = int(np.argmin(steps))
        if steps[weakest] >= _LEAST_STEP:
            return cuts
        cuts = cuts[:weakest] + cuts[weakest + 1 :]
    return cuts


def _plugs(spread: pl.Series, regimes: tuple[Regime, ...]) -> tuple[Plug, ...]:
    counts = spread.filter(spread > 0).value_counts(sort=False).sort(spread.name)
    value, count = counts[spread.name].to_numpy().astype(np.int64), counts["count"].to_numpy().astype(np.int64)
    if not len(value):
        return ()
    usual = {regime.median_points for regime in regimes}
    running = np.concatenate([[0], np.cumsum(count)])
    near = running[np.searchsorted(value, 1.4 * value, side="right")] - running[np.searchsorted(value, 0.7 * value)]
    middle = float(value[np.searchsorted(running[1:], running[-1] / 2)])
    odd = (count > _PLUG_NEAR * near) & (value >= _PLUG_ABOVE * middle) & (count >= max(_PLUG_ROWS, _PLUG_SHARE * len(spread)))
    return tuple(Plug(int(v), int(c)) for v, c in zip(value[odd], count[odd], strict=True) if float(v) not in usual)
