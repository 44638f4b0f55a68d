"""Train one family: tune it, fit its recipe on every fold and up to `as_of`, score it from its ONNX files."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.seeds import seed_of
from feature_store.snapshot import Snapshot, open_snapshot
from model_zoo._family import Context, ModelFamily, Params, Samples, get
from model_zoo._parity import compare
from serving.manifest import Manifest, stamp
from serving.model import OnnxModel
from tasks import evaluate, record, thresholds
from tasks._errors import Final
from tasks._step import step
from tasks.home import Home, read_json, write_json
from tasks.ledger import Ledger, Span
from tasks.plan import Plan, make_plan, samples_of
from tasks.results import SCHEMA, FamilyResult
from tasks.settings import PipelineSettings
from tasks.tune import FinishedTrial, Tuned, tune

_BATCH = 4096
_LATENCY_CALLS = 300


@dataclass(frozen=True)
class Job:
    """One retrain: everything its tasks need to find their inputs and put their results."""

    home: Path
    name: str
    pipeline: PipelineSettings
    snapshot: Path
    as_of: str
    threads: int
    device: str = "cpu"

    @property
    def key(self) -> str:
        """Same data, settings and installed versions give the same key, so a killed retrain finds what it had finished."""
        settings = self.pipeline.model_dump(mode="json", exclude={"families": True, "budget": {"workers"}})
        text = json.dumps([SCHEMA, self.name, self.snapshot.name, settings, record.lock_hash()], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return Home(self.home).run(self.name, self.key)


@dataclass(frozen=True)
class Opened:
    """A job's data, opened: memory-mapped, so that every task may do it."""

    snapshot: Snapshot
    samples: Samples
    plan: Plan
    family: ModelFamily
    context: Context


def open_job(job: Job, family: str) -> Opened:
    """Open the snapshot and import the family."""
    snapshot = open_snapshot(job.snapshot)
    return Opened(
        snapshot=snapshot,
        samples=samples_of(snapshot, job.pipeline.window_bars),
        plan=make_plan(snapshot, job.pipeline),
        family=get(family, Home(job.home).extensions),
        context=Context(device=job.device, threads=job.threads),
    )


@step("tune {family}")
def tune_family(job: Job, family: str) -> Tuned:
    """The family's best parameters on the purged folds."""
    done = job.folder / family / "tuned.json"
    if (found := read_json(done)) is not None:
        return Tuned(**{**found, "rounds": tuple(found["rounds"]), "fold_skill": tuple(found["fold_skill"])})
    opened = open_job(job, family)
    home = Home(job.home)
    ledger = Ledger(home.ledger)
    study = f"{job.name}/{family}/{job.key}"
    before = opened.plan.holdout_span[0]
    span = Span(job.pipeline.feed, job.pipeline.symbols, int(opened.snapshot.times[opened.plan.before[0]]), before)
    trials: list[FinishedTrial] = []

    def note(trial: FinishedTrial) -> None:
        trials.append(trial)
        ledger.add_trial(
            study=study,
            number=trial.number,
            pipeline=job.name,
            family=family,
            params=trial.params,
            skill=trial.skill,
            state=trial.state,
            span=span,
        )

    budget = job.pipeline.budget
    tuned = tune(
        opened.family,
        opened.samples,
        opened.plan.folds,
        study_name=study,
        journal=home.study(job.name, family),
        seed=job.pipeline.seed,
        trials=budget.trials,
        minutes=budget.minutes,
        context=opened.context,
        warm_start=record.warm_start(home, job.name, family) or opened.family.defaults or None,
        note=note,
    )
    write_json(job.folder / family / "trials.json", {"schema": SCHEMA, "trials": [asdict(t) for t in trials]})
    write_json(done, asdict(tuned))
    return tuned


@step("fit {family}")
def fit_family(job: Job, family: str, tuned: Tuned) -> FamilyResult:
    """Fit the recipe, export every model of it, score all from the exported files.

    Fold models give the out-of-sample rows; a model fitted before the holdout is judged on it; what may be
    promoted is the same recipe fitted on all rows up to `as_of`.
    """
    done = job.folder / family / "result.json"
    if (found := read_json(done)) is not None:
        return FamilyResult.from_dict(found)
    started = time.monotonic()
    opened = open_job(job, family)
    plan, samples = opened.plan, opened.samples
    folder = job.folder / family
    folder.mkdir(parents=True, exist_ok=True)
    exporter = _Exporter(opened, folder, tuned.params, job.pipeline)
    pieces = []
    for number, fold in enumerate(plan.folds):
        seed = seed_of(job.pipeline.seed, family, "fold", number)
        probabilities, _ = exporter.fit_and_ask(f"fold{number}", fold.fit, fold.stop, fold.valid, seed)
        pieces.append(evaluate.Piece(rows=fold.valid, probabilities=probabilities, train_label=samples.label[fold.train]))
    rounds = int(np.median(tuned.rounds)) if tuned.rounds else None
    exporter.rounds = rounds
    judged, _ = exporter.fit_and_ask("holdout", plan.before, None, plan.holdout, seed_of(job.pipeline.seed, family, "holdout"))
    last = evaluate.Piece(rows=plan.holdout, probabilities=judged, train_label=samples.label[plan.before])
    chosen = thresholds.choose(pieces, opened.snapshot, job.pipeline)
    final, importance = exporter.fit_final(plan.everything, seed_of(job.pipeline.seed, family, "final"))
    train_s = tuned.seconds + time.monotonic() - started
    stamp(final, _manifest(job, opened, family, tuned.params, rounds, chosen))
    oos = evaluate.out_of_sample(pieces, opened.snapshot, job.pipeline, seed=seed_of(job.pipeline.seed, family, "bootstrap"))
    held = evaluate.held_out(
        last, chosen.spec, opened.snapshot, job.pipeline, seed=seed_of(job.pipeline.seed, family, "bootstrap")
    )
    evaluate.save_holdout(folder / "holdout.npz", held, last, opened.snapshot)
    result = FamilyResult(
        family=family,
        params=tuned.params,
        rounds=rounds,
        seed=job.pipeline.seed,
        trials=tuned.trials,
        pruned=tuned.pruned,
        train_s=train_s,
        device=opened.family.device(opened.context),
        latency_us=_latency_us(final, samples, plan.everything[-1:]),
        parity=exporter.worst_difference,
        fold_auc=oos.fold_auc,
        fold_skill=oos.fold_skill,
        decision={k: float(v) for k, v in chosen.spec._asdict().items()},
        threshold_rows=chosen.rows,
        oos=oos.scores,
        holdout=held.scores,
        final_onnx=f"{family}/{final.name}",
        importance=importance,
        reliability=[list(map(float, b)) for b in oos.reliability],
        equity=held.equity,
        mode=str(opened.snapshot.manifest.provenance["mode"]),
        cost_source=str(opened.snapshot.manifest.provenance["cost_source"]),
    )
    write_json(done, result.as_dict())
    return result


class _Exporter:
    """Fits, exports, and asks the exported file; compares it with the fitted model every time."""

    def __init__(self, opened: Opened, folder: Path, params: Params, pipeline: PipelineSettings) -> None:
        self._opened, self._folder, self._params = opened, folder, params
        self._shape = (pipeline.window_bars, opened.samples.n_features)
        self.rounds: int | None = None
        self.worst_difference = 0.0

    def fit_and_ask(
        self, name: str, fit: npt.NDArray[np.int64], stop: npt.NDArray[np.int64] | None, ask: npt.NDArray[np.int64], seed: int
    ) -> tuple[npt.NDArray[np.float32], Any]:
        """(probabilities of the exported model on rows `ask`, the fitted model)."""
        family, samples = self._opened.family, self._opened.samples
        params = self._params if stop is not None or self.rounds is None else {**self._params, "rounds": self.rounds}
        valid = None if stop is None else samples.take(stop)
        model = family.fit(samples.take(fit), valid, params, seed=seed, context=self._opened.context)
        path = self._folder / f"{name}.onnx"
        family.export_onnx(model, path, *self._shape)
        asked = samples.take(ask)
        probabilities = ask_onnx(path, asked)
        self._compare(name, probabilities, family.predict(model, asked))
        return probabilities, model

    def fit_final(self, rows: npt.NDArray[np.int64], seed: int) -> tuple[Path, dict[str, float]]:
        """(file of the model fitted on all rows, share of each feature in it)."""
        _, model = self.fit_and_ask("final", rows, None, rows[-_BATCH:], seed)
        shares = self._opened.family.importance(model)
        names = self._opened.snapshot.manifest.feature_names
        importance = {} if shares is None else {n: float(s) for n, s in zip(names, shares, strict=True)}
        return self._folder / "final.onnx", importance

    def _compare(self, name: str, exported: npt.NDArray[np.float32], fitted: npt.NDArray[np.float32]) -> None:
        family = self._opened.family
        found = compare(fitted, exported, family.tolerance)
        self.worst_difference = max(self.worst_difference, found.max_abs)
        if not found.ok:
            raise Final(
                f"{family.name}: the exported model ({name}) differs from the fitted one by {found.max_abs:.1e} and turns "
                f"{found.flips} of {found.rows} decisions; {family.tolerance:.0e} and none are allowed, so it is not used"
            )


def ask_onnx(path: Path, samples: Samples) -> npt.NDArray[np.float32]:
    """(n, 3) probabilities of a bare graph for all samples, by ONNX Runtime on the CPU."""
    return ask_model(OnnxModel.load(path), samples)


def ask_model(model: OnnxModel, samples: Samples) -> npt.NDArray[np.float32]:
    """(n, 3) probabilities of a loaded model for all samples."""
    return np.concatenate([_ask(model, windows) for windows in samples.batches(_BATCH)])


def _ask(model: OnnxModel, windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities, with no position held for graphs that take one."""
    position = np.zeros((len(windows), 1), dtype=np.float32) if model.uses_position else None
    return model.probabilities(windows, position)


def _latency_us(path: Path, samples: Samples, row: npt.NDArray[np.int64]) -> float:
    """Median time of one row through the file, one thread, in microseconds."""
    model = OnnxModel.load(path)
    window = samples.windows(row)
    times = []
    for _ in range(_LATENCY_CALLS):
        start = time.perf_counter()
        _ask(model, window)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e6)


def _manifest(job: Job, opened: Opened, family: str, params: Params, rounds: int | None, chosen: thresholds.Chosen) -> Manifest:
    about = opened.snapshot.manifest
    times = opened.snapshot.times
    rows = opened.plan.everything
    return Manifest(
        pipeline=job.name,
        family=family,
        feeds=tuple(dict.fromkeys(about.feeds)),
        feature_hash=about.feature_hash,
        features=tuple(about.feature_names),
        context=job.pipeline.context_symbols,
        timeframe=about.timeframe,
        base_timeframe=str(about.provenance["base_timeframe"]),
        window_bars=job.pipeline.window_bars,
        symbols=about.symbols,
        label=asdict(about.label_spec),
        decision=chosen.spec,
        thresholds=chosen.origin,
        training_span=(int(times[rows].min()), int(times[rows].max())),
        snapshot=opened.snapshot.id,
        params=params,
        seed=job.pipeline.seed,
        versions=record.versions(),
        account_currency=job.pipeline.account_currency,
        cost_source=str(about.provenance["cost_source"]),
        mode=str(about.provenance["mode"]),
        rounds=rounds,
        created=job.as_of,
    )
