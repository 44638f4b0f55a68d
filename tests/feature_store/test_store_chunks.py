"""A source that comes in several frames is stored as if it were one, in one transaction, with little in memory."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feature_store import _incoming
from feature_store.store import Store
from tests.conftest import make_bars

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2024, 3, 4)
ABOUT = {"origin": "test", "sha256": "0" * 64, "clock_rule": "utc", "at": AT}
COUNTS = ("rows_read", "rows_new", "rows_changed", "rows_same", "rows_rejected", "spreads_cleared", "rejects", "first", "last")


def numbered(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_row_index("source_row", offset=1).with_columns(pl.col("source_row").cast(pl.Int64))


def pieces(bars: pl.DataFrame, rows: int) -> list[pl.DataFrame]:
    return [bars.slice(start, rows) for start in range(0, bars.height, rows)]


def both_ways(folder: Path, bars: pl.DataFrame, rows: int, **changes):
    """(store of the whole frame, its batch, store of the pieces, its batch)."""
    one, many = Store(folder / "one.duckdb"), Store(folder / "many.duckdb")
    whole = one.ingest("sim", "EURUSD", "M1", bars, **ABOUT | changes)
    parts = many.ingest("sim", "EURUSD", "M1", iter(pieces(bars, rows)), **ABOUT | changes)
    return one, whole, many, parts


def assert_same(folder: Path, bars: pl.DataFrame, rows: int, **changes) -> None:
    one, whole, many, parts = both_ways(folder, bars, rows, **changes)
    assert [getattr(parts, name) for name in COUNTS] == [getattr(whole, name) for name in COUNTS]
    if whole.rows_new:
        assert_frame_equal(many.bars("sim", "EURUSD", "M1"), one.bars("sim", "EURUSD", "M1"))
    assert_frame_equal(many.rejects(1), one.rejects(1))


def test_bars_in_frames_are_stored_as_one_batch_and_again_change_nothing(tmp_path, small_bars):
    _, _, store, batch = both_ways(tmp_path, small_bars, 100)
    assert (batch.id, batch.rows_read, batch.rows_new) == (1, 600, 600)
    assert (batch.first, batch.last) == (START.replace(tzinfo=UTC), datetime(2024, 3, 4, 9, 59, tzinfo=UTC))
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)
    again = store.ingest("sim", "EURUSD", "M1", pieces(small_bars, 250), **ABOUT)
    assert (again.rows_new, again.rows_changed, again.rows_same) == (0, 0, 600)
    assert [p.name for p in tmp_path.iterdir() if "duckdb" not in p.name] == []


def test_no_frame_at_all_is_a_batch_of_nothing(tmp_path):
    batch = Store(tmp_path / "s.duckdb").ingest("sim", "EURUSD", "M1", iter([]), **ABOUT)
    assert (batch.rows_read, batch.rows_new, batch.first) == (0, 0, None)


def test_frames_that_run_backwards_are_stored_in_time_order(tmp_path, small_bars):
    assert_same(tmp_path, small_bars.reverse(), 150)


def test_a_time_that_stands_in_two_frames_counts_once_if_equal_and_not_at_all_if_different(tmp_path, small_bars):
    other = small_bars.slice(10, 1).with_columns(pl.col("close") + 0.00001, pl.col("high") + 0.001)
    bars = pl.concat([small_bars.head(300), small_bars.slice(5, 3), other, small_bars.slice(300)])
    _, _, store, batch = both_ways(tmp_path, numbered(bars), 200)
    assert batch.rejects == {"duplicate": 3, "duplicate time with other content": 2}
    assert batch.rows_new == 599
    assert store.rejects(1)["source_row"].to_list() == [11, 301, 302, 303, 304]
    assert_same(tmp_path / "x", numbered(bars), 200)


def test_contradicting_rows_of_one_frame_take_a_third_of_another_frame_with_them(tmp_path, small_bars):
    row = small_bars.slice(10, 1)
    others = [row.with_columns(pl.col("tick_volume") + k) for k in (1, 2, 3)]
    bars = pl.concat([small_bars.head(10), *others[:2], small_bars.slice(11, 89), others[2], small_bars.slice(100, 20)])
    assert_same(tmp_path, bars, 100)
    assert Store(tmp_path / "many.duckdb").batch(1).rejects == {"duplicate time with other content": 3}


def sorted_out(bars, folder):
    """(accepted bars, rejected rows, everything else that is said of them)."""
    with _incoming.incoming(bars, "M1", AT.timestamp(), None, folder) as rows:
        accepted, rejected = list(rows.accepted()), list(rows.rejected())
        said = rows.rows_read, rows.spreads_cleared, rows.first, rows.last, sum(rows.rejects.values())
    kept = pl.concat(accepted).sort("time") if accepted else make_bars(AT, 0)
    # A copy of a row that others contradict is called by the one name or the other: frames are read one by one.
    told = pl.concat(rejected).sort("source_row") if rejected else pl.DataFrame({"reason": [], "source_row": []})
    return kept, told.with_columns(pl.col("reason").cast(pl.String).str.replace(" time with other content", "")), said


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(24)),
    again=st.lists(st.tuples(st.integers(0, 23), st.integers(0, 2)), max_size=8),
    rows=st.integers(3, 20),
    at_once=st.integers(2, 50),
)
@example(order=list(range(24)), again=[(0, 0), (0, 0), (0, 0), (14, 0)], rows=3, at_once=3)
def test_however_a_source_is_cut_into_frames_the_same_rows_are_kept_and_rejected(tmp_path_factory, order, again, rows, at_once):
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 24)
    repeated = [bars.slice(k, 1).with_columns(pl.col("tick_volume") + lift) for k, lift in again]
    shuffled = numbered(pl.concat([bars.slice(k, 1) for k in order] + repeated).sample(fraction=1, shuffle=True, seed=rows))
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_incoming, "_AT_ONCE", at_once)  # windows of overlap and rejects in several steps
        kept, rejected, said = sorted_out(pieces(shuffled, rows), folder)
    whole_kept, whole_rejected, whole_said = sorted_out(shuffled, folder)
    assert_frame_equal(kept, whole_kept)
    assert said == whole_said
    assert_frame_equal(rejected, whole_rejected)


def test_rejects_of_many_frames_ask_for_their_text_at_once(tmp_path, small_bars):
    asked = []

    def content(rows):
        asked.append(list(rows))
        return [f"line {row}" for row in rows]

    bars = numbered(small_bars).with_columns(
        pl.when(pl.col("source_row").is_in([3, 250, 599])).then(None).otherwise(pl.col("close")).alias("close")
    )
    store = Store(tmp_path / "s.duckdb")
    store.ingest("sim", "EURUSD", "M1", pieces(bars, 100), content=content, **ABOUT)
    assert asked == [[3, 250, 599]]
    assert store.rejects(1)["content"].to_list() == ["line 3", "line 250", "line 599"]


def test_a_source_that_fails_half_way_leaves_the_store_as_it_was(tmp_path, small_bars):
    store = Store(tmp_path / "s.duckdb")
    store.ingest("sim", "EURUSD", "M1", small_bars.head(10), **ABOUT)

    def broken():
        yield small_bars.head(300)
        yield small_bars.slice(300, 100)
        raise OSError("the file ended in the middle")

    with pytest.raises(OSError, match="the file ended"):
        store.ingest("sim", "EURUSD", "M1", broken(), **ABOUT)
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars.head(10))
    assert store.batches().height == 1


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from feature_store import _batches
from feature_store.store import Store
from tests.conftest import make_bars

write = _batches._insert

def hang(*rest):
    write(*rest)
    print("inside", flush=True)
    sys.stdin.readline()

_batches._insert = hang
bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 40_000, seed=8)
known = {"origin": "x", "sha256": "0", "clock_rule": "utc", "at": datetime(2026, 1, 1, tzinfo=UTC)}
chunks = [bars.slice(k, 10_000) for k in range(0, 40_000, 10_000)]
Store(Path(sys.argv[1])).ingest("sim", "EURUSD", "M1", chunks, **known)
"""


def test_a_kill_while_many_frames_are_written_leaves_the_store_as_it_was_and_no_file_behind(tmp_path, small_bars):
    store = Store(tmp_path / "store.duckdb", lock_wait_s=5)
    store.ingest("sim", "EURUSD", "M1", small_bars, **ABOUT)
    command = [sys.executable, "-c", KILLED, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout.readline() == "inside\n"
        child.kill()
    assert_frame_equal(store.bars("sim", "EURUSD", "M1"), small_bars)
    assert store.batches()["id"].to_list() == [1]
    changed = small_bars.with_columns(pl.col("high") + 0.001)
    assert store.ingest("sim", "EURUSD", "M1", pieces(changed, 100), **ABOUT).rows_changed == 600
    assert {p.name.split(".")[0] for p in tmp_path.iterdir()} == {"store"}


@pytest.mark.slow
def test_ten_million_rows_in_frames_need_no_more_memory_than_one_of_them_and_a_working_set(tmp_path):
    script = (
        "import re, sys; from pathlib import Path; from datetime import timedelta; import polars as pl\n"
        "from feature_store.store import Store; from tests.conftest import make_bars; from datetime import UTC, datetime\n"
        "bars = make_bars(datetime(2000, 1, 3, tzinfo=UTC), 1_000_000); span = timedelta(weeks=150)\n"
        "known = {'origin': 'x', 'sha256': '0', 'clock_rule': 'utc', 'at': datetime(2300, 1, 1, tzinfo=UTC)}\n"
        "chunks = (bars.with_columns(pl.col('time') + span * k) for k in range(10))\n"
        "rows = Store(Path(sys.argv[1])).ingest('a', 'EURUSD', 'M1', chunks, **known).rows_new\n"
        # Not ru_maxrss: a process inherits that from the one that started it.
        "print(rows, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "s.duckdb")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows, peak_mib = map(int, done.stdout.split())
    assert rows == 10_000_000
    assert peak_mib < 1100
