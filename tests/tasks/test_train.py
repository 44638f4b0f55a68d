"""Training: two small families from a generated market to stamped files, and what is done again after a kill."""

import json
import shutil
import sqlite3
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from feature_store.seeds import seed_of
from feature_store.snapshot import open_snapshot
from model_zoo.judgment.metrics import direction
from serving._errors import Final as ServingFinal
from serving.manifest import Manifest
from serving.model import OnnxModel
from tasks import record, thresholds, train
from tasks._errors import Final
from tasks.evaluate import Piece
from tasks.home import Home, read_json, write_json
from tasks.ledger import Ledger
from tasks.results import FamilyResult
from tests.tasks.conftest import PIPELINE

FAMILIES = ("linear", "lightgbm")
EXTENSIONS = Path(__file__).parents[1] / "extensions"


def words(result):
    """A result as text, in which NaN equals NaN."""
    return json.dumps(result.as_dict(), sort_keys=True)


def untimed(result):
    """The same without what a clock measured."""
    return words(replace(result, train_s=0.0, latency_us=0.0))


def final_of(trained, family):
    return trained.job.folder / trained.result(family).final_onnx


@pytest.fixture(scope="module")
def opened(trained):
    return train.open_job(trained.job, "linear")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_family_leaves_every_file_that_later_steps_need(trained, family):
    names = {p.name for p in (trained.job.folder / family).iterdir()}
    assert names == {
        "tuned.json", "trials.json", "result.json", "holdout.npz", "fold0.onnx", "fold1.onnx", "holdout.onnx", "final.onnx",
    }  # fmt: skip
    assert trained.job.folder.is_relative_to(trained.home.root / "runs" / "demo")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_models_agree_with_the_fitted_ones(trained, family):
    result = trained.result(family)
    assert 0.0 <= result.parity <= 1e-5
    assert result.latency_us > 0 and result.train_s > 0 and result.device == "cpu"
    assert (result.trials, len(result.fold_auc), len(result.fold_skill)) == (2, 2, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_final_model_says_all_that_serving_it_takes(trained, opened, family):
    manifest = OnnxModel.load(final_of(trained, family)).manifest
    about, rows = opened.snapshot.manifest, opened.plan.everything
    assert all(getattr(manifest, f.name) is not None for f in fields(Manifest) if f.name != "rounds")
    assert (manifest.pipeline, manifest.family, manifest.feeds) == ("demo", family, ("demo",))
    assert manifest.symbols == ("EURUSD", "USDJPY")
    assert (manifest.feature_hash, manifest.features) == (about.feature_hash, about.feature_names)
    assert {"is_eurusd", "is_usdjpy"} <= set(manifest.features) and manifest.context == ("EURUSD", "USDJPY")
    assert (manifest.timeframe, manifest.base_timeframe, manifest.window_bars) == ("H1", "M1", 4)
    assert manifest.label == {"stop_atr": 1.5, "target_atr": 1.5, "horizon_bars": 12, "atr_bars": 14}
    assert manifest.training_span == (opened.snapshot.times[rows].min(), opened.snapshot.times[rows].max())
    assert (manifest.snapshot, manifest.seed, manifest.created) == (opened.snapshot.id, 1, "2024-04-01")
    assert (manifest.account_currency, manifest.mode, manifest.cost_source) == ("USD", "simulated", "broker")
    assert {"onnx", "onnxruntime-gpu", "numpy"} <= set(manifest.versions)
    assert (manifest.rounds is None) == (family == "linear")
    assert manifest.params == trained.result(family).params


@pytest.mark.parametrize("family", FAMILIES)
def test_thresholds_come_from_what_the_fold_files_say_of_validation_rows_and_of_no_later_one(trained, opened, family):
    folder, plan = trained.job.folder / family, opened.plan
    pieces = []
    for number, fold in enumerate(plan.folds):
        said = train.ask_onnx(folder / f"fold{number}.onnx", opened.samples.take(fold.valid))
        pieces.append(Piece(fold.valid, said, np.zeros(0, np.int8)))
    expected = thresholds.choose(pieces, opened.snapshot, trained.job.pipeline)
    manifest = OnnxModel.load(final_of(trained, family)).manifest
    assert manifest.decision == expected.spec
    assert (manifest.thresholds.chosen_on, manifest.thresholds.rows) == ("validation", sum(len(f.valid) for f in plan.folds))
    assert manifest.thresholds.span[1] < plan.holdout_span[0]
    assert trained.result(family).decision == {k: float(v) for k, v in expected.spec._asdict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_holdout_is_scored_by_a_model_that_never_saw_it(trained, opened, family):
    said = train.ask_onnx(trained.job.folder / family / "holdout.onnx", opened.samples.take(opened.plan.holdout))
    q, y = direction(said, opened.snapshot.label[opened.plan.holdout])
    above = q[y == 1][:, None] - q[y == 0][None, :]
    auc = (above > 0).mean() + 0.5 * (above == 0).mean()
    scores = trained.result(family).holdout
    assert (scores.kind, scores.rows) == ("holdout", len(opened.plan.holdout))
    assert scores.auc == pytest.approx(auc, abs=1e-9)
    assert trained.result(family).oos.kind == "out of sample"
    assert trained.result(family).oos.end < scores.start


def test_each_model_was_fitted_on_its_own_rows_and_no_others(trained, opened):
    plan, params = opened.plan, trained.result("linear").params
    asked = opened.samples.take(plan.holdout)
    rows = {"fold0": plan.folds[0].fit, "fold1": plan.folds[1].fit, "holdout": plan.before, "final": plan.everything}
    names = {"fold0": ("fold", 0), "fold1": ("fold", 1), "holdout": ("holdout",), "final": ("final",)}
    for name, fitted_on in rows.items():
        seed = seed_of(PIPELINE.seed, "linear", *names[name])
        model = opened.family.fit(opened.samples.take(fitted_on), None, params, seed=seed, context=opened.context)
        said = train.ask_onnx(trained.job.folder / "linear" / f"{name}.onnx", asked)
        np.testing.assert_allclose(said, opened.family.predict(model, asked), atol=1e-5)


def test_only_the_final_graph_is_stamped(trained):
    bare = OnnxModel.load(trained.job.folder / "linear" / "fold0.onnx")
    with pytest.raises(ServingFinal, match="carries no manifest"):
        _ = bare.manifest


@pytest.mark.parametrize("family", FAMILIES)
def test_a_result_goes_through_its_file_unchanged(trained, family):
    found = FamilyResult.from_dict(read_json(trained.job.folder / family / "result.json"))
    assert words(found) == words(trained.result(family))


def test_a_second_call_reads_what_the_first_one_found_and_fits_nothing(trained, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the data were opened again")

    monkeypatch.setattr(train, "open_job", refuse)
    for family in FAMILIES:
        tuned = train.tune_family.fn(trained.job, family)
        again = train.fit_family.fn(trained.job, family, tuned)
        assert words(again) == words(trained.result(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_that_was_killed_before_its_result_is_made_again_bit_for_bit(fresh, family):
    (fresh.job.folder / family / "result.json").unlink()
    before = sha256(final_of(fresh, family).read_bytes()).hexdigest()
    for name in ("final.onnx", "fold1.onnx", "holdout.npz"):
        (fresh.job.folder / family / name).unlink()
    again = train.fit_family.fn(fresh.job, family, train.tune_family.fn(fresh.job, family))
    assert untimed(again) == untimed(fresh.result(family))
    assert sha256(final_of(fresh, family).read_bytes()).hexdigest() == before


def test_a_tuning_that_was_killed_before_its_result_reads_its_study_again_and_counts_nothing_twice(fresh):
    folder, ledger = fresh.job.folder / "linear", Ledger(fresh.home.ledger)
    kept = {name: (folder / name).read_bytes() for name in ("tuned.json", "trials.json")}
    for name in kept:
        (folder / name).unlink()
    assert ledger.trials("demo", "linear") == 2
    tuned = train.tune_family.fn(fresh.job, "linear")
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert tuned.trials == 2 and ledger.trials("demo", "linear") == 2


def test_every_trial_stands_in_the_ledger_with_the_span_it_was_judged_on(trained, opened):
    database = sqlite3.connect(trained.home.ledger)
    rows = database.execute("select family, number, state, skill, start_s, end_s from trials order by family, number").fetchall()
    database.close()
    assert [row[:3] for row in rows] == [(f, n, "complete") for f in ("lightgbm", "linear") for n in (0, 1)]
    noted = read_json(trained.job.folder / "linear" / "trials.json")["trials"]
    assert [row[3] for row in rows[2:]] == [t["skill"] for t in noted]
    assert {row[5] for row in rows} == {opened.plan.holdout_span[0]}, "tuning saw nothing of the holdout"


def test_the_first_trial_starts_from_the_last_retrains_best(fresh):
    write_json(fresh.home.root / "runs" / "demo" / "latest.json", {"schema": 1, "run_key": fresh.job.key})
    best = read_json(fresh.job.folder / "linear" / "tuned.json")["drawn"]
    later = replace(fresh.job, pipeline=fresh.job.pipeline.model_copy(update={"seed": 2}))
    train.tune_family.fn(later, "linear")
    first = read_json(later.folder / "linear" / "trials.json")["trials"][0]
    assert first["params"] == best
    assert Ledger(fresh.home.ledger).trials("demo", "linear") == 4, "trials of both retrains count"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"label": {"horizon_bars": 6}},
        {"folds": {"count": 3}},
        {"budget": {"trials": 3}},
        {"decision": {"mode": "target"}},
        {"account_currency": "EUR"},
    ],
)
def test_other_settings_are_another_run_that_finds_none_of_the_old_results(trained, change):
    other = replace(trained.job, pipeline=type(trained.job.pipeline)(**{**trained.job.pipeline.model_dump(), **change}))
    assert other.key != trained.job.key and not other.folder.exists()


def test_another_snapshot_or_pipeline_name_is_another_run_too(trained):
    for change in ({"snapshot": Path("/elsewhere/0123456789abcdef01234567")}, {"name": "other"}):
        assert replace(trained.job, **change).key != trained.job.key


def test_what_changes_no_number_does_not_change_the_run(trained, tmp_path):
    same = trained.job.pipeline.model_copy(
        update={"families": ("linear",), "budget": trained.job.pipeline.budget.model_copy(update={"workers": 3})}
    )
    job = replace(
        trained.job, pipeline=same, home=tmp_path, as_of="2030-01-01", threads=8, snapshot=tmp_path / trained.job.snapshot.name
    )
    assert job.key == trained.job.key


def test_a_model_whose_file_says_something_else_is_refused_and_leaves_no_result(fresh, monkeypatch):
    (fresh.job.folder / "linear" / "result.json").unlink()
    honest = train.ask_onnx
    monkeypatch.setattr(train, "ask_onnx", lambda path, samples: honest(path, samples) + np.float32(2e-5))
    with pytest.raises(Final, match=r"linear: the exported model \(fold0\) differs from the fitted one by 2.0e-05") as error:
        train.fit_family.fn(fresh.job, "linear", train.tune_family.fn(fresh.job, "linear"))
    assert "\n" not in str(error.value)
    assert not (fresh.job.folder / "linear" / "result.json").exists()


def test_a_changed_snapshot_trains_nothing(fresh, tmp_path):
    copied = tmp_path / fresh.job.snapshot.name
    shutil.copytree(fresh.job.snapshot, copied)
    content = bytearray((copied / "label.npy").read_bytes())
    content[-1] ^= 1
    (copied / "label.npy").write_bytes(content)
    with pytest.raises(Exception, match=r"label\.npy was changed after it was written"):
        train.tune_family.fn(replace(fresh.job, snapshot=copied, name="other"), "linear")


def test_a_family_of_the_users_own_that_takes_its_position_is_trained_like_any_other(fresh):
    shutil.copytree(EXTENSIONS, fresh.home.extensions, ignore=shutil.ignore_patterns("__pycache__"))
    result = train.fit_family.fn(fresh.job, "position_policy", train.tune_family.fn(fresh.job, "position_policy"))
    model = OnnxModel.load(fresh.job.folder / result.final_onnx)
    assert model.uses_position and model.manifest.family == "position_policy"
    assert result.parity <= 1e-5 and result.holdout.rows == fresh.result("linear").holdout.rows


def test_versions_in_a_manifest_are_those_installed(trained):
    assert OnnxModel.load(final_of(trained, "linear")).manifest.versions == record.versions()


def test_a_home_of_another_place_holds_its_own_runs(trained, tmp_path):
    assert replace(trained.job, home=tmp_path).folder == Home(tmp_path).run("demo", trained.job.key)
    assert open_snapshot(trained.job.snapshot).id == trained.job.snapshot.name
