"""A user's own features: found, told from model families, refused in one line, and another feature once edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from feature_store._errors import Final
from feature_store.features import FeatureSet, FeatureSpec, all_features
from feature_store.features._extension_source import holds_a_family, holds_features
from tests.feature_store.features.conftest import POINTS, Market

HEAD = "import polars as pl\nfrom feature_store.features import feature\n\n"
GOOD = HEAD + (
    "BARS = 24\n\n"
    "def over(close, bars):\n"
    "    # how far it came\n"
    "    return close.diff(bars)\n\n"
    "@feature(lookback_bars=BARS + 1)\n"
    "def my_day(close: pl.Expr, atr: pl.Expr) -> pl.Expr:\n"
    '    """Change over a day, in ATR.\n\n    My notebook, 2024."""\n'
    "    return over(close, BARS) / atr\n\n"
    "@feature(lookback_bars=1)\n"
    "def my_body(open: pl.Expr, close: pl.Expr, atr: pl.Expr) -> pl.Expr:\n"
    '    """Body in ATR."""\n'
    "    return (close - open) / atr\n"
)
FAMILY = "from model_zoo._family import ModelFamily\n\nclass Mine(ModelFamily):\n    pass\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of the extensions folder and gives back the folder."""

    def put(text: str, name: str = "mine") -> Path:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    return put


def own(folder: Path) -> list[str]:
    return [f.name for f in all_features(folder) if f.file]


def set_of(folder: Path, *names: str) -> FeatureSet:
    return FeatureSet(FeatureSpec(names or None, "H1"), points=POINTS, extensions=folder)


def refusal(folder: Path) -> str:
    with pytest.raises(Final) as refused:
        all_features(folder)
    said = str(refused.value)
    assert "\n" not in said
    return said.replace(str(folder.resolve()), "<folder>")


def test_features_of_the_folder_come_after_ours_and_know_their_file(write: Write) -> None:
    folder = write(GOOD)
    found = all_features(folder)
    assert [f.name for f in found[-2:]] == ["my_day", "my_body"] and found[:-2] == all_features()
    assert (found[-2].group, found[-2].lookback_bars, found[-2].file) == ("mine", 25, str(folder.resolve() / "mine.py"))
    assert (found[-2].description, found[-2].source) == ("Change over a day, in ATR.", "My notebook, 2024.")


def test_ours_alone_are_found_without_a_folder_and_in_one_that_is_not_there(tmp_path: Path) -> None:
    assert all_features(tmp_path / "absent") == all_features()
    assert not any(f.file or f.digest for f in all_features())


def test_their_values_stand_beside_ours(write: Write, spring: Market) -> None:
    copy = "    return 100 * change.clip(lower_bound=0).rolling_sum(14) / change.abs().rolling_sum(14)\n"
    folder = write(HEAD + "@feature(lookback_bars=15)\ndef my_rsi(change: pl.Expr) -> pl.Expr:\n" + copy)
    found = set_of(folder, "my_rsi", "bar_body", "rsi").compute(spring, "EURUSD")
    assert found.columns == ["time", "my_rsi", "bar_body", "rsi"]
    assert found["my_rsi"].equals(found["rsi"].rename("my_rsi"))
    assert found["my_rsi"].drop_nans().is_between(0, 100).all() and found["my_rsi"].drop_nans().n_unique() > 500


def test_a_set_of_all_features_takes_them_and_one_that_names_ours_never_reads_the_folder(write: Write) -> None:
    folder = write(GOOD)
    assert set_of(folder).names[-2:] == ("my_day", "my_body")
    write("from feature_store.features import feature\nthis is no Python", "broken")
    assert set_of(folder, "bar_body").names == ("bar_body",)
    with pytest.raises(Final, match=r"broken\.py, line 2: SyntaxError: invalid syntax"):
        set_of(folder, "bar_body", "my_day")


def test_a_file_that_was_edited_is_read_again(write: Write) -> None:
    assert own(write(GOOD)) == ["my_day", "my_body"]
    assert own(write(GOOD.replace("my_body", "my_form"))) == ["my_day", "my_form"]


# --- the hash -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # how far it came\n", ""),
        ('    """Change over a day, in ATR.\n\n    My notebook, 2024."""\n', '    """A day\'s change."""\n'),
        ("def over(close, bars):", "def over(close: pl.Expr, bars: int) -> pl.Expr:"),
        ("    return over(close, BARS) / atr", "    return (over(close,\n                 BARS)\n            / atr)"),
        ("(close - open) / atr", "(close - open) / atr * 2"),
        ("BARS = 24\n", "BARS = 24\nOTHER = 7\n"),
    ],
    ids=["comment", "docstring", "annotations", "layout", "another feature", "a constant nobody reads"],
)
def test_what_changes_no_value_of_a_feature_changes_no_hash(write: Write, old: str, new: str) -> None:
    before = set_of(write(GOOD), "my_day").hash
    assert old in GOOD
    assert set_of(write(GOOD.replace(old, new)), "my_day").hash == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("over(close, BARS) / atr", "over(close, BARS) / atr * 1.0001"),
        ("close.diff(bars)", "close.diff(bars - 1)"),
        ("BARS = 24\n", "BARS = 24\nBARS += 1\n"),
        ("@feature(lookback_bars=BARS + 1)", "@feature(lookback_bars=BARS + 2)"),
        ("@feature(lookback_bars=BARS + 1)", "@feature(lookback_bars=BARS + 1, version=2)"),
        ("def over(", "class Held:\n    bars = []\nHeld.bars.append(1)\ndef over("),
    ],
    ids=["its own source", "a function it calls", "a constant it reads", "lookback", "version", "unrelated class"],
)
def test_what_may_change_a_value_of_a_feature_changes_its_hash(write: Write, old: str, new: str) -> None:
    before = set_of(write(GOOD), "my_day").hash
    assert old in GOOD
    changed = set_of(write(GOOD.replace(old, new)), "my_day").hash != before
    assert changed is ("Held" not in new)


def test_a_feature_made_by_a_function_means_its_whole_file(write: Write) -> None:
    made = HEAD + (
        "def make(bars):\n    @feature(lookback_bars=bars + 1)\n    def my_made(close: pl.Expr, atr: pl.Expr) -> pl.Expr:\n"
        "        return close.diff(bars) / atr\nmake(5)\nUNREAD = 1\n"
    )
    before = set_of(write(made), "my_made").hash
    assert set_of(write(made.replace("UNREAD = 1", "UNREAD = 2")), "my_made").hash != before


def test_our_own_features_hash_as_if_there_were_no_folder(write: Write) -> None:
    alone = FeatureSet(FeatureSpec(("rsi", "gap"), "H1"))
    assert FeatureSet(FeatureSpec(("rsi", "gap"), "H1"), extensions=write(GOOD)).hash == alone.hash


def test_the_same_file_in_another_folder_has_the_same_hash(write: Write, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "renamed.py").write_text(GOOD, encoding="utf-8")
    assert set_of(other, "my_day").hash == set_of(write(GOOD), "my_day").hash


# --- features and families in one folder --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "from feature_store.features import feature",
        "from feature_store.features import feature as f",
        "    from feature_store.features._feature import feature",
        "import feature_store.features as features",
        "from feature_store import features",
        "from feature_store import bars, features",
    ],
)
def test_a_file_that_imports_features_holds_features(line: str) -> None:
    assert holds_features(f'"""Mine."""\n{line}\n')


@pytest.mark.parametrize(
    "line", ["from model_zoo._family import ModelFamily", "import numpy", "from feature_store import bars", ""]
)
def test_other_files_hold_none(line: str) -> None:
    assert not holds_features(f"{line}\n# import feature_store.features is what a feature needs\n")
    assert holds_a_family(line) is line.startswith("from model_zoo")


def test_model_families_and_files_with_an_underscore_are_left_alone(write: Write) -> None:
    write(FAMILY + "raise RuntimeError('nobody asked for this family')\n", "family")
    write(HEAD + "raise RuntimeError\n", "_draft")
    assert own(write(GOOD)) == ["my_day", "my_body"]


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "def broken(:\n", "<folder>/mine.py, line 4: SyntaxError: invalid syntax"),
        (HEAD + "x = 1\ny = x / 0\n", "<folder>/mine.py, line 5: ZeroDivisionError: division by zero"),
        (HEAD + "import sys\nsys.exit(3)\n", "<folder>/mine.py, line 5: SystemExit: 3"),
        (HEAD + "import nonsense_of_mine\n", "<folder>/mine.py, line 4: ModuleNotFoundError: No module named 'nonsense_of_mine'"),
        (
            HEAD + "@feature(lookback_bars=1)\ndef mine(cloze: pl.Expr) -> pl.Expr:\n    return cloze\n",
            "<folder>/mine.py, line 4: feature mine: no column 'cloze'; use open, high, low, close",
        ),
        (
            HEAD + "@feature(lookback_bars=2)\ndef mine(close: pl.Expr) -> pl.Expr:\n    x = 1\n    return close.dif(x)\n",
            "<folder>/mine.py, line 7: AttributeError: 'Expr' object has no attribute 'dif'",
        ),
        (
            HEAD + "@feature(lookback_bars=2)\ndef mine(close: pl.Expr) -> pl.Expr:\n    return close + 'a'.join(['b'])\n",
            "<folder>/mine.py, line 4: ",
        ),
        (
            HEAD + "@feature(lookback_bars=2)\ndef mine(close: pl.Expr) -> pl.Expr:\n    return 1.0\n",
            "<folder>/mine.py, line 4: feature mine: gives back float; give back a polars expression",
        ),
        (
            HEAD + "@feature(lookback_bars=0)\ndef mine(close: pl.Expr) -> pl.Expr:\n    return close\n",
            "<folder>/mine.py, line 4: feature mine: lookback_bars is 0; give a whole number of bars, 1 or more",
        ),
        (
            HEAD + "@feature(lookback_bars=lambda bars: bars)\ndef mine(close: pl.Expr) -> pl.Expr:\n    return close\n",
            "<folder>/mine.py, line 4: KeyError: 'bars'",
        ),
        (
            HEAD + "@feature(lookback_bars=1)\ndef rsi(close: pl.Expr) -> pl.Expr:\n    return close\n",
            "<folder>/mine.py, line 4: feature rsi bears the name of a built-in feature (group trend); rename it",
        ),
        (
            HEAD + "@feature(lookback_bars=1)\ndef spread_points(close: pl.Expr) -> pl.Expr:\n    return close\n",
            "<folder>/mine.py, line 4: feature spread_points bears the name of a column; rename it",
        ),
        (
            HEAD + "@feature(lookback_bars=1)\ndef is_eurusd(close: pl.Expr) -> pl.Expr:\n    return close\n",
            "<folder>/mine.py, line 4: feature is_eurusd: names that begin with is_ are those of the columns that tell symbols",
        ),
        (
            GOOD + GOOD.partition("\n\n")[2],
            "<folder>/mine.py, line 27: feature my_day is defined twice, in mine and tradewind_features.mine; rename one",
        ),
        (HEAD, "<folder>/mine.py: imports feature_store.features and defines no feature; decorate a function with @feature"),
        (GOOD + FAMILY, "<folder>/mine.py: holds features and imports model_zoo; write features and model families in files of"),
        (
            HEAD
            + "from feature_store.features._feature import measure\n"
            + "@measure(lookback_bars=1)\ndef unit(close):\n    return close\n",
            "<folder>/mine.py, line 5: measure unit: measures are Tradewind's own; write it as a plain function",
        ),
    ],
    ids=lambda value: value.partition(": ")[2][:50] if isinstance(value, str) and value.startswith("<") else "",
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_with_its_place(write: Write, text: str, said: str) -> None:
    assert refusal(write(text)).startswith(said)


def test_a_name_that_two_files_give_is_refused(write: Write) -> None:
    write(GOOD, "a")
    said = refusal(write(GOOD, "b"))
    assert said == (
        "<folder>/b.py, line 10: feature my_day bears the name of another of yours, in <folder>/a.py; rename it"
    )  # fmt: skip


def test_a_file_of_another_encoding_is_refused(write: Write) -> None:
    folder = write(GOOD)
    (folder / "mine.py").write_bytes(GOOD.encode() + b"# \xff\xfe\n")
    assert "mine.py" in refusal(folder) and "line" not in refusal(folder).partition(":")[0]


def test_a_broken_file_is_refused_again_until_it_is_mended_and_takes_no_name_of_ours(write: Write) -> None:
    bad = GOOD.replace("over(close, BARS)", "ovr(close, BARS)")
    for _ in range(2):
        assert refusal(write(bad)) == "<folder>/mine.py, line 15: NameError: name 'ovr' is not defined"
    assert own(write(GOOD)) == ["my_day", "my_body"]
