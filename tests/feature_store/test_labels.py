"""Labels: hand-worked trades, then invariants against a slow and plain second implementation."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store._errors import Final
from feature_store.labels import FLAT, LONG, SHORT, LabelSpec, average_uniqueness, charged_spread, label_trades

ATR = 2.0  # stop and target 1.5 ATR = 3.0 away; all prices are exact in binary
STEP_S = 3600
REPOSITORY = Path(__file__).resolve().parents[2]


def labels_of(bars, *, spread=0.0, commission=0.0, atr=ATR, spec=None, spreads=None):
    """Labels of a decision bar followed by `bars` (open, high, low, close), horizon = all of them."""
    o, h, low, c = np.array([(100.0, 100.0, 100.0, 100.0), *bars]).T
    n = len(o)
    spec = spec or LabelSpec(1.5, 1.5, horizon_bars=len(bars))
    spread = np.full(n, spread) if spreads is None else np.array([0.0, *spreads])
    return label_trades(o, h, low, c, STEP_S * np.arange(1, n + 1), np.full(n, atr), spread, commission, spec)


QUIET = (100.0, 100.5, 99.5, 100.0)
CASES = {
    # name: bars, spread, commission, class, r_long, r_short, bar in which the later trade ended
    "long_reaches_its_target_and_short_its_stop": (
        [QUIET, (100.0, 104.0, 100.0, 103.5), QUIET], 0.0, 0.0, LONG, 1.5, -1.5, 2),
    "short_reaches_its_target_and_long_its_stop": (
        [QUIET, QUIET, (99.0, 99.5, 96.0, 97.0)], 0.0, 0.0, SHORT, -1.5, 1.5, 3),
    # Long bought at 100: low 97.0 is the stop, high 103.0 the target of the same bar. Short likewise at 103 and 97.
    "both_barriers_in_one_bar_count_as_the_stop": (
        [(100.0, 103.0, 97.0, 102.0), QUIET], 0.0, 0.0, FLAT, -1.5, -1.5, 1),
    # The long's stop lies at 97, the bar opens at 95: filled there, (95 - 100) / 2.
    "a_stop_jumped_over_fills_at_the_worse_open": (
        [QUIET, (95.0, 95.5, 94.0, 95.0)], 0.0, 0.0, SHORT, -2.5, 1.5, 2),
    # Ask open 104.5 jumps over the short's stop 103: (100 - 104.5) / 2. The target gets no more than its price.
    "a_short_stop_jumped_over_fills_at_the_worse_ask": (
        [QUIET, (104.0, 105.0, 103.75, 104.0)], 0.5, 0.0, LONG, 1.5, -2.25, 2),
    # Long paid 100, sold at 101; short the reverse.
    "nothing_touched_ends_at_the_close_of_the_last_bar": (
        [QUIET, QUIET, (100.0, 101.5, 99.5, 101.0)], 0.0, 0.0, LONG, 0.5, -0.5, 3),
    # Long pays 100.5 and sells at 100.25; short sells at 100 and pays 100.75: nobody earns.
    "both_sides_lose_the_spread_and_the_class_is_flat": (
        [QUIET, (100.0, 100.5, 99.5, 100.25)], 0.5, 0.0, FLAT, -0.125, -0.375, 2),
    # The highest bid is 102.75: the long's target 103.5 is out of reach, the short's stop 103 is hit on the ask 103.25.
    "spread_alone_stops_a_short_and_keeps_a_long_from_its_target": (
        [QUIET, (100.0, 102.75, 100.0, 102.5)], 0.5, 0.0, LONG, 1.0, -1.5, 2),
    # Lowest bid 97.25 is 97.75 to buy back: short of the short's target 97. The long's stop lies at 97.5.
    "spread_alone_keeps_a_short_from_its_target_and_stops_a_long": (
        [QUIET, (100.0, 100.0, 97.25, 97.5)], 0.5, 0.0, SHORT, -1.5, 1.0, 2),
    # 0.5 of commission is 0.25 ATR on every trade.
    "commission_is_paid_by_both_sides": (
        [QUIET, (100.0, 101.5, 99.5, 101.0)], 0.0, 0.5, LONG, 0.25, -0.75, 2),
    # Without commission a long of (100.25 - 100) / 2 = +0.125; with it nobody earns.
    "commission_turns_a_small_gain_into_flat": (
        [QUIET, (100.0, 101.0, 99.5, 100.25)], 0.0, 0.5, FLAT, -0.125, -0.375, 2),
    # Up 3 in bar 1, down 6 in bar 2: the long is gone at its target before, the short stopped before.
    "what_happens_after_the_exit_does_not_count": (
        [(100.0, 103.0, 100.0, 103.0), (103.0, 103.0, 90.0, 90.0)], 0.0, 0.0, LONG, 1.5, -1.5, 1),
    # Spread 4 is wider than the stop: the bid opens at 100, below the long's stop 101. Sold there at once.
    "a_spread_wider_than_the_stop_closes_at_the_open_bid": (
        [QUIET, QUIET], 4.0, 0.0, FLAT, -2.0, -2.0, 1),
}  # fmt: skip


@pytest.mark.parametrize(("bars", "spread", "commission", "label", "r_long", "r_short", "ended"), CASES.values(), ids=CASES)
def test_a_hand_worked_trade_has_the_result_written_beside_it(bars, spread, commission, label, r_long, r_short, ended):
    found = labels_of(bars, spread=spread, commission=commission)
    assert (found.label[0], found.r_long[0], found.r_short[0]) == (label, r_long, r_short)
    assert found.label_end[0] == STEP_S * (ended + 1), "the decision bar closes at STEP_S, bar k of the trade k later"
    assert found.cost[0] == (spread + commission) / ATR


def test_the_interval_ends_with_the_later_of_the_two_trades():
    # The long's target 103.5 falls in bar 1; the short's stop is 1.5 ATR too, but a wider one lives on to the time exit.
    bars = [(100.0, 103.5, 100.0, 103.0), QUIET, QUIET]
    wide_stop = labels_of(bars, spread=0.5, spec=LabelSpec(stop_atr=4.0, target_atr=1.5, horizon_bars=3))
    assert wide_stop.label_end[0] == STEP_S * 4
    assert (wide_stop.r_long[0], wide_stop.r_short[0]) == (1.5, -0.25)


def test_two_winning_sides_of_equal_size_are_flat_even_where_floats_would_differ():
    # Target 0.3 ATR, stop 5 ATR: bar 1 reaches the long's target, bar 2 the short's. Prices inexact in binary.
    bars = [(1.1, 1.1004, 1.1, 1.1), (1.1, 1.1, 1.0996, 1.1)]
    found = labels_of(bars, atr=0.001, spec=LabelSpec(stop_atr=5.0, target_atr=0.3, horizon_bars=2))
    assert found.r_long[0] == found.r_short[0] == np.float32(0.3)
    assert found.label[0] == FLAT


def test_a_bar_that_recorded_no_spread_pays_the_spread_of_the_table():
    # Own spread 0, unknown, 70 points; usual ones 50, 10, 10 at those hours. A point is 0.01.
    spread = charged_spread(np.array([0.0, np.nan, 70.0]), np.array([50.0, 10.0, 10.0]), 0.01)
    np.testing.assert_allclose(spread, [0.5, 0.1, 0.7], rtol=1e-12)
    free = labels_of([QUIET, (100.0, 100.5, 99.5, 100.25)], spreads=[0.0, 0.0])
    charged = labels_of([QUIET, (100.0, 100.5, 99.5, 100.25)], spreads=[0.5, 0.5])
    assert (free.label[0], free.r_long[0]) == (LONG, 0.125)
    assert (charged.label[0], charged.r_long[0]) == (FLAT, -0.125)


def test_each_bar_pays_its_own_spread_at_the_moment_it_trades():
    # Entry ask 100.5; a short that ends at the time exit pays the spread of that bar, 1.0: (100 - 101) / 2.
    found = labels_of([QUIET, QUIET], spreads=[0.5, 1.0])
    assert (found.r_long[0], found.r_short[0], found.cost[0]) == (-0.25, -0.5, 0.25)


def test_rows_whose_horizon_runs_past_the_data_have_no_label_even_when_a_barrier_was_hit():
    n, spec = 10, LabelSpec(horizon_bars=4)
    flat = np.full(n, 100.0)
    found = label_trades(flat, flat + 50, flat, flat, np.arange(n), np.full(n, ATR), np.zeros(n), 0.0, spec)
    assert (found.label_end[:6] >= 0).all() and (found.label_end[6:] == -1).all()
    assert np.isnan(found.r_long[6:]).all() and np.isnan(found.r_short[6:]).all()
    assert (found.weights[6:] == 0).all() and (found.label[6:] == FLAT).all()
    assert np.isnan(found.next_bar_return[-1]) and (found.next_bar_return[:-1] == 0).all()


def test_each_segment_is_labelled_as_if_it_stood_alone():
    rng = np.random.default_rng(3)
    c = 100 + np.cumsum(rng.normal(0, 1, 30))
    inputs = (c - 0.1, c + 1.0, c - 1.0, c, STEP_S * np.arange(30), np.ones(30), np.full(30, 0.05))
    spec = LabelSpec(horizon_bars=5)
    whole = label_trades(*inputs, 0.01, spec, segment_starts=np.array([0, 12, 14]))
    for start, end in ((0, 12), (12, 14), (14, 30)):
        alone = label_trades(*(a[start:end] for a in inputs), 0.01, spec)
        for name in ("label", "r_long", "r_short", "label_end", "next_bar_return", "weights"):
            np.testing.assert_allclose(getattr(whole, name)[start:end], getattr(alone, name), rtol=1e-6)


@pytest.mark.parametrize("atr", [np.nan, 0.0, np.inf])
def test_a_row_without_an_atr_has_no_label(atr):
    found = labels_of([QUIET, QUIET], atr=atr)
    assert (found.label_end == -1).all() and np.isnan(found.r_long).all() and np.isnan(found.cost).all()
    assert np.isnan(found.atr).all()


def test_no_bars_and_fewer_bars_than_the_horizon_give_no_labels():
    empty = np.array([])
    assert len(label_trades(empty, empty, empty, empty, empty.astype(np.int64), empty, empty, 0.0, LabelSpec())) == 0
    assert (labels_of([QUIET], spec=LabelSpec(horizon_bars=12)).label_end == -1).all()


def test_average_uniqueness_of_three_overlapping_labels_is_as_worked_by_hand():
    # Label of row 0 uses bars 1-2, row 1 bars 2-4, row 5 bar 6: labels at bars 1..6 are 1, 2, 1, 1, 0, 1.
    weights = average_uniqueness(np.array([0, 1, 5]), np.array([2, 4, 6]), 8)
    np.testing.assert_allclose(weights, [(1 + 0.5) / 2, (0.5 + 1 + 1) / 3, 0, 0, 0, 1.0, 0, 0], rtol=1e-6)


def slow_trade(side, i, o, h, low, c, atr, spread, commission, spec):
    """One trade in plain Python, written from the contract's words, in real prices of its own side."""
    enter = o[i + 1] + spread[i + 1] if side > 0 else o[i + 1]
    stop, target = enter - side * spec.stop_atr * atr[i], enter + side * spec.target_atr * atr[i]
    for j in range(i + 1, i + 1 + spec.horizon_bars):
        pay = 0.0 if side > 0 else spread[j]
        worst, best, first = (low[j], h[j], o[j]) if side > 0 else (h[j] + pay, low[j] + pay, o[j] + pay)
        if side * (worst - stop) <= 0:
            leave = first if side * (first - stop) < 0 else stop
            break
        if side * (best - target) >= 0:
            leave = target
            break
        leave = c[j] + pay
    return (side * (leave - enter) - commission[i + 1]) / atr[i], j


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 8), stop=st.floats(0.2, 4), target=st.floats(0.2, 4))
def test_labels_equal_those_of_a_plain_loop_on_random_bars(seed, horizon, stop, target):
    rng, n = np.random.default_rng(seed), 40
    c = 100 + np.cumsum(rng.normal(0, 1, n))
    o = np.append(100.0, c[:-1]) + rng.normal(0, 0.3, n)
    h, low = np.maximum(o, c) + rng.exponential(0.5, n), np.minimum(o, c) - rng.exponential(0.5, n)
    atr, spread, commission = rng.uniform(0.5, 2, n), rng.exponential(0.1, n), rng.uniform(0, 0.1, n)
    spec = LabelSpec(stop, target, horizon)
    times = np.cumsum(rng.integers(60, 7200, n))
    found = label_trades(o, h, low, c, times, atr, spread, commission, spec)
    ends = []
    for i in range(n - horizon):
        (long, end_long), (short, end_short) = (slow_trade(s, i, o, h, low, c, atr, spread, commission, spec) for s in (1, -1))
        ends.append(max(end_long, end_short))
        np.testing.assert_allclose([found.r_long[i], found.r_short[i]], [long, short], rtol=1e-4, atol=1e-5)
        assert found.label_end[i] == times[ends[-1]]
        if max(long, short) > 1e-6 and abs(long - short) > 1e-6:
            assert found.label[i] == (LONG if long > short else SHORT)
        elif max(long, short) < -1e-6:
            assert found.label[i] == FLAT
    users = [sum(i < bar <= end for i, end in enumerate(ends)) for bar in range(n)]
    expected = [np.mean([1 / users[bar] for bar in range(i + 1, end + 1)]) for i, end in enumerate(ends)]
    np.testing.assert_allclose(found.weights[: len(ends)], expected, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(15, 39))
def test_a_label_depends_on_no_bar_after_its_end(seed, cut):
    rng, n = np.random.default_rng(seed), 40
    c = 100 + np.cumsum(rng.normal(0, 1, n))
    o, h, low = c - 0.1, c + 1.0, c - 1.0
    inputs = (o, h, low, c, STEP_S * np.arange(n), np.ones(n), np.full(n, 0.05))
    whole = label_trades(*inputs, 0.01, LabelSpec(horizon_bars=5))
    known = label_trades(*(a[:cut] for a in inputs), 0.01, LabelSpec(horizon_bars=5))
    rows = cut - 5
    for name in ("label", "r_long", "r_short", "label_end", "cost", "atr"):
        np.testing.assert_array_equal(getattr(whole, name)[:rows], getattr(known, name)[:rows])


def test_the_arrays_have_the_types_of_the_contract_and_inputs_are_untouched():
    bars = np.array([QUIET] * 6).T.copy()
    bars.flags.writeable = False
    found = label_trades(*bars, np.arange(6), np.full(6, ATR), np.zeros(6), 0.0, LabelSpec(horizon_bars=2))
    kinds = {f.name: getattr(found, f.name).dtype.name for f in fields(found)}
    assert kinds.pop("label") == "int8" and kinds.pop("label_end") == "int64"
    assert set(kinds.values()) == {"float32"}
    np.testing.assert_allclose(found.atr, 0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"close": np.array([100.0, np.nan, 100.0])}, "close of bar 1 is nan"),
        ({"low": np.array([100.0, 100.0, 0.0])}, "low of bar 2 is 0.0"),
        ({"ask_spread_price": np.array([0.0, 0.0, -1.0])}, "spread of bar 2 is -1.0"),
        ({"atr": np.ones(2)}, "atr has shape"),
        ({"close_times_s": np.array([1, 2, 2])}, "bar 2 is not later"),
    ],
)
def test_bad_bars_are_refused_with_the_first_bad_one_named(change, words):
    names = ("open", "high", "low", "close")
    inputs = {**{n: np.full(3, 100.0) for n in names}, "close_times_s": np.arange(3), "atr": np.ones(3)}
    inputs |= {"ask_spread_price": np.zeros(3), "commission_price": 0.0, "spec": LabelSpec(horizon_bars=1)}
    with pytest.raises(Final, match=words):
        label_trades(**(inputs | change))


@pytest.mark.parametrize("change", [{"stop_atr": 0.0}, {"target_atr": float("nan")}, {"horizon_bars": 0}, {"atr_bars": 0}])
def test_a_spec_that_describes_no_trade_is_refused(change):
    with pytest.raises(Final, match=next(iter(change))):
        LabelSpec(**change)


@pytest.mark.parametrize("usual", [np.nan, -1.0])
def test_a_table_without_a_spread_for_a_bar_is_refused(usual):
    with pytest.raises(Final, match="usual spread"):
        charged_spread(np.zeros(2), np.array([1.0, usual]), 1e-5)


def test_reading_specs_and_snapshots_does_not_import_the_compiler():
    code = "import sys, feature_store.labels, feature_store.snapshot, feature_store.folds; print('numba' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    assert out.strip() == "False"
