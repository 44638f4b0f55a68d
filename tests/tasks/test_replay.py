"""Replay: one hand-made trade earns in the backtest what its label says, to the cent, and every cost is shown."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from feature_store.bars import bar_close, bar_open
from feature_store.labels import LabelSpec
from serving.decision import BARRIER, LOTS, DecisionSpec
from tasks.replay import open_times, replay, spec_of
from tests.tasks.parts import COMMISSION, HOUR, MONDAY, SPREAD, UNIT, hour_opens, labels_of, pipeline, snapshot_of, wandering

LONG, SHORT, FLAT = (0.1, 0.1, 0.8), (0.8, 0.1, 0.1), (0.1, 0.8, 0.1)
LOT = 100_000 * 0.1  # units of the base currency in the 0.1 lots that hand-made pipelines trade
SPEC = DecisionSpec(BARRIER, 0.5, 0.5, 1.5, 1.5, 3, LOTS, 0.01, 0.1)
DECIDES = 5  # row of the decision bar; it closes at 1.1, the trade begins at the next open

QUIET = (1.1, 1.1001, 1.0999, 1.1)
UP = (1.1, 1.1017, 1.1, 1.1016)  # bid 1.1016 is the target of a long bought at 1.1001; ask 1.1018 the stop of a short at 1.1
DOWN = (1.1, 1.1, 1.0984, 1.0985)  # bid 1.0986 is the stop of the long; ask 1.0985 the target of the short
CASES = {
    # name: bars after the decision, side, exit, result in ATR before commission
    "a_long_reaches_its_target": ([QUIET, UP], LONG, "target", 1.5),
    "a_long_reaches_its_stop": ([QUIET, DOWN], LONG, "stop", -1.5),
    "a_short_reaches_its_target": ([DOWN], SHORT, "target", 1.5),
    "a_short_reaches_its_stop": ([QUIET, QUIET, UP], SHORT, "stop", -1.5),
    # Opens 20 pips below: sold at 1.098, (1.098 - 1.1001) / 0.001.
    "a_long_is_jumped_over_its_stop": ([QUIET, (1.098, 1.0981, 1.0975, 1.098)], LONG, "stop", -2.1),
    # Both within one bar: the stop comes first.
    "a_bar_holds_stop_and_target": ([(1.1, 1.1020, 1.0980, 1.1)], LONG, "stop", -1.5),
}


def market(after, count=16):
    """Bars that stand at 1.1, then those of `after` from the bar behind the decision on, then stand at the last close."""
    last = after[-1][3]
    still = (last, last + 1e-4, last - 1e-4, last)
    bars = [QUIET] * (DECIDES + 1) + after
    return np.array(bars + [still] * (count - len(bars)))


def played(snapshot, side, rows=None):
    """The backtest in which all rows say flat but the decision row."""
    rows = np.arange(len(snapshot) - 3) if rows is None else rows
    said = np.tile(np.float32(FLAT), (len(rows), 1))
    said[rows == DECIDES] = side
    return replay(snapshot, pipeline(), SPEC, rows, said)


@pytest.mark.parametrize(("after", "side", "why", "atr"), CASES.values(), ids=CASES)
def test_a_trade_earns_what_its_label_says(tmp_path, after, side, why, atr):
    snapshot = snapshot_of(tmp_path, market(after))
    result = played(snapshot, side)
    (trade,) = result.trades.to_dicts()
    label = float((snapshot.r_long if side is LONG else snapshot.r_short)[DECIDES])
    assert label == pytest.approx(atr - 2 * COMMISSION / 100_000 / UNIT, abs=1e-6), "worked by hand"
    assert trade["net"] == pytest.approx(label * UNIT * LOT, abs=1e-4)
    assert trade["net"] == pytest.approx(10 * atr - 0.70, abs=1e-6)
    assert why in trade["reason"]
    assert trade["entry_time"].replace(tzinfo=UTC).timestamp() == snapshot.times[DECIDES]
    assert trade["exit_time"].replace(tzinfo=UTC).timestamp() <= snapshot.label_end[DECIDES]


@pytest.mark.parametrize(("side", "sign"), [(LONG, 1), (SHORT, -1)])
def test_a_time_exit_fills_at_the_open_after_the_close_that_ends_the_label(tmp_path, side, sign):
    # Bar 3 of the horizon closes at 1.1005, where the label ends; the next opens at 1.1007, where the order is filled.
    after = [QUIET, QUIET, (1.1, 1.1006, 1.1, 1.1005), (1.1007, 1.1008, 1.1006, 1.1007)]
    snapshot = snapshot_of(tmp_path, market(after))
    (trade,) = played(snapshot, side).trades.to_dicts()
    label = float((snapshot.r_long if sign > 0 else snapshot.r_short)[DECIDES])
    moved = sign * (1.1007 - 1.1005) * LOT
    assert trade["net"] == pytest.approx(label * UNIT * LOT + moved, abs=1e-4)
    assert trade["net"] == pytest.approx(sign * 0.0007 * LOT - SPREAD * LOT - 0.70, abs=1e-6)
    assert (trade["bars_held"], "horizon" in trade["reason"]) == (3, True)
    assert trade["exit_time"].replace(tzinfo=UTC).timestamp() == snapshot.label_end[DECIDES], "the open is the close before it"


def test_a_trade_near_the_last_row_ends_at_its_horizon_too(tmp_path):
    # Only rows up to the decision are asked, as at the end of a fold; bars go on to the end of the last label.
    snapshot = snapshot_of(tmp_path, market([QUIET] * 10))
    rows = np.arange(DECIDES + 2)  # one more row after the decision: its label ends a bar later
    (trade,) = played(snapshot, LONG, rows).trades.to_dicts()
    assert trade["bars_held"] == 3 and "horizon" in trade["reason"]


def test_every_cost_is_shown_and_they_add_up(tmp_path):
    result = played(snapshot_of(tmp_path, market([QUIET, UP])), LONG)
    (trade,), totals = result.trades.to_dicts(), result.totals
    # Mid to mid: bought at 1.10005, sold at 1.10165. Half a spread at each end, 3.5 a lot and side.
    assert trade["gross"] == pytest.approx(16.0, abs=1e-6)
    assert trade["spread_cost"] == pytest.approx(1.0, abs=1e-6)
    assert trade["commission"] == pytest.approx(0.70, abs=1e-9)
    assert trade["swap"] == 0.0
    assert totals.net == pytest.approx(16.0 - 1.0 - 0.70) == pytest.approx(totals.final_balance - 10_000)
    assert (totals.gross, totals.spread_cost, totals.commission) == pytest.approx((16.0, 1.0, 0.70))
    assert result.assumed == ("specification of EURUSD",)
    assert float(result.equity["equity"][-1]) == pytest.approx(10_014.30)


def test_nothing_is_traded_below_the_threshold_nor_outside_the_rows_that_were_asked(tmp_path):
    snapshot = snapshot_of(tmp_path, wandering(60))
    rows = np.arange(20, 40)
    quiet = np.tile(np.float32([0.3, 0.3, 0.4]), (20, 1))
    assert replay(snapshot, pipeline(), SPEC, rows, quiet).totals.trades == 0
    loud = np.tile(np.float32(LONG), (20, 1))
    result = replay(snapshot, pipeline(), SPEC, rows, loud)
    assert result.totals.trades >= 3
    first, last = (result.trades["entry_time"][i].replace(tzinfo=UTC).timestamp() for i in (0, -1))
    assert snapshot.times[20] <= first and last <= snapshot.times[39], "an order is filled at the open after its decision"
    span = result.equity["time"].dt.epoch("s").to_numpy()
    assert (span[0], span[-1]) == (snapshot.times[20], snapshot.label_end[rows].max())


def test_every_trade_of_a_walk_agrees_with_the_label_of_its_row(tmp_path):
    bars = wandering(400, seed=11)
    snapshot = snapshot_of(tmp_path, bars)
    results = {}
    for row in range(5, 60):
        found = replay(snapshot, pipeline(), SPEC, np.array([row]), np.float32([LONG]))
        results[row] = found.totals.net / (UNIT * LOT)
    # Alone in its span a trade that reaches no barrier is closed with the last bar: where its label ends.
    expected = [float(snapshot.r_long[row]) for row in results]
    np.testing.assert_allclose(list(results.values()), expected, atol=0.011)  # stops lie on whole points


def test_labels_of_the_snapshot_are_those_of_its_own_prices(tmp_path):
    bars = wandering(80)
    snapshot = snapshot_of(tmp_path, bars)
    again = labels_of(snapshot.prices[:, :4], snapshot.times - HOUR, LabelSpec(1.5, 1.5, 3, 2))
    np.testing.assert_array_equal(snapshot.r_long, again.r_long)
    np.testing.assert_array_equal(snapshot.label_end, again.label_end)


def test_the_specification_is_the_one_kept_in_the_snapshot(tmp_path):
    spec = spec_of(snapshot_of(tmp_path, market([QUIET])), "EURUSD")
    assert (spec.symbol, spec.contract_size, spec.commission_per_lot, spec.source) == ("EURUSD", 100_000, 3.5, "assumed")
    assert spec.valid_from == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("timeframe", ["M15", "H1", "H4", "D1", "W1"])
def test_opens_of_rows_are_the_opens_whose_bars_close_there_also_when_clocks_change(timeframe):
    hours = hour_opens(24 * 60, start_s=MONDAY - 14 * 86400)  # over 2024-03-10, when New York springs forward
    opens = np.unique(bar_open(hours, timeframe))
    rows = np.arange(len(opens))
    about = SimpleNamespace(times=bar_close(opens, timeframe), manifest=SimpleNamespace(timeframe=timeframe))
    np.testing.assert_array_equal(open_times(about, rows), opens)
