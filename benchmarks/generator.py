"""Habits of the generated market against those of real majors, and how long it takes to make.

    python -m benchmarks.generator          # prints the table of docs/market_generator.md

Targets are those measured on public EURUSD, GBPUSD, USDJPY, AUDUSD, USDCHF and USDCAD bars, 2010 to 2024.
Real files covered up to fourteen years; a habit with a long memory shows less of itself in a single year.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import bar_open, epoch_s, resample, seconds
from feature_store.clock import new_york_hour
from feature_store.sources.generator import MarketConfig, generate

FloatArray = npt.NDArray[np.float64]
MAJORS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCHF", "USDCAD")
CORRELATIONS = {
    ("EURUSD", "GBPUSD"): 0.53, ("EURUSD", "USDCHF"): -0.75, ("EURUSD", "USDJPY"): -0.41,
    ("AUDUSD", "USDCAD"): -0.62, ("GBPUSD", "AUDUSD"): 0.48, ("USDJPY", "USDCHF"): 0.48,
}  # fmt: skip

# fact: (what real bars show, least, most) over a mean of seeds and majors
ACCEPT: dict[str, tuple[str, float, float]] = {
    "sd of H1 return, bp": ("10.9 (9.5 .. 13.6)", 9.5, 13.6),
    "sd M1 x sqrt(60) / sd H1": ("1 within 5 %", 0.95, 1.05),
    "sd M5 x sqrt(12) / sd H1": ("1 within 5 %", 0.95, 1.05),
    "sd M15 x sqrt(4) / sd H1": ("1 within 5 %", 0.95, 1.05),
    "tail index H1 (Hill, top 1 %)": ("3.5 (2.7 .. 4.2)", 2.7, 4.2),
    "tail index M1 (Hill, top 1 %)": ("3.2 (2.7 .. 4.2)", 2.7, 4.2),
    "ACF of r, M1, lag 1": ("-0.03 (-0.07 .. 0.01)", -0.07, 0.01),
    "ACF of r, M5, lag 1": ("-0.05 (-0.07 .. 0.01)", -0.07, 0.01),
    "ACF of r, H1, lag 1": ("-0.00 (-0.07 .. 0.01)", -0.07, 0.01),
    "root mean square ACF of r, H1, lags 2 to 12": ("within 0.02", 0.0, 0.02),
    "ACF of abs r less hour, H1, lag 1": ("0.17 (0.08 .. 0.34)", 0.15, 0.28),
    "ACF of abs r less hour, H1, 1 day": ("0.08 (0.03 .. 0.30)", 0.05, 0.17),
    "ACF of abs r less hour, M1, lag 1": ("0.24 (0.17 .. 0.28)", 0.17, 0.28),
    "sd of log daily volatility": ("0.36 (0.27 .. 0.51)", 0.32, 0.50),
    "ACF of log daily volatility, 1 day": ("0.34 (0.09 .. 0.72)", 0.25, 0.50),
    "ACF of log daily volatility, 5 days": ("0.26 (-0.01 .. 0.63)", 0.15, 0.40),
    "ACF of log daily volatility, 20 days": ("0.14 (-0.05 .. 0.45)", 0.05, 0.30),
    "volatility by hour, largest / smallest": ("4.2 (3 .. 5)", 3.0, 5.0),
    "mean (high-low) / mean abs r, H1": ("2.04 (about 2)", 1.95, 2.12),
    "mean (high-low) / mean abs r, M15": ("1.95 (1.9 .. 2.0)", 1.85, 2.05),
    "mean (high-low) / mean abs r, M1": ("1.72 (1.72 .. 1.80)", 1.65, 1.85),
    "weekend gap sd / sd H1": ("1.8 (1.3 .. 2.6)", 1.3, 2.6),
    "weekend gap, median abs, bp": ("5.6 (5.1 .. 8.4)", 4.5, 9.0),
    "weekend gap, p95 abs, bp": ("35 (21 .. 40)", 21.0, 50.0),
    "bars per full week, H1": ("120", 120.0, 120.0),
    "largest miss of six H1 correlations": ("0", 0.0, 0.15),
    "spread M30, median, times usual": ("1", 1.0, 1.1),
    "spread M30 at 17 h, median, times usual": ("2.3 (1.5 .. 3.3)", 1.5, 3.3),
    "spread M30 at 17 h, p95, times usual": ("4.3 (2.7 .. 7.5)", 2.7, 7.5),
    "spread, smallest, points": ("15", 1.0, 19.0),
    "log tick volume H1, sd within hour": ("0.63 (0.60 .. 0.71)", 0.50, 0.75),
    "ACF of log tick volume H1, 1 bar": ("0.83 (0.77 .. 0.83)", 0.75, 0.88),
    "ACF of log tick volume H1, 1 day": ("0.83 (0.77 .. 0.83)", 0.73, 0.88),
    "correlation log tick volume, log abs r": ("0.45 (0.33 .. 0.45)", 0.33, 0.48),
    "next sign from this return, AUC, H1": ("0.53 (0.49 .. 0.56)", 0.49, 0.56),
    "the same without 16 to 18 h": ("0.49 .. 0.56", 0.49, 0.515),
    "the same without 16 to 18 h, M15": ("0.49 .. 0.56", 0.49, 0.515),
}  # fmt: skip

# Habits with a long memory, over eight years and more.
ACCEPT_LONG: dict[str, tuple[str, float, float]] = {
    "ACF of abs r less hour, H1, lag 1": ("0.21 (0.17 .. 0.28)", 0.17, 0.28),
    "ACF of abs r less hour, H1, 1 day": ("0.13 (0.09 .. 0.17)", 0.09, 0.17),
    "sd of log daily volatility": ("0.44 (0.32 .. 0.50)", 0.32, 0.50),
    "ACF of log daily volatility, 1 day": ("0.56 (0.41 .. 0.68)", 0.41, 0.68),
    "ACF of log daily volatility, 5 days": ("0.54 (0.37 .. 0.66)", 0.37, 0.66),
    "ACF of log daily volatility, 20 days": ("0.46 (0.21 .. 0.58)", 0.21, 0.58),
    "volatility by hour, largest / smallest": ("4.2 (3 .. 5)", 3.0, 5.0),
}


def returns_bp(bars: pl.DataFrame, timeframe: str) -> FloatArray:
    """Close-to-close log return of each bar, basis points; NaN for the first bar and across a gap."""
    step = np.diff(epoch_s(bars["time"]))
    change = np.diff(np.log(bars["close"].to_numpy())) * 1e4
    return np.concatenate([[np.nan], np.where(step == seconds(timeframe), change, np.nan)])


def hill(values: FloatArray, share: float = 0.01) -> float:
    """Tail index of absolute values from the largest `share` of them."""
    largest = np.sort(np.abs(values[np.isfinite(values)]))[::-1][: int(share * np.isfinite(values).sum())]
    return float(1 / np.mean(np.log(largest[:-1] / largest[-1])))


def acf(values: FloatArray, lag: int) -> float:
    """Autocorrelation at `lag`; pairs with a NaN are left out."""
    deviation = values - np.nanmean(values)
    return float(np.nanmean(deviation[lag:] * deviation[:-lag]) / np.nanmean(deviation**2))


def auc(score: FloatArray, positive: npt.NDArray[np.bool_]) -> float:
    """Chance that a random positive scores above a random negative."""
    ranks = np.argsort(np.argsort(score)) + 1.0
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def by_hour(values: FloatArray, hours: npt.NDArray[np.int64], what: str) -> FloatArray:
    """Statistic `what` (a numpy function that skips NaN) of each of the 24 New York hours."""
    return np.array([getattr(np, what)(values[hours == h]) for h in range(24)])


def sign_auc(bars: pl.DataFrame, timeframe: str, leave_out: tuple[int, ...] = ()) -> float:
    """AUC of minus this bar's return for the sign of the next bar's; `leave_out` names hours of the next bar."""
    r, hours = returns_bp(bars, timeframe), new_york_hour(epoch_s(bars["time"]))
    keep = np.isfinite(r[:-1]) & np.isfinite(r[1:]) & (r[1:] != 0) & ~np.isin(hours[1:], leave_out)
    return auc(-r[:-1][keep], r[1:][keep] > 0)


def _volatility_facts(h1: pl.DataFrame, r: FloatArray, hours: npt.NDArray[np.int64]) -> dict[str, float]:
    profile = by_hour(r, hours, "nanstd")
    calm = np.abs(r) / profile[hours]
    day = bar_open(epoch_s(h1["time"]), "D1")
    frame = pl.DataFrame({"day": day, "r": r}).filter(pl.col("r").is_not_nan())
    daily = frame.group_by("day", maintain_order=True).agg((pl.col("r") ** 2).mean().sqrt().log(), pl.len().alias("n"))
    log_volatility = daily.filter(pl.col("n") >= 20)["r"].to_numpy()
    return {
        "ACF of abs r less hour, H1, lag 1": acf(calm, 1),
        "ACF of abs r less hour, H1, 1 day": acf(calm, 24),
        "sd of log daily volatility": float(log_volatility.std()),
        **{f"ACF of log daily volatility, {n} day{'s' * (n > 1)}": acf(log_volatility, n) for n in (1, 5, 20)},
        "volatility by hour, largest / smallest": float(profile.max() / profile.min()),
    }


def _gap_facts(h1: pl.DataFrame, sd: float) -> dict[str, float]:
    time = epoch_s(h1["time"])
    weekend = np.diff(time) > 40 * 3600
    gap = (np.log(h1["open"].to_numpy()[1:]) - np.log(h1["close"].to_numpy()[:-1]))[weekend] * 1e4
    weeks = np.unique(bar_open(time, "W1"), return_counts=True)[1]
    return {
        "weekend gap sd / sd H1": float(gap.std() / sd),
        "weekend gap, median abs, bp": float(np.median(np.abs(gap))),
        "weekend gap, p95 abs, bp": float(np.quantile(np.abs(gap), 0.95)),
        "bars per full week, H1": float(np.median(weeks[1:-1])),
    }


def _broker_facts(h1: pl.DataFrame, m30: pl.DataFrame, r: FloatArray, hours: npt.NDArray[np.int64]) -> dict[str, float]:
    spread = m30["spread_points"].to_numpy().astype(np.float64)
    roll = spread[new_york_hour(epoch_s(m30["time"])) == 17]
    usual = float(spread.min())
    volume = np.log(h1["tick_volume"].to_numpy())
    moved = np.isfinite(r) & (r != 0)
    return {
        "spread M30, median, times usual": float(np.median(spread)) / usual,
        "spread M30 at 17 h, median, times usual": float(np.median(roll)) / usual,
        "spread M30 at 17 h, p95, times usual": float(np.quantile(roll, 0.95)) / usual,
        "spread, smallest, points": usual,
        "log tick volume H1, sd within hour": float(by_hour(volume, hours, "nanstd").mean()),
        "ACF of log tick volume H1, 1 bar": acf(volume, 1),
        "ACF of log tick volume H1, 1 day": acf(volume, 24),
        "correlation log tick volume, log abs r": float(np.corrcoef(volume[moved], np.log(np.abs(r[moved])))[0, 1]),
    }


def facts(m1: pl.DataFrame) -> dict[str, float]:
    """Habits of one symbol from its M1 bars; keys are those of `ACCEPT`, save for correlations."""
    frames = {"M1": m1, **{timeframe: resample(m1, timeframe) for timeframe in ("M5", "M15", "M30", "H1")}}
    r = {timeframe: returns_bp(frame, timeframe) for timeframe, frame in frames.items()}
    h1 = frames["H1"]
    hours, sd = new_york_hour(epoch_s(h1["time"])), float(np.nanstd(r["H1"]))
    m1_hours = new_york_hour(epoch_s(m1["time"]))
    roll = (16, 17, 18)
    return {
        "sd of H1 return, bp": sd,
        **{
            f"sd {tf} x sqrt({3600 // seconds(tf)}) / sd H1": float(np.nanstd(r[tf])) * np.sqrt(3600 / seconds(tf)) / sd
            for tf in ("M1", "M5", "M15")
        },
        **{f"tail index {tf} (Hill, top 1 %)": hill(r[tf]) for tf in ("H1", "M1")},
        **{f"ACF of r, {tf}, lag 1": acf(r[tf], 1) for tf in ("M1", "M5", "H1")},
        "root mean square ACF of r, H1, lags 2 to 12": float(np.sqrt(np.mean([acf(r["H1"], lag) ** 2 for lag in range(2, 13)]))),
        "ACF of abs r less hour, M1, lag 1": acf(np.abs(r["M1"]) / by_hour(r["M1"], m1_hours, "nanstd")[m1_hours], 1),
        **{
            f"mean (high-low) / mean abs r, {tf}": float(
                np.mean(np.log((frames[tf]["high"] / frames[tf]["low"]).to_numpy())) * 1e4 / np.nanmean(np.abs(r[tf]))
            )
            for tf in ("H1", "M15", "M1")
        },
        **_volatility_facts(h1, r["H1"], hours),
        **_gap_facts(h1, sd),
        **_broker_facts(h1, frames["M30"], r["H1"], hours),
        "next sign from this return, AUC, H1": sign_auc(h1, "H1"),
        "the same without 16 to 18 h": sign_auc(h1, "H1", roll),
        "the same without 16 to 18 h, M15": sign_auc(frames["M15"], "M15", roll),
    }


def correlations(m1: dict[str, pl.DataFrame]) -> dict[tuple[str, str], float]:
    """Correlation of H1 returns of the pairs in `CORRELATIONS`."""
    r = {symbol: returns_bp(resample(frame, "H1"), "H1") for symbol, frame in m1.items()}
    finite = np.all([np.isfinite(values) for values in r.values()], axis=0)
    return {pair: float(np.corrcoef(r[pair[0]][finite], r[pair[1]][finite])[0, 1]) for pair in CORRELATIONS}


def measure(seeds: tuple[int, ...], days: int, edge: float = 0.0) -> dict[str, FloatArray]:
    """Facts of every seed and major: (n_seeds * 6,); correlations one value a seed."""
    rows: list[dict[str, float]] = []
    misses: list[float] = []
    for seed in seeds:
        start = datetime(2021, 1, 3, 22, tzinfo=UTC)
        market = generate(MarketConfig(symbols=MAJORS, start=start, days=days, seed=seed, edge=edge))
        m1 = {symbol: market.bars(symbol) for symbol in MAJORS}
        rows += [facts(frame) for frame in m1.values()]
        misses.append(max(abs(value - CORRELATIONS[pair]) for pair, value in correlations(m1).items()))
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {**table, "largest miss of six H1 correlations": np.array(misses)}


def measure_long(seeds: tuple[int, ...], years: int = 8) -> dict[str, FloatArray]:
    """Facts with a long memory of EURUSD and USDJPY: (n_seeds * 2,)."""
    rows: list[dict[str, float]] = []
    for seed in seeds:
        start = datetime(2013, 1, 6, 22, tzinfo=UTC)
        market = generate(MarketConfig(symbols=("EURUSD", "USDJPY"), start=start, days=364 * years, seed=seed))
        for symbol in market.config.symbols:
            h1 = resample(market.bars(symbol), "H1")
            rows.append(_volatility_facts(h1, returns_bp(h1, "H1"), new_york_hour(epoch_s(h1["time"]))))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def timing() -> str:
    """Seconds to make a year of M1 of four symbols, and how many bars that is."""
    begin = perf_counter()
    market = generate(MarketConfig(start=datetime(2023, 1, 1, tzinfo=UTC), days=365, seed=1, edge=3.0))
    bars = sum(market.bars(symbol).height for symbol in market.config.symbols)
    return f"{bars:,} bars of M1 (a year, four symbols, planted edge) in {perf_counter() - begin:.2f} s"


def print_table(title: str, accept: dict[str, tuple[str, float, float]], measured: dict[str, FloatArray]) -> None:
    print(f"\n| {title} | real: middle (range) | generated: mean | least | most |\n|---|---|---|---|---|")
    for name, (target, low, high) in accept.items():
        values = measured[name]
        mark = "" if low <= values.mean() <= high else " **out of range**"
        print(f"| {name} | {target} | {values.mean():.3g}{mark} | {values.min():.3g} | {values.max():.3g} |")


def main() -> None:
    print(timing())
    print_table("one year, six majors, seeds 1 to 3", ACCEPT, measure(seeds=(1, 2, 3), days=364))
    print_table("eight years, EURUSD and USDJPY, seeds 1 to 3", ACCEPT_LONG, measure_long(seeds=(1, 2, 3)))


if __name__ == "__main__":
    main()
