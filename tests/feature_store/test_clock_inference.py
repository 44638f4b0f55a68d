"""The clock of made-up files: told where the bars tell it, refused where they do not."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest

from feature_store._clock_cases import draw, judge, outcomes
from feature_store._clock_weeks import profile
from feature_store._errors import Final
from feature_store.clock import is_open_s, new_york_offset_s, server_to_utc, utc_to_server
from feature_store.clock_inference import MARGIN, Reference, infer_clock


def epoch(*parts):
    return int(datetime(*parts, tzinfo=UTC).timestamp())


def market(start, days, step_s, *, seed=5, shape=1.0, symbol="EURUSD", always=False):
    """Opens in true UTC and closes of `days` days; `shape` is how closely moves follow the usual hours."""
    utc_s = epoch(*start) + step_s * np.arange(days * 86400 // step_s, dtype=np.int64)
    if not always:
        utc_s = utc_s[is_open_s("", utc_s)]
    halves = (utc_s + new_york_offset_s(utc_s)) % 86400 // 1800
    sd = 3e-4 * np.sqrt(step_s / 3600) * np.exp(shape * profile(symbol)[halves])
    return utc_s, np.round(1.2 * np.exp(np.cumsum(np.random.default_rng(seed).standard_t(5, utc_s.size) * sd)), 5)


def infer(utc_s, close, rule, timeframe, **more):
    return infer_clock(utc_to_server(utc_s, rule), close, timeframe, more.pop("symbol", "EURUSD"), **more)


@pytest.mark.parametrize("rule", ["utc", "ny", "ny+7", "eet", "cet", "lon", "utc+2", "utc-5", "utc+3:30", "utc-3:30"])
def test_a_year_of_m15_bars_tells_its_clock(rule):
    utc_s, close = market((2021, 1, 4), 365, 900)
    wall_s = utc_to_server(utc_s, rule)
    verdict = infer_clock(wall_s, close, "M15", "EURUSD")
    assert np.array_equal(server_to_utc(wall_s, verdict.rule), utc_s)
    assert verdict.rule == rule
    assert verdict.confidence > 0.99
    assert verdict.refusal == ""


def test_the_weeks_when_only_america_has_summer_time_tell_new_york_from_eastern_europe():
    utc_s, close = market((2024, 2, 5), 70, 300)
    assert infer(utc_s, close, "eet", "M5").rule == "eet"
    assert infer(utc_s, close, "ny+7", "M5").rule == "ny+7"


def test_clocks_that_agree_on_every_row_are_one_and_the_more_usual_name_is_said():
    utc_s, close = market((2024, 1, 8), 40, 300)
    assert {infer(utc_s, close, rule, "M5").rule for rule in ("eet", "ny+7", "utc+2", "cet+1")} == {"ny+7"}


def test_three_clocks_in_one_file_are_told_with_the_days_of_their_changes():
    utc_s, close = market((2013, 1, 7), 800, 900)
    rule = "cet until 2013-09-01, utc until 2014-05-04, ny+7"
    verdict = infer(utc_s, close, rule, "M15")
    assert verdict.rule == rule
    assert [s.start for s in verdict.stretches] == [None, datetime(2013, 9, 1, tzinfo=UTC), datetime(2014, 5, 4, tzinfo=UTC)]
    assert min(s.confidence for s in verdict.stretches) == verdict.confidence


@pytest.mark.parametrize("day", ["2013-06-04", "2013-06-05", "2013-06-06", "2013-06-07"])
def test_a_clock_that_changed_inside_the_week_is_refused_alone_and_told_with_a_reference(day):
    utc_s, close = market((2013, 1, 7), 280, 900)
    rule = f"cet until {day}, ny+7"
    assert infer(utc_s, close, rule, "M15").rule is None
    told = infer(utc_s, close, rule, "M15", references=[Reference("other", utc_s, close)])
    assert told.rule in (rule, None)


def test_a_file_that_lost_its_sundays_is_refused_when_prices_do_not_follow_the_hours():
    utc_s, close = market((2021, 1, 4), 250, 3600, shape=0.0)
    kept = (utc_to_server(utc_s, "cet") // 86400 + 3) % 7 != 6
    verdict = infer(utc_s[kept], close[kept], "cet", "H1")
    assert verdict.rule is None
    assert "both fit the week of" in verdict.refusal
    assert "--clock" in verdict.refusal


def test_a_file_that_lost_its_sundays_is_told_by_the_hours_in_which_prices_move():
    utc_s, close = market((2021, 1, 4), 250, 900)
    kept = (utc_to_server(utc_s, "cet") // 86400 + 3) % 7 != 6
    assert infer(utc_s[kept], close[kept], "cet", "M15").rule == "cet"


def test_the_daily_break_of_metals_is_evidence():
    utc_s, close = market((2021, 1, 4), 250, 900, symbol="XAUUSD", shape=0.0)
    kept = (utc_s + new_york_offset_s(utc_s)) // 3600 % 24 != 17
    verdict = infer(utc_s[kept], close[kept], "ny+7", "M15", symbol="XAUUSD")
    assert verdict.rule == "ny+7"
    assert any(line.startswith("daily break from 17:00 to 18:00 New York in") for line in verdict.evidence)


def test_a_market_that_never_closes_is_refused_alone_and_told_with_a_reference():
    utc_s, close = market((2022, 5, 2), 60, 900, always=True, symbol="BTCUSD")
    alone = infer(utc_s, close, "utc+3:30", "M15", symbol="BTCUSD")
    assert alone.rule is None
    assert "never closes" in alone.refusal
    other = Reference("exchange", utc_s, close * np.exp(np.random.default_rng(1).normal(0, 2e-5, close.size)))
    told = infer(utc_s, close, "utc+3:30", "M15", symbol="BTCUSD", references=[other])
    assert told.rule == "utc+3:30"
    assert any("agree with feed exchange" in line for line in told.evidence)


def test_two_days_of_minutes_are_refused_alone_and_told_with_a_reference():
    utc_s, close = market((2022, 5, 3), 2, 60)
    assert infer(utc_s, close, "utc-3:30", "M1").rule is None
    told = infer(utc_s, close, "utc-3:30", "M1", references=[Reference("other", utc_s, close)])
    assert told.rule is not None
    assert np.array_equal(server_to_utc(utc_to_server(utc_s, "utc-3:30"), told.rule), utc_s)


def test_a_reference_whose_own_clock_is_wrong_makes_the_verdict_a_refusal():
    utc_s, close = market((2022, 5, 2), 60, 900)
    verdict = infer(utc_s, close, "eet", "M15", references=[Reference("late", utc_s + 3600, close)])
    assert verdict.rule is None
    assert "late" in verdict.refusal


def test_days_on_which_the_clock_slipped_are_named_and_do_not_change_the_rule():
    utc_s, close = market((2013, 3, 4), 250, 3600)
    slipped = (utc_s >= epoch(2013, 6, 3)) & (utc_s < epoch(2013, 6, 7))
    late = np.where(slipped, np.roll(close, 1), close)  # prices of an hour ago
    verdict = infer(utc_s, late, "eet", "H1", references=[Reference("other", utc_s, close)])
    assert verdict.rule == "eet"
    line = next(line for line in verdict.evidence if "against feed other" in line)
    assert line.startswith(("3 days run +1 h", "4 days run +1 h"))
    assert "2013-06-04" in line


def test_weekends_filled_with_the_last_price_are_seen_through():
    utc_s, close = market((2021, 1, 4), 120, 900)
    every = np.arange(utc_s[0], utc_s[-1] + 1, 900)
    filled = close[np.searchsorted(utc_s, every, side="right") - 1]
    assert infer(every, filled, "utc-5", "M15").rule == infer(utc_s, close, "utc-5", "M15").rule == "utc-5"


def test_an_echo_of_the_last_price_after_the_close_is_left_out_of_account():
    utc_s, close = market((2021, 1, 4), 300, 3600)
    ends = np.flatnonzero(np.diff(utc_s) > 86400)
    echo = utc_s[ends] + 3600
    times = np.concatenate([utc_s, echo])
    order = np.argsort(times)
    prices = np.concatenate([close, close[ends]])[order]
    volume = np.concatenate([np.full(utc_s.size, 1000.0), np.ones(echo.size)])[order]
    verdict = infer(times[order], prices, "eet", "H1", volume=volume)
    assert verdict.rule == "eet"
    assert any("next to no ticks" in line for line in verdict.evidence)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_next_to_no_bars_are_refused(count):
    wall_s = epoch(2021, 1, 4) + 60 * np.arange(count)
    verdict = infer_clock(wall_s, np.full(count, 1.1), "M1", "EURUSD")
    assert verdict.rule is None
    assert verdict.refusal


def test_bars_without_a_price_are_left_out():
    utc_s, close = market((2021, 1, 4), 120, 900)
    close[::50] = np.nan
    assert infer(utc_s, close, "utc", "M15").rule == "utc"


def test_an_unknown_timeframe_is_an_error():
    with pytest.raises(Final, match="M7"):
        infer_clock(np.array([0, 60]), np.array([1.0, 1.0]), "M7", "EURUSD")


def test_the_verdict_as_a_document_holds_only_json_types():
    utc_s, close = market((2013, 1, 7), 280, 900)
    document = infer(utc_s, close, "cet until 2013-06-02, ny+7", "M15").as_dict()
    assert document["stretches"][0] == {"start": None, "rule": "cet", "confidence": document["stretches"][0]["confidence"]}
    assert document["stretches"][1]["start"] == "2013-06-02T00:00:00+00:00"
    assert set(document) == {"rule", "confidence", "stretches", "evidence", "refusal"}


def test_the_margin_means_that_a_rival_is_at_most_one_in_a_hundred_as_likely():
    assert np.exp(-MARGIN) < 0.01


def test_a_case_is_the_same_in_a_short_and_a_long_run():
    assert np.array_equal(draw(3, 17).wall_s, draw(3, 17).wall_s)
    assert draw(3, 17).name != draw(4, 17).name


# Changes in a night of daylight saving, a change that one week shows, a holiday that looks like a weekend.
@pytest.mark.parametrize("number", [2338, 4685, 5573, 6208, 8529])
def test_cases_that_were_once_told_wrong_are_not_wrong(number):
    assert judge(draw(1, number)).result in ("correct", "refused")


def test_a_single_pause_without_hours_of_activity_is_too_little():
    utc_s, close = market((2022, 5, 4), 7, 60, shape=0.0)
    verdict = infer(utc_s, close, "ny+7", "M1")
    assert verdict.rule is None
    assert "too little to tell" in verdict.refusal


def check(count, run_seed):
    told = list(outcomes(count, run_seed))
    results = Counter(o.result for o in told)
    assert [o for o in told if o.result == "wrong"] == []
    assert results["correct"] > 0.5 * count  # a check that refuses everything proves nothing
    assert results["refused"] > 0.05 * count  # nor do cases without hard ones


def test_150_made_up_files_are_told_or_refused_and_never_wrong():
    check(150, 11)


@pytest.mark.slow
def test_1000_made_up_files_are_told_or_refused_and_never_wrong():
    check(1000, 12)


def test_a_million_minutes_are_told_like_few():
    utc_s, close = market((2018, 1, 1), 1020, 60)
    assert utc_s.size > 1_000_000
    assert infer_clock(utc_to_server(utc_s, "eet"), close, "M1", "EURUSD").rule == "eet"
