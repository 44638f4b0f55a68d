"""A market made to order: M1 bars of several majors with the habits of real ones, and an edge of known size.

Its measured habits stand in docs/market_generator.md. Every currency moves against the dollar by drivers that
it shares with others; a pair is the difference of two currencies, so crosses equal products of majors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from feature_store import bars as bar_frames
from feature_store._errors import Final
from feature_store.clock import is_open_s, new_york_hour
from feature_store.sources._market_bars import Quotes, bid_bars, quotes
from feature_store.sources._market_draws import CurrencyPath, Draws, FloatArray, Grid, IntArray, Shocks
from feature_store.sources._market_edge import HourlyChart, hourly_drift
from feature_store.sources._market_tables import COSTS, CURRENCIES, OTHER_CROSS, PRECEDENCE
from feature_store.symbols import SymbolSpec, assumed_spec

DEFAULT_EDGE = 11.0
"""Planted edge of the demo: net Sharpe a year of trading the true conditional mean."""

# (Net Sharpe a year of trading the true conditional mean, amplitude of the drift in sd of the hour), measured with our
# own backtest: `python -m benchmarks.edge_calibration`. A weaker drift does not pay its costs.
_AMPLITUDE_FOR_SHARPE: tuple[tuple[float, float], ...] = (
    (1.1, 0.10), (3.7, 0.15), (6.7, 0.20), (10.0, 0.25), (13.7, 0.30), (21.8, 0.40),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MarketConfig:
    """What market to make. The market's weekends and holidays count as days."""

    symbols: tuple[str, ...] = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD")
    start: datetime
    days: int
    seed: int
    edge: float = 0.0  # net Sharpe a year of trading the true conditional mean through our backtest

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise Final(f"market start {self.start} has no time zone; give an aware moment such as 2023-01-01 00:00 UTC")
        if self.days < 1:
            raise Final(f"market of {self.days} days; ask for at least 1")
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise Final(f"market symbols {self.symbols} must be at least one, each named once")
        for symbol in self.symbols:
            _legs(symbol)
        amplitude_of(self.edge)
        if not is_open_s("generated", np.arange(*self.span_s, 3600)).any():
            raise Final(
                f"market of {self.days} days from {self.start}: it is closed all the time; start on a weekday or ask for more"
            )

    @property
    def span_s(self) -> tuple[int, int]:
        """First moment and the one after the last, epoch seconds."""
        start_s = int(self.start.timestamp())
        return start_s, start_s + self.days * 86400


def _legs(symbol: str) -> tuple[str, str]:
    """Base and quote currency of a pair the generator can make. Raises `Final` for others."""
    base, quote = symbol[:3], symbol[3:]
    if base in PRECEDENCE and quote in PRECEDENCE and PRECEDENCE.index(base) < PRECEDENCE.index(quote):
        return base, quote
    raise Final(
        f"symbol {symbol!r} cannot be generated; use two of {', '.join(PRECEDENCE)} in this order, such as EURUSD or EURJPY"
    )


def amplitude_of(edge: float) -> float:
    """Amplitude of the hourly drift, in sd of the hour, whose true mean traded earns a net Sharpe of `edge` a year."""
    if edge == 0:
        return 0.0
    sharpes, amplitudes = zip(*_AMPLITUDE_FOR_SHARPE, strict=True)
    if not (math.isfinite(edge) and sharpes[0] <= edge <= sharpes[-1]):
        raise Final(f"edge {edge} was never measured; use 0 (no edge), or a net Sharpe of {sharpes[0]:g} to {sharpes[-1]:g}")
    return float(np.interp(edge, sharpes, amplitudes))


class Market:
    """One generated market. Bars are made when first asked for.

    `generate` is the way to one; calibration alone gives an amplitude of the planted drift of its own.
    """

    def __init__(self, config: MarketConfig, amplitude: float) -> None:
        self.config = config
        self._amplitude = amplitude
        self._grid = Grid.covering(*config.span_s)
        self._draws = Draws(config.seed, self._grid)
        self._shocks = Shocks(self._draws)
        self._paths: dict[str, CurrencyPath] = {}
        self._quotes: dict[str, Quotes] = {}
        self._drifts: dict[str, FloatArray] = {}
        self._arrays: dict[str, dict[str, FloatArray | IntArray]] = {}

    def bars(self, symbol: str) -> pl.DataFrame:
        """M1 bars of `symbol`, columns of `bars.SCHEMA`. Minutes without a tick have none."""
        arrays = self.arrays(symbol)
        frame = pl.DataFrame({name: arrays[name] for name in arrays if name != "time"})
        return bar_frames.conform(frame.with_columns(pl.Series("time", arrays["time"] * 1000).cast(pl.Datetime("ms"))))

    def arrays(self, symbol: str) -> dict[str, FloatArray | IntArray]:
        """The same bars as arrays: time (open, epoch s), open, high, low, close, spread_points, tick_volume."""
        self._check(symbol)
        if symbol not in self._arrays:
            self._arrays[symbol] = self._make(symbol)
        return self._arrays[symbol]

    def spec(self, symbol: str, feed: str) -> SymbolSpec:
        """What the broker of this market says of `symbol`."""
        self._check(symbol)
        cost = COSTS.get(symbol, OTHER_CROSS)
        usual = assumed_spec(feed, symbol)
        return replace(usual, swap_long=cost.swap_long, swap_short=cost.swap_short, source="broker")

    def truth(self, symbol: str, timeframe: str) -> tuple[IntArray, FloatArray]:
        """Opens of the bars (epoch s), and the mean log return of the NEXT bar as known at this bar's close.

        For tests and calibration. The mean is of the mid price; timeframes up to H1, because past the coming
        hour the drift depends on what happens in it. Raises `Final` for longer ones.
        """
        length = bar_frames.seconds(timeframe)
        if length > 3600:
            raise Final(f"truth of {timeframe} bars is not known in advance; use M1 to H1")
        opens = np.unique(bar_frames.bar_open(np.asarray(self.arrays(symbol)["time"], dtype=np.int64), timeframe))
        hour_opens = self._grid.opens_s[::60][self._grid.is_open[::60]]
        drift = np.append(self._drift(symbol)[self._grid.is_open[::60]], 0.0)
        # Past the last hour comes a roll hour, which has no drift: weeks and holidays end at 17:00 New York.
        coming = np.searchsorted(hour_opens + 3600, opens + length, side="right")
        return opens, drift[coming] * (length / 3600)

    def _check(self, symbol: str) -> None:
        if symbol not in self.config.symbols:
            raise Final(f"symbol {symbol!r} is not in this market; it has {', '.join(self.config.symbols)}")

    def _path(self, currency: str) -> CurrencyPath:
        if currency not in self._paths:
            self._paths[currency] = self._shocks.path(currency)
        return self._paths[currency]

    def _sum(self, symbol: str, part: str) -> FloatArray:
        """A part of the log price of `symbol`: that of its base less that of its quote currency."""
        base, quote = (0.0 if c == "USD" else getattr(self._path(c), part) for c in _legs(symbol))
        return np.asarray(base - quote, dtype=np.float64)

    def _sd(self, symbol: str) -> FloatArray:
        """Sd of the minute's return of `symbol`."""
        base, quote = _legs(symbol)
        if "USD" in (base, quote):
            return self._path(quote if base == "USD" else base).sd
        first, second = self._path(base).sd, self._path(quote).sd
        other = dict(CURRENCIES[quote].loadings)
        correlation = sum(loading * other.get(driver, 0.0) for driver, loading in CURRENCIES[base].loadings)
        return np.sqrt(first**2 + second**2 - 2 * correlation * first * second)

    def _quoted(self, symbol: str) -> Quotes:
        if symbol not in self._quotes:
            activity = np.mean([self._path(c).activity for c in _legs(symbol) if c != "USD"], axis=0)
            move = np.abs(self._sum(symbol, "noise")) / self._sd(symbol)
            self._quotes[symbol] = quotes(self._draws, symbol, self._shocks.news, activity, move)
        return self._quotes[symbol]

    def _undrifted(self, symbol: str) -> FloatArray:
        """Log mid price at the end of each minute, without the planted drift."""
        start = sum(sign * _log_price(c) for sign, c in zip((1, -1), _legs(symbol), strict=True))
        return start + np.cumsum(self._sum(symbol, "noise") + self._sum(symbol, "gap"))

    def _drift(self, symbol: str) -> FloatArray:
        """Drift of each hour. It is planted in the majors, each by its own bars; crosses inherit it."""
        if symbol not in self._drifts:
            base, quote = _legs(symbol)
            if "USD" in (base, quote):
                self._drifts[symbol] = self._planted(symbol, quote if base == "USD" else base)
            else:
                signs = (-1 if CURRENCIES[c].dollar_first else 1 for c in (base, quote))
                first, second = (sign * self._drift(CURRENCIES[c].symbol) for sign, c in zip(signs, (base, quote), strict=True))
                self._drifts[symbol] = first - second
        return self._drifts[symbol]

    def _planted(self, major: str, currency: str) -> FloatArray:
        quoted = self._quoted(major)
        ticked = (quoted.tick_volume > 0).reshape(-1, 60)
        last_minute = 59 - np.argmax(ticked[:, ::-1], axis=1)
        at = np.arange(len(ticked)) * 60 + last_minute
        chart = HourlyChart(
            log_mid=self._undrifted(major)[at],
            last_minute=last_minute,
            spread_points=quoted.spread_points[at],
            is_open=self._grid.is_open[::60],
            new_york_hour=new_york_hour(self._grid.opens_s[::60]),
            sd=self._path(currency).hour_sd,
            digits=assumed_spec("", major).digits,
        )
        return hourly_drift(chart, self._amplitude)

    def _make(self, symbol: str) -> dict[str, FloatArray | IntArray]:
        quoted, digits = self._quoted(symbol), assumed_spec("", symbol).digits
        closes = self._undrifted(symbol) + np.cumsum(np.repeat(self._drift(symbol) / 60, 60))
        before = np.concatenate([closes[:1], closes[:-1]])
        opens = before + self._sum(symbol, "gap") + self._sum(symbol, "first_tick")
        prices = bid_bars(self._draws, symbol, opens, closes, self._sd(symbol), quoted.spread_points, digits)
        time, (start_s, end_s) = self._grid.opens_s, self.config.span_s
        keep = self._grid.is_open & (quoted.tick_volume > 0) & (time >= start_s) & (time < end_s)
        columns: dict[str, FloatArray | IntArray] = {"time": time, **prices}
        columns |= {"spread_points": quoted.spread_points, "tick_volume": quoted.tick_volume}
        for name in columns:
            columns[name] = columns[name][keep]
            columns[name].setflags(write=False)  # handed out to several readers
        return columns


def _log_price(currency: str) -> float:
    """Log of the dollar price of a currency when a market starts."""
    if currency == "USD":
        return 0.0
    return math.log(CURRENCIES[currency].price) * (-1 if CURRENCIES[currency].dollar_first else 1)


def generate(config: MarketConfig) -> Market:
    """The market of `config`. Same configuration, same bars; more days or symbols change none of them."""
    return Market(config, amplitude_of(config.edge))
