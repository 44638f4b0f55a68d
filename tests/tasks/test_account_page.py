"""The account's page: trades of a market that stands still, worked by hand, and of one that moves, added up."""

from dataclasses import replace

import polars as pl
import pytest

from serving.control import journal_path
from serving.journal import read
from serving.settings import AccountSettings
from serving.trader import TraderSummary, run_trader
from tasks.account_page import account_page
from tests.serving.live_parts import EURUSD, USDJPY, Desk, frozen, frozen_market, playing, promote_tiny, trader_config

ACCOUNT = AccountSettings(mode="sim", feed="sim", start_balance=10_000.0, lines=({"pipeline": "majors", "symbol": "EURUSD"},))
SUMMARY = TraderSummary("demo", "bars", 1, 1, 1, "active", 9_990.0, 9_990.0, 1500)


@pytest.fixture
def desk(tmp_path):
    """A desk at a standing market whose bars bear our names, as those of a feed do."""
    bars = {"EURUSD": frozen_market()["EURUSDm"], "USDJPY": frozen_market()["USDJPY"]}
    with frozen(symbols=(replace(EURUSD, bars="EURUSD"), USDJPY), market=bars) as handle:
        desk = Desk(tmp_path, handle)
        yield desk
        desk.journal.close()


def traded(desk, symbol, side, lots):
    """One position opened and closed again."""
    price = 1.1 if symbol == "EURUSD" else 150.0
    desk.buy(
        lots, symbol=symbol, side=side, stop=price * (1 - 0.01 * side), target=price * (1 + 0.01 * side), line=f"majors/{symbol}"
    )
    (position,) = desk.broker.positions()
    desk.settle(2)
    desk.close(position)
    desk.settle(2)
    desk.orders.collect()


def test_a_trade_at_a_standing_price_costs_its_spread_and_commission_and_nothing_else(desk):
    traded(desk, "EURUSD", 1, 0.1)
    page = account_page(desk.journal, desk.handle, ACCOUNT, SUMMARY)
    (trade,) = page.trades
    # Bought at 1.1001, sold at 1.1000: ten points of 0.1 lots are 1 USD. 3.5 USD a lot and side.
    assert (trade["side"], trade["lots"], trade["entry"], trade["exit"]) == ("long", 0.1, 1.1001, 1.1)
    assert (trade["spread"], trade["commission"], trade["swap"]) == pytest.approx((1.0, -0.70, 0.0))
    assert trade["net"] == pytest.approx(-1.70)
    assert page.costs == pytest.approx({"gross": 0.0, "spread": -1.0, "commission": -0.70, "swap": 0.0, "net": -1.70})
    assert trade["why"] == "time" and trade["line"] == "majors/EURUSD"


def test_costs_in_yen_are_shown_in_the_currency_of_the_account(desk):
    traded(desk, "USDJPY", -1, 0.2)
    page = account_page(desk.journal, desk.handle, ACCOUNT, SUMMARY)
    # Sold at 150.00, bought back at 150.01: 0.01 x 20,000 = 200 JPY = 1.33 USD.
    assert page.costs["net"] == pytest.approx(-200 / 150.01 - 1.40, abs=0.006)
    assert page.costs["spread"] == pytest.approx(-200 / 150.0, abs=1e-6)
    assert page.costs["gross"] == pytest.approx(0.0, abs=0.006), "the broker rounds to the cent"
    assert page.trades[0]["side"] == "short"


def test_the_curve_is_the_balance_after_each_deal_and_words_say_what_market_it_was(desk):
    traded(desk, "EURUSD", 1, 0.1)
    traded(desk, "EURUSD", -1, 0.3)
    page = account_page(desk.journal, desk.handle, ACCOUNT, replace(SUMMARY, balance=desk.handle.account.balance))
    # Opening costs commission; closing the spread and commission: -0.35, -1.35, then three times as much.
    assert [value for _, value in page.equity] == pytest.approx([9_999.65, 9_998.30, 9_997.25, 9_993.20])
    assert page.equity[-1][1] == pytest.approx(page.end_balance) == pytest.approx(10_000 + page.costs["net"])
    assert (page.mode, page.currency, page.name, page.latency_ms) == ("simulated", "USD", "demo", 1.5)


def test_a_position_that_is_still_open_is_no_trade_yet(desk):
    desk.buy()
    desk.settle(2)
    desk.orders.collect()
    page = account_page(desk.journal, desk.handle, ACCOUNT, replace(SUMMARY, latency_us=None))
    assert page.trades == [] and page.costs["net"] == 0.0 and page.latency_ms is None
    assert [value for _, value in page.equity] == pytest.approx([9_999.65])


def test_trades_of_a_moving_market_reconcile_with_the_account_and_with_the_prices_they_were_made_at(tmp_path):
    promote_tiny(tmp_path)
    with playing() as handle:
        config = trader_config(tmp_path, bars=40, check_every_s=30)
        summary = run_trader(config, handle.module, handle.clock)
        reader = read(journal_path(tmp_path, "demo"))
        page = account_page(reader, handle, config.settings, summary)
        still_open = len(reader.open_exits())
        decisions = reader.decisions()
        reader.close()
        bars = handle.config.bars(handle.config.symbols[0])
    assert len(page.trades) >= 3
    for trade in page.trades:
        side = 1 if trade["side"] == "long" else -1
        spreads = [spread_at(bars, trade[when]) for when in ("opened", "closed")]
        # From mid to mid: the entry crossed half its spread, the exit half its own.
        moved = side * (trade["exit"] - trade["entry"]) + 0.5 * sum(spreads)
        gross = trade["net"] + trade["spread"] - trade["commission"] - trade["swap"]
        assert gross == pytest.approx(moved * 100_000 * trade["lots"], abs=0.011)
        assert trade["spread"] > 0 and trade["commission"] == pytest.approx(-7.0 * trade["lots"], abs=0.011)
    costs = page.costs
    assert costs["net"] == pytest.approx(sum(t["net"] for t in page.trades))
    assert costs["gross"] + costs["spread"] + costs["commission"] + costs["swap"] == pytest.approx(costs["net"])
    assert page.end_balance - page.start_balance == pytest.approx(costs["net"], abs=0.40 * still_open + 0.01)
    assert sum(page.decisions.values()) == len(decisions) == 40


def spread_at(bars, moment):
    """Spread in price units of the M1 bar that opened in that minute, or of the last one before it."""
    opened = pl.lit(moment).str.to_datetime("%Y-%m-%d %H:%M", time_unit="ms")
    return bars.filter(pl.col("time") <= opened)["spread_points"][-1] * 1e-5
