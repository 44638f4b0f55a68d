"""What must hold for every backtest, whatever the market did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from serving._errors import Final
from serving.backtest import run
from serving.decision import BARRIER, RISK, TARGET
from tests.serving.backtest.conftest import FIXED

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=12, deadline=None)
ATR = {"EURUSD": 0.0012, "USDJPY": 0.15}
SPEC = FIXED._replace(sizing=RISK, risk_fraction=0.05, stop_atr=1.5, target_atr=2.0, horizon_bars=6)
SWAPS = {"swap_long": -6.0, "swap_short": 1.5}
IN_BAR = pl.col("reason").is_in(["stop", "target"])
FULL = {"daily_loss_fraction": 0.04, "loss_per_trade_fraction": 0.02, "currency_exposure": 8.0, "spread_atr": 0.5}


def inputs(backtest_of, random_markets, seed, **changes):
    markets, said = random_markets(seed)
    changes = {"spec": SPEC, "atr": ATR, "limits": FULL, "symbol_changes": SWAPS, "resume_next_day": True, **changes}
    return backtest_of(markets, said, **changes)


@FEW
@given(seed=SEEDS, mode=st.sampled_from([BARRIER, TARGET]))
def test_the_balance_is_the_start_and_every_net_result(backtest_of, random_markets, seed, mode):
    result = run(inputs(backtest_of, random_markets, seed, spec=SPEC._replace(mode=mode)))
    totals = result.totals
    assert totals.trades > 5
    assert totals.final_balance == pytest.approx(10_000.0 + totals.net, abs=1e-6)
    assert totals.net == pytest.approx(totals.gross - totals.spread_cost - totals.commission + totals.swap, abs=1e-6)
    assert totals.spread_cost > 0.0 and totals.commission > 0.0


@FEW
@given(seed=SEEDS)
def test_equity_is_balance_and_the_floating_profit_of_what_is_open(backtest_of, random_markets, seed):
    data = inputs(backtest_of, random_markets, seed, symbol_changes=None)
    result = run(data)
    closes = dict(
        zip(data.symbol_names, (pl.Series(data.market.close[:, s]).fill_nan(None).forward_fill() for s in (0, 1)), strict=True)
    )
    for row in range(0, data.open_s.size - 1, 7):
        now = result.equity["time"][row]
        held = result.trades.filter((pl.col("entry_time") < now) & (pl.col("exit_time") >= now))
        held = held.filter(~((pl.col("exit_time") == now) & IN_BAR))
        floating = 0.0
        for trade in held.iter_rows(named=True):
            bid = closes[trade["symbol"]][row]
            spread = 10 * (1e-5 if trade["symbol"] == "EURUSD" else 1e-3)
            price = bid if trade["side"] > 0 else bid + spread
            value = trade["side"] * (price - trade["entry_price"]) * 100_000 * trade["lots"]
            floating += value / price if trade["symbol"] == "USDJPY" else value
        assert result.equity["equity"][row] - result.equity["balance"][row] == pytest.approx(floating, abs=1e-6)
        assert result.equity["worst_equity"][row] <= result.equity["equity"][row] + 1e-9


@FEW
@given(seed=SEEDS, cut=st.integers(20, 150))
def test_removing_the_future_changes_nothing_that_was_decided_before(backtest_of, random_markets, seed, cut):
    data = inputs(backtest_of, random_markets, seed)
    market, lines = data.market, data.lines
    short = replace(
        data,
        open_s=data.open_s[:cut],
        market=type(market)(*(array[:cut] for array in market)),
        lines=lines._replace(
            closes=lines.closes[:cut], side=lines.side[:cut], confidence=lines.confidence[:cut], atr=lines.atr[:cut]
        ),
    )
    whole, known = run(data), run(short)
    end = known.equity["time"][-1]
    assert_frame_equal(
        whole.trades.filter(
            (pl.col("exit_time") < end) | ((pl.col("exit_time") == end) & pl.col("reason").is_in(["stop", "target"]))
        ),
        known.trades.filter(pl.col("reason") != "the data ended"),
    )
    assert_frame_equal(whole.equity.head(cut - 1), known.equity.head(cut - 1))


@FEW
@given(seed=SEEDS)
def test_without_signals_nothing_is_traded(backtest_of, random_markets, seed):
    markets, said = random_markets(seed)
    result = run(backtest_of(markets, {name: [0] * len(sides) for name, sides in said.items()}, spec=SPEC, atr=ATR))
    assert result.trades.is_empty() and (result.equity["equity"] == 10_000.0).all()
    assert result.totals.net == 0.0 and result.daily["return"].sum() == 0.0


def test_daily_returns_compound_to_the_final_balance(backtest_of, random_markets):
    result = run(inputs(backtest_of, random_markets, 5))
    assert 10_000.0 * float((1.0 + result.daily["return"].to_numpy()).prod()) == pytest.approx(result.totals.final_balance)


def test_what_is_assumed_is_said(backtest_of, random_markets):
    assert run(inputs(backtest_of, random_markets, 1)).summary()["assumed"] == [
        "specification of EURUSD",
        "specification of USDJPY",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: replace(d, market=d.market._replace(spread=-d.market.spread)), "spread -"),
        (lambda d: replace(d, open_s=d.open_s[::-1].copy()), "must rise"),
        (lambda d: replace(d, lines=d.lines._replace(side=d.lines.side[:, :1])), "side has shape"),
        (lambda d: replace(d, market=d.market._replace(high=d.market.low)), "EURUSD: bar"),
        (lambda d: replace(d, lines=d.lines._replace(closes=np.ones_like(d.lines.closes))), "only bars that exist"),
    ],
)
def test_input_that_contradicts_itself_is_refused(backtest_of, random_markets, change, says):
    with pytest.raises(Final, match=says):
        run(change(inputs(backtest_of, random_markets, 2)))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, mode=st.sampled_from([BARRIER, TARGET]))
def test_machine_code_and_plain_python_agree_to_the_last_bit(backtest_of, random_markets, seed, mode):
    data = inputs(backtest_of, random_markets, seed, spec=SPEC._replace(mode=mode), resume_next_day=seed % 2 == 0)
    plain, compiled = run(data, compiled=False), run(data, compiled=True)
    assert_frame_equal(plain.trades, compiled.trades, check_exact=True)
    assert_frame_equal(plain.equity, compiled.equity, check_exact=True)
    assert plain.reasons == compiled.reasons
