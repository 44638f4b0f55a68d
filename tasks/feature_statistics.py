"""What features look like on one series: how they hang together, where they are unknown, how they are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from feature_store.feature_ground import Ground
from feature_store.features import Feature, FeatureSet
from tasks._errors import Final

F64 = npt.NDArray[np.float64]

ALIKE = 0.95
"""Pairs of features whose correlation is larger, with either sign, are named."""
_BINS = 36
_SHOWN = (0.5, 99.5)
_ROWS_CORRELATED = 30_000
_PERIODS = ("1d", "1w", "1mo", "1q", "1y")
_MOST_PERIODS = 60


@dataclass(frozen=True)
class Distribution:
    """One feature's values. counts: of equal bins from `low` to `high`, the 0.5 % at either end left out."""

    low: float
    high: float
    counts: tuple[int, ...]
    median: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class FeatureStatistics:
    """Rows after warm-up. correlation: (F, F), features in the order of `features`, NaN where one of the two does not vary;
    of every n-th row where there are more than 30,000.

    order: features so that those alike stand together. missing: (F,) share of rows. missing_by_period: (periods, F).
    """

    series: str
    timeframe: str
    features: tuple[Feature, ...]
    hash: str
    warmup_bars: int
    rows: int
    first: str
    last: str
    correlation: F64
    order: tuple[int, ...]
    missing: F64
    periods: tuple[str, ...]
    missing_by_period: F64
    distributions: tuple[Distribution | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    def alike(self, above: float = ALIKE) -> list[tuple[str, str, float]]:
        """Pairs whose correlation is larger than `above` with either sign, the most alike first."""
        rows, columns = np.triu_indices(len(self.features), k=1)
        values = np.nan_to_num(self.correlation[rows, columns]).tolist()
        found = [(self.names[a], self.names[b], c) for a, b, c in zip(rows, columns, values, strict=True) if abs(c) > above]
        return sorted(found, key=lambda pair: -abs(pair[2]))


def feature_statistics(features: FeatureSet, ground: Ground) -> FeatureStatistics:
    """The statistics of a set over all rows of the ground. Raises `Final` where there are too few."""
    frame = features.compute(ground.base, ground.symbol).slice(features.warmup_bars)
    if len(frame) < 2 * _BINS:
        raise Final(f"{ground.name}: {len(frame)} rows after a warm-up of {features.warmup_bars}; ingest more bars")
    names = [f.name for f in features.features]
    values = frame.select(names).to_numpy()
    correlation = correlations(values[:: -(-len(values) // _ROWS_CORRELATED)].astype(np.float64))
    periods, by_period = _missing_by_period(frame, names)
    return FeatureStatistics(
        series=ground.name,
        timeframe=ground.timeframe,
        features=features.features,
        hash=features.hash,
        warmup_bars=features.warmup_bars,
        rows=len(frame),
        first=f"{frame['time'][0]:%Y-%m-%d}",
        last=f"{frame['time'][-1]:%Y-%m-%d}",
        correlation=correlation,
        order=clustered(correlation),
        missing=np.isnan(values).mean(axis=0),
        periods=periods,
        missing_by_period=by_period,
        distributions=tuple(_distribution(column.astype(np.float64)) for column in values.T),
    )


def correlations(values: F64) -> F64:
    """(F, F) Pearson correlation of each pair of columns over the rows where both are known."""
    known = np.isfinite(values)
    count = known.astype(np.float64)
    with np.errstate(all="ignore"):
        centre = np.where(known, values, 0.0).sum(axis=0) / count.sum(axis=0)
        scale = np.sqrt((np.where(known, values - centre, 0.0) ** 2).sum(axis=0) / count.sum(axis=0))
        # Columns of one value have no correlation; what rounding leaves of their spread must not make one up.
        flat = ~(scale > 1e-9 * (1.0 + np.abs(centre)))
        z = np.where(known, (values - centre) / np.where(flat, 1.0, scale), 0.0)
        n = count.T @ count
        total = z.T @ count  # of the row's column, over the rows that the other one shares with it
        square = (z * z).T @ count
        covariance = z.T @ z / n - total * total.T / n**2
        variance = square / n - (total / n) ** 2
        found = covariance / np.sqrt(variance * variance.T)
    found[flat, :] = np.nan
    found[:, flat] = np.nan
    np.fill_diagonal(found, np.where(flat, np.nan, 1.0))
    return np.asarray(np.clip(found, -1.0, 1.0), dtype=np.float64)


def clustered(correlation: F64) -> tuple[int, ...]:
    """Order of the columns in which those that are alike, with either sign, stand side by side."""
    if len(correlation) < 3:
        return tuple(range(len(correlation)))
    distance = 1.0 - np.abs(np.nan_to_num(correlation))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return tuple(int(i) for i in leaves_list(tree))


def _missing_by_period(frame: pl.DataFrame, names: Sequence[str]) -> tuple[tuple[str, ...], F64]:
    """Periods of one length, the shortest that gives few enough of them, and the share of unknown rows in each."""
    for period in _PERIODS:
        starts = frame["time"].dt.truncate(period)
        if starts.n_unique() <= _MOST_PERIODS:
            break
    shares = frame.group_by(starts.alias("start"), maintain_order=True).agg(pl.col(n).is_nan().mean() for n in names)
    return tuple(f"{s:%Y-%m-%d}" for s in shares["start"]), shares.select(names).to_numpy().astype(np.float64)


def _distribution(values: F64) -> Distribution | None:
    """None where nothing is known."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, median, high = (float(v) for v in np.percentile(values, [_SHOWN[0], 50.0, _SHOWN[1]]))
    # A feature that hardly ever leaves one value still has a middle to draw it around.
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high))
    return Distribution(low, high, tuple(int(c) for c in counts), median, float(values.mean()), float(values.std()))
