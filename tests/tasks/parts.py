"""Small parts of the pipeline made by hand: bars, a snapshot of them, a plan's folds, a family that counts its fits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.labels import Labels, LabelSpec, label_trades
from feature_store.snapshot import Snapshot, SymbolPart, open_snapshot, write_snapshot
from feature_store.symbols import assumed_spec
from model_zoo._family import ModelFamily
from tasks.home import Home
from tasks.plan import TrainingFold
from tasks.results import FamilyResult
from tasks.settings import PipelineSettings
from tasks.train import Job

HOUR = 3600
MONDAY = int(datetime(2024, 3, 4, tzinfo=UTC).timestamp())
COMMISSION = 3.5  # a lot and side, USD
UNIT = 0.001  # the ATR of hand-made bars: ten pips
SPREAD = 0.0001  # ten points of a 5-digit pair


@dataclass(frozen=True)
class Trained:
    """A small market with two trained families. `home` is shared: read it, write into a copy (`fresh`)."""

    home: Home
    job: Job
    results: list[FamilyResult]
    end: datetime

    def result(self, family: str) -> FamilyResult:
        return next(r for r in self.results if r.family == family)


def pipeline(**changes: Any) -> PipelineSettings:
    """One symbol on H1 with fixed lots, so that money can be worked by hand."""
    values: dict[str, Any] = {
        "feed": "hand",
        "symbols": ("EURUSD",),
        "decision": {"sizing": "lots", "fixed_lots": 0.1},
        "label": {"stop_atr": 1.5, "target_atr": 1.5, "horizon_bars": 3, "atr_bars": 2},
    }
    return PipelineSettings(**{**values, **changes})


def hour_opens(count: int, start_s: int = MONDAY) -> np.ndarray:
    """Opens of `count` hours in which the market is open, from a Monday on."""
    hours = start_s + HOUR * np.arange(3 * count, dtype=np.int64)
    weekday, hour = (hours // 86400 + 3) % 7, hours // HOUR % 24
    return hours[(weekday < 4) | ((weekday == 4) & (hour < 21))][:count]


def snapshot_of(
    folder: Path,
    bars: np.ndarray,
    *,
    settings: PipelineSettings | None = None,
    atr: np.ndarray | None = None,
    features: np.ndarray | None = None,
    warmup_bars: int = 0,
    opens: np.ndarray | None = None,
) -> Snapshot:
    """Snapshot of one symbol's (n, 4) hourly bars: open, high, low, close. ATR `UNIT`, spread `SPREAD` throughout."""
    settings = settings or pipeline()
    opens = hour_opens(len(bars)) if opens is None else opens
    open_, high, low, close = np.asarray(bars, dtype=np.float64).T
    spec = assumed_spec("hand", settings.symbols[0], commission_per_lot=COMMISSION)
    label_spec = LabelSpec(**settings.label.model_dump())
    part = SymbolPart(
        feed="hand",
        symbol=settings.symbols[0],
        times_s=opens + HOUR,
        features=np.zeros((len(bars), 1), np.float32) if features is None else features,
        labels=labels_of(bars, opens, label_spec, atr),
        segment_starts=np.array([0]),
        prices=np.column_stack([open_, high, low, close, np.full(len(bars), SPREAD), np.ones((len(bars), 2))]),
    )
    provenance = {
        "mode": "simulated",
        "cost_source": "assumed",
        "base_timeframe": "H1",
        "specs": {spec.symbol: {**vars(spec), "valid_from": spec.valid_from.isoformat()}},
    }
    path = write_snapshot(
        folder,
        [part],
        timeframe="H1",
        feature_names=[f"f{i}" for i in range(part.features.shape[1])],
        feature_hash="hand",
        warmup_bars=warmup_bars,
        label_spec=label_spec,
        provenance=provenance,
    )
    return open_snapshot(path)


def labels_of(bars: np.ndarray, opens: np.ndarray, spec: LabelSpec, atr: np.ndarray | None = None) -> Labels:
    """The labels of these bars, with two sides of commission in price units."""
    open_, high, low, close = np.asarray(bars, dtype=np.float64).T
    unit = np.full(len(bars), UNIT) if atr is None else atr
    spread = np.full(len(bars), SPREAD)
    return label_trades(open_, high, low, close, opens + HOUR, unit, spread, 2 * COMMISSION / 100_000, spec)


def wandering(count: int, seed: int = 3) -> np.ndarray:
    """(n, 4) bars of a random walk, each opening where the last one closed, on a grid of points."""
    steps = np.random.default_rng(seed).normal(0.0, 6e-4, count)
    close = np.round(1.1 + np.cumsum(steps), 5)
    open_ = np.concatenate([[1.1], close[:-1]])
    return np.column_stack([open_, np.maximum(open_, close) + 1e-4, np.minimum(open_, close) - 1e-4, close])


def hand_folds(rows: np.ndarray, count: int = 3) -> list[TrainingFold]:
    """Expanding folds over `rows` in order: half first, the rest judged in equal parts."""
    first = len(rows) // 2
    size = (len(rows) - first) // count
    cuts = [first + size * i for i in range(count)]
    return [TrainingFold(fit=rows[: c - 100], stop=rows[c - 100 : c], valid=rows[c : c + size]) for c in cuts]


class Watched(ModelFamily):
    """Another family that notes each fit and raises in the one that was asked for (from 1 on)."""

    def __init__(self, inner: ModelFamily, fail_at: int | None = None) -> None:
        self.inner, self.fail_at, self.fits = inner, fail_at, 0

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    def search_space(self, trial):
        return self.inner.search_space(trial)

    def fit(self, train, valid, params, *, seed, context):
        self.fits += 1
        if self.fits == self.fail_at:
            raise RuntimeError(f"killed in fit {self.fits}")
        return self.inner.fit(train, valid, params, seed=seed, context=context)

    def predict(self, model, samples):
        return self.inner.predict(model, samples)

    def export_onnx(self, model, path, T, F):
        self.inner.export_onnx(model, path, T, F)

    def rounds(self, model):
        return self.inner.rounds(model)


class StillClock:
    """A clock that stands where it was put."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def now_utc(self) -> datetime:
        return self.now

    def wait_until(self, t: datetime) -> bool:
        self.now = max(self.now, t)
        return True
