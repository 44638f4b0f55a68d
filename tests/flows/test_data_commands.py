"""Bars on their way through the commands: in from files and terminals, looked at, out again, and taken back."""

from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_store.bars import SCHEMA, resample
from flows.settings import load
from flows.terminals import market_of
from tests.conftest import make_bars
from tests.flows.parts import sim_home

END = datetime(2024, 2, 1, tzinfo=UTC)


@pytest.fixture
def bars():
    return make_bars(datetime(2024, 3, 4, tzinfo=UTC), 600)


def csv_of(bars: pl.DataFrame, path, shift_hours: int = 0):
    """The bars as a generic csv whose clock is `shift_hours` ahead of UTC."""
    shifted = bars.with_columns(pl.col("time").dt.offset_by(f"{shift_hours}h")).rename({"spread_points": "spread"})
    shifted.write_csv(path, datetime_format="%Y-%m-%d %H:%M")
    return path


def export(tradewind, home, out, timeframe="M1"):
    done = tradewind("export", "--symbol", "eurusd", "--timeframe", timeframe, "--out", out, "--home", home, "--json")
    assert done.code == 0, done
    assert done.document["file"] == str(out) and done.document["symbol"] == "EURUSD"
    frame = pl.read_parquet(out)
    assert done.document["rows"] == frame.height
    return frame


@pytest.mark.parametrize(("clock", "hours"), [("utc", 0), ("utc+2", 2)])
def test_what_is_ingested_is_listed_and_exported_as_it_was(tradewind, tmp_path, bars, clock, hours):
    file = csv_of(bars, tmp_path / "EURUSD_M1.csv", hours)
    batch = tradewind("ingest", file, "--clock", clock, "--home", tmp_path / "h", "--json").document["batches"][0]
    assert (batch["feed"], batch["symbol"], batch["timeframe"], batch["rows_new"]) == ("files", "EURUSD", "M1", 600)
    (series,) = tradewind("data", "--home", tmp_path / "h", "--json").document["series"]
    assert series["rows"] == 600 and series["spread_known"] == 1.0 and series["first"] == "2024-03-04 00:00:00"
    exported = export(tradewind, tmp_path / "h", tmp_path / "out" / "eurusd.parquet")
    assert_frame_equal(exported, bars.select(list(SCHEMA)))


def test_what_was_exported_can_be_ingested_again_and_is_the_same(tradewind, tmp_path, bars):
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", tmp_path / "one")
    first = export(tradewind, tmp_path / "one", tmp_path / "EURUSD_M1.parquet")
    done = tradewind("ingest", tmp_path / "EURUSD_M1.parquet", "--clock", "utc", "--home", tmp_path / "two", "--json")
    assert done.document["batches"][0]["rows_new"] == 600
    assert_frame_equal(export(tradewind, tmp_path / "two", tmp_path / "again.parquet"), first)


def test_longer_timeframes_are_exported_as_resampled_from_the_stored_ones(tradewind, tmp_path, bars):
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", tmp_path / "h")
    hours = export(tradewind, tmp_path / "h", tmp_path / "hours.parquet", "H1")
    assert hours.height == 10
    assert_frame_equal(hours, resample(bars, "H1"))
    assert hours["open"][0] == bars["open"][0] and hours["close"][0] == bars["close"][59]
    assert hours["high"][0] == bars["high"][:60].max()


def test_the_same_file_again_changes_nothing_and_a_longer_one_adds_its_end(tradewind, tmp_path, bars):
    file, home = tmp_path / "EURUSD_M1.csv", tmp_path / "h"
    counts = []
    for rows in (500, 500, 600):
        document = tradewind(
            "ingest", csv_of(bars.head(rows), file), "--clock", "utc", "--home", home, "--json"
        ).document  # fmt: skip
        counts.append([document["batches"][0][key] for key in ("rows_new", "rows_changed", "rows_same")])
    assert counts == [[500, 0, 0], [0, 0, 500], [100, 0, 500]]


def test_an_undone_batch_takes_its_bars_and_gives_back_those_it_changed(tradewind, tmp_path, bars):
    file, home = tmp_path / "EURUSD_M1.csv", tmp_path / "h"
    tradewind("ingest", csv_of(bars.head(400), file), "--clock", "utc", "--home", home)
    corrected = bars.with_columns(pl.col("tick_volume") + 1)
    changed = tradewind("ingest", csv_of(corrected, file), "--clock", "utc", "--home", home, "--json").document["batches"][0]
    assert (changed["id"], changed["rows_new"], changed["rows_changed"]) == (2, 200, 400)
    undone = tradewind("ingest", "--undo", "2", "--home", home, "--json").document["batches"]
    assert [(b["id"], b["undone"]) for b in undone] == [(2, True)]
    assert_frame_equal(export(tradewind, home, tmp_path / "after.parquet"), bars.head(400).select(list(SCHEMA)))
    listed = tradewind("data", "--batches", "--home", home, "--json").document["batches"]
    assert [(b["id"], b["undone"]) for b in listed] == [(1, False), (2, True)]


def test_folders_and_patterns_bring_in_every_file_of_theirs(tradewind, tmp_path, bars):
    (tmp_path / "folder").mkdir()
    for symbol in ("EURUSD", "GBPUSD", "USDJPY"):
        csv_of(bars, tmp_path / "folder" / f"{symbol}_M1.csv")
    one = tradewind("ingest", tmp_path / "folder", "--clock", "utc", "--feed", "a", "--home", tmp_path / "h", "--json")
    two = tradewind(
        "ingest", tmp_path / "folder" / "*USD_M1.csv", "--clock", "utc", "--feed", "b", "--home", tmp_path / "h", "--json"
    )
    assert [b["symbol"] for b in one.document["batches"]] == ["EURUSD", "GBPUSD", "USDJPY"]
    assert [b["symbol"] for b in two.document["batches"]] == ["EURUSD", "GBPUSD"]
    many = tradewind("export", "--symbol", "EURUSD", "--timeframe", "M1", "--out", tmp_path / "x", "--home", tmp_path / "h")
    assert many.code == 1 and "feeds a, b have it; add --feed" in many.err


def test_one_bad_file_among_several_is_said_and_the_others_are_stored(tradewind, tmp_path, bars):
    csv_of(bars, tmp_path / "EURUSD_M1.csv")
    (tmp_path / "GBPUSD_M1.csv").write_text("junk\n")
    asked = ("ingest", tmp_path / "GBPUSD_M1.csv", tmp_path / "none.csv", tmp_path / "EURUSD_M1.csv", "--clock", "utc")
    done = tradewind(*asked, "--home", tmp_path / "h", "--json")
    assert done.code == 1 and "none.csv does not exist" in done.err and "GBPUSD_M1.csv is of no known format" in done.err
    assert [b["symbol"] for b in done.document["batches"]] == ["EURUSD"] and len(done.document["refused"]) == 2
    (series,) = tradewind("data", "--home", tmp_path / "h", "--json").document["series"]
    assert series["rows"] == 600


def test_rejected_rows_are_counted_at_the_ingest_and_shown_with_their_reason_when_asked(tradewind, tmp_path, bars):
    file, home = csv_of(bars.head(80), tmp_path / "EURUSD_M1.csv"), tmp_path / "h"
    lines = file.read_text().splitlines()
    bad = {n: lines[n].replace("2024-03-04", "2024-13-04") for n in range(5, 65)}
    file.write_text("\n".join(bad.get(n, line) for n, line in enumerate(lines)) + "\n")
    done = tradewind("ingest", file, "--clock", "utc", "--home", home)
    assert "60 rejected (time unreadable)" in done.out and "rejected rows: tradewind data --rejects 1" in done.out
    shown = tradewind("data", "--rejects", "1", "--home", home)
    assert "60 of 80 rows rejected" in shown.out and f"time unreadable  no time  {bad[5]}" in shown.out
    assert "and 10 more: all of them with --json" in shown.out and bad[64] not in shown.out
    document = tradewind("data", "--rejects", "1", "--home", home, "--json").document
    assert [row["content"] for row in document["rejects"]] == list(bad.values())
    missing = tradewind("data", "--rejects", "2", "--home", home)
    assert missing.code == 1 and "batch 2 does not exist" in missing.err


def test_a_clock_that_was_wrong_is_corrected_in_place_and_the_correction_taken_back(tradewind, tmp_path, bars):
    home = tmp_path / "h"
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv", 2), "--clock", "utc", "--feed", "b", "--home", home)
    moved = tradewind("ingest", "--reclock", "b", "utc+2", "--home", home)
    assert (
        "batch 2: b EURUSD M1, 600 moved, 0 already there" in moved.out and "batch 1 moved from clock utc to utc+2" in moved.out
    )
    assert_frame_equal(export(tradewind, home, tmp_path / "x.parquet"), bars.select(list(SCHEMA)))
    again = tradewind("ingest", "--reclock", "b", "utc+2", "--home", home)
    assert again.code == 0 and "every bar stands where this clock puts it" in again.out
    undone = tradewind("ingest", "--undo", "2", "--home", home)
    assert "batch 2 undone: b EURUSD M1, 600 bars back on the clock of batch 1" in undone.out
    assert export(tradewind, home, tmp_path / "y.parquet")["time"][0] == datetime(2024, 3, 4, 2)
    short = tradewind("ingest", "--reclock", "b", "infer", "--symbol", "eurusd", "--home", home)
    assert short.code == 1 and "b EURUSD M1: " in short.err  # ten hours of one day tell no clock


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reclock", "nobody", "utc"], "feed 'nobody' has no batches; there are feeds: none yet"),
        (["--reclock", "nobody", "utc", "x.csv"], "leave the paths out"),
        (["--reclock", "nobody", "utc", "--undo", "1"], "are two steps"),
        (["x.csv", "--side", "middle"], "side 'middle' is not known; use bid or ask"),
    ],
)
def test_what_ingest_cannot_do_is_said_in_one_line(tradewind, tmp_path, arguments, says):
    done = tradewind("ingest", *arguments, "--home", tmp_path / "h")
    assert done.code == 1 and says in done.err and done.err.count("\n") == 1


def test_an_ask_file_alone_needs_a_spread_and_is_stored_as_bid_with_one(tradewind, tmp_path, bars):
    file, home = (
        csv_of(bars.with_columns(pl.lit(None, pl.Int32).alias("spread_points")), tmp_path / "EURUSD_M1.csv"),
        tmp_path / "h",
    )
    refused = tradewind("ingest", file, "--clock", "utc", "--side", "ask", "--home", home)
    assert refused.code == 1 and "--ask-spread" in refused.err
    tradewind("ingest", file, "--clock", "utc", "--side", "ask", "--ask-spread", "12", "--home", home)
    stored = export(tradewind, home, tmp_path / "x.parquet")
    assert (stored["close"] - (bars["close"] - 0.00012)).abs().max() < 1e-9


def test_a_corrected_clock_of_a_terminals_feed_reminds_of_its_setting(tradewind, tmp_path, bars):
    home = tmp_path / "h"
    home.mkdir()
    (home / "tradewind.toml").write_text('settings_version = 1\n[feeds.icm]\nsource = "terminal"\nclock = "utc"\n')
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--feed", "icm", "--home", home)
    done = tradewind("ingest", "--reclock", "icm", "utc+1", "--home", home)
    assert '[feeds.icm] in tradewind.toml still says clock = "utc"' in done.out and "write utc+1 there" in done.out


def test_a_feed_is_ingested_from_its_terminal_up_to_its_last_closed_bar_and_then_is_up_to_date(tradewind, tmp_path):
    home = sim_home(tmp_path / "h", symbols=("EURUSD", "USDJPY"))
    first = tradewind("ingest", "--feed", "sim", "--home", home, "--json").document["batches"]
    assert [b["symbol"] for b in first if b["rows_new"]] == ["EURUSD", "USDJPY"]
    feed = load(home).feed("sim")
    history = market_of("sim", feed, tuple(feed.symbols)).bars("EURUSD").filter(pl.col("time") < END.replace(tzinfo=None))
    stored = export(tradewind, home, tmp_path / "x.parquet")
    assert_frame_equal(stored.drop("real_volume"), history.select(stored.columns).drop("real_volume"))
    assert stored["real_volume"].to_list() == [0] * stored.height  # the package has no word for unknown
    again = tradewind("ingest", "--feed", "sim", "--home", home, "--json").document["batches"]
    assert sum(b["rows_new"] + b["rows_changed"] for b in again) == 0


def test_a_quality_report_comes_with_every_ingest_and_by_itself(tradewind, tmp_path, bars):
    gap = pl.concat([bars.head(200), bars.tail(300)])
    done = tradewind("ingest", csv_of(gap, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", tmp_path / "h")
    assert "500 new" in done.out and "500 bars" in done.out and "gap" in done.out
    shown = tradewind("data", "--quality", "--home", tmp_path / "h", "--json").document["quality"]
    assert [(q["feed"], q["symbol"], q["rows"]) for q in shown] == [("files", "EURUSD", 500)]


def test_batches_are_listed_when_all_their_bars_are_gone(tradewind, tmp_path, bars):
    home = tmp_path / "h"
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", home)
    tradewind("ingest", "--undo", "1", "--home", home)
    shown = tradewind("data", "--batches", "--home", home)
    assert shown.code == 0 and "holds no bars yet" in shown.out and "Batches" in shown.out and "True" in shown.out
    assert "holds no bars yet" in tradewind("data", "--home", home).out
    (batch,) = tradewind("data", "--batches", "--feed", "files", "--home", home, "--json").document["batches"]
    assert batch["undone"] and batch["rows_new"] == 600
    assert tradewind("data", "--batches", "--feed", "others", "--home", home).code == 1


def test_a_file_of_which_nothing_can_be_stored_is_a_failure_that_keeps_its_rejects(tradewind, tmp_path):
    home = tmp_path / "h"
    days = [f"2024-03-{day:02d} 00:00,1.1,1.2,1.0,1.1,5" for day in (4, 5, 6, 7)]  # UTC days are no trading days
    (tmp_path / "EURUSD_D1.csv").write_text("\n".join(["time,open,high,low,close,volume", *days]) + "\n")
    done = tradewind("ingest", tmp_path / "EURUSD_D1.csv", "--clock", "utc", "--home", home)
    assert done.code == 1 and "none of its 4 rows could be stored (4 time off the grid)" in done.err
    assert "17:00 New York" in done.err and "rejected rows: tradewind data --rejects 1" in done.out
    assert days[2] in tradewind("data", "--rejects", "1", "--home", home).out
    good = tradewind("ingest", tmp_path / "EURUSD_D1.csv", "--clock", "ny+7", "--home", home)
    assert good.code == 0 and "4 new" in good.out


def test_bars_that_were_stored_are_told_even_when_their_page_cannot_be_written(tradewind, tmp_path, bars):
    home = tmp_path / "h"
    home.mkdir()
    (home / "reports").write_text("a file where the folder of pages should be")
    done = tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", home)
    assert done.code == 1 and done.out.startswith("batch 1: files EURUSD M1, 600 new") and "reports" in done.err


@pytest.mark.parametrize("given", ["EURUSDm", "eur/usd", "EURUSD"])
def test_a_brokers_name_given_as_symbol_becomes_ours(tradewind, tmp_path, bars, given):
    asked = (
        "ingest",
        csv_of(bars, tmp_path / "bars.csv"),
        "--symbol",
        given,
        "--clock",
        "utc",
        "--home",
        tmp_path / "h",
        "--json",
    )
    assert [b["symbol"] for b in tradewind(*asked).document["batches"]] == ["EURUSD"]


def test_a_stated_spread_that_no_file_needs_is_said(tradewind, tmp_path, bars):
    asked = ("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--ask-spread")
    done = tradewind(*asked, "5", "--home", tmp_path / "h")
    assert done.code == 1 and "--ask-spread took nothing off" in done.err and "600 new" in done.out
    wrong = tradewind(*asked, "100000", "--home", tmp_path / "w")
    assert wrong.code == 1 and "below 100,000 points" in wrong.err and wrong.out == ""


def test_what_is_no_table_in_a_folder_is_among_the_warnings(tradewind, tmp_path, bars):
    folder = tmp_path / "exports"
    (folder / "deeper").mkdir(parents=True)
    (folder / "empty.csv").touch()
    csv_of(bars, folder / "EURUSD_M1.csv")
    done = tradewind("ingest", folder, "--clock", "utc", "--home", tmp_path / "h", "--json")
    assert done.code == 0 and done.err == "" and len(done.document["batches"]) == 1
    said = " ".join(done.document["warnings"])
    assert "deeper skipped: a folder inside the folder" in said and "empty.csv skipped: it is empty" in said


def test_the_batch_that_an_undo_brings_back_says_nothing_of_the_move_that_it_ended(tradewind, tmp_path, bars):
    home = tmp_path / "h"
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", home)
    assert "batch 1 moved from clock utc to utc+2" in tradewind("ingest", "--reclock", "files", "utc+2", "--home", home).out
    undone = tradewind("ingest", "--undo", "2", "--home", home)
    assert "600 bars back on the clock of batch 1" in undone.out and "moved from" not in undone.out


def test_a_disk_that_fills_up_while_exporting_is_no_fault_of_ours(tradewind, tmp_path, bars, monkeypatch):
    home, out = tmp_path / "h", tmp_path / "out.parquet"
    tradewind("ingest", csv_of(bars, tmp_path / "EURUSD_M1.csv"), "--clock", "utc", "--home", home)

    def full(frame, file):
        raise pl.exceptions.ComputeError("No space left on device (os error 28)")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    done = tradewind("export", "--symbol", "EURUSD", "--timeframe", "M1", "--out", out, "--home", home)
    assert done.code == 1 and "out.parquet cannot be written: No space left" in done.err and not out.exists()
