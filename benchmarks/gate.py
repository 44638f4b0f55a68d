"""How often the gate promotes: whole retrains of all families on generated markets, with and without an edge.

Run `python -m benchmarks.gate [SEEDS] [WORKERS]`; prints the table of docs/gate.md. Every retrain has a home of
its own, so no earlier look weighs on it. The markets are ingested as H1 bars of the M1 market: the pipeline's
features, labels and backtests see the same bars as from M1.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from flows.quiet import quiet_environment

quiet_environment()

from feature_store.bars import resample  # noqa: E402
from feature_store.settings import FeedSettings  # noqa: E402
from feature_store.sources.generator import DEFAULT_EDGE, MarketConfig, generate  # noqa: E402
from feature_store.store import Store  # noqa: E402
from model_zoo._family import family_names  # noqa: E402
from tasks import dataset, judge, train  # noqa: E402
from tasks.home import Home  # noqa: E402
from tasks.results import RetrainReport  # noqa: E402
from tasks.settings import BudgetSettings, PipelineSettings  # noqa: E402

DAYS = 364
TRIALS = 3
FEED = "gate"


@dataclass(frozen=True)
class Outcome:
    """One retrain: what was promoted, and the best family's numbers on the holdout."""

    edge: float
    seed: int
    promoted: str | None
    auc: float
    skill: float
    net_sharpe: float


def retrain_on(edge: float, seed: int, folder: Path) -> RetrainReport:
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
    pipeline = PipelineSettings(feed=FEED, symbols=market.config.symbols, budget=BudgetSettings(trials=TRIALS), seed=seed)
    snapshot = dataset.build_snapshot.fn(folder, "gate", pipeline, FeedSettings(source="generator"), lock_wait_s=30.0)
    job = train.Job(folder, "gate", pipeline, snapshot, "2024-01-01", threads=1)
    results = [train.fit_family.fn(job, name, train.tune_family.fn(job, name)) for name in family_names()]
    return judge.judge.fn(job, results)


def outcome(edge: float, seed: int) -> Outcome:
    """One retrain, its files thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        report = retrain_on(edge, seed, Path(folder))
    shown = next(f for f in report.families if f.family == (report.promoted or report.rows()[0]["family"]))
    return Outcome(edge, seed, report.promoted, shown.holdout.auc, shown.holdout.skill, shown.holdout.net_sharpe)


def outcomes(edge: float, seeds: range, workers: int) -> list[Outcome]:
    """One retrain per seed, `workers` side by side."""
    if workers == 1:
        return [outcome(edge, seed) for seed in seeds]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(outcome, [edge] * len(seeds), seeds))


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
    for edge in (0.0, DEFAULT_EDGE):
        found = outcomes(edge, range(1, seeds + 1), workers)
        promoted = sum(o.promoted is not None for o in found)
        print(f"\nedge {edge:g}: promoted in {promoted} of {seeds} markets\n")
        print("| seed | promoted | holdout AUC | holdout skill | holdout net Sharpe |\n|---|---|---|---|---|")
        for o in found:
            print(f"| {o.seed} | {o.promoted or '-'} | {o.auc:.3f} | {o.skill:+.2%} | {o.net_sharpe:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
