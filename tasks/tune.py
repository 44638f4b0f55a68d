"""Tuning: one Optuna study per family and fold plan, resumed after a kill, judged by direction skill."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from feature_store.seeds import seed_of
from model_zoo._family import Context, ModelFamily, Params, Samples
from model_zoo.judgment import metrics
from tasks import progress
from tasks._errors import Final
from tasks.plan import TrainingFold

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_STARTUP_TRIALS = 5


@dataclass(frozen=True)
class Tuned:
    """What tuning settled on: parameters, rounds of each fold at them, skill of each fold, trials finished."""

    params: Params
    drawn: Params  # as the sampler drew them, to start the next retrain from
    rounds: tuple[int, ...]
    fold_skill: tuple[float, ...]
    trials: int
    pruned: int
    seconds: float  # spent in finished trials, earlier processes included


@dataclass(frozen=True)
class FinishedTrial:
    """One trial as the ledger and the trial table show it."""

    number: int
    params: Params
    skill: float | None
    state: str


def fold_score(
    family: ModelFamily, samples: Samples, fold: TrainingFold, params: Params, *, seed: int, context: Context
) -> tuple[float, int | None]:
    """(direction skill on the fold's validation rows, rounds the fit settled on)."""
    model = family.fit(samples.take(fold.fit), samples.take(fold.stop), params, seed=seed, context=context)
    probabilities = family.predict(model, samples.take(fold.valid))
    q, y = metrics.direction(probabilities, samples.label[fold.valid])
    return metrics.direction_skill(q, y, metrics.base_rate(samples.label[fold.train])), family.rounds(model)


def tune(
    family: ModelFamily,
    samples: Samples,
    folds: list[TrainingFold],
    *,
    study_name: str,
    journal: Path,
    seed: int,
    trials: int,
    minutes: float | None,
    context: Context,
    warm_start: Params | None = None,
    note: Callable[[FinishedTrial], None] | None = None,
) -> Tuned:
    """The best parameters after `trials` finished trials (or `minutes`), all of them on purged folds.

    The journal remembers finished trials: killed and started again with the same arguments, the study goes
    on with the trial it was in and ends with the same result bit for bit (on CPU, without `minutes`).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    # A killed process leaves its lock behind; wait for it no longer than a write takes.
    lock = JournalFileOpenLock(str(journal), grace_period=5)
    study = optuna.create_study(
        study_name=study_name,
        storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=lock)),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=0),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # its process died; the same draw is made again below
    if warm_start is not None and not study.get_trials(deepcopy=False, states=(*_DONE, TrialState.WAITING)):
        study.enqueue_trial(warm_start)
    deadline = None if minutes is None else time.monotonic() + 60.0 * minutes
    if note is not None:
        for number, trial in enumerate(_finished(study)):
            note(_as_finished(number, trial))
    while len(done := _finished(study)) < trials:
        if deadline is not None and done:
            # The first trial always ends: without one there is no result at all.
            context = replace(context, deadline_s=deadline)
            if context.out_of_time():
                break
        progress.tell(f"tune {family.name}", len(done), trials, _best_words(study))
        # Seeded by how many trials are finished, not by number: a failed trial moves no later draw.
        study.sampler = optuna.samplers.TPESampler(
            multivariate=True, n_startup_trials=_STARTUP_TRIALS, seed=seed_of(seed, family.name, "trial", len(done)) % 2**32
        )
        _one_trial(study, family, samples, folds, seed, context)
        if note is not None:
            note(_as_finished(len(done), _finished(study)[-1]))
    progress.tell(f"tune {family.name}", trials, trials, _best_words(study))
    best = study.best_trial
    finished = _finished(study)
    return Tuned(
        params=json.loads(best.user_attrs["params"]),
        drawn=dict(best.params),
        rounds=tuple(best.user_attrs["rounds"]),
        fold_skill=tuple(best.user_attrs["fold_skill"]),
        trials=len(finished),
        pruned=sum(t.state == TrialState.PRUNED for t in finished),
        seconds=sum(t.duration.total_seconds() for t in finished if t.duration is not None),
    )


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return sorted(study.get_trials(deepcopy=False, states=_DONE), key=lambda t: t.number)


def _one_trial(
    study: optuna.Study, family: ModelFamily, samples: Samples, folds: list[TrainingFold], seed: int, context: Context
) -> None:
    trial = study.ask()
    params = family.search_space(trial)
    skills: list[float] = []
    rounds: list[int] = []
    for number, fold in enumerate(folds):
        skill, fold_rounds = fold_score(
            family, samples, fold, params, seed=seed_of(seed, family.name, "fold", number), context=context
        )
        if not np.isfinite(skill):
            study.tell(trial, state=TrialState.FAIL)
            raise Final(
                f"{family.name}: fold {number + 1} has no row whose label has a direction; use a longer history or horizon"
            )
        skills.append(skill)
        if fold_rounds is not None:
            rounds.append(int(fold_rounds))
        trial.report(float(np.mean(skills)), step=number)
        if number + 1 < len(folds) and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    trial.set_user_attr("params", json.dumps(params))
    trial.set_user_attr("rounds", rounds)
    trial.set_user_attr("fold_skill", skills)
    study.tell(trial, float(np.mean(skills)))


def _as_finished(number: int, trial: FrozenTrial) -> FinishedTrial:
    return FinishedTrial(number=number, params=dict(trial.params), skill=trial.value, state=trial.state.name.lower())


def _best_words(study: optuna.Study) -> str:
    values: list[Any] = [t.value for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    return f"best skill {max(values):+.2%}" if values else ""
