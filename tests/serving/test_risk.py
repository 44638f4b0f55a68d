"""Each rule worked by hand; what holds for every rule found in the folder; how rules are put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import risk
from serving._errors import Final
from serving.decision import ACTIVE, Account, Positions, Quotes, Specs
from serving.risk import daily_loss, drawdown, equity_floor, exposure, loss_per_trade, margin, positions, spread, stale_data
from serving.risk._rule import Entry, Rule, Setting

NAN = float("nan")
ACCOUNT = Account(10_000.0, 10_000.0, 1_000.0, 10_000.0, 12_000.0, ACTIVE)
# Symbols: 0 EURUSD (EUR 1, USD 0), 1 USDJPY (USD 0, JPY 2).
SPECS = Specs(
    np.full(2, 1e-5), np.full(2, 0.01), np.full(2, 50.0), np.full(2, 0.01), np.zeros(2), np.full(2, 1e5), np.full(2, 7.0),
    np.array([1100.0, 1000.0]), np.array([110_000.0, 100_000.0]), np.array([1, 0]), np.array([0, 2]),
)  # fmt: skip
QUOTES = Quotes(np.full(2, 1.1), np.full(2, 1.1002), np.full(2, 5.0), np.ones(2, np.int64))
ENTRY = Entry(symbol=0, side=1, lots=1.0, loss_per_lot=107.0, atr=0.0010)


def book(*rows):
    """Positions from (symbol, side, lots)."""
    size, zero = len(rows), np.zeros(len(rows))
    return Positions(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.full(size, -1),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64),
        zero,
        zero,
        zero,
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
    )


def cap(rule, entry=ENTRY, account=ACCOUNT, held=None, quotes=QUOTES, specs=SPECS, **limits):
    return rule.cap(entry, account, book() if held is None else held, quotes, specs, risk.limits(limits))


@pytest.mark.parametrize(("equity", "breached"), [(9_500.01, False), (9_500.0, True), (NAN, False)])
def test_the_day_may_lose_its_fraction_of_the_equity_it_began_with(equity, breached):
    account = ACCOUNT._replace(equity=equity)
    assert daily_loss.breach(account, book(), QUOTES, SPECS, risk.limits({"daily_loss_fraction": 0.05})) is breached


@pytest.mark.parametrize(("equity", "breached"), [(9_601.0, False), (9_600.0, True)])
def test_the_drawdown_trails_the_peak(equity, breached):
    account = ACCOUNT._replace(equity=equity)
    assert drawdown.breach(account, book(), QUOTES, SPECS, risk.limits({"drawdown_fraction": 0.2})) is breached


@pytest.mark.parametrize(("equity", "breached"), [(9_000.01, False), (9_000.0, True)])
def test_the_floor_does_not_move(equity, breached):
    account = ACCOUNT._replace(equity=equity)
    assert equity_floor.breach(account, book(), QUOTES, SPECS, risk.limits({"equity_floor": 9_000.0})) is breached


def test_a_stale_quote_or_one_of_unknown_age_allows_nothing():
    ages = [(60.0, 1.0), (60.1, 0.0), (NAN, 0.0)]
    assert [cap(stale_data, quotes=QUOTES._replace(age_s=np.full(2, age))) for age, _ in ages] == [lots for _, lots in ages]


@pytest.mark.parametrize(
    ("limits", "lots"),
    [({"spread_atr": 0.21}, 1.0), ({"spread_atr": 0.19}, 0.0), ({"spread_points": 20.0}, 1.0), ({"spread_points": 19.0}, 0.0)],
)
def test_a_spread_of_20_points_on_an_atr_of_100(limits, lots):
    assert cap(spread, **limits) == lots


def test_foreign_positions_count_among_the_positions():
    held = book((0, 1, 0.1), (1, 1, 0.1))
    assert cap(positions, held=held, positions=3.0) == 1.0 and cap(positions, held=held, positions=2.0) == 0.0


def test_the_loss_per_trade_caps_lots_and_an_unknown_loss_allows_none():
    assert cap(loss_per_trade, loss_per_trade_fraction=0.02) == pytest.approx(200.0 / 107.0)
    assert cap(loss_per_trade, entry=ENTRY._replace(loss_per_lot=NAN)) == 0.0


def test_exposure_leaves_what_the_tighter_of_both_currencies_has_left():
    # 2 x 10 000 = 20 000 a currency. Long 0.1 EURUSD holds 11 000 EUR and owes 11 000 USD: 9 000 left on both.
    assert cap(exposure, held=book((0, 1, 0.1)), currency_exposure=2.0) == pytest.approx(9_000 / 110_000)
    # A long USDJPY holds 10 000 USD, so the dollar has 30 000 to give but the euro only its 20 000.
    assert cap(exposure, held=book((1, 1, 0.1)), currency_exposure=2.0) == pytest.approx(20_000 / 110_000)
    # A short USDJPY owes 10 000 USD already.
    assert cap(exposure, held=book((1, -1, 0.1)), currency_exposure=2.0) == pytest.approx(10_000 / 110_000)


def test_the_other_way_round_lowers_exposure_and_has_more_room():
    short = ENTRY._replace(side=-1)
    assert cap(exposure, entry=short, held=book((0, 1, 0.1)), currency_exposure=2.0) == pytest.approx(31_000 / 110_000)


def test_exposure_with_a_missing_rate_anywhere_allows_nothing():
    for symbol in (0, 1):
        notional = SPECS.notional_per_lot.copy()
        notional[symbol] = NAN
        held = book((1, 1, 0.1))
        allowed = cap(exposure, held=held, specs=SPECS._replace(notional_per_lot=notional))
        assert not allowed > 0.0


def test_margin_leaves_what_the_allowance_has_left():
    assert cap(margin, margin_fraction=0.5) == pytest.approx(4_000 / 1_100)


@pytest.mark.parametrize("rule", [r for r in risk.RULES if r.cap], ids=lambda r: r.name)
def test_every_cap_fails_closed_when_all_it_looks_at_is_unknown(rule):
    nothing = [array * NAN if array.dtype == np.float64 else array for array in QUOTES]
    specs = Specs(*(array * NAN if array.dtype == np.float64 else array for array in SPECS))
    entry, account = ENTRY._replace(loss_per_lot=NAN, atr=NAN), ACCOUNT._replace(equity=NAN, margin=NAN)
    limits = risk.limits({"positions": 0.0})  # a count of positions cannot be unknown: its closed side is the count itself
    assert not rule.cap(entry, account, book((0, 1, 0.1)), Quotes(*nothing), specs, limits) > 0.0


@pytest.mark.parametrize("rule", risk.RULES, ids=lambda r: r.name)
@given(data=st.data())
def test_a_tighter_setting_never_allows_more(rule, data):
    held = book(*data.draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1, 1]), st.floats(0.01, 2.0)), max_size=3)))
    account = ACCOUNT._replace(equity=data.draw(st.floats(5_000.0, 12_000.0)), margin=data.draw(st.floats(0.0, 8_000.0)))
    for setting in rule.settings:
        a, b = sorted(data.draw(st.tuples(*[st.floats(setting.low, min(setting.high, 1e5))] * 2)))
        tight, loose = (a, b) if setting.tighter == "lower" else (b, a)
        tight, loose = risk.limits({setting.name: tight}), risk.limits({setting.name: loose})
        if rule.cap:
            assert rule.cap(ENTRY, account, held, QUOTES, SPECS, tight) <= rule.cap(ENTRY, account, held, QUOTES, SPECS, loose)
        if rule.breach:
            assert rule.breach(account, held, QUOTES, SPECS, tight) >= rule.breach(account, held, QUOTES, SPECS, loose)


def test_every_file_of_the_folder_is_a_rule_with_settings():
    folder = Path(risk.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert files == {rule.name for rule in risk.RULES}
    assert all(rule.settings and rule.says for rule in risk.RULES)


def test_rules_that_share_a_code_a_setting_or_say_nothing_are_refused():
    def allow(*_):
        return 1.0

    one = Rule("one", 150, "x", (Setting("a", 1.0, "", "lower", 0.0, 1.0),), cap=allow)
    other = Setting("b", 1.0, "", "lower", 0.0, 1.0)
    for second, says in [
        (Rule("two", 150, "x", (other,), cap=allow), "share the code 150"),
        (Rule("two", 151, "x", one.settings, cap=allow), "share the setting a"),
        (Rule("one", 151, "x", (other,), cap=allow), "share the name one"),
        (Rule("two", 20, "x", (other,), cap=allow), "belongs to serving.decision"),
        (Rule("two", 151, "x", (other,)), "never say no"),
    ]:
        with pytest.raises(Final, match=says):
            risk.order_rules([one, second])


def test_caps_are_asked_in_turn_and_the_last_that_took_something_is_named():
    def at_most(lots):
        return lambda entry, *_: lots

    rules = [Rule(f"r{i}", 150 + i, "x", (), cap=at_most(lots)) for i, lots in enumerate((0.8, 0.9, 0.5))]
    assert risk.chain_caps(rules)(ENTRY, ACCOUNT, book(), QUOTES, SPECS, None) == (0.5, 152)
    none = Rule("r9", 149, "x", (), cap=at_most(NAN))
    assert risk.chain_caps([none, *rules])(ENTRY, ACCOUNT, book(), QUOTES, SPECS, None) == (0.0, 149)


@pytest.mark.parametrize("values", [{"daily_loss": 0.1}, {"daily_loss_fraction": 1.5}, {"daily_loss_fraction": NAN}])
def test_limits_refuse_unknown_names_and_values_outside_their_range(values):
    with pytest.raises(Final, match="daily_loss"):
        risk.limits(values)
