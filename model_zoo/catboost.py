"""Gradient-boosted symmetric trees with CatBoost. Prokhorenkova et al. 2018, https://arxiv.org/abs/1706.09516"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import catboost as cb
import numpy as np
import numpy.typing as npt
from catboost.utils import get_gpu_device_count

from model_zoo._device import gpu_name, wants_gpu
from model_zoo._family import CLASSES, Context, FloatArray, ModelFamily, Params, Samples
from model_zoo._forest import from_catboost
from model_zoo._progress import BINS, PATIENCE_ROUNDS, finite, shares, validation_skill
from model_zoo._trees_onnx import write_forest

if TYPE_CHECKING:
    import optuna


class CatBoostTrees(ModelFamily):
    """Symmetric trees with three numbers a leaf on the window's last row: many times smaller than one tree a class."""

    defaults: ClassVar[Params] = {
        "rounds": 400,
        "depth": 4,
        "learning_rate": 0.04,
        "l2_leaf_reg": 20.0,
        "subsample": 0.7,
        "random_strength": 1.0,
    }

    def search_space(self, trial: optuna.Trial) -> Params:
        """`rounds` is the limit; where to stop is found on `valid`."""
        return {
            "rounds": 500,
            "depth": trial.suggest_int("depth", 2, 6),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 3.0, 200.0, log=True),
            "subsample": trial.suggest_float("subsample", 0.4, 0.9),
            "random_strength": trial.suggest_float("random_strength", 0.1, 10.0, log=True),
        }

    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> cb.CatBoost:
        """At most `rounds` rounds, kept up to the one with the lowest log loss on `valid`; without it, exactly `rounds`.
        A GPU takes no callbacks: there the deadline is not watched while trees grow."""
        settings = self.complete(params)
        rounds, on_gpu = int(settings.pop("rounds")), _on_gpu(context)
        fixed = {
            "loss_function": "MultiClass",
            "classes_count": len(CLASSES),
            "boosting_type": "Plain",
            "bootstrap_type": "Bernoulli",
            "border_count": BINS,
            "leaf_estimation_iterations": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        machine = {"task_type": "GPU" if on_gpu else "CPU", "thread_count": context.threads, "random_seed": seed % 2**31}
        model = cb.CatBoost({**settings, **fixed, **machine, "iterations": rounds})
        prior = _log_base_rates(train)
        model.fit(
            _pool(train, prior),
            eval_set=None if valid is None else _pool(valid, prior),
            use_best_model=valid is not None,
            early_stopping_rounds=None if valid is None else PATIENCE_ROUNDS,
            callbacks=None if on_gpu else [_Deadline(context)],
        )
        model.set_scale_and_bias(1.0, prior.tolist())
        if valid is not None:
            context.report(self.rounds(model), validation_skill(self.predict(model, valid), train, valid))
        return model

    def predict(self, model: cb.CatBoost, samples: Samples) -> FloatArray:
        """(n, 3) float32 probabilities of short, flat, long."""
        out = model.predict(finite(samples.X), prediction_type="Probability", thread_count=1)
        return np.asarray(out, dtype=np.float32).reshape(-1, len(CLASSES))

    def export_onnx(self, model: cb.CatBoost, path: Path, T: int, F: int) -> None:
        """Write the exact trees."""
        write_forest(from_catboost(model), path, T, F)

    def rounds(self, model: cb.CatBoost) -> int:
        """Boosting rounds; a round is one tree."""
        return int(model.tree_count_)

    def device(self, context: Context) -> str:
        """The GPU's name when one is asked for and there, else `cpu`."""
        return (gpu_name() or "cpu") if _on_gpu(context) else "cpu"

    def importance(self, model: cb.CatBoost) -> FloatArray:
        """(F,) share of each feature in the change of the prediction."""
        return shares(np.asarray(model.get_feature_importance(type="PredictionValuesChange")))


class _Deadline:
    """Ends a fit on the CPU when its time is up."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def after_iteration(self, info: SimpleNamespace) -> bool:
        """Whether to go on after round `info.iteration`."""
        return not self._context.out_of_time()


def _on_gpu(context: Context) -> bool:
    return wants_gpu(context.device) and get_gpu_device_count() > 0


def _log_base_rates(train: Samples) -> npt.NDArray[np.float64]:
    """Where the trees start, one row of each class added. Left to itself CatBoost starts at a third each, and the first
    trees of every fit are spent on how often the market goes nowhere."""
    counts = np.bincount(train.y, weights=train.w, minlength=len(CLASSES)) + 1.0
    return np.asarray(np.log(counts / counts.sum()), dtype=np.float64)


def _pool(samples: Samples, prior: npt.NDArray[np.float64]) -> cb.Pool:
    """CatBoost forgets a class that no row has, and refuses rows of one class alone. Such a fold gets one row of each
    missing class, a copy of the first row with next to no weight: features, borders and trees stay as they were."""
    X, y, w = finite(samples.X), samples.y, samples.w
    missing: npt.NDArray[np.int64] = np.setdiff1d(np.arange(len(CLASSES)), y)
    if len(missing):
        X = np.concatenate([X, np.repeat(X[:1], len(missing), axis=0)])
        y, w = np.concatenate([y, missing]), np.concatenate([w, np.full(len(missing), 1e-6, dtype=np.float32)])
    return cb.Pool(X, y, weight=w, baseline=np.tile(prior, (len(y), 1)))
