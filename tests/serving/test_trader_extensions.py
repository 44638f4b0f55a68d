"""The trader and a user's own features: the same files as in training, or none of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feature_store._errors import Final as FeatureFinal
from feature_store.features import all_features
from serving._errors import Final
from serving._trader_lines import Library
from serving.control import journal_path
from serving.journal import read
from serving.settings import RiskSettings
from serving.trader import run_trader
from tests.serving.live_parts import playing, promote_tiny, trader_config

MINE = (
    "from feature_store.features import feature\n\nBARS = 24\n\n"
    "@feature(lookback_bars=BARS + 1)\ndef my_day(close, atr):\n    return close.diff(BARS) / atr\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose champion learned from a feature of its own."""
    extend(tmp_path, MINE)
    promote_tiny(tmp_path, own=("my_day",), extensions=tmp_path / "extensions")
    return tmp_path


def extend(home: Path, text: str, name: str = "mine") -> None:
    (home / "extensions").mkdir(exist_ok=True)
    (home / "extensions" / f"{name}.py").write_text(text, encoding="utf-8")


def library(home: Path) -> Library:
    return Library(home, RiskSettings(), lambda symbol: 1e-5, alias="champion", live=False)


def test_a_champion_that_learned_from_an_extension_trades_with_it(home: Path) -> None:
    with playing() as handle:
        summary = run_trader(trader_config(home, bars=3, check_every_s=10), handle.module, handle.clock)
    assert summary.bars == summary.decisions == 3
    rows = read(journal_path(home, "demo")).decisions()
    assert all(np.isfinite(r.p_long) for r in rows)
    assert library(home).line("majors", "EURUSD").name == "majors/EURUSD"


@pytest.mark.parametrize(
    "edited",
    [MINE.replace("/ atr", "/ atr * 1.01"), MINE.replace("BARS = 24", "BARS = 25"), MINE.replace("BARS + 1)", "BARS + 2)")],
    ids=["source", "a constant it reads", "lookback"],
)
def test_an_edited_extension_is_refused_before_anything_is_traded(home: Path, edited: str) -> None:
    extend(home, edited)
    with playing() as handle, pytest.raises(Final, match=r"learned feature set .*, these rows are of .*; retrain, or bring back"):
        run_trader(trader_config(home, bars=3), handle.module, handle.clock)
    journal = read(journal_path(home, "demo"))
    assert journal.decisions() == [] and journal.rows("SELECT * FROM requests") == []


def test_comments_and_layout_may_change_under_a_champion(home: Path) -> None:
    extend(home, MINE.replace("    return", '    """Change over a day."""\n    # of 24 bars\n    return'), "renamed")
    (home / "extensions" / "mine.py").unlink()
    assert library(home).line("majors", "EURUSD").name == "majors/EURUSD"


def test_an_extension_that_is_gone_or_broken_is_refused_in_one_line(home: Path) -> None:
    extend(home, MINE.replace("close.diff", "close.dif"))
    with pytest.raises(FeatureFinal, match=r"mine\.py, line 7: AttributeError: 'Expr' object has no attribute 'dif'"):
        library(home).line("majors", "EURUSD")
    (home / "extensions" / "mine.py").unlink()
    with pytest.raises(FeatureFinal, match="feature 'my_day' is not known"):
        library(home).line("majors", "EURUSD")


def test_a_champion_of_our_features_alone_starts_whatever_lies_in_the_folder(tmp_path: Path) -> None:
    promote_tiny(tmp_path)
    extend(tmp_path, "from feature_store.features import feature\nthis is no Python\n")
    assert library(tmp_path).line("majors", "EURUSD").name == "majors/EURUSD"


def test_an_edit_after_the_line_was_loaded_counts_for_the_next_one(home: Path) -> None:
    kept = library(home)
    kept.line("majors", "EURUSD")
    assert [f.name for f in all_features(home / "extensions") if f.file] == ["my_day"]
    extend(home, MINE.replace("/ atr", "/ atr * 2"))
    assert kept.line("majors", "EURUSD").name == "majors/EURUSD"  # what was loaded and compared goes on as it was
    with pytest.raises(Final, match="learned feature set"):
        library(home).line("majors", "EURUSD")
