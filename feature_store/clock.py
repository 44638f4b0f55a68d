"""Time: broker clocks to UTC and back, the trading week, and the Clock that running code is handed.

Terminal timestamps are wall-clock time dressed as UTC. This file alone turns them into UTC.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from feature_store._errors import Final

IntArray = npt.NDArray[np.int64]

NEW_YORK = ZoneInfo("America/New_York")
_ZONES = {"ny": "America/New_York", "eet": "Europe/Helsinki", "cet": "Europe/Berlin", "lon": "Europe/London"}
_FIRST_YEAR, _LAST_YEAR = 1990, 2100


class Clock(Protocol):
    """What running code is handed instead of the system's time."""

    def now_utc(self) -> datetime:
        """The moment, aware, in UTC."""

    def wait_until(self, t: datetime) -> bool:
        """True once `t` has come; False when the wait was interrupted before."""


class SystemClock:
    """The machine's own clock. `interrupt` ends every wait, so that a signal handler can stop a process."""

    def __init__(self) -> None:
        self._interrupted = threading.Event()

    def now_utc(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the one place that may ask the machine

    def wait_until(self, t: datetime) -> bool:
        while not self._interrupted.is_set():
            left = (t - self.now_utc()).total_seconds()
            if left <= 0:
                return True
            # Short slices: a machine that slept or a corrected clock must not overshoot by hours.
            self._interrupted.wait(min(left, 1.0))
        return False

    def interrupt(self) -> None:
        self._interrupted.set()


@lru_cache(maxsize=32)
def _transitions(zone: str) -> tuple[IntArray, IntArray]:
    """UTC moments at which the zone's offset changes, and the offset (s) from each of them on."""
    info = ZoneInfo(zone)

    def offset(t_s: int) -> int:
        delta = datetime.fromtimestamp(t_s, info).utcoffset()
        assert delta is not None
        return int(delta.total_seconds())

    week_s = 7 * 86400
    first_s, end_s = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (_FIRST_YEAR, _LAST_YEAR))
    moments, offsets = [int(np.iinfo(np.int64).min)], [offset(first_s)]
    for t_s in range(first_s, end_s, week_s):
        if offset(t_s + week_s) == offsets[-1]:
            continue
        low, high = t_s, t_s + week_s
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        moments.append(high)
        offsets.append(offset(high))
    return np.array(moments, dtype=np.int64), np.array(offsets, dtype=np.int64)


def _zone_offset_s(zone: str, utc_s: IntArray) -> IntArray:
    moments, offsets = _transitions(zone)
    return offsets[np.searchsorted(moments, utc_s, side="right") - 1]


def new_york_offset_s(utc_s: IntArray) -> IntArray:
    """New York's offset from UTC in seconds (-18000 or -14400) at each UTC moment."""
    return _zone_offset_s("America/New_York", np.asarray(utc_s, dtype=np.int64))


def new_york_hour(utc_s: IntArray) -> IntArray:
    """Hour of the New York day, 0..23, at each UTC moment."""
    utc_s = np.asarray(utc_s, dtype=np.int64)
    return ((utc_s + new_york_offset_s(utc_s)) // 3600) % 24


def parse_rule(rule: str) -> tuple[str | None, int]:
    """(zone or None, seconds added) of a simple clock rule.

    Rules: `utc`, `utc+2`, `utc-5`, `utc+3:30` (fixed), `ny`, `ny+7` (New York and New York + 7 h, US
    daylight saving), `eet`, `cet`, `lon` (EU daylight saving).
    """
    text = rule.strip().lower()
    match = re.fullmatch(r"(utc|ny|eet|cet|lon)(?:([+-])(\d{1,2})(?::(\d{2}))?)?", text)
    if not match or int(match[3] or 0) > 14 or int(match[4] or 0) > 59:
        raise Final(f"clock rule {rule!r} is not known; use utc, utc+2, utc+3:30, ny, ny+7, eet, cet or lon")
    zone, sign, hours, minutes = match.groups()
    shift = 0 if sign is None else (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1)
    return _ZONES.get(zone), shift


@lru_cache(maxsize=64)
def rule_parts(rule: str) -> tuple[tuple[str, int | None], ...]:
    """The simple rules of a clock rule in order, each with the UTC epoch second before which it holds; None: the last.

    `cet until 2011-05-01, eet until 2014-11-02, ny+7` is a file that holds three clocks. A simple rule has one part.
    """
    texts = [part.strip() for part in rule.split(",")]
    parts: list[tuple[str, int | None]] = []
    for position, text in enumerate(texts):
        simple, until, day = (piece.strip() for piece in text.partition(" until "))
        if bool(until) == (position == len(texts) - 1):
            raise Final(f"clock rule {rule!r}: every part but the last ends in 'until YYYY-MM-DD', the last has no date")
        parse_rule(simple)
        end_s = _day_s(day, rule) if until else None
        if end_s is not None and parts and parts[-1][1] is not None and end_s <= parts[-1][1]:
            raise Final(f"clock rule {rule!r}: its dates must ascend")
        parts.append((simple, end_s))
    return tuple(parts)


def _day_s(day: str, rule: str) -> int:
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise Final(f"clock rule {rule!r}: {day!r} is not a date; write it as 2014-11-02") from error


def check_rule(rule: str) -> None:
    """Nothing when `rule`, simple or composite, can be used; else Final, with what is wrong with it."""
    rule_parts(rule)


def utc_to_server(utc_s: IntArray, rule: str) -> IntArray:
    """Server wall-clock time, written as epoch seconds, at each UTC moment."""
    utc_s = np.asarray(utc_s, dtype=np.int64)
    parts = rule_parts(rule)
    wall = _simple_to_server(utc_s, parts[-1][0])
    for simple, end_s in reversed(parts[:-1]):
        wall = np.where(utc_s < np.int64(end_s or 0), _simple_to_server(utc_s, simple), wall)
    return wall


def server_to_utc(server_s: IntArray, rule: str) -> IntArray:
    """UTC moment of each server wall-clock time, as epoch seconds. In the autumn night a wall-clock hour
    happens twice and in spring one never does; both fall on hours when FX is closed, and are read with
    the offset of one side. Where the parts of a composite rule overlap, the earlier part is taken."""
    server_s = np.asarray(server_s, dtype=np.int64)
    parts = rule_parts(rule)
    utc_s = _simple_to_utc(server_s, parts[-1][0])
    for simple, end_s in reversed(parts[:-1]):
        earlier = _simple_to_utc(server_s, simple)
        utc_s = np.where(earlier < np.int64(end_s or 0), earlier, utc_s)
    return utc_s


def _simple_to_server(utc_s: IntArray, rule: str) -> IntArray:
    zone, shift = parse_rule(rule)
    return utc_s + shift + (_zone_offset_s(zone, utc_s) if zone else 0)


def _simple_to_utc(server_s: IntArray, rule: str) -> IntArray:
    zone, shift = parse_rule(rule)
    wall = server_s - shift
    if zone is None:
        return wall
    guess = wall - _zone_offset_s(zone, wall)
    return wall - _zone_offset_s(zone, guess)


def from_epoch(t_s: float) -> datetime:
    """Epoch seconds as an aware UTC moment."""
    return datetime.fromtimestamp(t_s, UTC)


# Closed days beyond weekends, New York calendar: the FX market does not quote from 17:00 New York on the
# eve to 17:00 New York on the day itself.
_HOLIDAYS = {(12, 25), (1, 1)}


def is_open_s(feed: str, utc_s: IntArray) -> npt.NDArray[np.bool_]:
    """Whether the market of `feed` quotes at each UTC moment: Sunday 17:00 to Friday 17:00 New York, not on
    25 December and 1 January. One function for staleness, alarms, schedules and entries. Feeds whose name
    ends in `-24x7` never close.
    """
    utc_s = np.asarray(utc_s, dtype=np.int64)
    if feed.endswith("-24x7"):
        return np.ones(utc_s.shape, dtype=np.bool_)
    server = utc_s + new_york_offset_s(utc_s) + 7 * 3600  # the FX day starts at 17:00 New York = server 00:00
    days = server // 86400
    weekday = (days + 3) % 7  # Monday 0
    open_ = weekday < 5
    dates = days.astype("datetime64[D]")
    month = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    day = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
    for holiday_month, holiday_day in _HOLIDAYS:
        open_ &= ~((month == holiday_month) & (day == holiday_day))
    return open_


def is_open(feed: str, t: datetime) -> bool:
    """Whether the market of `feed` quotes at `t`; see `is_open_s`."""
    return bool(is_open_s(feed, np.array([int(t.timestamp())], dtype=np.int64))[0])
