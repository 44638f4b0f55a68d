"""Odd prices: jumps that stay, spikes that come back within the bar, quotes that stand still. All are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._quality_calendar import fx_wall_s
from feature_store.bars import bar_close
from feature_store.clock import from_epoch

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

LISTED = 50
STALE_BARS = 5  # unchanged bars in a row that count as a frozen quote
_IN_SCALES = 12.0  # of the usual move at that hour of the week; fat tails reach 8 every month
_STAYS = 0.25  # a spike leaves less of itself behind than this
_SHRINK = 50  # observations of all hours that each hour of the week is mixed with
_FLOOR = 0.5  # of the usual move of all hours: at 17:00 New York a tick is a jump otherwise
_MEDIAN_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class Jump:
    """A move far outside the usual of its hour of the week, kept: real crashes look like this too.

    return_bp: of a jump, close to close; of a spike, how far its wick reached beyond open and close. scales: the
    same in robust standard deviations of that hour of the week. seen: whether another feed moved at least half as far
    then, None when none was there.
    """

    time: datetime
    return_bp: float
    scales: float = 0.0
    seen: bool | None = None


@dataclass(frozen=True)
class StaleRun:
    """Bars in a row without range at one price. start: open of the first."""

    start: datetime
    bars: int
    price: float


@dataclass(frozen=True)
class Moves:
    """Jumps that stayed and spikes that came back, counted; the largest of each listed."""

    jump_count: int
    jumps: tuple[Jump, ...]
    spike_count: int
    spikes: tuple[Jump, ...]


def find_moves(times: IntArray, bars: pl.DataFrame, timeframe: str) -> Moves:
    """What moved too far. times: opens (UTC epoch s), ascending; returns across gaps are no jumps."""
    if len(times) < 2:
        return Moves(0, (), 0, ())
    logs = {name: np.log(bars[name].to_numpy().astype(np.float64)) for name in ("open", "high", "low", "close")}
    adjacent = times[1:] == bar_close(times, timeframe)[:-1]
    returns = np.where(adjacent, np.diff(logs["close"]), 0.0)
    scale = week_scale(times, np.concatenate([[0.0], returns]))
    if scale is None:
        return Moves(0, (), 0, ())
    moved = np.concatenate([[0.0], returns]) / scale
    far = np.abs(moved) > _IN_SCALES
    # A close that comes back with the next one never was a price at which the market stood.
    back = np.zeros(len(times), dtype=np.bool_)
    back[1:-1] = far[1:-1] & far[2:] & (np.abs(returns[:-1] + returns[1:]) < _STAYS * np.abs(returns[:-1]))
    returned = np.concatenate([[False], back[:-1]])
    wick = _wick(logs)
    body = np.abs(logs["close"] - logs["open"])
    spiked = (np.abs(wick) > _IN_SCALES * scale) & (body < _STAYS * np.abs(wick)) & ~far
    jumped = far & ~back & ~returned
    reach = np.where(back, moved * scale, wick)
    return Moves(
        jump_count=int(jumped.sum()),
        jumps=_largest(times, moved * scale, scale, jumped),
        spike_count=int((spiked | back).sum()),
        spikes=_largest(times, reach, scale, spiked | back),
    )


def week_scale(times: IntArray, returns: FloatArray) -> FloatArray | None:
    """Usual size of a return (robust standard deviation) at each bar's hour of the FX week, None when none moved.

    The median of what moved at that hour in all weeks, mixed with that of all hours where there are few.
    """
    hour = fx_wall_s(times) // 3600 % 168
    moved = returns != 0
    size = np.abs(returns[moved])
    if not len(size):
        return None
    overall = float(np.median(size))
    table = pl.DataFrame({"hour": hour[moved], "size": size}).group_by("hour").agg(pl.col("size").median(), pl.len().alias("n"))
    usual, weight = np.full(168, overall), table["n"].to_numpy()
    usual[table["hour"].to_numpy()] = (table["size"].to_numpy() * weight + overall * _SHRINK) / (weight + _SHRINK)
    scale: FloatArray = np.maximum(usual, _FLOOR * overall)[hour] / _MEDIAN_OF_NORMAL
    return scale


def _wick(logs: dict[str, FloatArray]) -> FloatArray:
    """The longer wick of each bar, negative when it points down."""
    up = logs["high"] - np.maximum(logs["open"], logs["close"])
    down = np.minimum(logs["open"], logs["close"]) - logs["low"]
    return np.where(up >= down, up, -down)


def _largest(times: IntArray, reach: FloatArray, scale: FloatArray, chosen: BoolArray) -> tuple[Jump, ...]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-np.abs(reach[rows]), kind="stable")][:LISTED]
    return tuple(Jump(from_epoch(int(times[i])), float(reach[i] * 1e4), float(reach[i] / scale[i])) for i in rows)


def find_stale(times: IntArray, bars: pl.DataFrame) -> tuple[int, tuple[StaleRun, ...]]:
    """How many runs of `STALE_BARS` or more bars without range at one price there are, and the longest of them."""
    close = bars["close"].to_numpy()
    flat = np.concatenate([[False], (bars["high"] == bars["low"]).to_numpy()[1:] & (close[1:] == close[:-1]), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, lengths = edges[::2] + 1, edges[1::2] - edges[::2]
    starts, lengths = starts[lengths >= STALE_BARS], lengths[lengths >= STALE_BARS]
    order = np.argsort(-lengths, kind="stable")[:LISTED]
    runs = tuple(StaleRun(from_epoch(int(times[starts[i]])), int(lengths[i]), float(close[starts[i]])) for i in order)
    return len(lengths), runs
