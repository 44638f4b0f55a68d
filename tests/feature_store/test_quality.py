import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import quality
from feature_store._errors import Final
from feature_store.bars import resample
from tests.conftest import make_bars


def report(bars: pl.DataFrame, *, symbol: str = "EURUSD", timeframe: str = "M1") -> quality.QualityReport:
    return quality.report(bars, "sim", symbol, timeframe)


def between(start: datetime, end: datetime) -> pl.Expr:
    return pl.col("time").is_between(start, end, closed="left")


def test_whole_bars_have_nothing_to_report(small_bars):
    found = report(small_bars)
    assert (found.rows, found.gap_count, found.bars_missing, found.duplicates, found.stale_runs, found.jump_count) == (
        600, 0, 0, 0, 0, 0,
    )  # fmt: skip
    assert found.warnings == ()
    assert (found.first, found.last) == (datetime(2024, 3, 4, tzinfo=UTC), datetime(2024, 3, 4, 9, 59, tzinfo=UTC))


def test_a_weekend_is_no_gap_and_missing_bars_beside_it_are_counted_in_open_hours_only():
    week = make_bars(datetime(2024, 3, 7, tzinfo=UTC), 4000)  # Thursday to Monday, across the US change of 10 March
    assert report(week).gap_count == 0
    # Friday's last half hour and Sunday's first quarter are gone: 45 bars in one hole of two days.
    holed = week.filter(~between(datetime(2024, 3, 8, 21, 30), datetime(2024, 3, 10, 21, 15)))
    found = report(holed)
    assert (found.gap_count, found.bars_missing) == (1, 45)
    start, end = datetime(2024, 3, 8, 21, 30, tzinfo=UTC), datetime(2024, 3, 10, 21, 15, tzinfo=UTC)
    assert found.gaps[0] == quality.Gap(start, end, 45, "edge"), "brokers differ around the weekend"


def test_the_largest_gaps_are_listed_first(small_bars):
    holes = [(10, 2), (50, 7), (100, 1), (200, 3), (300, 4), (400, 5)]
    gone = [minute for start, length in holes for minute in range(start, start + length)]
    found = report(small_bars.with_row_index().filter(~pl.col("index").is_in(gone)).drop("index"))
    assert (found.gap_count, found.bars_missing) == (6, 22)
    assert [gap.bars_missing for gap in found.gaps] == [7, 5, 4, 3, 2, 1]
    assert [gap.kind for gap in found.gaps] == ["hole"] + ["quiet minutes"] * 5
    assert found.gap_kinds == {"hole": (1, 7), "quiet minutes": (5, 15)}


def test_the_daily_rest_of_gold_is_no_gap():
    day = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 1440)
    rested = day.filter(~between(datetime(2024, 3, 4, 22), datetime(2024, 3, 4, 23)))  # 17 to 18 New York
    assert report(rested).bars_missing == 60
    gold = report(rested, symbol="XAUUSD")
    assert (gold.bars_missing, gold.excused) == (0, {"metals' daily break, 17 to 18 New York": 60})


def test_duplicates_zero_and_unknown_spreads_are_counted(small_bars):
    bars = small_bars.with_columns(
        pl.when(pl.int_range(pl.len()) < 60).then(0).when(pl.int_range(pl.len()) < 180).then(None).otherwise(14)
        .cast(pl.Int32).alias("spread_points")
    )  # fmt: skip
    found = report(pl.concat([bars, bars.head(3)]))
    assert found.duplicates == 3
    assert found.spread_zero_share == 63 / 603
    assert found.spread_unknown_share == 120 / 603
    assert (found.spread_median_points, found.spread_max_points) == (14, 14)
    assert any("zero in 10% of bars" in warning for warning in found.warnings)


def test_a_frozen_quote_is_a_stale_run_from_five_bars_on(small_bars):
    def frozen(bars: pl.DataFrame, start: int, length: int) -> pl.DataFrame:
        price = bars["close"][start]
        inside = pl.int_range(pl.len()).is_between(start + 1, start + length)
        return bars.with_columns(
            pl.when(inside).then(price).otherwise(pl.col(c)).alias(c) for c in ("open", "high", "low", "close")
        )

    assert report(frozen(small_bars, 100, 4)).stale_runs == 0
    found = report(frozen(frozen(small_bars, 100, 5), 300, 9))
    assert (found.stale_runs, found.longest_stale_bars) == (2, 9)


def test_a_crash_is_listed_and_a_weekend_gap_is_not_one(small_bars):
    crashed = small_bars.with_columns(
        pl.when(pl.int_range(pl.len()) >= 300).then(pl.col(c) * 0.9).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    )
    found = report(crashed)
    assert found.jump_count == 1
    assert found.jumps[0].time == datetime(2024, 3, 4, 5, 0, tzinfo=UTC)
    assert found.jumps[0].return_bp == pytest.approx(-1053.6, abs=10)  # ln 0.9 in basis points, and a usual step
    assert report(crashed.filter(pl.int_range(pl.len()) != 300)).jump_count == 0


def test_a_clock_read_wrongly_shows_as_bars_in_closed_hours():
    week = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 7200)
    assert report(week).closed_hours_share == 0
    late = report(week.with_columns(pl.col("time") + timedelta(hours=3)))
    assert late.closed_hours_share == 180 / 7200
    assert any("the clock rule may be wrong" in warning for warning in late.warnings)


def test_prices_multiplied_by_a_power_of_ten_are_warned_of(small_bars):
    scaled = small_bars.with_columns(pl.col("open", "high", "low", "close") * 100_000)
    assert any("may be multiplied by a power of ten" in warning for warning in report(scaled).warnings)
    assert report(scaled, symbol="XAUUSD").warnings == ()


def test_the_report_is_short_text_and_plain_json(small_bars):
    found = report(small_bars.filter(pl.int_range(pl.len()) != 10))
    document = json.loads(json.dumps(found.as_dict()))
    assert (document["schema"], document["rows"], document["gaps"][0]["bars_missing"]) == (2, 599, 1)
    assert document["first"] == "2024-03-04T00:00:00+00:00"
    lines = found.lines()
    assert lines[0] == "sim EURUSD M1: 599 bars, 2024-03-04 00:00 to 2024-03-04 09:59 UTC"
    assert lines[1].startswith("1 bars missing in 1 gaps")


def test_a_report_on_nothing_is_refused(small_bars):
    with pytest.raises(Final, match="there are no bars to report on"):
        report(small_bars.clear())


def test_the_eve_of_christmas_is_a_known_break_and_the_same_hole_in_november_is_one():
    # 12:00 New York on 24 December 2024 to 02:00 on the 26th: 5 hours before the closed day, 9 after it.
    december = make_bars(datetime(2024, 12, 23, tzinfo=UTC), 100, step_s=3600)
    found = report(december.filter(~between(datetime(2024, 12, 24, 17), datetime(2024, 12, 26, 7))), timeframe="H1")
    assert (found.gap_count, found.excused) == (0, {"Christmas and New Year: early close, late start, day off on Monday": 14})
    november = make_bars(datetime(2024, 11, 18, tzinfo=UTC), 100, step_s=3600)
    found = report(november.filter(~between(datetime(2024, 11, 19, 17), datetime(2024, 11, 21, 7))), timeframe="H1")
    assert (found.gap_kinds, found.excused) == ({"hole": (1, 38)}, {})


def test_years_without_minutes_are_counted_without_looking_at_each():
    early = make_bars(datetime(2014, 3, 3, tzinfo=UTC), 300)
    late = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 300)
    found = report(pl.concat([early, late]))
    whole = make_bars(datetime(2014, 3, 3, tzinfo=UTC), 64_000, step_s=3600).filter(pl.col("time") < datetime(2024, 3, 4))
    expected = 60 * whole.height - 300  # the same ten years counted hour by hour
    assert found.gap_count == 1 and found.bars_missing + sum(found.excused.values()) == pytest.approx(expected, abs=60)


def test_a_symbol_that_quotes_on_saturdays_never_rests_and_a_currency_that_does_has_its_clock_wrong():
    days = pl.datetime_range(datetime(2024, 3, 1), datetime(2024, 4, 1), "1h", eager=True, time_unit="ms").alias("time")
    bars = make_bars(datetime(2024, 1, 1, tzinfo=UTC), len(days), step_s=3600).with_columns(days)
    coin = report(bars, symbol="BTCUSD", timeframe="H1")
    assert (coin.closed_hours_share, coin.gap_count, coin.warnings) == (0, 0, ())
    assert (
        report(
            bars.filter(~between(datetime(2024, 3, 9, 3), datetime(2024, 3, 9, 8))), symbol="BTCUSD", timeframe="H1"
        ).bars_missing
        == 5
    )
    assert report(bars, timeframe="H1").closed_hours_share > 0.2


def test_hours_at_which_an_index_never_quotes_are_no_gaps():
    bars = make_bars(datetime(2024, 1, 8, tzinfo=UTC), 24 * 5 * 6, step_s=3600)
    by_day = bars.filter(pl.col("time").dt.hour().is_between(8, 20))
    found = report(by_day, symbol="DE40", timeframe="H1")
    assert found.gap_count == 0 and list(found.excused) == ["hours of the week at which this symbol never quotes"]
    assert (
        report(
            by_day.filter(~between(datetime(2024, 1, 23, 10), datetime(2024, 1, 23, 13))), symbol="DE40", timeframe="H1"
        ).bars_missing
        == 3
    )


def test_days_of_gold_that_open_in_its_daily_break_are_whole():
    whole = make_bars(datetime(2024, 2, 5, tzinfo=UTC), 24 * 40, step_s=3600)
    gold = whole.filter(pl.col("time").dt.hour() != 22)
    for timeframe, expected in (("D1", 0), ("H4", 0)):
        longer = resample(gold, timeframe).slice(1)
        found = report(longer, symbol="XAUUSD", timeframe=timeframe)
        assert (found.bars_missing, found.closed_hours_share, found.weeks.short_count) == (expected, 0, 0)


def test_a_week_with_too_few_bars_is_told_with_what_it_should_have():
    bars = make_bars(datetime(2024, 3, 3, 22, tzinfo=UTC), 120 * 6, step_s=3600)
    found = report(bars.filter(~between(datetime(2024, 3, 12), datetime(2024, 3, 13))), timeframe="H1")
    assert (found.weeks.count, found.weeks.bars_a_week, found.weeks.short_count) == (6, 120, 1)
    week = found.weeks.short[0]
    assert (week.start, week.bars, week.expected) == (datetime(2024, 3, 10, 21, tzinfo=UTC), 96, 120)


def test_changing_the_order_of_rows_changes_nothing(small_bars):
    assert report(small_bars.sample(fraction=1.0, shuffle=True, seed=1)) == report(small_bars)


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(1, 598), max_size=80))
def test_every_missing_bar_is_counted_once_wherever_it_was(gone):
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 600)
    found = report(bars.filter(~pl.int_range(pl.len()).is_in(sorted(gone))))
    assert found.bars_missing == len(gone) == sum(count for _, count in found.gap_kinds.values())
    assert found.gap_count == sum(1 for row in gone if row - 1 not in gone) == sum(n for n, _ in found.gap_kinds.values())
