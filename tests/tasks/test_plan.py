"""The plan: no training label meets a judged one, on the rows of a real snapshot; short histories are refused in a line."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from feature_store._errors import FeatureStoreError
from feature_store.snapshot import open_snapshot
from tasks._errors import Final
from tasks.plan import MINIMUM_ROWS, make_plan, samples_of
from tests.tasks.conftest import PIPELINE
from tests.tasks.parts import pipeline, snapshot_of, wandering


@pytest.fixture(scope="module")
def opened(snapshot):
    return open_snapshot(snapshot)


@pytest.fixture(scope="module")
def plan(opened):
    return make_plan(opened, PIPELINE)


def leaks(opened, train, judged, embargo_s):
    """Pairs of (train, judged) rows whose closed intervals meet, the judged one lengthened by the embargo: pair by pair."""
    start, end = opened.times[train][:, None], opened.label_end[train][:, None]
    first, last = opened.times[judged][None, :], opened.label_end[judged][None, :] + embargo_s
    return int(((start <= last) & (first <= end)).sum())


def test_no_label_that_trains_meets_one_that_stops_or_validates_or_is_held_out(opened, plan):
    embargo_s = 12 * 3600
    assert len(plan.folds) == 2 and set(opened.symbol[plan.holdout]) == {0, 1}
    for fold in plan.folds:
        assert leaks(opened, fold.train, fold.valid, embargo_s) == 0
        assert leaks(opened, fold.fit, fold.stop, embargo_s) == 0
        assert leaks(opened, np.concatenate([fold.train, fold.valid]), plan.holdout, 0) == 0
    assert leaks(opened, plan.before, plan.holdout, embargo_s) == 0


def test_the_leak_check_finds_the_leaks_of_the_same_rows_when_nothing_is_purged(opened, plan):
    usable = opened.usable_rows(PIPELINE.window_bars)
    for judged in (plan.folds[0].valid, plan.holdout):
        earlier = usable[opened.times[usable] < opened.times[judged].min()]
        assert leaks(opened, earlier, judged, 0) > 0


def test_the_parts_of_a_plan_are_disjoint_and_in_time_order(opened, plan):
    judged = [fold.valid for fold in plan.folds] + [plan.holdout]
    for earlier, later in pairwise(judged):
        assert opened.times[earlier].max() < opened.times[later].min()
    for fold in plan.folds:
        assert opened.times[fold.fit].max() < opened.times[fold.stop].min() <= opened.times[fold.valid].min()
        assert np.array_equal(fold.train, np.concatenate([fold.fit, fold.stop]))
        assert len(np.unique(np.concatenate([fold.fit, fold.stop, fold.valid]))) == sum(map(len, (fold.train, fold.valid)))
    assert not set(plan.before) & set(plan.holdout)
    assert set(plan.before) | set(plan.holdout) <= set(plan.everything)


def test_everything_is_every_labelled_row_past_warm_up_and_the_holdout_its_last_share(opened, plan):
    assert np.array_equal(plan.everything, opened.usable_rows(PIPELINE.window_bars))
    assert len(plan.holdout) / len(plan.everything) == pytest.approx(0.3, abs=0.02)
    assert plan.holdout_span == (opened.times[plan.holdout].min(), opened.label_end[plan.holdout].max())


def test_the_least_rows_are_enough_and_one_less_is_refused_with_what_to_do(tmp_path):
    settings = pipeline(window_bars=1, folds={"count": 2, "embargo_bars": 0})
    # No warm-up here; the last three bars have no label.
    enough = 4 * MINIMUM_ROWS
    assert len(make_plan(snapshot_of(tmp_path / "a", wandering(enough + 3)), settings).everything) == enough
    with pytest.raises(Final, match=r"1199 labelled rows are too few .* at least 1200 are needed: ingest more") as error:
        make_plan(snapshot_of(tmp_path / "b", wandering(enough + 2)), settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ({"count": 20}, "fold 1 has .* rows, too few to judge on; ingest more history or ask for fewer folds"),
        ({"count": 2, "holdout_share": 0.03}, "holdout has .* rows, too few to judge on"),
        ({"count": 2, "holdout_share": 0.55}, "training rows are left after purging, 300 are needed; give more data"),
    ],
)
def test_a_plan_that_a_history_cannot_carry_is_one_line_that_says_what_to_change(tmp_path, folds, words):
    # 0.55 of 1,300 rows held out leaves 585, of which two fifths are 234 for the first fold: below the least.
    snap = snapshot_of(tmp_path, wandering(1300))
    with pytest.raises((Final, FeatureStoreError), match=words) as error:
        make_plan(snap, pipeline(window_bars=1, folds={"embargo_bars": 3, **folds}))
    assert "\n" not in str(error.value)


def test_samples_of_a_snapshot_are_its_usable_rows_with_its_own_windows(opened):
    samples = samples_of(opened, PIPELINE.window_bars)
    assert np.array_equal(samples.rows, opened.usable_rows(4)) and samples.window_bars == 4
    row = samples.rows[7]
    assert np.array_equal(samples.take(samples.rows[7:8]).windows()[0], opened.features[row - 3 : row + 1], equal_nan=True)
    assert replace(samples, rows=samples.rows[:3]).y.tolist() == opened.label[samples.rows[:3]].tolist()
