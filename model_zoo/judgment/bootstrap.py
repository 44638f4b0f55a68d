"""How sure a number is: the stationary bootstrap over moments in time.

Politis & Romano 1994; block length from the data, Politis & White 2004 with the 2009 correction, both from
`arch`. Rows of several symbols at one moment are one draw: they share the market's news. `least_block`, in
moments, is the length of a label where labels overlap: the rule finds it only on long spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_zoo._errors import Final

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Seed = int | Sequence[int]

RESAMPLES = 2000
_FEW_DRAWS = 10  # a quantile with fewer draws beyond it is mostly luck


@dataclass(frozen=True)
class Interval:
    """A number and the range that holds the true one with that confidence, equal tails. NaN where undefined."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A statistic and what it was on each resample. moments: distinct times drawn from, in blocks of that mean length."""

    estimate: float
    draws: F64
    moments: int
    block_length: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """Two-sided interval of that confidence."""
        tail = (1.0 - confidence) / 2.0
        return Interval(self.estimate, self._bound(tail, -1.0), self._bound(tail, 1.0), confidence)

    def lower_bound(self, confidence: float = 0.95) -> float:
        """What the true number exceeds with that confidence; NaN when the statistic is undefined."""
        return self._bound(1.0 - confidence, -1.0)

    def _bound(self, tail: float, side: float) -> float:
        """Expanded percentile bound (Hesterberg 2015, section 4.4): plain percentiles are too narrow by about
        sqrt(n / (n - 1)) t / z, where n counts independent blocks, not rows."""
        from scipy import stats

        if not 0.0 < tail < 0.5:
            raise Final(f"bootstrap: {tail:.4g} of chance in a tail; the confidence must lie so that it is between 0 and 0.5")
        draws = self.draws[np.isfinite(self.draws)]
        blocks = self.moments / self.block_length
        if not np.isfinite(self.estimate) or 2 * len(draws) < len(self.draws) or blocks < 2:
            return float("nan")
        reach = float(stats.t.isf(tail, blocks - 1.0)) * float(np.sqrt(blocks / (blocks - 1.0)))
        expanded = float(stats.norm.sf(reach))
        bound = float(np.quantile(draws, expanded if side < 0 else 1.0 - expanded))
        if expanded * len(draws) < _FEW_DRAWS:
            normal = self.estimate + side * reach * float(draws.std())
            return min(bound, normal) if side < 0 else max(bound, normal)
        return bound


def mean(values: npt.ArrayLike, times_s: I64, *, seed: Seed, resamples: int = RESAMPLES, least_block: float = 1.0) -> Bootstrap:
    """Mean over rows. values, times_s: (n,), in any order."""
    values = np.asarray(values, dtype=np.float64)
    return ratio_of_means(values, np.ones_like(values), times_s, seed=seed, resamples=resamples, least_block=least_block)


def ratio_of_means(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    times_s: I64,
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
    least_block: float = 1.0,
) -> Bootstrap:
    """Sum over rows of `numerator` by that of `denominator`: a skill with base loss - loss over base loss."""
    times, group = _moments(times_s)
    top, bottom = (_by_moment(v, group, len(times)) for v in (numerator, denominator))
    estimate = _ratio(top.sum(), bottom.sum())
    # What each moment adds to the ratio, to first order: its dependence is the ratio's.
    length = block_length(top - estimate * bottom, least_block)
    draws = np.array([_ratio(top[i].sum(), bottom[i].sum()) for i in _resamples(len(times), length, resamples, seed)])
    return Bootstrap(estimate, draws, len(times), length)


def auc(q: F64, y: F64, times_s: I64, *, seed: Seed, resamples: int = RESAMPLES, least_block: float = 1.0) -> Bootstrap:
    """Area under the curve of q for y in {0, 1}, ties counted half. Sorts once: a resample is a weight per row."""
    times, group = _moments(times_s)
    order = np.argsort(q, kind="stable")
    positive, group, score = y[order] == 1.0, group[order], q[order]
    level_starts = np.flatnonzero(np.append(True, np.diff(score) > 0)) if len(score) else np.array([], dtype=np.int64)

    def area(weight: F64) -> float:
        longs = np.add.reduceat(weight * positive, level_starts)
        shorts = np.add.reduceat(weight * ~positive, level_starts)
        below = np.cumsum(shorts) - 0.5 * shorts
        return _ratio(float(longs @ below), float(longs.sum() * shorts.sum()))

    if not len(score):
        return Bootstrap(float("nan"), np.full(resamples, np.nan), 0, 1.0)
    estimate = area(np.ones(len(score)))
    length = block_length(_by_moment(_auc_influence(score, positive, estimate), group, len(times)), least_block)
    draws = np.array(
        [
            area(np.bincount(i, minlength=len(times))[group].astype(np.float64))
            for i in _resamples(len(times), length, resamples, seed)
        ]
    )
    return Bootstrap(estimate, draws, len(times), length)


def statistic(
    function: Callable[[I64], float],
    times_s: I64,
    influence: npt.ArrayLike,
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
    least_block: float = 1.0,
) -> Bootstrap:
    """Any statistic of rows. function: row numbers, in time order and with repeats, to a number.

    influence: (n,) what each row adds to the statistic, or any series as dependent; it sets the block length.
    """
    times, group = _moments(times_s)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=len(times))
    starts = np.cumsum(sizes) - sizes
    length = block_length(_by_moment(influence, group, len(times)), least_block)

    def rows(index: I64) -> I64:
        size = sizes[index]
        offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        chosen: I64 = order[np.repeat(starts[index], size) + offset]
        return chosen

    draws = np.array([function(rows(i)) for i in _resamples(len(times), length, resamples, seed)])
    return Bootstrap(function(order), draws, len(times), length)


def block_length(series: F64, least: float = 1.0) -> float:
    """Mean block length, at least `least`, for the mean of a dependent series in time order."""
    from arch.bootstrap import optimal_block_length

    # The rule divides by the variance; below a handful of values, or without any, there is nothing to measure.
    if len(series) < 8 or not np.isfinite(series).all() or np.ptp(series) <= 1e-12 * np.abs(series).max():
        return least
    with np.errstate(divide="ignore", invalid="ignore"):  # a lag whose overlap does not vary, as of an account that rested
        found = float(optimal_block_length(series / series.std())["stationary"].iloc[0])
    return max(least, found) if np.isfinite(found) else least


def _moments(times_s: I64) -> tuple[I64, I64]:
    """Distinct times ascending, and the place of each row's time among them."""
    times, group = np.unique(np.asarray(times_s, dtype=np.int64), return_inverse=True)
    return times, group


def _by_moment(values: npt.ArrayLike, group: I64, n: int) -> F64:
    """(n,) sum of the rows of each moment."""
    return np.asarray(np.bincount(group, np.asarray(values, dtype=np.float64), n), dtype=np.float64)


def _resamples(n: int, length: float, resamples: int, seed: Seed) -> Iterator[I64]:
    """`resamples` times n moments, in blocks of mean `length` that wrap around."""
    from arch.bootstrap import StationaryBootstrap

    if n == 0:
        return
    # Annotated as an int there, but used as the mean of a geometric length.
    blocks = StationaryBootstrap(length, np.arange(n), seed=np.random.default_rng(seed))  # type: ignore[arg-type]
    for (index,), _ in blocks.bootstrap(resamples):
        yield index


def _auc_influence(score: F64, positive: npt.NDArray[np.bool_], area: float) -> F64:
    """What each row, sorted by score, adds to the area, up to a factor."""
    if not np.isfinite(area):
        return np.zeros(len(score))
    longs, shorts = score[positive], score[~positive]
    below = (np.searchsorted(shorts, score, "left") + np.searchsorted(shorts, score, "right")) / (2.0 * len(shorts))
    above = 1.0 - (np.searchsorted(longs, score, "left") + np.searchsorted(longs, score, "right")) / (2.0 * len(longs))
    return np.where(positive, (below - area) / len(longs), (above - area) / len(shorts))


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom != 0 else float("nan")
