"""How often the gate promotes: whole retrains of all families on generated markets, with and without an edge.

Every retrain has a home of its own, so that no earlier look weighs on it. The markets are ingested as H1 bars of
the M1 market: the pipeline's features, labels and backtests see the same bars as from M1.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from feature_store.bars import resample
from feature_store.settings import FeedSettings
from feature_store.sources.generator import MarketConfig, generate
from feature_store.store import Store
from model_zoo._family import family_names
from tasks import dataset, judge, train
from tasks.home import Home
from tasks.results import RetrainReport
from tasks.settings import BudgetSettings, PipelineSettings

DAYS = 364
TRIALS = 3
FEED = "gate"


@dataclass(frozen=True)
class Outcome:
    """One retrain: what was promoted, and on the holdout the numbers of that family, else of the best out of sample."""

    edge: float
    seed: int
    promoted: str | None
    auc: float
    skill: float
    net_sharpe: float


def retrain_on(edge: float, seed: int, features: tuple[str, ...], folder: Path) -> RetrainReport:
    """The judged report of one market in an empty home."""
    home = Home(folder)
    market = generate(MarketConfig(start=datetime(2023, 1, 2, tzinfo=UTC), days=DAYS, seed=seed, edge=edge))
    store = Store(home.store)
    for symbol in market.config.symbols:
        bars = resample(market.bars(symbol), "H1")
        store.ingest(
            FEED, symbol, "H1", bars, origin="generated", sha256="", clock_rule="utc", at=datetime(2030, 1, 1, tzinfo=UTC)
        )
        store.put_symbol(market.spec(symbol, FEED))
    pipeline = PipelineSettings(
        feed=FEED, symbols=market.config.symbols, features=features, budget=BudgetSettings(trials=TRIALS), seed=seed
    )
    snapshot = dataset.build_snapshot.fn(folder, "gate", pipeline, FeedSettings(source="generator"), lock_wait_s=30.0)
    job = train.Job(folder, "gate", pipeline, snapshot, "2024-01-01", threads=1)
    results = [train.fit_family.fn(job, name, train.tune_family.fn(job, name)) for name in family_names()]
    return judge.judge.fn(job, results)


def outcome(seed: int, *, edge: float, features: tuple[str, ...]) -> Outcome:
    """One retrain, its files thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        report = retrain_on(edge, seed, features, Path(folder))
    shown = next(f for f in report.families if f.family == (report.promoted or report.rows()[0]["family"]))
    return Outcome(edge, seed, report.promoted, shown.holdout.auc, shown.holdout.skill, shown.holdout.net_sharpe)


def outcomes(
    edge: float, seeds: Iterable[int], *, features: tuple[str, ...] = ("all",), workers: int | None = None
) -> Iterator[Outcome]:
    """One retrain per seed, in the order of the seeds, as each is done. workers: side by side; None takes the cores."""
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(outcome, edge=edge, features=features), seeds)
