"""Bars a second of the backtest, compiled and as plain Python: spread, commission, swap, stops, targets, all risk rules.

Run from the repository's root: `python -m benchmarks.backtest [bars]`. CPU seconds of one core, best of three.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from serving import risk
from serving.backtest import BacktestInput, run
from serving.backtest._compile import compiled_simulate
from serving.backtest._types import Lines, Market, Options, Symbols
from serving.decision import BARRIER, RISK, DecisionSpec, policy

PLAIN_BARS = 10_000


def made(bars: int, width: int, seed: int = 7) -> BacktestInput:
    """A driftless market of `width` symbols, one line on each, a signal every fifth bar."""
    rng = np.random.default_rng(seed)
    shape = (bars, width)
    prices = 1.1 * np.exp(np.cumsum(rng.normal(0.0, 2e-4, (bars + 1, width)), axis=0))
    first, last = prices[:-1], prices[1:]
    high = np.maximum(first, last) * (1.0 + np.abs(rng.normal(0.0, 1e-4, shape)))
    low = np.minimum(first, last) * (1.0 - np.abs(rng.normal(0.0, 1e-4, shape)))
    ones, open_s = np.ones(shape), 1_700_000_000 + 300 * np.arange(bars)
    day = open_s // 86400
    market = Market(
        open_s + 300, day, np.diff(day, prepend=day[0]), first, high, low, last, 5e-5 * ones, np.ones(shape, np.bool_),
        ones, ones, last,
    )  # fmt: skip

    def each(value: float) -> np.ndarray:
        return np.full(width, value)

    symbols = Symbols(
        each(1e5), each(1e-5), each(0.01), each(100.0), each(0.01), each(0.0), each(3.5), each(100.0), each(-5.0), each(1.0),
        np.zeros(width, np.int64), np.arange(1, width + 1), np.zeros(width, np.int64),
    )  # fmt: skip
    side = rng.choice([-1, 0, 1], shape, p=[0.1, 0.8, 0.1])
    lines = Lines(np.arange(width), np.ones(shape, np.bool_), side, np.where(side == 0, np.nan, 0.58), np.full(shape, 4e-4))
    spec = DecisionSpec(BARRIER, 0.4, 0.4, 1.5, 1.5, 12, RISK, 0.005, 0.0)
    names = tuple(f"S{i}" for i in range(width))
    # An account so large that it lives to the end: a halted one would be quicker to play.
    limits = risk.limits({"daily_loss_fraction": 1.0, "drawdown_fraction": 1.0})
    return BacktestInput(open_s, market, symbols, lines, policy([spec] * width), limits, Options(1e9, 0, 0), names, names, "USD")


def best(call: Callable[[], object], times: int = 3) -> float:
    """Least CPU seconds of a few calls."""
    took = []
    for _ in range(times):
        start = time.process_time()
        call()
        took.append(time.process_time() - start)
    return min(took)


def main(bars: int) -> None:
    start = time.perf_counter()
    loop = compiled_simulate()
    run(made(100, 1), compiled=True)
    print(f"first call, import and {'cached' if loop.stats.cache_hits else 'compiling'}: {time.perf_counter() - start:.1f} s")  # type: ignore[attr-defined]
    print(f"{'symbols':>8} {'bars/s compiled':>16} {'bars/s plain':>13} {'ratio':>6} {'trades':>8}")
    for width in (1, 4):
        large, small = made(bars, width), made(PLAIN_BARS, width)
        result = run(large, compiled=True)
        compiled = bars / best(partial(run, large, compiled=True))
        plain = PLAIN_BARS / best(partial(run, small, compiled=False), 1)
        print(f"{width:>8} {compiled:>16,.0f} {plain:>13,.0f} {compiled / plain:>6.0f} {result.totals.trades:>8,}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
