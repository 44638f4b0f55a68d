"""Gradient-boosted trees grown leaf by leaf with LightGBM. Ke et al. 2017, https://papers.nips.cc/paper/6907"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import lightgbm as lgb
import numpy as np

from model_zoo._family import CLASSES, Context, FloatArray, ModelFamily, Params, Samples
from model_zoo._forest import from_lightgbm
from model_zoo._progress import BINS, Progress, finite, shares
from model_zoo._trees_onnx import write_forest

if TYPE_CHECKING:
    import optuna


class LightGBMTrees(ModelFamily):
    """Leaf-wise trees, one a class a round, on the window's last row. The wheels as shipped train on the CPU."""

    defaults: ClassVar[Params] = {
        "rounds": 400,
        "num_leaves": 8,
        "learning_rate": 0.03,
        "min_data_in_leaf": 100,
        "bagging_fraction": 0.7,
        "feature_fraction": 0.6,
        "lambda_l2": 10.0,
    }

    def search_space(self, trial: optuna.Trial) -> Params:
        """`rounds` is the limit; where to stop is found on `valid`."""
        return {
            "rounds": 500,
            "num_leaves": trial.suggest_int("num_leaves", 4, 32, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.15, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 500, log=True),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 0.9),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 0.9),
            "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
        }

    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> lgb.Booster:
        """At most `rounds` rounds, kept up to the one with the lowest log loss on `valid`; without it, exactly `rounds`."""
        settings = self.complete(params)
        rounds = int(settings.pop("rounds"))
        fixed = {
            "objective": "multiclass",
            "num_class": len(CLASSES),
            "metric": "multi_logloss",
            "bagging_freq": 1,
            "max_bin": BINS,
        }
        # force_row_wise: left to itself LightGBM times both layouts and takes the faster, which differs from run to run.
        machine = {"deterministic": True, "force_row_wise": True, "num_threads": context.threads, "seed": seed % 2**31}
        data = lgb.Dataset(finite(train.X), train.y, weight=train.w, free_raw_data=False)
        watched = [] if valid is None else [data.create_valid(finite(valid.X), valid.y, weight=valid.w)]
        progress = Progress(train, valid, context)

        def predict(model: lgb.Booster) -> FloatArray:
            assert valid is not None
            return self.predict(model, valid)

        def after_round(env: lgb.callback.CallbackEnv) -> None:
            assert isinstance(env.model, lgb.Booster)
            booster, scores = env.model, env.evaluation_result_list or []
            loss = scores[0][2] if scores else None
            if progress.stop(env.iteration + 1, loss, lambda: predict(booster)):
                raise lgb.callback.EarlyStopException(progress.best_rounds - 1, scores)

        booster = lgb.train(
            {**settings, **fixed, **machine, "verbosity": -1},
            data,
            rounds,
            valid_sets=watched,
            valid_names=["valid"] * len(watched),
            callbacks=[after_round],
        )
        # Through text, cut at the best round: the data leave memory, and dump and predict can only mean these trees.
        model = lgb.Booster(model_str=booster.model_to_string(num_iteration=progress.best_rounds))
        progress.report(progress.best_rounds, lambda: predict(model))
        return model

    def predict(self, model: lgb.Booster, samples: Samples) -> FloatArray:
        """(n, 3) float32 probabilities of short, flat, long."""
        out = model.predict(finite(samples.X), num_threads=1)
        return np.asarray(out, dtype=np.float32).reshape(-1, len(CLASSES))

    def export_onnx(self, model: lgb.Booster, path: Path, T: int, F: int) -> None:
        """Write the exact trees."""
        write_forest(from_lightgbm(model), path, T, F)

    def rounds(self, model: lgb.Booster) -> int:
        """Boosting rounds; a round is one tree a class."""
        return int(model.current_iteration())

    def importance(self, model: lgb.Booster) -> FloatArray:
        """(F,) share of each feature in the total gain of all splits."""
        return shares(model.feature_importance(importance_type="gain"))
