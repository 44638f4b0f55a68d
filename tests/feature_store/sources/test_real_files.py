"""Every file of ../shared/data is recognised by its content and read right."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import bar_open, epoch_s
from feature_store.clock import server_to_utc
from feature_store.sources._content import contents_of
from feature_store.sources._source import read_path, recognise
from tests.feature_store.sources.files_made import PRICES, bars_of, frame, one

pytestmark = pytest.mark.real_data

# file: format, symbol, timeframe, rows, stated clock, label, notes, first row as written
RAW = {
    "ejtrader_GBPUSDh1_integer_prices.csv": (
        "csv_generic", "GBPUSD", "H1", 5000, None, "", ("prices divided by 100000",),
        (datetime(2012, 11, 16, 5), 1.58611, 1.58618, 1.58572, 1.58599, 1032, None, None)),
    "histdata_DAT_ASCII_EURUSD_M1_201703_part.csv": (
        "histdata", "EURUSD", "M1", 13962, None, "HistData says New York without daylight saving", (),
        (datetime(2017, 3, 6), 1.06005, 1.06023, 1.06005, 1.06023, None, None, None)),
    "lean_fxcm_eurusd_tick_20140502_quote.zip": (
        "lean", "EURUSD", "M1", 958, None, "",
        ("96,406 ticks made into M1 bars; 12,061 crossed and 13,004 zero-spread quotes left out of the spread",),
        (datetime(2014, 5, 2), 1.38626, 1.38626, 1.38625, 1.38625, 10, 1, None)),
    "lean_oanda_eurusd_minute_20140502_quote.zip": (
        "lean", "EURUSD", "M1", 1222, None, "", ("spread is ask close less bid close",),
        (datetime(2014, 5, 2), 1.38694, 1.38694, 1.38683, 1.38684, None, 15, None)),
    "mt4_export_EURUSD5_2013.csv": (
        "csv_no_header", "EURUSD", "M5", 2409, None, "", (),
        (datetime(2013, 12, 4, 0, 55), 1.35877, 1.35884, 1.35856, 1.35877, 100, None, None)),
    "mt5_copy_rates_EURUSD_M15_servertime_labelled_utc.parquet": (
        "parquet", "EURUSD", "M15", 3347, None, "labelled UTC", (),
        (datetime(2023, 2, 20), 1.06845, 1.06876, 1.06841, 1.06871, 47, 31, 0)),
    "mt5_export_XAUUSD_M5_202501.csv": (
        "mt5_export", "XAUUSD", "M5", 6037, None, "", (),
        (datetime(2025, 1, 2, 1), 2624.81, 2625.07, 2624.25, 2625.0, 124, 43, 0)),
    "mt5_pandas_EURUSD_15M_2022.csv": (
        "csv_generic", "EURUSD", "M15", 5000, None, "", (),
        (datetime(2022, 10, 10), 0.97312, 0.97369, 0.97312, 0.97357, 60, 20, 0)),
    "mt_noheader_EURUSD_M15_2018_typo_row.csv": (
        "csv_no_header", "EURUSD", "M15", 4000, None, "", (),
        (None, 1.15777, 1.15795, 1.15685, 1.15739, 2819, None, None)),
    "quoted_tabs_EURUSD_M1_2022_clock_wrong.csv": (
        "csv_generic", "EURUSD", "M1", 4000, None, "", (),
        (datetime(2022, 1, 4, 18), 1.12834, 1.1284, 1.12834, 1.12838, 24, None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_a_raw_file_is_recognised_by_content_and_read_right(real_data, tmp_path, name):
    source, symbol, timeframe, rows, stated, label, notes, first = RAW[name]
    path = real_data / "raw" / name
    found = one(path)
    recognised = recognise(contents_of(path)[0])
    assert recognised is not None
    read = frame(found)
    assert (recognised.name, found.symbol, found.timeframe, read.height) == (source, symbol, timeframe, rows)
    assert (found.stated_rule, found.label, found.notes, found.side) == (stated, label, notes, "")
    assert read.row(0)[:8] == first
    unread = read.select(pl.any_horizontal(pl.col("time", *PRICES).is_null())).to_series().sum()
    assert unread == (1 if "typo" in name else 0)
    anonymous = tmp_path / ("x_20140502.dat" if source == "lean" else "x.dat")
    anonymous.write_bytes(path.read_bytes())
    again = one(anonymous, symbol=symbol)
    assert (again.timeframe, again.label, again.notes) == (timeframe, label, notes)
    assert_frame_equal(frame(again), read)


@pytest.mark.parametrize(
    ("name", "rows", "first", "timeframe"),
    [
        ("dukascopy_FOREX_EURUSD_1H_ASK_2017.csv", 6225, (datetime(2017, 1, 1, 22), 1.05236, 1.05253, 1.05221, 1.05227), "H1"),
        (
            "dukascopy_EURUSD_Candlestick_4_Hour_ASK_2003_2006.csv", 5000,
            (datetime(2003, 5, 4, 21), 1.12354, 1.12354, 1.12166, 1.12274), "H4",
        ),
    ],
)  # fmt: skip
def test_dukascopy_asks_are_refused_alone_and_moved_by_a_stated_spread(real_data, name, rows, first, timeframe):
    path = real_data / "raw" / name
    with pytest.raises(Final, match="holds the ask side and bars are of the bid; give its bid file too, or add --ask-spread"):
        one(path)
    raw = one(path, side="bid")
    assert (raw.symbol, raw.timeframe, frame(raw).height) == ("EURUSD", timeframe, rows)
    assert frame(raw).row(0)[:5] == first
    moved = bars_of(one(path, ask_spread_points=8))
    assert moved["open"][0] == round(first[1] - 8e-5, 5)
    assert moved["spread_points"].unique().to_list() == [8]
    assert moved["tick_volume"].null_count() == rows  # amounts of money, not ticks


def test_dukascopys_four_hours_stand_on_our_grid_of_new_york_once_the_clock_is_right(real_data):
    raw = one(real_data / "raw" / "dukascopy_EURUSD_Candlestick_4_Hour_ASK_2003_2006.csv", side="bid")
    opens = server_to_utc(epoch_s(frame(raw)["time"]), "utc")
    assert (bar_open(opens, "H4") == opens).mean() > 0.999


def test_bid_and_ask_files_of_fxcm_are_merged(real_data):
    bid, ask = (real_data / "raw" / f"fxcm_usdjpy-m1-{side}-201302.csv" for side in ("bid", "ask"))
    found = one(ask, bid)
    assert (found.symbol, found.timeframe, found.stated_rule) == ("USDJPY", "M1", "utc")
    read = frame(found)
    assert read.row(0)[:7] == (datetime(2013, 2, 1), 91.715, 91.715, 91.653, 91.653, None, 2)
    assert (read["spread_points"] < 0).mean() == pytest.approx(0.026, abs=0.003)


def test_every_parquet_of_bars_is_read_as_it_is(real_data):
    found = list(read_path(real_data / "bars"))
    assert len(found) == len(list((real_data / "bars").iterdir())) == 39
    for raw in found:
        symbol, timeframe, _ = Path(raw.origin).stem.split("_")
        assert (raw.symbol, raw.timeframe, raw.stated_rule, raw.notes) == (symbol, timeframe, None, ())
        file = pl.read_parquet(raw.origin).rename({"spread": "spread_points"})
        assert_frame_equal(bars_of(raw), file.select(bars_of(raw).columns), check_dtypes=False)


@pytest.mark.parametrize(
    ("name", "rows", "note"),
    [
        (
            "EURUSD_ticks_ln-fxcm", 4341,
            "213,627 ticks made into M1 bars; 21,213 crossed and 25,781 zero-spread quotes left out of the spread",
        ),
        ("EURUSD_ticks_ln-oanda", 9552, "321,559 ticks made into M1 bars"),
        ("XAUUSD_ticks_ln-oanda", 2632, "394,759 ticks made into M1 bars"),
    ],
)  # fmt: skip
def test_parquet_of_ticks_becomes_bars_that_agree_with_duckdbs_own_sums(real_data, name, rows, note):
    path = real_data / "ticks" / f"{name}.parquet"
    found = one(path)
    bars = bars_of(found)
    assert (found.timeframe, bars.height, found.notes) == ("M1", rows, (note,))
    ticks = pl.read_parquet(path).filter(pl.col("bid") > 0).with_columns(pl.col("time").dt.truncate("1m"))
    by_sql = pl.SQLContext(t=ticks).execute(
        "SELECT time, MIN(bid) AS low, MAX(bid) AS high, COUNT(*) AS tick_volume FROM t GROUP BY time ORDER BY time", eager=True
    )
    assert_frame_equal(bars.select("time", "low", "high", "tick_volume"), by_sql, check_dtypes=False)
    assert (bars["spread_points"].drop_nulls() > 0).all()
