"""Folds: which rows train and which are judged, so that no training label meets a judged one.

Rows of all symbols are pooled and split by time alone. The interval of a row is [its decision moment, the end
of its label], both ends included. Lopez de Prado 2018, Advances in Financial Machine Learning, chapters 7, 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from feature_store._arrays import I64
from feature_store._errors import Final


@dataclass(frozen=True)
class Fold:
    """Row numbers of one train/valid step, each ascending. span: UTC s of the first decision among `valid` and of
    the last end of a label there."""

    train: I64
    valid: I64
    span: tuple[int, int]


def walk_forward(
    decision_s: I64,
    label_end_s: I64,
    *,
    n_folds: int,
    holdout_start_s: int | None,
    embargo_s: int,
    rows: I64 | None = None,
    first_train_share: float = 0.4,
    train_s: int | None = None,
    min_train_rows: int = 1,
) -> list[Fold]:
    """`n_folds` folds in time order, each trained on what came before its valid span.

    decision_s, label_end_s: (N,) for all rows of the snapshot, label_end -1 where there is no label. rows: those
    that may be used (None: all with a label). Rows whose label reaches `holdout_start_s` are in no fold.
    first_train_share: share of the distinct moments that only ever train; the rest is cut in equal parts.
    train_s: None trains on everything before (expanding), a number on that many seconds (rolling).
    Raises `Final` when a fold would have no valid row or fewer than `min_train_rows` training rows.
    """
    if n_folds < 1 or not 0 < first_train_share < 1:
        raise Final(
            f"folds: n_folds is {n_folds} and first_train_share {first_train_share}; they must be at least 1 and between 0 and 1"
        )
    rows = _before(decision_s, label_end_s, rows, holdout_start_s)
    moments = np.unique(decision_s[rows])
    _enough(moments, n_folds + 1)
    first = max(1, min(round(first_train_share * len(moments)), len(moments) - n_folds))
    folds = []
    for block in np.array_split(moments[first:], n_folds):
        valid = rows[(decision_s[rows] >= block[0]) & (decision_s[rows] <= block[-1])]
        earlier = rows[decision_s[rows] < block[0]]
        if train_s is not None:
            earlier = earlier[decision_s[earlier] >= block[0] - train_s]
        folds.append(_fold(earlier, [valid], decision_s, label_end_s, embargo_s, min_train_rows))
    return folds


def combinatorial(
    decision_s: I64,
    label_end_s: I64,
    *,
    n_groups: int,
    k: int,
    holdout_start_s: int | None,
    embargo_s: int,
    rows: I64 | None = None,
    min_train_rows: int = 1,
) -> list[Fold]:
    """One fold for each choice of `k` valid groups out of `n_groups` equal parts of time, in order of the choice.

    Arguments and errors as `walk_forward`. Training rows lie on both sides of a valid group; those that decide
    within `embargo_s` after its last label are dropped.
    """
    if not 1 <= k < n_groups:
        raise Final(f"folds: k is {k} of {n_groups} groups; it must be at least 1 and leave one group to train on")
    rows = _before(decision_s, label_end_s, rows, holdout_start_s)
    moments = np.unique(decision_s[rows])
    _enough(moments, n_groups)
    starts = np.array([part[0] for part in np.array_split(moments, n_groups)])
    group = np.searchsorted(starts, decision_s[rows], side="right") - 1
    return [
        _fold(
            rows[~np.isin(group, chosen)],
            [rows[group == g] for g in chosen],
            decision_s,
            label_end_s,
            embargo_s,
            min_train_rows,
        )
        for chosen in combinations(range(n_groups), k)
    ]


def holdout(decision_s: I64, label_end_s: I64, *, holdout_start_s: int, embargo_s: int, rows: I64 | None = None) -> Fold:
    """The last split: `valid` are the rows that decide at `holdout_start_s` or later, `train` those purged before."""
    usable = _usable(decision_s, label_end_s, rows)
    late = decision_s[usable] >= holdout_start_s
    return _fold(usable[~late], [usable[late]], decision_s, label_end_s, embargo_s, 1)


def tail(train: I64, decision_s: I64, label_end_s: I64, *, share: float, embargo_s: int) -> Fold:
    """Training rows split for early stopping: `valid` is the last `share` of their distinct moments, `train` the
    rows before it, purged."""
    if not 0 < share < 1:
        raise Final(f"folds: the share kept for early stopping is {share}; it must lie between 0 and 1")
    moments = np.unique(decision_s[train])
    _enough(moments, 2)
    kept = min(max(1, round(share * len(moments))), len(moments) - 1)
    late = decision_s[train] >= moments[-kept]
    return _fold(train[~late], [train[late]], decision_s, label_end_s, embargo_s, 1)


def purge(train: I64, blocks: Sequence[I64], decision_s: I64, label_end_s: I64, *, embargo_s: int) -> I64:
    """Those of `train` whose interval meets neither the hull of any block's intervals nor the `embargo_s` after it.

    The hull, not each interval: a training label between two judged ones of the same block is next to both.
    """
    if embargo_s < 0:
        raise Final(f"folds: embargo_s is {embargo_s}; it must be at least 0 seconds")
    keep = np.ones(len(train), dtype=bool)
    start, end = decision_s[train], label_end_s[train]
    for block in blocks:
        hull_start, hull_end = decision_s[block].min(), label_end_s[block].max()
        keep &= (end < hull_start) | (start > hull_end + embargo_s)
    return train[keep]


def _fold(train: I64, blocks: list[I64], decision_s: I64, label_end_s: I64, embargo_s: int, min_train_rows: int) -> Fold:
    valid = np.sort(np.concatenate(blocks))
    if not len(valid):
        raise Final("folds: no labelled row lies in the span to be judged; give more data or an earlier start of the holdout")
    train = purge(train, blocks, decision_s, label_end_s, embargo_s=embargo_s)
    if len(train) < max(1, min_train_rows):
        raise Final(
            f"folds: {len(train)} training rows are left after purging, {max(1, min_train_rows)} are needed; "
            "give more data, fewer folds or a shorter embargo"
        )
    return Fold(train, valid, (int(decision_s[valid].min()), int(label_end_s[valid].max())))


def _usable(decision_s: I64, label_end_s: I64, rows: I64 | None) -> I64:
    """Rows with a label, ascending."""
    if decision_s.shape != label_end_s.shape:
        raise Final(
            f"folds: {len(decision_s)} decision moments and {len(label_end_s)} label ends; there must be one of each a row"
        )
    rows = np.arange(len(decision_s)) if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    rows = rows[label_end_s[rows] >= 0]
    backward = label_end_s[rows] < decision_s[rows]
    if backward.any():
        bad = int(rows[np.argmax(backward)])
        raise Final(f"folds: the label of row {bad} ends at {label_end_s[bad]}, before its decision at {decision_s[bad]}")
    return rows


def _before(decision_s: I64, label_end_s: I64, rows: I64 | None, holdout_start_s: int | None) -> I64:
    """Usable rows whose whole interval lies before the holdout."""
    rows = _usable(decision_s, label_end_s, rows)
    return rows if holdout_start_s is None else rows[label_end_s[rows] < holdout_start_s]


def _enough(moments: I64, needed: int) -> None:
    if len(moments) < needed:
        raise Final(f"folds: {len(moments)} distinct decision moments before the holdout; at least {needed} are needed")
