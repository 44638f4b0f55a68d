"""Feeds side by side in one store: told apart, compared, and never mixed."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store._errors import FeatureStoreError
from feature_store.settings import FeedSettings
from feature_store.store import Store
from tasks import dataset
from tasks._errors import Final
from tasks.feeds import compare_feeds, list_feeds, propose_symbols
from tasks.home import Home
from tasks.settings import PipelineSettings
from tests.conftest import make_bars

START = datetime(2024, 3, 4, tzinfo=UTC)
AT = datetime(2024, 9, 1, tzinfo=UTC)
PRICES = {"EURUSD": 1.1, "USDJPY": 150.0, "EURJPY": 165.0}


def keep(home, feed, symbol, *, seed=7, move=0.0, timeframe="H1", count=640):
    step_s = {"H1": 3600, "M30": 1800}[timeframe]
    bars = make_bars(START, count, step_s=step_s, price=PRICES[symbol], seed=seed)
    bars = bars.with_columns(pl.col("open", "high", "low", "close") + move)
    Store(home.store).ingest(feed, symbol, timeframe, bars, origin="hand", sha256="0" * 64, clock_rule="utc", at=AT)
    return bars


def compared(home, a="a", b="b", **changes):
    return compare_feeds.fn(
        home.root, a, b, lambda name: FeedSettings(), **{"symbol": None, "timeframe": None, "lock_wait_s": 5.0, **changes}
    )


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_each_common_symbol_is_compared_in_the_longer_of_the_stored_timeframes(home):
    for feed, timeframe in (("a", "H1"), ("b", "M30")):
        keep(home, feed, "EURUSD", timeframe=timeframe)
    keep(home, "a", "USDJPY")
    (found,) = compared(home)
    assert (found.symbol, found.timeframe) == ("EURUSD", "H1") and 300 < found.both <= 320
    assert found.labels_compared > 250 and found.labels_equal is not None


def test_the_same_bars_make_the_same_labels_and_a_dearer_feed_makes_fewer(home):
    for feed in ("a", "b", "dear"):
        keep(home, feed, "EURUSD")
    (same,) = compared(home)
    assert (same.labels_equal, same.labels_opposite, same.close_bp_p99) == (1.0, 0.0, 0.0)
    dear = FeedSettings(commission_per_lot=60.0)
    (other,) = compare_feeds.fn(
        home.root,
        "a",
        "dear",
        lambda n: dear if n == "dear" else FeedSettings(),
        symbol="EURUSD",
        timeframe="H1",
        lock_wait_s=5.0,
    )
    assert other.labels_equal is not None and other.labels_equal < 0.95 and other.labels_opposite == 0.0


def test_commission_that_no_rate_converts_is_left_out_with_a_note(home):
    for feed in ("a", "b"):
        keep(home, feed, "EURJPY")
    (without,) = compared(home)
    assert len(without.notes) == 2 and "labels of a are without commission: no rate from JPY to USD" in without.notes[0]
    keep(home, "a", "USDJPY")
    (half,) = compared(home, symbol="EURJPY")
    assert [note.split(" are")[0] for note in half.notes] == ["labels of b"]


def test_too_few_bars_for_labels_are_said_so(home):
    for feed in ("a", "b"):
        keep(home, feed, "EURUSD", count=10)
    (found,) = compared(home)
    assert found.labels_equal is None and found.notes == tuple(f"no labels of {f}: 10 bars are too few" for f in "ab")


@pytest.mark.parametrize(
    ("names", "symbol", "words"),
    [
        (("a", "a"), None, "feed 'a' compared with itself; name two feeds"),
        (("a", "nobody"), None, "feed 'nobody' has no bars; there are: a, b, c; ingest some first"),
        (("a", "b"), "USDJPY", "feed 'b' has no bars of USDJPY; it has EURUSD"),
        (("b", "c"), None, "feeds 'b' and 'c' share no symbol: EURUSD against USDJPY"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(home, names, symbol, words):
    for feed, name in (("a", "EURUSD"), ("a", "USDJPY"), ("b", "EURUSD"), ("c", "USDJPY")):
        keep(home, feed, name, count=50)
    with pytest.raises(Final, match=words):
        compared(home, *names, symbol=symbol)


def test_a_pipeline_of_one_feed_never_reads_another(home):
    """The other feed's bars lie far away: one of them anywhere would show."""
    keep(home, "a", "EURUSD")
    pipeline = PipelineSettings(feed="a", symbols=("EURUSD",))
    alone = dataset.build_snapshot.fn(home.root, "p", pipeline, FeedSettings(), lock_wait_s=5.0)
    keep(home, "b", "EURUSD", seed=8, move=5.0, timeframe="M30", count=3000)
    keep(home, "b", "USDJPY")
    assert dataset.build_snapshot.fn(home.root, "p", pipeline, FeedSettings(), lock_wait_s=5.0) == alone
    loaded = dataset.load(home, pipeline, FeedSettings(), lock_wait_s=5.0)
    assert set(loaded.base) == {"EURUSD"} and loaded.base["EURUSD"]["close"].max() < 2.0
    assert loaded.base_timeframe == "H1" and np.max(loaded.rows["EURUSD"].bars["high"].to_numpy()) < 2.0
    with pytest.raises((Final, FeatureStoreError), match="feed 'a' has no bars of USDJPY"):
        dataset.load(home, PipelineSettings(feed="a", symbols=("USDJPY",)), FeedSettings(), lock_wait_s=5.0)


def test_feeds_are_listed_with_their_names_spreads_and_readers(home):
    keep(home, "files", "EURUSD")
    keep(home, "files", "EURUSD", timeframe="M30")
    feeds = {"icm": FeedSettings(source="terminal", clock="ny+7", symbols={"XAUUSD": "GOLD"})}
    first, second = list_feeds(home.root, feeds, {"p": "files", "q": "files"}, lock_wait_s=5.0)
    assert (first.name, first.source, first.clock, first.bars, first.pipelines) == ("files", "files", "utc", 1280, ("p", "q"))
    assert first.timeframes == {"EURUSD": ("M30", "H1")} and first.spreads["EURUSD"].startswith("640 spreads of 2024-03")
    assert (second.name, second.symbols, second.timeframes, second.spreads) == ("icm", {"XAUUSD": "GOLD"}, {"XAUUSD": ()}, {})
    assert first.as_dict()["timeframes"] == {"EURUSD": ["M30", "H1"]}


def test_an_empty_home_has_no_feeds(home):
    assert list_feeds(home.root, {}, {}, lock_wait_s=1.0) == []


def test_the_terminal_is_asked_for_what_the_settings_and_the_pipelines_name():
    class Terminal:
        SYMBOL_TRADE_MODE_FULL = 4

        def initialize(self):
            return True

        def symbols_get(self):
            from types import SimpleNamespace as Info

            usual = {"currency_base": "EUR", "currency_profit": "USD", "trade_contract_size": 1e5, "trade_mode": 4}
            return (Info(name="EURUSD.r", **usual), Info(name="EURUSD.old", **{**usual, "trade_mode": 0}))

    settings = FeedSettings(source="terminal", symbols={"GBPUSD": "GBPUSD.r"})
    found = propose_symbols.fn("icm", settings, Terminal(), ("EURUSD",))
    assert [(p.symbol, p.broker_symbol) for p in found] == [("GBPUSD", ""), ("EURUSD", "EURUSD.r")]
    assert found[0].reason == "the broker offers none"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("symbol", "a", "b", "median_bp", "p99_bp", "slips"),
    [
        ("EURUSD", "vj", "ln", 0.23, 2.71, []),
        ("GBPUSD", "ej", "vj", 0.19, 3.11, ["2013-06-06", "2013-06-10", "2013-06-27", "2017-10-30"]),
        ("XAUUSD", "vj", "ln", 0.41, 6.72, []),
    ],
)
def test_real_feeds_differ_as_brokers_do_and_the_slip_of_june_2013_is_found(
    home, real_data, symbol, a, b, median_bp, p99_bp, slips
):
    for feed in (a, b):
        bars = pl.read_parquet(real_data / "bars" / f"{symbol}_H1_{feed}.parquet").rename({"spread": "spread_points"})
        Store(home.store).ingest(feed, symbol, "H1", bars, origin="real", sha256="0" * 64, clock_rule="utc", at=AT)
    (found,) = compared(home, a, b)
    assert (found.close_bp_median, found.close_bp_p99) == (pytest.approx(median_bp, abs=0.02), pytest.approx(p99_bp, abs=0.05))
    assert found.correlation[0] is not None and found.correlation[0] > 0.99
    assert max(abs(r or 0.0) for lag, r in found.correlation.items() if lag) < 0.05
    assert [f"{s.start:%Y-%m-%d}" for s in found.slips] == slips and {s.lag_bars for s in found.slips} <= {-1}
    assert found.labels_equal is not None and 0.9 < found.labels_equal < 0.99
