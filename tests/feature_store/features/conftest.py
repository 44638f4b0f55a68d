"""A small market for features: two symbols, holes, unknown spreads, weekends and both changes of the clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store.bars import SCHEMA
from feature_store.clock import is_open_s

POINTS = {"EURUSD": 1e-5, "GBPUSD": 1e-5, "USDJPY": 1e-3}
_PRICES = {"EURUSD": 110_000, "GBPUSD": 127_000, "USDJPY": 150_000}

Market = dict[str, pl.DataFrame]
MakeMarket = Callable[..., Market]


def _bars(symbol: str, opens: np.ndarray, common: np.ndarray, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    count, point = len(opens), POINTS[symbol]
    change = np.rint(common + random.standard_t(4, count) * 15).astype(np.int64)
    close = _PRICES[symbol] + np.cumsum(change)
    open_ = np.concatenate(([_PRICES[symbol]], close[:-1])) + random.integers(-2, 3, count)
    high, low = np.maximum(open_, close) + random.integers(0, 12, count), np.minimum(open_, close) - random.integers(0, 12, count)
    bars = pl.DataFrame(
        {
            "time": pl.Series(opens * 1000).cast(pl.Datetime("ms")),
            "open": open_ * point,
            "high": high * point,
            "low": low * point,
            "close": close * point,
            "tick_volume": random.integers(1, 400, count),
            "spread_points": [None if u < 0.02 else int(s) for u, s in zip(random.random(count), random.integers(8, 30, count))],
            "real_volume": pl.Series([None] * count, dtype=pl.Int64),
        },
        schema_overrides=SCHEMA,
    )
    # Quiet moments have no bar, at other times for each symbol.
    return bars.filter(pl.Series(random.random(count) > 0.03))


@pytest.fixture(scope="session")
def make_market() -> MakeMarket:
    """Function of (start, days, step_s): bars by symbol, deterministic."""

    def make(start: datetime, days: int, step_s: int = 300, symbols: tuple[str, ...] = ("EURUSD", "USDJPY")) -> Market:
        opens = int(start.timestamp()) + step_s * np.arange(days * 86400 // step_s, dtype=np.int64)
        opens = opens[is_open_s("feed", opens)]
        common = np.random.default_rng(1).standard_t(4, len(opens)) * 15
        return {symbol: _bars(symbol, opens, common, seed) for seed, symbol in enumerate(symbols, 2)}

    return make


@pytest.fixture(scope="session")
def spring(make_market: MakeMarket) -> Market:
    """M5 bars over the weeks in which the clocks of New York go forward, 10 March 2024."""
    return make_market(datetime(2024, 2, 5, tzinfo=UTC), 50)


@pytest.fixture(scope="session")
def autumn(make_market: MakeMarket) -> Market:
    """M5 bars over the weeks in which the clocks of New York go back, 3 November 2024."""
    return make_market(datetime(2024, 10, 7, tzinfo=UTC), 45)
