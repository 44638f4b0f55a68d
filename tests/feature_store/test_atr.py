"""One definition of the average true range, from arrays and from expressions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store._errors import Final
from feature_store.atr import atr, atr_expression, true_range

HIGH = np.array([1.1010, 1.1020, 1.1050, 1.1000])
LOW = np.array([1.1000, 1.1005, 1.1030, 1.0990])
CLOSE = np.array([1.1005, 1.1015, 1.1035, 1.0995])


def frame(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"high": high, "low": low, "close": close})


def test_true_range_is_stretched_to_the_close_before_a_gap_up_and_a_gap_down() -> None:
    points = frame(*(np.rint(a * 1e4).astype(np.int64) for a in (HIGH, LOW, CLOSE)))
    found = points.select(true_range(pl.col("high"), pl.col("low"), pl.col("close"))).to_series().to_list()
    # Bar 1: 15 of its own. Bar 2: high 11050 over close 11015. Bar 3: close 11035 over low 10990.
    assert found == [None, 15, 35, 45]


def test_atr_is_the_simple_mean_of_true_ranges_known_at_the_close() -> None:
    found = atr(HIGH, LOW, CLOSE, 2)
    assert np.isnan(found[:2]).all()
    assert found[2:] == pytest.approx([0.0025, 0.0040], abs=1e-15)


def test_a_history_no_longer_than_the_lookback_has_no_atr() -> None:
    assert np.isnan(atr(HIGH, LOW, CLOSE, 4)).all()
    assert len(atr(HIGH[:0], LOW[:0], CLOSE[:0], 14)) == 0


def test_atr_over_less_than_one_bar_is_refused() -> None:
    with pytest.raises(Final, match="atr_bars is 0"):
        atr(HIGH, LOW, CLOSE, 0)


@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 60), scale=st.sampled_from([1e-5, 1e-3, 0.01, 1.0]))
@settings(max_examples=60, deadline=None)
def test_expression_and_array_agree_to_the_last_bit(seed: int, bars: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    close = (110_000 + np.cumsum(random.integers(-30, 31, 200))) * scale
    high, low = close + random.integers(0, 20, 200) * scale, close - random.integers(0, 20, 200) * scale
    by_expression = frame(high, low, close).select(atr_expression(bars)).to_series().fill_null(np.nan).to_numpy()
    assert by_expression.tobytes() == atr(high, low, close, bars).tobytes()


@given(cut=st.integers(0, 180))
@settings(max_examples=30, deadline=None)
def test_a_long_history_before_changes_nothing(cut: int) -> None:
    random = np.random.default_rng(3)
    close = 1.1 + np.cumsum(random.normal(0, 1e-4, 200))
    close[5] += 50  # a wrong tick leaves no trace in a sum of whole numbers
    whole = atr(close + 1e-4, close - 1e-4, close, 14)
    part = atr(close[cut:] + 1e-4, close[cut:] - 1e-4, close[cut:], 14)
    assert np.array_equal(part[14:], whole[cut + 14 :])


def test_it_agrees_with_a_loop_in_plain_python() -> None:
    random = np.random.default_rng(5)
    close = np.round(1.1 + np.cumsum(random.normal(0, 1e-4, 300)), 5)
    high, low = np.round(close + random.uniform(0, 2e-4, 300), 5), np.round(close - random.uniform(0, 2e-4, 300), 5)
    ranges = [max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, 300)]
    expected = [sum(ranges[i - 14 : i]) / 14 for i in range(14, 300)]
    assert atr(high, low, close)[14:] == pytest.approx(expected, rel=1e-9)
