"""What a planted edge is worth: net Sharpe a year of trading the true conditional mean through our own backtest.

Run `python -m benchmarks.edge_calibration [SEEDS]`. Prints, per amplitude of the planted drift, the mean over
seeds and its standard error. The means, made monotone, are `_AMPLITUDE_FOR_SHARPE` in
feature_store/sources/generator.py.

The trader of the truth knows the mean of the coming hour and nothing else. It decides at H1 closes like any
model: long or short when twice that mean exceeds the round trip's cost (the drift lasts for about two hours),
stop and target at 1.5 ATR, at most 12 bars, 0.1 lots, the generator's own spreads, 3.5 USD commission a lot
and side, swaps, default risk limits.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import numpy as np

from feature_store.atr import atr
from feature_store.bars import epoch_s, resample
from feature_store.sources.generator import Market, MarketConfig
from serving.backtest import LineInput, prepare, run
from serving.decision import BARRIER, LOTS, DecisionSpec
from serving.settings import RiskSettings

AMPLITUDES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40)
DAYS = 365
SPEC = DecisionSpec(
    mode=BARRIER, threshold_long=0.5, threshold_short=0.5, stop_atr=1.5, target_atr=1.5, horizon_bars=12,
    sizing=LOTS, risk_fraction=0.01, fixed_lots=0.1,
)  # fmt: skip
LASTS_HOURS = 2.0


def sharpe_of_truth(amplitude: float, seed: int) -> float:
    """Net Sharpe a year of trading the true mean of a market of that amplitude."""
    market = Market(MarketConfig(start=datetime(2023, 1, 1, tzinfo=UTC), days=DAYS, seed=seed), amplitude)
    bars, specs, lines = {}, {}, []
    for symbol in market.config.symbols:
        frame = resample(market.bars(symbol), "H1")
        spec = market.spec(symbol, "calibration")
        opens, mean = market.truth(symbol, "H1")
        if not np.array_equal(opens, epoch_s(frame["time"])):
            raise ValueError(f"{symbol}: truth and bars do not stand on the same times")
        close = frame["close"].to_numpy()
        commission = 2.0 * spec.commission_per_lot / spec.contract_size * (1.0 if spec.profit_currency == "USD" else close)
        cost = (frame["spread_points"].to_numpy() * spec.point + commission) / close
        wanted = np.where(LASTS_HOURS * np.abs(mean) > cost, np.sign(mean), 0.0)
        probabilities = np.column_stack([wanted < 0, wanted == 0, wanted > 0]).astype(np.float64)
        ranges = atr(frame["high"].to_numpy(), frame["low"].to_numpy(), close)
        bars[symbol], specs[symbol] = frame, spec
        lines.append(LineInput(symbol, symbol, "H1", SPEC, opens, probabilities, ranges))
    data = prepare(
        bars,
        "H1",
        specs,
        dict.fromkeys(bars, np.zeros(24)),
        lines,
        feed="calibration",
        currency="USD",
        start_balance=100_000.0,
        limits=RiskSettings().limits(),
        resume_next_day=True,
    )
    return run(data).totals.net_sharpe


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    print(f"| amplitude | net Sharpe a year | standard error | ({seeds} seeds of {DAYS} days)\n|---|---|---|")
    for amplitude in AMPLITUDES:
        found = np.array([sharpe_of_truth(amplitude, seed) for seed in range(seeds)])
        print(f"| {amplitude:.2f} | {np.nanmean(found):+.2f} | {np.nanstd(found) / np.sqrt(seeds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
