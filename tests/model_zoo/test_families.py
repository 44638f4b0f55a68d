"""The contract of a model family, over every family found: the built-in ones and the test's extension."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import optuna
import pytest

from model_zoo._family import FLAT, LONG, Context, Samples, get
from model_zoo._parity import parity
from model_zoo.judgment.metrics import direction, direction_skill
from tests.model_zoo.samples import (
    EXTENSIONS,
    FAMILIES,
    N_FEATURES,
    ROUNDS,
    WINDOW_BARS,
    exported,
    extremes,
    few_rounds,
    fitted,
    planted,
    split,
)

ROOT = Path(__file__).parents[2]
each_family = pytest.mark.parametrize("name", FAMILIES)


class Graph:
    """An exported graph, run as the live process runs it."""

    def __init__(self, content: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, windows: np.ndarray, position: float = 0.0) -> np.ndarray:
        feeds = {"window": windows}
        if len(self.session.get_inputs()) == 2:
            feeds["position"] = np.full((len(windows), 1), position, np.float32)
        return self.session.run(["probabilities"], feeds)[0]


def skill_of(probabilities: np.ndarray, samples: Samples) -> float:
    q, y = direction(probabilities, samples.y)
    return float(direction_skill(q, y, float((samples.y[samples.y != FLAT] == LONG).mean())))


@pytest.fixture(scope="module")
def second_process() -> dict[str, str]:
    code = "import json; from tests.model_zoo.samples import digests; print(json.dumps(digests()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_four_families_and_the_extension_are_found():
    assert FAMILIES == ("catboost", "lightgbm", "linear", "xgboost", "position_policy")


@each_family
@pytest.mark.parametrize("rows", [planted(600, seed=3), extremes()], ids=["ordinary", "extreme"])
def test_the_graph_equals_predict(name, rows):
    family, model = get(name, EXTENSIONS), fitted(name)
    answer = parity(family, model, Graph(exported(name, model)), rows)
    assert answer.rows == len(rows)
    assert answer.ok, answer


@each_family
def test_the_graph_has_the_inputs_and_the_output_of_the_contract(name):
    family = get(name, EXTENSIONS)
    session = Graph(exported(name, fitted(name))).session
    wanted = [("window", ["batch", WINDOW_BARS, N_FEATURES], "tensor(float)")]
    wanted += [("position", ["batch", 1], "tensor(float)")] if family.uses_position else []
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == wanted
    assert [(o.name, o.shape, o.type) for o in session.get_outputs()] == [("probabilities", ["batch", 3], "tensor(float)")]


@each_family
def test_a_batch_of_seven_answers_as_seven_batches_of_one(name):
    graph, windows = Graph(exported(name, fitted(name))), planted(60).windows()[:7]
    together = graph(windows)
    assert together.shape == (7, 3)
    assert together.dtype == np.float32
    one_by_one = np.concatenate([graph(windows[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-6)


@each_family
def test_probabilities_are_a_distribution_on_any_row(name):
    graph = Graph(exported(name, fitted(name)))
    for rows in (planted(400, seed=9), extremes()):
        out = graph(rows.windows())
        assert (out >= 0).all()
        np.testing.assert_allclose(out.sum(axis=1), 1.0, atol=1e-5)


@each_family
def test_only_the_last_row_of_the_window_matters_to_families_that_say_so(name):
    graph, windows = Graph(exported(name, fitted(name))), planted(60).windows()
    changed = windows.copy()
    changed[:, :-1] = 77.0
    np.testing.assert_array_equal(graph(changed), graph(windows))


@each_family
def test_the_same_seed_gives_the_same_bytes_in_a_second_process(name, second_process):
    assert second_process[name] == hashlib.sha256(exported(name, fitted(name))).hexdigest()


@each_family
def test_no_path_of_this_machine_and_no_exporter_is_inside_the_file(name):
    content = exported(name, fitted(name))
    for secret in (str(ROOT), str(Path.home()), sys.prefix, "python", "onnx.helper", "/tmp"):
        assert secret.encode() not in content


@each_family
def test_fit_predict_and_export_leave_their_inputs_as_they_were(name, tmp_path):
    family, source = get(name, EXTENSIONS), planted(1500)
    columns = {}
    for column in ("features", "label", "r_long", "r_short", "weights", "next_bar_return"):
        np.save(tmp_path / f"{column}.npy", getattr(source, column))
        columns[column] = np.load(tmp_path / f"{column}.npy", mmap_mode="r")
    samples = Samples(rows=source.rows, segment_starts=source.segment_starts, window_bars=WINDOW_BARS, **columns)
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("*.npy")}
    params = few_rounds(name, 5)
    train, valid = split(samples)
    model = family.fit(train, valid, params, seed=1, context=Context())
    out = family.predict(model, valid)
    family.export_onnx(model, tmp_path / "model.onnx", WINDOW_BARS, N_FEATURES)
    assert out.shape == (len(valid), 3)
    assert out.dtype == np.float32
    assert params == few_rounds(name, 5)
    assert before == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("*.npy")}
    for column, array in columns.items():
        np.testing.assert_array_equal(array, getattr(source, column))
    np.testing.assert_array_equal(train.rows, split(source)[0].rows)


@each_family
@pytest.mark.parametrize("kept", [(0, 2), (1, 2), (0, 1), (1,)], ids=str)
def test_a_class_missing_in_a_fold_survives(name, kept):
    family, whole = get(name, EXTENSIONS), planted(1200)
    train = whole.take(whole.rows[np.isin(whole.y, kept)])
    model = family.fit(train, None, few_rounds(name, 10), seed=1, context=Context())
    assert family.predict(model, whole).shape == (len(whole), 3)
    assert parity(family, model, Graph(exported(name, model)), whole).ok
    if name != "position_policy":  # its two sides are one number by construction
        assert family.predict(model, whole)[:, [c for c in (0, 1, 2) if c not in kept]].max() < 0.02


@each_family
def test_a_class_missing_in_the_validation_rows_survives(name):
    family, (train, valid) = get(name, EXTENSIONS), split(planted(1200))
    model = family.fit(train, valid.take(valid.rows[valid.y == 2]), few_rounds(name, 10), seed=1, context=Context())
    assert np.isfinite(family.predict(model, valid)).all()


@each_family
def test_a_planted_edge_is_learned(name):
    fresh = planted(3000, seed=99)
    assert skill_of(get(name, EXTENSIONS).predict(fitted(name), fresh), fresh) > 0.08


@each_family
def test_nothing_is_found_in_noise(name):
    family, (train, valid), fresh = get(name, EXTENSIONS), split(planted(2500, edge=0.0)), planted(4000, seed=99, edge=0.0)
    model = family.fit(train, valid, few_rounds(name, 100), seed=1, context=Context())
    assert skill_of(family.predict(model, fresh), fresh) < 0.003


@each_family
def test_rounds_are_honoured_without_validation_rows(name):
    family = get(name, EXTENSIONS)
    if "rounds" not in family.defaults:
        assert family.rounds(fitted(name)) is None
        return
    assert family.rounds(fitted(name)) == ROUNDS


@each_family
def test_with_validation_rows_the_fit_keeps_the_rounds_that_score_best_and_the_refit_repeats_them(name):
    family, (train, valid) = get(name, EXTENSIONS), split(planted(1500))
    if "rounds" not in family.defaults:
        assert family.rounds(fitted(name)) is None
        return

    def fit(rounds: int, watched: Samples | None) -> Any:
        return family.fit(train, watched, {"rounds": rounds, "learning_rate": 0.15}, seed=1, context=Context())

    def loss(model: Any) -> float:
        return float(np.average(-np.log(family.predict(model, valid)[np.arange(len(valid)), valid.y]), weights=valid.w))

    kept = fit(300, valid)
    rounds = family.rounds(kept)
    assert rounds is not None
    assert 10 < rounds < 250
    again = fit(rounds, None)
    assert family.rounds(again) == rounds
    np.testing.assert_array_equal(family.predict(again, valid), family.predict(kept, valid))
    assert loss(kept) <= min(loss(fit(other, None)) for other in (20, 40, 60, 80, 100))
    assert family.rounds(fit(rounds + 20, valid)) == rounds  # the limit comes before patience runs out


@each_family
def test_the_fit_reports_its_validation_skill_and_a_report_may_stop_it(name):
    family, (train, valid) = get(name, EXTENSIONS), split(planted(1500))
    told: list[tuple[int, float]] = []
    model = family.fit(train, valid, few_rounds(name), seed=1, context=Context(report=lambda *said: told.append(said)))
    assert told
    assert [step for step, _ in told] == sorted(step for step, _ in told)
    if name != "position_policy":
        base = float((train.w * (train.y == LONG))[train.y != FLAT].sum() / train.w[train.y != FLAT].sum())
        q, y = direction(family.predict(model, valid), valid.y)
        assert told[-1][1] == pytest.approx(float(direction_skill(q, y, base, valid.w[valid.y != FLAT])), abs=1e-6)

    def prune(step: int, skill: float) -> None:
        raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        family.fit(train, valid, few_rounds(name), seed=1, context=Context(report=prune))


@each_family
def test_a_deadline_ends_the_fit_with_what_it_has(name):
    family, (train, valid) = get(name, EXTENSIONS), split(planted(1500))
    for watched in (None, valid):
        model = family.fit(train, watched, few_rounds(name), seed=1, context=Context(deadline_s=time.monotonic() - 1))
        assert np.isfinite(family.predict(model, valid)).all()
        assert family.rounds(model) in (None, 1)


@each_family
def test_infinities_in_training_rows_do_not_stop_the_fit(name):
    family, samples = get(name, EXTENSIONS), planted(1200)
    samples.features[5:9, 0] = np.inf, -np.inf, np.finfo(np.float32).max, -np.finfo(np.float32).max
    samples.features[:, 5] = np.nan
    model = family.fit(samples, None, few_rounds(name, 10), seed=1, context=Context())
    assert np.isfinite(family.predict(model, samples)).all()
    assert parity(family, model, Graph(exported(name, model)), samples).ok


@each_family
def test_every_drawn_parameter_is_one_the_fit_knows(name):
    family = get(name, EXTENSIONS)
    for seed in range(3):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        drawn = family.search_space(trial)
        assert family.complete(drawn).keys() == family.defaults.keys()
        assert drawn.keys() == family.defaults.keys()


@each_family
def test_importance_sums_to_one_and_names_the_planted_features(name):
    family = get(name, EXTENSIONS)
    importance = family.importance(fitted(name))
    if importance is None:
        assert name == "position_policy"
        return
    assert importance.shape == (N_FEATURES,)
    assert importance.sum() == pytest.approx(1.0, abs=1e-5)
    assert set(np.argsort(importance)[-2:]) == {0, 1}


def test_a_position_leans_the_policy_towards_what_it_holds():
    graph, windows = Graph(exported("position_policy", fitted("position_policy"))), planted(60).windows()
    short, free, long = (graph(windows, position) for position in (-1.0, 0.0, 1.0))
    assert (long[:, 2] > free[:, 2]).all()
    assert (short[:, 0] > free[:, 0]).all()
