"""The home: files appear whole or not at all, and JSON is JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import home as module
from tasks.home import Home, read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[2]


def test_naming_a_home_makes_nothing(tmp_path):
    home = Home(tmp_path / "home")
    named = [home.store, home.snapshots, home.ledger, home.reports, home.study("p", "linear"), home.run("p", "key")]
    assert all(path.is_relative_to(home.root) for path in named) and len(set(named)) == len(named)
    assert not home.root.exists()


def test_written_text_is_read_back_with_its_folders_made_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a" / "b" / "page.html"
    write_text(path, "first")
    write_text(path, "zweite Zeile: ü\n")
    assert path.read_bytes() == "zweite Zeile: ü\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "report.json"
    write_text(path, "old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "fsync", fail) if broken == "fsync" else (module.Path, "replace", fail)))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "report.json"
    write_text(path, "old")
    code = (
        "import os, sys; from pathlib import Path; from tasks import home\n"
        "os.fsync = lambda handle: os._exit(9)\n"
        "home.write_text(Path(sys.argv[1]), 'new' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert path.read_text() == "old"
    write_text(path, "newer")
    assert path.read_text() == "newer"


def test_what_is_no_number_becomes_null_wherever_it_stands(tmp_path):
    path = tmp_path / "result.json"
    document = {"b": float("nan"), "a": [1.5, float("inf"), {"deep": -float("inf")}], "c": "NaN"}
    write_json(path, document)

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {"a": [1.5, None, {"deep": None}], "b": None, "c": "NaN"}
    assert read_json(path) == {"a": [1.5, None, {"deep": None}], "b": None, "c": "NaN"}


def test_the_same_document_is_the_same_bytes_whatever_the_order_of_its_keys(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": 2})
    write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_document_that_has_no_json_form_leaves_the_old_one(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"skill": 0.1})
    with pytest.raises(TypeError):
        write_json(path, {"skill": object()})
    assert read_json(path) == {"skill": 0.1}


def test_a_document_that_is_not_there_is_none_and_a_damaged_one_is_an_error(tmp_path):
    assert read_json(tmp_path / "missing.json") is None
    (tmp_path / "half.json").write_text('{"skill": 0.')
    with pytest.raises(json.JSONDecodeError):
        read_json(tmp_path / "half.json")
