"""Fixtures that several rooms share: small made-up bars, and real data where it is present."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.bars import SCHEMA
from feature_store.clock import is_open_s

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def make_bars(start: datetime, count: int, *, step_s: int = 60, seed: int = 7, price: float = 1.1) -> pl.DataFrame:
    """`count` valid bars in open hours from `start` on, a 5-digit random walk with spreads of 10 to 20 points."""
    random = np.random.default_rng(seed)
    opens = int(start.timestamp()) + step_s * np.arange(3 * count + 4 * 86400 // step_s, dtype=np.int64)
    opens = opens[is_open_s("feed", opens)][:count]
    close = np.round(price * np.exp(np.cumsum(random.normal(0, 1e-4, count))), 5)
    open_ = np.concatenate([[price], close[:-1]])
    wick = np.round(random.uniform(0, 2e-4, (2, count)), 5)
    return pl.DataFrame(
        {
            "time": pl.Series(opens * 1000).cast(pl.Datetime("ms")),
            "open": open_,
            "high": np.round(np.maximum(open_, close) + wick[0], 5),
            "low": np.round(np.minimum(open_, close) - wick[1], 5),
            "close": close,
            "tick_volume": random.integers(1, 500, count),
            "spread_points": random.integers(10, 21, count).astype(np.int32),
            "real_volume": pl.Series([None] * count, dtype=pl.Int64),
        },
        schema_overrides=SCHEMA,
    )


@pytest.fixture
def small_bars() -> pl.DataFrame:
    """600 M1 bars from Monday 2024-03-04 00:00 UTC."""
    return make_bars(datetime(2024, 3, 4, tzinfo=UTC), 600)


@pytest.fixture
def real_data() -> Path:
    """Folder of real files; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("needs ../shared/data beside the repository, which is absent here")
    return REAL_DATA
