from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store._errors import Final
from feature_store.clock import (
    SystemClock,
    from_epoch,
    is_open,
    is_open_s,
    new_york_hour,
    new_york_offset_s,
    parse_rule,
    server_to_utc,
    utc_to_server,
)

RULES = ["utc", "utc+2", "utc-5", "utc+3:30", "ny", "ny+7", "eet", "cet"]
ZONES = {"ny": "America/New_York", "ny+7": "America/New_York", "eet": "Europe/Helsinki", "cet": "Europe/Berlin"}
CHANGES = [  # US and EU, spring and autumn
    int(datetime(*parts, tzinfo=UTC).timestamp())
    for parts in ((2024, 3, 10, 7), (2024, 11, 3, 6), (2024, 3, 31, 1), (2024, 10, 27, 1))
]
MOMENTS = st.one_of(
    st.integers(int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2035, 1, 1, tzinfo=UTC).timestamp())),
    st.builds(lambda change, seconds: change + seconds, st.sampled_from(CHANGES), st.integers(-6 * 3600, 6 * 3600)),
)


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def stamp(*parts: int) -> np.ndarray:
    return np.array([int(at(*parts).timestamp())], dtype=np.int64)


def falls_in_the_repeated_hour(moment_s: int, rule: str) -> bool:
    zone = ZoneInfo(ZONES[rule])
    wall = datetime.fromtimestamp(moment_s, zone).replace(tzinfo=None)
    return wall.replace(tzinfo=zone, fold=0).utcoffset() != wall.replace(tzinfo=zone, fold=1).utcoffset()


@pytest.mark.parametrize("rule", RULES)
@given(moment=MOMENTS)
def test_utc_comes_back_from_every_server_clock_outside_the_repeated_autumn_hour(rule, moment):
    if rule in ZONES and falls_in_the_repeated_hour(moment, rule):
        return
    utc = np.array([moment], dtype=np.int64)
    assert server_to_utc(utc_to_server(utc, rule), rule) == utc


@pytest.mark.parametrize("rule", ["ny+7", "eet", "cet"])
@given(moment=MOMENTS)
def test_the_repeated_hour_is_misread_by_one_hour_at_most_and_never_in_trading_hours(rule, moment):
    utc = np.array([moment], dtype=np.int64)
    back = server_to_utc(utc_to_server(utc, rule), rule)
    assert abs(int(back[0] - moment)) <= 3600
    if is_open_s("feed", utc)[0]:
        assert back == utc


@given(moment=MOMENTS)
def test_offsets_agree_with_zoneinfo(moment):
    expected = datetime.fromtimestamp(moment, ZoneInfo("America/New_York")).utcoffset()
    assert new_york_offset_s(np.array([moment]))[0] == expected.total_seconds()


def test_offset_changes_at_the_second_of_the_transition():
    change = stamp(2024, 3, 10, 7)  # 02:00 New York, winter to summer
    assert new_york_offset_s(change - 1) == -5 * 3600
    assert new_york_offset_s(change) == -4 * 3600


def test_new_york_plus_seven_is_gmt_plus_two_in_winter_and_three_in_us_summer():
    assert from_epoch(int(utc_to_server(stamp(2024, 1, 10, 12), "ny+7")[0])).hour == 14
    assert from_epoch(int(utc_to_server(stamp(2024, 7, 10, 12), "ny+7")[0])).hour == 15


def test_eet_and_new_york_plus_seven_differ_in_the_weeks_when_only_the_us_has_summer_time():
    in_between = stamp(2024, 3, 20, 12)
    assert utc_to_server(in_between, "ny+7") - utc_to_server(in_between, "eet") == 3600
    assert utc_to_server(stamp(2024, 4, 3, 12), "ny+7") == utc_to_server(stamp(2024, 4, 3, 12), "eet")


def test_new_york_hour_follows_daylight_saving():
    assert new_york_hour(stamp(2024, 1, 10, 22)) == 17
    assert new_york_hour(stamp(2024, 7, 10, 21)) == 17


@pytest.mark.parametrize("rule", ["", "eat", "utc2", "utc+15", "utc+2:75", "ny+", "est", "+2"])
def test_an_unknown_clock_rule_is_refused_with_the_rules_there_are(rule):
    with pytest.raises(Final, match=r"is not known; use utc, utc\+2, utc\+3:30, ny, ny\+7, eet, cet or lon"):
        parse_rule(rule)


@pytest.mark.parametrize(
    ("moment", "open_"),
    [
        (at(2024, 1, 12, 21, 59), True),  # Friday 16:59 New York, winter
        (at(2024, 1, 12, 22, 0), False),  # Friday 17:00
        (at(2024, 1, 14, 21, 59), False),  # Sunday 16:59
        (at(2024, 1, 14, 22, 0), True),  # Sunday 17:00
        (at(2024, 7, 12, 20, 59), True),  # the same an hour earlier in UTC, summer
        (at(2024, 7, 12, 21, 0), False),
        (at(2024, 7, 14, 20, 59), False),
        (at(2024, 7, 14, 21, 0), True),
        (at(2024, 12, 24, 21, 59), True),  # 16:59 New York on Christmas Eve
        (at(2024, 12, 24, 22, 0), False),
        (at(2024, 12, 25, 21, 59), False),
        (at(2024, 12, 25, 22, 0), True),
        (at(2025, 1, 1, 12, 0), False),
    ],
)
def test_the_market_is_open_from_sunday_to_friday_17_new_york_except_on_holidays(moment, open_):
    assert is_open("broker", moment) is open_


def test_a_feed_that_never_closes_is_open_on_saturday():
    assert is_open("coins-24x7", at(2024, 1, 13, 12))
    assert not is_open("coins", at(2024, 1, 13, 12))


def test_a_week_holds_120_open_hours_also_when_daylight_saving_changes_in_it():
    for sunday in (at(2024, 1, 14), at(2024, 3, 10), at(2024, 11, 3)):
        hours = int(sunday.timestamp()) + 3600 * np.arange(7 * 24)
        assert is_open_s("feed", hours).sum() == 120


def test_the_system_clock_waits_until_a_moment_and_ends_a_wait_when_interrupted():
    clock = SystemClock()
    assert clock.wait_until(clock.now_utc() - timedelta(seconds=1))
    assert clock.wait_until(clock.now_utc() + timedelta(milliseconds=20))
    clock.interrupt()
    assert not clock.wait_until(clock.now_utc() + timedelta(hours=1))
