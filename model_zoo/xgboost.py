"""Gradient-boosted trees with XGBoost. Chen & Guestrin 2016, https://arxiv.org/abs/1603.02754"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xgboost as xgb

from model_zoo._device import gpu_name, wants_gpu
from model_zoo._family import CLASSES, Context, FloatArray, ModelFamily, Params, Samples
from model_zoo._forest import from_xgboost
from model_zoo._progress import BINS, Progress, finite, shares
from model_zoo._trees_onnx import write_forest

if TYPE_CHECKING:
    import optuna


class XGBoostTrees(ModelFamily):
    """Depth-limited trees, one a class a round, on the window's last row."""

    # Far below one in ten rows of a year of hourly bars is signal: shallow trees, heavy leaves, small steps.
    defaults: ClassVar[Params] = {
        "rounds": 400,
        "max_depth": 3,
        "learning_rate": 0.03,
        "min_child_weight": 50.0,
        "subsample": 0.7,
        "colsample_bytree": 0.6,
        "reg_lambda": 10.0,
    }

    def search_space(self, trial: optuna.Trial) -> Params:
        """`rounds` is the limit; where to stop is found on `valid`."""
        return {
            "rounds": 500,
            "max_depth": trial.suggest_int("max_depth", 2, 6),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.15, log=True),
            "min_child_weight": trial.suggest_float("min_child_weight", 10.0, 300.0, log=True),
            "subsample": trial.suggest_float("subsample", 0.4, 0.9),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 0.9),
            "reg_lambda": trial.suggest_float("reg_lambda", 1.0, 100.0, log=True),
        }

    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> xgb.Booster:
        """At most `rounds` rounds, kept up to the one with the lowest log loss on `valid`; without it, exactly `rounds`."""
        settings = self.complete(params)
        rounds = int(settings.pop("rounds"))
        fixed = {
            "objective": "multi:softprob",
            "num_class": len(CLASSES),
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "max_bin": BINS,
        }
        machine = {"device": "cuda" if _on_gpu(context) else "cpu", "nthread": context.threads, "seed": seed % 2**31}
        data = _matrix(train, context.threads)
        watched = [] if valid is None else [(_matrix(valid, context.threads), "valid")]
        progress = Progress(train, valid, context)
        watch = _Watch(progress, watched[0][0] if watched else None)
        booster = xgb.train({**settings, **fixed, **machine}, data, rounds, evals=watched, callbacks=[watch], verbose_eval=False)
        booster = booster[: progress.best_rounds]
        booster.set_param({"device": "cpu", "nthread": context.threads})
        progress.report(progress.best_rounds, lambda: _probabilities(booster, watched[0][0]))
        return booster

    def predict(self, model: xgb.Booster, samples: Samples) -> FloatArray:
        """(n, 3) float32 probabilities of short, flat, long."""
        return _probabilities(model, xgb.DMatrix(finite(samples.X), nthread=1))

    def export_onnx(self, model: xgb.Booster, path: Path, T: int, F: int) -> None:
        """Write the exact trees."""
        write_forest(from_xgboost(model), path, T, F)

    def rounds(self, model: xgb.Booster) -> int:
        """Boosting rounds; a round is one tree a class."""
        return int(model.num_boosted_rounds())

    def device(self, context: Context) -> str:
        """The GPU's name when one is asked for and there, else `cpu`."""
        return (gpu_name() or "cpu") if _on_gpu(context) else "cpu"

    def importance(self, model: xgb.Booster) -> FloatArray:
        """(F,) share of each feature in the total gain of all splits."""
        gain = np.zeros(model.num_features(), dtype=np.float32)
        for name, value in model.get_score(importance_type="total_gain").items():
            gain[int(name[1:])] = value
        return shares(gain)


class _Watch(xgb.callback.TrainingCallback):
    """Hands each round to Progress."""

    def __init__(self, progress: Progress, valid: xgb.DMatrix | None) -> None:
        super().__init__()
        self._progress, self._valid = progress, valid

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: dict[str, Any]) -> bool:
        """Whether to stop here."""
        if self._valid is None:
            return self._progress.stop(epoch + 1)
        valid = self._valid
        return self._progress.stop(epoch + 1, evals_log["valid"]["mlogloss"][-1], lambda: _probabilities(model, valid))


def _on_gpu(context: Context) -> bool:
    return wants_gpu(context.device) and bool(xgb.build_info()["USE_CUDA"])


def _matrix(samples: Samples, threads: int) -> xgb.DMatrix:
    return xgb.DMatrix(finite(samples.X), samples.y, weight=samples.w, nthread=threads)


def _probabilities(model: xgb.Booster, data: xgb.DMatrix) -> FloatArray:
    return np.asarray(model.predict(data), dtype=np.float32).reshape(-1, len(CLASSES))
