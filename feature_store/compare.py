"""Two feeds of one symbol side by side: bars, closes, returns, spreads and labels over the span they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from feature_store._arrays import F64, I8
from feature_store._errors import Final
from feature_store.bars import epoch_s, seconds
from feature_store.clock import from_epoch, new_york_hour, new_york_offset_s
from feature_store.spreads import SpreadTable

COMPARISON_SCHEMA = 1
LAGS = (-3, -2, -1, 0, 1, 2, 3)
NO_LABEL = -1

_DAY_S = 86400
_WINDOW_BARS = 24  # a slip is looked for in windows of a day, or of so many bars where those are longer
_LEAST_RETURNS = 12
_SLIPPED, _AGREE = 0.9, 0.7  # correlation at another lag from which on, and at lag 0 up to which, a window has slipped


@dataclass(frozen=True, eq=False)
class Side:
    """One feed's part. bars: columns of `bars.SCHEMA` in time order. point: of the symbol there.

    labels: (bars,) 0 short, 1 flat, 2 long, or -1 where there is none; None when they could not be made.
    """

    feed: str
    bars: pl.DataFrame
    point: float
    table: SpreadTable
    labels: I8 | None


@dataclass(frozen=True)
class Slip:
    """Windows in a row in which one feed's clock is off: A's return at a bar is B's `lag_bars` bars later."""

    start: datetime
    end: datetime
    lag_bars: int
    correlation: float
    correlation_at_zero: float


@dataclass(frozen=True)
class HourSpread:
    """Spreads of one New York hour in price units; own: median of the positive ones bars recorded, None for none."""

    hour: int
    own_a: float | None
    own_b: float | None
    table_a: float
    table_b: float


@dataclass(frozen=True)
class Comparison:
    """What differs. Shares are 0 to 1, None where there is nothing to compare. `only_*`: bars the other one lacks.

    close_*: absolute differences at bars both have; points are A's. bias_bp: median of A minus B.
    correlation: by lag, of A's returns with B's that many bars later.
    """

    symbol: str
    timeframe: str
    feed_a: str
    feed_b: str
    first: datetime
    last: datetime
    bars_a: int
    bars_b: int
    both: int
    only_a: int
    only_b: int
    close_bp_median: float
    close_bp_p99: float
    close_points_median: float
    close_points_p99: float
    bias_bp: float
    correlation: dict[int, float | None]
    slips: tuple[Slip, ...]
    spreads: tuple[HourSpread, ...]
    evidence_a: str
    evidence_b: str
    labels_compared: int
    labels_equal: float | None
    labels_opposite: float | None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the number of their `schema`."""
        plain = asdict(self)
        for moment in (plain, *plain["slips"]):
            moment |= {name: value.isoformat() for name, value in moment.items() if isinstance(value, datetime)}
        plain["correlation"] = {str(lag): value for lag, value in self.correlation.items()}
        return {"schema": COMPARISON_SCHEMA} | plain

    def lines(self) -> list[str]:
        """The comparison as short lines; the spreads by hour are a table of their own."""
        said = [
            f"{self.symbol} {self.timeframe}, {self.feed_a} against {self.feed_b}, "
            f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC",
            f"bars: {self.both:,} in both, {self.only_a:,} only in {self.feed_a}, {self.only_b:,} only in {self.feed_b}",
            f"closes differ by {self.close_bp_median:.2f} bp (median), {self.close_bp_p99:.2f} bp (99 %); "
            f"{self.close_points_median:.1f} and {self.close_points_p99:.1f} points; "
            f"{self.feed_a} minus {self.feed_b}: {self.bias_bp:+.2f} bp",
            "return correlation by lag in bars: "
            + ", ".join(f"{lag:+d}: {'-' if r is None else f'{r:.3f}'}" for lag, r in self.correlation.items()),
        ]
        said += [
            f"clock slip: {s.start:%Y-%m-%d} to {s.end:%Y-%m-%d} {self.feed_a} runs {abs(s.lag_bars)} bars "
            f"{'late' if s.lag_bars < 0 else 'early'} against {self.feed_b} "
            f"(correlation {s.correlation:.2f}, without the shift {s.correlation_at_zero:.2f})"
            for s in self.slips
        ]
        if self.labels_equal is not None:
            said.append(
                f"labels: {self.labels_equal:.1%} equal, {self.labels_opposite:.2%} opposite, of {self.labels_compared:,} "
                "made from each feed's own prices and costs"
            )
        said += [f"spreads of {self.feed_a}: {self.evidence_a}", f"spreads of {self.feed_b}: {self.evidence_b}"]
        return said + list(self.notes)


def compare(a: Side, b: Side, symbol: str, timeframe: str, notes: Sequence[str] = ()) -> Comparison:
    """How feeds `a` and `b` differ over the span they share. Raises `Final` when they share no bar."""
    left, right = _shared(a, b, timeframe)
    if left.is_empty() or right.is_empty():
        spans = " and ".join(f"{side.feed} {_span(side.bars)}" for side in (a, b))
        raise Final(f"{symbol} {timeframe}: the feeds share no time, there is {spans}; ingest bars of the same years")
    both = left.join(right, on="n", suffix="_b")
    if both.is_empty():
        raise Final(f"{symbol} {timeframe}: no bar of {a.feed} opens when one of {b.feed} does; check the clocks of both")
    difference = (both["close"] - both["close_b"]).to_numpy()
    bp, points = 1e4 * difference / both["close_b"].to_numpy(), difference / a.point
    lagged = {lag: _lagged(left, right, lag) for lag in LAGS}
    labelled = both.filter((pl.col("label") != NO_LABEL) & (pl.col("label_b") != NO_LABEL))
    return Comparison(
        symbol=symbol,
        timeframe=timeframe,
        feed_a=a.feed,
        feed_b=b.feed,
        first=from_epoch(max(int(left["s"][0]), int(right["s"][0]))),
        last=from_epoch(min(int(left["s"][-1]), int(right["s"][-1]))),
        bars_a=left.height,
        bars_b=right.height,
        both=both.height,
        only_a=left.height - both.height,
        only_b=right.height - both.height,
        close_bp_median=float(np.median(np.abs(bp))),
        close_bp_p99=float(np.percentile(np.abs(bp), 99)),
        close_points_median=float(np.median(np.abs(points))),
        close_points_p99=float(np.percentile(np.abs(points), 99)),
        bias_bp=float(np.median(bp)),
        correlation={lag: _correlation(frame) for lag, frame in lagged.items()},
        slips=_slips(lagged, timeframe),
        spreads=_by_hour(a, b, left, right),
        evidence_a=a.table.evidence,
        evidence_b=b.table.evidence,
        labels_compared=labelled.height,
        labels_equal=_share(labelled, pl.col("label") == pl.col("label_b")),
        labels_opposite=_share(labelled, (pl.col("label") - pl.col("label_b")).abs() == 2),
        notes=tuple(notes),
    )


def _shared(a: Side, b: Side, timeframe: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars of both in the shared span: time s, bar number n, close, spread in price units, return r, label."""
    start, end = max(_edge(a.bars, 0), _edge(b.bars, 0)), min(_edge(a.bars, -1), _edge(b.bars, -1))
    return _numbered(a, start, end, timeframe), _numbered(b, start, end, timeframe)


def _edge(bars: pl.DataFrame, at: int) -> int:
    return int(epoch_s(bars["time"][[at]])[0])


def _span(bars: pl.DataFrame) -> str:
    return f"{from_epoch(_edge(bars, 0)):%Y-%m-%d} to {from_epoch(_edge(bars, -1)):%Y-%m-%d}"


def _numbered(side: Side, start: int, end: int, timeframe: str) -> pl.DataFrame:
    opens = epoch_s(side.bars["time"])
    labels = np.full(len(opens), NO_LABEL, dtype=np.int8) if side.labels is None else side.labels
    step = seconds(timeframe)
    follows = pl.col("n").diff() == 1
    frame = pl.DataFrame(
        {
            "s": opens,
            "n": (opens + (new_york_offset_s(opens) + 7 * 3600 if step > 3600 else 0)) // step,
            "close": side.bars["close"],
            "spread": side.bars["spread_points"].cast(pl.Float64) * side.point,
            "label": labels.astype(np.int64),
        }
    )
    # A return over a weekend or a gap would be another span than the other feed's.
    moved = frame.with_columns(pl.when(follows).then(pl.col("close").log().diff()).alias("r"))
    return moved.filter(pl.col("s").is_between(start, end))


def _lagged(left: pl.DataFrame, right: pl.DataFrame, lag: int) -> pl.DataFrame:
    """Pairs of returns: A's at a bar and B's `lag` bars later."""
    other = right.select((pl.col("n") - lag).alias("n"), pl.col("r").alias("r_b"))
    return left.select("s", "n", "r").join(other, on="n").drop_nulls()


def _correlation(pairs: pl.DataFrame) -> float | None:
    found = pairs.select(pl.corr("r", "r_b"))[0, 0] if pairs.height >= _LEAST_RETURNS else None
    return float(found) if found is not None and np.isfinite(found) else None


def _slips(lagged: dict[int, pl.DataFrame], timeframe: str) -> tuple[Slip, ...]:
    window_s = max(_DAY_S, _WINDOW_BARS * seconds(timeframe))
    windows = [
        pairs.group_by((pl.col("s") // window_s).alias("w"))
        .agg(pl.corr("r", "r_b").alias("c"), pl.len().alias("count"))
        .filter((pl.col("count") >= _LEAST_RETURNS) & pl.col("c").is_finite())
        .select("w", "c", pl.lit(lag).alias("lag"))
        for lag, pairs in lagged.items()
    ]
    every = pl.concat(windows)
    zero = every.filter(pl.col("lag") == 0).select("w", pl.col("c").alias("zero"))
    best = every.filter(pl.col("lag") != 0).sort("c", descending=True).unique("w", keep="first", maintain_order=True)
    slipped = best.join(zero, on="w").filter((pl.col("c") >= _SLIPPED) & (pl.col("zero") <= _AGREE)).sort("w")
    found: list[list[tuple[int, float, int, float]]] = []
    for row in slipped.select("w", "c", "lag", "zero").iter_rows():
        if found and row[2] == found[-1][-1][2] and row[0] - found[-1][-1][0] == 1:
            found[-1].append(row)
        else:
            found.append([row])
    return tuple(_slip(rows, window_s) for rows in found)


def _slip(rows: list[tuple[int, float, int, float]], window_s: int) -> Slip:
    start, end = from_epoch(rows[0][0] * window_s), from_epoch((rows[-1][0] + 1) * window_s)
    return Slip(start, end, rows[0][2], float(np.mean([r[1] for r in rows])), float(np.mean([r[3] for r in rows])))


def _by_hour(a: Side, b: Side, left: pl.DataFrame, right: pl.DataFrame) -> tuple[HourSpread, ...]:
    own_a, own_b = _own(left), _own(right)
    table_a, table_b = _usual(a, left), _usual(b, right)
    return tuple(HourSpread(h, own_a[h], own_b[h], float(table_a[h]), float(table_b[h])) for h in range(24))


def _own(side: pl.DataFrame) -> list[float | None]:
    hours = pl.Series("hour", new_york_hour(side["s"].to_numpy()))
    positive = side.with_columns(hours).filter(pl.col("spread") > 0)
    found = dict(positive.group_by("hour").agg(pl.col("spread").median()).iter_rows())
    return [found.get(h) for h in range(24)]


def _usual(side: Side, frame: pl.DataFrame) -> F64:
    """What the feed's table says by hour at the end of the shared span, price units."""
    last = int(frame["s"][-1])
    day = last - 3600 * np.arange(24, dtype=np.int64)
    usual = np.zeros(24)
    usual[new_york_hour(day)] = side.table.at(day) * side.point
    return usual


def _share(frame: pl.DataFrame, holds: pl.Expr) -> float | None:
    return None if frame.is_empty() else float(frame.select(holds.mean())[0, 0])
