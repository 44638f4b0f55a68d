import zipfile
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.sources import _content, parquet
from feature_store.sources._source import RawBars, read_path
from feature_store.sources._ticks import TickTally, minute_bars
from tests.feature_store.sources.files_made import bars_of, frame, one

NOON = datetime(2024, 3, 8, 12)


def ticks_of(*rows: tuple[float | None, float | None, float | None]) -> pl.DataFrame:
    """(seconds from noon, bid, ask) as a frame of ticks."""
    times = [None if s is None else NOON + timedelta(seconds=s) for s, _, _ in rows]
    data = {"time": times, "bid": [b for _, b, _ in rows], "ask": [a for _, _, a in rows]}
    schema = {"time": pl.Datetime("ms"), "bid": pl.Float64, "ask": pl.Float64}
    return pl.DataFrame(data, schema=schema).with_columns(source_row=pl.int_range(1, len(rows) + 1, dtype=pl.Int64))


def test_ticks_of_a_minute_become_its_bar_by_hand():
    ticks = ticks_of(
        (0.2, 1.10000, 1.10010),  # 10 points
        (10, 1.10030, 1.10050),  # 20 points
        (20, 1.09990, 1.09989),  # crossed: counts in the prices, not in the spread
        (30, 1.10010, 1.10010),  # zero: nobody is charged nothing
        (59.9, 1.10020, 1.10060),  # 40 points
        (60, 1.10040, 1.10035),  # the next minute has no spread that can be true
    )
    tally = TickTally()
    (bars,) = [pl.concat(list(minute_bars([ticks], 1e-5, tally)))]
    assert bars.drop("real_volume").rows() == [
        (NOON, 1.1, 1.1003, 1.0999, 1.1002, 5, 20, 1),
        (NOON + timedelta(minutes=1), 1.1004, 1.1004, 1.1004, 1.1004, 1, None, 6),
    ]
    assert tally == TickTally(ticks=6, crossed=2, zero=1)
    assert tally.note() == "6 ticks made into M1 bars; 2 crossed and 1 zero-spread quotes left out of the spread"


def test_ticks_that_cannot_be_read_become_rows_that_the_store_rejects():
    nan = float("nan")
    ticks = ticks_of(
        (0, 1.1, 1.2), (None, 1.1, 1.2), (5, None, 1.2), (6, -1.0, 1.2), (7, nan, 1.2), (8, 1.3, None), (9, 1.2, nan)
    )
    bars = pl.concat(list(minute_bars([ticks], 1e-5, TickTally())))
    assert bars.filter(pl.col("open").is_null())["source_row"].to_list() == [2, 3, 4, 5]
    good = bars.filter(pl.col("open").is_not_null()).row(0, named=True)
    assert (good["high"], good["close"], good["tick_volume"], good["spread_points"]) == (1.3, 1.2, 3, 10_000)


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_into_frames_does_not_matter(seed):
    random = np.random.default_rng(seed)
    seconds = np.sort(random.uniform(0, 1800, 500))
    bid = 1.1 + random.integers(-50, 50, 500) * 1e-5
    ticks = ticks_of(*zip(seconds, bid, bid + random.integers(-2, 20, 500) * 1e-5, strict=True))
    whole = pl.concat(list(minute_bars([ticks], 1e-5, TickTally())))
    cuts = [0, *sorted(random.integers(0, 500, 6).tolist()), 500]
    frames = [ticks.slice(a, b - a) for a, b in pairwise(cuts)]
    tally = TickTally()
    assert_frame_equal(pl.concat(list(minute_bars(frames, 1e-5, tally))), whole)
    assert tally.ticks == 500


def test_ticks_out_of_order_are_sorted_within_their_frame():
    ordered = ticks_of((0, 1.1, 1.2), (10, 1.3, 1.4), (70, 1.2, 1.3))
    shuffled = ordered[[2, 1, 0]]
    bars = pl.concat(list(minute_bars([shuffled], 1e-5, TickTally())))
    assert bars.sort("time")["open"].to_list() == [1.1, 1.2]
    assert bars.sort("time")["close"].to_list() == [1.3, 1.2]


def three_minutes() -> pl.DataFrame:
    random = np.random.default_rng(1)
    bid = np.round(1.1 + random.integers(-50, 50, 90) * 1e-5, 5)
    return ticks_of(*zip(np.arange(90) * 2.0 + 0.125, bid, np.round(bid + 12e-5, 5), strict=True))


@pytest.mark.parametrize("kind", ["csv", "histdata", "mt5", "parquet", "lean"])
def test_every_kind_of_tick_file_becomes_the_same_bars(tmp_path, kind):
    ticks = three_minutes()
    found = one(_written(tmp_path, kind, ticks))
    assert (found.symbol, found.timeframe, found.side) == ("EURUSD", "M1", "")
    assert "90 ticks made into M1 bars" in found.notes
    bars = bars_of(found)
    assert bars["tick_volume"].to_list() == [30, 30, 30]
    assert bars["spread_points"].to_list() == [12, 12, 12]
    assert bars["open"].to_list() == ticks["bid"].gather([0, 30, 60]).to_list()
    with pytest.raises(Final, match="its ticks are made into M1 bars, not H1; leave --timeframe out"):
        one(_written(tmp_path, kind, ticks), timeframe="H1")


def _written(folder, kind, ticks):
    rows = list(ticks.iter_rows(named=True))
    ms = [f"{r['time'].microsecond // 1000:03}" for r in rows]
    if kind == "parquet":
        ticks.drop("source_row").write_parquet(folder / "EURUSD_ticks.parquet")
        return folder / "EURUSD_ticks.parquet"
    if kind == "lean":
        path = folder / "20240308_quote.zip"
        lines = [f"{(r['time'] - datetime(2024, 3, 8)) // timedelta(milliseconds=1)},{r['bid']:.5f},{r['ask']:.5f}" for r in rows]
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("20240308_eurusd_tick_quote.csv", "\r\n".join(lines))
        return path
    patterns = {
        "csv": ("time,bid,ask", "{t:%Y-%m-%d %H:%M:%S}.{ms},{b:.5f},{a:.5f}"),
        "histdata": (None, "{t:%Y%m%d %H%M%S}{ms},{b:.5f},{a:.5f},0"),
        "mt5": (
            "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>",
            "{t:%Y.%m.%d}\t{t:%H:%M:%S}.{ms}\t{b:.5f}\t{a:.5f}\t\t\t6",
        ),
    }
    header, pattern = patterns[kind]
    lines = [pattern.format(t=r["time"], ms=m, b=r["bid"], a=r["ask"]) for r, m in zip(rows, ms, strict=True)]
    path = folder / f"EURUSD_{kind}.csv"
    path.write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")
    return path


def test_an_empty_side_of_a_metatrader_tick_is_the_one_before(tmp_path):
    path = tmp_path / "EURUSD_ticks.csv"
    rows = ["12:00:00.100\t1.1\t1.1001", "12:00:01.100\t\t1.1003", "12:00:02.100\t1.1002\t", "12:01:02.100\t\t1.10025"]
    path.write_text("\n".join(["<DATE>\t<TIME>\t<BID>\t<ASK>", *(f"2024.03.08\t{row}" for row in rows)]), encoding="utf-8")
    assert bars_of(one(path)).drop("real_volume").rows() == [
        (NOON, 1.1, 1.1002, 1.1, 1.1002, 3, 10),
        (NOON + timedelta(minutes=1), 1.1002, 1.1002, 1.1002, 1.1002, 1, 5),
    ]


@pytest.mark.parametrize("kind", ["mt5", "parquet"])
def test_a_large_file_of_ticks_streams_to_the_same_bars(tmp_path, monkeypatch, kind):
    path = _written(tmp_path, kind, three_minutes())
    whole = frame(one(path))
    monkeypatch.setattr(_content, "WHOLE_BYTES", 100)
    monkeypatch.setattr(_content, "BLOCK_BYTES", 400)
    monkeypatch.setattr(parquet, "WHOLE_ROWS", 10)
    monkeypatch.setattr(parquet, "CHUNK_ROWS", 17)
    streamed: RawBars = one(path)
    assert "ticks made into M1 bars; crossed and zero-spread quotes left out of the spread" in streamed.notes
    assert_frame_equal(frame(streamed), whole)


def test_lean_counts_from_midnight_of_the_day_in_the_name(tmp_path):
    path = tmp_path / "quote.csv"
    path.write_text("43200000,1.1,1.2\n43201000,1.1,1.2\n", encoding="utf-8")
    with pytest.raises(Final, match="its times count from midnight and no name says of which day; name it"):
        one(path, symbol="EURUSD")
    named = path.rename(tmp_path / "20240308_quote.csv")
    assert bars_of(one(named, symbol="EURUSD"))["time"].to_list() == [NOON]


def test_days_of_lean_are_joined_to_one_series_whose_rows_name_one_line_each(tmp_path):
    folder = tmp_path / "eurusd"
    folder.mkdir()
    for day in (8, 7, 6):
        lines = [f"{60_000 * n},1.1,1.2,1.0,1.1000{day},0,1.1001,1.2001,1.0001,1.1002,0" for n in range(day)]
        with zipfile.ZipFile(folder / f"2024030{day}_quote.zip", "w") as file:
            file.writestr("quote.csv", "\n".join(lines))
    found = one(folder)
    read = frame(found)
    assert (found.symbol, found.timeframe, read.height) == ("EURUSD", "M1", 21)
    assert read["time"].is_sorted()
    assert read["source_row"].to_list() == list(range(1, 22))
    assert found.notes == ("3 files of a day each joined", "spread is ask close less bid close")
    assert found.origin.endswith("20240306_quote.zip/quote.csv and 2 more days")
    assert [text[:28] for text in found.content([1, 7, 21])] == [
        "0,1.1,1.2,1.0,1.10006,0,1.10",
        "0,1.1,1.2,1.0,1.10007,0,1.10",
        "420000,1.1,1.2,1.0,1.10008,0",
    ]
    assert one(folder / "20240306_quote.zip").content([1]) == found.content([1])


def test_days_of_two_markets_are_never_joined(tmp_path):
    for market in ("oanda", "fxcm"):
        (tmp_path / f"{market}_eurusd_20240308.csv").write_text("0,1.1,1.2\n60000,1.1,1.2\n", encoding="utf-8")
    assert [raw.origin.rpartition("/")[2][:5] for raw in read_path(tmp_path)] == ["fxcm_", "oanda"]
