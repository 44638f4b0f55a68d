"""Chance of the generated market: every draw is named by what it is and by its week.

A week is 7,200 open minutes, Sunday 17:00 to Friday 17:00 New York. Because a draw never depends on how many
weeks or symbols were asked for, a longer market begins with the shorter one, bit for bit, and another symbol
moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.clock import is_open_s, server_to_utc, utc_to_server
from feature_store.seeds import seed_of
from feature_store.sources._market_tables import CURRENCIES, NEWS, Currency

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_MINUTES, WEEK_MINUTES, WEEK_HOURS = 1440, 7200, 120
_RULE = "ny+7"  # in this clock the FX day starts at 00:00 and the week on Monday
_MONDAY_S = 4 * 86400

# Log-volatility is a sum of AR(1) processes, (half-life in trading hours, sd). The last is drawn by the minute.
_SLOW_VOLATILITY = ((1080.0, 0.33), (24.0, 0.18), (3.0, 0.30))
_FAST_VOLATILITY = (1 / 3, 0.38)
_COMMON_SHARE = 0.65  # of the variance of log-volatility that all currencies share
_TAIL_FREEDOM = 4.5  # Student's t of a minute
_NEWS_SIZE = (3.0, 8.0)  # jump in sd of a minute
_NEWS_SURPRISE = (0.12, 4.0)  # share of figures that surprise, and how much larger they are
_AFTERSHOCK, _AFTERSHOCK_MINUTES = 1.0, 12.0
_GAP_FREEDOM, _GAP_SIZE, _GAP_LIMIT = 1.6, 0.52, 12.0  # weekend gap, in sd of an H1 return


@dataclass(frozen=True)
class Grid:
    """The minutes of whole trading weeks: week numbers counted from 5 January 1970."""

    weeks: tuple[int, ...]

    @classmethod
    def covering(cls, start_s: int, end_s: int) -> Grid:
        """Weeks that hold the moments `start_s` to `end_s`, end excluded."""
        server = utc_to_server(np.array([start_s, end_s - 1], dtype=np.int64), _RULE)
        first, last = ((server - _MONDAY_S) // (7 * 86400)).tolist()
        return cls(tuple(range(first, last + 1)))

    @cached_property
    def opens_s(self) -> IntArray:
        """Open of each minute, UTC epoch seconds. Daylight saving changes only between weeks."""
        mondays = server_to_utc(np.array(self.weeks, dtype=np.int64) * (7 * 86400) + _MONDAY_S, _RULE)
        return (mondays[:, None] + np.arange(WEEK_MINUTES, dtype=np.int64) * 60).ravel()

    @cached_property
    def is_open(self) -> npt.NDArray[np.bool_]:
        """Minutes on which the market quotes: all but holidays."""
        return is_open_s("generated", self.opens_s)

    def by_hour(self, profile: tuple[float, ...]) -> FloatArray:
        """Profile by New York hour spread over the hours of the grid: (n_weeks * 120,)."""
        day: FloatArray = np.roll(np.array(profile), -17)
        return np.tile(day, len(self.weeks) * 5)


def _remembered(inputs: FloatArray, decay: float, before: float) -> FloatArray:
    """state = decay x last state + input, from the state `before` the first."""
    # polars' recursive mean weighs inputs by 1 - decay. (scipy.signal has this too, but takes 1.6 s to import.)
    padded = pl.Series(np.concatenate([[before], inputs / (1 - decay)]))
    return padded.ewm_mean(alpha=1 - decay, adjust=False).to_numpy()[1:]


@dataclass(frozen=True)
class Draws:
    """Named draws of one run seed over a grid."""

    seed: int
    grid: Grid

    def weekly(self, draw: Callable[[np.random.Generator], FloatArray], *names: str) -> FloatArray:
        """Draws of all weeks in a row; each week has its own generator."""
        rngs = (np.random.default_rng(seed_of(self.seed, "market", *names, week)) for week in self.grid.weeks)
        return np.concatenate([draw(rng) for rng in rngs])

    def normal(self, size: int, *names: str) -> FloatArray:
        """Standard normal numbers, `size` a week."""
        return self.weekly(lambda rng: rng.standard_normal(size), *names)

    def autoregression(self, per_week: int, half_life: float, *names: str) -> FloatArray:
        """AR(1) with unit variance, stationary from its first value; `half_life` in steps."""
        decay = 0.5 ** (1 / half_life)
        before = np.random.default_rng(seed_of(self.seed, "market", *names, "before", self.grid.weeks[0])).standard_normal()
        noise = self.normal(per_week, *names)
        return _remembered(np.sqrt(1 - decay**2) * noise, decay, before)


def to_minutes(hourly: FloatArray) -> FloatArray:
    """Hourly states as a line through the minutes of each hour, ending at the hour's own state."""
    before = np.concatenate([hourly[:1], hourly[:-1]])
    lines = before[:, None] + (hourly - before)[:, None] * (np.arange(1, 61) / 60)
    return np.asarray(lines.ravel())


def _log_volatility(draws: Draws, name: str) -> FloatArray:
    slow = np.zeros(WEEK_HOURS * len(draws.grid.weeks))
    for half_life, sd in _SLOW_VOLATILITY:
        slow += sd * draws.autoregression(WEEK_HOURS, half_life, "volatility", name, f"{half_life:g}h")
    half_life, sd = _FAST_VOLATILITY
    return to_minutes(slow) + sd * draws.autoregression(WEEK_MINUTES, half_life * 60, "volatility", name, "fast")


@dataclass(frozen=True)
class News:
    """Figures that moved the market."""

    jump: FloatArray  # of the dollar, in sd of a minute; 0 where there was none
    excitement: FloatArray  # 1 at the minute of a figure, then decaying


def news(draws: Draws) -> News:
    """The week's figures, drawn by day and hour of release."""
    jump = np.zeros(len(draws.grid.opens_s))
    by_day = jump.reshape(-1, DAY_MINUTES)
    for minute, share in NEWS:
        uniform = draws.weekly(lambda rng: rng.random((5, 4)), "news", str(minute))
        size = _NEWS_SIZE[0] + (_NEWS_SIZE[1] - _NEWS_SIZE[0]) * uniform[:, 1]
        size *= np.where(uniform[:, 2] < _NEWS_SURPRISE[0], _NEWS_SURPRISE[1], 1.0)
        sign = np.where(uniform[:, 3] < 0.5, -1.0, 1.0)
        by_day[:, (minute + 7 * 60) % DAY_MINUTES] = np.where(uniform[:, 0] < share, size * sign, 0.0)
    decay = np.exp(-1 / _AFTERSHOCK_MINUTES)
    return News(jump, _remembered((jump != 0).astype(np.float64), float(decay), 0.0))


def _news_variance(dollar_loading: float) -> FloatArray:
    """Mean variance that news adds to each New York hour, as a multiple of the hour's own: (24,)."""
    low, high = _NEWS_SIZE
    share, larger = _NEWS_SURPRISE
    square = (low**2 + low * high + high**2) / 3 * (1 + share * (larger**2 - 1))
    after = _AFTERSHOCK * np.exp(-np.arange(120) / _AFTERSHOCK_MINUTES)
    boost = (1 + after) ** 2 - 1
    added = np.zeros(24 * 60)
    for minute, chance in NEWS:
        added[minute : minute + 120] += chance * boost
        added[minute] += chance * square * (1 + _AFTERSHOCK) ** 2 * dollar_loading**2
    return np.asarray(added.reshape(24, 60).mean(axis=1))


@dataclass(frozen=True)
class CurrencyPath:
    """One currency against the dollar, before any planted drift. Arrays by minute, natural logs."""

    noise: FloatArray  # return of the minute
    gap: FloatArray  # jump before its open
    first_tick: FloatArray  # part of `noise` that its opening tick already shows
    sd: FloatArray  # of the minute's return as known to the market
    hour_sd: FloatArray  # (hours,) of an H1 return by New York hour alone
    activity: FloatArray  # log-volatility, what tick volume follows


class Shocks:
    """Shocks of one market: drivers shared between currencies are drawn once."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._shared: dict[str, FloatArray] = {}
        self.news = news(draws)
        self._common = _log_volatility(draws, "common")

    def _driver(self, name: str) -> FloatArray:
        if name not in self._shared:
            scale = np.sqrt((_TAIL_FREEDOM - 2) / _TAIL_FREEDOM)
            shock = scale * self._draws.weekly(lambda rng: rng.standard_t(_TAIL_FREEDOM, WEEK_MINUTES), "driver", name)
            self._shared[name] = shock + self.news.jump if name == "dollar" else shock
        return self._shared[name]

    def _mix(self, name: str, currency: Currency, of: Callable[[str], FloatArray]) -> FloatArray:
        """Unit-variance sum of the currency's drivers and its own."""
        own = np.sqrt(1 - sum(loading**2 for _, loading in currency.loadings))
        total = own * of(name)
        for driver, loading in currency.loadings:
            total = total + loading * of(driver)
        return np.asarray(total)

    def _gaps(self, name: str, currency: Currency) -> FloatArray:
        """Weekend gap of each week in sd of an H1 return; none before the first week."""
        # One fat-tailed size for all currencies: a weekend is quiet or eventful for everybody.
        size = self._draws.weekly(lambda rng: 1 / np.sqrt(rng.chisquare(_GAP_FREEDOM, 1) / _GAP_FREEDOM), "gap size")
        gaps = _GAP_SIZE * size * self._mix(name, currency, lambda driver: self._draws.normal(1, "gap", driver))
        gaps[0] = 0.0
        return np.clip(gaps, -_GAP_LIMIT, _GAP_LIMIT)

    def path(self, name: str) -> CurrencyPath:
        """Path of the currency `name` against the dollar."""
        currency, grid = CURRENCIES[name], self._draws.grid
        own = _log_volatility(self._draws, name)
        log_volatility = np.sqrt(_COMMON_SHARE) * self._common + np.sqrt(1 - _COMMON_SHARE) * own
        variance = sum(sd**2 for _, sd in (*_SLOW_VOLATILITY, _FAST_VOLATILITY))
        volatility = np.exp(log_volatility - variance) * (1 + _AFTERSHOCK * self.news.excitement)
        profile = np.array(currency.volatility_bp) * 1e-4
        hour_sd = grid.by_hour(tuple(profile))
        calm = profile / np.sqrt(1 + _news_variance(dict(currency.loadings)["dollar"]))
        sd = np.repeat(grid.by_hour(tuple(calm)) / np.sqrt(60), 60) * volatility
        noise = np.where(grid.is_open, sd * self._mix(name, currency, self._driver), 0.0)
        gap = np.zeros(len(noise))
        gap[::WEEK_MINUTES] = self._gaps(name, currency) * np.sqrt(np.mean(profile**2))
        first_tick = 0.15 * sd * self._draws.normal(WEEK_MINUTES, "first tick", name)
        return CurrencyPath(noise, gap, first_tick, sd, hour_sd, log_volatility)
