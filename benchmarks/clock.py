"""Telling the clock of 1,000,000 M1 bars, beside sorting as many floats in the same run: `python -m benchmarks.clock`."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from feature_store.clock import is_open_s, utc_to_server
from feature_store.clock_inference import infer_clock

WEEKS, RUNS, START_S = 146, 5, 1_514_851_200  # from a Tuesday in January 2018


def main() -> None:
    minutes = START_S + 60 * np.arange(WEEKS * 7 * 1440, dtype=np.int64)
    utc_s = minutes[is_open_s("bench", minutes)]
    random = np.random.default_rng(0)
    # Busy from 3 to 12 New York time, more or less, as real markets are.
    busy = 1.0 + 2.0 * np.clip(np.sin((utc_s // 3600 % 24 - 6) / 12 * np.pi), 0.0, 1.0)
    close = 1.1 * np.exp(np.cumsum(random.normal(0.0, 1e-5, len(utc_s)) * busy))
    wall_s = utc_to_server(utc_s, "eet")
    told, sorting = [], []
    for _ in range(RUNS):
        start = perf_counter()
        verdict = infer_clock(wall_s, close, "M1", "EURUSD")
        middle = perf_counter()
        np.sort(close)
        told.append(middle - start)
        sorting.append(perf_counter() - middle)
    print(
        f"{len(utc_s):,} bars: told {verdict.rule} in {min(told) * 1000:.0f} ms (first call {told[0] * 1000:.0f} ms), "
        f"{min(told) / min(sorting):.2f} x sorting as many floats"
    )


if __name__ == "__main__":
    main()
