from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final, Retryable
from feature_store.bars import epoch_s
from feature_store.clock import utc_to_server
from feature_store.sources.terminal import read_terminal
from tests.conftest import make_bars

COLUMNS = {c: c for c in ("open", "high", "low", "close", "tick_volume")} | {"spread": "spread_points"}
KINDS = {"time": "<i8", "tick_volume": "<u8", "spread": "<i4", "real_volume": "<u8"}
NAMES = ("time", "open", "high", "low", "close", "tick_volume", "spread", "real_volume")
RATES = np.dtype([(name, KINDS.get(name, "<f8")) for name in NAMES])
START = datetime(2024, 3, 8, 12, tzinfo=UTC)


class DrivenClock:
    """Time that passes only when somebody waits."""

    def __init__(self, now: datetime) -> None:
        self.now, self.waits, self.interrupted = now, 0, False

    def now_utc(self) -> datetime:
        return self.now

    def wait_until(self, t: datetime) -> bool:
        self.waits += 1
        self.now = max(self.now, t)
        return not self.interrupted


class Terminal:
    """As much of the package as has bars. Its history holds 1 more bar after each of the first `cold` requests."""

    TIMEFRAME_M1 = 1

    def __init__(self, bars: pl.DataFrame, clock: DrivenClock, *, maxbars: int = 700, rule: str = "ny+7", cold: int = 0) -> None:
        self.rates = np.zeros(bars.height, dtype=RATES)
        self.rates["time"] = utc_to_server(epoch_s(bars["time"]), rule)
        for theirs, ours in COLUMNS.items():
            self.rates[theirs] = bars[ours].to_numpy()
        self.opens = epoch_s(bars["time"])
        self.clock, self.maxbars, self.cold = clock, maxbars, cold
        self.error, self.counts, self.up = (1, "Success"), [], True

    def terminal_info(self) -> SimpleNamespace | None:
        self.error = (1, "Success") if self.up else (-10004, "No IPC connection")
        return SimpleNamespace(maxbars=self.maxbars) if self.up else None

    def last_error(self) -> tuple[int, str]:
        return self.error

    def copy_rates_from_pos(self, symbol: str, timeframe: int, start_pos: int, count: int) -> np.ndarray | None:
        self.counts.append(count)
        if not self.up:
            self.error = (-10001, "IPC send failed")
            return None
        if count > self.maxbars or timeframe != 1:
            self.error = (-2, "Terminal: Invalid params")
            return None
        begun = self.rates[self.opens <= self.clock.now.timestamp()]
        if self.cold:
            begun = begun[len(begun) - max(0, 5 - self.cold) :]
            self.cold -= 1
        end = len(begun) - start_pos
        if symbol != "EURUSDm" or end <= 0:
            self.error = (-1, "Terminal: Call failed")
            return None
        self.error = (1, "Success")
        return begun[max(0, end - count) : end].copy()


def read(terminal: Terminal, clock: DrivenClock, **changed) -> pl.DataFrame:
    stated = {"broker_symbol": "EURUSDm", "symbol": "EURUSD", "timeframe": "M1", "clock_rule": "ny+7"} | changed
    found = list(read_terminal(terminal, clock=clock, **stated))
    assert len(found) == 1
    assert (found[0].symbol, found[0].timeframe, found[0].origin) == ("EURUSD", "M1", "terminal EURUSDm")
    return found[0].bars


@pytest.fixture
def bars() -> pl.DataFrame:
    return make_bars(START, 3000).with_columns(pl.lit(0, dtype=pl.Int64).alias("real_volume"))


@pytest.fixture
def clock(bars) -> DrivenClock:
    """30 seconds into the last bar."""
    return DrivenClock(bars["time"][-1].replace(tzinfo=UTC) + timedelta(seconds=30))


@pytest.mark.parametrize("rule", ["ny+7", "eet", "utc+3"])
def test_all_closed_bars_come_in_utc_and_the_forming_one_does_not(bars, clock, rule):
    terminal = Terminal(bars, clock, rule=rule)
    assert_frame_equal(read(terminal, clock, clock_rule=rule, chunk=500), bars.head(2999))


@pytest.mark.parametrize("chunk", [1, 7, 500, 100_000])
def test_no_request_reaches_maxbars_whatever_chunk_is_asked(bars, clock, chunk):
    terminal = Terminal(bars, clock, maxbars=700)
    found = read(terminal, clock, chunk=chunk, start=bars["time"][-40].replace(tzinfo=UTC))
    assert max(terminal.counts) == min(chunk, 699)
    assert_frame_equal(found, bars.slice(2960, 39))


def test_only_pages_that_reach_the_start_are_asked_for(bars, clock):
    terminal = Terminal(bars, clock)
    start = bars["time"][2000].replace(tzinfo=UTC)
    assert_frame_equal(read(terminal, clock, chunk=400, start=start), bars.slice(2000, 999))
    assert len(terminal.counts) == 3  # 1,000 bars of 400 each


def test_a_bar_that_opens_between_two_requests_neither_doubles_nor_hides_one(bars):
    clock = DrivenClock(bars["time"][2000].replace(tzinfo=UTC) + timedelta(seconds=30))
    terminal = Terminal(bars, clock)
    answer = terminal.copy_rates_from_pos

    def slow(*request):
        rates = answer(*request)
        clock.now += timedelta(seconds=45)
        return rates

    terminal.copy_rates_from_pos = slow
    found = read(terminal, clock, chunk=300)
    assert_frame_equal(found, bars.head(2000))


@pytest.mark.parametrize("cold", [1, 3, 5])
def test_a_cold_symbol_is_asked_again_until_its_history_is_there(bars, clock, cold):
    terminal = Terminal(bars, clock, cold=cold)
    assert_frame_equal(read(terminal, clock, chunk=500), bars.head(2999))
    assert clock.waits >= cold


def test_a_symbol_that_never_answers_is_an_error_with_the_terminals_words(bars, clock):
    with pytest.raises(Retryable, match=r"NOPE: no bars after 6 tries \(-1, 'Terminal: Call failed'\)"):
        read(Terminal(bars, clock), clock, broker_symbol="NOPE")


def test_a_terminal_that_is_away_is_worth_another_try_later(bars, clock):
    terminal = Terminal(bars, clock)
    terminal.up = False
    with pytest.raises(Retryable, match=r"the terminal is away \(-10004, 'No IPC connection'\)"):
        read(terminal, clock)


def test_a_pipe_that_breaks_between_two_pages_is_not_taken_for_the_end_of_history(bars, clock):
    terminal = Terminal(bars, clock)
    answer = terminal.copy_rates_from_pos

    def breaking(*request):
        rates = answer(*request)
        terminal.up = len(terminal.counts) < 2
        return rates

    terminal.copy_rates_from_pos = breaking
    with pytest.raises(Retryable, match="-10001, 'IPC send failed'"):
        read(terminal, clock, chunk=500)


def test_what_the_terminal_refuses_is_final_and_a_strange_timeframe_is_not_asked_for(bars, clock):
    terminal = Terminal(bars, clock)
    terminal.TIMEFRAME_M1 = 32768
    with pytest.raises(Final, match=r"the terminal refused 699 bars at position 0 \(-2, 'Terminal: Invalid params'\)"):
        read(terminal, clock)
    with pytest.raises(Final, match="the terminal has no timeframe M7"):
        read(terminal, clock, timeframe="M7")


def test_an_interrupted_wait_ends_the_reading(bars, clock):
    clock.interrupted = True
    with pytest.raises(Retryable, match="interrupted while its history was loading"):
        read(Terminal(bars, clock, cold=3), clock)
