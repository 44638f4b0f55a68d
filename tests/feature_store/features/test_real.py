"""All features on real bars: none constant, none empty but for want of its column, none infinite, none said twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.bars import conform
from feature_store.features import FeatureSet, FeatureSpec

pytestmark = pytest.mark.real_data

Read = Callable[[str], pl.DataFrame]
FILES = [
    ("EURUSD_H1_ln", "EURUSD", "H1", None),  # has no tick volume
    ("USDJPY_M30_sk", "USDJPY", "M30", "EURUSD"),
    ("XAUUSD_H1_vj", "XAUUSD", "H1", None),
    ("USDJPY_H1_ej", "USDJPY", "H1", None),  # has no spread
]


@pytest.fixture(scope="module")
def read() -> Read:
    kept: dict[str, pl.DataFrame] = {}

    def reading(path: str) -> pl.DataFrame:
        if path not in kept:
            bars = conform(pl.read_parquet(path).rename({"spread": "spread_points"}))
            kept[path] = bars.unique("time", keep="first", maintain_order=True)[-30_000:]
        return kept[path]

    return reading


@pytest.fixture(params=FILES, ids=lambda p: p[0])
def computed(request: pytest.FixtureRequest, real_data: Path, read: Read) -> tuple[FeatureSet, pl.DataFrame, np.ndarray]:
    """The set, its own bars, and (rows, F) float64 values after warm-up."""
    file, symbol, timeframe, lead = request.param
    folder = real_data / "bars"
    market = {symbol: read(str(folder / f"{file}.parquet"))}
    if lead:
        market[lead] = read(str(folder / f"{file.replace(symbol, lead)}.parquet"))
    features = FeatureSet(FeatureSpec(None, timeframe, (lead,) if lead else (), (symbol,)))
    values = features.compute(market, symbol).select(features.names).to_numpy().astype(np.float64)
    return features, market[symbol], values[features.warmup_bars :]


def untold(features: FeatureSet, bars: pl.DataFrame) -> set[str]:
    """Features that the file itself leaves without a value to tell."""
    empty = {c for c in ("tick_volume", "spread_points") if bars[c].null_count() == len(bars)}
    unknown = {f.name for f in features.features if any(i.column in empty for i in f.inputs)}
    # Lean's bars open where the one before closed, over weekends too: that source writes no gap down.
    return unknown | ({"gap"} if (bars["open"] == bars["close"].shift(1))[1:].all() else set())


def test_no_feature_is_constant_infinite_or_empty_on_real_bars(computed: tuple[FeatureSet, pl.DataFrame, np.ndarray]) -> None:
    features, bars, values = computed
    assert not np.isinf(values).any()
    without = untold(features, bars)
    for name, column in zip(features.names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if name in without:
            assert len(np.unique(known)) == (name == "gap"), name
            continue
        # A spread that stays the same for days has no score; everything else is known nearly always.
        assert len(known) > (0.3 if name.startswith("spread") else 0.99) * len(column), name
        assert len(np.unique(known)) > 4 and np.std(known) > 1e-4 * (1 + np.abs(np.mean(known))), name


def test_no_two_features_say_the_same_on_real_bars(computed: tuple[FeatureSet, pl.DataFrame, np.ndarray]) -> None:
    features, bars, values = computed
    without = untold(features, bars)
    kept = [i for i, name in enumerate(features.names) if name not in without]
    complete = values[~np.isnan(values[:, kept]).any(axis=1)][:, kept]
    assert len(complete) > 5000
    correlation = np.abs(np.corrcoef(complete.T)) - np.eye(len(kept))
    worst = np.unravel_index(np.argmax(correlation), correlation.shape)
    assert correlation.max() < 0.95, [features.names[kept[i]] for i in worst]
