"""Backtests of a snapshot's rows: the same decisions as live, on the prices the snapshot holds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._snapshot_files import PRICE_COLUMNS
from feature_store.bars import bar_open, conform
from feature_store.snapshot import Snapshot
from feature_store.symbols import SymbolSpec
from serving.backtest import BacktestResult, LineInput, prepare, run
from serving.decision import DecisionSpec
from serving.settings import RiskSettings
from tasks.costs import CHARGED, in_whole_points
from tasks.settings import PipelineSettings

IntArray = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]


def replay(
    snapshot: Snapshot, pipeline: PipelineSettings, spec: DecisionSpec, rows: IntArray, probabilities: F32
) -> BacktestResult:
    """Backtest over the span of `rows`, deciding at those rows; (n, 3) probabilities in the order of `rows`.

    One account trades all symbols of the snapshot, from the pipeline's starting balance, under the default limits.
    A halted account is resumed on the next day: a verdict must see the whole span, not the days before a halt.
    """
    names = snapshot.manifest.symbols
    bars, specs, rates, lines = {}, {}, {}, []
    moments = snapshot.times[rows]
    first, last = int(moments.min()), max(int(moments.max()), int(snapshot.label_end[rows].max()))
    for index, symbol in enumerate(names):
        own = snapshot.symbol == index
        span = np.flatnonzero(own & (snapshot.times >= first) & (snapshot.times <= last))
        opens = open_times(snapshot, span)
        price = dict(zip(PRICE_COLUMNS, snapshot.prices[span].T, strict=True))
        specs[symbol] = spec_of(snapshot, symbol)
        bars[symbol] = _frame(opens, price, specs[symbol].point)
        rates[symbol] = (price["rate_gain"], price["rate_loss"])
        chosen = np.flatnonzero(own[rows])
        # Bars behind the last row say nothing, but what is held grows older in them and meets its horizon.
        said = np.full((len(span), 3), np.nan)
        said[np.searchsorted(span, rows[chosen])] = probabilities[chosen]
        lines.append(
            LineInput(
                name=symbol,
                symbol=symbol,
                timeframe=snapshot.manifest.timeframe,
                spec=spec,
                open_s=opens,
                probabilities=said,
                atr=snapshot.atr[span].astype(np.float64) * price["close"],
            )
        )
    data = prepare(
        bars,
        snapshot.manifest.timeframe,
        specs,
        dict.fromkeys(names, CHARGED),
        lines,
        feed=snapshot.manifest.feeds[0],
        currency=pipeline.account_currency,
        start_balance=pipeline.starting_balance,
        limits=RiskSettings().limits(),
        resume_next_day=True,
        rates=rates,
    )
    return run(data)


def open_times(snapshot: Snapshot, rows: IntArray) -> IntArray:
    """Open (UTC s) of the bars whose closes are the rows' decision moments."""
    # A second before its close lies inside the bar, whatever its length on a day when clocks change.
    return bar_open(snapshot.times[rows] - 1, snapshot.manifest.timeframe)


def spec_of(snapshot: Snapshot, symbol: str) -> SymbolSpec:
    """The symbol's specification as it was when the snapshot was made."""
    about: dict[str, Any] = dict(snapshot.manifest.provenance["specs"][symbol])
    return SymbolSpec(**{**about, "valid_from": datetime.fromisoformat(about["valid_from"])})


def _frame(opens: IntArray, price: dict[str, npt.NDArray[np.float64]], point: float) -> pl.DataFrame:
    columns: dict[str, Any] = {name: price[name] for name in ("open", "high", "low", "close")}
    bars = pl.DataFrame(columns).with_columns(pl.Series("time", opens * 1000).cast(pl.Datetime("ms")))
    return conform(in_whole_points(bars, price["spread"], point))
