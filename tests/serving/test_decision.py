"""Signals and steps worked by hand, and what must hold for any of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import decision, risk
from serving.decision import (
    ACTIVE,
    BARRIER,
    FOREIGN,
    HALTED,
    LOTS,
    REDUCING,
    RISK,
    TARGET,
    Account,
    DecisionSpec,
    Positions,
    Quotes,
    Signals,
    Specs,
)
from serving.sizing import kelly_fraction, on_grid, round_down, round_price

SPEC = DecisionSpec(BARRIER, 0.40, 0.45, 1.0, 1.5, 12, LOTS, 0.02, 0.10)
LIMITS = risk.limits({"currency_exposure": 1000.0, "margin_fraction": 1.0, "loss_per_trade_fraction": 1.0, "spread_atr": 10.0})
NAN = float("nan")


def account(**changes):
    return Account(10_000.0, 10_000.0, 0.0, 10_000.0, 10_000.0, ACTIVE)._replace(**changes)


def held(*rows):
    """Positions from (symbol, line, side) or (symbol, line, side, bars_held, horizon_bars)."""
    full = [row if len(row) == 5 else (*row, 1, 12) for row in rows]
    column = [np.array([row[i] for row in full], dtype=np.int64) for i in range(5)]
    ones = np.ones(len(full))
    return Positions(column[0], column[1], column[2], 0.1 * ones, 1.1 * ones, 1.09 * ones, 1.12 * ones, column[3], column[4])


def signals(*sides, fresh=None, q=0.6, atr=0.0010):
    size = len(sides)
    return Signals(
        np.arange(size),
        np.array(fresh if fresh is not None else [1] * size),
        np.array(sides),
        np.full(size, q),
        np.full(size, atr),
    )


def quotes(size=1, bid=1.1000, ask=1.1001, age_s=0.0, is_open=1):
    return Quotes(np.full(size, bid), np.full(size, ask), np.full(size, age_s), np.full(size, is_open))


def specs(size=1, **changes):
    def full(x):
        return np.full(size, float(x))

    made = Specs(
        point=full(1e-5), volume_min=full(0.01), volume_max=full(50), volume_step=full(0.01), stops_level=full(0),
        value_per_price=full(100_000), commission_per_lot=full(7), margin_per_lot=full(1100), notional_per_lot=full(110_000),
        base_currency=np.arange(1, size + 1), profit_currency=np.zeros(size, np.int64),
    )  # fmt: skip
    return made._replace(**{name: full(value) for name, value in changes.items()})


def step(positions, said, *, spec=SPEC, acc=None, market=None, contract=None, limits=LIMITS):
    size = said.symbol.size
    return decision.step(
        acc or account(), positions, said, market or quotes(size), contract or specs(size), decision.policy([spec] * size), limits
    )


@pytest.mark.parametrize(
    ("probabilities", "side"),
    [
        ((0.2, 0.4, 0.4), 1),
        ((0.3, 0.31, 0.39), 0),
        ((0.45, 0.35, 0.2), -1),
        ((0.44, 0.36, 0.2), 0),
        ((0.46, 0.08, 0.46), 0),
        ((0.47, 0.07, 0.46), -1),
        ((NAN, 0.5, 0.5), 0),
        ((0.1, NAN, 0.9), 0),
    ],
)
def test_the_signal_is_the_likelier_side_that_reaches_its_threshold(probabilities, side):
    assert decision.signal(*probabilities, SPEC) == side


def test_a_float32_probability_is_compared_as_the_machine_code_compares_it():
    just_below = np.float32(0.7)  # 0.699999988
    assert decision.signal(np.float32(0.1), np.float32(0.2), just_below, SPEC._replace(threshold_long=0.7)) == 0


def test_confidence_is_the_sides_share_of_the_two_sides():
    assert decision.confidence(0.2, 0.6, 1) == pytest.approx(0.75) and decision.confidence(0.2, 0.6, -1) == pytest.approx(0.25)
    assert math.isnan(decision.confidence(0.2, 0.6, 0)) and math.isnan(decision.confidence(0.0, 0.0, 1))


def test_a_long_opens_with_stop_and_target_measured_from_the_ask():
    orders = step(held(), signals(1))
    assert (orders.open_side[0], orders.open_lots[0], orders.reason[0], orders.halt) == (1, 0.10, 0, 0)
    assert orders.open_stop[0] == 1.0991 and orders.open_target[0] == 1.1016


def test_a_short_opens_with_stop_and_target_measured_from_the_bid():
    orders = step(held(), signals(-1))
    assert orders.open_side[0] == -1 and orders.open_stop[0] == 1.1010 and orders.open_target[0] == 1.0985


def test_sizing_by_risk_worked_by_hand():
    # A lot loses 0.0010 x 100 000 + 7 = 107 and wins 150 - 7 = 143: b = 1.33645, Kelly = 0.6 - 0.4 / b = 0.30070.
    # 0.02 x 10 000 x 0.30070 / 107 = 0.56205 lots.
    orders = step(held(), signals(1), spec=SPEC._replace(sizing=RISK))
    assert orders.open_lots[0] == 0.56


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"said": signals(0)}, decision.NO_SIGNAL),
        ({"acc": account(state=REDUCING)}, decision.REDUCING_STATE),
        ({"acc": account(state=HALTED)}, decision.HALTED_STATE),
        ({"acc": account(equity=NAN)}, decision.NO_EQUITY),
        ({"market": quotes(is_open=0)}, decision.MARKET_CLOSED),
        ({"market": quotes(bid=NAN)}, decision.NO_QUOTE),
        ({"market": quotes(bid=1.2)}, decision.NO_QUOTE),
        ({"said": signals(1, atr=NAN)}, decision.NO_ATR),
        ({"contract": specs(value_per_price=NAN)}, decision.NO_RATE),
        ({"contract": specs(stops_level=0.0010)}, decision.STOPS_TOO_CLOSE),
        ({"market": quotes(ask=1.1011)}, decision.STOPS_TOO_CLOSE),
        ({"spec": SPEC._replace(fixed_lots=0.009)}, decision.BELOW_MINIMUM),
        ({"spec": SPEC._replace(sizing=RISK), "said": signals(1, q=0.40)}, decision.NO_KELLY),
        ({"spec": SPEC._replace(sizing=RISK), "said": signals(1, q=NAN)}, decision.NO_KELLY),
        ({"spec": SPEC._replace(sizing=RISK, stop_atr=0.0)}, decision.NO_STOP),
        ({"spec": SPEC._replace(sizing=RISK, risk_fraction=0.0001)}, decision.BELOW_MINIMUM),
    ],
)
def test_the_first_rule_that_says_no_is_named_and_nothing_opens(changes, reason):
    orders = step(held(), changes.pop("said", signals(1)), **changes)
    assert orders.reason[0] == reason and orders.open_side[0] == 0 and orders.open_lots[0] == 0.0
    assert decision.REASONS[reason]


@pytest.mark.parametrize("level", [0.0009, 0.00090000000000001])
def test_a_stop_exactly_at_the_brokers_least_distance_is_allowed(level):
    assert step(held(), signals(1), contract=specs(stops_level=level)).open_side[0] == 1  # bid - stop = 9 pips


def test_a_same_side_signal_while_held_changes_nothing():
    orders = step(held((0, 0, 1)), signals(1))
    assert orders.close[0] == 0 and orders.open_side[0] == 0 and orders.reason[0] == decision.HELD


def test_an_opposite_signal_closes_and_opens_the_other_side():
    orders = step(held((0, 0, 1)), signals(-1))
    assert orders.close[0] == decision.OPPOSITE_SIGNAL and orders.open_side[0] == -1


def test_an_opposite_signal_below_its_threshold_leaves_a_barrier_position_alone():
    orders = step(held((0, 0, 1)), signals(0))
    assert orders.close[0] == 0


def test_the_time_exit_closes_and_the_same_side_waits_a_bar():
    orders = step(held((0, 0, 1, 12, 12)), signals(1))
    assert orders.close[0] == decision.TIME_EXIT and orders.reason[0] == decision.CLOSING
    assert step(held((0, 0, 1, 11, 12)), signals(1)).close[0] == 0


def test_in_target_mode_a_flat_signal_closes_and_there_is_no_time_exit():
    target = SPEC._replace(mode=TARGET)
    assert decision.policy([target]).horizon_bars[0] == 0
    assert step(held((0, 0, 1, 99, 0)), signals(0), spec=target).close[0] == decision.FLAT_SIGNAL
    assert step(held((0, 0, 1, 99, 0)), signals(1), spec=target).close[0] == 0


def test_a_line_without_a_new_bar_changes_nothing():
    orders = step(held((0, 0, 1)), signals(-1, fresh=[0]))
    assert orders.close[0] == 0 and orders.open_side[0] == 0 and orders.reason[0] == 0


def test_reducing_closes_but_does_not_open_and_halted_does_nothing():
    reducing = step(held((0, 0, 1)), signals(-1), acc=account(state=REDUCING))
    assert reducing.close[0] == decision.OPPOSITE_SIGNAL and reducing.open_side[0] == 0
    halted = step(held((0, 0, 1, 12, 12)), signals(-1), acc=account(state=HALTED))
    assert halted.close[0] == 0 and halted.open_side[0] == 0


@pytest.mark.parametrize("state", [ACTIVE, REDUCING, HALTED])
def test_a_breach_closes_all_that_is_ours_and_nothing_foreign(state):
    positions = held((0, 0, 1), (0, FOREIGN, 1), (1, 1, -1), (1, 7, 1))  # line 7 is ours, gone from the settings
    orders = step(positions, signals(1, 1), acc=account(equity=9_500.0, state=state))
    assert orders.halt == 100 and orders.close.tolist() == [100, 0, 100, 100]
    assert orders.open_side.tolist() == [0, 0] and orders.reason.tolist() == [100, 100]


def test_a_foreign_position_never_closes_and_does_not_occupy_the_line():
    orders = step(held((0, FOREIGN, 1, 500, 12)), signals(-1))
    assert orders.close[0] == 0 and orders.open_side[0] == -1


def test_a_closed_market_is_sent_no_closes():
    assert step(held((0, 0, 1, 12, 12)), signals(-1), market=quotes(is_open=0)).close[0] == 0


def test_later_lines_see_what_earlier_ones_were_granted():
    limits = risk.limits({**LIMITS._asdict(), "positions": 2.0})
    orders = step(held(), signals(1, 1, 1), limits=limits)
    assert orders.open_side.tolist() == [1, 1, 0] and orders.reason.tolist() == [0, 0, 112]


def test_a_position_that_closes_in_the_step_makes_room():
    limits = risk.limits({**LIMITS._asdict(), "positions": 1.0})
    assert step(held((0, 0, 1)), signals(-1), limits=limits).open_side[0] == -1


def test_inputs_are_left_as_they_were():
    positions, said = held((0, 0, 1), (1, 1, 1)), signals(-1, 1)
    before = [array.copy() for array in (*positions, *said)]
    step(positions, said)
    for old, new in zip(before, (*positions, *said), strict=True):
        np.testing.assert_array_equal(old, new)


@given(lots=st.floats(0.0, 1000.0), step_=st.sampled_from([0.01, 0.1, 1.0, 0.001, 0.25, 0.03]))
def test_rounding_down_stays_on_the_grid_and_never_above(lots, step_):
    rounded = round_down(lots, step_)
    assert rounded <= lots + 1e-9 * step_ + 1e-12 and lots - rounded < step_ * (1 + 1e-6)
    assert rounded / step_ == pytest.approx(round(rounded / step_), abs=1e-6)


@given(count=st.integers(0, 100_000), step_=st.sampled_from(["0.01", "0.1", "1", "0.001", "0.00001"]))
def test_a_lot_on_the_grid_is_its_decimal_value_and_stays(count, step_):
    from decimal import Decimal

    exact = float(Decimal(step_) * count)
    assert on_grid(count, float(step_)) == exact and round_down(exact, float(step_)) == exact
    assert round_price(exact, float(step_)) == exact


def test_kelly_of_an_even_bet_is_two_q_minus_one():
    assert kelly_fraction(0.6, 1.0, 1.0) == pytest.approx(0.2) and kelly_fraction(0.5, 1.0, 1.0) == 0.0


price = st.one_of(st.floats(0.5, 2.0), st.just(NAN))
amounts = st.one_of(st.floats(0.0, 2e5), st.just(NAN))


@st.composite
def situations(draw):
    size, count = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = [
        (rng.integers(size), rng.integers(-1, size + 1), rng.choice([-1, 1]), rng.integers(0, 15), rng.choice([0, 12]))
        for _ in range(count)
    ]
    acc = account(equity=draw(amounts), day_start_equity=draw(amounts), margin=draw(amounts), state=draw(st.integers(0, 2)))
    said = Signals(
        np.arange(size),
        rng.integers(0, 2, size),
        rng.integers(-1, 2, size),
        np.where(rng.random(size) < 0.1, NAN, rng.uniform(0.3, 0.9, size)),
        np.where(rng.random(size) < 0.1, NAN, rng.uniform(1e-4, 3e-3, size)),
    )
    bid = np.array([draw(price) for _ in range(size)])
    is_open = (rng.random(size) < 0.9).astype(np.int64)
    market = Quotes(bid, bid + rng.uniform(0, 3e-4, size), rng.choice([0.0, 30.0, 90.0, NAN], size), is_open)
    contract = specs(size)._replace(
        value_per_price=np.where(rng.random(size) < 0.1, NAN, 1e5), stops_level=rng.choice([0.0, 5e-4], size),
        notional_per_lot=np.where(rng.random(size) < 0.1, NAN, 1.1e5),
    )  # fmt: skip
    spec = SPEC._replace(
        mode=int(rng.integers(0, 2)), sizing=int(rng.integers(0, 2)), stop_atr=float(rng.choice([0.0, 1.0])),
        target_atr=float(rng.choice([0.0, 1.5])), fixed_lots=float(rng.uniform(0, 2)), risk_fraction=float(rng.uniform(0, 0.1)),
    )  # fmt: skip
    return acc, held(*rows), said, market, contract, decision.policy([spec] * size), risk.limits({"positions": 3.0})


@settings(max_examples=150, deadline=None)
@given(situation=situations())
def test_whatever_the_inputs_orders_are_sane_and_caps_hold(situation):
    acc, positions, said, market, contract, _, limits = situation
    orders = decision.step(*situation)
    granted = np.flatnonzero(orders.open_side)
    kept = int((orders.close == 0).sum())
    assert granted.size == 0 or kept + granted.size <= limits.positions
    assert (orders.halt != 0) == (decision.guard(acc, positions, market, contract, limits) != 0)
    for line in range(said.symbol.size):
        lots = orders.open_lots[line]
        if orders.open_side[line] == 0:
            assert lots == 0.0 and (orders.reason[line] != 0 or said.fresh[line] == 0)
            continue
        assert acc.state == ACTIVE and orders.halt == 0 and orders.reason[line] == 0 and said.fresh[line] == 1
        assert 0.01 <= lots <= 50.0 and orders.open_side[line] == said.side[line]
        entry = market.ask[line] if orders.open_side[line] > 0 else market.bid[line]
        loss = abs(entry - orders.open_stop[line]) * 1e5 + 7.0
        assert loss * lots <= limits.loss_per_trade_fraction * acc.equity * (1 + 1e-9)
        assert 1.1e5 * lots <= 2 * limits.currency_exposure * acc.equity
    for p in range(positions.line.size):
        assert positions.line[p] != FOREIGN or orders.close[p] == 0


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(situation=situations())
def test_the_compiled_step_gives_the_very_same_orders(situation):
    for plain, compiled in zip(decision.step(*situation), compiled_step()(*situation), strict=True):
        np.testing.assert_array_equal(plain, compiled)


def compiled_step():
    global _step
    if _step is None:
        from serving.backtest._compile import entry_point

        _step = entry_point(decision.step)
    return _step


_step = None
