"""`tradewind features`: the list, the check and the page, with features of the user's own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from feature_store.features import all_features
from feature_store.store import Store
from tests.conftest import make_bars
from tests.flows.parts import ROOT, sim_home
from tests.serving.live_parts import promote_tiny

HEAD = "import polars as pl\nfrom feature_store.features import feature\n\n"
GOOD = (
    "@feature(lookback_bars=25)\ndef my_day(close, atr):\n    '''Change over a day, in ATR.'''\n    return close.diff(24) / atr\n"
)
LEAK = "@feature(lookback_bars=2)\ndef my_leak(close, atr):\n    '''What comes.'''\n    return (close.shift(-1) - close) / atr\n"
SHORT = "@feature(lookback_bars=10)\ndef my_short(close, atr):\n    '''Too short.'''\n    return close.diff(10) / atr\n"
MEAN = "@feature(lookback_bars=2)\ndef my_mean(change):\n    '''All of history.'''\n    return change / change.abs().mean()\n"
OWN = len(all_features())


def extend(home: Path, *texts: str, name: str = "mine") -> Path:
    (home / "extensions").mkdir(parents=True, exist_ok=True)
    (home / "extensions" / f"{name}.py").write_text(HEAD + "\n".join(texts), encoding="utf-8")
    return home


def stocked(home: Path, feed: str = "files", count: int = 3000) -> Path:
    """A home with H1 bars of EURUSD and USDJPY."""
    store = Store(home / "bars.duckdb")
    for seed, symbol in enumerate(("EURUSD", "USDJPY")):
        bars = make_bars(datetime(2023, 1, 2, tzinfo=UTC), count, step_s=3600, seed=seed)
        store.ingest(
            feed, symbol, "H1", bars, origin="made", sha256=f"{feed}{seed}", clock_rule="utc", at=datetime(2024, 1, 1, tzinfo=UTC)
        )
    return home


# --- list ---------------------------------------------------------------------------------------------------------


def test_the_list_says_group_name_lookback_definition_and_source(tradewind, tmp_path):
    done = tradewind("features", "--home", extend(tmp_path, GOOD))
    assert done.code == 0 and f"{OWN + 1} features" in done.out
    assert re.search(r"mine +my_day +25 +Change over a day, in ATR\. +your own, mine\.py", done.out)
    assert re.search(r"trend +rsi +15 +Relative strength index", done.out)


def test_the_list_as_json_holds_every_feature_and_those_of_a_file_know_it(tradewind, tmp_path):
    document = tradewind("features", "--home", extend(tmp_path, GOOD), "--json").document
    assert document["schema"] == 1 and len(document["features"]) == OWN + 1
    mine = document["features"][-1]
    assert (mine["name"], mine["group"], mine["lookback_bars"], mine["meaning"]) == (
        "my_day", "mine", 25, "Change over a day, in ATR.",
    )  # fmt: skip
    assert Path(mine["file"]) == (tmp_path / "extensions" / "mine.py").resolve()
    assert all(f["file"] is None and f["meaning"] for f in document["features"][:-1])


def test_names_and_groups_choose_and_an_unknown_one_gets_the_nearest(tradewind, tmp_path):
    chosen = tradewind("features", "rsi", "mine", "--home", extend(tmp_path, GOOD), "--json").document["features"]
    assert [f["name"] for f in chosen] == ["rsi", "my_day"]
    wrong = tradewind("features", "my_dya", "--home", tmp_path)
    assert wrong.code == 1 and wrong.err == "tradewind: no feature or group is called 'my_dya'; did you mean my_day?\n"


def test_a_pipeline_uses_all_that_fit_or_those_that_it_names(tradewind, tmp_path):
    home = extend(sim_home(tmp_path), GOOD)
    everything = tradewind("features", "--pipeline", "main", "--home", home, "--json").document
    assert everything["columns"][-1] == "my_day" and not any(c.startswith("lead") for c in everything["columns"])
    text = (home / "tradewind.toml").read_text()
    (home / "tradewind.toml").write_text(
        text.replace('timeframe = "M15"', 'timeframe = "M15"\nfeatures = ["my_day", "range", "rsi"]')
    )
    named = tradewind("features", "--pipeline", "main", "--home", home, "--json").document
    ranges = [f.name for f in all_features() if f.group == "range"]
    assert named["columns"] == ["my_day", *ranges, "rsi"] and named["hash"] != everything["hash"]
    assert {f["name"] for f in named["features"] if f["used"]} == {*named["columns"]}
    extend(home, GOOD.replace("diff(24)", "diff(23)"))
    edited = tradewind("features", "--pipeline", "main", "--home", home, "--json").document
    assert edited["columns"] == named["columns"] and edited["hash"] != named["hash"]


def test_a_broken_file_is_one_line_with_its_place(tradewind, tmp_path):
    done = tradewind("features", "--home", extend(tmp_path, GOOD.replace("return", "retrun")))
    assert done.code == 1 and done.err.count("\n") == 1
    assert re.fullmatch(r"tradewind: .*mine\.py, line 7: SyntaxError: invalid syntax\n", done.err)


def test_a_name_of_a_built_in_feature_is_refused(tradewind, tmp_path):
    done = tradewind("features", "--home", extend(tmp_path, GOOD.replace("my_day", "momentum")))
    assert done.code == 1
    assert done.err.endswith("mine.py, line 4: feature momentum bears the name of a built-in feature (group trend); rename it\n")


# --- check --------------------------------------------------------------------------------------------------------


def test_features_that_keep_the_contracts_pass_on_generated_and_stored_bars(tradewind, tmp_path):
    home = stocked(extend(tmp_path, GOOD))
    done = tradewind("features", "my_day", "rsi", "--check", "--home", home)
    assert (done.code, done.err) == (0, "")
    assert "On generated bars" in done.out and "On files EURUSD H1 bars" in done.out
    assert done.out.count("my_day ") == 2 and "FAIL" not in done.out
    assert done.out.endswith("2 features keep every contract\n")


def test_a_leak_a_short_lookback_and_a_mean_over_all_are_caught_by_name_row_and_size(tradewind, tmp_path):
    done = tradewind("features", "mine", "--check", "--home", extend(tmp_path, GOOD, LEAK, SHORT, MEAN))
    assert done.code == 1 and done.err == ""
    lines = [line for line in done.out.splitlines() if ": " in line]
    caught = {tuple(line.split(": ")[:2]) for line in lines}
    assert caught == {
        ("my_leak", "no look-ahead"), ("my_leak", "live = history"), ("my_short", "live = history"),
        ("my_mean", "no look-ahead"), ("my_mean", "live = history"),
    }  # fmt: skip
    assert all(re.search(r" at row \d+ \(20\d\d-\d\d-\d\d \d\d:00\), on generated bars", line) for line in lines)
    assert re.search(r"my_mean: no look-ahead: changes by [\d.e-]+ standard deviations once later bars are cut off", done.out)
    assert re.search(r"my_leak +FAIL +FAIL +ok", done.out) and re.search(r"my_day +ok +ok +ok", done.out)


def test_the_check_as_json_holds_every_violation_with_row_and_size(tradewind, tmp_path):
    done = tradewind("features", "mine", "--check", "--json", "--home", extend(tmp_path, GOOD, MEAN))
    assert done.code == 1 and done.document["kept"] is False and done.document["schema"] == 1
    first = next(v for v in done.document["violations"] if v["contract"] == "no look-ahead")
    assert (first["feature"], first["ground"]) == ("my_mean", "generated") and first["size"] > 1e-6 and first["row"] >= 0
    words = {o["feature"]: o["contracts"] for o in done.document["outcomes"]}
    assert words["my_mean"]["no look-ahead"] == "FAIL" and set(words["my_day"].values()) == {"ok"}


def test_a_feature_that_no_bars_can_judge_does_not_pass(tradewind, tmp_path):
    gold = "@feature(lookback_bars=4)\ndef my_gold(xauusd__close, xauusd__atr):\n    return xauusd__close.diff(3) / xauusd__atr\n"
    done = tradewind("features", "mine", "--check", "--home", extend(tmp_path, gold))
    assert done.code == 1 and done.out.endswith("my_gold: not judged: there is no XAUUSD\n")


def test_a_feature_of_short_bars_is_checked_on_shorter_rows(tradewind, tmp_path):
    hourly = "@feature(lookback_bars=4)\ndef my_hour(h1__close, h1__atr):\n    return h1__close.diff(3) / h1__atr\n"
    done = tradewind("features", "mine", "--check", "--json", "--home", extend(tmp_path, hourly, GOOD))
    assert done.code == 0
    assert [(o["feature"], o["not_judged"]) for o in done.document["outcomes"]] == [("my_hour", None), ("my_day", None)]


def test_a_feed_that_is_not_stored_and_two_wishes_at_once_are_refused(tradewind, tmp_path):
    done = tradewind("features", "rsi", "--check", "--feed", "nowhere", "--home", stocked(tmp_path))
    assert done.code == 1
    assert done.err == "tradewind: no bars of nowhere/any symbol are stored; there is: files/EURUSD, files/USDJPY\n"
    both = tradewind("features", "--check", "--page", "--home", tmp_path)
    assert both.code == 1 and "ask for one at a time" in both.err


# --- page ---------------------------------------------------------------------------------------------------------


def test_the_page_is_written_under_the_home_and_its_numbers_told(tradewind, tmp_path):
    home = stocked(extend(tmp_path, GOOD))
    done = tradewind("features", "--page", "--symbol", "eurusd", "--home", home, "--json")
    page = Path(done.document["page"])
    assert (done.code, done.document["series"]) == (0, "files EURUSD H1")
    assert page == home / "reports" / "features" / "files_EURUSD_H1.html"
    text = page.read_text(encoding="utf-8")
    assert "my_day" in text and "your own, mine.py" in text and "lead_return" in text
    assert done.document["missing"]["my_day"] == 0.0 and 2000 < done.document["rows"] < 3000
    said = tradewind("features", "rsi", "--page", "--symbol", "EURUSD", "--home", home)
    assert said.code == 0 and str(page) in said.out.replace("\n", "") and said.out.startswith("1 features on ")


def test_the_page_asks_which_feed_where_there_are_several_and_for_bars_where_there_are_none(tradewind, tmp_path):
    none = tradewind("features", "--page", "--home", tmp_path / "empty")
    assert none.code == 1 and "no bars are stored yet; ingest some first" in none.err
    home = stocked(stocked(tmp_path / "two", "a", 400), "b", 400)
    many = tradewind("features", "--page", "--home", home)
    assert many.code == 1 and "which bars? there is: a EURUSD H1, b EURUSD H1; add --feed" in many.err


# --- a champion that learned from it ------------------------------------------------------------------------------


def test_a_champion_is_backtested_with_the_extension_it_learned_from_and_refused_with_another(tradewind, tmp_path):
    home = extend(sim_home(tmp_path), GOOD)
    promote_tiny(home, own=("my_day",), extensions=home / "extensions")
    assert tradewind("ingest", "--feed", "sim", "--home", home).code == 0
    replayed = tradewind("backtest", "--pipeline", "majors", "--home", home, "--json")
    assert replayed.code == 0 and replayed.document["trades"] > 0
    extend(home, GOOD.replace("diff(24)", "diff(23)"))
    refused = tradewind("backtest", "--pipeline", "majors", "--home", home)
    assert refused.code == 1 and re.search(r"learned feature set \w+, these rows are of \w+; retrain, or bring back", refused.err)


# --- the document -------------------------------------------------------------------------------------------------


def test_the_example_of_the_document_is_found_and_keeps_every_contract(tradewind, tmp_path):
    text = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"^tradewind (features --check \w.*)$", text, re.MULTILINE)
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "example.py").write_text(example, encoding="utf-8")
    done = tradewind(*command.split(), "--home", tmp_path)
    assert done.code == 0 and done.out.endswith("2 features keep every contract\n")
    listed = tradewind("features", "example", "--home", tmp_path, "--json").document["features"]
    assert [(f["name"], f["lookback_bars"]) for f in listed] == [("squeeze", 6), ("above_yesterday", 1)]
    assert listed[0]["source"] == "Crabel, Day Trading with Short Term Price Patterns, 1990."


@pytest.mark.real_data
@pytest.mark.slow
def test_every_feature_keeps_every_contract_on_real_bars(tradewind, tmp_path, real_data):
    store = Store(tmp_path / "bars.duckdb")
    for symbol in ("EURUSD", "USDJPY"):
        bars = pl.read_parquet(real_data / "bars" / f"{symbol}_M30_sk.parquet").rename({"spread": "spread_points"})
        store.ingest(
            "sk", symbol, "M30", bars, origin=symbol, sha256=symbol, clock_rule="utc", at=datetime(2025, 1, 1, tzinfo=UTC)
        )  # fmt: skip
    done = tradewind("features", "--check", "--home", tmp_path, "--json")
    assert [v["line"] for v in done.document["violations"]] == [] and done.code == 0
    assert json.dumps(done.document["outcomes"]).count('"not_judged": null') == 2 * OWN
