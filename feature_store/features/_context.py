"""Frames that features are evaluated on, and how a row finds the context that was known at its close."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from feature_store._arrays import F64, I64
from feature_store._errors import Final
from feature_store.bars import SCHEMA, bar_close, resample, seconds
from feature_store.clock import new_york_offset_s
from feature_store.features._feature import PRICES

_ENOUGH_TO_TELL = 24


def opens_s(bars: pl.DataFrame) -> I64:
    """Opens of bars as int64 epoch seconds, on the calling thread."""
    return bars["time"].to_numpy().astype("datetime64[s]").astype(np.int64)


def points(prices: F64, point: float) -> I64:
    """Prices as counts of `point`.

    Whole numbers make every rolling sum exact, so that a value depends on its lookback and on nothing before it.
    """
    return np.rint(prices / point).astype(np.int64)


def prepared(bars: pl.DataFrame, timeframe: str, point: float, columns: Sequence[str]) -> pl.DataFrame:
    """Frame of `time`, `columns` (see `COLUMNS`) and `known_s`, the moment each bar is known, in epoch seconds."""
    known_s = bar_close(opens_s(bars), timeframe)
    made = [bars["time"]]
    for name in columns:
        if name in PRICES:
            made.append(pl.Series(name, points(bars[name].to_numpy(), point)))
        elif name == "new_york_s":
            made.append(pl.Series(name, known_s + new_york_offset_s(known_s)))
        else:
            made.append(bars[name].cast(pl.Int64))
    return pl.DataFrame([*made, pl.Series("known_s", known_s)])


class Timeframes:
    """Bars by symbol at any timeframe, each resampled once from base bars that were checked."""

    def __init__(self, base: Mapping[str, pl.DataFrame]) -> None:
        self._base = base
        self._made: dict[tuple[str, str], pl.DataFrame] = {}

    def at(self, symbol: str, timeframe: str) -> pl.DataFrame:
        """Bars of `timeframe`; the base bars where they are of that length already. Raises `Final` where they are longer."""
        key = (symbol, timeframe)
        if key not in self._made:
            self._made[key] = self._resampled(symbol, timeframe)
        return self._made[key]

    def _resampled(self, symbol: str, timeframe: str) -> pl.DataFrame:
        bars = self._base[symbol]
        step = step_s(bars) if len(bars) > 1 else 0
        check_step(step, len(bars), timeframe)
        if step == seconds(timeframe) <= 3600:
            return bars.select(list(SCHEMA))
        # New York is whole hours off UTC, so hours nest in every longer bar, and a million minutes are grouped once.
        return resample(self.at(symbol, "H1") if 0 < step < 3600 < seconds(timeframe) else bars, timeframe)


def check_step(step_s: int, n: int, timeframe: str) -> None:
    """Raise `Final` where `n` bars that stand `step_s` apart are longer than `timeframe`."""
    # Two bars may stand a weekend apart; so many in a row do not all.
    if n >= _ENOUGH_TO_TELL and step_s > seconds(timeframe):
        raise Final(f"bars stand {step_s} s apart, {timeframe} cannot be made from them; give bars of {timeframe} or shorter")


def step_s(bars: pl.DataFrame) -> int:
    """Length of the stored bars in seconds: the least time between two of them."""
    steps = np.diff(opens_s(bars))
    if not len(steps):
        raise Final("one bar does not tell its own length; say known_at_s")
    return int(steps.min())


def check_order(bars: pl.DataFrame, symbol: str) -> None:
    """Raise `Final` unless the bars stand in time order, each once, with prices that are numbers."""
    if bars.is_empty():
        raise Final(f"no bars of {symbol} are given; ingest some, or widen the span")
    if missing := [c for c in SCHEMA if c not in bars.columns]:
        raise Final(f"{symbol}: bars lack the columns {', '.join(missing)}; pass them through bars.conform")
    if len(bars) > 1 and step_s(bars) <= 0:
        raise Final(f"{symbol}: bars are not in time order, or one stands twice; sort them by time and keep one of each")
    bad = sum(int((~np.isfinite(bars[c].to_numpy())).sum()) for c in PRICES)
    if bad:
        raise Final(f"{symbol}: {bad} prices are missing or not finite; reject such bars at ingest")


def is_off_grid(bars: pl.DataFrame, point: float) -> bool:
    """Whether the newest closes are finer than `point`, which then is not this feed's."""
    counts = bars["close"].tail(1000).to_numpy() / point
    return bool((np.abs(counts - np.rint(counts)) > 0.01).mean() > 0.1)


def rows_known(context_known_s: I64, at_s: I64) -> I64:
    """Row of the context's newest bar known at each moment; -1 where none is yet."""
    return np.searchsorted(context_known_s, at_s, side="right") - 1


def gathered(values: pl.DataFrame, rows: I64) -> pl.DataFrame:
    """`values` at `rows`; null where a row is -1."""
    index = pl.Series(rows).set(pl.Series(rows < 0), None)
    return values.select(pl.all().gather(index))
