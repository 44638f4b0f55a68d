"""What a broker shows of the generated mid price: spread, tick volume, and bid bars on the price grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_store.sources._market_draws import (
    DAY_MINUTES,
    WEEK_HOURS,
    WEEK_MINUTES,
    Draws,
    FloatArray,
    IntArray,
    News,
    to_minutes,
)
from feature_store.sources._market_tables import COSTS, OTHER_CROSS, volume_profile

_ROLL_FADES_MINUTES = 35.0
_ROLL_LOG_SD = 0.5
_SUNDAY_WIDER = 1.5
# Makes mean (high - low) / mean |r| 1.8 at M1 and 2.0 at H1, as in real bars: a minute has few ticks to reach out with.
_SEEN_SHARE_OF_VARIANCE = 0.92


@dataclass(frozen=True)
class Quotes:
    """The quoting side of one symbol by minute, drawn before any price."""

    spread_points: IntArray  # throughout the minute; at least 1
    tick_volume: IntArray  # 0: no tick fell into the minute and it has no bar


def spreads(draws: Draws, symbol: str, figures: News) -> IntArray:
    """Retail spread: flat, wide after the 17:00 New York roll, and for a few minutes around figures."""
    cost = COSTS.get(symbol, OTHER_CROSS)
    days = len(figures.jump) // DAY_MINUTES
    minute = np.arange(DAY_MINUTES)
    # The table's value is the median over the roll hour, which the fading spread passes at about minute 44.
    height = (cost.roll_spread_points / cost.spread_points - 1) * np.exp(44 / _ROLL_FADES_MINUTES)
    by_day = np.exp(_ROLL_LOG_SD * draws.normal(5, "roll spread", symbol)).reshape(days, 1)
    by_day[::5] *= _SUNDAY_WIDER
    # Liquidity leaves in the last minutes of the day already.
    ahead = 0.3 * np.exp(-(DAY_MINUTES - 1 - minute) / 5)
    roll = height * by_day * (np.exp(-minute / _ROLL_FADES_MINUTES) + ahead)
    level = draws.weekly(lambda rng: np.searchsorted([0.8, 0.93], rng.random(5)).astype(np.float64), "spread level", symbol)
    flicker = draws.weekly(lambda rng: rng.geometric(0.7, WEEK_MINUTES).astype(np.float64), "spread flicker", symbol)
    widened = (1 + roll.ravel()) * (1 + 1.5 * np.maximum(figures.excitement - 0.6, 0.0))
    points = (cost.spread_points + np.repeat(level, DAY_MINUTES)) * widened + flicker - 1
    return np.asarray(np.maximum(points.astype(np.int64), 1))


def volumes(draws: Draws, symbol: str, activity: FloatArray, move: FloatArray) -> IntArray:
    """Ticks of each minute. activity: log-volatility; move: absolute return in sd of the minute."""
    per_minute = np.repeat(draws.grid.by_hour(volume_profile(symbol)) / 60, 60)
    slow = to_minutes(draws.autoregression(WEEK_HOURS, 480.0, "volume", symbol, "slow"))
    noise = draws.normal(WEEK_MINUTES, "volume", symbol)
    mean = per_minute * np.exp(0.7 * activity + 0.5 * slow + 0.3 * noise) * (0.5 + 0.6 * np.minimum(move, 6.0))
    weeks = iter(mean.reshape(-1, WEEK_MINUTES))
    ticks = draws.weekly(lambda rng: rng.poisson(next(weeks)).astype(np.float64), "ticks", symbol).astype(np.int64)
    ticks[::60] = np.maximum(ticks[::60], 1)  # quotes are renewed on the hour: no H1 bar is missing
    return ticks


def quotes(draws: Draws, symbol: str, figures: News, activity: FloatArray, move: FloatArray) -> Quotes:
    """Spread and tick volume of `symbol`."""
    return Quotes(spreads(draws, symbol, figures), volumes(draws, symbol, activity, move))


def bid_points(mid: FloatArray, spread_points: IntArray, digits: int) -> FloatArray:
    """Bid in whole points under a mid price."""
    return np.rint(mid * 10.0**digits - spread_points / 2)


def bid_bars(
    draws: Draws, symbol: str, opens: FloatArray, closes: FloatArray, sd: FloatArray, spread_points: IntArray, digits: int
) -> dict[str, FloatArray]:
    """Open, high, low and close of the bid from the log mid at both ends of each minute.

    Extremes are those of a Brownian bridge between the two ends (its maximum has a closed form, in the log of
    a uniform number), over a variance that differs from minute to minute: some have long wicks.
    """
    move = closes - opens
    reach = _SEEN_SHARE_OF_VARIANCE * (sd**2 + move**2)

    def beyond(side: str) -> FloatArray:
        """Twice the distance of the extreme from the middle of open and close."""
        wick = draws.weekly(lambda rng: rng.standard_exponential((2, WEEK_MINUTES)).prod(axis=0), side, symbol)
        return np.sqrt(move**2 + reach * wick)

    middle = (opens + closes) / 2
    ends = {"open": opens, "high": middle + beyond("high") / 2, "low": middle - beyond("low") / 2, "close": closes}
    return {name: bid_points(np.exp(log_mid), spread_points, digits) / 10.0**digits for name, log_mid in ends.items()}
