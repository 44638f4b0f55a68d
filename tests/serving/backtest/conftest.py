"""Small markets for the backtest's tests: one account in USD, EURUSD and USDJPY, spread 1 pip, 3.5 USD a lot and side."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from feature_store.symbols import assumed_spec
from serving import risk
from serving.backtest import LineInput, prepare
from serving.decision import BARRIER, LOTS, DecisionSpec

FIXED = DecisionSpec(
    mode=BARRIER, threshold_long=0.5, threshold_short=0.5, stop_atr=1.0, target_atr=1.0, horizon_bars=100,
    sizing=LOTS, risk_fraction=0.0, fixed_lots=0.1,
)  # fmt: skip
SAID = {1: (0.1, 0.2, 0.7), 0: (0.2, 0.6, 0.2), -1: (0.7, 0.2, 0.1), None: (np.nan, np.nan, np.nan)}
WIDE = {
    "daily_loss_fraction": 1.0,
    "drawdown_fraction": 1.0,
    "loss_per_trade_fraction": 1.0,
    "spread_atr": 10.0,
    "currency_exposure": 1000.0,
    "margin_fraction": 1.0,
}


def frame(rows, start, spread_points):
    """Hourly bars from (open, high, low, close); None leaves that hour out."""
    hours = [i for i, row in enumerate(rows) if row is not None]
    first = int(start.timestamp() - datetime(1970, 1, 1).timestamp()) // 3600
    values = np.array([rows[i] for i in hours], dtype=np.float64).reshape(-1, 4)
    return pl.DataFrame(
        {
            "time": pl.Series([(first + i) * 3_600_000 for i in hours]).cast(pl.Datetime("ms")),
            **{name: values[:, k] for k, name in enumerate(("open", "high", "low", "close"))},
            "tick_volume": [1] * len(hours),
            "spread_points": [spread_points] * len(hours),
            "real_volume": [0] * len(hours),
        },
        schema_overrides={"spread_points": pl.Int32},
    )


@pytest.fixture(scope="session")
def backtest_of():
    """Builds a backtest input: `markets` symbol -> rows, `said` symbol -> +1, 0, -1 or None per row."""

    def build(
        markets, said, *, spec=FIXED, atr=0.0010, limits=None, balance=10_000.0, start=datetime(2024, 3, 5, 8),
        spread_points=10, symbol_changes=None, **options,
    ):  # fmt: skip
        bars = {name: frame(rows, start, spread_points) for name, rows in markets.items()}
        specs = {name: assumed_spec("test", name) for name in markets}
        if symbol_changes:
            specs = {name: replace(found, **symbol_changes) for name, found in specs.items()}
        lines = []
        for name, sides in said.items():
            there = [side for side, row in zip(sides, markets[name], strict=True) if row is not None]
            lines.append(
                LineInput(
                    name=f"p {name}",
                    symbol=name,
                    timeframe="H1",
                    spec=spec,
                    open_s=bars[name]["time"].dt.epoch("s").to_numpy(),
                    probabilities=np.array([SAID[side] for side in there]).reshape(-1, 3),
                    atr=np.full(len(there), atr if not isinstance(atr, dict) else atr[name]),
                )
            )
        return prepare(
            bars, "H1", specs, {name: np.zeros(24) for name in markets}, lines, feed="test", currency="USD",
            start_balance=balance, limits=risk.limits({**WIDE, **(limits or {})}), **options,
        )  # fmt: skip

    return build


@pytest.fixture(scope="session")
def random_markets():
    """Builds (markets, said) for two symbols with gaps and missing bars, from a seed."""

    def build(seed, bars=160):
        rng = np.random.default_rng(seed)
        markets, said = {}, {}
        for name, price, points in (("EURUSD", 1.1, 5), ("USDJPY", 150.0, 3)):
            closes = np.round(price * np.exp(np.cumsum(rng.normal(0, 8e-4, bars))), points)
            opens = np.round(np.roll(closes, 1) * np.exp(rng.normal(0, 2e-4, bars)), points)
            opens[0] = closes[0]
            high = np.round(np.maximum(opens, closes) * (1 + np.abs(rng.normal(0, 5e-4, bars))), points)
            low = np.round(np.minimum(opens, closes) * (1 - np.abs(rng.normal(0, 5e-4, bars))), points)
            gone = rng.random(bars) < 0.05
            gone[0] = False
            markets[name] = [None if g else row for g, row in zip(gone, zip(opens, high, low, closes, strict=True), strict=True)]
            said[name] = list(rng.choice(np.array([1, 0, -1, None], dtype=object), bars, p=[0.2, 0.5, 0.2, 0.1]))
        return markets, said

    return build
