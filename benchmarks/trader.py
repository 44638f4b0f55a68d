"""Bars in hand to order out: `python -m benchmarks.trader [--home HOME]` plays a finished demo's days once more.

The home is copied; a fresh account trades the demo's champion on all its lines, and the journal's latencies are read.
One line per number of lines: median and 95th percentile, beside the simulated broker's own part of it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from flows.settings import home_folder, load
from flows.terminals import account_broker
from serving.control import journal_path
from serving.journal import read
from serving.trader import TraderConfig, run_trader

LIMIT_MS = 5.0


def latencies_ms(demo: Path, lines: int, bars: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each order that was sent, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "demo"
        shutil.copytree(demo, home, ignore=shutil.ignore_patterns("accounts", "brokers", "mlflow*", "prefect", "runs", "reports"))
        settings = load(home)
        account = settings.account("demo")
        account = account.model_copy(update={"lines": account.lines[:lines]})
        feed = settings.feed("demo")
        handle = account_broker(home, "demo", account, feed, 30)
        config = TraderConfig(
            home=home, account="demo", settings=account, clock_rule="ny+7", symbols=feed.symbols,
            commission_per_lot=3.5, bars=bars,
        )  # fmt: skip
        with handle:
            run_trader(config, handle.module, handle.clock)
        journal = read(journal_path(home, "demo"))
        rows = [r.latency_us for r in journal.decisions(last=lines * bars) if r.action.startswith("open") and r.latency_us]
        journal.close()
    return np.array(rows, dtype=np.float64) / 1000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="home of a finished demo")
    parser.add_argument("--bars", type=int, default=480, help="bars to trade")
    given = parser.parse_args()
    demo = given.home or home_folder()[0] / "demo"
    for lines in (1, 4):
        taken = latencies_ms(demo, lines, given.bars)
        middle, late = np.percentile(taken, (50, 95))
        print(
            f"{lines} line(s): {len(taken)} orders, bar in to order out median {middle:.2f} ms, p95 {late:.2f} ms "
            f"(limit {LIMIT_MS:g} ms)"
        )


if __name__ == "__main__":
    main()
