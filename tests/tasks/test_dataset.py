"""From stored bars to a snapshot: the same bars are the same snapshot, costs are the feed's, gaps are told in a line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from feature_store._errors import FeatureStoreError
from feature_store.bars import epoch_s
from feature_store.settings import FeedSettings
from feature_store.snapshot import open_snapshot
from feature_store.store import Store
from feature_store.symbols import assumed_spec
from serving._errors import ServingError
from tasks import dataset
from tasks._errors import Final
from tasks.home import Home
from tasks.settings import PipelineSettings
from tests.conftest import make_bars
from tests.tasks.conftest import FEED, PIPELINE

START = datetime(2023, 9, 4, tzinfo=UTC)
AT = datetime(2024, 6, 1, tzinfo=UTC)
PRICES = {"EURUSD": 1.1, "USDJPY": 150.0, "EURJPY": 165.0, "GBPUSD": 1.25}
FILES = FeedSettings(source="files")


def keep(home, symbol, *, count=640, feed="hand", start=START, spreads=True, spec=None):
    """Store `count` H1 bars of a walk; where its point is a hundred times larger the walk is rounded to it."""
    bars = make_bars(start, count, step_s=3600, price=PRICES[symbol], seed=len(symbol) + ord(symbol[0]))
    if not spreads:
        bars = bars.with_columns(pl.lit(None, dtype=pl.Int32).alias("spread_points"))
    store = Store(home.store)
    store.ingest(feed, symbol, "H1", bars, origin="hand", sha256="0" * 64, clock_rule="utc", at=AT)
    if spec is not None:
        store.put_symbol(replace(assumed_spec(feed, symbol), source=spec, commission_per_lot=5.0, valid_from=start))
    return bars


def pipeline(*symbols, **changes):
    return PipelineSettings(**{"feed": "hand", "symbols": symbols, "context": (), **changes})


def built(home, settings, feed=FILES, **changes):
    return open_snapshot(dataset.build_snapshot.fn(home.root, "p", settings, feed, lock_wait_s=5.0, **changes))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_the_same_bars_and_settings_are_the_same_snapshot(stored, snapshot):
    before = sorted(p.name for p in stored.snapshots.iterdir())
    again = dataset.build_snapshot.fn(stored.root, "demo", PIPELINE, FEED, lock_wait_s=5.0)
    assert again == snapshot and sorted(p.name for p in stored.snapshots.iterdir()) == before


def test_a_snapshot_says_where_its_numbers_come_from(snapshot, market):
    snap = open_snapshot(snapshot)
    about = snap.manifest.provenance
    assert (about["mode"], about["cost_source"], about["account_currency"], about["base_timeframe"]) == (
        "simulated", "broker", "USD", "M1",
    )  # fmt: skip
    assert about["specs"]["USDJPY"]["swap_long"] == market.spec("USDJPY", "demo").swap_long
    hours = np.unique(epoch_s(market.bars("EURUSD")["time"]) // 3600)
    own = snap.times[snap.symbol == 0]
    np.testing.assert_array_equal(own, (hours[: len(own)] + 1) * 3600)
    assert len(hours) - len(own) <= 1, "at most the last hour may still be forming"


def test_a_moment_cuts_history_to_the_bars_known_then(home):
    keep(home, "EURUSD")
    end = START + timedelta(days=30, hours=5, minutes=30)
    cut, whole = built(home, pipeline("EURUSD"), until=end), built(home, pipeline("EURUSD"))
    assert cut.times.max() <= end.timestamp() < whole.times.max()
    n = len(cut)
    np.testing.assert_array_equal(cut.features, whole.features[:n])
    labelled = cut.label_end >= 0
    assert cut.label_end.max() <= end.timestamp() and labelled.sum() > 400
    np.testing.assert_array_equal(cut.r_long[labelled], whole.r_long[:n][labelled])


def test_start_and_end_of_the_settings_choose_the_bars(home):
    keep(home, "EURUSD")
    snap = built(home, pipeline("EURUSD", start="2023-09-11", end="2023-09-30"))
    first, last = (datetime.fromtimestamp(int(t), UTC) for t in (snap.times[0], snap.times[-1]))
    assert (first, last.date().isoformat()) == (datetime(2023, 9, 11, 1, tzinfo=UTC), "2023-09-29")


def test_commission_of_the_feed_is_paid_by_the_labels_where_the_broker_says_nothing(home):
    bars = keep(home, "EURUSD")
    free, paid = (built(home, pipeline("EURUSD"), FeedSettings(commission_per_lot=c)) for c in (0.0, 7.0))
    rows = free.usable_rows(1)
    unit = free.atr[rows].astype(float) * bars["close"].to_numpy()[rows]
    # Two sides of 7 USD on 100,000 EUR are 0.00014 USD a EUR.
    np.testing.assert_allclose(free.r_long[rows] - paid.r_long[rows], 0.00014 / unit, atol=1e-5)
    np.testing.assert_allclose(free.r_short[rows] - paid.r_short[rows], 0.00014 / unit, atol=1e-5)
    np.testing.assert_allclose(paid.cost[rows] - free.cost[rows], 0.00014 / unit, atol=1e-5)
    assert paid.manifest.provenance["specs"]["EURUSD"]["commission_per_lot"] == 7.0
    assert free.id != paid.id


def test_what_the_broker_said_of_commission_wins_over_the_feeds_settings(home):
    keep(home, "EURUSD", spec="broker")
    snap = built(home, pipeline("EURUSD"), FeedSettings(commission_per_lot=99.0))
    assert snap.manifest.provenance["specs"]["EURUSD"]["commission_per_lot"] == 5.0


def test_commission_in_dollars_is_paid_in_yen_at_the_rate_of_the_moment(home):
    bars = keep(home, "USDJPY")
    free, paid = (built(home, pipeline("USDJPY"), FeedSettings(commission_per_lot=c)) for c in (0.0, 5.0))
    rows = free.usable_rows(1)
    unit = free.atr[rows].astype(float) * bars["close"].to_numpy()[rows]
    # 10 USD on 100,000 USD are 0.0001 of the price, whatever it is: 0.015 JPY at 150. Paid as of the bar of the entry.
    price = bars["close"].to_numpy()[rows + 1]
    np.testing.assert_allclose((paid.cost[rows] - free.cost[rows]) * unit, 0.0001 * price, rtol=2e-3)


def test_the_spread_that_is_paid_is_the_larger_of_the_bars_own_and_the_usual_one_of_its_hour(home):
    bars = keep(home, "EURUSD")
    snap = built(home, pipeline("EURUSD"))
    usual = Store(home.store).spread_table("hand", "EURUSD").at(epoch_s(bars["time"]))
    own = bars["spread_points"].to_numpy()
    n = len(snap)
    np.testing.assert_allclose(snap.prices[:, 4], np.maximum(own, usual)[:n] * 1e-5, rtol=1e-12)
    assert (own < usual).any() and (own > usual).any()


def test_an_account_in_another_currency_converts_through_the_pair_that_leads_there(home):
    keep(home, "EURJPY")
    other = keep(home, "USDJPY")
    snap = built(home, pipeline("EURJPY"))
    close, spread = other["close"].to_numpy()[: len(snap)], snap_spread(home, other)[: len(snap)]
    np.testing.assert_allclose(snap.prices[:, 5], 1 / (close + spread), rtol=1e-9)  # a gain buys dollars at the ask
    np.testing.assert_allclose(snap.prices[:, 6], 1 / close, rtol=1e-9)


def snap_spread(home, bars):
    usual = Store(home.store).spread_table("hand", "USDJPY").at(epoch_s(bars["time"]))
    return np.maximum(bars["spread_points"].to_numpy(), usual) * 1e-3


def test_rates_are_those_of_the_last_bar_known_and_unknown_before_the_first(home):
    keep(home, "EURJPY")
    late = keep(home, "USDJPY", start=START + timedelta(days=7), count=520)
    snap = built(home, pipeline("EURJPY"))
    before = snap.times <= int((START + timedelta(days=7)).timestamp())
    assert before.sum() > 100 and np.isnan(snap.prices[before, 5]).all() and np.isfinite(snap.prices[~before, 5]).all()
    assert snap.prices[~before, 6][0] == pytest.approx(1 / late["close"][0])
    rows = np.flatnonzero(snap.label_end >= 0)
    assert rows[0] < before.sum() and np.isfinite(snap.cost[rows]).all(), "the first known rate prices the rows before it"


GENERATED, STATED = FeedSettings(source="generator"), FeedSettings(source="terminal", commission_per_lot=3.0)


@pytest.mark.parametrize(
    ("spec", "spreads", "feed", "source"),
    [
        ("broker", True, GENERATED, "broker"),
        ("broker", True, STATED, "user"),  # a real terminal tells no commission: the user did
        ("broker", True, FeedSettings(source="terminal"), "assumed"),  # nobody did
        ("broker", False, GENERATED, "assumed"),
        (None, True, STATED, "assumed"),
        ("user", True, STATED, "user"),
    ],
)
def test_costs_are_called_by_the_weakest_word_they_rest_on(home, spec, spreads, feed, source):
    keep(home, "EURUSD", spec=spec, spreads=spreads)
    settings = pipeline("EURUSD")
    loaded = dataset.load(home, settings, feed, lock_wait_s=5.0)
    assert dataset.cost_source(loaded, ("EURUSD",), feed) == source


def test_one_assumed_symbol_makes_the_costs_of_all_assumed(home):
    keep(home, "EURUSD", spec="broker")
    keep(home, "GBPUSD")
    snap = built(home, pipeline("EURUSD", "GBPUSD"))
    assert snap.manifest.provenance["cost_source"] == "assumed"
    assert snap.manifest.provenance["mode"] == "real", "bars from files are a real market's"


@pytest.mark.parametrize(
    ("kept", "settings", "words"),
    [
        (["EURUSD"], pipeline("EURUSD", "GBPUSD"), r"feed 'hand' has no bars of GBPUSD; it has EURUSD: ingest them first"),
        (["EURUSD"], pipeline("EURUSD", context=("USDJPY",)), "has no bars of USDJPY; it has EURUSD"),
        (["EURUSD"], pipeline("EURUSD", feed="other"), "feed 'other' has no bars of EURUSD; it has nothing"),
        (["EURJPY"], pipeline("EURJPY"), "no rate from JPY to USD: the bars hold neither JPYUSD, USDJPY nor a way through USD"),
        (["EURUSD"], pipeline("EURUSD", start="2030-01-01"), "feed 'hand' has no bars between 2030-01-01 .* and its end"),
    ],
)
def test_what_is_missing_is_told_in_one_line(home, kept, settings, words):
    for symbol in kept:
        keep(home, symbol, count=200)
    with pytest.raises((Final, FeatureStoreError, ServingError), match=words) as error:
        dataset.build_snapshot.fn(home.root, "p", settings, FILES, lock_wait_s=5.0)
    assert "\n" not in str(error.value)
    assert not home.snapshots.exists()


def test_a_home_without_a_store_is_told_so_in_one_line(home):
    with pytest.raises((Final, FeatureStoreError)) as error:
        dataset.build_snapshot.fn(home.root, "p", pipeline("EURUSD"), FILES, lock_wait_s=5.0)
    assert "\n" not in str(error.value) and "ingest" in str(error.value)
