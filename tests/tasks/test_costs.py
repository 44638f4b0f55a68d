"""What a bar costs: as of the bar, borrowed where the settings say so, and never less for saying nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.atr import atr
from feature_store.bars import bar_close, epoch_s
from feature_store.labels import LabelSpec, label_trades
from feature_store.settings import FeedSettings
from feature_store.spreads import spread_table as measure
from feature_store.store import Store
from feature_store.symbols import assumed_spec
from serving import risk
from serving.backtest import LineInput, prepare, run
from serving.decision import BARRIER, LOTS, DecisionSpec
from tasks import dataset
from tasks._errors import Final
from tasks.costs import CHARGED, bar_costs, in_whole_points, specs_between, spread_table
from tasks.settings import PipelineSettings
from tests.conftest import make_bars

START = datetime(2023, 9, 4, tzinfo=UTC)
CHANGE = START + timedelta(days=14)
AT = datetime(2024, 6, 1, tzinfo=UTC)
EURUSD = assumed_spec("a", "EURUSD")


def spread(bars, points):
    values = points if isinstance(points, list | np.ndarray) else [points] * bars.height
    return bars.with_columns(pl.Series("spread_points", values, dtype=pl.Int32))


def keep(store, feed, bars, symbol="EURUSD"):
    store.ingest(feed, symbol, "H1", bars, origin="hand", sha256="0" * 64, clock_rule="utc", at=AT)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "bars.duckdb")


@pytest.fixture(scope="module")
def hours():
    return make_bars(START, 640, step_s=3600)


# --- as of the bar


def test_commission_lot_and_point_are_those_of_the_specification_in_force_at_the_bar(store, hours):
    keep(store, "a", hours)
    old = replace(EURUSD, valid_from=START, source="broker", commission_per_lot=7.0, contract_size=10_000.0, digits=4, point=1e-4)
    store.put_symbol(old)
    store.put_symbol(replace(EURUSD, valid_from=CHANGE, source="broker", commission_per_lot=3.0))
    specs = specs_between(store, "a", "EURUSD", int(START.timestamp()), int(AT.timestamp()), FeedSettings())
    assert [(s.commission_per_lot, s.valid_from) for s in specs] == [(7.0, START), (3.0, CHANGE)]
    costs = bar_costs(spread(hours, 20), specs, measure(spread(hours, None), "H1", specs[-1]))
    before = epoch_s(hours["time"]) < CHANGE.timestamp()
    # 20 points of a pip each, then 20 of a tenth. Commission of both sides: 14 USD on 10,000, then 6 on 100,000.
    assert set(np.round(costs.spread[before], 9)) == {0.002}
    assert costs.commission_price(np.ones(640))[before] == pytest.approx(14e-4)
    assert costs.commission_price(np.ones(640))[~before] == pytest.approx(6e-5)
    # What the assumed table asks is the same price in both: 1.6 pips, 4.3 at the roll.
    low = bar_costs(spread(hours, 1), specs, measure(spread(hours, None), "H1", specs[-1])).spread
    assert set(np.round(low, 9)) == {0.00016, 0.00043}


def test_labels_pay_the_commission_of_their_time(tmp_path, hours):
    home = dataset.Home(tmp_path / "home")
    store = Store(home.store)
    keep(store, "a", hours)
    for since, commission in ((START, 0.0), (CHANGE, 50.0)):
        store.put_symbol(replace(EURUSD, valid_from=since, source="broker", commission_per_lot=commission))
    pipeline = PipelineSettings(feed="a", symbols=("EURUSD",))
    rows = dataset.load(home, pipeline, FeedSettings(), lock_wait_s=5.0).rows["EURUSD"]
    ones = np.ones(640)
    labels = dataset.label_rows(rows, ones, ones, LabelSpec(), count=640)
    unit = atr(*(rows.bars[c].to_numpy() for c in ("high", "low", "close")), 14)
    fee = labels.cost * unit - np.append(rows.spread[1:], np.nan)
    entered = np.append(rows.close_s[:-1], 0) >= CHANGE.timestamp()
    usable = labels.label_end >= 0
    assert fee[usable & ~entered] == pytest.approx(0.0, abs=1e-9)
    assert fee[usable & entered] == pytest.approx(2 * 50.0 / 100_000, rel=1e-4)


def test_results_that_rest_on_bars_before_the_first_known_specification_are_called_assumed(tmp_path, hours):
    home = dataset.Home(tmp_path / "home")
    store = Store(home.store)
    keep(store, "a", hours)
    store.put_symbol(replace(EURUSD, valid_from=CHANGE, source="broker"))
    generated = FeedSettings(source="generator")
    pipeline = PipelineSettings(feed="a", symbols=("EURUSD",))
    whole = dataset.load(home, pipeline, generated, lock_wait_s=5.0)
    assert dataset.cost_source(whole, ("EURUSD",), generated) == "assumed"
    later = pipeline.model_copy(update={"start": (CHANGE + timedelta(days=1)).date()})
    assert dataset.cost_source(dataset.load(home, later, generated, lock_wait_s=5.0), ("EURUSD",), generated) == "broker"


# --- borrowed tables


def test_spreads_are_borrowed_only_where_the_settings_say_so_and_the_feeds_own_cannot_be_believed(store, hours):
    keep(store, "zeros", spread(hours, 0))
    keep(store, "good", spread(hours, 29 + np.arange(640) * 7 // 5 % 3))
    own = spread_table(store, "zeros", "EURUSD", FeedSettings())
    lent = spread_table(store, "zeros", "EURUSD", FeedSettings(spreads_from="good"))
    assert (own.source, own.lender, own.points[12]) == ("assumed", "", 16)
    assert (lent.source, lent.lender) == ("measured", "good") and 29 <= lent.points[12] <= 31
    assert lent.evidence.startswith("borrowed from feed good: 640 spreads of 2023-09")
    kept = spread_table(store, "good", "EURUSD", FeedSettings(spreads_from="zeros"))
    assert (kept.source, kept.lender) == ("measured", "")


def test_a_borrowed_table_counts_in_the_borrowers_points(store, hours):
    keep(store, "zeros", spread(hours, 0))
    keep(store, "good", spread(hours, 29 + np.arange(640) * 7 // 5 % 3))
    store.put_symbol(replace(EURUSD, feed="zeros", digits=4, point=1e-4, valid_from=START))
    lent = spread_table(store, "zeros", "EURUSD", FeedSettings(spreads_from="good"))
    assert 2.9 <= lent.points[12] <= 3.1
    specs = specs_between(store, "zeros", "EURUSD", int(START.timestamp()), int(AT.timestamp()), FeedSettings())
    assert bar_costs(spread(hours, 0), specs, lent).spread[12] == pytest.approx(31e-5, abs=1e-5)


def test_a_lender_that_has_nothing_to_lend_is_told_of(store, hours):
    keep(store, "zeros", spread(hours, 0))
    keep(store, "also", spread(hours, None))
    with pytest.raises(Final, match=r"EURUSD: feed 'zeros' borrows its spreads from feed 'gone', which has no bars of it"):
        spread_table(store, "zeros", "EURUSD", FeedSettings(spreads_from="gone"))
    poor = spread_table(store, "zeros", "EURUSD", FeedSettings(spreads_from="also"))
    assert poor.source == "assumed" and "feed also cannot lend its own" in poor.evidence


def test_costs_on_a_borrowed_table_are_the_users_word(tmp_path, hours):
    home = dataset.Home(tmp_path / "home")
    store = Store(home.store)
    keep(store, "zeros", spread(hours, 0))
    keep(store, "good", hours)
    store.put_symbol(replace(EURUSD, feed="zeros", valid_from=START, source="broker"))
    pipeline = PipelineSettings(feed="zeros", symbols=("EURUSD",))
    feed = FeedSettings(source="generator", spreads_from="good")
    assert dataset.cost_source(dataset.load(home, pipeline, feed, lock_wait_s=5.0), ("EURUSD",), feed) == "user"


# --- zero is never free

N = 120
FAR = LabelSpec(stop_atr=500.0, target_atr=500.0, horizon_bars=4, atr_bars=3)
"""Barriers nobody reaches: a result is then a straight line of every spread it pays."""
DECISIONS = DecisionSpec(
    mode=BARRIER, threshold_long=0.5, threshold_short=0.5, stop_atr=500.0, target_atr=500.0, horizon_bars=4,
    sizing=LOTS, risk_fraction=0.01, fixed_lots=0.01,
)  # fmt: skip
NO_LIMITS = risk.limits(
    {"daily_loss_fraction": 1.0, "drawdown_fraction": 1.0, "loss_per_trade_fraction": 1.0, "spread_atr": 10.0}
    | {"currency_exposure": 1000.0, "margin_fraction": 1.0}
)
DRAWN = st.tuples(st.integers(0, 10_000), st.lists(st.floats(0, 1), min_size=N, max_size=N))


def continuous(seed):
    """Hours that open where the last one closed, so that no bid jumps over a stop."""
    return make_bars(START, N, step_s=3600, seed=seed)


def charged(bars, table):
    return bar_costs(bars, [EURUSD], table)


def labelled(bars, costs, spec):
    open_, high, low, close = (bars[c].to_numpy() for c in ("open", "high", "low", "close"))
    close_s = bar_close(epoch_s(bars["time"]), "H1")
    commission = costs.commission_price(np.ones(N))
    return label_trades(open_, high, low, close, close_s, atr(high, low, close, spec.atr_bars), costs.spread, commission, spec)


def played(bars, costs, seed, spec=DECISIONS):
    said = np.random.default_rng(seed).dirichlet([1.0, 1.0, 1.0], N)
    line = LineInput("p", "EURUSD", "H1", spec, epoch_s(bars["time"]), said, np.full(N, 1e-3))
    charged_bars = {"EURUSD": in_whole_points(bars, costs.spread, EURUSD.point)}
    market = {"EURUSD": EURUSD}
    data = prepare(
        charged_bars, "H1", market, {"EURUSD": CHARGED}, [line], feed="a", currency="USD", start_balance=1e6, limits=NO_LIMITS
    )
    return run(data).trades


@pytest.fixture(scope="module")
def measured():
    """The table of a feed that was believed: spreads of 10 to 20 points."""
    return measure(make_bars(datetime(2023, 1, 2, tzinfo=UTC), 3000, step_s=3600), "H1", EURUSD)


def own_points(shares, table, bars, limit):
    """Spreads from one point up to what the table says of each bar's hour."""
    return np.maximum(1, np.floor(np.array(shares) * getattr(table, limit)(epoch_s(bars["time"])))).astype(int)


@settings(max_examples=40, deadline=None)
@given(DRAWN, st.lists(st.sampled_from([0, None, "kept"]), min_size=N, max_size=N))
def test_zeroing_or_blanking_any_spreads_raises_no_label_and_no_trade(measured, drawn, silenced):
    bars = continuous(drawn[0])
    points = own_points(drawn[1], measured, bars, "high_at").tolist()
    silent = [own if said == "kept" else said for own, said in zip(points, silenced, strict=True)]
    told, quiet = (charged(spread(bars, p), measured) for p in (points, silent))
    assert (quiet.spread >= told.spread).all()
    a, b = (labelled(bars, costs, FAR) for costs in (told, quiet))
    usable = a.label_end >= 0
    assert usable.sum() > 50
    assert (b.r_long[usable] <= a.r_long[usable]).all() and (b.r_short[usable] <= a.r_short[usable]).all()
    # With barriers within reach a long still pays only at its entry, and a bid without jumps passes no stop unseen.
    a, b = (labelled(bars, costs, LabelSpec()) for costs in (told, quiet))
    usable = a.label_end >= 0
    assert (b.r_long[usable] <= a.r_long[usable] + 1e-5).all()
    before, after = (played(bars, costs, drawn[0]) for costs in (told, quiet))
    assert before["entry_time"].to_list() == after["entry_time"].to_list() and before.height > 5
    assert (after["net"] <= before["net"] + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(DRAWN, st.lists(st.floats(0.01, 1), min_size=N, max_size=N))
def test_lowering_spreads_the_table_already_exceeds_changes_no_label_and_no_backtest(measured, drawn, shares):
    bars = continuous(drawn[0])
    points = own_points(drawn[1], measured, bars, "at")
    lower = np.maximum(1, np.floor(points * np.array(shares))).astype(int)
    told, less = (charged(spread(bars, p), measured) for p in (points, lower))
    near = DECISIONS._replace(stop_atr=1.5, target_atr=1.5)
    for spec in (FAR, LabelSpec()):
        a, b = (labelled(bars, costs, spec) for costs in (told, less))
        np.testing.assert_array_equal(a.r_long, b.r_long)
        np.testing.assert_array_equal(a.r_short, b.r_short)
    for spec in (DECISIONS, near):
        a, b = (played(bars, costs, drawn[0], spec) for costs in (told, less))
        assert a.equals(b)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_feed_that_zeroes_every_spread_earns_no_more_than_when_it_told_them(seed):
    """The table is measured anew from what is left: nothing, so the usual retail spreads are charged."""
    bars = continuous(seed)
    record = make_bars(datetime(2023, 1, 2, tzinfo=UTC), 3000, step_s=3600, seed=seed)
    own = np.random.default_rng(seed).integers(1, 19, N)  # up to what a bar pays that says nothing: 18
    told = charged(spread(bars, own), measure(record, "H1", EURUSD))
    zeroed = charged(spread(bars, 0), measure(spread(record, 0), "H1", EURUSD))
    assert (zeroed.spread >= told.spread).all()
    before, after = (played(bars, costs, seed) for costs in (told, zeroed))
    assert after["net"].sum() < before["net"].sum()
