"""Labels: what a long and a short, opened after each decision bar, would have earned net of all costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from feature_store._arrays import F32, F64, I8, I64
from feature_store._errors import Final

SHORT, FLAT, LONG = 0, 1, 2
UNUSABLE = -1
"""`label_end` of a row that has no label."""


@dataclass(frozen=True)
class LabelSpec:
    """The two trades. Multiples are of the decision bar's ATR; the bar of the entry is bar 1 of the horizon."""

    stop_atr: float = 1.5
    target_atr: float = 1.5
    horizon_bars: int = 12
    atr_bars: int = 14

    def __post_init__(self) -> None:
        for name in ("stop_atr", "target_atr"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise Final(f"label: {name} is {value}; it must be a multiple of the ATR above 0")
        for name in ("horizon_bars", "atr_bars"):
            value = getattr(self, name)
            if value < 1:
                raise Final(f"label: {name} is {value}; it must be at least 1 bar")


@dataclass(frozen=True)
class Labels:
    """One entry per bar. Where `label_end` is -1 the row has no label: class flat, results NaN, weight 0.

    label: 0 short, 1 flat, 2 long. r_long, r_short: net results in ATR units. atr: the decision bar's, as a
    share of its close. next_bar_return: log return from this close to the next, NaN at the end of a segment.
    cost: spread and commission of one round trip in ATR units. label_end: UTC s at which the later of the two
    trades was over. weights: average uniqueness, in (0, 1].
    """

    label: I8
    r_long: F32
    r_short: F32
    atr: F32
    next_bar_return: F32
    cost: F32
    label_end: I64
    weights: F32

    def __len__(self) -> int:
        return len(self.label)


def label_trades(
    open: F64,
    high: F64,
    low: F64,
    close: F64,
    close_times_s: I64,
    atr: F64,
    ask_spread_price: F64,
    commission_price: F64 | float,
    spec: LabelSpec,
    segment_starts: I64 | None = None,
) -> Labels:
    """Labels of every bar of ONE symbol, in time order.

    Prices are bid. close_times_s: moment each bar is known. atr: price units, NaN in warm-up.
    ask_spread_price: ask minus bid in price units, the larger of the bar's own and the feed's table.
    commission_price: both sides together, in price units, as of the bar of the entry.

    Long enters at the ask, short at the bid of the next open. Stops and targets are tested on the side that
    closes the trade, the stop first; a stop jumped over fills at the open behind it, a target at its price.
    A row whose horizon runs past the last bar of its segment (`segment_starts`: first bar of each; None: one)
    has no label, even if a barrier was touched before: keeping only the quick ones would bias the last rows.
    Equal results on both sides favour none: flat.
    """
    commission = np.broadcast_to(np.asarray(commission_price, dtype=np.float64), np.shape(close))
    spread = np.asarray(ask_spread_price, dtype=np.float64)
    _check(close_times_s, open=open, high=high, low=low, close=close, atr=atr, spread=spread, commission=commission)
    gross_long, end_long, gross_short, end_short = _both_trades(open, high, low, close, atr, spread, spec)

    rows = np.arange(len(close))
    segment = np.searchsorted(np.zeros(1) if segment_starts is None else segment_starts, rows, side="right")
    usable = (end_long >= 0) & (segment[np.minimum(rows + spec.horizon_bars, len(rows) - 1)] == segment)
    unit = np.where(np.isfinite(atr) & (atr > 0), atr, np.nan)
    fee = _next(commission) / unit
    r_long, r_short = (np.where(usable, gross - fee, np.nan) for gross in (gross_long, gross_short))
    last = np.maximum(end_long, end_short)
    label = np.full(len(close), FLAT, dtype=np.int8)
    label[(r_long > 0) & (r_long > r_short)] = LONG
    label[(r_short > 0) & (r_short > r_long)] = SHORT
    continues = _next(segment.astype(np.float64)) == segment
    return Labels(
        label=label,
        r_long=r_long.astype(np.float32),
        r_short=r_short.astype(np.float32),
        atr=(unit / close).astype(np.float32),
        next_bar_return=np.where(continues, np.log(_next(close) / close), np.nan).astype(np.float32),
        cost=(_next(spread) / unit + fee).astype(np.float32),
        label_end=np.where(usable, close_times_s[last], UNUSABLE),
        weights=average_uniqueness(np.flatnonzero(usable), last[usable], len(close)),
    )


def charged_spread(
    own_points: npt.ArrayLike, usual_points: npt.ArrayLike, point: npt.ArrayLike, unknown_points: npt.ArrayLike | None = None
) -> F64:
    """(n,) spread that labels, costs and backtests pay, in price units: the larger of the bar's own and the
    feed's usual one at that New York hour (`SpreadTable.at`).

    own_points: NaN where unknown. A bar records the least spread it saw, and many feeds record 0: alone it
    would make trading free. A bar that tells nothing, or 0, pays `unknown_points` (`SpreadTable.high_at`; None:
    the usual), never less than the usual. point: of the symbol, one for all bars or one each.
    """
    own, usual = np.asarray(own_points, dtype=np.float64), np.asarray(usual_points, dtype=np.float64)
    silent = usual if unknown_points is None else np.asarray(unknown_points, dtype=np.float64)
    if not all((np.isfinite(points) & (points >= 0)).all() for points in (usual, silent)):
        raise Final(
            "label: the usual spread of a bar is unknown or negative; every hour of the feed's table needs points of at least 0"
        )
    # NaN is not above 0 either.
    paid = np.fmax(np.where(own > 0, own, silent), usual)
    return np.asarray(paid * np.asarray(point, dtype=np.float64), dtype=np.float64)


def average_uniqueness(rows: I64, last_bar: I64, n_bars: int) -> F32:
    """(n_bars,) weight of each row: the mean, over the bars `row + 1 .. last_bar` of its label, of one over
    the number of labels that use that bar; 0 for rows not given.

    Lopez de Prado 2018, Advances in Financial Machine Learning, chapter 4.
    """
    change = np.zeros(n_bars + 1, dtype=np.int64)
    np.add.at(change, rows + 1, 1)
    np.add.at(change, last_bar + 1, -1)
    labels_at_bar = np.cumsum(change)[:n_bars]
    share = np.divide(1.0, labels_at_bar, out=np.zeros(n_bars), where=labels_at_bar > 0)
    total = np.concatenate(([0.0], np.cumsum(share)))
    weights = np.zeros(n_bars, dtype=np.float32)
    weights[rows] = (total[last_bar + 1] - total[rows + 1]) / (last_bar - rows)
    return weights


def _both_trades(open: F64, high: F64, low: F64, close: F64, atr: F64, spread: F64, spec: LabelSpec) -> tuple[F64, I64, F64, I64]:
    from feature_store._labels_numba import walk

    # Copies, because for numba a read-only array is another type, and another compilation.
    bid_open, bid_high, bid_low, bid_close, unit = (
        np.array(a, dtype=np.float64, order="C") for a in (open, high, low, close, atr)
    )
    barriers = (unit, float(spec.stop_atr), float(spec.target_atr), int(spec.horizon_bars))
    gross_long, end_long = walk(bid_open + spread, bid_open, bid_high, bid_low, bid_close, *barriers)
    # A short sells at the bid and is closed at the ask. On negated prices its high is the lowest ask.
    ask = (-(bid_open + spread), -(bid_low + spread), -(bid_high + spread), -(bid_close + spread))
    gross_short, end_short = walk(-bid_open, *ask, *barriers)
    return gross_long, end_long, gross_short, end_short


def _next(values: F64) -> F64:
    """Each bar's successor; NaN for the last."""
    return np.append(values[1:], np.nan)


def _check(close_times_s: I64, **columns: npt.NDArray[np.float64]) -> None:
    """Refuse what would silently give wrong labels: the message names the first bad bar."""
    n = len(close_times_s)
    for name, values in columns.items():
        if np.shape(values) != (n,):
            raise Final(f"label: {name} has shape {np.shape(values)}; it needs one value for each of the {n} bars")
    if n > 1 and (steps := np.diff(close_times_s)).min() <= 0:
        bad = int(np.argmax(steps <= 0)) + 1
        raise Final(f"label: bar {bad} is not later than the one before; sort and deduplicate the bars")
    for name in ("open", "high", "low", "close", "spread", "commission"):  # ATR may be NaN
        values = columns[name]
        # Commission may be a rebate, so it has no floor.
        floor = (values >= 0) if name == "spread" else (values > 0) | (name == "commission")
        good = np.isfinite(values) & floor
        if not good.all():
            bad = int(np.argmin(good))
            allowed = "a finite number, above 0 for a price, at least 0 for the spread"
            raise Final(f"label: {name} of bar {bad} is {values[bad]}; it must be {allowed}")
