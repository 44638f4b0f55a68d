"""Spread regimes, filled-in values and months of zeros, planted and found again."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import quality
from tests.conftest import make_bars

START = datetime(2020, 1, 6, tzinfo=UTC)
YEAR = 24 * 5 * 50


def spread_report(spread, *, bars=None) -> quality.QualityReport:
    bars = make_bars(START, len(spread), step_s=3600) if bars is None else bars
    return quality.report(bars.with_columns(pl.Series("spread_points", spread, dtype=pl.Int32)), "sim", "EURUSD", "H1")


def noisy(level: float, count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).poisson(level, count).tolist()


def test_regimes_start_where_the_median_changes_and_a_constant_one_is_named():
    found = spread_report([20] * (YEAR // 2) + [0] * (YEAR // 2) + noisy(6, YEAR // 2)).regimes
    assert [(r.median_points, r.constant_points, round(r.zero_share, 1)) for r in found] == [(20, 20, 0), (0, 0, 1), (6, None, 0)]
    bars = make_bars(START, 3 * YEAR // 2, step_s=3600)
    for regime, row in zip(found[1:], (YEAR // 2, YEAR), strict=True):
        assert abs((regime.start.replace(tzinfo=None) - bars["time"][row]).days) <= 1
    assert found[0].end <= found[1].start, "days between them are weekends"


def test_a_month_of_crisis_is_no_regime_and_neither_is_noise():
    assert len(spread_report(noisy(12, YEAR)).regimes) == 1
    crisis = noisy(12, YEAR)
    crisis[2000:2400] = noisy(40, 400)
    assert len(spread_report(crisis).regimes) == 1


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.integers(100, 260), st.sampled_from([2.0, 3.0, 5.0]), st.booleans())
def test_one_lasting_change_by_half_or_more_is_found_within_days(low, at_day, factor, rises):
    first, second = (low, round(low * factor)) if rises else (round(low * factor), low)
    count = 400
    spread = [first] * (24 * at_day) + [second] * (24 * (count - at_day))
    found = spread_report(spread).regimes
    assert [r.median_points for r in found] == [first, second]


def test_a_value_far_above_the_usual_and_far_too_frequent_is_a_plug():
    spread = np.array(noisy(13, YEAR))
    spread[::50] = 100
    spread[1::700] = 90
    found = spread_report(spread.tolist())
    assert found.plugs == (quality.Plug(100, 120),)
    assert any("exactly 100 points stands in 120 bars" in warning for warning in found.warnings)
    assert spread_report(noisy(13, YEAR)).plugs == ()


def test_an_even_tail_of_wide_spreads_holds_no_plug():
    spread = np.array(noisy(13, YEAR))
    spread[::20] = np.random.default_rng(5).integers(40, 200, len(spread[::20]))
    assert spread_report(spread.tolist()).plugs == ()


def test_months_count_zero_and_unknown_spreads():
    bars = make_bars(datetime(2024, 1, 30, 22, tzinfo=UTC), 120, step_s=3600)
    in_january = bars.filter(pl.col("time").dt.month() == 1).height
    found = spread_report([0] * in_january + [None] * 20 + [14] * (100 - in_january), bars=bars).months
    assert [(m.month, m.rows, m.spread_zero_share, m.median_points) for m in found] == [
        ("2024-01", in_january, 1.0, 0), ("2024-02", 120 - in_january, 0.0, 14),
    ]  # fmt: skip
    assert found[1].spread_unknown_share == pytest.approx(20 / (120 - in_january))


def test_bars_without_any_spread_have_no_regimes():
    found = spread_report([None] * 200)
    assert (found.regimes, found.plugs, found.spread_median_points) == ((), (), None)
    assert found.months[0].median_points is None
