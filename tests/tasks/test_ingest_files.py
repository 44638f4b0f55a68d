"""Files into the store: the clock given, stated or told by the bars; a refused file stops no other; every reject is kept."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store._errors import Final
from feature_store.bars import resample
from feature_store.clock import server_to_utc, utc_to_server
from feature_store.sources._raw import RawBars
from feature_store.store import Store
from tasks import clocks, ingest
from tests.conftest import make_bars

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2024, 2, 19, tzinfo=UTC)  # the weeks from March 10 on, when only the United States have summer time


@pytest.fixture(scope="module")
def bars():
    """Nine weeks of M15 bars that move most when London and New York work."""
    flat = make_bars(START, 9 * 480, step_s=900)
    hour = flat["time"].dt.hour().to_numpy()
    active = np.where((hour >= 7) & (hour < 17), 3.0, np.where(hour >= 20, 0.4, 1.0))
    steps = np.random.default_rng(5).normal(0, 1e-4, flat.height) * active
    close = np.round(1.1 * np.exp(np.cumsum(steps)), 5)
    open_ = np.concatenate([[1.1], close[:-1]])
    return flat.with_columns(
        pl.Series("open", open_),
        pl.Series("close", close),
        pl.Series("high", np.maximum(open_, close)),
        pl.Series("low", np.minimum(open_, close)),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "bars.duckdb"


def on_clock(bars, rule):
    """The bars with the times a server of that clock would write."""
    ms = bars["time"].to_physical().to_numpy()
    return bars.with_columns(pl.Series("time", utc_to_server(ms // 1000, rule) * 1000).cast(pl.Datetime("ms")))


def csv(bars, file, rule="utc"):
    on_clock(bars, rule).drop("real_volume").write_csv(file, datetime_format="%Y-%m-%d %H:%M")
    return file


def files(path, *paths, feed="files", **changes):
    values = {"symbol": None, "timeframe": None, "clock_rule": None, "at": NOW, "lock_wait_s": 5.0}
    return ingest.ingest_files.fn(path, feed, [str(p) for p in paths], **{**values, **changes})


def test_files_become_one_batch_each_and_the_same_files_again_add_nothing(path, tmp_path, bars):
    found = [csv(bars.head(300 + k), tmp_path / f"{s}_M15.csv") for k, s in enumerate(("EURUSD", "USDJPY"))]
    done = files(path, *found, clock_rule="utc")
    assert [(b.symbol, b.timeframe, b.rows_new) for b in done.batches] == [("EURUSD", "M15", 300), ("USDJPY", "M15", 301)]
    assert [(b.rows_new, b.rows_same) for b in files(path, *found, clock_rule="utc").batches] == [(0, 300), (0, 301)]
    assert_frame_equal(Store(path).bars("files", "USDJPY", "M15"), bars.head(301))


@pytest.mark.parametrize("rule", ["utc", "ny+7", "eet"])
def test_a_file_that_says_nothing_of_its_clock_comes_out_in_true_utc(path, tmp_path, bars, rule):
    (batch,) = files(path, csv(bars, tmp_path / "EURUSD_M15.csv", rule)).batches
    assert (batch.clock_rule, batch.clock["rule"], batch.clock["told_by"]) == (rule, rule, "data")
    assert batch.clock["confidence"] > 0.9 and batch.clock["evidence"]
    assert_frame_equal(Store(path).bars("files", "EURUSD", "M15"), bars)
    lines = clocks.clock_lines(batch.clock)
    assert lines[0].startswith(f"clock told by the bars: {rule}, confidence") and len(lines) > 2


def test_a_refused_file_says_why_and_stops_no_other(path, tmp_path, bars):
    csv(bars.head(5), tmp_path / "AUDUSD_M15.csv")  # an hour of one morning tells no clock
    csv(bars, tmp_path / "EURUSD_M15.csv", "ny+7")
    (tmp_path / "GBPUSD_M15.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    done = files(path, tmp_path, tmp_path / "nowhere.csv")
    assert [b.symbol for b in done.batches] == ["EURUSD"]
    assert [line.count("\n") for line in done.refused] == [0, 0, 0]
    for words in ("AUDUSD_M15.csv: ", "GBPUSD_M15.parquet", "nowhere.csv does not exist"):
        assert len([line for line in done.refused if words in line]) == 1
    assert "pass --clock" in next(line for line in done.refused if "AUDUSD" in line)
    assert Store(path).inventory()["symbol"].to_list() == ["EURUSD"]


def test_a_given_clock_overrules_and_what_the_bars_tell_is_said(path, tmp_path, bars):
    done = files(path, csv(bars, tmp_path / "EURUSD_M15.csv", "ny+7"), clock_rule="eet")
    (batch,), (warning,) = done.batches, done.warnings
    assert (batch.clock_rule, batch.clock["told_by"], batch.clock["rule"]) == ("eet", "user", "ny+7")
    march = bars.filter(pl.col("time").is_between(datetime(2024, 3, 10, 7), datetime(2024, 3, 31, 1), closed="left")).height
    assert "clock eet is used, but the bars themselves tell ny+7" in warning
    assert f"{march:,} of {bars.height:,} would stand up to 1 h elsewhere" in warning
    assert clocks.clock_lines(batch.clock)[0].startswith("clock given by you; the bars tell ny+7, confidence")
    assert files(path, tmp_path / "EURUSD_M15.csv", feed="right", clock_rule="ny+7").warnings == []


def test_another_feed_of_the_store_decides_where_the_bars_alone_do_not(path, tmp_path, bars):
    short = csv(bars.slice(100, 120), tmp_path / "EURUSD_M15.csv", "utc-3:30")
    assert "pass --clock" in files(path, short).refused[0]
    known = bars.with_columns(pl.col("open", "high", "low", "close") + 0.00002)
    csv(known, tmp_path / "EURUSD_M15_other.csv")
    files(path, tmp_path / "EURUSD_M15_other.csv", feed="other", clock_rule="utc")
    (batch,) = files(path, short).batches
    assert batch.clock_rule == "utc-3:30"
    assert_frame_equal(Store(path).bars("files", "EURUSD", "M15"), bars.slice(100, 120))
    assert_frame_equal(Store(path).bars("other", "EURUSD", "M15"), known)  # two feeds of one symbol never mix


def test_another_feed_that_contradicts_what_the_bars_tell_ends_in_a_refusal_that_names_it(path, tmp_path, bars):
    files(path, csv(bars, tmp_path / "EURUSD_M15.csv", "ny+7"), feed="mistaken", clock_rule="eet")
    (line,) = files(path, tmp_path / "EURUSD_M15.csv").refused
    assert "the bars alone tell ny+7, beside feed mistaken they tell eet" in line and "--clock" in line
    assert "files" not in Store(path).inventory()["feed"].to_list()
    (moved,) = reclock(path, "mistaken", "infer").batches
    assert moved.clock_rule == "ny+7"
    assert files(path, tmp_path / "EURUSD_M15.csv").batches[0].clock_rule == "ny+7"


def test_a_refusal_names_the_clock_of_earlier_batches_of_the_feed(path, tmp_path, bars):
    files(path, csv(bars.head(300), tmp_path / "EURUSD_M15.csv", "eet"), clock_rule="eet")
    (line,) = files(path, csv(bars.slice(300, 6), tmp_path / "EURUSD_M15.csv", "eet")).refused
    assert line.endswith("earlier batches of files EURUSD were read by eet")


def test_each_rejected_row_keeps_its_line_of_the_file(path, tmp_path, bars):
    file = csv(bars.head(40), tmp_path / "EURUSD_M15.csv")
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[3] = "2024-02-19 00:30,1.1,1.0,1.2,1.1,5,12"
    lines[9] = "rubbish,1.1,1.2,1.0,1.1,5,12"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (batch,) = files(path, file, clock_rule="utc").batches
    assert (batch.rows_read, batch.rows_new, batch.rejects) == (40, 38, {"high below low": 1, "time unreadable": 1})
    rejected = Store(path).rejects(batch.id)
    assert rejected["content"].to_list() == [lines[3], lines[9]]
    assert rejected["time"].to_list() == [datetime(2024, 2, 19, 0, 30), None]


def test_a_file_without_one_readable_row_needs_a_clock_to_be_kept_as_rejects(path, tmp_path, bars):
    file = csv(bars.head(5).with_columns(pl.lit(-1.0).alias("close")), tmp_path / "EURUSD_M15.csv")
    assert "none of its rows can be read as a bar" in files(path, file).refused[0]
    (batch,) = files(path, file, clock_rule="utc").batches
    assert (batch.rows_new, batch.rejects, batch.clock) == (0, {"price not positive": 5}, {})


def raw(frames, timeframe="M15", **changes):
    numbered = [f.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("source_row") + 1) for f in frames]
    values = {"stated_rule": None, "label": "", "origin": "f.csv", "sha256": "0", "content": lambda rows: [""] * len(rows)}
    return RawBars("EURUSD", timeframe, lambda: iter(numbered), **{**values, **changes})


def test_a_label_is_no_proof_and_is_told_with_the_refusal_and_with_the_batch(path, tmp_path, bars, monkeypatch):
    labelled = raw([on_clock(bars, "ny+7")], label="labelled UTC")
    monkeypatch.setattr(ingest, "read_path", lambda *paths, **asked: iter([labelled, raw([bars.head(4)], label="labelled UTC")]))
    done = files(path, "f")
    assert done.batches[0].notes == ("labelled UTC, read by clock ny+7",)
    assert "(labelled UTC, but that is no proof)" in done.refused[0]


def test_what_the_content_states_needs_no_telling_but_a_contradiction_is_said(path, bars, monkeypatch):
    stated = raw([on_clock(bars, "ny+7")], stated_rule="utc")
    monkeypatch.setattr(ingest, "read_path", lambda *paths, **asked: iter([stated]))
    done = files(path, "f")
    assert (done.batches[0].clock_rule, done.batches[0].clock["told_by"]) == ("utc", "content")
    assert "clock utc is used, but the bars themselves tell ny+7" in done.warnings[0]


def test_the_clock_of_a_source_of_many_frames_is_told_from_half_hours_and_all_of_it_is_stored(path, bars, monkeypatch):
    written = on_clock(bars, "ny+7")
    cut = raw([written.slice(k, 700) for k in range(0, written.height, 700)])
    monkeypatch.setattr(ingest, "read_path", lambda *paths, **asked: iter([cut]))
    (batch,) = files(path, "f").batches
    assert (batch.clock_rule, batch.rows_new) == ("ny+7", bars.height)
    assert_frame_equal(Store(path).bars("files", "EURUSD", "M15"), bars)
    walls = clocks.walls_of(cut.chunks(), "M15")
    halves = resample(written, "M30")
    assert walls.timeframe == "M30"
    assert walls.wall_s.tolist() == (halves["time"].to_physical() // 1000).to_list()
    assert walls.close.tolist() == halves["close"].to_list()
    assert walls.volume.tolist() == halves["tick_volume"].to_list()


def test_unreadable_unordered_and_repeated_rows_do_not_reach_the_clock(bars):
    odd = pl.concat([bars.slice(5, 5), bars.head(8)]).with_columns(
        pl.when(pl.int_range(pl.len()) == 12).then(None).otherwise(pl.col("time")).alias("time"),
        pl.when(pl.int_range(pl.len()) == 6).then(float("nan")).otherwise(pl.col("close")).alias("close"),
    )
    walls = clocks.walls_of([odd], "M15")
    expected = bars.head(10)
    assert walls.wall_s.tolist() == (expected.filter(pl.int_range(pl.len()) != 1)["time"].to_physical() // 1000).to_list()
    assert np.isfinite(walls.close).all() and walls.timeframe == "M15"


def test_times_as_written_become_utc_and_unreadable_ones_stay_so(bars):
    written = on_clock(bars, "ny+7").with_columns(pl.when(pl.int_range(pl.len()) != 7).then(pl.col("time")).alias("time"))
    back = clocks.in_utc(written, "ny+7")
    assert back["time"][7] is None
    assert back["time"].drop_nulls().equals(bars["time"].filter(pl.Series(range(bars.height)) != 7))


def wrong(bars, rule, true):
    """The bars at the times they have when a server's clock, truly `true`, is read by `rule`."""
    ms = on_clock(bars, true)["time"].to_physical().to_numpy()
    return bars.with_columns(pl.Series("time", server_to_utc(ms // 1000, rule) * 1000).cast(pl.Datetime("ms")))


def reclock(path, feed, rule, symbol=None):
    return ingest.reclock.fn(path, feed, rule, symbol=symbol, at=NOW + timedelta(days=1), lock_wait_s=5.0)


def test_stored_bars_move_to_the_clock_that_they_tell_and_updates_with_them(path, tmp_path, bars):
    files(path, csv(bars.head(4000), tmp_path / "EURUSD_M15.csv", "ny+7"), clock_rule="utc")
    files(path, csv(bars.slice(3990), tmp_path / "EURUSD_M15.csv", "ny+7"), clock_rule="utc")
    done = reclock(path, "files", "infer")
    assert [(b.id, b.clock_rule, b.reclocks, b.clock["told_by"]) for b in done.batches] == [
        (3, "ny+7", 1, "data"),
        (4, "ny+7", 2, "data"),
    ]
    assert_frame_equal(Store(path).bars("files", "EURUSD", "M15"), bars)
    assert reclock(path, "files", "infer").batches == []


def test_bars_that_tell_nothing_stay_where_they_are_and_the_line_says_so(path, tmp_path, bars):
    files(path, csv(bars, tmp_path / "EURUSD_M15.csv", "eet"), clock_rule="utc")
    files(path, csv(bars.head(5), tmp_path / "GBPUSD_M15.csv", "eet"), clock_rule="utc")
    done = reclock(path, "files", "infer")
    assert [(b.symbol, b.clock_rule) for b in done.batches] == [("EURUSD", "eet")]
    assert len(done.refused) == 1 and done.refused[0].startswith("files GBPUSD M15: ")
    with pytest.raises(Final, match="nobody has no batches"):
        reclock(path, "nobody", "infer")


def test_a_stated_rule_moves_every_batch_of_the_feed(path, tmp_path, bars):
    files(path, csv(bars, tmp_path / "EURUSD_M15.csv", "cet"), clock_rule="utc")
    (batch,) = reclock(path, "files", "cet", "EURUSD").batches
    assert (batch.clock_rule, batch.clock) == ("cet", {})
    assert_frame_equal(Store(path).bars("files", "EURUSD", "M15"), bars)
