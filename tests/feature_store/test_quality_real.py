"""The defects that the real files are known to have are found, and the crashes that really happened are kept."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from feature_store import quality

pytestmark = pytest.mark.real_data


@cache
def bars_of(folder: Path, name: str) -> pl.DataFrame:
    return (
        pl.read_parquet(folder / "bars" / f"{name}.parquet").rename({"spread": "spread_points"}).sort("time", maintain_order=True)
    )


@cache
def report_on(folder: Path, name: str, *others: str) -> quality.QualityReport:
    symbol, timeframe, feed = name.split("_")
    there = [quality.Other(n.split("_")[2], n.split("_")[1], bars_of(folder, n)) for n in others]
    return quality.report(bars_of(folder, name), feed, symbol, timeframe, others=there)


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("USDCHF_H1_ej", {"2015-01-15 09:00": -1816, "2015-01-15 10:00": 399}),
        (
            "GBPUSD_H1_vj",
            {"2016-06-24 02:00": -589, "2016-06-23 23:00": -220, "2022-09-26 00:00": -371, "2016-10-06 23:00": -177},
        ),
        ("GBPUSD_H1_ej", {"2016-10-06 23:00": -180, "2020-03-18 16:00": -186}),
        ("USDJPY_H1_ej", {"2019-01-02 22:00": -203, "2020-03-09 01:00": -185}),
        ("EURJPY_H1_ej", {"2019-01-02 22:00": -221, "2016-06-24 02:00": -508}),
        ("GBPUSD_M30_sk", {"2022-09-26 00:30": -371}),
        ("XAUUSD_H1_vj", {"2020-03-16 10:00": -326}),
        ("EURUSD_M5_dg", {"2020-03-09 01:45": 58}),
    ],
)
def test_crashes_that_happened_are_jumps_and_neither_spikes_nor_warnings(real_data, name, moments):
    found = report_on(real_data, name)
    jumps = {f"{jump.time:%Y-%m-%d %H:%M}": jump.return_bp for jump in found.jumps}
    for moment, size in moments.items():
        assert jumps[moment] == pytest.approx(size, abs=1)
    assert not {f"{spike.time:%Y-%m-%d %H:%M}" for spike in found.spikes} & set(moments)
    assert not any("jump" in warning for warning in found.warnings)


def test_jumps_stay_rare_in_every_file(real_data):
    for path in sorted((real_data / "bars").glob("*.parquet")):
        found = report_on(real_data, path.stem)
        assert found.jump_count + found.spike_count <= 0.002 * found.rows, path.stem


def test_bad_ticks_of_one_broker_are_told_by_the_others_and_interventions_are_not(real_data):
    found = report_on(real_data, "GBPUSD_M15_vj", "GBPUSD_M30_sk")
    seen = {f"{spike.time:%Y-%m-%d %H:%M}": spike.seen for spike in found.spikes}
    assert seen["2023-10-02 20:15"] is False, "a wick of 85 basis points that only this broker had"
    bank = report_on(real_data, "GBPUSD_H1_vj", "GBPUSD_M30_sk")
    assert {f"{s.time:%Y-%m-%d %H:%M}": s.seen for s in bank.spikes}["2022-09-28 10:00"] is True, "the Bank of England bought"


def test_the_filled_in_spreads_of_oanda_are_found(real_data):
    assert report_on(real_data, "EURUSD_H1_ln").plugs == (quality.Plug(100, 1497),)
    assert report_on(real_data, "XAUUSD_H1_ln").plugs == (quality.Plug(250, 986),)


def test_the_spread_regimes_of_a_demo_server_are_found(real_data):
    for name in ("EURUSD_H1_vj", "GBPUSD_H1_vj"):
        first, second, *_, last = report_on(real_data, name).regimes
        assert (first.constant_points, first.end.year) == (20, 2011)
        assert (second.median_points, second.start.year, second.end.year) == (0, 2012, 2017) and second.zero_share > 0.99
        assert (last.median_points, last.start.year) == (0, 2023)
    cost = report_on(real_data, "USDJPY_M30_sk").regimes
    assert [r.median_points for r in cost] == [15, 20], "a retail account became dearer in August 2023"
    assert len(report_on(real_data, "EURUSD_M30_sk").regimes) == 1


@pytest.mark.parametrize(
    ("name", "zero", "words"),
    [("EURUSD_H1_vj", 0.476, "48%"), ("USDJPY_M15_vs", 0.944, "94%"), ("EURUSD_M15_sm", 0.829, "83%"), ("USDJPY_M30_sk", 0, "")],
)
def test_spreads_of_zero_are_warned_of(real_data, name, zero, words):
    found = report_on(real_data, name)
    assert found.spread_zero_share == pytest.approx(zero, abs=1e-3)
    assert any(f"zero in {words}" in warning for warning in found.warnings) == (zero > 0)
    assert sum(m.rows * m.spread_zero_share for m in found.months) == pytest.approx(found.rows * found.spread_zero_share)


def test_negative_spreads_and_duplicates_are_counted_as_they_stand_in_the_file(real_data):
    assert report_on(real_data, "USDJPY_M15_vs").duplicates == 31
    assert (bars_of(real_data, "GBPUSD_M1_nt")["spread_points"] < 0).sum() == 347


def test_gaps_at_christmas_are_normal_and_the_odd_one_is_the_only_hole(real_data):
    found = report_on(real_data, "EURUSD_H1_vj")
    holes = [gap for gap in found.gaps if gap.kind == "hole"]
    assert [(f"{gap.start:%Y-%m-%d}", gap.bars_missing) for gap in holes] == [("2013-10-27", 23), ("2013-10-28", 8)]
    assert sum(found.excused.values()) == 170
    assert [(week.start.date().isoformat(), week.bars) for week in found.weeks.short] == [("2013-10-27", 89)]


def test_retail_bars_of_three_years_have_no_gap_at_all(real_data):
    for name in ("EURUSD_M30_sk", "USDCHF_M30_sk", "USDJPY_H1_sk", "AUDUSD_H1_sk"):
        found = report_on(real_data, name)
        assert (found.gap_count, found.weeks.short_count, found.closed_hours_share) == (0, 0, 0)


def test_the_daily_rest_and_the_holidays_of_gold_are_excused_and_a_lost_week_is_not(real_data):
    server = report_on(real_data, "XAUUSD_H1_vj")
    assert server.excused["metals' daily break, 17 to 18 New York"] > 2000 and server.gap_kinds["hole"][1] < 30
    oanda = report_on(real_data, "XAUUSD_H1_ln")
    assert oanda.gaps[0].bars_missing == 98 and oanda.gaps[0].start == datetime(2016, 12, 9, 22, tzinfo=UTC)
    assert oanda.weeks.short_count > 60 and any("holes inside the week" in warning for warning in oanda.warnings)


def test_minutes_without_a_tick_are_quiet_minutes(real_data):
    for name, missing in (("EURUSD_M1_sy", 384), ("EURUSD_M1_dg", 118), ("EURUSD_M1_hf", 253)):
        kinds = report_on(real_data, name).gap_kinds
        assert kinds["quiet minutes"][1] == missing and "hole" not in kinds


def test_the_longest_stale_run_has_nineteen_bars(real_data):
    found = report_on(real_data, "EURUSD_M1_hf")
    assert found.longest_stale_bars == 19 and found.stale[0].bars == 19
    assert report_on(real_data, "EURUSD_H1_vj").stale_runs == 0


def test_the_clock_that_slips_in_june_2013_is_found_against_another_feed(real_data):
    (agreement,) = report_on(real_data, "GBPUSD_H1_ej", "GBPUSD_H1_vj").agreements
    in_june = [slip for slip in agreement.slips if slip.start.year == 2013]
    assert [(f"{s.start:%m-%d}", s.days, s.late_s) for s in in_june] == [("06-05", 6, 3600), ("06-26", 2, 3600)]
    assert all(slip.correlation > 0.9 > 0.5 > slip.as_written for slip in agreement.slips)
    months = dict(agreement.months)
    assert months["2013-06"] == pytest.approx(0.66, abs=0.02) and months["2013-05"] > 0.98
    assert report_on(real_data, "GBPUSD_H1_vj", "GBPUSD_M30_sk").agreements[0].slips == ()


def test_sunday_hours_missing_under_european_daylight_saving_show_in_the_openings(real_data):
    for name in ("EURUSD_M15_sm", "GBPUSD_H1_ej"):
        found = report_on(real_data, name)
        assert [o.opens for o in found.weeks.opens] == ["Sun 17:00", "Sun 17:00", "Sun 18:00"]
    whole = report_on(real_data, "EURUSD_M30_sk")
    assert {(o.opens, o.share) for o in whole.weeks.opens} == {("Sun 17:00", 1.0)}


def test_every_file_has_a_report_whose_lines_and_json_hold(real_data):
    paths = sorted((real_data / "bars").glob("*.parquet"))
    assert len(paths) == 39
    for path in paths:
        found = report_on(real_data, path.stem)
        assert found.closed_hours_share < 0.005, path.stem
        assert found.lines()[0].startswith(path.stem.split("_")[2]) and found.as_dict()["rows"] == found.rows
