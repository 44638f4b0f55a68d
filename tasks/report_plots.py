"""Pictures of one family for its MLflow run: reliability, equity, importance."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tasks.results import FamilyResult

_TOP = 15


def family_figures(result: FamilyResult) -> dict[str, Figure]:
    """One figure per picture, by name. Importance is left out where the family has none."""
    figures = {"reliability": _reliability(result), "equity": _equity(result)}
    if result.importance:
        figures["importance"] = _importance(result)
    return figures


def _reliability(result: FamilyResult) -> Figure:
    figure = Figure(figsize=(6.0, 5.0), layout="constrained")
    axes = figure.subplots()
    bins = np.array(result.reliability, dtype=np.float64).reshape(-1, 3)
    low, high = (float(bins[:, :2].min()), float(bins[:, :2].max())) if len(bins) else (0.0, 1.0)
    axes.plot([low, high], [low, high], color="0.6", linestyle="--", label="perfect")
    axes.plot(bins[:, 0], bins[:, 1], marker="o", label=f"{result.family}, {int(bins[:, 2].sum())} rows")
    axes.set(title="Reliability of direction, out of sample", xlabel="predicted share of long", ylabel="share that was long")
    axes.grid(alpha=0.25)
    axes.legend()
    return figure


def _equity(result: FamilyResult) -> Figure:
    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    axes = figure.subplots()
    curve = np.array(result.equity, dtype=np.float64).reshape(-1, 2)
    axes.plot(curve[:, 0].astype("datetime64[s]"), curve[:, 1])
    axes.set(
        title=f"Equity over the holdout, net of every cost ({result.mode}, costs {result.cost_source})", ylabel="account currency"
    )
    axes.grid(alpha=0.25)
    return figure


def _importance(result: FamilyResult) -> Figure:
    top = sorted(result.importance.items(), key=lambda item: item[1])[-_TOP:]
    figure = Figure(figsize=(7.0, 0.3 * len(top) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in top], [share for _, share in top])
    axes.set(title=f"Share of each feature in {result.family}", xlabel="share")
    return figure
