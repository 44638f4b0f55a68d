"""Two feeds side by side: hand-made differences come out as the numbers they were made with."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from feature_store._errors import Final
from feature_store.bars import resample
from feature_store.compare import NO_LABEL, Side, compare
from feature_store.spreads import assumed_table, spread_table
from feature_store.symbols import assumed_spec
from tests.conftest import make_bars

EURUSD = assumed_spec("x", "EURUSD")
START = datetime(2024, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def hours():
    return make_bars(START, 1000, step_s=3600)


def side(feed, bars, labels=None):
    return Side(feed, bars, 1e-5, assumed_table(EURUSD, 1.1), labels)


def moved(bars, points):
    return bars.with_columns(pl.col("open", "high", "low", "close") + np.asarray(points) * 1e-5)


def shifted(bars, hours, first, last):
    """The bars with the clock of those opening in [first, last) put `hours` late, each time once."""
    inside = pl.col("time").is_between(first.replace(tzinfo=None), last.replace(tzinfo=None), closed="left")
    late = bars.with_columns(pl.when(inside).then(pl.col("time").dt.offset_by(f"{hours}h")).otherwise(pl.col("time")))
    return late.unique("time", keep="first", maintain_order=True).sort("time")


def test_a_feed_against_itself_differs_in_nothing(hours):
    labels = np.arange(1000, dtype=np.int8) % 3
    found = compare(side("a", hours, labels), side("b", hours, labels), "EURUSD", "H1")
    assert (found.both, found.only_a, found.only_b, found.close_bp_p99, found.bias_bp) == (1000, 0, 0, 0.0, 0.0)
    assert found.correlation[0] == pytest.approx(1.0) and abs(found.correlation[1] or 0.0) < 0.2
    assert (found.labels_compared, found.labels_equal, found.labels_opposite) == (1000, 1.0, 0.0)
    assert found.slips == ()


def test_bars_missing_on_one_side_are_counted_only_inside_the_shared_span(hours):
    a, b = hours[100:].filter(pl.int_range(pl.len()) != 50), hours[:800].filter(pl.int_range(pl.len()).is_in([300, 301]).not_())
    found = compare(side("a", a), side("b", b), "EURUSD", "H1")
    # Shared: rows 100 to 799; a lacks row 150, b lacks 300 and 301.
    assert (found.both, found.only_a, found.only_b) == (697, 2, 1)
    assert found.first == hours["time"][100].replace(tzinfo=UTC) and found.last == hours["time"][799].replace(tzinfo=UTC)
    assert found.labels_equal is None and found.labels_compared == 0


def test_closes_that_lie_apart_are_told_in_points_and_basis_points(hours):
    points = np.where(np.arange(1000) < 100, 40.0, 10.0)
    found = compare(side("a", moved(hours, points)), side("b", hours), "EURUSD", "H1")
    assert found.close_points_median == pytest.approx(10.0, abs=1e-6) and found.close_points_p99 == pytest.approx(40.0, abs=1e-6)
    assert found.bias_bp == pytest.approx(1e4 * 10e-5 / 1.1, rel=0.01) and found.close_bp_median == pytest.approx(found.bias_bp)


def test_a_clock_that_slips_for_some_days_is_found_with_its_days_and_hours(hours):
    first = START + timedelta(days=14)
    late = shifted(hours, 1, first, first + timedelta(days=4))
    found = compare(side("a", late), side("b", hours), "EURUSD", "H1")
    (slip,) = found.slips
    assert (slip.start, slip.end, slip.lag_bars) == (first, first + timedelta(days=4), -1)
    assert slip.correlation > 0.99 and abs(slip.correlation_at_zero) < 0.5
    assert any("clock slip: 2024-03-18 to 2024-03-22 a runs 1 bars late against b" in line for line in found.lines())
    back = compare(side("b", hours), side("a", late), "EURUSD", "H1").slips
    assert [(s.start, s.lag_bars) for s in back] == [(first, 1)]


def test_a_clock_wrong_throughout_shows_in_the_correlation_by_lag(hours):
    late = hours.with_columns(pl.col("time").dt.offset_by("2h"))
    found = compare(side("a", late), side("b", hours), "EURUSD", "H1")
    assert found.correlation[-2] == pytest.approx(1.0) and abs(found.correlation[0] or 0.0) < 0.2
    assert found.slips and {s.lag_bars for s in found.slips} == {-2}


def test_days_are_compared_by_trading_day_across_the_change_of_the_clocks():
    days = resample(make_bars(datetime(2024, 1, 1, tzinfo=UTC), 3000, step_s=3600), "D1")
    found = compare(side("a", days), side("b", days), "EURUSD", "D1")
    assert found.correlation[0] == pytest.approx(1.0) and found.both == days.height > 100
    assert compare(side("a", days[1:]), side("b", days[:-1]), "EURUSD", "D1").correlation[1] == pytest.approx(
        found.correlation[1], abs=0.05
    )


def test_spreads_stand_beside_each_other_by_new_york_hour_in_price_units(hours):
    wide = hours.with_columns(pl.Series("spread_points", [None] * 1000, dtype=pl.Int32))
    measured = Side("a", hours, 1e-5, spread_table(hours, "H1", EURUSD), None)
    found = compare(measured, side("b", wide), "EURUSD", "H1")
    noon = found.spreads[12]
    assert noon.own_b is None and noon.table_b == pytest.approx(16e-5)
    assert noon.own_a is not None and 13e-5 < noon.own_a < 17e-5 and noon.table_a == pytest.approx(noon.own_a, abs=1e-9)
    assert found.evidence_a.startswith("1,000 spreads of 2024-03") and found.evidence_b.startswith("usual retail")


def test_labels_are_compared_where_both_have_one(hours):
    a, b = np.full(1000, 2, dtype=np.int8), np.full(1000, 2, dtype=np.int8)
    a[:100], b[900:], b[100:140], b[140:150] = NO_LABEL, NO_LABEL, 1, 0
    found = compare(side("a", hours, a), side("b", hours, b), "EURUSD", "H1")
    assert (found.labels_compared, found.labels_equal, found.labels_opposite) == (800, 750 / 800, 10 / 800)


def test_the_document_is_json_with_a_schema(hours):
    late = shifted(hours, 1, START + timedelta(days=14), START + timedelta(days=16))
    document = json.loads(json.dumps(compare(side("a", late), side("b", hours), "EURUSD", "H1").as_dict(), allow_nan=False))
    assert document["schema"] == 1 and document["correlation"]["0"] > 0.8 and len(document["spreads"]) == 24
    assert document["slips"][0]["start"] == "2024-03-18T00:00:00+00:00"


def test_feeds_of_different_years_or_grids_are_told_so(hours):
    later = hours.with_columns(pl.col("time").dt.offset_by("52w"))
    with pytest.raises(Final, match=r"share no time, there is a 2024-03-04 to .* and b 2025-03-03 to"):
        compare(side("a", hours), side("b", later), "EURUSD", "H1")
