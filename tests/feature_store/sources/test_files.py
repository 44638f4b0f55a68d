import gzip
import hashlib
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import epoch_s, resample
from feature_store.sources import _content, _names
from feature_store.sources._source import file_sources, read_path
from tests.conftest import make_bars
from tests.feature_store.sources.files_made import (
    EXPORT,
    EXPORT_HEADER,
    PLAIN,
    PLAIN_HEADER,
    PRICES,
    bars_of,
    frame,
    on_server,
    one,
    write_lines,
)

SPRING = datetime(2024, 3, 8, 12, tzinfo=UTC)  # 3,000 minutes from here cross a weekend and the US change


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return make_bars(SPRING, 3000)


def test_every_format_in_the_folder_is_found_special_ones_first():
    names = [source.name for source in file_sources()]
    assert names == ["dukascopy", "histdata", "lean", "mt5_export", "parquet", "csv_generic", "csv_no_header"]


# --- tables of text, as users have them

CASES = [
    # name, header, line, columns that the file has beyond prices
    ("plain", PLAIN_HEADER, PLAIN, {"tick_volume", "spread_points"}),
    ("pandas of mt5", "Date,Open,High,Low,Close,Tickvol,Volume,Spread", "{t:%Y.%m.%d %H:%M:%S},{o},{h},{l},{c},{v},0,{s}",
     {"tick_volume", "spread_points", "real_volume"}),
    ("date and time", "Date\tTime\tO\tH\tL\tC\tTicks\tSpread", "{t:%Y-%m-%d}\t{t:%H:%M}\t{o}\t{h}\t{l}\t{c}\t{v}\t{s}",
     {"tick_volume", "spread_points"}),
    ("day first", "GMT_Time,Open,High,Low,Close,Volume", "{t:%d.%m.%Y %H:%M:%S},{o},{h},{l},{c},{v}.0", {"tick_volume"}),
    ("quoted cells", '"timestamp","open","high","low","close"', '"{t:%Y%m%d %H%M%S}","{o}","{h}","{l}","{c}"', set()),
    ("quoted lines", '"Time\tOpen\tHigh\tLow\tClose\tVolume"',
     '"{t:%Y-%m-%d %H:%M:%S}\t{o}\t{h}\t{l}\t{c}\t{v}"', {"tick_volume"}),
    ("iso", "Timestamp,Open,High,Low,Close,Vol", "{t:%Y-%m-%dT%H:%M:%S},{o},{h},{l},{c},{v}", {"tick_volume"}),
    ("american", "Date,Time,Open,High,Low,Close", "{t:%m/%d/%Y},{t:%H:%M},{o},{h},{l},{c}", set()),
    ("british", "Date,Open,High,Low,Close", "{t:%d/%m/%Y %H:%M},{o},{h},{l},{c}", set()),
    ("am and pm", "time,open,high,low,close", "{t:%m/%d/%Y %I:%M:%S %p},{o},{h},{l},{c}", set()),
    ("bars between", "time|open|high|low|close", "{t:%Y-%m-%d %H:%M:%S}|{o}|{h}|{l}|{c}", set()),
    ("excel's hint", "sep=;\nTime;Open;High;Low;Close", "{t:%Y-%m-%d %H:%M:%S};{o};{h};{l};{c}", set()),
    ("a pandas index", ",open,high,low,close", "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c}", set()),
    ("a numbered index", "Unnamed: 0,time,open,high,low,close", "{v},{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c}", set()),
    ("blanks", "time, open, high, low, close", " {t:%Y-%m-%d %H:%M:%S}, {o}, {h} ,{l} , {c}", set()),
    ("a comma too many", "time,open,high,low,close", "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c},", set()),
    ("metatrader 4", None, "{t:%Y.%m.%d},{t:%H:%M},{o},{h},{l},{c},{v}", {"tick_volume"}),
    ("no header", None, "{t:%Y-%m-%d %H:%M},{o},{h},{l},{c},{v}", {"tick_volume"}),
    ("histdata", None, "{t:%Y%m%d %H%M%S};{o};{h};{l};{c};0", set()),
    ("mt5 export", EXPORT_HEADER, EXPORT, {"tick_volume", "spread_points", "real_volume"}),
]  # fmt: skip


def expected(bars: pl.DataFrame, columns: set[str]) -> pl.DataFrame:
    """`bars` with only these columns beyond prices; a real volume that is written is 0."""
    kept = bars.with_columns(real_volume=pl.lit(0, dtype=pl.Int64))
    optional = ("tick_volume", "spread_points", "real_volume")
    return kept.with_columns(pl.lit(None, dtype=bars.schema[c]).alias(c) for c in optional if c not in columns)


@pytest.mark.parametrize(("name", "header", "line", "columns"), CASES, ids=[case[0] for case in CASES])
def test_tables_of_text_are_read_by_names_or_numbers_with_the_clock_as_written(tmp_path, bars, name, header, line, columns):
    path = write_lines(bars, tmp_path / "my EURUSD data.txt", line, header=header)
    found = one(path)
    assert (found.symbol, found.timeframe, found.stated_rule) == ("EURUSD", "M1", None)
    assert_frame_equal(bars_of(found), expected(bars, columns))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.origin == path.as_posix()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_ends_do_not_matter(tmp_path, bars, encoding, newline):
    note = "é" if encoding != "utf-16-be" else "e"
    head = bars.head(100)
    path = write_lines(
        head, tmp_path / "EURUSD.csv", PLAIN + "," + note, header=PLAIN_HEADER + ",ré", encoding=encoding, newline=newline
    )
    assert_frame_equal(bars_of(one(path)), expected(head, {"tick_volume", "spread_points"}))
    found = one(path)
    assert found.content([3, 2])[0].startswith("2024-03-08 12:01:00,")


@pytest.mark.parametrize(("cell", "separator"), [("{}", ";"), ("{}", "\t"), ('"{}"', ",")])
def test_decimal_commas_are_read_where_another_sign_separates_or_quotes_enclose(tmp_path, bars, cell, separator):
    def line(t, row):
        return separator.join([f"{t:%d.%m.%Y %H:%M}", *(cell.format(f"{row[c]:.5f}".replace(".", ",")) for c in PRICES)])

    path = write_lines(
        bars, tmp_path / "EURUSD.csv", line, header=separator.join(["Datum", "o", "h", "l", "c"]).replace("Datum", "date")
    )
    assert_frame_equal(bars_of(one(path)), expected(bars, set()))


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000, 1_000_000_000])
def test_epoch_numbers_are_told_by_their_size(tmp_path, bars, factor):
    path = write_lines(
        bars,
        tmp_path / "EURUSD.csv",
        lambda t, row: (
            f"{int(t.replace(tzinfo=UTC).timestamp()) * factor},{row['open']},{row['high']},{row['low']},{row['close']}"
        ),
        header="unix,o,h,l,c",
    )
    found = one(path)
    assert found.stated_rule is None  # servers write them too
    assert_frame_equal(bars_of(found).select("time"), bars.select("time"))


@pytest.mark.parametrize(("offset", "hours"), [("+00:00", 0), ("Z", 0), ("+0300", 3), ("-05:00", -5), (" GMT+0200", 2)])
def test_times_that_carry_their_offset_prove_the_clock_and_refuse_another(tmp_path, bars, offset, hours):
    local = bars.with_columns(pl.col("time") + timedelta(hours=hours))
    line = "{t:%Y-%m-%d %H:%M:%S}" + offset + ",{o},{h},{l},{c}"
    path = write_lines(local, tmp_path / "EURUSD_M1.csv", line, header="time,open,high,low,close")
    found = one(path)
    assert found.stated_rule == "utc"
    assert_frame_equal(bars_of(found), expected(bars, set()))
    with pytest.raises(Final, match="its times carry their offset from UTC"):
        one(path, clock_rule="utc")


def test_offsets_that_change_with_the_season_are_taken_off_row_by_row(tmp_path, bars):
    def line(t, row):
        hours = 2 if t < datetime(2024, 3, 10, 12) else 3
        prices = ",".join(f"{row[c]:.5f}" for c in PRICES)
        return f"{t + timedelta(hours=hours):%Y-%m-%d %H:%M:%S}+0{hours}:00,{prices}"

    path = write_lines(bars, tmp_path / "EURUSD_M1.csv", line, header="time,open,high,low,close")
    assert_frame_equal(bars_of(one(path)), expected(bars, set()))


def test_a_stated_clock_is_handed_on_and_times_stay_as_written(tmp_path, bars):
    wall = on_server(bars, "eet")
    path = write_lines(wall, tmp_path / "EURUSDm_M1_202403080000.csv", EXPORT, header=EXPORT_HEADER, newline="\r\n")
    found = one(path, clock_rule="eet")
    assert found.stated_rule == "eet"
    assert_frame_equal(bars_of(found).select("time"), wall.select("time"))


def test_a_daily_export_without_times_opens_at_midnight_of_the_server(tmp_path):
    path = tmp_path / "EURUSD_D1.csv"
    rows = [f"2024.03.{day:02}\t1.1\t1.2\t1.0\t1.1\t10\t0\t5" for day in (4, 5, 6, 7)]
    path.write_text("\n".join([EXPORT_HEADER.replace("<TIME>\t", ""), *rows]), encoding="utf-8")
    found = one(path)
    assert (found.timeframe, frame(found)["time"][0]) == ("D1", datetime(2024, 3, 4))


def test_a_file_whose_day_and_month_could_be_swapped_is_refused(tmp_path, bars):
    path = write_lines(
        bars.head(500), tmp_path / "EURUSD_M1.csv", "{t:%m/%d/%Y %H:%M},{o},{h},{l},{c}", header="time,open,high,low,close"
    )
    with pytest.raises(Final, match="in its times day and month cannot be told apart; write them as 2024-01-31 13:45:00"):
        one(path)


# --- numbers


def test_whole_number_prices_are_divided_by_the_power_of_ten_that_makes_them_prices(tmp_path, bars):
    def line(t, row):
        return ",".join([f"{t:%Y-%m-%d %H:%M:%S}", *(f"{round(row[c] * 100_000)}.0" for c in PRICES)])

    path = write_lines(bars, tmp_path / "EURUSD.csv", line, header="Date,open,high,low,close")
    found = one(path)
    assert "prices divided by 100000" in found.notes
    assert_frame_equal(bars_of(found), expected(bars, set()), check_exact=True)


@pytest.mark.parametrize(
    ("symbol", "written", "divisor"),
    [
        ("USDJPY", 110250.0, 1000),
        ("USDJPY", 11025.0, 100),
        ("XAUUSD", 190055.0, 100),
        ("EURUSD", 11025.0, 10_000),
        ("EURUSD", 1.0, 1),
    ],
)
def test_the_power_of_ten_is_told_by_the_symbol(tmp_path, symbol, written, divisor):
    path = tmp_path / f"{symbol}.csv"
    rows = [f"2024-03-08 12:{m:02}:00,{written + m % 2},{written + 2},{written - 0.0},{written + m % 2}" for m in range(50)]
    path.write_text("\n".join(["time,open,high,low,close", *rows]), encoding="utf-8")
    assert frame(one(path))["low"][0] == written / divisor


def test_prices_that_the_symbol_cannot_have_are_noted_and_kept(tmp_path, bars):
    path = write_lines(bars, tmp_path / "USDJPY.csv", PLAIN, header=PLAIN_HEADER)
    found = one(path)
    assert [note for note in found.notes if "are not usual for USDJPY; check the symbol" in note]
    assert_frame_equal(bars_of(found).select(PRICES), bars.select(PRICES))


@pytest.mark.parametrize("digits", [5, 1])
def test_a_spread_in_price_becomes_points_and_one_in_points_stays(tmp_path, bars, digits):
    in_price = digits == 5

    def line(t, row):
        spread = f"{row['spread_points'] * 1e-5:.5f}" if in_price else f"{row['spread_points']}.0"
        return ",".join([f"{t:%Y-%m-%d %H:%M:%S}", *(f"{row[c]:.5f}" for c in PRICES), spread])

    found = one(write_lines(bars, tmp_path / "EURUSD.csv", line, header="time,open,high,low,close,spread"))
    assert_frame_equal(bars_of(found).select("spread_points"), bars.select("spread_points"))
    assert any("spread was in price" in note for note in found.notes) is in_price


def test_bid_and_ask_in_one_row_are_bars_of_the_bid_with_a_spread(tmp_path, bars):
    def line(t, row):
        asks = (f"{row[c] + row['spread_points'] * 1e-5:.5f}" for c in PRICES)
        return ",".join([f"{t:%Y-%m-%d %H:%M:%S}", *(f"{row[c]:.5f}" for c in PRICES), *asks, str(row["tick_volume"])])

    header = "date,bidopen,bidhigh,bidlow,bidclose,askopen,askhigh,asklow,askclose,tickqty"
    found = one(write_lines(bars, tmp_path / "EURUSD.csv", line, header=header))
    assert_frame_equal(bars_of(found), expected(bars, {"tick_volume", "spread_points"}))
    headerless = one(write_lines(bars, tmp_path / "EURUSD_2.csv", line))
    assert_frame_equal(bars_of(headerless), expected(bars, {"spread_points"}))


def test_a_volume_with_fractions_is_an_amount_and_no_count_of_ticks(tmp_path, bars):
    path = write_lines(bars, tmp_path / "EURUSD.csv", "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c},{v}.25", header=PLAIN_HEADER[:33])
    found = bars_of(one(path))
    assert found["tick_volume"].null_count() == found.height
    assert found["real_volume"].to_list() == bars["tick_volume"].to_list()


@pytest.mark.parametrize("large", [False, True])
def test_a_column_of_symbols_splits_the_file(tmp_path, bars, monkeypatch, large):
    other = bars.with_columns(pl.col(c) + 0.2 for c in PRICES)
    lines = {}
    for name, part in (("EUR/USD", bars), ("GBPUSDm", other)):
        path = write_lines(part, tmp_path / "x.csv", "{t:%Y-%m-%d %H:%M:%S}," + name + ",{o},{h},{l},{c}")
        lines[name] = path.read_text(encoding="utf-8").splitlines()
    path = tmp_path / "x.csv"
    rows = [*lines["EUR/USD"], *lines["GBPUSDm"], "2024-03-12 00:00:00,,1.1,1.1,1.1,1.1"]
    path.write_text("\n".join(["time,ticker,open,high,low,close", *rows]), encoding="utf-8")
    if large:
        monkeypatch.setattr(_content, "WHOLE_BYTES", 1000)
        monkeypatch.setattr(_content, "BLOCK_BYTES", 20_001)
    euro, pound = read_path(path)
    assert (euro.symbol, pound.symbol) == ("EURUSD", "GBPUSD")
    assert_frame_equal(bars_of(euro).head(3000), expected(bars, set()))
    assert_frame_equal(bars_of(pound).select(PRICES), other.select(PRICES).with_columns(pl.all().round(5)))
    assert frame(euro)["source_row"].to_list() == [*range(2, 3002), 6002]  # a row of no symbol is lost to none
    assert one(path, symbol="gbpusd").symbol == "GBPUSD"
    with pytest.raises(Final, match="holds EURUSD, GBPUSD, not USDJPY; leave --symbol out"):
        one(path, symbol="USDJPY")


def test_a_quote_that_nobody_closes_eats_no_line(tmp_path, bars):
    def line(t, row):
        return ",".join([f"{t:%d.%m.%Y %H:%M}", *('"' + f"{row[c]:.5f}".replace(".", ",") + '"' for c in PRICES)])

    path = write_lines(bars, tmp_path / "EURUSD.csv", line, header="date,o,h,l,c")
    rows = path.read_text(encoding="utf-8").split("\n")
    rows[1000] = rows[1000].replace('"', "", 1)
    path.write_text("\n".join(rows), encoding="utf-8")
    read = frame(one(path))
    assert read["source_row"].to_list() == list(range(2, 3002))
    assert_frame_equal(read.drop("source_row")[:999], expected(bars, set())[:999])
    assert_frame_equal(read.drop("source_row")[1000:], expected(bars, set())[1000:])


# --- damage: what cannot be read is null and keeps its row, nothing is dropped and nothing repaired


def test_damaged_lines_are_null_with_their_row_and_text(tmp_path, bars):
    path = write_lines(bars, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] = "-(" + lines[3]
    lines[5] = lines[5].replace(",1.", ",dear", 1)
    lines[7] = lines[7][:25]
    lines[9] = PLAIN_HEADER
    lines[11] += ",7"  # which cell is the one too many is unknown
    lines[13] = " " + lines[13].replace(",", ' , "', 1).replace(",", '" ,', 2).replace('" ,', " ,", 1)
    lines[15] = "2024-03-08,1.1,1.1,1.1,1.1,5,5"  # midnight, as spreadsheets write it
    lines[17] = ""
    lines[19] = lines[19].split(",")[0] + ",nan,inf,-1,0,5,5"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = one(path)
    read = frame(found)
    assert read["source_row"].to_list() == [row for row in range(2, 3002) if row != 18]  # a blank line is no row
    by_row = {row["source_row"]: row for row in read.iter_rows(named=True)}
    assert by_row[4]["time"] is None and by_row[4]["open"] == bars["open"][2]
    assert by_row[6]["open"] is None and by_row[6]["high"] == bars["high"][4]
    assert (by_row[8]["high"], by_row[8]["close"]) == (None, None)
    assert {by_row[10][c] for c in ("time", *PRICES)} == {None}
    assert {by_row[12][c] for c in PRICES} == {None} and by_row[12]["time"] == bars["time"][10]
    assert [by_row[14][c] for c in ("time", *PRICES)] == list(bars.row(12)[:5])
    assert by_row[16]["time"] == datetime(2024, 3, 8)
    assert np.isnan(by_row[20]["open"]) and (by_row[20]["high"], by_row[20]["low"], by_row[20]["close"]) == (np.inf, -1, 0)
    assert found.content([8, 4, 12]) == [lines[7], lines[3], lines[11]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.dictionaries(st.integers(1, 40), st.text(alphabet=' ,;\t"x1.-:\x00é', max_size=30), max_size=12))
def test_whatever_lines_hold_every_other_row_is_read_and_every_line_keeps_its_number(tmp_path, bars, damage):
    head = bars.head(40)
    path = write_lines(head, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, text in damage.items():
        lines[number] = text
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    try:
        read = frame(one(path))
    except Final as error:
        assert "\n" not in str(error)  # too little is left to tell a table
        return
    blank = {number + 1 for number, text in damage.items() if not text.strip()}
    assert read["source_row"].to_list() == [row for row in range(2, 42) if row not in blank]
    whole = read.filter(~pl.col("source_row").is_in([number + 1 for number in damage]))
    kept = head.with_columns(source_row=pl.int_range(2, 42, dtype=pl.Int64), real_volume=pl.lit(None, dtype=pl.Int64))
    assert_frame_equal(whole, kept.filter(pl.col("source_row").is_in(whole["source_row"].to_list())).select(whole.columns))


@pytest.mark.parametrize("places", [(1,), (40,), (7, 8), (7, 40)])
def test_a_line_of_quotes_alone_stays_a_row_that_cannot_be_read(tmp_path, bars, places):
    path = write_lines(bars.head(40), tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    lines = path.read_text(encoding="utf-8").split("\n")
    for number in places:
        lines[number] = '"'
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    read = frame(one(path))
    assert read["source_row"].to_list() == list(range(2, 42))
    assert read.filter(pl.col("time").is_null())["source_row"].to_list() == [number + 1 for number in places]
    assert read["close"].null_count() == len(places)


def test_rows_are_handed_on_in_the_order_and_with_the_faults_of_the_file(tmp_path, bars):
    faulty = bars.with_columns(
        high=pl.when(pl.int_range(pl.len()) == 5).then(pl.col("low") - 1e-4).otherwise("high"),
        open=pl.when(pl.int_range(pl.len()) == 6).then(-pl.col("open")).otherwise("open"),
        low=pl.when(pl.int_range(pl.len()) == 7).then(0.0).otherwise("low"),
        time=pl.when(pl.int_range(pl.len()) == 8).then(pl.col("time") + timedelta(seconds=7)).otherwise("time"),
    )
    shuffled = faulty.sample(fraction=1.0, shuffle=True, seed=3)
    path = write_lines(shuffled, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    assert_frame_equal(bars_of(one(path)), shuffled.with_columns(pl.col("high").round(5)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; fetch or export it again"),
        (b"hello\nworld\n", "is of no known format"),
        (b"time,open,high,low\n2024-01-01,1,1,1\n", "is of no known format"),
        (b"\x00\x01\x02\xff" * 100, "is of no known format"),
        (bytes(range(256)) * 50, "is of no known format"),
        (b"time,open,high,low,close\n", "has a header and no lines of bars; export it again"),
        (b"time,open,high,low,close\nnoon,1,1,1,1\ntea,1,1,1,1\n", "times such as 'noon' are in no known form"),
        (b"PK\x03\x04 not really", "is a damaged zip file"),
        (b"\x1f\x8b not really", "is a damaged gz file"),
        ("time,open,high,low,close\n2024-01-01 00:00,1,1,1,1\n".encode("cp500") * 9, "is of no known format"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "EURUSD_M1.csv"
    path.write_bytes(content)
    with pytest.raises(Final, match=message) as caught:
        one(path)
    assert "\n" not in str(caught.value)


# --- packed and large files


def test_gz_and_zip_are_unpacked_and_hashed_as_they_lie(tmp_path, bars):
    plain = write_lines(bars, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    packed = tmp_path / "EURUSD_M1.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    archive = tmp_path / "download.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(plain, "DAT/EURUSD_M1.csv")
        file.writestr("readme.txt", "hello")
    for path in (packed, archive):
        found = one(path)
        assert (found.symbol, found.sha256) == ("EURUSD", hashlib.sha256(path.read_bytes()).hexdigest())
        assert_frame_equal(frame(found), frame(one(plain)))
        assert found.content([2]) == one(plain).content([2])


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:30], lambda b: b[:900] + b"\x00\x01" + b[902:]])
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_truncated_or_flipped_archive_is_refused_and_gives_no_half_file(tmp_path, bars, kind, damage):
    plain = write_lines(bars, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER)
    path = tmp_path / f"EURUSD.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(plain, "EURUSD_M1.csv")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Final, match=f"is a damaged {kind} file") as caught:
        one(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_large_file_streams_in_blocks_to_the_same_rows(tmp_path, bars, monkeypatch, packed, encoding):
    path = write_lines(bars, tmp_path / "EURUSD_M1.csv", PLAIN, header=PLAIN_HEADER, encoding=encoding, newline="\r\n")
    if packed:
        path = tmp_path / "EURUSD_M1.csv.gz"
        path.write_bytes(gzip.compress((tmp_path / "EURUSD_M1.csv").read_bytes()))
    whole = one(path)
    expected_rows = frame(whole)
    monkeypatch.setattr(_content, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(_content, "BLOCK_BYTES", 7001)
    streamed = one(path)
    chunks = list(streamed.chunks())
    assert len(chunks) > 10
    assert_frame_equal(pl.concat(chunks), expected_rows)
    assert_frame_equal(pl.concat(list(streamed.chunks())), expected_rows)  # again
    assert streamed.content([2, 1500, 3001, 9999]) == whole.content([2, 1500, 3001, 9999])


# --- names, paths, what is stated


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EURUSD_M1", "EURUSD"),
        ("DAT_ASCII_GBPUSD_M1_2017", "GBPUSD"),
        ("usdjpy-m1-bid", "USDJPY"),
        ("XAUUSD.pro_M5", "XAUUSD"),
        ("EURUSDm5", "EURUSD"),
        ("GBPUSDh1", "GBPUSD"),
        ("EUR_USD_M5", "EURUSD"),
        ("aud-usd", "AUDUSD"),
        ("BTCUSD_H1", "BTCUSD"),
        ("ETHEURm", "ETHEUR"),
        ("eth_usd", "ETHUSD"),
    ],
)
def test_the_symbol_is_taken_from_the_files_name(name, symbol):
    assert _names.symbol_for([name], None, name) == symbol
    assert _names.symbol_for([name], "nzdusd", name) == "NZDUSD"


@pytest.mark.parametrize("name", ["bars", "FOREXX_M1", "EUREUR", "EURUSDGBP", "US500", "BTCUSDT_1h", "ETHUSDC"])
def test_a_name_without_symbol_asks_for_one(name):
    with pytest.raises(Final, match="add --symbol"):
        _names.symbol_for([name], None, name)


def test_the_timeframe_is_given_named_or_told_from_the_spacing(bars):
    times = bars["time"]

    def told(name: str, given: str | None, moments: pl.Series) -> str:
        return _names.timeframe_for([name], given, moments, name)

    assert told("EURUSD", None, times) == "M1"
    assert told("EURUSD", None, resample(bars, "H4")["time"]) == "H4"
    assert told("EURUSD_M1", None, times.head(2)) == "M1"
    assert told("EURUSD_M1", None, times.gather_every(3)) == "M1"  # minutes nobody traded in
    with pytest.raises(Final, match="timeframe H1 was given, but bars stand 60 s apart"):
        told("EURUSD", "H1", times)
    with pytest.raises(Final, match="timeframe H1 stands in the file's name, but bars stand 60 s apart"):
        told("EURUSD_H1", None, times)
    with pytest.raises(Final, match="cannot be told from the bars; add --timeframe"):
        told("EURUSD", None, times.head(2))
    irregular = pl.Series(np.cumsum(np.arange(1, 50)) * 60_000).cast(pl.Datetime("ms"))
    with pytest.raises(Final, match="cannot be told from the bars"):
        told("EURUSD", None, irregular)


def test_folders_and_patterns_expand_in_name_order_and_a_folder_skips_what_it_does_not_know(tmp_path, bars, caplog):
    for symbol in ("GBPUSD", "EURUSD"):
        bars.write_parquet(tmp_path / f"{symbol}_M1.parquet")
    (tmp_path / "README.md").write_text("# bars\n", encoding="utf-8")
    (tmp_path / ".hidden").write_text("x", encoding="utf-8")
    (tmp_path / "deeper.csv").mkdir()
    assert [found.symbol for found in read_path(tmp_path)] == ["EURUSD", "GBPUSD"]
    skipped = [record.getMessage() for record in caplog.records]
    assert skipped == [
        f"{tmp_path / 'deeper.csv'} skipped: a folder inside the folder; give it by itself",
        f"{(tmp_path / 'README.md').as_posix()} skipped: not a format that is known",
    ]
    assert [found.symbol for found in read_path(tmp_path / "E*.parquet")] == ["EURUSD"]
    with pytest.raises(Final, match="holds no file of a known format"):
        one(tmp_path / "deeper.csv")


def test_one_refused_file_stops_no_other_when_its_line_is_taken(tmp_path, bars):
    bars.write_parquet(tmp_path / "EURUSD_M1.parquet")
    (tmp_path / "GBPUSD.csv").write_text("time,open,high,low,close\n", encoding="utf-8")
    refused: list[str] = []
    found = list(read_path(tmp_path, tmp_path / "absent", refused=refused.append))
    assert [raw.symbol for raw in found] == ["EURUSD"]
    assert refused[0].partition(":")[0] == "GBPUSD.csv"
    assert "absent does not exist" in refused[1]


def test_the_content_and_not_the_name_decides_the_format(tmp_path, bars):
    path = tmp_path / "EURUSD_M1.csv"
    bars.write_parquet(path)
    assert_frame_equal(bars_of(one(path)), bars)


def test_paths_rules_timeframes_and_sides_that_do_not_exist_are_refused(tmp_path, bars):
    with pytest.raises(Final, match="does not exist; give a file, a folder or a pattern"):
        one(tmp_path / "absent.csv")
    with pytest.raises(Final, match="holds no file of a known format; known are dukascopy, histdata, lean, mt5_export"):
        one(tmp_path)
    bars.write_parquet(tmp_path / "EURUSD.parquet")
    with pytest.raises(Final, match="'moon'"):
        one(tmp_path / "EURUSD.parquet", clock_rule="moon")
    with pytest.raises(Final, match="timeframe 'H5' is not known"):
        one(tmp_path / "EURUSD.parquet", timeframe="H5")
    with pytest.raises(Final, match="side 'mid' is not known; use bid or ask"):
        one(tmp_path / "EURUSD.parquet", side="mid")


def test_moments_are_whole_seconds_of_the_wall_clock(tmp_path, bars):
    path = write_lines(bars, tmp_path / "EURUSD.csv", PLAIN, header=PLAIN_HEADER)
    assert epoch_s(frame(one(path))["time"])[0] == int(SPRING.timestamp())
    assert Path(one(path).origin) == path
