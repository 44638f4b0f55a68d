import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import SCHEMA, epoch_s, resample
from feature_store.clock import utc_to_server
from feature_store.sources import _source
from feature_store.sources._source import SourceBars, file_sources, read_path
from feature_store.store import Store
from tests.conftest import make_bars

SPRING = datetime(2024, 3, 8, 12, tzinfo=UTC)  # 3,000 minutes from here cross a weekend and the US change
PRICES = ("open", "high", "low", "close")


def one(path: Path, **stated: str) -> SourceBars:
    found = list(read_path(path, **stated))
    assert len(found) == 1
    return found[0]


def on_server(bars: pl.DataFrame, rule: str) -> pl.Series:
    return pl.Series("time", utc_to_server(epoch_s(bars["time"]), rule) * 1000).cast(pl.Datetime("ms"))


def write_mt5_export(bars: pl.DataFrame, path: Path, rule: str, encoding: str = "utf-8") -> None:
    rows = ["<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"]
    for time, row in zip(on_server(bars, rule), bars.iter_rows(named=True), strict=True):
        prices = "\t".join(f"{row[c]:.5f}" for c in PRICES)
        rows.append(f"{time:%Y.%m.%d}\t{time:%H:%M:%S}\t{prices}\t{row['tick_volume']}\t0\t{row['spread_points']}")
    path.write_bytes(("\r\n".join(rows) + "\r\n").encode(encoding))


def write_csv(bars: pl.DataFrame, path: Path, header: str, line: Callable[[datetime, dict], str], rule: str = "utc") -> None:
    times = on_server(bars, rule)
    rows = [line(time, row) for time, row in zip(times, bars.iter_rows(named=True), strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def bars() -> pl.DataFrame:
    return make_bars(SPRING, 3000)


def test_every_source_file_that_offers_a_format_is_found_special_ones_first():
    names = [source.name for source in file_sources()]
    assert set(names) == {"parquet", "mt5_export", "csv_generic"}
    assert names[-1] == "csv_generic"


# --- Parquet


@pytest.mark.parametrize("spread_name", ["spread", "spread_points"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_parquet_of_naive_or_zoned_times_is_read_as_utc(tmp_path, bars, spread_name, zone):
    frame = bars.rename({"spread_points": spread_name})
    if zone:
        frame = frame.with_columns(pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
    path = tmp_path / "EURUSD_M1_x.parquet"
    frame.write_parquet(path)
    found = one(path)
    assert (found.symbol, found.timeframe, found.clock_rule) == ("EURUSD", "M1", "utc")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.origin == path.as_posix()
    assert_frame_equal(found.bars, bars)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_parquet_of_server_time_dressed_as_utc_is_undone_by_the_stated_clock(tmp_path, bars, zone):
    path = tmp_path / "dump.parquet"
    times = on_server(bars, "ny+7")
    bars.with_columns(times.dt.replace_time_zone(zone)).write_parquet(path)
    assert_frame_equal(one(path, symbol="eurusd", clock_rule="ny+7").bars, bars)


@pytest.mark.parametrize("unit", [1, 1000])
def test_epoch_numbers_need_a_stated_clock(tmp_path, bars, unit):
    path = tmp_path / "EURUSD.parquet"
    bars.with_columns(on_server(bars, "eet").dt.epoch("ms") // 1000 * unit).write_parquet(path)
    with pytest.raises(Final, match="its times are numbers, maybe of a server's clock; add --clock with one of utc"):
        one(path)
    assert_frame_equal(one(path, clock_rule="eet").bars, bars)


def test_parquet_with_columns_symbol_and_timeframe_is_split_and_contradiction_refused(tmp_path, bars):
    hours = resample(bars, "H1")
    path = tmp_path / "all.parquet"
    named = [(bars, "EURUSD", "M1"), (bars, "GBPUSD", "M1"), (hours, "EURUSD", "H1")]
    pl.concat([b.with_columns(symbol=pl.lit(s), timeframe=pl.lit(t)) for b, s, t in named]).write_parquet(path)
    found = list(read_path(path))
    assert [(f.symbol, f.timeframe, f.bars.height) for f in found] == [(s, t, b.height) for b, s, t in named]
    with pytest.raises(Final, match="holds EURUSD, not USDJPY"):
        list(read_path(path, symbol="USDJPY"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: b.drop("time"), "has no column time"),
        (lambda b: b.drop("close"), "bars lack the columns close"),
        (lambda b: b.with_columns(pl.col("time").cast(pl.String)), "column time is of type String"),
        (lambda b: b.with_columns(pl.lit("x").alias("open")), "bars cannot be read as"),
    ],
)
def test_parquet_that_holds_no_bars_is_refused_in_one_line(tmp_path, bars, make, message):
    path = tmp_path / "EURUSD_M1.parquet"
    make(bars).write_parquet(path)
    with pytest.raises(Final, match=message) as caught:
        one(path)
    assert "\n" not in str(caught.value)


def test_damaged_parquet_is_refused_in_one_line(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.parquet"
    bars.write_parquet(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Final, match="is damaged Parquet") as caught:
        one(path)
    assert "\n" not in str(caught.value)


def test_what_the_store_exports_is_read_back_the_same(tmp_path, bars):
    store = Store(tmp_path / "s.duckdb")
    known = {"origin": "test", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    store.ingest("sim", "EURUSD", "M1", bars, **known)
    store.export("sim", "EURUSD", "M1", tmp_path / "EURUSD.parquet")
    assert_frame_equal(one(tmp_path / "EURUSD.parquet").bars, bars)


# --- MetaTrader 5 export


@pytest.mark.parametrize("rule", ["eet", "ny+7", "utc+3"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_mt5_export_is_read_with_the_clock_that_was_stated(tmp_path, bars, rule, encoding):
    path = tmp_path / "EURUSDm_M1_202403080000_202403120000.csv"
    write_mt5_export(bars, path, rule, encoding)
    found = one(path, clock_rule=rule)
    assert (found.symbol, found.timeframe, found.clock_rule) == ("EURUSD", "M1", rule)
    assert_frame_equal(found.bars, bars.with_columns(pl.lit(0, dtype=pl.Int64).alias("real_volume")))


def test_a_zero_spread_of_an_mt5_export_stays_the_zero_that_was_recorded(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.csv"
    write_mt5_export(bars.with_columns(pl.lit(0, dtype=pl.Int32).alias("spread_points")), path, "eet")
    assert one(path, clock_rule="eet").bars["spread_points"].unique().to_list() == [0]


@pytest.mark.parametrize("content", ["export", "generic"])
def test_a_csv_without_a_stated_clock_is_refused_with_the_rules_there_are(tmp_path, bars, content):
    path = tmp_path / "EURUSD_M1.csv"
    if content == "export":
        write_mt5_export(bars, path, "eet")
    else:
        bars.write_csv(path)
    with pytest.raises(Final) as caught:
        one(path)
    assert str(caught.value) == (
        "EURUSD_M1.csv: its clock is not stated; add --clock with one of utc, utc+2, utc+3:30, ny, ny+7, eet, cet"
    )


def test_an_export_of_ticks_is_refused(tmp_path):
    path = tmp_path / "EURUSD.csv"
    path.write_text("<DATE>\t<TIME>\t<BID>\t<ASK>\n2024.03.08\t12:00:00.123\t1.1\t1.2\n", encoding="utf-8")
    with pytest.raises(Final, match="export bars, not ticks"):
        one(path, clock_rule="eet")


def test_a_daily_export_without_times_opens_at_midnight_of_the_server(tmp_path):
    path = tmp_path / "EURUSD_D1.csv"
    rows = [f"2024.03.{day:02}\t1.1\t1.2\t1.0\t1.1\t10\t0\t5" for day in (4, 5, 6, 7)]
    path.write_text("\n".join(["<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>", *rows]), encoding="utf-8")
    found = one(path, clock_rule="ny+7")
    assert found.bars["time"][0] == datetime(2024, 3, 3, 22)  # 17:00 New York: on the grid of D1
    assert found.timeframe == "D1"


# --- generic csv


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("time,open,high,low,close,tick_volume,spread_points", "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c},{v},{s}"),
        ("Date;Open;High;Low;Close;Tickvol;Volume;Spread", "{t:%Y.%m.%d %H:%M:%S};{o};{h};{l};{c};{v};0;{s}"),
        ("Date\tTime\tO\tH\tL\tC\tTicks\tSpread", "{t:%Y-%m-%d}\t{t:%H:%M}\t{o}\t{h}\t{l}\t{c}\t{v}\t{s}"),
        ("GMT_Time,Open,High,Low,Close,Volume,Spread", "{t:%d.%m.%Y %H:%M:%S}.000,{o},{h},{l},{c},{v}.0,{s}"),
        ('"timestamp","open","high","low","close","volume","spread"', '"{t:%Y%m%d %H%M%S}","{o}","{h}","{l}","{c}","{v}","{s}"'),
        ("Timestamp,Open,High,Low,Close,Vol,Spread", "{t:%Y-%m-%dT%H:%M:%S},{o},{h},{l},{c},{v},{s}"),
    ],
)
def test_csv_files_as_users_have_them_are_read_by_their_header(tmp_path, bars, header, line):
    path = tmp_path / "my EURUSD data.txt"

    def text(time: datetime, row: dict) -> str:
        values = {key: f"{row[name]:.5f}" for key, name in zip("ohlc", PRICES, strict=True)}
        return line.format(t=time, v=row["tick_volume"], s=row["spread_points"], **values)

    write_csv(bars, path, header, text, "eet")
    found = one(path, clock_rule="eet")
    assert (found.symbol, found.timeframe) == ("EURUSD", "M1")
    assert_frame_equal(found.bars.drop("real_volume"), bars.drop("real_volume"))


@pytest.mark.parametrize(("offset", "hours"), [("+00:00", 0), ("Z", 0), ("+0300", 3), ("-05:00", -5)])
def test_times_that_carry_their_offset_need_no_clock_and_refuse_one(tmp_path, bars, offset, hours):
    path = tmp_path / "EURUSD_M1.csv"
    write_csv(
        bars,
        path,
        "time,open,high,low,close",
        lambda t, row: (
            f"{t + timedelta(hours=hours):%Y-%m-%d %H:%M:%S}{offset},{row['open']},{row['high']},{row['low']},{row['close']}"
        ),
    )
    found = one(path)
    assert found.clock_rule == "utc"
    assert_frame_equal(found.bars.select("time", *PRICES), bars.select("time", *PRICES))
    with pytest.raises(Final, match="its times carry their offset from UTC"):
        one(path, clock_rule="utc")


def test_damaged_lines_reach_the_store_and_are_counted_there(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.csv"
    bars.write_csv(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = "-(" + lines[3]
    lines[5] = lines[5].rsplit(",", 5)[0] + ",dear,1,2,3,4"
    lines[7] = lines[7][:25]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = one(path, clock_rule="utc")
    assert found.bars.height == 3000
    batch = Store(tmp_path / "s.duckdb").ingest(
        "sim", "EURUSD", "M1", found.bars, origin="x", sha256="0", clock_rule="utc", at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert batch.rejects == {"price missing": 2, "time unreadable": 1}


def test_dates_whose_day_and_month_cannot_be_told_apart_are_refused(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.csv"
    write_csv(bars, path, "time,open,high,low,close", lambda t, row: f"{t:%m/%d/%Y %H:%M},1.1,1.1,1.1,1.1")
    with pytest.raises(Final, match=r"times such as '03/08/2024 12:00' are in no known form; write them as 2024-01-31 13:45:00"):
        one(path, clock_rule="utc")


# --- what all share


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EURUSD_M1.csv", "EURUSD"),
        ("DAT_ASCII_GBPUSD_M1_2017.csv", "GBPUSD"),
        ("usdjpy-m1-bid.csv", "USDJPY"),
        ("XAUUSD.pro_M5.csv", "XAUUSD"),
        ("EURUSDm5.csv", "EURUSD"),
        ("GBPUSDh1.csv", "GBPUSD"),
    ],
)
def test_the_symbol_is_taken_from_the_files_name(name, symbol):
    assert _source.symbol_for(Path(name), None) == symbol
    assert _source.symbol_for(Path(name), "nzdusd") == "NZDUSD"


@pytest.mark.parametrize("name", ["bars.csv", "FOREXX_M1.csv", "EUREUR.csv", "EURUSDGBP.csv", "US500.csv"])
def test_a_name_without_symbol_asks_for_one(name):
    with pytest.raises(Final, match="add --symbol"):
        _source.symbol_for(Path(name), None)


def test_the_timeframe_is_given_named_or_told_from_the_spacing(bars):
    times = bars["time"]
    assert _source.timeframe_for(Path("EURUSD.csv"), None, times) == "M1"
    assert _source.timeframe_for(Path("EURUSD.csv"), None, resample(bars, "H4")["time"]) == "H4"
    assert _source.timeframe_for(Path("EURUSD_M1.csv"), None, times.head(2)) == "M1"
    sparse = times.gather_every(3)  # minutes nobody traded in
    assert _source.timeframe_for(Path("EURUSD_M1.csv"), None, sparse) == "M1"
    with pytest.raises(Final, match="timeframe H1 was given, but bars stand 60 s apart"):
        _source.timeframe_for(Path("EURUSD.csv"), "H1", times)
    with pytest.raises(Final, match="timeframe H1 stands in the file's name, but bars stand 60 s apart"):
        _source.timeframe_for(Path("EURUSD_H1.csv"), None, times)
    with pytest.raises(Final, match="cannot be told from the bars; add --timeframe"):
        _source.timeframe_for(Path("EURUSD.csv"), None, times.head(2))
    irregular = pl.Series(np.cumsum(np.arange(1, 50)) * 60_000).cast(pl.Datetime("ms"))
    with pytest.raises(Final, match="cannot be told from the bars"):
        _source.timeframe_for(Path("EURUSD.csv"), None, irregular)


def test_folders_and_patterns_expand_in_name_order_and_a_folder_skips_what_it_does_not_know(tmp_path, bars, caplog):
    for symbol in ("GBPUSD", "EURUSD"):
        bars.write_parquet(tmp_path / f"{symbol}_M1.parquet")
    (tmp_path / "README.md").write_text("# bars\n", encoding="utf-8")
    (tmp_path / ".hidden").write_text("x", encoding="utf-8")
    assert [found.symbol for found in read_path(tmp_path)] == ["EURUSD", "GBPUSD"]
    assert [r.getMessage() for r in caplog.records] == [f"{tmp_path / 'README.md'} skipped: not a format that is known"]
    assert [found.symbol for found in read_path(tmp_path / "E*.parquet")] == ["EURUSD"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is of no known format"),
        (b"hello\nworld\n", "is of no known format"),
        (b"20170306 000000;1.06;1.06;1.06;1.06;0\n", "csv needs a header line with time,open,high,low,close"),
        (b"\x00\x01\x02\xff" * 100, "is of no known format"),
        (b'"time\topen\thigh\tlow\tclose"\n"2022-01-04 18:00:00\t1\t1\t1\t1"\n', "check separators and quotes"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "EURUSD_M1.csv"
    path.write_bytes(content)
    with pytest.raises(Final, match=message) as caught:
        one(path, clock_rule="utc")
    assert "\n" not in str(caught.value)


def test_the_content_and_not_the_name_decides_the_format(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.csv"
    bars.write_parquet(path)
    assert_frame_equal(one(path).bars, bars)


def test_paths_rules_and_timeframes_that_do_not_exist_are_refused(tmp_path, bars):
    with pytest.raises(Final, match="does not exist; give a file, a folder or a pattern"):
        one(tmp_path / "absent.csv")
    with pytest.raises(Final, match="holds no file of a known format; known are mt5_export, parquet, csv_generic"):
        one(tmp_path)
    bars.write_parquet(tmp_path / "EURUSD.parquet")
    with pytest.raises(Final, match="clock rule 'moon' is not known"):
        one(tmp_path / "EURUSD.parquet", clock_rule="moon")
    with pytest.raises(Final, match="timeframe 'H5' is not known"):
        one(tmp_path / "EURUSD.parquet", timeframe="H5")


@pytest.mark.real_data
def test_a_real_mt5_export_read_as_eet_opens_and_closes_with_the_market(tmp_path, real_data):
    found = one(real_data / "raw" / "mt5_export_XAUUSD_M5_202501.csv", clock_rule="eet")
    assert (found.symbol, found.timeframe, found.bars.height) == ("XAUUSD", "M5", 6037)
    first = found.bars.row(0, named=True)
    assert first["time"] == datetime(2025, 1, 1, 23)  # 01:00 EET of 2 January, gold opens at 18:00 New York
    assert [first[c] for c in PRICES] == [2624.81, 2625.07, 2624.25, 2625.00]
    assert (first["tick_volume"], first["spread_points"], first["real_volume"]) == (124, 43, 0)
    batch = Store(tmp_path / "s.duckdb").ingest(
        "metaquotes", "XAUUSD", "M5", found.bars, origin=found.origin, sha256=found.sha256, clock_rule="eet",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    assert (batch.rows_new, batch.rows_rejected) == (6037, 0)
    assert found.bars.schema == pl.Schema(SCHEMA)


@pytest.mark.real_data
def test_real_files_of_several_brokers_are_read_or_refused_as_they_deserve(real_data):
    raw = real_data / "raw"
    hourly = one(raw / "dukascopy_FOREX_EURUSD_1H_ASK_2017.csv", clock_rule="utc")
    assert (hourly.symbol, hourly.timeframe, hourly.bars["time"][0]) == ("EURUSD", "H1", datetime(2017, 1, 1, 22))
    assert one(raw / "mt5_pandas_EURUSD_15M_2022.csv", clock_rule="eet").timeframe == "M15"
    assert one(raw / "fxcm_usdjpy-m1-bid-201302.csv").clock_rule == "utc"
    for name in ("histdata_DAT_ASCII_EURUSD_M1_201703_part.csv", "lean_oanda_eurusd_minute_20140502_quote.zip"):
        with pytest.raises(Final, match="is of no known format"):
            one(raw / name, clock_rule="utc")
