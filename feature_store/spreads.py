"""What crossing the spread costs at each hour of the New York day. Zero is never free.

A table is measured from the spreads that the bars themselves recorded, where these can be believed: bars no longer
than an hour, at most a tenth of them 0 (feeds that record a bar's minimum are 15 % to 94 % zeros), some movement in
time (a value that never moves is a setting, not a market), and without plug values (1,497 bars of exactly 100 points
in one feed). Levels change over the years: each stretch of time with its own level has its own table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from itertools import groupby
from typing import Literal

import numpy as np
import polars as pl

from feature_store._arrays import F64, I64
from feature_store.bars import epoch_s, seconds
from feature_store.clock import from_epoch, new_york_hour
from feature_store.symbols import SymbolSpec, is_crypto

ROLL_HOUR = 17  # New York; liquidity leaves for an hour when the FX day rolls

# Points (5 digits, JPY 3, gold 2) by day: median and 95th percentile of a retail MetaTrader account in 2021 to 2024,
# and the 95th percentile at the roll hour. Gold: 95th percentile as median, brokers differ most there.
_RETAIL_POINTS: dict[str, tuple[float, float, float]] = {
    "EURUSD": (16, 18, 43),
    "GBPUSD": (19, 22, 91),
    "USDJPY": (15, 21, 55),
    "USDCHF": (19, 25, 143),
    "USDCAD": (18, 27, 69),
    "AUDUSD": (16, 23, 52),
    "EURJPY": (20, 29, 113),
    "EURGBP": (18, 23, 99),
    "XAUUSD": (22, 33, 193),
}
# Others: twice what a major costs relative to its price (about 1.5 bp), four times that at the roll. Coins and thin
# currencies cost more (rand and zloty 5 to 8 bp), other metals most (silver 2 to 3 cents of 25 dollars).
_OTHER_BY_DAY, _COIN_BY_DAY, _THIN_BY_DAY, _METAL_BY_DAY = 3e-4, 6e-4, 1e-3, 1.2e-3
_THIN = frozenset({"TRY", "ZAR", "MXN", "HUF", "CZK", "PLN", "THB", "ILS"})
_OTHER_METALS = frozenset({"XAG", "XPT", "XPD"})
_AT_ROLL, _UNKNOWN = 4.0, 1.3  # times the usual by day: at the roll, and for a bar that does not tell its spread

_MIN_SPREADS = 500  # fewer known spreads than this say little about an account
_MIN_PER_HOUR = 20
MAX_ZERO_SHARE = 0.10
_FROZEN_SHARE = 0.99
_NEW_LEVEL = 1.5  # ratio of medians that makes a new stretch
_PLUG_TIMES, _PLUG_SHARE, _PLUG_LEAST = 3.0, 0.002, 20
_HIGH_PERCENTILE = 95.0


@dataclass(frozen=True, eq=False)
class Stretch:
    """Points by New York hour, (24,) each, from `start_s` (UTC epoch s) on: `usual`, and `high` >= `usual`."""

    start_s: int
    usual: F64
    high: F64


@dataclass(frozen=True, eq=False)
class SpreadTable:
    """Spread by New York hour in points of the symbol at that feed, all above 0.

    stretches: in time order; the first also holds before its start. evidence: what the table rests on, for a person.
    lender: the feed that the table was borrowed from, "" for its own.
    """

    stretches: tuple[Stretch, ...]
    source: Literal["measured", "assumed"]
    evidence: str
    lender: str = ""

    @property
    def points(self) -> F64:
        """(24,) usual points in the newest stretch."""
        return self.stretches[-1].usual

    @property
    def high(self) -> F64:
        """(24,) points in the newest stretch that a bar pays which does not tell its spread."""
        return self.stretches[-1].high

    def at(self, times_s: I64) -> F64:
        """Usual points at each UTC moment (epoch s)."""
        return self._look_up(np.stack([s.usual for s in self.stretches]), times_s)

    def high_at(self, times_s: I64) -> F64:
        """Points that a bar pays at each UTC moment (epoch s) when it does not tell its spread, or says 0."""
        return self._look_up(np.stack([s.high for s in self.stretches]), times_s)

    def rescaled(self, factor: float, lender: str) -> SpreadTable:
        """The same cost in points that are 1 / `factor` as large, lent by feed `lender`."""
        lent = tuple(
            Stretch(s.start_s, np.maximum(s.usual * factor, 1.0), np.maximum(s.high * factor, 1.0)) for s in self.stretches
        )
        return replace(self, stretches=lent, evidence=f"borrowed from feed {lender}: {self.evidence}", lender=lender)

    def _look_up(self, by_stretch: F64, times_s: I64) -> F64:
        starts = np.array([s.start_s for s in self.stretches[1:]], dtype=np.int64)
        found: F64 = by_stretch[np.searchsorted(starts, times_s, side="right"), new_york_hour(times_s)]
        return found


def assumed_table(spec: SymbolSpec, price: float, why: str = "no spreads of this feed were asked for") -> SpreadTable:
    """Usual retail spreads of the symbol; of other symbols, a share of `price`."""
    if spec.symbol in _RETAIL_POINTS:
        standard = 1e-3 if spec.profit_currency == "JPY" else 1e-2 if spec.symbol == "XAUUSD" else 1e-5
        by_day, unknown, at_roll = (points * standard / spec.point for points in _RETAIL_POINTS[spec.symbol])
    else:
        by_day = price * _share_of_price(spec.symbol) / spec.point
        unknown, at_roll = by_day * _UNKNOWN, by_day * _AT_ROLL
    usual, high = (np.full(24, max(points, 1.0)) for points in (by_day, unknown))
    usual[ROLL_HOUR] = high[ROLL_HOUR] = max(at_roll, 1.0)
    return SpreadTable((Stretch(0, usual, high),), "assumed", f"usual retail spreads: {why}")


def _share_of_price(symbol: str) -> float:
    """What crossing the spread of a symbol costs by day where nothing better is known."""
    base, profit = symbol[:3], symbol[3:]
    if is_crypto(symbol):
        return _COIN_BY_DAY
    if base in _OTHER_METALS:
        return _METAL_BY_DAY
    return _THIN_BY_DAY if {base, profit} & _THIN else _OTHER_BY_DAY


def spread_table(bars: pl.DataFrame, timeframe: str, spec: SymbolSpec) -> SpreadTable:
    """Spreads by New York hour as the bars recorded them, or the assumed table when these cannot be believed.

    bars: columns time, close, spread_points of one symbol in time order, at least one row. Usual is the median,
    high the 95th percentile. Hours with fewer than 20 spreads take the shape of the assumed table at the measured
    level; a quarter in which the spread never moves, or is often 0, pays the dearer of the stretches beside it.
    """
    known = bars.filter(pl.col("spread_points").is_not_null())
    spreads = known["spread_points"].to_numpy().astype(np.int64)
    assumed = assumed_table(spec, float(bars["close"][-1]))
    if why := _unbelievable(spreads, timeframe):
        return replace(assumed, evidence=f"usual retail spreads: {why}")
    times = epoch_s(known["time"])
    units = _units(known, spreads)
    believed = [_moves(spreads[unit]) for unit in units]
    if not any(believed):
        return replace(assumed, evidence=f"usual retail spreads: the feed's own never move ({int(np.median(spreads))} points)")
    spans = _spans(spreads, units, believed)
    tables = [_table(times[span], spreads[span], assumed) if good else None for span, good in spans]
    stretches = [
        Stretch(int(times[span.start]), *(table if table is not None else _dearer(tables[:k], tables[k + 1 :])))
        for k, ((span, _), table) in enumerate(zip(spans, tables, strict=True))
    ]
    return SpreadTable(tuple(stretches), "measured", _evidence(times, spreads, spans))


def _unbelievable(spreads: I64, timeframe: str) -> str:
    """Why the spreads of a whole feed say nothing about its cost; "" when they may."""
    positive = int((spreads > 0).sum())
    zero_share = float((spreads == 0).mean()) if len(spreads) else 0.0
    if positive == 0:
        return "the feed tells none"
    if seconds(timeframe) > 3600:
        return f"a bar of {timeframe} records the least of many hours"
    if zero_share > MAX_ZERO_SHARE:
        return f"{zero_share:.0%} of the feed's own are 0"
    if positive < _MIN_SPREADS:
        return f"the feed tells only {positive}, too few"
    return ""


def _units(known: pl.DataFrame, spreads: I64) -> list[slice]:
    """Quarters of a year, joined to the next until they hold enough spreads; the rest joins the last one."""
    quarter = (known["time"].dt.year() * 4 + known["time"].dt.quarter()).to_numpy()
    starts = np.flatnonzero(np.diff(quarter, prepend=-1))
    before = np.concatenate(([0], np.cumsum(spreads > 0)))
    cuts = [0]
    for start in starts[1:].tolist():
        if before[start] - before[cuts[-1]] >= _MIN_SPREADS:
            cuts.append(start)
    if len(cuts) > 1 and before[-1] - before[cuts[-1]] < _MIN_SPREADS:
        cuts.pop()
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(spreads)], strict=True)]


def _moves(spreads: I64) -> bool:
    """Whether these spreads look like a market's: not often 0, and not one value throughout."""
    positive = spreads[spreads > 0]
    commonest = float(np.unique(positive, return_counts=True)[1].max()) / len(positive)
    return float((spreads == 0).mean()) <= MAX_ZERO_SHARE and commonest < _FROZEN_SHARE


def _spans(spreads: I64, units: list[slice], believed: list[bool]) -> list[tuple[slice, bool]]:
    """Neighbouring units of one level joined, and whether they are believed."""
    spans: list[tuple[slice, bool]] = []
    for unit, good in zip(units, believed, strict=True):
        if spans and spans[-1][1] == good and (not good or _same_level(spreads[spans[-1][0]], spreads[unit])):
            spans[-1] = (slice(spans[-1][0].start, unit.stop), good)
        else:
            spans.append((unit, good))
    return spans


def _same_level(before: I64, after: I64) -> bool:
    ratio = float(np.median(after[after > 0]) / np.median(before[before > 0]))
    return 1 / _NEW_LEVEL <= ratio <= _NEW_LEVEL


def _plugs(spreads: I64) -> I64:
    """Values that stand where no spread was known: far above the usual, frequent, and alone in their surroundings."""
    positive = spreads[spreads > 0]
    values, counts = np.unique(positive, return_counts=True)
    least = max(_PLUG_LEAST, _PLUG_SHARE * len(positive))
    upto = np.concatenate(([0], np.cumsum(counts)))
    near = upto[np.searchsorted(values, values * 1.25, side="right")] - upto[np.searchsorted(values, values * 0.8)] - counts
    return values[(values >= _PLUG_TIMES * np.median(positive)) & (counts >= least) & (near < counts / 2)]


def _table(times: I64, spreads: I64, assumed: SpreadTable) -> tuple[F64, F64]:
    """(usual, high) by hour of one stretch."""
    kept = (spreads > 0) & ~np.isin(spreads, _plugs(spreads))
    values, hours = spreads[kept].astype(np.float64), new_york_hour(times[kept])
    level = np.median(values) / np.median(assumed.points)
    usual, high = assumed.points * level, assumed.high * level
    for hour in range(24):
        here = values[hours == hour]
        if len(here) >= _MIN_PER_HOUR:
            usual[hour], high[hour] = np.median(here), np.percentile(here, _HIGH_PERCENTILE)
    usual = np.maximum(usual, 1.0)
    return usual, np.maximum(usual, high)


def _dearer(before: list[tuple[F64, F64] | None], after: list[tuple[F64, F64] | None]) -> tuple[F64, F64]:
    """What a stretch pays whose own spreads are not believed; a believed one stands on at least one side of it."""
    beside = [table for table in (before[-1:] + after[:1]) if table is not None]
    return np.max([usual for usual, _ in beside], axis=0), np.max([high for _, high in beside], axis=0)


def _evidence(times: I64, spreads: I64, spans: list[tuple[slice, bool]]) -> str:
    """One line on what was measured, the newest believed stretch first."""
    good = [span for span, believed in spans if believed]
    newest = good[-1]
    since, until = (from_epoch(int(times[at])).astimezone(UTC) for at in (newest.start, newest.stop - 1))
    values = spreads[newest]
    said = [f"{int((values > 0).sum()):,} spreads of {since:%Y-%m} to {until:%Y-%m}, median {np.median(values[values > 0]):g}"]
    plugs = {int(v): int((spreads[span] == v).sum()) for span in good for v in _plugs(spreads[span])}
    said += [f"{count:,} plugs of exactly {value} left out" for value, count in plugs.items()]
    if zeros := int((spreads == 0).sum()):
        said.append(f"{zeros / len(spreads):.1%} are 0 and pay the high one")
    if len(good) > 1:
        said.append(f"{len(good)} levels since {from_epoch(int(times[0])):%Y-%m}")
    if frozen := sum(1 for believed, _ in groupby(spans, key=lambda s: s[1]) if not believed):
        said.append(f"{frozen} stretch{'es' if frozen > 1 else ''} not believed")
    return "; ".join(said)
