"""Thresholds of a decision spec, chosen on validation rows and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feature_store.snapshot import Snapshot
from serving.decision import BARRIER, LOTS, RISK, TARGET, DecisionSpec
from serving.manifest import ThresholdOrigin
from tasks.settings import PipelineSettings

if TYPE_CHECKING:
    from tasks.evaluate import Piece

NEVER = 1.01
"""A threshold no probability reaches: validation showed no level that earns."""

_LEVELS = np.linspace(0.0, 0.95, 20)
_LEAST_ROWS = 60
_MODES = {"barrier": BARRIER, "target": TARGET}
_SIZING = {"risk": RISK, "lots": LOTS}


@dataclass(frozen=True)
class Chosen:
    """A decision spec and the rows that chose its thresholds."""

    spec: DecisionSpec
    rows: int
    origin: ThresholdOrigin


def choose(pieces: Sequence[Piece], snapshot: Snapshot, pipeline: PipelineSettings) -> Chosen:
    """The spec whose thresholds earned most for their risk on the validation rows of `pieces`."""
    rows = np.concatenate([p.rows for p in pieces])
    probabilities = np.concatenate([p.probabilities for p in pieces]).astype(np.float64)
    weights = snapshot.weights[rows].astype(np.float64)
    long = _level(probabilities[:, 2], probabilities[:, 2] > probabilities[:, 0], snapshot.r_long[rows], weights)
    short = _level(probabilities[:, 0], probabilities[:, 0] > probabilities[:, 2], snapshot.r_short[rows], weights)
    decision, label = pipeline.decision, pipeline.label
    spec = DecisionSpec(
        mode=_MODES[decision.mode],
        threshold_long=long,
        threshold_short=short,
        stop_atr=label.stop_atr,
        target_atr=label.target_atr,
        horizon_bars=label.horizon_bars,
        sizing=_SIZING[decision.sizing],
        risk_fraction=decision.risk_fraction,
        fixed_lots=decision.fixed_lots,
    )
    times = snapshot.times[rows]
    return Chosen(spec, len(rows), ThresholdOrigin("validation", len(rows), (int(times.min()), int(times.max()))))


def _level(
    probability: npt.NDArray[np.float64],
    favoured: npt.NDArray[np.bool_],
    result: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float64],
) -> float:
    """The threshold of one side: the level whose rows have the largest t statistic of their mean net result.

    Weights are average uniqueness, so their sum counts independent trades. `NEVER` when no level has a positive mean.
    """
    candidates = probability[favoured]
    if len(candidates) < _LEAST_ROWS:
        return NEVER
    best, threshold = 0.0, NEVER
    for level in np.quantile(candidates, _LEVELS):
        taken = favoured & (probability >= level)
        if taken.sum() < _LEAST_ROWS:
            break
        w, r = weights[taken], result[taken].astype(np.float64)
        mean = float(np.average(r, weights=w))
        spread = float(np.sqrt(np.average((r - mean) ** 2, weights=w)))
        score = mean / max(spread, 1e-12) * float(np.sqrt(w.sum()))
        if score > best:
            best, threshold = score, float(level)
    # One float32 step of slack: the very row that set the level must not fall out by rounding.
    return threshold if threshold == NEVER else float(np.nextafter(np.float32(threshold), np.float32(0.0)))
