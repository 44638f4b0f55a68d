"""Watches a fit round by round for the families that have rounds: best round, early stop, deadline, reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model_zoo._family import Context, FloatArray, Samples
from model_zoo.judgment.metrics import base_rate, direction, direction_rows, direction_skill

PATIENCE_ROUNDS = 50
REPORT_EVERY = 25
# Bins a feature is cut into. Features this noisy lose nothing on a coarse grid, and fits are a third faster than with 256.
BINS = 64


@dataclass
class Progress:
    """Asked after each round whether to stop. `best_rounds` is how many rounds to keep."""

    train: Samples
    valid: Samples | None
    context: Context
    best_rounds: int = 0
    best_loss: float = np.inf

    def stop(self, rounds: int, valid_loss: float | None = None, predict: Callable[[], FloatArray] | None = None) -> bool:
        """Whether round number `rounds` (from 1) is the last. Without `valid` every round is kept. `predict` gives the
        probabilities of `valid` so far."""
        if valid_loss is None or predict is None:
            self.best_rounds = rounds
            return self.context.out_of_time()
        if valid_loss < self.best_loss or not self.best_rounds:
            self.best_rounds, self.best_loss = rounds, valid_loss
        if rounds % REPORT_EVERY == 0:
            self.report(rounds, predict)
        return rounds - self.best_rounds >= PATIENCE_ROUNDS or self.context.out_of_time()

    def report(self, rounds: int, predict: Callable[[], FloatArray]) -> None:
        """Tell the context the direction skill on `valid`; without `valid` there is nothing to tell."""
        if self.valid is not None:
            self.context.report(rounds, validation_skill(predict(), self.train, self.valid))


def validation_skill(probabilities: FloatArray, train: Samples, valid: Samples) -> float:
    """Direction skill of `probabilities` on `valid` against the base rate of `train`."""
    q, y = direction(probabilities, valid.y)
    return direction_skill(q, y, base_rate(train.y, train.w), valid.w[direction_rows(valid.y)])


def finite(X: FloatArray) -> FloatArray:
    """X with infinities at float32's ends, where every tree and clip sends them anyway; NaN stays. XGBoost refuses infinities."""
    if not np.isinf(X).any():
        return X
    limit = np.finfo(np.float32).max
    return np.clip(X, -limit, limit)


def shares(amounts: FloatArray) -> FloatArray:
    """(F,) amounts scaled to sum to 1; equal shares where nothing was used."""
    total = float(np.sum(amounts, dtype=np.float64))
    if not total:
        return np.full(len(amounts), 1.0 / len(amounts), dtype=np.float32)
    return np.asarray(np.asarray(amounts, dtype=np.float64) / total, dtype=np.float32)
