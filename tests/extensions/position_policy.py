"""A linear policy that leans towards the position it holds: ridge regression on the difference of the two trades."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from onnx import helper

from model_zoo._family import FLAT, Context, FloatArray, ModelFamily, Params, Samples
from model_zoo._onnx import POSITION, PROBABILITIES, ROW, constant, window_graph, write_model

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Policy:
    """Margins are filled and clipped row @ slopes + bias + position * lean."""

    slopes: FloatArray
    bias: FloatArray
    lean: FloatArray


class PositionPolicy(ModelFamily):
    """Used by tests alone: the smallest family whose graph takes `position`."""

    uses_position: ClassVar[bool] = True
    defaults: ClassVar[Params] = {"ridge": 10.0, "lean": 0.5}

    def search_space(self, trial: optuna.Trial) -> Params:
        return {"ridge": trial.suggest_float("ridge", 1.0, 100.0, log=True), "lean": trial.suggest_float("lean", 0.0, 1.0)}

    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> Policy:
        settings = self.complete(params)
        X = _bounded(train.X).astype(np.float64)
        worth = ((train.r_long - train.r_short) / 2)[train.rows].astype(np.float64)
        slope = np.linalg.solve(X.T @ X + settings["ridge"] * np.eye(X.shape[1]), X.T @ worth)
        flat = (np.sum(train.y == FLAT) + 1) / (len(train) + 3)
        side = np.array([-1.0, 0.0, 1.0])
        bias = np.log([(1 - flat) / 2, flat, (1 - flat) / 2])
        context.report(1, 0.0)
        return Policy(*(a.astype(np.float32) for a in (np.outer(slope, side), bias, settings["lean"] * side)))

    def predict(self, model: Policy, samples: Samples) -> FloatArray:
        margin = _bounded(samples.X) @ model.slopes + model.bias
        raised = np.exp(margin - margin.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def export_onnx(self, model: Policy, path: Path, T: int, F: int) -> None:
        nodes = [
            helper.make_node("IsNaN", [ROW], ["missing"]),
            helper.make_node("Where", ["missing", "zero", ROW], ["filled"]),
            helper.make_node("Clip", ["filled", "low", "high"], ["bounded"]),
            helper.make_node("Gemm", ["bounded", "slopes", "bias"], ["free"]),
            helper.make_node("MatMul", [POSITION, "lean"], ["held"]),
            helper.make_node("Add", ["free", "held"], ["margin"]),
            helper.make_node("Softmax", ["margin"], [PROBABILITIES], axis=-1),
        ]
        bounds = [constant("zero", 0.0), constant("low", -4.0), constant("high", 4.0)]
        weights = [constant("slopes", model.slopes), constant("bias", model.bias), constant("lean", model.lean[None, :])]
        write_model(window_graph(nodes, [*bounds, *weights], T, F, uses_position=True), path)


def _bounded(X: FloatArray) -> FloatArray:
    return np.clip(np.where(np.isnan(X), np.float32(0), X), np.float32(-4), np.float32(4))
