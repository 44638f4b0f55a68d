import hashlib
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.sources import _content
from feature_store.sources._source import read_path
from tests.conftest import make_bars
from tests.feature_store.sources.files_made import PRICES, bars_of, frame, one, write_lines

HEADER = "timestamp,open,high,low,close"
LINE = "{t:%Y-%m-%d %H:%M:%S}+00:00,{o},{h},{l},{c}"
PLAIN_LINE = "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c}"


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return make_bars(datetime(2024, 3, 8, 12, tzinfo=UTC), 500)


def ask_of(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns((pl.col(c) + pl.col("spread_points") * 1e-5).round(5) for c in PRICES)


@pytest.fixture
def pair(tmp_path, bars):
    return (
        write_lines(bars, tmp_path / "fxcm_eurusd-m1-bid-2024.csv", LINE, header=HEADER),
        write_lines(ask_of(bars), tmp_path / "fxcm_eurusd-m1-ask-2024.csv", LINE, header=HEADER),
    )


def test_a_bid_and_an_ask_file_become_bars_of_the_bid_with_their_spread(tmp_path, bars, pair):
    bid, ask = pair
    for paths in ((bid, ask), (ask, bid), (tmp_path,), (tmp_path / "*.csv",)):
        found = one(*paths)
        assert (found.symbol, found.side, found.stated_rule) == ("EURUSD", "", "utc")
        assert_frame_equal(bars_of(found), bars.with_columns(tick_volume=pl.lit(None, dtype=pl.Int64)))
        assert found.origin == f"{bid.as_posix()} + {ask.as_posix()}"
        digests = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in pair)
        assert found.sha256 == hashlib.sha256(digests.encode()).hexdigest()
        assert found.notes[-1] == "bid and ask files merged: spread is ask close less bid close"


def test_bars_that_one_side_lacks_keep_an_unknown_spread_or_are_counted(tmp_path, bars):
    bid = write_lines(bars.head(400), tmp_path / "EURUSD_BID.csv", LINE, header=HEADER)
    ask = write_lines(ask_of(bars).tail(450), tmp_path / "EURUSD_ASK.csv", LINE, header=HEADER)
    found = one(bid, ask)
    assert frame(found)["spread_points"].to_list() == [None] * 50 + bars["spread_points"].to_list()[50:400]
    assert found.notes[-1] == "100 bars of the ask file have no bar of the bid: left out"


def test_an_ask_that_stands_twice_tells_no_spread_and_a_crossed_one_stays_negative(tmp_path, bars):
    asks = ask_of(bars).with_columns(
        time=pl.when(pl.int_range(pl.len()) == 3).then(pl.col("time") - timedelta(minutes=1)).otherwise("time"),
        close=pl.when(pl.int_range(pl.len()) == 7).then(bars["close"] - 2e-5).otherwise("close"),
    )
    bid = write_lines(bars, tmp_path / "EURUSD_BID.csv", LINE, header=HEADER)
    ask = write_lines(asks, tmp_path / "EURUSD_ASK.csv", LINE, header=HEADER)
    spreads = frame(one(bid, ask))["spread_points"].to_list()
    assert spreads[2:4] == [None, None]
    assert spreads[7] == -2
    assert spreads[:2] + spreads[4:7] == bars["spread_points"].to_list()[:2] + bars["spread_points"].to_list()[4:7]


def test_pairs_are_found_by_name_among_several_of_one_symbol(tmp_path, bars):
    for month, part in ((1, bars.head(250)), (2, bars.tail(250))):
        write_lines(part, tmp_path / f"EURUSD_M1_BID_20240{month}.csv", LINE, header=HEADER)
        write_lines(ask_of(part), tmp_path / f"EURUSD_M1_ASK_20240{month}.csv", LINE, header=HEADER)
    found = list(read_path(tmp_path))
    assert [frame(raw)["spread_points"].to_list() for raw in found] == [
        bars["spread_points"].to_list()[:250],
        bars["spread_points"].to_list()[250:],
    ]


def test_a_lone_bid_is_read_and_a_lone_ask_says_what_it_takes(pair, bars):
    bid, ask = pair
    assert frame(one(bid))["spread_points"].null_count() == 500
    with pytest.raises(Final) as caught:
        one(ask)
    assert str(caught.value) == (
        "fxcm_eurusd-m1-ask-2024.csv: holds the ask side and bars are of the bid; give its bid file too, or add "
        "--ask-spread POINTS to take that off, or --side bid if its name is wrong"
    )


def test_an_ask_less_a_stated_spread_is_the_bid(tmp_path, bars):
    even = bars.with_columns(spread_points=pl.lit(12, dtype=pl.Int32), tick_volume=pl.lit(None, dtype=pl.Int64))
    path = write_lines(ask_of(even), tmp_path / "EURUSD_ASK.csv", LINE, header=HEADER)
    found = one(path, ask_spread_points=12)
    assert_frame_equal(bars_of(found), even)
    assert found.notes[-1] == "ask prices less a spread of 12 points that you stated"
    half = one(path, ask_spread_points=12.5)
    assert frame(half)["open"][0] == pytest.approx(even["open"][0] - 0.5e-5, abs=1e-9)
    for wrong in (0.0, -3.0, float("nan"), 1e6):
        with pytest.raises(Final, match="must lie above 0 and below 100,000 points"):
            one(path, ask_spread_points=wrong)


def test_the_user_has_the_last_word_on_the_side(tmp_path, bars, pair):
    bid, ask = pair
    assert_frame_equal(bars_of(one(ask, side="bid")).select(PRICES), ask_of(bars).select(PRICES))
    with pytest.raises(Final, match="holds the ask side"):
        one(bid, side="ask")
    plain = write_lines(bars, tmp_path / "EURUSD.csv", LINE, header=HEADER)
    assert one(plain).side == ""


def test_columns_named_for_one_side_tell_it(tmp_path, bars):
    asks = write_lines(ask_of(bars), tmp_path / "EURUSD_1.csv", LINE, header="time,AskOpen,AskHigh,AskLow,AskClose")
    bids = write_lines(bars, tmp_path / "EURUSD_2.csv", LINE, header="time,bid_open,bid_high,bid_low,bid_close")
    with pytest.raises(Final, match=r"EURUSD_1\.csv: holds the ask side"):
        one(asks)
    assert frame(one(asks, bids))["spread_points"].to_list() == bars["spread_points"].to_list()


def test_sides_that_state_different_clocks_are_refused(tmp_path, bars):
    bid = write_lines(bars, tmp_path / "EURUSD_BID.csv", PLAIN_LINE, header=HEADER)
    ask = write_lines(ask_of(bars), tmp_path / "EURUSD_ASK.csv", LINE, header=HEADER)
    with pytest.raises(Final, match="state different clocks"):
        one(bid, ask)


def test_large_pairs_stream_to_the_same_bars(tmp_path, pair, monkeypatch):
    whole = frame(one(*pair))
    monkeypatch.setattr(_content, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(_content, "BLOCK_BYTES", 3001)
    found = one(*pair)
    assert len(list(found.chunks())) > 5
    assert_frame_equal(frame(found), whole)
