"""Clock evidence: openings by season, slips against another feed, what the batches said."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import quality
from feature_store._quality_batches import ingested
from feature_store.bars import epoch_s
from feature_store.clock import server_to_utc, utc_to_server
from tests.conftest import make_bars

YEAR = make_bars(datetime(2023, 3, 6, tzinfo=UTC), 24 * 5 * 52, step_s=3600)
HOURS = YEAR.head(24 * 5 * 12)


def report(bars, *others, batches=None):
    return quality.report(bars, "sim", "EURUSD", "H1", others=others, batches=batches)


def late(bars: pl.DataFrame, start: datetime, end: datetime, hours: int) -> pl.DataFrame:
    """The bars of [start, end) stand `hours` later; those that come to stand on others take their place."""
    inside = pl.col("time").is_between(start, end, closed="left")
    moved = bars.filter(inside).with_columns(pl.col("time") + timedelta(hours=hours))
    return pl.concat([bars.filter(~inside), moved]).unique("time", keep="last").sort("time")


def test_weeks_of_a_true_clock_open_at_one_hour_in_every_season():
    found = report(YEAR)
    assert {(o.season[:6], o.opens, o.share) for o in found.weeks.opens} == {
        ("winter", "Sun 17:00", 1.0), ("summer", "Sun 17:00", 1.0), ("weeks ", "Sun 17:00", 1.0),
    }  # fmt: skip
    assert not any("open at" in warning for warning in found.warnings)


def test_a_clock_of_new_york_read_as_eastern_european_opens_an_hour_off_where_the_two_differ():
    wall = utc_to_server(epoch_s(YEAR["time"]), "ny+7")
    wrong = pl.Series(server_to_utc(wall, "eet") * 1000).cast(pl.Datetime("ms"))
    found = report(YEAR.with_columns(wrong.alias("time")))
    assert {(o.season[:6], o.opens) for o in found.weeks.opens} == {
        ("winter", "Sun 17:00"), ("summer", "Sun 17:00"), ("weeks ", "Sun 18:00"),
    }  # fmt: skip
    assert any("another daylight saving" in warning for warning in found.warnings)


def test_a_slip_inside_a_file_is_found_with_its_days_and_hours():
    slipped = late(HOURS, datetime(2023, 4, 11), datetime(2023, 4, 14), 1)
    (agreement,) = report(slipped, quality.Other("other", "H1", HOURS)).agreements
    (slip,) = agreement.slips
    assert (slip.late_s, slip.start.date().isoformat(), slip.end.date().isoformat()) == (3600, "2023-04-10", "2023-04-13")
    assert slip.correlation > 0.95 and slip.as_written < 0.3, "the hours at its edges belong to nobody"
    assert 0.8 < agreement.correlation < 1


@settings(deadline=None, max_examples=20)
@given(st.integers(-4, 4), st.integers(15, 40), st.integers(2, 8))
def test_the_two_feeds_tell_one_slip_with_opposite_signs(hours, first_day, days):
    start = datetime(2023, 3, 6) + timedelta(days=first_day)
    slipped = late(HOURS, start, start + timedelta(days=days), hours)
    mine = report(slipped, quality.Other("other", "H1", HOURS)).agreements[0].slips
    theirs = report(HOURS, quality.Other("other", "H1", slipped)).agreements[0].slips
    assert {s.late_s for s in mine} <= {3600 * hours} and (bool(mine) or hours == 0 or days <= 3)
    assert [s.late_s for s in theirs] == [-s.late_s for s in mine]


def test_feeds_that_agree_or_have_nothing_in_common_show_no_slip():
    whole = report(HOURS, quality.Other("other", "H1", HOURS)).agreements[0]
    assert (whole.slips, round(whole.correlation, 9)) == ((), 1.0)
    foreign = make_bars(datetime(2023, 3, 6, tzinfo=UTC), HOURS.height, step_s=3600, seed=99)
    assert report(HOURS, quality.Other("other", "H1", foreign)).agreements[0].slips == ()
    later = YEAR.tail(500)
    assert report(HOURS, quality.Other("other", "H1", later)).agreements == (quality.Agreement("other", 0, None),)


def test_bars_longer_than_an_hour_are_not_held_against_others():
    days = make_bars(datetime(2023, 3, 6, tzinfo=UTC), 40, step_s=4 * 3600)
    assert quality.report(days, "sim", "EURUSD", "H4", others=[quality.Other("o", "H1", HOURS)]).agreements[0].correlation is None


def batch(number: int, **changes) -> dict:
    row = {
        "id": number, "feed": "sim", "symbol": "EURUSD", "timeframe": "H1", "clock_rule": "utc", "rows_read": 100,
        "spreads_cleared": 0, "undone": False, "rejects": "{}", "clock": "{}", "notes": "[]", "reclocks": 0,
        "first": datetime(2023, 3, 6), "last": datetime(2023, 3, 7), "rows_rejected": 0,
    }  # fmt: skip
    return row | changes


VERDICT = {
    "rule": "cet until 2011-05-01, ny+7", "confidence": 0.93, "refusal": "", "evidence": ["weeks open at 23:00"],
    "stretches": [
        {"start": None, "rule": "cet", "confidence": 0.9},
        {"start": "2011-05-01T00:00:00+00:00", "rule": "ny+7", "confidence": 0.95},
    ],
}  # fmt: skip


def test_batches_tell_rejects_crossed_quotes_and_how_the_clock_was_told():
    rows = [
        batch(
            1, rejects=json.dumps({"duplicate": 3, "price missing": 1}), spreads_cleared=7, notes='["prices divided by 100000"]'
        ),
        batch(2, rejects=json.dumps({"duplicate": 2}), clock_rule=VERDICT["rule"], clock=json.dumps(VERDICT)),
        batch(3, undone=True, rejects=json.dumps({"duplicate": 99})),
        batch(4, feed="other", rows_read=999),
        batch(5, timeframe="D1", rows_read=999),
    ]
    said = ingested(pl.DataFrame(rows), "sim", "EURUSD", "H1")
    assert (said.batches, said.rows_read, said.crossed) == (2, 200, 7)
    assert said.rejects == {"duplicate": 5, "price missing": 1}
    assert [(c.rule, c.confidence, c.evidence) for c in said.clocks] == [
        ("utc", None, ()), ("cet until 2011-05-01, ny+7", 0.93, ("weeks open at 23:00",)),
    ]  # fmt: skip
    assert said.clocks[1].stretches == ("the beginning on: cet (90%)", "2011-05-01 on: ny+7 (95%)")
    unread = "D1 bars from 2023-03-06 to 2023-03-07 are stored too and not read: longer bars are made of H1"
    assert said.notes == ("prices divided by 100000", unread)
    lines = "\n".join(report(HOURS, batches=pl.DataFrame(rows)).lines())
    for words in ("5 duplicate, 1 price missing", "7 crossed quotes", "93% sure", "weeks open at 23:00", unread):
        assert words in lines


def test_a_corrected_clock_replaces_the_one_it_corrects_and_counts_no_rows_twice():
    said = ingested(pl.DataFrame([batch(1, clock_rule="utc"), batch(2, clock_rule="eet", reclocks=1)]), "sim", "EURUSD", "H1")
    assert (said.batches, said.rows_read, [c.rule for c in said.clocks]) == (1, 100, ["eet"])


def test_stores_that_know_no_clock_evidence_are_read_as_well():
    bare = pl.DataFrame([{k: v for k, v in batch(1).items() if k not in ("clock", "notes", "reclocks")}])
    assert ingested(bare, "sim", "EURUSD", "H1").clocks == (quality.ClockUsed("utc", 1),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"told_by": "data"}, "told by the data, 93% sure"),
        ({"told_by": "user"}, "given by the user; the data agree, 93% sure"),
        ({"told_by": "content", "rule": "eet"}, "stated in the file; the data say eet, 93% sure"),
        ({"told_by": "user", "rule": None}, "given by the user; the data leave it open"),
    ],
)
def test_who_told_the_clock_is_said_beside_what_the_data_say(changes, words):
    rows = [batch(1, clock_rule=VERDICT["rule"], clock=json.dumps(VERDICT | changes)), batch(2, clock_rule=VERDICT["rule"])]
    (used,) = ingested(pl.DataFrame(rows), "sim", "EURUSD", "H1").clocks
    assert (used.words(), used.batches) == (words, 2)


def test_activity_is_the_median_tick_volume_of_each_hour_and_the_range_where_there_is_none():
    times = epoch_s(YEAR["time"])
    values, what = quality.activity(times, YEAR.with_columns(pl.lit(7).alias("tick_volume")))
    assert what == "tick volume of a bar" and set(values[:4].ravel()) == {7.0}
    assert values[6, 17] == 7.0 and values[5, 12] != values[5, 12], "Sunday evening quotes, Saturday does not"
    ranges, what = quality.activity(times, YEAR.with_columns(pl.lit(None).alias("tick_volume")))
    assert what == "range of a bar, bp" and ranges[1, 10] == pytest.approx(3, abs=2)
