"""Tuning: budgets, what a kill costs, and what is remembered. Samples with a planted edge, small linear fits."""

import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from feature_store.seeds import seed_of
from model_zoo._family import Context, get
from tasks._errors import Final
from tasks.home import read_json, write_json
from tasks.tune import Tuned, fold_score, tune
from tests.model_zoo.samples import planted
from tests.tasks.parts import Watched, hand_folds

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 8  # past the five random ones, so that the sampler learns from what it finds again


@cache
def samples():
    return planted(rows=1200, edge=0.6)


@cache
def folds():
    return hand_folds(samples().rows, count=3)


def tuned(journal, family, **changes):
    """(result without the seconds it took, notes) of tuning `family`."""
    notes = []
    values = {"study_name": "s", "seed": 7, "trials": TRIALS, "minutes": None, "context": Context(), "note": notes.append}
    result = tune(family, samples(), folds(), journal=journal, **{**values, **changes})
    assert result.seconds > 0.0
    return replace(result, seconds=0.0), notes


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return tuned(tmp_path_factory.mktemp("unbroken") / "j", get("linear"))


def test_the_best_finished_trial_wins_and_its_score_is_the_mean_over_the_folds(unbroken):
    result, notes = unbroken
    best = max((n for n in notes if n.state == "complete"), key=lambda n: n.skill)
    assert result.drawn == result.params == best.params
    assert np.mean(result.fold_skill) == best.skill and len(result.fold_skill) == 3
    assert best.skill > 0.05, "the planted edge is found"


def test_as_many_trials_are_finished_as_were_asked_for_and_a_second_call_fits_nothing(tmp_path):
    family = Watched(get("linear"))
    first, notes = tuned(tmp_path / "j", family, trials=3)
    assert (first.trials, len(notes), family.fits) == (3, 3, 9)
    again, repeated = tuned(tmp_path / "j", family, trials=3)
    assert (again, repeated, family.fits) == (first, notes, 9)
    more, _ = tuned(tmp_path / "j", family, trials=4)
    assert (more.trials, family.fits) == (4, 12)


@pytest.mark.parametrize("fail_at", [1, 2, 4, 17, 20])
def test_an_error_in_any_fit_and_a_second_start_end_like_an_unbroken_run_bit_for_bit(tmp_path, unbroken, fail_at):
    with pytest.raises(RuntimeError, match=f"killed in fit {fail_at}"):
        tuned(tmp_path / "j", Watched(get("linear"), fail_at))
    assert tuned(tmp_path / "j", get("linear")) == unbroken


def test_a_run_that_dies_again_and_again_still_ends_the_same(tmp_path, unbroken):
    for fail_at in (2, 5, 1, 7):
        with pytest.raises(RuntimeError, match="killed"):
            tuned(tmp_path / "j", Watched(get("linear"), fail_at))
    assert tuned(tmp_path / "j", get("linear")) == unbroken


class Rounded(Watched):
    """A family whose fits settle on a number of rounds, each fit on another."""

    def rounds(self, model):
        return 1 + int(1e6 * abs(float(model.coefficients[0, 0])))


def test_rounds_of_each_fold_are_those_of_the_best_trial_and_survive_a_kill(tmp_path, unbroken):
    family = Rounded(get("linear"))
    whole, notes = tuned(tmp_path / "whole", family)
    assert len(set(whole.rounds)) == 3 and replace(whole, rounds=()) == unbroken[0]
    fits = [fold_score(family, samples(), f, whole.params, seed=seed_of(7, "linear", "fold", i), context=Context())
            for i, f in enumerate(folds())]  # fmt: skip
    assert [(skill, rounds) for skill, rounds in fits] == list(zip(whole.fold_skill, whole.rounds, strict=True))
    with pytest.raises(RuntimeError, match="killed"):
        tuned(tmp_path / "broken", Rounded(get("linear"), 10))
    assert tuned(tmp_path / "broken", family) == (whole, notes)


def test_another_seed_draws_other_parameters(tmp_path, unbroken):
    _, notes = tuned(tmp_path / "j", get("linear"), trials=1, seed=8)
    assert notes[0].params != unbroken[1][0].params


def test_studies_of_two_retrains_share_a_journal_and_nothing_else(tmp_path, unbroken):
    tuned(tmp_path / "j", get("linear"), study_name="last week", trials=2)
    assert tuned(tmp_path / "j", get("linear")) == unbroken


@pytest.mark.parametrize("fail_at", [None, 1, 2])
def test_the_first_trial_is_the_last_retrains_best_even_when_it_was_killed_in_it(tmp_path, fail_at):
    start = {"strength": 0.003, "l1_ratio": 0.25, "clip_sd": 4.0}
    if fail_at is not None:
        with pytest.raises(RuntimeError, match="killed"):
            tuned(tmp_path / "j", Watched(get("linear"), fail_at), warm_start=start, trials=2)
    _, notes = tuned(tmp_path / "j", get("linear"), warm_start=start, trials=2)
    assert notes[0].params == start and notes[1].params != start


def test_trials_that_fall_behind_on_the_first_folds_are_cut_short_and_counted(tmp_path):
    family = Watched(get("linear"))
    result, notes = tuned(tmp_path / "j", family, trials=20)
    states = [n.state for n in notes]
    assert result.trials == len(notes) == 20
    assert result.pruned == states.count("pruned") > 0 and states[:5] == ["complete"] * 5
    assert family.fits < 3 * 20, "a pruned trial fits fewer folds"
    assert result.drawn in [n.params for n in notes if n.state == "complete"]
    assert tuned(tmp_path / "j", family, trials=20) == (result, notes)


def test_a_time_budget_that_is_over_at_once_still_finishes_one_trial(tmp_path):
    result, notes = tuned(tmp_path / "j", get("linear"), trials=1000, minutes=1e-9)
    assert result.trials == len(notes) == 1
    again, _ = tuned(tmp_path / "j", get("linear"), trials=1000, minutes=1e-9)
    assert again == result


def test_a_fold_without_any_direction_is_refused_in_words(tmp_path):
    label = samples().label.copy()
    label[folds()[1].valid] = 1
    flat = replace(samples(), label=label)
    with pytest.raises(Final, match="linear: fold 2 has no row whose label has a direction; use a longer history"):
        tune(get("linear"), flat, folds(), study_name="s", journal=tmp_path / "j", seed=1, trials=1, minutes=None,
             context=Context())  # fmt: skip


KILLED = """if True:
    import os, sys
    from pathlib import Path
    from tests.tasks import test_tune as t
    from model_zoo._family import get
    family = t.Watched(get("linear"))
    fit = family.fit
    def dying(*args, **kwargs):
        if family.fits == 7:
            os._exit(9)
        return fit(*args, **kwargs)
    family.fit = dying
    t.tuned(Path(sys.argv[1]), family)
"""


@pytest.mark.slow
def test_a_process_killed_inside_a_fit_leaves_a_study_that_goes_on_bit_for_bit(tmp_path, unbroken):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "j")], cwd=ROOT, check=False)
    assert done.returncode == 9
    family = Watched(get("linear"))
    assert tuned(tmp_path / "j", family) == unbroken
    assert family.fits < 3 * TRIALS, "two trials were finished before the kill"


@pytest.mark.slow
def test_a_lock_left_by_a_killed_process_holds_up_the_next_for_less_than_ten_seconds(tmp_path, unbroken):
    tuned(tmp_path / "j", get("linear"), trials=2)
    (tmp_path / "j.lock").touch()
    started = time.monotonic()
    assert tuned(tmp_path / "j", get("linear")) == unbroken
    assert time.monotonic() - started < 10.0


def test_the_result_goes_through_json_unchanged(tmp_path, unbroken):
    write_json(tmp_path / "tuned.json", asdict(unbroken[0]))
    found = read_json(tmp_path / "tuned.json")
    assert Tuned(**{**found, "rounds": tuple(found["rounds"]), "fold_skill": tuple(found["fold_skill"])}) == unbroken[0]
