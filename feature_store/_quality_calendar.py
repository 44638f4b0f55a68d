"""When a symbol is known not to quote, and by what name: only what this page lists may excuse a gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from feature_store.clock import is_open_s, new_york_offset_s
from feature_store.symbols import is_pair

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NAMES = (
    "open",
    "weekend, 25 December, 1 January",
    "Christmas and New Year: early close, late start, day off on Monday",
    "metals' daily break, 17 to 18 New York",
    "US holidays and Good Friday, when metals rest or close early",
    "hours of the week at which this symbol never quotes",
)
"""What each code of a `Calendar` means; 0 is a moment at which the symbol is expected to quote."""

OPEN, CLOSED, YEAR_END, DAILY_BREAK, METAL_HOLIDAY, NEVER = range(6)

_METALS = ("XAU", "XAG", "XPT", "XPD")
# Hours of the FX day, which starts at 17:00 New York. Brokers end the eves between 12:00 and 17:00 New York and
# come back between 17:00 and 02:00, when Frankfurt opens.
_EARLY_CLOSE_H, _LATE_START_H = 19, 9
_SATURDAY_SHARE, _SELDOM, _ENOUGH_WEEKS = 0.05, 0.1, 4


def fx_wall_s(utc_s: IntArray) -> IntArray:
    """New York + 7 h wall clock as epoch seconds: its midnight is 17:00 New York, where the FX day starts."""
    return utc_s + new_york_offset_s(utc_s) + 7 * 3600


@dataclass(frozen=True, eq=False)
class Calendar:
    """When one symbol is expected to quote. never: hours of the FX week (168,) learnt from the bars, or None."""

    feed: str
    symbol: str
    never: BoolArray | None = None

    def code(self, utc_s: IntArray) -> npt.NDArray[np.int8]:
        """Code (index of `NAMES`) of each UTC moment (epoch s), 0 where the symbol is expected to quote."""
        code = np.zeros(len(utc_s), dtype=np.int8)
        if self.feed.endswith("-24x7"):
            return code
        wall = fx_wall_s(utc_s)
        days, hour = wall // 86400, wall % 86400 // 3600
        if self.never is not None:
            code[self.never[wall // 3600 % 168]] = NEVER
        if self.symbol.startswith(_METALS):
            whole, short = _metal_days(*_years(days))
            code[np.isin(days, whole) | (np.isin(days, short) & (hour >= _EARLY_CLOSE_H))] = METAL_HOLIDAY
            code[hour == 0] = DAILY_BREAK
        eves, days_off, mondays = _year_ends(*_years(days))
        thin = np.isin(days, mondays) | (np.isin(days, eves) & (hour >= _EARLY_CLOSE_H))
        code[thin | (np.isin(days, days_off) & (hour < _LATE_START_H))] = YEAR_END
        code[~is_open_s(self.feed, utc_s)] = CLOSED
        return code

    def bar_code(self, opens_s: IntArray, length_s: int) -> npt.NDArray[np.int8]:
        """Code of each bar of `length_s` seconds that opens then. A day of gold opens in its daily break: bars longer
        than an hour are asked for two hours, or half of themselves, after their open."""
        return self.code(opens_s if length_s <= 3600 else opens_s + min(length_s // 2, 7200))


def calendar_of(feed: str, symbol: str, times: IntArray) -> Calendar:
    """The symbol's calendar. Pairs and metals rest as all of them do; what else quotes on Saturdays never rests, and
    what does not quotes at the hours of the week at which it did in one week of ten or more.

    times: opens of its bars (UTC epoch s, ascending).
    """
    if is_pair(symbol) or feed.endswith("-24x7"):
        return Calendar(feed, symbol)
    wall = fx_wall_s(times)
    if np.mean((wall // 86400 + 3) % 7 == 5) > _SATURDAY_SHARE:
        return Calendar(f"{feed}-24x7", symbol)
    hours = np.unique(wall // 3600)
    weeks = len(np.unique((hours + 72) // 168))
    seen = np.bincount(hours % 168, minlength=168)
    return Calendar(feed, symbol, seen < _SELDOM * weeks if weeks >= _ENOUGH_WEEKS else None)


def _years(days: IntArray) -> tuple[int, int]:
    if not len(days):
        return 1970, 1970
    ends = np.array([days.min(), days.max()]).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return int(ends[0]), int(ends[1]) + 1


def _numbers(days: list[date]) -> IntArray:
    return np.array([day.toordinal() - date(1970, 1, 1).toordinal() for day in days], dtype=np.int64)


@lru_cache(maxsize=64)
def _year_ends(first: int, last: int) -> tuple[IntArray, IntArray, IntArray]:
    """24 and 31 December; 26 December and 2 January; of the latter those that are Mondays, for a Sunday is made up."""
    eves = [date(year, 12, day) for year in range(first - 1, last + 1) for day in (24, 31)]
    after = [eve + timedelta(days=2) for eve in eves]
    return _numbers(eves), _numbers(after), _numbers([day for day in after if day.weekday() == 0])


@lru_cache(maxsize=64)
def _metal_days(first: int, last: int) -> tuple[IntArray, IntArray]:
    """Days on which metals do not trade, and days on which they close early, with the days after Thanksgiving."""
    whole, short = [], []
    for year in range(first, last + 1):
        whole.append(_easter(year) - timedelta(days=2))
        # Christmas on a Saturday is kept on Friday by the exchange, while currencies trade that morning.
        whole += [date(year, 12, 24)] if date(year, 12, 25).weekday() == 5 else []
        short += [_weekday(year, 1, 0, 3), _weekday(year, 2, 0, 3), _weekday(year, 6, 0, 1) - timedelta(days=7)]
        short += [_weekday(year, 9, 0, 1), _weekday(year, 11, 3, 4), _weekday(year, 11, 3, 4) + timedelta(days=1)]
        short += [_observed(date(year, 7, 4)), date(year, 7, 3)]
        short += [_observed(date(year, 6, 19))] if year >= 2022 else []
    return _numbers(whole), _numbers(short)


def _weekday(year: int, month: int, weekday: int, number: int) -> date:
    """The `number`th such weekday (Monday 0) of the month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _observed(day: date) -> date:
    return day + timedelta(days={5: -1, 6: 1}.get(day.weekday(), 0))


def _easter(year: int) -> date:
    """Easter Sunday by the Gregorian calendar. Meeus, Astronomical Algorithms, chapter 8."""
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * k) // 451
    month, day = divmod(h + k - 7 * m + 114, 31)
    return date(year, month, day + 1)
