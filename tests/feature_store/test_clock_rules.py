"""Composite clock rules: several clocks in one file."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store._errors import Final
from feature_store.clock import check_rule, is_open_s, rule_parts, server_to_utc, utc_to_server

THREE = "cet until 2011-05-01, eet until 2014-11-02, ny+7"


def stamp(*parts: int) -> np.ndarray:
    return np.array([int(datetime(*parts, tzinfo=UTC).timestamp())], dtype=np.int64)


@pytest.mark.parametrize(
    ("utc", "wall"),
    [
        ((2011, 3, 1, 12), (2011, 3, 1, 13)),  # CET, winter
        ((2011, 4, 30, 23), (2011, 5, 1, 1)),  # CET, summer, the last hour before the change
        ((2011, 5, 1, 0), (2011, 5, 1, 3)),  # EET, summer
        ((2014, 10, 29, 12), (2014, 10, 29, 14)),  # EET is back in winter while New York is not
        ((2015, 3, 11, 12), (2015, 3, 11, 15)),  # New York + 7 h is in summer while Europe is not
    ],
)
def test_each_part_of_a_rule_holds_before_its_date_and_the_last_one_after_all(utc, wall):
    assert utc_to_server(stamp(*utc), THREE) == stamp(*wall)
    assert server_to_utc(stamp(*wall), THREE) == stamp(*utc)


def test_a_simple_rule_is_a_composite_rule_of_one_part():
    assert rule_parts(" EET ") == (("EET", None),)
    assert utc_to_server(stamp(2024, 1, 1), "EET") == utc_to_server(stamp(2024, 1, 1), "eet")


def test_london_is_utc_in_winter_and_one_hour_ahead_in_european_summer():
    assert utc_to_server(stamp(2024, 1, 10, 12), "lon") == stamp(2024, 1, 10, 12)
    assert utc_to_server(stamp(2024, 4, 10, 12), "lon") == stamp(2024, 4, 10, 13)


@given(hours=st.lists(st.integers(-60_000, 60_000), min_size=1, max_size=50, unique=True))
def test_open_hours_come_back_from_a_file_whose_clock_went_forward_twice(hours):
    moments = int(stamp(2012, 6, 1)[0]) + 3600 * np.sort(np.array(hours, dtype=np.int64))
    moments = moments[is_open_s("", moments)]
    rule = "cet until 2011-05-01, ny+7 until 2014-11-02, utc+8"
    assert np.array_equal(server_to_utc(utc_to_server(moments, rule), rule), moments)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("cet until 2011-05-01", "the last has no date"),
        ("cet, eet", "ends in 'until YYYY-MM-DD'"),
        ("cet until 2011-13-01, eet", "'2011-13-01' is not a date"),
        ("cet until 2014-01-01, eet until 2013-01-01, utc", "dates must ascend"),
        ("cet until 2014-01-01, eat", "'eat' is not known"),
        ("", "is not known"),
    ],
)
def test_a_bad_rule_is_refused_with_what_is_wrong(rule, said):
    with pytest.raises(Final, match=said):
        check_rule(rule)


def test_a_good_rule_passes_the_check():
    check_rule(THREE)
