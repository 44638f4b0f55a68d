"""The plan of a retrain: which rows fit, which stop, which validate, which are held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_store.bars import seconds
from feature_store.folds import Fold, holdout, tail, walk_forward
from feature_store.snapshot import Snapshot
from model_zoo._family import Samples
from tasks._errors import Final
from tasks.settings import PipelineSettings

IntArray = npt.NDArray[np.int64]

MINIMUM_ROWS = 300
"""Least rows of a fold, a stop set or a holdout; below it no number means anything."""


@dataclass(frozen=True)
class TrainingFold:
    """Row numbers of one fold. `stop` is the purged tail of the training rows that decides the rounds."""

    fit: IntArray
    stop: IntArray
    valid: IntArray

    @property
    def train(self) -> IntArray:
        return np.concatenate([self.fit, self.stop])


@dataclass(frozen=True)
class Plan:
    """All rows of one retrain. `before` are the rows that end before the holdout, purged from it."""

    folds: list[TrainingFold]
    before: IntArray
    holdout: IntArray
    everything: IntArray
    holdout_span: tuple[int, int]
    embargo_s: int


def samples_of(snapshot: Snapshot, window_bars: int) -> Samples:
    """The snapshot as a family sees it, through all usable rows."""
    return Samples(
        features=snapshot.features,
        rows=snapshot.usable_rows(window_bars),
        segment_starts=snapshot.segment_starts,
        window_bars=window_bars,
        label=snapshot.label,
        r_long=snapshot.r_long,
        r_short=snapshot.r_short,
        weights=snapshot.weights,
        next_bar_return=snapshot.next_bar_return,
    )


def make_plan(snapshot: Snapshot, pipeline: PipelineSettings) -> Plan:
    """Folds and holdout of a snapshot. Raises `Final` when the history is too short for them."""
    rows = snapshot.usable_rows(pipeline.window_bars)
    if len(rows) < 4 * MINIMUM_ROWS:
        raise Final(
            f"{len(rows)} labelled rows are too few to train and judge on; at least {4 * MINIMUM_ROWS} are needed: "
            "ingest more history, or use a shorter timeframe or horizon"
        )
    times, ends = snapshot.times, snapshot.label_end
    embargo_s = pipeline.folds.embargo_bars * seconds(pipeline.timeframe)
    moments = np.unique(times[rows])
    holdout_start = int(moments[round((1.0 - pipeline.folds.holdout_share) * (len(moments) - 1))])
    last = holdout(times, ends, holdout_start_s=holdout_start, embargo_s=embargo_s, rows=rows)
    folds = walk_forward(
        times,
        ends,
        n_folds=pipeline.folds.count,
        holdout_start_s=holdout_start,
        embargo_s=embargo_s,
        rows=rows,
        min_train_rows=MINIMUM_ROWS,
    )
    cut = [_with_stop(fold, times, ends, pipeline.folds.early_stop_share, embargo_s) for fold in folds]
    for name, part in [("holdout", last.valid), *((f"fold {i + 1}", fold.valid) for i, fold in enumerate(cut))]:
        if len(part) < MINIMUM_ROWS // 3:
            raise Final(f"{name} has {len(part)} rows, too few to judge on; ingest more history or ask for fewer folds")
    return Plan(folds=cut, before=last.train, holdout=last.valid, everything=rows, holdout_span=last.span, embargo_s=embargo_s)


def _with_stop(fold: Fold, times: IntArray, ends: IntArray, share: float, embargo_s: int) -> TrainingFold:
    inner = tail(fold.train, times, ends, share=share, embargo_s=embargo_s)
    return TrainingFold(fit=inner.train, stop=inner.valid, valid=fold.valid)
