"""One small trained home for all tests of tasks, made once per test process."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_store.settings import FeedSettings
from feature_store.sources.generator import MarketConfig, generate
from feature_store.store import Store
from tasks import dataset, judge, train
from tasks.home import Home
from tasks.results import RetrainReport
from tasks.settings import PipelineSettings
from tests.tasks.parts import Trained

SYMBOLS = ("EURUSD", "USDJPY")
START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 91
FEED = FeedSettings(source="generator", clock="utc", commission_per_lot=3.5)
PIPELINE = PipelineSettings(
    feed="demo",
    symbols=SYMBOLS,
    families=("linear", "lightgbm"),
    folds={"count": 2},  # type: ignore[arg-type]
    budget={"trials": 2},  # type: ignore[arg-type]
)


@pytest.fixture(scope="session")
def market():
    """A quarter of generated M1 for two symbols, with a planted edge."""
    return generate(MarketConfig(symbols=SYMBOLS, start=START, days=DAYS, seed=5, edge=13.0))


@pytest.fixture(scope="session")
def stored(market, tmp_path_factory) -> Home:
    """A home whose store holds that market as the broker told it. Read only: write into a copy."""
    home = Home(tmp_path_factory.mktemp("stored"))
    store = Store(home.store)
    for symbol in SYMBOLS:
        about = {"origin": "generator", "sha256": "0" * 64, "clock_rule": "utc", "at": datetime(2024, 4, 2, tzinfo=UTC)}
        store.ingest("demo", symbol, "M1", market.bars(symbol), **about)
        store.put_symbol(replace(market.spec(symbol, "demo"), valid_from=START))
    return home


@pytest.fixture(scope="session")
def snapshot(stored) -> Path:
    """Folder of the snapshot of the stored bars."""
    return dataset.build_snapshot.fn(stored.root, "demo", PIPELINE, FEED, lock_wait_s=10.0)


@pytest.fixture(scope="session")
def trained(stored, snapshot) -> Trained:
    """Both families tuned, fitted and scored. Shared: tests that write take `fresh`."""
    job = train.Job(stored.root, "demo", PIPELINE, snapshot, as_of="2024-04-01", threads=1)
    results = [train.fit_family.fn(job, family, train.tune_family.fn(job, family)) for family in PIPELINE.families]
    return Trained(stored, job, results, datetime(2024, 4, 1, tzinfo=UTC))


@pytest.fixture
def fresh(trained, tmp_path) -> Trained:
    """The trained runs in a home of the test's own; the snapshot and the store stay where they are."""
    home = Home(tmp_path / "home")
    for folder in ("runs", "studies"):
        shutil.copytree(trained.home.root / folder, home.root / folder)
    shutil.copy(trained.home.ledger, home.ledger)
    return replace(trained, home=home, job=replace(trained.job, home=home.root))


@pytest.fixture
def report(fresh) -> RetrainReport:
    """The judged report of the fresh home."""
    return judge.judge.fn(fresh.job, fresh.results)
