"""The clock of real files: put back on the clock of their source, told or refused, never wrong."""

import csv
import io
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from feature_store.clock import server_to_utc, utc_to_server
from feature_store.clock_inference import Reference, infer_clock

pytestmark = pytest.mark.real_data

VJ, EJ = "cet until 2011-05-01, eet until 2014-11-02, ny+7", "cet until 2014-11-22, eet"
SOURCE = {
    "vj": VJ, "ej": EJ, "ln": "utc", "sk": "eet", "vs": "ny+7", "sm": "eet", "dg": "utc", "lk": "utc", "bt": "ny",
    "sy": "utc", "hf": "utc-3:30", "nt": "utc",
}  # fmt: skip
# Alone: files of one clock whose weeks have edges. With another source of the symbol: also these.
TOLD_ALONE = {"sk", "vs", "dg", "lk", "bt", "sy", "hf", "nt"}
TOLD_WITH_A_REFERENCE = {"EURUSD_H1_vj", "GBPUSD_H1_ej", "XAUUSD_H1_ej", "XAUUSD_H1_vj", "EURUSD_M15_sm", "EURUSD_H1_ln"}
# No feed of the symbol covers the weeks that matter: told by EURUSD and the like of other feeds.
TOLD_BY_RELATED = {"AUDUSD_H1_ej", "EURGBP_H1_ej", "EURJPY_H1_ej", "USDCAD_H1_ej", "USDCHF_H1_ej", "GBPUSD_H1_vj"}


def source_rule(name):
    return "eet" if name == "XAUUSD_H1_ej" else SOURCE[name.split("_")[2]]


def load(path):
    bars = pl.read_parquet(path).unique("time").sort("time")
    volume = None if bars["tick_volume"].null_count() else bars["tick_volume"].cast(pl.Float64).to_numpy()
    return bars["time"].dt.epoch("s").to_numpy(), bars["close"].to_numpy(), volume


@pytest.fixture
def series(real_data):
    return {path.stem: load(path) for path in sorted((real_data / "bars").glob("*.parquet"))}


def as_written(series, name, rule):
    utc_s, close, volume = series[name]
    wall_s, rows = np.unique(utc_to_server(utc_s, rule), return_index=True)
    return wall_s, close[rows], None if volume is None else volume[rows]


def references(series, name):
    symbol, _, source = name.split("_")
    return [
        Reference(other, utc_s, close)
        for other, (utc_s, close, _) in series.items()
        if other.startswith(symbol) and not other.endswith(source)
    ]


def related(series, name):
    symbol, _, source = name.split("_")
    return [
        Reference(other, utc_s, close)
        for other, (utc_s, close, _) in series.items()
        if {other[:3], other[3:6]} & {symbol[:3], symbol[3:]} and other[:6] != symbol and not other.endswith(source)
    ]


def said(series, name, rule, *, others=False, kin=False):
    """The rule that was said, after proof that it gives the true UTC on every bar."""
    symbol, timeframe, _ = name.split("_")
    wall_s, close, volume = as_written(series, name, rule)
    more = references(series, name) if others else []
    akin = related(series, name) if kin else []
    verdict = infer_clock(wall_s, close, timeframe, symbol, references=more, related=akin, volume=volume)
    if verdict.rule is not None:
        assert np.array_equal(server_to_utc(wall_s, verdict.rule), server_to_utc(wall_s, rule)), (name, verdict.rule)
    return verdict.rule


def test_every_file_on_the_clock_of_its_source_is_told_or_refused(series):
    rules = {name: said(series, name, source_rule(name)) for name in series}
    assert len(rules) == 39
    assert [n for n, rule in rules.items() if rule is None and n.split("_")[2] in TOLD_ALONE] == []


def test_every_file_in_utc_is_told_as_utc_or_refused(series):
    rules = {name: said(series, name, "utc") for name in series}
    assert set(rules.values()) == {"utc", None}
    assert sum(rule is None for rule in rules.values()) <= 12


@pytest.mark.slow
def test_every_file_with_another_source_of_its_symbol_is_told_or_refused(series):
    rules = {name: said(series, name, source_rule(name), others=True) for name in series if references(series, name)}
    assert {n for n in TOLD_WITH_A_REFERENCE if rules[n] is None} == set()
    assert [n for n, rule in rules.items() if rule is None and n.split("_")[2] in TOLD_ALONE] == []


@pytest.mark.slow
@pytest.mark.parametrize("in_utc", [False, True], ids=["source clock", "utc"])
def test_files_that_no_feed_of_their_symbol_covers_are_told_beside_related_symbols(series, in_utc):
    rules = {name: "utc" if in_utc else source_rule(name) for name in series}
    left = {name for name, rule in rules.items() if said(series, name, rule, others=True) is None}
    assert left == {*TOLD_BY_RELATED, "USDJPY_H1_ej", "XAUUSD_H1_ln"}
    assert {name for name in left if said(series, name, rules[name], others=True, kin=True) is not None} == TOLD_BY_RELATED


def test_the_days_of_june_2013_on_which_a_file_ran_late_are_named(series):
    wall_s, close, volume = as_written(series, "GBPUSD_H1_ej", EJ)
    verdict = infer_clock(wall_s, close, "H1", "GBPUSD", references=references(series, "GBPUSD_H1_ej"), volume=volume)
    slips = [line for line in verdict.evidence if "2013-06-" in line]
    assert len(slips) == 1
    assert "+1 h" in slips[0]


def raw(path):
    """(wall seconds, closes) of a raw csv, by the plainest reading there is."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = next(csv.reader(io.StringIO(line.strip('"').replace("\t", ",").replace(";", ","))))
        joined = f"{cells[0]} {cells[1]}".replace("+00:00", "")
        for text, kind, column in (
            (joined, "%Y.%m.%d %H:%M:%S", 5), (joined, "%Y.%m.%d %H:%M", 5), (cells[0], "%Y%m%d %H%M%S", 4),
            (cells[0], "%d.%m.%Y %H:%M:%S.%f", 4), (cells[0], "%Y-%m-%d %H:%M:%S", 4), (cells[0], "%Y-%m-%d %H:%M", 4),
            (cells[0], "%Y.%m.%d %H:%M:%S", 4), (cells[0].replace("+00:00", ""), "%Y-%m-%d %H:%M:%S", 4),
        ):  # fmt: skip
            try:
                rows[int(datetime.strptime(text, kind).replace(tzinfo=UTC).timestamp())] = float(cells[column])
                break
            except (ValueError, IndexError):
                continue
    times = np.array(sorted(rows), dtype=np.int64)
    return times, np.array([rows[t] for t in times])


RAW = [
    ("mt5_export_XAUUSD_M5_202501.csv", "M5", "XAUUSD", "ny+7"),
    ("histdata_DAT_ASCII_EURUSD_M1_201703_part.csv", "M1", "EURUSD", "ny"),
    ("dukascopy_FOREX_EURUSD_1H_ASK_2017.csv", "H1", "EURUSD", "utc"),
    ("dukascopy_EURUSD_Candlestick_4_Hour_ASK_2003_2006.csv", "H4", "EURUSD", "utc"),
    ("mt4_export_EURUSD5_2013.csv", "M5", "EURUSD", "eet"),
    ("ejtrader_GBPUSDh1_integer_prices.csv", "H1", "GBPUSD", "cet"),
    ("mt5_pandas_EURUSD_15M_2022.csv", "M15", "EURUSD", "eet"),
    ("fxcm_usdjpy-m1-bid-201302.csv", "M1", "USDJPY", "utc"),
    ("mt_noheader_EURUSD_M15_2018_typo_row.csv", "M15", "EURUSD", "utc"),
    ("quoted_tabs_EURUSD_M1_2022_clock_wrong.csv", "M1", "EURUSD", "utc-3:30"),
]


@pytest.mark.parametrize(("file", "timeframe", "symbol", "rule"), RAW, ids=[r[0][:24] for r in RAW])
def test_every_raw_file_is_told_or_refused(real_data, file, timeframe, symbol, rule):
    wall_s, close = raw(real_data / "raw" / file)
    assert wall_s.size > 2000
    verdict = infer_clock(wall_s, close, timeframe, symbol)
    if verdict.rule is not None:
        assert np.array_equal(server_to_utc(wall_s, verdict.rule), server_to_utc(wall_s, rule)), verdict.rule


def test_the_dump_that_is_labelled_utc_is_new_york_plus_seven(real_data):
    frame = pl.read_parquet(real_data / "raw" / "mt5_copy_rates_EURUSD_M15_servertime_labelled_utc.parquet").sort("time")
    wall_s = frame["time"].dt.epoch("s").to_numpy()
    verdict = infer_clock(wall_s, frame["close"].to_numpy(), "M15", "EURUSD")
    assert verdict.rule is not None
    assert np.array_equal(server_to_utc(wall_s, verdict.rule), server_to_utc(wall_s, "ny+7"))
