"""Seconds to label 1,000,000 M1 bars, cold (with compilation or its cache) and warm. Run: python benchmarks/labels.py"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from feature_store.labels import LabelSpec, label_trades


def random_bars(n: int) -> dict[str, np.ndarray]:
    """A random walk with bars of about one ATR."""
    rng = np.random.default_rng(7)
    close = 1.1 * np.exp(np.cumsum(rng.normal(0, 1e-4, n)))
    open = np.append(close[0], close[:-1])
    wick = 5e-5 * rng.exponential(size=(2, n))
    bars = {"open": open, "high": np.maximum(open, close) + wick[0], "low": np.minimum(open, close) - wick[1], "close": close}
    return bars | {"close_times_s": 60 * np.arange(1, n + 1), "atr": np.full(n, 2e-4), "ask_spread_price": np.full(n, 1e-5)}


def main() -> None:
    bars = random_bars(1_000_000)
    for horizon_bars in (12, 288):
        for state in ("cold", "warm"):
            start = perf_counter()
            labels = label_trades(**bars, commission_price=7e-5, spec=LabelSpec(horizon_bars=horizon_bars))
            took_s = perf_counter() - start
            shares = np.bincount(labels.label, minlength=3) / len(labels)
            names = " ".join(f"{name} {share:.1%}" for name, share in zip(("short", "flat", "long"), shares, strict=True))
            print(f"horizon {horizon_bars:>3} bars, {state}: {took_s:.2f} s; {names}")


if __name__ == "__main__":
    main()
