"""Scores of probabilities and of daily returns.

Skill and AUC mean direction: over rows whose label is not flat, q = p_long / (p_long + p_short) against the
training base rate of the same ratio. Three-class scores are shown beside them and gate nothing: the flat class
alone, which says how volatile it is, makes them look good on markets without an edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_zoo._errors import Final

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

SHORT, FLAT, LONG = 0, 1, 2
TRADING_DAYS = 260
_LEAST = 1e-7  # float32 probabilities reach 0 and 1; a single such row must not cost infinity


def direction_rows(label: npt.ArrayLike) -> Bool:
    """(n,) whether each row says something about direction: its label is not flat."""
    return np.asarray(np.asarray(label) != FLAT, dtype=np.bool_)


def direction(probabilities: npt.ArrayLike, label: npt.ArrayLike) -> tuple[F64, F64]:
    """q and y of the m rows whose label is not flat, in their order: the share of long among long and short
    that the model expects, and 1 for long, 0 for short.

    probabilities: (n, 3) short, flat, long. label: (n,). A row that gives both sides 0 has q 0.5.
    """
    p, label = np.asarray(probabilities, dtype=np.float64), np.asarray(label)
    if p.shape != (len(label), 3):
        raise Final(f"direction: probabilities have shape {p.shape}; {len(label)} labels need ({len(label)}, 3)")
    rows = direction_rows(label)
    p = p[rows]
    good = (np.isfinite(p) & (p >= 0)).all(axis=1)
    if not good.all():
        bad = int(np.argmin(good))
        raise Final(
            f"direction: row {np.flatnonzero(rows)[bad]} has probabilities {p[bad].tolist()}; they must be numbers of at least 0"
        )
    sides = p[:, SHORT] + p[:, LONG]
    q = np.divide(p[:, LONG], sides, out=np.full(len(p), 0.5), where=sides > 0)
    return q, (label[rows] == LONG).astype(np.float64)


def base_rate(label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Share of long among long and short; 0.5 when there is neither. Taken on TRAINING rows."""
    rows = direction_rows(label)
    weight = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(weight[rows].sum())
    return float(weight[np.asarray(label) == LONG].sum()) / total if total > 0 else 0.5


def log_losses(q: npt.ArrayLike, y: F64) -> F64:
    """(m,) log loss of each row in nats. q: (m,), or one number such as the base rate."""
    q = np.clip(np.broadcast_to(np.asarray(q, dtype=np.float64), y.shape), _LEAST, 1 - _LEAST)
    return np.asarray(-(y * np.log(q) + (1 - y) * np.log1p(-q)), dtype=np.float64)


def direction_skill(q: F64, y: F64, base: float, weights: npt.ArrayLike | None = None) -> float:
    """1 - log loss of q / log loss of `base`: 0 knows no more than the base rate, 1 knows all; NaN without rows.

    base: `base_rate` of the training rows, never of these.
    """
    return _skill(log_losses(q, y), log_losses(base, y), weights)


def direction_auc(q: F64, y: F64, weights: npt.ArrayLike | None = None) -> float:
    """Chance that a long row has a higher q than a short one, ties counted half; NaN when one side is missing."""
    from sklearn.metrics import roc_auc_score

    if len(y) == 0 or y.min() == y.max():
        return float("nan")
    return float(roc_auc_score(y, q, sample_weight=weights))


def brier(q: F64, y: F64, weights: npt.ArrayLike | None = None) -> float:
    """Mean squared difference of q and y: 0.25 for a coin. NaN without rows."""
    return _mean((q - y) ** 2, weights)


def calibration_error(q: F64, y: F64, bins: int = 10) -> float:
    """Mean distance of what was said and what came, over `bins` groups of (almost) equally many rows of rising q.

    NaN without rows. Zero needs infinitely many rows: a perfect forecast of m rows shows about 0.4 / sqrt(m / bins).
    """
    if not len(y):
        return float("nan")
    order = np.argsort(q, kind="stable")
    groups = [g for g in np.array_split(order, bins) if len(g)]
    return float(sum(len(g) * abs(q[g].mean() - y[g].mean()) for g in groups) / len(y))


def reliability(q: F64, y: F64, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each group of equally many rows of rising q: mean q, share of long, number of rows."""
    order = np.argsort(q, kind="stable")
    return [(float(q[g].mean()), float(y[g].mean()), len(g)) for g in np.array_split(order, bins) if len(g)]


def class_rates(label: npt.ArrayLike) -> F64:
    """(3,) share of short, flat, long. Taken on TRAINING rows."""
    counts = np.bincount(np.asarray(label, dtype=np.int64), minlength=3).astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0), dtype=np.float64)


def three_class_skill(probabilities: npt.ArrayLike, label: npt.ArrayLike, rates: npt.ArrayLike) -> float:
    """1 - three-class log loss / that of the training `rates`. Shown, never gates."""
    rows = np.arange(len(np.asarray(label)))
    y = np.asarray(label, dtype=np.int64)
    said = np.clip(np.asarray(probabilities, dtype=np.float64)[rows, y], _LEAST, 1.0)
    base = np.clip(np.asarray(rates, dtype=np.float64)[y], _LEAST, 1.0)
    return _skill(-np.log(said), -np.log(base), None)


def macro_auc(probabilities: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Mean over the classes present of the AUC of that class against the others. Shown, never gates."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(label)
    found = [direction_auc(p[:, c], (y == c).astype(np.float64)) for c in (SHORT, FLAT, LONG) if (y == c).any()]
    return float(np.mean(found)) if found else float("nan")


def net_sharpe(daily_net: npt.ArrayLike) -> float:
    """Mean over standard deviation of daily returns after costs, times sqrt(260). 0 when they never vary.

    daily_net: every trading day of the span, days without a trade as 0.
    """
    daily = np.asarray(daily_net, dtype=np.float64)
    deviation = float(daily.std(ddof=1)) if len(daily) > 1 else 0.0
    # A constant series has a deviation of rounding errors, not of risk.
    if deviation <= 1e-12 * max(1e-12, float(np.abs(daily).max(initial=0.0))):
        return 0.0
    return float(daily.mean()) / deviation * float(np.sqrt(TRADING_DAYS))


def max_drawdown(daily_net: npt.ArrayLike) -> float:
    """Largest fall of compounded equity from an earlier peak (the start counts), as a share of that peak, >= 0."""
    equity = np.cumprod(np.concatenate(([1.0], 1.0 + np.asarray(daily_net, dtype=np.float64))))
    return float((1.0 - equity / np.maximum.accumulate(equity)).max())


def turnover(traded_notional: npt.ArrayLike, equity: npt.ArrayLike) -> float:
    """Notional bought and sold in a year as a multiple of equity. Both arguments: one value a trading day, the
    same currency."""
    traded, held = np.asarray(traded_notional, dtype=np.float64), np.asarray(equity, dtype=np.float64)
    if traded.shape != held.shape:
        raise Final(f"turnover: {traded.shape} days of trading and {held.shape} of equity; there must be one of each a day")
    return float((np.abs(traded) / held).mean()) * TRADING_DAYS if len(traded) else 0.0


def _skill(losses: F64, base_losses: F64, weights: npt.ArrayLike | None) -> float:
    return 1.0 - _mean(losses, weights) / _mean(base_losses, weights) if len(losses) else float("nan")


def _mean(values: F64, weights: npt.ArrayLike | None) -> float:
    """Weighted mean; NaN without rows or weight."""
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(weight.sum())
    return float(weight @ values) / total if total > 0 else float("nan")
