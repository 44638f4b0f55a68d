"""Known breaks, day by day against the calendars of exchanges."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from feature_store import _quality_calendar as calendar


def code(symbol: str, *moments: datetime, feed: str = "sim") -> list[str]:
    at = np.array([int(m.replace(tzinfo=UTC).timestamp()) for m in moments], dtype=np.int64)
    return [calendar.NAMES[c].split(" ")[0] for c in calendar.Calendar(feed, symbol).code(at)]


@pytest.mark.parametrize("day", ["2000-04-23", "2008-03-23", "2011-04-24", "2024-03-31", "2025-04-20", "2038-04-25"])
def test_easter_falls_where_the_church_says(day):
    assert calendar._easter(int(day[:4])) == date.fromisoformat(day)


@pytest.mark.parametrize(
    "day",
    # Martin Luther King, Presidents, Memorial, Juneteenth (made up on Monday), Independence (kept on Friday), Labor,
    # Thanksgiving and the day after: NYSE's and CME's own lists.
    ["2024-01-15", "2019-02-18", "2022-05-30", "2022-06-20", "2015-07-03", "2015-09-07", "2023-11-23", "2023-11-24"],
)
def test_metals_close_early_on_holidays_of_the_exchange_and_currencies_do_not(day):
    moment = datetime.fromisoformat(day).replace(hour=19)
    assert code("XAUUSD", moment) == ["US"] and code("EURUSD", moment) == ["open"]
    assert code("XAUUSD", moment.replace(hour=14)) == ["open"], "the morning is traded"


def test_metals_rest_on_good_friday_from_the_evening_before_and_an_hour_every_day():
    assert code("XAUUSD", datetime(2024, 3, 28, 23), datetime(2024, 3, 29, 12)) == ["US", "US"]
    assert code("XAUUSD", datetime(2024, 3, 28, 20), datetime(2024, 3, 28, 21, 30)) == ["open", "metals'"]
    assert code("XAUUSD", datetime(2024, 1, 30, 22, 30), datetime(2024, 1, 30, 21, 30)) == ["metals'", "open"], "winter"


def test_the_end_of_the_year_is_excused_until_frankfurt_is_back():
    # New York is five hours behind: 17:00 UTC is noon there, 07:00 UTC is two in the morning.
    assert code("EURUSD", datetime(2024, 12, 24, 16, 59), datetime(2024, 12, 24, 17)) == ["open", "Christmas"]
    assert code("EURUSD", datetime(2024, 12, 25, 12), datetime(2024, 12, 25, 22)) == ["weekend,", "Christmas"]
    assert code("EURUSD", datetime(2024, 12, 26, 6, 59), datetime(2024, 12, 26, 7)) == ["Christmas", "open"]


def test_christmas_on_a_sunday_is_made_up_on_monday():
    assert code("EURUSD", datetime(2022, 12, 26, 15), datetime(2023, 1, 2, 15)) == ["Christmas", "Christmas"]
    assert code("EURUSD", datetime(2023, 12, 26, 15)) == ["open"]


def test_a_feed_that_never_closes_has_no_breaks():
    assert code("EURUSD", datetime(2024, 12, 25, 12), datetime(2024, 3, 9, 12), feed="sim-24x7") == ["open", "open"]


def test_what_a_name_promises_every_code_has():
    assert len(calendar.NAMES) == calendar.NEVER + 1
