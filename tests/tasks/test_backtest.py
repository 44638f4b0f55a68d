"""Backtests of stored models: the same money as the snapshot's replay, the right words, and who is not found."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_store.snapshot import open_snapshot
from serving import bundle
from serving._errors import ServingError
from serving.manifest import stamp
from serving.model import OnnxModel
from tasks import backtest, dataset, judge, record, train
from tasks._errors import Final
from tasks.plan import samples_of
from tasks.replay import replay
from tests.tasks.conftest import FEED, PIPELINE

EVERYTHING = (None, None)


@pytest.fixture(scope="module")
def home(trained, tmp_path_factory):
    """A home with bars, a retrained pipeline and a promoted champion. Read only."""
    root = tmp_path_factory.mktemp("backtest")
    shutil.copytree(trained.home.root / "runs", root / "runs")
    shutil.copy(trained.home.store, root / trained.home.store.name)
    place = replace(trained, home=type(trained.home)(root), job=replace(trained.job, home=root))
    record.save_report(place.home, judge.judge.fn(place.job, place.results))
    content = (place.job.folder / "lightgbm" / "final.onnx").read_bytes()
    manifest = json.loads(OnnxModel.load(content).manifest.to_json())
    written = bundle.write_bundle(
        root, "demo", content, manifest, gated=True, verdict="test", promoted_at="2024-04-02T00:00:00+00:00", promoted_by="test"
    )
    bundle.promote(root, "demo", written.sha256)
    return place


def played(place, model, span=EVERYTHING):
    return backtest.backtest.fn(place.home.root, "demo", model, span, lambda name: FEED, lock_wait_s=5.0)


@pytest.fixture(scope="module")
def whole(home):
    return played(home, "lightgbm")


def test_stored_bars_and_the_snapshot_give_the_same_trades_and_the_same_money(home, whole):
    snapshot = open_snapshot(home.job.snapshot)
    model = OnnxModel.load(home.job.folder / "lightgbm" / "final.onnx")
    rows = snapshot.window_rows(PIPELINE.window_bars)
    said = train.ask_model(model, samples_of(snapshot, PIPELINE.window_bars).take(rows))
    expected = replay(snapshot, PIPELINE, model.manifest.decision, rows, said)
    assert whole.result.totals.trades == expected.totals.trades > 20
    assert whole.result.trades["entry_time"].to_list() == expected.trades["entry_time"].to_list()
    assert whole.result.trades["symbol"].to_list() == expected.trades["symbol"].to_list()
    # A snapshot's spread is rounded up to whole points, so the two agree to a share of a spread.
    assert whole.result.totals.net == pytest.approx(expected.totals.net, abs=0.05 * expected.totals.spread_cost)


def test_costs_add_up_and_the_document_is_json(whole):
    totals = whole.result.totals
    assert totals.net == pytest.approx(totals.gross - totals.spread_cost - totals.commission + totals.swap)
    assert totals.net == pytest.approx(totals.final_balance - 10_000.0)
    document = json.loads(json.dumps(whole.as_dict(), allow_nan=False))
    assert document["model"] == "demo/lightgbm" and document["net"] == pytest.approx(totals.net)
    assert (document["mode"], document["cost_source"], document["sample"]) == ("simulated", "broker", "in sample")
    assert whole.words == "simulated market, broker costs, in sample"


def test_without_a_name_the_champion_is_played(home, whole):
    champion = played(home, None)
    assert champion.title == "champion of demo"
    assert champion.result.totals == whole.result.totals


def learned_until(home, tmp_path, moment):
    """A copy of the lightgbm model whose manifest says that it learned up to `moment`."""
    path = tmp_path / "older.onnx"
    shutil.copy(home.job.folder / "lightgbm" / "final.onnx", path)
    manifest = OnnxModel.load(path).manifest
    stamp(path, replace(manifest, training_span=(manifest.training_span[0], int(moment.timestamp()))))
    return str(path)


CUT = datetime(2024, 3, 5, 12, tzinfo=UTC)  # a Tuesday; the labels last 12 bars, to midnight


@pytest.mark.parametrize(
    ("start", "sample"),
    [
        # The outcome of the last row it learned from lies in these twelve hours.
        (CUT + timedelta(hours=6), "in sample"),
        (CUT + timedelta(hours=13), "out of sample"),
    ],
)
def test_a_backtest_is_out_of_sample_only_past_everything_the_model_has_seen(home, tmp_path, start, sample):
    model = learned_until(home, tmp_path, CUT)
    found = played(home, model, (start, None))
    assert (found.sample, found.title) == (sample, "older.onnx") and found.words.endswith(sample)


@pytest.mark.parametrize(
    ("learned", "seen"),
    [
        (CUT, datetime(2024, 3, 6, tzinfo=UTC)),
        # Two more bars close before the weekend. On Sunday at 21:00 UTC, with New York in summer time, ten more begin.
        (datetime(2024, 3, 8, 20, tzinfo=UTC), datetime(2024, 3, 11, 7, tzinfo=UTC)),
        (datetime(2024, 3, 31, 23, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)),  # no more is stored
    ],
)
def test_what_a_model_has_seen_ends_where_the_last_label_does_over_weekends_too(home, learned, seen):
    manifest = OnnxModel.load(home.job.folder / "linear" / "final.onnx").manifest
    stored = dataset.load(home.home, PIPELINE, FEED, lock_wait_s=5.0)
    found = backtest.learned_until_s(replace(manifest, training_span=(0, int(learned.timestamp()))), stored)
    assert datetime.fromtimestamp(found, UTC) == seen


def test_a_span_holds_all_decisions_and_all_trades(home):
    start, end = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC)
    result = played(home, "lightgbm", (start, end)).result
    times = result.equity["time"].to_list()
    assert start.replace(tzinfo=None) < times[0] and times[-1] <= end.replace(tzinfo=None)
    assert result.totals.trades > 0
    assert all(start.replace(tzinfo=None) < t < end.replace(tzinfo=None) for t in result.trades["entry_time"])


@pytest.mark.parametrize(
    ("model", "span", "words"),
    [
        ("lightgmb", EVERYTHING, "model 'lightgmb' is not in the latest retrain of demo; there are linear, lightgbm"),
        ("nowhere/x.onnx", EVERYTHING, "model file nowhere/x.onnx does not exist; give a path, or a family"),
        (
            "linear",
            (datetime(2030, 1, 1, tzinfo=UTC), None),
            "no bar to decide on in that span; stored is 2024-01-01 to 2024-04-01",
        ),
        ("linear", (None, datetime(2024, 1, 2, tzinfo=UTC)), "no bar to decide on in that span; .* of which [0-9]+ bars warm up"),
    ],
)
def test_what_cannot_be_played_is_told_in_one_line_with_what_there_is(home, model, span, words):
    with pytest.raises(Final, match=words) as error:
        played(home, model, span)
    assert "\n" not in str(error.value)


def test_a_pipeline_without_retrain_or_champion_is_told_so(home):
    with pytest.raises(Final, match=r"pipeline 'other' was never retrained in .*; retrained were: demo"):
        backtest.find_model(home.home, "other", "linear")
    with pytest.raises(ServingError, match="pipeline 'other' has no champion"):
        backtest.find_model(home.home, "other", None)


def test_a_model_of_features_with_another_meaning_is_refused(home, tmp_path):
    path = tmp_path / "changed.onnx"
    shutil.copy(home.job.folder / "linear" / "final.onnx", path)
    stamp(path, replace(OnnxModel.load(path).manifest, feature_hash="0" * 16))
    with pytest.raises(ServingError, match="learned feature set 0000"):
        played(home, str(path))


def test_a_graph_that_was_never_registered_is_refused(home):
    with pytest.raises(ServingError, match="carries no manifest"):
        played(home, str(home.job.folder / "linear" / "fold0.onnx"))
