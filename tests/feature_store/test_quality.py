import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from feature_store import quality
from feature_store._errors import Final
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
    assert found.gaps[0] == quality.Gap(datetime(2024, 3, 8, 21, 30, tzinfo=UTC), datetime(2024, 3, 10, 21, 15, tzinfo=UTC), 45)


def test_the_largest_gaps_are_listed_first(small_bars):
    holes = [(10, 2), (50, 7), (100, 1), (200, 3), (300, 4), (400, 5)]
    gone = [minute for start, length in holes for minute in range(start, start + length)]
    found = report(small_bars.with_row_index().filter(~pl.col("index").is_in(gone)).drop("index"))
    assert (found.gap_count, found.bars_missing) == (6, 22)
    assert [gap.bars_missing for gap in found.gaps] == [7, 5, 4, 3, 2]


def test_the_daily_rest_of_gold_is_no_gap():
    day = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 1440)
    rested = day.filter(~between(datetime(2024, 3, 4, 22), datetime(2024, 3, 4, 23)))  # 17 to 18 New York
    assert report(rested).bars_missing == 60
    assert report(rested, symbol="XAUUSD").bars_missing == 0


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
    assert (document["schema"], document["rows"], document["gaps"][0]["bars_missing"]) == (1, 599, 1)
    assert document["first"] == "2024-03-04T00:00:00+00:00"
    lines = found.lines()
    assert lines[0] == "sim EURUSD M1: 599 bars, 2024-03-04 00:00 to 2024-03-04 09:59 UTC"
    assert lines[1].startswith("1 bars missing in 1 gaps")


def test_a_report_on_nothing_is_refused(small_bars):
    with pytest.raises(Final, match="there are no bars to report on"):
        report(small_bars.clear())


@pytest.mark.real_data
def test_real_crashes_are_listed_and_kept(real_data):
    bars = pl.read_parquet(real_data / "bars" / "GBPUSD_H1_ej.parquet").rename({"spread": "spread_points"})
    found = report(bars, symbol="GBPUSD", timeframe="H1")
    assert found.rows == 57600
    assert any(jump.time.date().isoformat() == "2016-06-24" for jump in found.jumps)
