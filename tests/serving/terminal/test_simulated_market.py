"""Scenarios B, the stated path inside a bar, the server's clock, and bars of every timeframe."""

import os
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.bars import bar_open, epoch_s, resample
from feature_store.clock import is_open_s
from serving._errors import Final
from serving.terminal import surface
from serving.terminal.simulated import SimulatedConfig, SymbolConfig, install
from tests.serving.terminal.simulated_fixture import EURUSD, NOON, SERVER_NOON, f1, flat, later

HOUR = 3600
H1, D1, W1, MN1 = 16385, 16408, 32769, 49153
OK = (1, "Success")


def bar(at: datetime, prices: tuple[float, float, float, float], spread: int | None = 10, volume: int = 40) -> pl.DataFrame:
    open_, high, low, close = prices
    row = {"time": at.replace(tzinfo=None), "open": open_, "high": high, "low": low, "close": close}
    row |= {"tick_volume": volume, "spread_points": spread, "real_volume": 0}
    return pl.DataFrame([row], schema_overrides={"time": pl.Datetime("ms"), "spread_points": pl.Int32})


def playing(bars: pl.DataFrame, start: datetime, **changes):
    handle = install(SimulatedConfig(symbols=(EURUSD,), market={"EURUSD": bars}, start=start, **changes))
    handle.module.initialize()
    return handle


# --- B: what copy_rates_* give back


def test_position_0_is_the_forming_bar_and_rows_ascend(handle, mt5):
    later(handle, 30)
    rates = mt5.copy_rates_from_pos("EURUSD", 1, 0, 3)
    assert rates["time"].tolist() == [SERVER_NOON - 120, SERVER_NOON - 60, SERVER_NOON]
    assert mt5.copy_rates_from_pos("EURUSD", 1, 1, 1)["time"].tolist() == [SERVER_NOON - 60]


def test_rates_are_packed_arrays_that_own_their_data(mt5):
    for rates in (
        mt5.copy_rates_from_pos("EURUSD", 1, 0, 3),
        mt5.copy_rates_from("EURUSD", 1, SERVER_NOON, 3),
        mt5.copy_rates_range("EURUSD", 1, SERVER_NOON - 60, SERVER_NOON),
        mt5.copy_rates_range("EURUSD", 1, 1, 2),
    ):
        assert rates.dtype == surface.RATES_DTYPE and rates.ndim == 1
        assert rates.flags.owndata and rates.flags.c_contiguous and rates.flags.writeable


def test_copy_rates_from_ends_at_the_bar_open_at_the_date(mt5):
    rates = mt5.copy_rates_from("EURUSD", H1, SERVER_NOON - 30 * 60, 2)
    assert rates["time"].tolist() == [SERVER_NOON - 2 * HOUR, SERVER_NOON - HOUR]


def test_copy_rates_range_includes_both_ends(mt5):
    rates = mt5.copy_rates_range("EURUSD", H1, SERVER_NOON - 2 * HOUR, SERVER_NOON)
    assert rates["time"].tolist() == [SERVER_NOON - 2 * HOUR, SERVER_NOON - HOUR, SERVER_NOON]


def test_a_range_without_bars_is_empty_and_no_error(mt5):
    assert len(mt5.copy_rates_range("EURUSD", H1, SERVER_NOON - HOUR + 60, SERVER_NOON - 60)) == 0
    assert mt5.last_error() == OK
    assert len(mt5.copy_rates_from("EURUSD", H1, 1000, 5)) == 0


def test_more_bars_than_maxbars_are_refused():
    with f1(maxbars=100) as handle:
        mt5 = handle.module
        assert len(mt5.copy_rates_from_pos("EURUSD", 1, 0, 100)) == 100
        for rates in (
            mt5.copy_rates_from_pos("EURUSD", 1, 0, 101),
            mt5.copy_rates_from("EURUSD", 1, SERVER_NOON, 101),
            mt5.copy_rates_range("EURUSD", 1, SERVER_NOON - 100 * 60, SERVER_NOON),
        ):
            assert rates is None
            assert mt5.last_error() == (-2, "Terminal: Invalid params")
        assert len(mt5.copy_rates_range("EURUSD", 1, SERVER_NOON - 99 * 60, SERVER_NOON)) == 100


def test_a_start_beyond_history_is_an_error_but_a_count_beyond_it_gives_what_exists(mt5):
    assert mt5.copy_rates_from_pos("EURUSD", 1, 721, 10) is None
    assert mt5.last_error() == (-1, "Terminal: Call failed")
    assert len(mt5.copy_rates_from_pos("EURUSD", 1, 720, 10)) == 1
    assert len(mt5.copy_rates_from_pos("EURUSD", 1, 0, 5000)) == 721  # 12 hours and the forming bar


@pytest.mark.parametrize("timeframe", [32768, 0, 7, -1])
def test_an_unknown_timeframe_is_refused(mt5, timeframe):
    assert mt5.copy_rates_from_pos("EURUSD", timeframe, 0, 1) is None
    assert mt5.last_error() == (-2, "Terminal: Invalid params")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the host's zone cannot be set on this system")
def test_a_naive_date_is_of_the_hosts_zone(mt5, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        naive = mt5.copy_rates_from("EURUSD", 1, datetime(2024, 3, 6, 4), 5)
        aware = mt5.copy_rates_from("EURUSD", 1, datetime(2024, 3, 6, 9, tzinfo=UTC), 5)
        assert naive.tolist() == aware.tolist()
        assert int(aware["time"][-1]) == SERVER_NOON - 3 * HOUR
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "America/New_York"


def test_bars_can_be_read_of_symbols_that_are_not_shown():
    with f1() as handle:
        handle.module.symbol_select("XAUUSD", False)
        assert len(handle.module.copy_rates_from_pos("XAUUSD", 1, 0, 5)) == 5


# --- the path inside a bar


@pytest.mark.parametrize(
    ("prices", "path"),
    [
        ((1.1000, 1.1010, 1.0950, 1.0980), [1.1000, 1.1010, 1.0950, 1.0980]),  # the high is nearer
        ((1.1000, 1.1050, 1.0990, 1.0995), [1.1000, 1.0990, 1.1050, 1.0995]),  # the low is nearer
        ((1.1000, 1.1020, 1.0980, 1.1010), [1.1000, 1.0980, 1.1020, 1.1010]),  # equally near, closes higher
        ((1.1000, 1.1020, 1.0980, 1.0990), [1.1000, 1.1020, 1.0980, 1.0990]),  # equally near, closes lower
    ],
)
def test_the_bid_goes_open_nearer_extreme_other_extreme_close_at_the_stated_seconds(prices, path):
    with playing(bar(NOON, prices), NOON) as handle:
        seen = {}
        for second in range(60):
            handle.clock.wait_until(NOON + timedelta(seconds=second))
            tick = handle.module.symbol_info_tick("EURUSD")
            seen.setdefault((tick.time - SERVER_NOON, tick.bid), second)
            assert round((tick.ask - tick.bid) / 1e-5) == 10
        assert list(seen) == list(zip((0, 20, 40, 59), path, strict=True))
        assert list(seen.values()) == [0, 20, 40, 59]


def test_the_forming_bar_holds_what_was_quoted_so_far_and_then_equals_the_stored_one():
    with playing(bar(NOON, (1.1, 1.102, 1.099, 1.101)), NOON) as handle:
        mt5 = handle.module

        def now():
            return mt5.copy_rates_from_pos("EURUSD", H1, 0, 1)[0].item()[1:6]

        assert now() == (1.1, 1.1, 1.1, 1.1, 10)
        later(handle, 20)
        assert now() == (1.1, 1.1, 1.099, 1.099, 20)
        later(handle, 20)
        assert now() == (1.1, 1.102, 1.099, 1.102, 30)
        later(handle, 19)
        assert now() == (1.1, 1.102, 1.099, 1.101, 40)


def test_nothing_of_the_future_is_visible_before_it_happens(mt5):
    assert len(mt5.copy_rates_range("EURUSD", 1, SERVER_NOON + 60, SERVER_NOON + 600)) == 0
    assert mt5.copy_rates_from("EURUSD", 1, SERVER_NOON + 600, 1)["time"].tolist() == [SERVER_NOON]


def random_bars(seed: int, start: datetime, minutes: int) -> pl.DataFrame:
    """A random walk with gaps in it."""
    random = np.random.default_rng(seed)
    frame = flat(1.0, 1, start, minutes).filter(pl.Series(random.random(minutes) > 0.2))
    close = np.round(1.1 + np.cumsum(random.normal(0, 1e-4, len(frame))), 5)
    open_ = np.round(np.concatenate([[1.1], close[:-1]]) + random.normal(0, 5e-5, len(frame)), 5)
    high = np.round(np.maximum(open_, close) + random.random(len(frame)) * 2e-4, 5)
    low = np.round(np.minimum(open_, close) - random.random(len(frame)) * 2e-4, 5)
    columns = {"open": open_, "high": high, "low": low, "close": close}
    columns |= {"spread_points": random.integers(1, 30, len(frame)), "tick_volume": random.integers(1, 99, len(frame))}
    return frame.with_columns(pl.Series(name, values) for name, values in columns.items())


ALL_HOURS = random_bars(1, datetime(2024, 3, 8, 10, tzinfo=UTC), 4 * 1440)
BARS = ALL_HOURS.filter(pl.Series(is_open_s("simulated", epoch_s(ALL_HOURS["time"]))))  # over a weekend and the start of US DST
NUMBERS = {"M1": 1, "M5": 5, "M15": 15, "M30": 30, "H1": H1, "H4": 16388, "D1": D1, "W1": W1}


@pytest.mark.parametrize("timeframe", NUMBERS)
def test_longer_bars_equal_our_own_resampling_on_new_york_time(timeframe):
    with playing(BARS, datetime(2024, 3, 20, tzinfo=UTC)) as handle:
        rates = handle.module.copy_rates_from_pos("EURUSD", NUMBERS[timeframe], 0, 99_999)
    ours = resample(BARS.with_columns(pl.col("spread_points").cast(pl.Int32)), timeframe)
    assert len(rates) == len(ours) > 1
    for column, served in (("open", "open"), ("high", "high"), ("low", "low"), ("close", "close"), ("spread_points", "spread")):
        np.testing.assert_array_equal(rates[served], ours[column].to_numpy())
    np.testing.assert_array_equal(rates["tick_volume"].astype(np.int64), ours["tick_volume"].to_numpy())
    # New York + 7 h is GMT+2, from 10 March on GMT+3. The terminal dates weeks from Sunday, we from Monday.
    ahead = (rates["time"] - epoch_s(ours["time"])) // 3600 + (24 if timeframe == "W1" else 0)
    assert set(ahead.tolist()) == {2, 3}


def test_a_month_bar_opens_on_the_first_of_the_month():
    with playing(BARS, datetime(2024, 3, 20, tzinfo=UTC)) as handle:
        rates = handle.module.copy_rates_from_pos("EURUSD", MN1, 0, 5)
    assert [datetime.fromtimestamp(t, UTC).date().isoformat() for t in rates["time"].tolist()] == ["2024-03-01"]


@settings(max_examples=40, deadline=None)
@given(minutes=st.lists(st.integers(0, 3 * 1440 * 60), min_size=1, max_size=12), timeframe=st.sampled_from(sorted(NUMBERS)))
def test_a_forming_bar_equals_the_bar_made_of_what_was_quoted_up_to_then(minutes, timeframe):
    """Against a slow witness: all quotes of the path up to now, put into bars one by one."""
    start = datetime(2024, 3, 8, 12, tzinfo=UTC)
    with playing(BARS, start) as handle:
        for seconds in sorted(minutes):
            now = start + timedelta(seconds=seconds)
            handle.clock.wait_until(now)
            rate = handle.module.copy_rates_from_pos("EURUSD", NUMBERS[timeframe], 0, 1)[0]
            quotes = []
            for row in BARS.filter(pl.col("time") <= now.replace(tzinfo=None)).tail(8000).iter_rows(named=True):
                up, down = row["high"] - row["open"], row["open"] - row["low"]
                up_first = up < down or (up == down and row["close"] < row["open"])
                extremes = (row["high"], row["low"]) if up_first else (row["low"], row["high"])
                opened = row["time"].replace(tzinfo=UTC)
                for at, price in zip((0, 20, 40, 59), (row["open"], *extremes, row["close"]), strict=True):
                    if opened + timedelta(seconds=at) <= now:
                        quotes.append((int(opened.timestamp()), price))
            opens = bar_open(np.array([t for t, _ in quotes]), timeframe)
            prices = [price for opened, (_, price) in zip(opens, quotes, strict=True) if opened == opens[-1]]
            assert rate.item()[1:5] == (prices[0], max(prices), min(prices), prices[-1])
            assert handle.module.symbol_info_tick("EURUSD").bid == prices[-1]


def test_waiting_in_one_jump_or_in_steps_leads_to_the_same_market():
    start = datetime(2024, 3, 8, 12, tzinfo=UTC)
    with playing(BARS, start) as jumped, playing(BARS, start) as walked:
        jumped.clock.wait_until(start + timedelta(hours=5))
        for step in range(1, 5 * 60 * 4 + 1):
            walked.clock.wait_until(start + timedelta(seconds=15 * step))
        for call in (
            lambda m: m.copy_rates_from_pos("EURUSD", H1, 0, 20).tolist(),
            lambda m: m.symbol_info("EURUSD"),
            lambda m: m.symbol_info_tick("EURUSD"),
        ):
            assert call(jumped.module) == call(walked.module)


# --- quotes by hand, unknown spreads, bad bars


def test_a_tick_set_by_hand_lasts_until_the_market_moves_and_stays_in_its_bar(handle, mt5):
    handle.market.tick("EURUSD", 1.105, 1.1052)
    assert (mt5.symbol_info_tick("EURUSD").bid, mt5.symbol_info_tick("EURUSD").ask) == (1.105, 1.1052)
    assert mt5.copy_rates_from_pos("EURUSD", 1, 0, 1)[0].item()[1:5] == (1.1, 1.105, 1.1, 1.105)
    later(handle, 20)
    assert mt5.symbol_info_tick("EURUSD").bid == 1.1
    later(handle, 60)
    assert mt5.copy_rates_from_pos("EURUSD", 1, 1, 1)[0].item()[1:5] == (1.1, 1.105, 1.1, 1.1)
    assert mt5.copy_rates_from_pos("EURUSD", H1, 0, 1)[0].item()[1:5] == (1.1, 1.105, 1.1, 1.1)
    with pytest.raises(Final, match="bid"):
        handle.market.tick("EURUSD", 1.2, 1.1)


def test_a_spread_that_bars_do_not_know_must_be_given():
    unknown = bar(NOON, (1.1, 1.1, 1.1, 1.1), spread=None)
    with pytest.raises(Final, match="spread_points"):
        playing(unknown, NOON)
    symbol = SymbolConfig("EURUSD", 5, 100_000, "EUR", "USD", "EUR", spread_points=7)
    with install(SimulatedConfig(symbols=(symbol,), market={"EURUSD": unknown}, start=NOON)) as handle:
        assert handle.market.quote("EURUSD") == (1.1, 1.10007)


@pytest.mark.parametrize(
    ("bars", "part"),
    [
        (pl.concat([bar(NOON, (1.1,) * 4)] * 2), "ascend"),
        (bar(NOON, (1.1, 1.0, 1.2, 1.1)), "prices"),
        (bar(NOON, (1.1, float("nan"), 1.0, 1.1)), "prices"),
        (bar(NOON, (1.1,) * 4).head(0), "no bars"),
    ],
)
def test_bars_that_cannot_be_played_are_refused(bars, part):
    with pytest.raises(Final, match=part):
        playing(bars, NOON)


def test_before_its_first_bar_a_symbol_has_no_quote_and_no_bars():
    with playing(bar(NOON, (1.1,) * 4), NOON - timedelta(hours=1)) as handle:
        mt5 = handle.module
        assert mt5.symbol_info_tick("EURUSD") is None
        assert mt5.copy_rates_from_pos("EURUSD", 1, 0, 1) is None
        assert mt5.symbol_info("EURUSD").bid == 0.0
        later(handle, 3600)
        assert mt5.symbol_info_tick("EURUSD").bid == 1.1


def test_any_object_that_hands_out_bars_can_be_the_market():
    class Generated:
        def bars(self, symbol: str) -> pl.DataFrame:
            assert symbol == "EURUSD"
            return bar(NOON, (1.1,) * 4)

    symbol = SymbolConfig("EURUSD.x", 5, 100_000, "EUR", "USD", "EUR", bars="EURUSD")
    with install(SimulatedConfig(symbols=(symbol,), market=Generated(), start=NOON)) as handle:
        assert handle.market.quote("EURUSD.x") == (1.1, 1.1001)
        assert handle.market.end == NOON + timedelta(minutes=1)


def test_hour_bars_are_played_too():
    bars = bar(NOON, (1.1, 1.102, 1.099, 1.101))
    with playing(bars, NOON, base_timeframe="H1") as handle:
        seen = []
        for minute in (0, 19, 20, 40, 59):
            handle.clock.wait_until(NOON + timedelta(minutes=minute))
            seen.append(handle.market.quote("EURUSD")[0])
        assert seen == [1.1, 1.1, 1.099, 1.102, 1.101]
        assert handle.module.copy_rates_from_pos("EURUSD", 1, 0, 1) is None  # no minutes in hours
        assert len(handle.module.copy_rates_from_pos("EURUSD", D1, 0, 1)) == 1


# --- the clock


def test_time_only_moves_forward_and_keeps_the_moment_asked_for(handle):
    exact = NOON + timedelta(microseconds=1_234_567)
    assert handle.clock.wait_until(exact) is True
    assert handle.clock.now_utc() == exact
    assert handle.clock.wait_until(NOON) is True
    assert handle.clock.now_utc() == exact
    assert handle.clock.now_utc().tzinfo is UTC


def test_an_interrupt_ends_waits_at_its_moment_until_somebody_proceeds(handle):
    handle.clock.call_at(NOON + timedelta(hours=2), handle.clock.interrupt)
    assert handle.clock.wait_until(NOON + timedelta(hours=5)) is False
    assert handle.clock.now_utc() == NOON + timedelta(hours=2)
    assert handle.clock.wait_until(NOON + timedelta(hours=3)) is False
    handle.clock.proceed()
    assert handle.clock.wait_until(NOON + timedelta(hours=3)) is True
    assert handle.clock.now_utc() == NOON + timedelta(hours=3)


def test_actions_run_at_their_time_in_order(handle):
    seen = []
    for minutes in (30, 10, 20):
        moment = NOON + timedelta(minutes=minutes)
        handle.clock.call_at(moment, lambda m=minutes: seen.append((m, handle.clock.now_utc())))
    later(handle, 3600)
    assert seen == [(m, NOON + timedelta(minutes=m)) for m in (10, 20, 30)]
