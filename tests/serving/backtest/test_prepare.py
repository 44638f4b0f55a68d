"""Frames become arrays: one timeline, the larger spread, nights of swap, decisions where their bars close."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from feature_store.symbols import assumed_spec
from serving import risk
from serving._errors import Final
from serving.backtest import LineInput, prepare
from serving.backtest.prepare import swap_nights
from tests.serving.backtest.conftest import FIXED, frame


def seconds(*moment):
    return int(datetime(*moment, tzinfo=UTC).timestamp())


def made(rows, line, spread_points=10, table=None, start=datetime(2024, 3, 5, 8)):
    return prepare(
        {"EURUSD": frame(rows, start, spread_points)}, "H1", {"EURUSD": assumed_spec("f", "EURUSD")},
        {"EURUSD": np.zeros(24) if table is None else table}, [line], feed="f", currency="USD", start_balance=1e4,
        limits=risk.limits(),
    )  # fmt: skip


def line_of(timeframe, *opens, probabilities=None):
    said = np.array([[0.1, 0.2, 0.7]] * len(opens)) if probabilities is None else probabilities
    return LineInput("l", "EURUSD", timeframe, FIXED, np.array(opens, dtype=np.int64), said, np.full(len(opens), 0.001))


ROW = (1.1, 1.101, 1.099, 1.1)


def test_a_week_has_seven_nights_three_of_them_on_wednesday():
    # Summer: New York closes at 21:00 UTC. A bar before and one after each close of a week, and the Monday after.
    opens = [seconds(2024, 7, day, hour) for day in range(1, 9) for hour in (20, 21)]
    nights = swap_nights(np.array(opens))
    after = dict(zip(range(1, 9), nights[1::2], strict=True))  # 1 July 2024 is a Monday
    assert after == {1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 0, 7: 0, 8: 1}
    assert (nights[::2] == 0).all()


def test_a_gap_is_charged_all_the_nights_in_it():
    assert swap_nights(np.array([seconds(2024, 7, 1, 12), seconds(2024, 7, 8, 12)])).tolist() == [0, 7]


def test_cost_is_the_larger_of_the_bars_spread_and_the_table_of_its_new_york_hour():
    table = np.zeros(24)
    table[4] = 25.0  # 09:00 UTC in winter
    market = made([ROW, ROW, ROW], line_of("H1"), table=table).market
    np.testing.assert_allclose(market.spread[:, 0], [10e-5, 25e-5, 10e-5])


def test_a_spread_that_is_unknown_costs_what_the_table_says():
    assert made([ROW], line_of("H1"), spread_points=None, table=np.full(24, 12.0)).market.spread[0, 0] == pytest.approx(12e-5)


def test_a_longer_timeframe_decides_when_its_own_bar_closes():
    # H4 from 10:00 UTC (05:00 New York) closes at 14:00: known with the hourly bar of 13:00.
    data = made([ROW] * 8, line_of("H4", seconds(2024, 3, 5, 10)))
    assert np.flatnonzero(data.lines.closes[:, 0]).tolist() == [5] and data.lines.side[5, 0] == 1
    assert data.lines.confidence[5, 0] == pytest.approx(0.875)


def test_a_longer_bar_whose_last_hour_is_missing_decides_with_the_last_there_is():
    rows = [ROW] * 5 + [None, ROW, ROW]
    data = made(rows, line_of("H4", seconds(2024, 3, 5, 10)))
    assert data.open_s[np.flatnonzero(data.lines.closes[:, 0])].tolist() == [seconds(2024, 3, 5, 12)]


def test_decisions_outside_the_bars_are_left_out():
    data = made([ROW] * 2, line_of("H1", seconds(2024, 3, 4, 8), seconds(2024, 3, 5, 9), seconds(2024, 3, 6, 8)))
    assert data.lines.closes[:, 0].tolist() == [False, True]


def test_a_line_without_bars_is_refused():
    line = LineInput("l", "GBPUSD", "H1", FIXED, np.array([0]), np.zeros((1, 3)), np.zeros(1))
    with pytest.raises(Final, match="GBPUSD: no bars"):
        made([ROW], line)
