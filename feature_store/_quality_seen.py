"""Whether another feed saw a move too: what only one broker shows is a bad tick, what all show is the market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._quality_prices import Jump, Moves
from feature_store.bars import epoch_s, seconds

_HALF = 0.5


class Range:
    """How far one feed's price ran between two moments, by its bars' highs and lows."""

    def __init__(self, bars: pl.DataFrame, timeframe: str) -> None:
        self._times = epoch_s(bars["time"])
        self._high, self._low = (bars[name].to_numpy() for name in ("high", "low"))
        self._length = seconds(timeframe)

    def between(self, start_s: int, end_s: int) -> float | None:
        """Log range of the bars that overlap [start, end), None when there is none."""
        first = int(np.searchsorted(self._times, start_s - self._length, side="right"))
        last = int(np.searchsorted(self._times, end_s, side="left"))
        if first == last:
            return None
        high: npt.NDArray[np.float64] = self._high[first:last]
        return float(np.log(high.max() / self._low[first:last].min()))


def seen_elsewhere(moves: Moves, timeframe: str, others: Sequence[Range]) -> Moves:
    """The same moves, each marked with whether one of the others ran half as far within its bar."""
    length = seconds(timeframe)

    def marked(move: Jump) -> Jump:
        start = int(move.time.timestamp())
        ran = [r for r in (other.between(start, start + length) for other in others) if r is not None]
        return replace(move, seen=max(ran) >= _HALF * abs(move.return_bp) / 1e4) if ran else move

    return replace(moves, jumps=tuple(map(marked, moves.jumps)), spikes=tuple(map(marked, moves.spikes)))
