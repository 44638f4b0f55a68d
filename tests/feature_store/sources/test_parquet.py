import hashlib
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import resample
from feature_store.sources import parquet
from feature_store.sources._source import read_path
from feature_store.store import Store
from tests.conftest import make_bars
from tests.feature_store.sources.files_made import PRICES, bars_of, frame, on_server, one

SPRING = datetime(2024, 3, 8, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return make_bars(SPRING, 3000)


@pytest.mark.parametrize("spread_name", ["spread", "spread_points"])
@pytest.mark.parametrize(
    ("zone", "label"), [(None, ""), ("UTC", "labelled UTC"), ("Asia/Tokyo", "labelled Asia/Tokyo, turned into UTC")]
)
def test_a_zone_is_a_label_and_no_proof(tmp_path, bars, spread_name, zone, label):
    written = bars.rename({"spread_points": spread_name})
    if zone:
        written = written.with_columns(pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    path = tmp_path / "EURUSD_M1_x.parquet"
    written.write_parquet(path)
    found = one(path)
    assert (found.symbol, found.timeframe, found.stated_rule, found.label) == ("EURUSD", "M1", None, label)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.origin == path.as_posix()
    assert_frame_equal(bars_of(found), bars)
    assert frame(found)["source_row"].to_list() == list(range(1, 3001))


def test_a_stated_clock_is_handed_on_but_not_against_a_zone(tmp_path, bars):
    path = tmp_path / "dump.parquet"
    wall = on_server(bars, "ny+7")
    wall.with_columns(pl.col("time").dt.replace_time_zone("UTC")).write_parquet(path)
    found = one(path, symbol="eurusd", clock_rule="ny+7")
    assert (found.symbol, found.stated_rule) == ("EURUSD", "ny+7")
    assert_frame_equal(bars_of(found), wall)
    bars.with_columns(pl.col("time").dt.replace_time_zone("Asia/Tokyo")).write_parquet(path)
    with pytest.raises(Final, match="its times carry the zone Asia/Tokyo; leave --clock out"):
        one(path, symbol="EURUSD", clock_rule="ny+7")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_epoch_numbers_are_told_by_their_size_and_labelled(tmp_path, bars, unit):
    path = tmp_path / "EURUSD.parquet"
    ms = pl.col("time").dt.epoch("ms")
    numbers = {"s": ms // 1000, "ms": ms, "us": ms * 1000, "ns": ms * 1_000_000}
    bars.with_columns(numbers[unit].alias("time")).write_parquet(path)
    found = one(path)
    assert (found.stated_rule, found.label) == (None, "epoch numbers")
    assert_frame_equal(bars_of(found), bars)


@pytest.mark.parametrize("form", ["text", "text with offset", "microseconds", "two columns", "date and moment"])
def test_other_ways_to_write_the_moment_are_read(tmp_path, bars, form):
    path = tmp_path / "EURUSD.parquet"
    time = pl.col("time")
    written = {
        "text": [time.dt.strftime("%Y.%m.%d %H:%M")],
        "text with offset": [time.dt.strftime("%Y-%m-%d %H:%M:%S+00:00")],
        "microseconds": [time.cast(pl.Datetime("us"))],
        "two columns": [time.dt.date().alias("Date"), time.dt.time()],
        "date and moment": [time.dt.date().alias("date"), time],
    }
    bars.with_columns(written[form]).write_parquet(path)
    found = one(path)
    assert found.stated_rule == ("utc" if form == "text with offset" else None)
    assert_frame_equal(bars_of(found), bars)


def test_columns_of_other_names_are_understood_and_others_ignored(tmp_path, bars):
    path = tmp_path / "EURUSD.parquet"
    names = {"time": "Gmt time", "open": "O", "high": "H", "low": "L", "close": "C", "tick_volume": "Volume"}
    bars.rename(names).with_columns(comment=pl.lit("x")).write_parquet(path)
    assert_frame_equal(bars_of(one(path)), bars)


def test_columns_symbol_and_timeframe_split_the_file_and_contradiction_is_refused(tmp_path, bars):
    hours = resample(bars, "H1")
    path = tmp_path / "all.parquet"
    named = [(bars, "EURUSD", "M1"), (bars, "GBPUSD", "M1"), (hours, "EURUSD", "H1")]
    pl.concat([b.with_columns(symbol=pl.lit(s), timeframe=pl.lit(t)) for b, s, t in named]).write_parquet(path)
    found = list(read_path(path))
    assert [(f.symbol, f.timeframe, frame(f).height) for f in found] == [(s, t, b.height) for b, s, t in named]
    assert frame(found[2])["source_row"].to_list() == list(range(6001, 6001 + hours.height))
    assert found[2].content([6001])[0].startswith("time=2024-03-08 12:00:00, open=1.1")
    with pytest.raises(Final, match="holds EURUSD, not USDJPY"):
        list(read_path(path, symbol="USDJPY"))
    with pytest.raises(Final, match="holds M1 bars, not M5"):
        list(read_path(path, timeframe="M5"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: b.drop("time"), "has only the columns open, high, .*; bars need time, open"),
        (lambda b: b.drop("close"), "bars need time, open, high, low, close"),
        (lambda b: b.with_columns(pl.lit("noon").alias("time")), "times such as 'noon' are in no known form"),
        (lambda b: b.with_columns(pl.lit(True).alias("time")), "its column of times is of type Boolean"),
        (lambda b: b.with_columns(pl.lit("x").alias("open")), r"from columns that are no numbers \(open String\)"),
        (lambda b: b.head(0), "cannot be told from the bars; add --timeframe"),
    ],
)
def test_parquet_that_holds_no_bars_is_refused_in_one_line(tmp_path, bars, make, message):
    path = tmp_path / "EURUSD.parquet"
    make(bars).write_parquet(path)
    with pytest.raises(Final, match=message) as caught:
        one(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [2000, 6])
def test_damaged_parquet_is_refused_in_one_line(tmp_path, bars, keep):
    path = tmp_path / "EURUSD_M1.parquet"
    bars.write_parquet(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Final, match="is damaged Parquet") as caught:
        one(path)
    assert "\n" not in str(caught.value)


def test_nulls_and_faulty_prices_are_handed_on(tmp_path, bars):
    faulty = bars.with_columns(
        time=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("time"),
        open=pl.when(pl.int_range(pl.len()) == 4).then(float("nan")).otherwise("open"),
        close=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("close"),
    )
    path = tmp_path / "EURUSD_M1.parquet"
    faulty.write_parquet(path)
    assert_frame_equal(bars_of(one(path)), faulty)


@pytest.mark.parametrize("split", [False, True])
def test_a_file_of_many_rows_streams_to_the_same_rows(tmp_path, bars, monkeypatch, split):
    path = tmp_path / "EURUSD_M1.parquet"
    bars.with_columns(symbol=pl.lit("EURUSD") if split else None).write_parquet(path)
    whole = frame(one(path))
    monkeypatch.setattr(parquet, "WHOLE_ROWS", 100)
    monkeypatch.setattr(parquet, "CHUNK_ROWS", 700)
    found = one(path)
    for _ in range(2):
        assert [chunk.height for chunk in found.chunks()] == [700, 700, 700, 700, 200]
    assert_frame_equal(frame(found), whole)


def test_what_the_store_exports_is_read_back_the_same(tmp_path, bars):
    store = Store(tmp_path / "s.duckdb")
    known = {"origin": "test", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    store.ingest("sim", "EURUSD", "M1", bars, **known)
    store.export("sim", "EURUSD", "M1", tmp_path / "EURUSD.parquet")
    read = bars_of(one(tmp_path / "EURUSD.parquet"))
    assert_frame_equal(read, bars)
    assert read.select(PRICES).equals(bars.select(PRICES))
