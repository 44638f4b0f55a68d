"""Snapshots: what is written is what is read, the same content is the same folder, a changed byte is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import snapshot as module
from feature_store._errors import Final
from feature_store._snapshot_files import ARRAYS, folder_name
from feature_store.labels import Labels, LabelSpec, label_trades
from feature_store.snapshot import SymbolPart, open_snapshot, write_snapshot

SPEC = LabelSpec(horizon_bars=3, atr_bars=2)
NAMES = ("momentum", "spread_zscore")
REPOSITORY = Path(__file__).resolve().parents[2]


def part(symbol, n=20, seed=0, starts=(0,)):
    rng = np.random.default_rng(seed)
    close = 100 + np.cumsum(rng.normal(0, 1, n))
    times = 3600 * np.arange(1, n + 1)
    labels = label_trades(close, close + 1, close - 1, close, times, np.ones(n), np.full(n, 0.01), 0.0, SPEC)
    features = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    features[:1, 0] = np.nan
    prices = np.column_stack([close, close + 1, close - 1, close, np.full(n, 0.01), np.ones(n), np.ones(n)])
    return SymbolPart("sim", symbol, times, features, labels, np.array(starts), prices)


def write(root, parts=None, **change):
    settings = {"timeframe": "H1", "feature_names": NAMES, "feature_hash": "abc", "warmup_bars": 2, "label_spec": SPEC}
    settings |= {"provenance": {"mode": "simulated", "cost_source": "assumed"}}
    return write_snapshot(root, parts or [part("EURUSD"), part("USDJPY", 12, 1, (0, 5))], **(settings | change))


def test_what_was_written_is_what_is_read(tmp_path):
    first, second = part("EURUSD"), part("USDJPY", 12, 1, (0, 5))
    snap = open_snapshot(write(tmp_path, [first, second]))
    np.testing.assert_array_equal(snap.features, np.concatenate([first.features, second.features]))
    np.testing.assert_array_equal(snap.times, np.concatenate([first.times_s, second.times_s]))
    np.testing.assert_array_equal(snap.symbol, [0] * 20 + [1] * 12)
    np.testing.assert_array_equal(snap.segment_starts, [0, 20, 25])
    np.testing.assert_array_equal(snap.prices, np.concatenate([first.prices, second.prices]))
    for name in Labels.__dataclass_fields__:
        expected = np.concatenate([getattr(first.labels, name), getattr(second.labels, name)])
        np.testing.assert_array_equal(getattr(snap, name), expected)
    manifest = snap.manifest
    assert (manifest.symbols, manifest.feeds, manifest.feature_names) == (("EURUSD", "USDJPY"), ("sim", "sim"), NAMES)
    assert (manifest.label_spec, manifest.span, manifest.rows, len(snap)) == (SPEC, (3600, 72000), 32, 32)
    assert manifest.provenance == {"mode": "simulated", "cost_source": "assumed"}
    assert (manifest.timeframe, manifest.feature_hash, manifest.warmup_bars) == ("H1", "abc", 2)


def test_arrays_are_mapped_read_only_with_the_types_of_the_contract(tmp_path):
    snap = open_snapshot(write(tmp_path))
    for name, dtype in ARRAYS.items():
        array = getattr(snap, name)
        assert isinstance(array, np.memmap) and array.dtype == np.dtype(dtype)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_same_content_is_the_same_folder_and_is_not_written_again(tmp_path):
    path = write(tmp_path / "a")
    stamp = (path / "features.npy").stat().st_mtime_ns
    assert write(tmp_path / "a") == path
    assert (path / "features.npy").stat().st_mtime_ns == stamp
    assert write(tmp_path / "b").name == path.name
    assert [p.name for p in (tmp_path / "a").iterdir()] == [path.name], "nothing is left beside it"


@pytest.mark.parametrize(
    "change",
    [
        {"feature_hash": "abd"},
        {"label_spec": LabelSpec(horizon_bars=4, atr_bars=2)},
        {"provenance": {"mode": "paper"}},
        {"warmup_bars": 3},
        {"parts": [part("EURUSD", seed=5)]},
    ],
)
def test_other_content_is_another_folder(tmp_path, change):
    assert write(tmp_path, **change) != write(tmp_path)


@pytest.mark.parametrize("name", [*(f"{a}.npy" for a in ARRAYS), "manifest.json"])
def test_a_changed_byte_is_refused_with_the_file_named(tmp_path, name):
    path = write(tmp_path) / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(Final, match=name) as error:
        open_snapshot(path.parent)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_renamed_folder_and_a_folder_without_manifest_are_refused(tmp_path):
    path = write(tmp_path)
    other = path.rename(tmp_path / "renamed")
    with pytest.raises(Final, match="folder renamed"):
        open_snapshot(other)
    path = other.rename(path)
    (path / "cost.npy").unlink()
    with pytest.raises(Final, match=r"cost\.npy is missing"):
        open_snapshot(path)
    with pytest.raises(Final, match=r"no manifest\.json"):
        open_snapshot(tmp_path)


@pytest.mark.parametrize("schema", [2, 0, "1", True, None])
def test_a_newer_or_odd_schema_is_refused_even_when_its_hash_is_right(tmp_path, schema):
    path = write(tmp_path)
    manifest = json.loads((path / "manifest.json").read_bytes()) | {"schema": schema}
    content = json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(Final, match="schema"):
        open_snapshot(path.rename(tmp_path / folder_name(content)))


def test_a_damaged_snapshot_is_healed_when_the_same_content_is_written_again(tmp_path):
    path = write(tmp_path)
    (path / "features.npy").write_bytes(b"")
    assert write(tmp_path) == path
    assert len(open_snapshot(path)) == 32


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def broken(path):
        raise OSError("disk full")

    monkeypatch.setattr(module, "hash_file", broken)
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_losing_the_race_against_another_writer_keeps_the_other_folder(tmp_path, monkeypatch):
    path = write(tmp_path)
    # The check before the rename sees no folder, as if the other writer finished just after it.
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert write(tmp_path) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_process_opens_it_and_sees_the_same_numbers(tmp_path):
    path = write(tmp_path)
    code = f"from pathlib import Path; from feature_store.snapshot import open_snapshot; s = open_snapshot(Path({str(path)!r}))"
    code += "; print(s.features[1:].sum(dtype='f8').hex(), len(s.usable_rows(2)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    snap = open_snapshot(path)
    assert out.split() == [float(snap.features[1:].sum(dtype="f8")).hex(), str(len(snap.usable_rows(2)))]


def test_usable_rows_leave_out_warm_up_windows_across_segments_and_rows_without_label(tmp_path):
    # USDJPY: segments of 5 and 7 rows, warm-up 2, horizon 3: the last three rows have no label.
    snap = open_snapshot(write(tmp_path, [part("USDJPY", 12, 1, (0, 5))]))
    assert snap.usable_rows(1).tolist() == [2, 3, 4, 7, 8]
    assert snap.usable_rows(3).tolist() == [4]
    assert snap.window_rows(3).tolist() == [4, 9, 10, 11]
    assert snap.usable_rows(1, warmup_bars=0).tolist() == list(range(9))
    with pytest.raises(Final, match="window of 0"):
        snap.usable_rows(0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), window=st.integers(1, 6), warmup=st.integers(0, 6))
def test_no_window_of_a_usable_row_leaves_its_segment_or_touches_warm_up(tmp_path_factory, seed, window, warmup):
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in ("EURUSD", "GBPUSD"):
        n = int(rng.integers(1, 30))
        starts = np.unique(np.append(0, rng.integers(0, n, 3)))
        parts.append(part(symbol, n, seed, starts))
    snap = open_snapshot(write(tmp_path_factory.mktemp("snap"), parts, warmup_bars=warmup))
    segment = np.cumsum(np.isin(np.arange(len(snap)), snap.segment_starts))
    expected = [
        row
        for row in range(len(snap))
        if row - warmup - window + 1 >= 0
        and (segment[row - warmup - window + 1 : row + 1] == segment[row]).all()
        and snap.label_end[row] != -1
    ]
    assert snap.usable_rows(window).tolist() == expected


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([replace(part("EURUSD"), features=np.zeros((20, 3), np.float32))], "2 feature names"),
        ([replace(part("EURUSD"), features=np.zeros((20, 2)))], "float32 only"),
        ([replace(part("EURUSD"), times_s=np.zeros(20, np.int64))], "not in time order"),
        ([replace(part("EURUSD"), segment_starts=np.array([1]))], "rise from 0"),
        ([replace(part("EURUSD"), segment_starts=np.array([0, 20]))], "stay below 20"),
        ([part("EURUSD"), part("EURUSD")], "each may come once"),
        ([part("EURUSD"), part("GBPUSD", 0, starts=())], "without rows"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, parts, words):
    with pytest.raises(Final, match=words):
        write(tmp_path, parts)
