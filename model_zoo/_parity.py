"""Whether an exported graph says what the fitted model says. Pure numbers: whoever registers brings the runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_zoo._family import FloatArray, ModelFamily, Samples


@dataclass(frozen=True)
class Parity:
    """max_abs: largest difference of any probability. flips: rows whose likeliest class changed although the model held it by
    more than twice the tolerance. ok: within the tolerance and without flips."""

    rows: int
    max_abs: float
    flips: int
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the graph may be registered. No rows or a NaN on either side is no."""
        return self.rows > 0 and self.max_abs <= self.tolerance and self.flips == 0


def compare(native: FloatArray, exported: FloatArray, tolerance: float) -> Parity:
    """Parity of two (n, 3) answers to the same rows."""
    if not len(native):
        return Parity(0, 0.0, 0, tolerance)
    difference = np.abs(native.astype(np.float64) - exported.astype(np.float64)).max()
    ordered = np.sort(native.astype(np.float64), axis=1)
    certain = ordered[:, -1] - ordered[:, -2] > 2 * tolerance
    flips = int((certain & (native.argmax(axis=1) != exported.argmax(axis=1))).sum())
    return Parity(len(native), float(difference), flips, tolerance)


def parity(family: ModelFamily, model: Any, run: Callable[[FloatArray], FloatArray], samples: Samples) -> Parity:
    """Parity of `family.predict` and `run`, windows (n, T, F) in, probabilities (n, 3) out: the graph at position 0."""
    exported = [run(windows) for windows in samples.batches()]
    return compare(family.predict(model, samples), np.concatenate(exported or [np.empty((0, 3), np.float32)]), family.tolerance)
