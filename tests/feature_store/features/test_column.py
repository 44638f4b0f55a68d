"""The stand-in for polars on small arrays: one value from both, whatever is put together from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.bars import epoch_s
from feature_store.features import FeatureSet, FeatureSpec, LiveFeatures, _feature, all_features
from feature_store.features._column import Column
from tests.feature_store.features.conftest import POINTS, Market

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda a, b: (a * 3 - b + 7) * b - 2 * a,
    "right hand": lambda a, b: 100 - a + (5 * b),
    "quotient": lambda a, b: a / (b**2 + 1),
    "powers": lambda a, b: a**2 + b**3,
    "negative": lambda a, b: -a,
    "remainder": lambda a, b: a % 7 + b // 5,
    "sizes": lambda a, b: a.abs() - b.sign(),
    "roots and logs": lambda a, b: (a**2 + 1).log() + a.abs().sqrt(),
    "turns": lambda a, b: (a * 0.1).sin() + (b * 0.1).cos(),
    "bounds": lambda a, b: a.clip(lower_bound=1) * b.clip(upper_bound=2) + b.clip(-3, 3),
    "past": lambda a, b: a.shift(2) - b.diff() + a.diff(3),
    "sums": lambda a, b: (a * b).rolling_sum(5),
    "extremes": lambda a, b: a.rolling_max(4) - b.rolling_min(6),
    "sums of sums": lambda a, b: ((a - b).abs().rolling_sum(3) ** 2).rolling_sum(4),
}

numbers = st.lists(st.one_of(st.integers(-40, 40), st.none()), min_size=1, max_size=30)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_arrays_and_polars_give_one_value(operation: str, data: st.DataObject) -> None:
    a = data.draw(numbers)
    b = data.draw(st.lists(st.one_of(st.integers(-40, 40), st.none()), min_size=len(a), max_size=len(a)))
    frame = pl.DataFrame({"a": pl.Series(a, dtype=pl.Int64), "b": pl.Series(b, dtype=pl.Int64)})
    expected = frame.select(x=OPERATIONS[operation](pl.col("a"), pl.col("b")))["x"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    columns = [Column(np.array([np.nan if v is None else v for v in values], dtype=float)) for values in (a, b)]
    with np.errstate(all="ignore"):
        alone = OPERATIONS[operation](*columns).values
        # The same column of two symbols, served at once.
        both = OPERATIONS[operation](*(Column(np.stack([c.values, c.values])) for c in columns)).values
    assert np.allclose(alone, expected, rtol=1e-12, atol=1e-9, equal_nan=True)
    assert np.array_equal(both, np.stack([alone, alone]), equal_nan=True)


@given(values=st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_weighted_sums_are_those_of_polars_which_takes_no_nulls_there(values: list[int], seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=7).tolist()
    expected = pl.DataFrame({"a": values}).select(pl.col("a").rolling_sum(7, weights=weights))["a"].fill_null(np.nan).to_numpy()
    found = Column(np.array([values, values], dtype=float)).rolling_sum(7, weights).values
    assert np.allclose(found, np.stack([expected, expected]), rtol=1e-12, atol=1e-6, equal_nan=True)


def test_rows_are_counted_from_1_and_the_newest_are_cut_off() -> None:
    counted = Column(np.zeros((2, 4))).cum_count()
    assert counted.values.tolist() == [[1, 2, 3, 4]] * 2
    assert pl.DataFrame({"a": [0.0] * 4}).select(pl.col("a").cum_count())["a"].to_list() == [1, 2, 3, 4]
    assert counted.tail(3).values.tolist() == [[2, 3, 4]] * 2


def test_no_feature_needs_polars_before_a_decision(spring: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(expression: pl.Expr, _: object) -> Column:
        raise AssertionError(f"polars is asked live: {expression}")

    monkeypatch.setattr(_feature, "by_polars", refuse)
    spec = FeatureSpec(names=None, timeframe="H1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))
    features = FeatureSet(spec, points=POINTS)
    assert len(features.features) == len(all_features())
    live = LiveFeatures(features, "EURUSD", longest_window=2)
    live.update(spring)
    open_s = int(epoch_s(features.compute(spring, "EURUSD")["time"])[-1])
    assert np.isfinite(live.window(open_s, 2)).all()


def needs_more_than_a_bar_of_plain_columns(one: _feature.Feature) -> bool:
    return one.lookback_bars > 1 and not any(_feature.measure_named(i.column) for i in one.inputs)


@pytest.mark.parametrize("one", [*filter(needs_more_than_a_bar_of_plain_columns, all_features())], ids=lambda f: f.name)
def test_a_feature_on_one_bar_less_than_its_lookback_is_unknown(one: _feature.Feature) -> None:
    names = sorted({i.column if i.context == one.home else i.name for i in one.inputs})
    random = np.random.default_rng(3)
    held = {name: Column(random.integers(1, 50, one.lookback_bars).astype(float)) for name in names}
    with np.errstate(all="ignore"):
        enough = one.column(held, 1).values
        short = one.column({name: column.tail(one.lookback_bars - 1) for name, column in held.items()}, 1).values
    assert np.isfinite(enough).all()
    assert np.isnan(short).all()
