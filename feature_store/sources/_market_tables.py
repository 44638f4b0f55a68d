"""What the generated market is made of: measured levels and profiles of real majors, 2010 to 2024.

Profiles have 24 entries, by New York hour. Volatility: sd of the H1 return in basis points. Spread: points
of a retail MetaTrader 5 account. Volume: median ticks of an H1 bar.
"""

from __future__ import annotations

from dataclasses import dataclass

HourProfile = tuple[float, ...]


@dataclass(frozen=True)
class Currency:
    """One currency against the US dollar; `symbol` is the major that quotes it."""

    symbol: str
    dollar_first: bool  # USDJPY: the pair rises when the currency falls
    price: float  # of `symbol` when a market starts
    loadings: tuple[tuple[str, float], ...]  # on drivers shared with other currencies, sum of squares below 1
    volatility_bp: HourProfile


# Loadings reproduce the H1 correlations of 2013 to 2022 within about 0.1: EUR-CHF 0.75, AUD-CAD 0.62, EUR-GBP 0.53.
# CHF at 04 h is without 15 January 2015, when its floor fell.
CURRENCIES: dict[str, Currency] = {
    "EUR": Currency(
        "EURUSD", False, 1.10, (("dollar", 0.87), ("europe", 0.41)),
        (5.3, 7.3, 10.9, 14.9, 12.8, 11.6, 10.6, 11.2, 18.9, 15.8, 17.4, 12.6,
         10.3, 10.2, 11.8, 8.4, 5.8, 4.2, 6.4, 6.8, 8.6, 7.9, 7.5, 5.3),
    ),
    "GBP": Currency(
        "GBPUSD", False, 1.27, (("dollar", 0.71),),
        (5.6, 8.3, 12.0, 14.7, 16.5, 13.3, 12.8, 13.7, 17.2, 15.4, 17.9, 13.8,
         10.8, 9.5, 11.5, 7.7, 6.4, 5.6, 6.5, 8.0, 9.8, 7.9, 7.5, 5.4),
    ),
    "JPY": Currency(
        "USDJPY", True, 110.0, (("dollar", 0.39), ("haven", 0.70)),
        (9.0, 9.0, 11.0, 12.7, 11.6, 9.1, 9.1, 9.5, 18.1, 14.9, 16.2, 12.4,
         9.6, 10.2, 12.0, 8.9, 7.4, 5.7, 8.2, 10.4, 12.6, 12.2, 12.4, 9.7),
    ),
    "CHF": Currency(
        "USDCHF", True, 0.95, (("dollar", 0.63), ("europe", 0.61), ("haven", 0.36)),
        (4.8, 6.1, 10.6, 15.0, 13.8, 13.2, 10.5, 10.2, 18.0, 15.0, 18.1, 12.8,
         9.9, 9.5, 11.8, 7.8, 6.4, 4.6, 5.8, 5.5, 7.3, 7.1, 6.4, 5.1),
    ),
    "CAD": Currency(
        "USDCAD", True, 1.32, (("dollar", 0.51), ("commodity", 0.50)),
        (4.5, 5.4, 8.1, 9.9, 8.8, 8.0, 8.0, 9.2, 17.2, 13.8, 18.3, 12.9,
         9.7, 9.3, 11.7, 8.3, 7.3, 4.0, 5.3, 5.5, 6.8, 7.2, 6.3, 4.7),
    ),
    "AUD": Currency(
        "AUDUSD", False, 0.70, (("dollar", 0.63), ("commodity", 0.67)),
        (11.3, 10.5, 14.6, 15.8, 13.3, 11.6, 11.1, 11.5, 20.3, 16.9, 19.9, 15.1,
         11.4, 10.8, 15.6, 10.6, 8.1, 7.0, 9.6, 13.0, 14.2, 17.3, 13.9, 10.2),
    ),
}  # fmt: skip

# How currencies stand in a pair's name: the earlier one is the base.
PRECEDENCE = ("EUR", "GBP", "AUD", "USD", "CAD", "CHF", "JPY")


@dataclass(frozen=True)
class Cost:
    """What a symbol costs: usual spread and median spread of the 17 h New York hour, points; swaps, points a night."""

    spread_points: int
    roll_spread_points: int
    swap_long: float
    swap_short: float


COSTS: dict[str, Cost] = {
    "EURUSD": Cost(16, 24, -5.0, 1.0),
    "GBPUSD": Cost(19, 42, -3.5, -1.5),
    "USDJPY": Cost(15, 26, 6.0, -14.0),
    "AUDUSD": Cost(16, 31, -2.0, -1.0),
    "USDCHF": Cost(19, 63, 4.0, -9.0),
    "USDCAD": Cost(18, 42, 0.5, -4.5),
    "EURJPY": Cost(20, 58, 4.0, -12.0),
    "EURGBP": Cost(18, 52, -5.5, 0.5),
}
# Crosses that were not measured: the two majors they stand on would cost more, brokers quote them tighter.
OTHER_CROSS = Cost(24, 65, -4.0, -4.0)

_EUROPE_VOLUME = (
    1527.0, 2026.0, 3704.0, 4931.0, 4528.0, 4059.0, 3718.0, 3865.0, 5238.0, 5706.0, 6151.0, 4765.0,
    3291.0, 2710.0, 2460.0, 2232.0, 1330.0, 929.0, 1230.0, 1404.0, 2254.0, 2200.0, 1790.0, 1474.0,
)  # fmt: skip
_PACIFIC_VOLUME = (
    2128.0, 2444.0, 3432.0, 4345.0, 3651.0, 3198.0, 2874.0, 3140.0, 4655.0, 5371.0, 5614.0, 4381.0,
    3043.0, 2692.0, 2617.0, 2482.0, 1448.0, 1160.0, 1813.0, 2268.0, 3680.0, 3273.0, 2566.0, 2162.0,
)  # fmt: skip
_CANADA_VOLUME = (
    1238.0, 1584.0, 2506.0, 3298.0, 2979.0, 2560.0, 2507.0, 2743.0, 4285.0, 5072.0, 5674.0, 4388.0,
    3186.0, 2747.0, 2698.0, 2490.0, 1268.0, 598.0, 949.0, 1202.0, 1890.0, 1996.0, 1624.0, 1329.0,
)  # fmt: skip


def volume_profile(symbol: str) -> HourProfile:
    """Median ticks of an H1 bar of `symbol` by New York hour."""
    if "JPY" in symbol or "AUD" in symbol:
        return _PACIFIC_VOLUME
    return _CANADA_VOLUME if "CAD" in symbol else _EUROPE_VOLUME


# US figures come at 08:30, 10:00 and 14:00 New York: (minute of the New York day, share of days that move the market).
NEWS: tuple[tuple[int, float], ...] = ((8 * 60 + 30, 0.30), (10 * 60, 0.15), (14 * 60, 0.08))
