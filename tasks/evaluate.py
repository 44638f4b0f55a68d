"""Scores: what the rows of an exported model say about direction, and what trading them would have earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_store._snapshot_files import PRICE_COLUMNS
from feature_store.clock import from_epoch
from feature_store.snapshot import Snapshot
from model_zoo.judgment import bootstrap, metrics
from serving.backtest import BacktestResult
from serving.decision import DecisionSpec
from tasks import thresholds
from tasks.replay import replay
from tasks.results import Scores
from tasks.settings import PipelineSettings

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CONFIDENCE = 0.90
_POINTS = 1500
"""Most points of an equity curve that a document keeps; pictures show no more."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows that one exported model was asked about, its answers, and the labels it was trained on."""

    rows: IntArray
    probabilities: F32
    train_label: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class OutOfSample:
    """Scores over the validation rows of all folds."""

    scores: Scores
    fold_auc: list[float]
    fold_skill: list[float]
    reliability: list[tuple[float, float, int]]


@dataclass(frozen=True, eq=False)
class Held:
    """Scores over the holdout, and the series the gate judges."""

    scores: Scores
    daily_net: F64
    equity: list[list[float]]


@dataclass(frozen=True, eq=False)
class _Direction:
    """Rows with a direction, pooled over pieces: q, outcome, moment, losses against each piece's training base rate."""

    q: F64
    y: F64
    times_s: IntArray
    loss: F64
    base_loss: F64


def out_of_sample(pieces: Sequence[Piece], snapshot: Snapshot, pipeline: PipelineSettings, *, seed: int) -> OutOfSample:
    """Scores of the fold models. The money of each fold is made with thresholds that the OTHER folds chose."""
    parts = [_direction([p], snapshot) for p in pieces]
    replays = []
    for number, piece in enumerate(pieces):
        others = [p for i, p in enumerate(pieces) if i != number]
        spec = thresholds.choose(others, snapshot, pipeline).spec
        replays.append(replay(snapshot, pipeline, spec, piece.rows, piece.probabilities))
    direction = _direction(pieces, snapshot)
    return OutOfSample(
        scores=_scores("out of sample", pieces, direction, replays, snapshot, pipeline, seed),
        fold_auc=[metrics.direction_auc(d.q, d.y) for d in parts],
        fold_skill=[1.0 - float(d.loss.mean() / d.base_loss.mean()) for d in parts],
        reliability=metrics.reliability(direction.q, direction.y),
    )


def held_out(piece: Piece, spec: DecisionSpec, snapshot: Snapshot, pipeline: PipelineSettings, *, seed: int) -> Held:
    """Scores of the model that was fitted before the holdout, traded with the spec that validation chose."""
    result = replay(snapshot, pipeline, spec, piece.rows, piece.probabilities)
    direction = _direction([piece], snapshot)
    return Held(
        scores=_scores("holdout", [piece], direction, [result], snapshot, pipeline, seed),
        daily_net=result.daily["return"].to_numpy(),
        equity=_curve(result),
    )


def save_holdout(path: Path, held: Held, piece: Piece, snapshot: Snapshot) -> None:
    """Keep the series the gate is handed, whole or not at all."""
    direction = _direction([piece], snapshot)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        times_s=direction.times_s,
        loss=direction.loss,
        base_loss=direction.base_loss,
        daily_net=held.daily_net,
    )
    partial.replace(path)


def _direction(pieces: Sequence[Piece], snapshot: Snapshot) -> _Direction:
    parts = []
    for piece in pieces:
        label = snapshot.label[piece.rows]
        q, y = metrics.direction(piece.probabilities, label)
        times_s = snapshot.times[piece.rows][metrics.direction_rows(label)]
        base = metrics.log_losses(metrics.base_rate(piece.train_label), y)
        parts.append(_Direction(q, y, times_s, metrics.log_losses(q, y), base))
    return _Direction(
        q=np.concatenate([p.q for p in parts]),
        y=np.concatenate([p.y for p in parts]),
        times_s=np.concatenate([p.times_s for p in parts]),
        loss=np.concatenate([p.loss for p in parts]),
        base_loss=np.concatenate([p.base_loss for p in parts]),
    )


def _scores(
    kind: str,
    pieces: Sequence[Piece],
    direction: _Direction,
    replays: Sequence[BacktestResult],
    snapshot: Snapshot,
    pipeline: PipelineSettings,
    seed: int,
) -> Scores:
    rows = np.concatenate([p.rows for p in pieces])
    probabilities = np.concatenate([p.probabilities for p in pieces])
    train_label = np.concatenate([p.train_label for p in pieces])
    overlap = float(pipeline.label.horizon_bars)
    auc = bootstrap.auc(direction.q, direction.y, direction.times_s, seed=[seed, 0], least_block=overlap).interval(CONFIDENCE)
    gained = direction.base_loss - direction.loss
    skill = bootstrap.ratio_of_means(
        gained, direction.base_loss, direction.times_s, seed=[seed, 1], least_block=overlap
    ).interval(CONFIDENCE)
    daily = np.concatenate([r.daily["return"].to_numpy() for r in replays])
    sharpe = bootstrap.statistic(
        lambda index: metrics.net_sharpe(daily[index]), np.arange(len(daily)), daily, seed=[seed, 2]
    ).interval(CONFIDENCE)
    times = snapshot.times[rows]
    return Scores(
        kind=kind,
        start=from_epoch(int(times.min())).isoformat(),
        end=from_epoch(int(times.max())).isoformat(),
        rows=len(rows),
        direction_rows=len(direction.q),
        auc=auc.estimate,
        auc_low=auc.low,
        auc_high=auc.high,
        skill=skill.estimate,
        skill_low=skill.low,
        skill_high=skill.high,
        brier=metrics.brier(direction.q, direction.y),
        calibration_error=metrics.calibration_error(direction.q, direction.y),
        three_class_skill=metrics.three_class_skill(probabilities, snapshot.label[rows], metrics.class_rates(train_label)),
        macro_auc=metrics.macro_auc(probabilities, snapshot.label[rows]),
        net_sharpe=sharpe.estimate,
        net_sharpe_low=sharpe.low,
        net_sharpe_high=sharpe.high,
        net_return=float(np.prod(1.0 + daily) - 1.0),
        max_drawdown=metrics.max_drawdown(daily),
        turnover=_turnover(replays, snapshot, len(daily)),
        trades=sum(r.totals.trades for r in replays),
        gross=sum(r.totals.gross for r in replays),
        spread_cost=sum(r.totals.spread_cost for r in replays),
        commission=sum(r.totals.commission for r in replays),
        swap=sum(r.totals.swap for r in replays),
        net=sum(r.totals.net for r in replays),
    )


def _turnover(replays: Sequence[BacktestResult], snapshot: Snapshot, days: int) -> float:
    """Notional bought and sold in a year (260 days) as a multiple of the starting balance."""
    worth = PRICE_COLUMNS.index("rate_loss")
    notional = 0.0
    for index, symbol in enumerate(snapshot.manifest.symbols):
        rate = float(np.nanmedian(snapshot.prices[snapshot.symbol == index, worth]))
        contract = float(snapshot.manifest.provenance["specs"][symbol]["contract_size"])
        for result in replays:
            own = result.trades.filter(symbol=symbol)
            notional += contract * rate * float((own["lots"] * (own["entry_price"] + own["exit_price"])).sum())
    start = replays[0].totals.start_balance
    return notional / start * 260.0 / max(days, 1)


def _curve(result: BacktestResult) -> list[list[float]]:
    last = result.equity.height - 1
    thin = result.equity[np.unique(np.linspace(0, last, min(last + 1, _POINTS)).round().astype(np.int64))]
    return [[float(t), float(e)] for t, e in zip(thin["time"].dt.epoch("s"), thin["equity"], strict=True)]
