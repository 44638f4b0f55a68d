"""The quality page: one file that needs nothing else, says what the report says, and draws what the bars are."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from feature_store import quality
from feature_store.bars import epoch_s
from tasks import quality_plots as plots
from tasks.quality_page import page_path, write_quality_page
from tests.conftest import make_bars
from tests.tasks.test_report_page import Parts

START = datetime(2023, 3, 6, tzinfo=UTC)
HOURS = make_bars(START, 24 * 5 * 30, step_s=3600)
BATCH = {
    "id": 1, "feed": "sim", "symbol": "EURUSD", "timeframe": "H1", "clock_rule": "eet", "rows_read": 3700,
    "spreads_cleared": 12, "undone": False, "rejects": '{"duplicate": 41}', "notes": '["prices divided by 100000"]',
    "reclocks": 0,
    "clock": json.dumps({"rule": "eet", "confidence": 0.97, "stretches": [], "evidence": ["weeks open at <b>00:00</b>"]}),
    "first": datetime(2023, 3, 6), "last": datetime(2023, 9, 1),
}  # fmt: skip


def row(number: int, **values) -> list[pl.Expr]:
    return [pl.when(pl.int_range(pl.len()) == number).then(v).otherwise(pl.col(c)).alias(c) for c, v in values.items()]


def odd_bars() -> pl.DataFrame:
    """A hole, a jump, a spike, a stale run, three spread regimes, a plug."""
    jump = pl.int_range(pl.len()) >= 1000
    bars = HOURS.with_columns(
        pl.when(jump).then(pl.col(c) * 0.98).otherwise(pl.col(c)).alias(c) for c in ("open", "high", "low", "close")
    )
    bars = bars.with_columns(row(500, high=1.3))
    price = bars["close"][1999]
    bars = bars.with_columns(
        pl.when(pl.int_range(pl.len()).is_between(2000, 2007)).then(price).otherwise(pl.col(c)).alias(c)
        for c in ("open", "high", "low", "close")
    )
    index = pl.int_range(pl.len())
    spread = pl.when(index < 1200).then(20).when(index < 2400).then(0).when(index % 15 == 0).then(100).otherwise(7)
    return bars.with_columns(spread.cast(pl.Int32).alias("spread_points")).filter(~index.is_between(1500, 1530))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    bars = odd_bars()
    slipped = bars.with_columns(
        pl.when(pl.col("time").is_between(datetime(2023, 4, 11), datetime(2023, 4, 15)))
        .then(pl.col("time") - timedelta(hours=1)).otherwise(pl.col("time")).alias("time")
    ).unique("time", keep="last").sort("time")  # fmt: skip
    other = quality.Other("other", "H1", slipped)
    report = quality.report(bars, "sim", "EURUSD", "H1", batches=pl.DataFrame([BATCH]), others=[other])
    rejected = pl.DataFrame({"source_row": [7], "reason": ["duplicate"], "content": ["2023.03.06,<script>"]})
    path = write_quality_page(tmp_path_factory.mktemp("pages") / "quality", report, bars, rejected=rejected)
    return path, report, bars, Parts(path.read_text(encoding="utf-8"))


def test_the_page_lies_under_feed_symbol_and_timeframe_and_loads_nothing_from_anywhere(made):
    path, report, _, page = made
    assert path == page_path(path.parent, report) and path.name == "sim_EURUSD_H1.html"
    ours = [s for s in page.scripts if len(s) < 1_000_000]
    assert page.loaded == [] and not any(re.search(r"https?://(?!www\.w3\.org)", s) for s in ours)
    assert sum(len(s) for s in ours) < 1_000_000, "about a megabyte beyond plotly itself"


def test_everything_the_report_found_stands_on_the_page(made):
    _, report, _, page = made
    assert (report.jump_count, report.spike_count, report.stale_runs, len(report.regimes)) == (1, 1, 1, 3)
    gap, jump, spike = report.gaps[0], report.jumps[0], report.spikes[0]
    for words in (
        "Quality of EURUSD H1", "3,569 bars", "clock eet", f"{gap.start:%Y-%m-%d %H:%M}", f"{gap.bars_missing}", "hole",
        f"{jump.time:%Y-%m-%d %H:%M} {jump.return_bp:+,.1f}", f"{spike.time:%Y-%m-%d %H:%M} {spike.return_bp:+,.1f}",
        f"{report.stale[0].start:%Y-%m-%d %H:%M} {report.stale[0].bars}", "97% sure", "weeks open at <b>00:00</b>",
        "duplicate 41 rejected", "bid above ask, spread cleared 12 kept", "prices divided by 100000", "2023.03.06,<script>",
        "1 h late other", "Sun 17:00 100%", "100 ",
    ):  # fmt: skip
        assert words in page.text, words
    for regime in report.regimes:
        assert f"{regime.start:%Y-%m-%d} {regime.end:%Y-%m-%d}" in page.text
    for warning in report.warnings:
        assert warning in page.text
    assert f"{len(report.warnings)} things to look at" in page.text


def test_bars_without_fault_have_a_page_that_says_so_and_shows_no_empty_table(tmp_path):
    report = quality.report(HOURS, "sim", "EURUSD", "H1")
    page = Parts(write_quality_page(tmp_path, report, HOURS).read_text(encoding="utf-8"))
    assert "Nothing to act on" in page.text and "clock" not in page.text.split("Gaps and weeks")[0]
    for words in ("jump (UTC)", "spike (UTC)", "stale from", "filled-in", "Ingests", "known breaks"):
        assert words not in page.text


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_few_bars_without_spread_or_volume_have_a_page_too(tmp_path, count):
    bars = HOURS.head(count).with_columns(
        pl.lit(None, dtype=pl.Int32).alias("spread_points"), pl.lit(None, dtype=pl.Int64).alias("tick_volume")
    )
    report = quality.report(bars, "sim", "EURUSD", "H1")
    page = Parts(write_quality_page(tmp_path, report, bars).read_text(encoding="utf-8"))
    assert "No spread is known" in page.text and "nan" not in page.text.lower().replace("finance", "")


def test_a_thinned_price_keeps_every_extreme():
    bars = make_bars(START, 50_000)
    bars = bars.with_columns(row(31_234, high=2.0, low=0.5))
    figure = plots.price(quality.report(bars, "sim", "EURUSD", "M1"), bars)
    low, high = values(figure.data[0].y), values(figure.data[1].y)
    assert len(high) <= 1400 and (max(high), min(low)) == (2.0, 0.5)
    starts = plots.columns_of(epoch_s(bars["time"]))
    closes = bars["close"].to_numpy()
    assert values(figure.data[2].y) == pytest.approx(closes[np.append(starts[1:], len(closes)) - 1])


def values(array):
    """Numbers of a plotly trace, which may carry them encoded."""
    if isinstance(array, dict):
        return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"]).tolist()
    return list(array)


def test_the_histogram_holds_all_returns_between_its_ends():
    bars = make_bars(START, 5_000)
    figure = plots.returns(quality.report(bars, "sim", "EURUSD", "M1"), bars)
    density, middle = np.nan_to_num(values(figure.data[0].y)), np.array(values(figure.data[0].x))
    assert density.sum() * (middle[1] - middle[0]) == pytest.approx(1)
    assert values(figure.data[1].y) == pytest.approx(
        [np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) for x in values(figure.data[1].x)]
    ), "the normal curve has the same deviation"


def test_the_spread_by_hour_counts_new_york_hours_and_leaves_zeros_out():
    hour = pl.col("time").dt.hour()
    bars = HOURS.filter(pl.col("time") > datetime(2023, 3, 13)).with_columns(
        pl.when(hour == 21).then(40).when(hour < 12).then(0).otherwise(15).cast(pl.Int32).alias("spread_points")
    )
    figure = plots.spread_by_hour(bars)
    shown = dict(zip(values(figure.data[0].x), values(figure.data[0].y), strict=True))
    assert shown[17] == 40 and shown[10] == 15 and 3 not in shown, "21:00 UTC is 17:00 New York in summer"
