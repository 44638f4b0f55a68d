"""Features computed on a ground, and how one of them breaks a contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from feature_store._arrays import F32, F64, I64
from feature_store.bars import bar_close, epoch_s
from feature_store.clock import from_epoch
from feature_store.feature_ground import Ground


@dataclass(frozen=True)
class Violation:
    """One feature that breaks one contract, at its worst row.

    row: of the frame that the set computes, None where the contract is about all rows. size: in standard deviations
    of the feature, infinite where a value is known on one side only; a share for `known`.
    """

    feature: str
    contract: str
    ground: str
    row: int | None
    time_s: int | None
    size: float
    why: str
    hint: str = ""

    def line(self) -> str:
        """The violation in one line: feature, contract, row and size."""
        where = (
            "" if self.row is None or self.time_s is None else f" at row {self.row} ({from_epoch(self.time_s):%Y-%m-%d %H:%M})"
        )
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.feature}: {self.contract}: {self.why}{where}, on {self.ground} bars{hint}"


class Trial:
    """Features on a ground, computed once for all contracts. Raises `Final` for those the ground has no context for."""

    def __init__(self, names: Sequence[str], ground: Ground, extensions: Path | None = None) -> None:
        self.ground, self.names, self._extensions = ground, tuple(names), extensions
        self.features = ground.features(self.names, extensions=extensions)

    def on(self, ground: Ground) -> Trial:
        """The same features on other ground."""
        return Trial(self.names, ground, self._extensions)

    @cached_property
    def frame(self) -> pl.DataFrame:
        return self.features.compute(self.ground.base, self.ground.symbol)

    @cached_property
    def values(self) -> F32:
        """(rows, F): what the set computes over all bars."""
        return self.values_of(self.frame)

    def values_of(self, frame: pl.DataFrame) -> F32:
        """(rows, F) of a frame that the set computed."""
        return frame.select(self.names).to_numpy()

    @cached_property
    def opens_s(self) -> I64:
        return epoch_s(self.frame["time"])

    @cached_property
    def known_s(self) -> I64:
        return bar_close(self.opens_s, self.ground.timeframe)

    @cached_property
    def judged(self) -> F64:
        """(rows, F) float64: the values after warm-up."""
        return self.values[self.features.warmup_bars :].astype(np.float64)

    @cached_property
    def deviation(self) -> F64:
        """(F,) standard deviation of each feature, 1 where it has none."""
        found = np.array([float(np.nanstd(c)) if np.isfinite(c).any() else 0.0 for c in self.judged.T])
        return np.where(found > 0, found, 1.0)

    @property
    def rows(self) -> int:
        """Rows after warm-up."""
        return max(len(self.values) - self.features.warmup_bars, 0)

    def violation(self, contract: str, column: int, row: int | None, size: float, why: str, hint: str = "") -> Violation:
        time_s = None if row is None else int(self.opens_s[row])
        return Violation(self.names[column], contract, self.ground.name, row, time_s, size, why, hint)


def sizes_of(found: F32, meant: F32, scale: F64 | F32) -> F64:
    """(rows, F) differences in units of `scale`; infinite where one of the two is unknown alone."""
    sizes = np.abs(found.astype(np.float64) - meant.astype(np.float64)) / scale
    unknown = np.isnan(found), np.isnan(meant)
    return np.where(unknown[0] & unknown[1], 0.0, np.where(unknown[0] ^ unknown[1], np.inf, sizes))


def said(size: float) -> str:
    """The size in words."""
    return f"by {size:.3g} standard deviations" if np.isfinite(size) else "between known and unknown"
