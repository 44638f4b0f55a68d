"""Elastic-net multinomial logistic regression. Zou & Hastie 2005, https://doi.org/10.1111/j.1467-9868.2005.00503.x"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from model_zoo._family import CLASSES, Context, FloatArray, IntArray, ModelFamily, Params, Samples
from model_zoo._onnx import PROBABILITIES, ROW, constant, window_graph, write_model
from model_zoo._progress import shares, validation_skill

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Scaling:
    """How raw columns become comparable; (F,) float32 each."""

    fill: FloatArray
    low: FloatArray
    high: FloatArray
    mean: FloatArray
    inverse_sd: FloatArray

    def apply(self, X: FloatArray) -> FloatArray:
        """X filled, clipped and scaled. Clipped first, so that no infinity reaches the arithmetic."""
        kept = np.minimum(np.maximum(np.where(np.isnan(X), self.fill, X), self.low), self.high)
        return np.asarray((kept - self.mean) * self.inverse_sd, dtype=np.float32)


@dataclass(frozen=True)
class LinearModel:
    """coefficients: (F, 3) float32 on scaled columns. intercept: (3,) float32."""

    scaling: Scaling
    coefficients: FloatArray
    intercept: FloatArray


class ElasticNet(ModelFamily):
    """A line a class through the window's last row: missing values take the median, outliers end at `clip_sd`."""

    defaults: ClassVar[Params] = {"strength": 1e-3, "l1_ratio": 0.5, "clip_sd": 5.0}

    def search_space(self, trial: optuna.Trial) -> Params:
        """`strength` is the penalty a row, so that a recipe means the same on more rows."""
        return {
            "strength": trial.suggest_float("strength", 1e-5, 1e-1, log=True),
            "l1_ratio": trial.suggest_float("l1_ratio", 0.0, 1.0),
            "clip_sd": trial.suggest_float("clip_sd", 2.0, 8.0),
        }

    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> LinearModel:
        """One convex fit on `train`; `valid` is only reported on."""
        settings = self.complete(params)
        scaling = _scaling(train.X, float(settings["clip_sd"]))
        # One virtual row of each class at the mean (Laplace's rule): three classes, whatever the fold holds.
        Z = np.concatenate([scaling.apply(train.X), np.zeros((len(CLASSES), train.n_features), dtype=np.float32)])
        y, w = np.concatenate([train.y, np.arange(len(CLASSES))]), np.concatenate([train.w, np.ones(len(CLASSES), np.float32)])
        solver = LogisticRegression(
            solver="saga",
            C=1.0 / (float(settings["strength"]) * len(train)),
            l1_ratio=float(settings["l1_ratio"]),
            max_iter=100,
            tol=1e-3,
            random_state=seed % 2**31,
        )
        with warnings.catch_warnings():
            # A fit stopped at 100 passes is as regular as any other: the penalty decides, not the last digit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(Z, y, sample_weight=w)
        coefficients = np.ascontiguousarray(solver.coef_.T, dtype=np.float32)
        model = LinearModel(scaling, coefficients, _levelled(Z @ coefficients, solver.intercept_, y, w))
        if valid is not None:
            context.report(1, validation_skill(self.predict(model, valid), train, valid))
        return model

    def predict(self, model: LinearModel, samples: Samples) -> FloatArray:
        """(n, 3) float32 probabilities of short, flat, long."""
        return _softmax(model.scaling.apply(samples.X) @ model.coefficients + model.intercept)

    def export_onnx(self, model: LinearModel, path: Path, T: int, F: int) -> None:
        """Write the same seven steps: fill, clip, scale, multiply, add, softmax."""
        nodes = [
            helper.make_node("IsNaN", [ROW], ["missing"]),
            helper.make_node("Where", ["missing", "fill", ROW], ["filled"]),
            helper.make_node("Max", ["filled", "low"], ["raised"]),
            helper.make_node("Min", ["raised", "high"], ["clipped"]),
            helper.make_node("Sub", ["clipped", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "inverse_sd"], ["standardised"]),
            helper.make_node("Gemm", ["standardised", "coefficients", "intercept"], ["margin"]),
            helper.make_node("Softmax", ["margin"], [PROBABILITIES], axis=-1),
        ]
        numbers = {**vars(model.scaling), "coefficients": model.coefficients, "intercept": model.intercept}
        write_model(window_graph(nodes, [constant(name, value) for name, value in numbers.items()], T, F), path)

    def importance(self, model: LinearModel) -> FloatArray:
        """(F,) share of each feature in the sum of absolute coefficients, all on the same scale."""
        return shares(np.abs(model.coefficients).sum(axis=1))


def _softmax(margin: FloatArray) -> FloatArray:
    raised = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def _levelled(slopes: FloatArray, intercept: FloatArray, y: IntArray, w: FloatArray) -> FloatArray:
    """(3,) intercept at which the mean probability of each class is its share of the rows: the optimum for these slopes.
    The solver stops when the slopes do and may leave the intercepts behind; wrong base rates cost more than slopes bring."""
    share = np.bincount(y, weights=w, minlength=len(CLASSES)) / w.sum()
    level = np.asarray(intercept, dtype=np.float64)
    for _ in range(10):
        level = level + np.log(share / np.average(_softmax(slopes + level.astype(np.float32)), axis=0, weights=w))
    return np.asarray(level - level.mean(), dtype=np.float32)


def _scaling(X: FloatArray, clip_sd: float) -> Scaling:
    """Median, bounds, mean and 1/sd of each column, in float64 until the end. A column without spread is switched off."""
    limit = float(np.finfo(np.float32).max) / 4  # room for a difference of two
    known = np.clip(X.astype(np.float64), -limit, limit)
    absent = np.isnan(known)
    fill = np.zeros(X.shape[1])
    some = ~absent.all(axis=0)
    fill[some] = np.nanmedian(known[:, some], axis=0)
    known = np.where(absent, fill, known)
    mean, sd = known.mean(axis=0), known.std(axis=0)
    flat = sd <= 1e-12 * np.maximum(np.abs(mean), 1e-12)
    low, high = np.clip(mean - clip_sd * sd, -limit, limit), np.clip(mean + clip_sd * sd, -limit, limit)
    inverse_sd = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, sd))
    return Scaling(*(column.astype(np.float32) for column in (fill, low, high, mean, inverse_sd)))
