"""Folds: a brute-force checker that shares no code with them, hand-worked splits, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store._errors import Final
from feature_store.folds import combinatorial, holdout, purge, tail, walk_forward


def leaks(train, valid, decision_s, label_end_s, embargo_s):
    """Number of (train, valid) pairs whose closed intervals meet, the valid one lengthened by the embargo.

    Written from the definition, pair by pair; knows neither blocks nor hulls.
    """
    t_start, t_end = decision_s[train][:, None], label_end_s[train][:, None]
    v_start, v_end = decision_s[valid][None, :], label_end_s[valid][None, :] + embargo_s
    return int(((t_start <= v_end) & (v_start <= t_end)).sum())


def random_rows(rng):
    """Pooled rows of 1 to 4 symbols on one clock with gaps, labels of variable length, some without a label."""
    clock = np.cumsum(rng.integers(1, 5, rng.integers(30, 60)))
    parts = []
    for _ in range(rng.integers(1, 5)):
        times = clock[rng.random(len(clock)) < rng.uniform(0.5, 1.0)]
        ends = times + rng.integers(0, rng.integers(2, 25), len(times))
        parts.append((times, np.where(rng.random(len(times)) < 0.1, -1, ends)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def plan(rng, decision, end):
    """Folds of one randomly chosen kind, and the embargo and holdout start they were made with."""
    embargo, start = int(rng.integers(0, 15)), int(np.quantile(decision, rng.uniform(0.6, 0.95)))
    rows = None if rng.random() < 0.5 else rng.permutation(len(decision))[: int(0.9 * len(decision))]
    common = {"embargo_s": embargo, "holdout_start_s": start, "rows": rows}
    kind = rng.integers(3)
    if kind == 0:
        rolling = None if rng.random() < 0.5 else int(rng.integers(30, 100))
        return walk_forward(decision, end, n_folds=int(rng.integers(1, 4)), train_s=rolling, **common), embargo, start
    if kind == 1:
        groups = int(rng.integers(2, 5))
        return combinatorial(decision, end, n_groups=groups, k=int(rng.integers(1, groups)), **common), embargo, start
    return [holdout(decision, end, **common)], embargo, None


def draw_and_check(seed):
    """Folds checked in this draw; 0 when the draw left nothing to train on, which is refused, not returned."""
    rng = np.random.default_rng(seed)
    decision, end = random_rows(rng)
    try:
        folds, embargo, start = plan(rng, decision, end)
    except Final:
        return 0
    for fold in folds:
        assert leaks(fold.train, fold.valid, decision, end, embargo) == 0
        assert len(fold.train) and len(fold.valid)
        assert (end[fold.train] >= 0).all() and (end[fold.valid] >= 0).all()
        assert start is None or end[np.concatenate([fold.train, fold.valid])].max() < start
        assert fold.span == (decision[fold.valid].min(), end[fold.valid].max())
    if len(np.unique(decision[folds[0].train])) < 2:
        return len(folds)
    try:
        inner = tail(folds[0].train, decision, end, share=rng.uniform(0.05, 0.6), embargo_s=embargo)
    except Final:
        return len(folds)
    assert leaks(inner.train, inner.valid, decision, end, embargo) == 0
    assert np.isin(np.concatenate([inner.train, inner.valid]), folds[0].train).all()
    return len(folds) + 1


def test_no_training_label_meets_a_judged_one_or_its_embargo_in_10_000_checked_draws():
    checked, seed = 0, 10_000
    while checked < 10_000:
        checked += draw_and_check(seed) > 0
        seed += 1
    assert seed < 25_000


def test_the_checker_finds_the_leaks_of_a_split_that_does_not_purge():
    found = 0
    for seed in range(200):
        decision, end = random_rows(np.random.default_rng(seed))
        rows = np.flatnonzero(end >= 0)
        late = decision[rows] >= np.median(decision)
        found += leaks(rows[~late], rows[late], decision, end, 0) > 0
    assert found > 150


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_purging_drops_every_row_that_meets_a_block_and_keeps_every_row_that_meets_no_hull(data):
    n = data.draw(st.integers(2, 25))
    decision = np.array(data.draw(st.lists(st.integers(0, 60), min_size=n, max_size=n)))
    end = decision + np.array(data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n)))
    split = data.draw(st.integers(1, n - 1))
    embargo = data.draw(st.integers(0, 10))
    train, block = np.arange(split), np.arange(split, n)
    kept = set(purge(train, [block], decision, end, embargo_s=embargo))
    first, last = min(decision[block]), max(end[block])
    for row in train:
        assert (row in kept) == (end[row] < first or decision[row] > last + embargo)


def hours(n):
    """One symbol, a row an hour; each label ends two hours after its decision."""
    decision = np.arange(n)
    return decision, decision + 2


def test_an_expanding_walk_forward_of_ten_hours_is_as_worked_by_hand():
    # The holdout starts at 10, so rows 0-7 remain. Half train first; rows 4-5 and 6-7 are judged. Row 2 ends at 4: purged.
    decision, end = hours(12)
    a, b = walk_forward(decision, end, n_folds=2, holdout_start_s=10, embargo_s=0, first_train_share=0.5)
    assert (a.train.tolist(), a.valid.tolist(), a.span) == ([0, 1], [4, 5], (4, 7))
    assert (b.train.tolist(), b.valid.tolist(), b.span) == ([0, 1, 2, 3], [6, 7], (6, 9))


def test_a_rolling_walk_forward_forgets_what_is_older_than_its_window():
    decision, end = hours(12)
    _, b = walk_forward(decision, end, n_folds=2, holdout_start_s=10, embargo_s=0, first_train_share=0.5, train_s=4)
    assert b.train.tolist() == [2, 3]


def test_combinatorial_folds_purge_before_and_embargo_after_each_group():
    # Rows 0-11, groups 0-2, 3-5, 6-8, 9-11. Judging 3-5 takes hours 3-7, the embargo hour 8; rows 1, 2 end at 3, 4.
    decision, end = hours(12)
    folds = combinatorial(decision, end, n_groups=4, k=1, holdout_start_s=None, embargo_s=1)
    assert [f.valid.tolist() for f in folds] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert folds[1].train.tolist() == [0, 9, 10, 11]
    assert len(combinatorial(*hours(60), n_groups=5, k=2, holdout_start_s=None, embargo_s=0)) == 10


def test_rows_of_several_symbols_at_one_moment_are_never_on_both_sides():
    decision = np.tile(np.arange(30), 3)
    end = decision + np.repeat([1, 3, 5], 30)
    for fold in walk_forward(decision, end, n_folds=3, holdout_start_s=25, embargo_s=2):
        assert not set(decision[fold.train]) & set(decision[fold.valid])


def test_the_holdout_is_everything_from_its_start_and_training_ends_before_it():
    decision, end = hours(12)
    end[11] = -1
    fold = holdout(decision, end, holdout_start_s=8, embargo_s=0)
    assert (fold.train.tolist(), fold.valid.tolist(), fold.span) == ([0, 1, 2, 3, 4, 5], [8, 9, 10], (8, 12))


def test_the_tail_is_the_last_share_of_moments_and_the_rest_is_purged():
    decision, end = hours(10)
    inner = tail(np.arange(10), decision, end, share=0.3, embargo_s=0)
    assert (inner.train.tolist(), inner.valid.tolist()) == ([0, 1, 2, 3, 4], [7, 8, 9])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d, e: walk_forward(d, e, n_folds=0, holdout_start_s=None, embargo_s=0), "n_folds is 0"),
        (lambda d, e: walk_forward(d, e, n_folds=3, holdout_start_s=2, embargo_s=0), "distinct decision moments"),
        (lambda d, e: walk_forward(d, e, n_folds=2, holdout_start_s=None, embargo_s=0, min_train_rows=99), "99 are needed"),
        (lambda d, e: walk_forward(d, e, n_folds=2, holdout_start_s=None, embargo_s=-1), "embargo_s is -1"),
        (lambda d, e: combinatorial(d, e, n_groups=3, k=3, holdout_start_s=None, embargo_s=0), "k is 3 of 3"),
        (lambda d, e: holdout(d, e, holdout_start_s=99, embargo_s=0), "no labelled row"),
        (lambda d, e: holdout(d, e, holdout_start_s=0, embargo_s=0), "0 training rows"),
        (lambda d, e: tail(np.arange(10), d, e, share=1.0, embargo_s=0), "share"),
        (lambda d, e: holdout(d, e[:-1], holdout_start_s=5, embargo_s=0), "one of each"),
        (lambda d, e: holdout(d, np.where(d == 3, 1, e), holdout_start_s=5, embargo_s=0), "label of row 3 ends at 1"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_in_words(call, words):
    with pytest.raises(Final, match=words):
        call(*hours(12))
