"""The broker adapter over the simulated terminal."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store.bars import SCHEMA
from feature_store.sources.terminal import read_terminal
from serving._errors import Final, Retryable
from serving.terminal import _replies
from serving.terminal.broker import Broker, Disconnected, Done, Rejected, Request, Unknown, WrongAccount
from serving.terminal.simulated import AccountConfig, Crash, OtherAccount
from tests.serving.live_parts import NAMES, NOON, broker_of, frozen, generated


@pytest.fixture
def handle():
    with frozen(other_accounts=(AccountConfig(login=2_000_002, server="Elsewhere"),)) as handle:
        yield handle


@pytest.fixture
def broker(handle):
    return broker_of(handle)


def buy(broker, **changes):
    values = {"kind": "open", "symbol": "EURUSD", "side": 1, "lots": 0.1, "magic": 77, "stop": 1.095, "target": 1.105}
    return broker.send(broker.prepare(Request(**{**values, **changes})), "open")


def test_identity_is_pinned_and_another_account_is_refused_everywhere(handle, broker):
    assert str(broker.identity) == "1000001@Tradewind-Simulated"
    handle.faults.now(OtherAccount(2_000_002))
    for asking in (broker.verify, broker.account, lambda: buy(broker), broker.connect):
        with pytest.raises(WrongAccount, match="2000002@Elsewhere"):
            asking()
    assert handle.account.positions == {} or not handle.account.positions


def test_quotes_and_specs_carry_our_names_and_utc(broker):
    quote = broker.quote("EURUSD")
    assert (quote.bid, quote.ask) == (1.1, pytest.approx(1.1001))
    assert abs(quote.time_s - NOON.timestamp()) <= 60
    spec = broker.spec("EURUSD")
    assert (spec.symbol, spec.broker_symbol, spec.source, spec.commission_per_lot) == ("EURUSD", "EURUSDm", "broker", 3.5)
    assert (spec.base_currency, spec.profit_currency, spec.contract_size, spec.point) == ("EUR", "USD", 100_000, 1e-5)


def test_a_symbol_the_broker_lacks_says_where_to_map_it(handle):
    with pytest.raises(Final, match=r"\[feeds\.sim\.symbols\]"):
        broker_of(handle, symbols={"EURUSD": "EURUSD.x"})


def test_two_names_for_one_broker_symbol_are_refused(handle):
    with pytest.raises(Final, match="share one broker symbol"):
        broker_of(handle, symbols={"EURUSD": "EURUSDm", "EURO": "EURUSDm"})


@pytest.mark.parametrize("rule", ["utc", "ny", "utc-5"])
def test_a_wrong_clock_rule_is_found_at_the_first_connection(handle, rule):
    with pytest.raises(Final, match="in the future"):
        broker_of(handle, clock_rule=rule)


def test_closed_bars_are_true_utc_and_never_hold_the_forming_one():
    market = generated()
    now = datetime(2024, 3, 6, 10, 7, 30, tzinfo=UTC)
    symbols, frames = _generated_symbols(market)
    with frozen(symbols=symbols, market=frames, start=now) as handle:
        bars = broker_of(handle, symbols={"EURUSD": "EURUSD"}).closed_bars("EURUSD", "M1", 3000)
    expected = market.bars("EURUSD").filter(pl.col("time") < datetime(2024, 3, 6, 10, 7)).tail(3000)
    assert list(bars.columns) == list(SCHEMA) and len(bars) == 3000
    assert bars["time"].to_list() == expected["time"].to_list()
    np.testing.assert_array_equal(bars["close"].to_numpy(), expected["close"].to_numpy())


def test_more_bars_than_the_terminal_gives_at_once_come_in_chunks_without_a_hole():
    market = generated()
    symbols, frames = _generated_symbols(market)
    with frozen(symbols=symbols, market=frames, start=NOON, maxbars=700) as handle:
        broker = broker_of(handle, symbols={"EURUSD": "EURUSD"})
        some, all_ = broker.closed_bars("EURUSD", "M1", 2000), broker.closed_bars("EURUSD", "M1", 1_000_000)
    known = market.bars("EURUSD").filter(pl.col("time") < NOON.replace(tzinfo=None))
    assert some["time"].to_list() == known["time"].tail(2000).to_list()
    assert all_["time"].to_list() == known["time"].to_list()


def _generated_symbols(market):
    from serving.terminal.simulated import SymbolConfig

    return (SymbolConfig.from_spec(market.spec("EURUSD", "sim")),), {"EURUSD": market.bars("EURUSD")}


class Rates:
    """A terminal that gives prepared rates only."""

    TIMEFRAME_M1 = 1

    def __init__(self, handle, rates):
        self._module, self._rates = handle.module, rates

    def __getattr__(self, name):
        return getattr(self._module, name)

    def copy_rates_from_pos(self, *_):
        return self._rates


def test_rows_that_are_no_prices_are_dropped_and_spreads_stay_as_recorded(handle):
    rates = handle.module
    rates.initialize()
    rows = rates.copy_rates_from_pos("EURUSDm", 1, 1, 5).copy()
    rows["close"][1], rows["open"][2], rows["spread"][3] = np.nan, 0.0, 0
    broker = Broker(Rates(handle, rows), feed="sim", clock=handle.clock, clock_rule="ny+7", symbols=NAMES)
    broker.connect()
    bars = broker.closed_bars("EURUSD", "M1", 5)
    assert len(bars) == 3 and bars["spread_points"].to_list() == [10, 0, 10]


def test_live_bars_are_the_very_bars_that_ingest_reads_zero_spreads_included(handle):
    """What training saw and what live sees may not differ: a spread of 0 was once null in live and 0 in the store."""
    handle.module.initialize()
    rows = handle.module.copy_rates_from_pos("EURUSDm", 1, 1, 50).copy()
    rows["spread"][::3] = 0
    terminal = Rates(handle, rows)
    broker = Broker(terminal, feed="sim", clock=handle.clock, clock_rule="ny+7", symbols=NAMES)
    broker.connect()
    (read,) = read_terminal(
        terminal, broker_symbol="EURUSDm", symbol="EURUSD", timeframe="M1", clock_rule="ny+7", clock=handle.clock, chunk=51
    )
    assert_frame_equal(broker.closed_bars("EURUSD", "M1", 50), read.bars)


def test_history_still_loading_is_retryable(handle):
    broker = Broker(Rates(handle, None), feed="sim", clock=handle.clock, clock_rule="ny+7", symbols=NAMES)
    broker.connect()
    with pytest.raises(Retryable, match="loading history"):
        broker.closed_bars("EURUSD", "M1", 5)


def test_an_order_becomes_a_position_and_a_deal_in_our_words(handle, broker):
    reply = buy(broker, comment="majors/EURUSD 1")
    assert isinstance(reply, Done) and reply.lots == 0.1 and reply.price == pytest.approx(1.1001)
    (position,) = broker.positions()
    assert (position.ticket, position.symbol, position.side, position.magic) == (reply.order_ticket, "EURUSD", 1, 77)
    assert (position.stop, position.target) == (1.095, 1.105)
    deal = broker.deals(NOON - timedelta(minutes=1))[-1]
    assert (deal.symbol, deal.side, deal.entry, deal.position, deal.magic) == ("EURUSD", 1, "in", reply.order_ticket, 77)
    assert deal.commission == -0.35 and abs(deal.at_ms / 1000 - NOON.timestamp()) < 1
    assert broker.account().equity == pytest.approx(10_000 - 0.35 - 1.0)


def test_the_newest_deal_is_seen_although_the_servers_clock_runs_ahead(broker):
    buy(broker)
    assert [d.kind for d in broker.deals(datetime(1970, 1, 1, tzinfo=UTC))] == ["balance", "trade"]


def test_a_lost_pipe_is_disconnected_and_connecting_again_restores_symbols(handle, broker):
    handle.faults.now(Crash(down_s=30.0))
    with pytest.raises(Disconnected):
        broker.positions()
    with pytest.raises(Disconnected):
        broker.connect()
    handle.clock.wait_until(handle.clock.now_utc() + timedelta(seconds=30))
    broker.connect()
    assert broker.positions() == [] and broker.quote("EURUSD") is not None


def test_a_foreign_position_on_an_unmapped_symbol_keeps_the_brokers_name(handle):
    broker = broker_of(handle, symbols={"EURUSD": "EURUSDm"})
    handle.manual_trade("USDJPY", -1, 0.5)
    (position,) = broker.positions()
    assert (position.symbol, position.side, position.lots) == ("USDJPY", -1, 0.5)
    assert broker.spec("USDJPY").profit_currency == "JPY"


class Answer:
    """An OrderSendResult with one retcode."""

    def __init__(self, retcode, deal=0):
        self.retcode, self.deal, self.order, self.volume, self.price, self.comment = retcode, deal, 5, 0.1, 1.1, "text"

    def _asdict(self):
        return {"retcode": self.retcode}


@pytest.mark.parametrize(
    ("result", "error", "kind", "sort"),
    [
        (Answer(10009, deal=9), (1, ""), "open", Done),
        (Answer(10010, deal=9), (1, ""), "open", Done),
        (Answer(10009, deal=0), (1, ""), "open", Unknown),  # done, but where is the deal?
        (Answer(10008), (1, ""), "open", Unknown),
        (Answer(10011), (1, ""), "open", Unknown),
        (Answer(10012), (1, ""), "open", Unknown),
        (Answer(10028), (1, ""), "open", Unknown),
        (Answer(10031), (1, ""), "open", Unknown),
        (Answer(19999), (1, ""), "open", Unknown),  # a code nobody has heard of
        (Answer(10004), (1, ""), "open", Rejected),
        (Answer(10016), (1, ""), "open", Rejected),
        (Answer(10019), (1, ""), "open", Rejected),
        (None, (-2, 'Invalid "volume" argument'), "open", Rejected),
        (None, (-8, "disabled"), "open", Rejected),
        (None, (-1, "Terminal: Call failed"), "open", Unknown),
        (None, (-10001, "IPC send failed"), "open", Unknown),
        (None, (-10004, "No IPC connection"), "open", Unknown),
        (Answer(10009), (1, ""), "protect", Done),
        (Answer(10025), (1, ""), "protect", Done),
    ],
)  # fmt: skip
def test_a_reply_is_sorted_by_what_it_proves(result, error, kind, sort):
    assert type(_replies.sort_reply(result, error, kind)) is sort


def test_only_a_moved_price_allows_asking_again():
    again = {code for code in range(10004, 10050) if getattr(_replies.sort_reply(Answer(code), (1, ""), "open"), "again", False)}
    assert again == {10004, 10020, 10021}


def test_a_terminal_that_raises_in_order_send_leaves_the_outcome_unknown(handle, broker, monkeypatch):
    def broken(request):
        raise SystemError("returned a result with an exception set")

    monkeypatch.setattr(handle.module, "order_send", broken)
    assert isinstance(buy(broker), Unknown)
