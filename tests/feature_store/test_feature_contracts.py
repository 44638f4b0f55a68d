"""The contracts that every feature must keep: a feature planted to break one is caught by name, row and size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_store.bars import epoch_s
from feature_store.feature_contracts import CONTRACTS, Outcome, check, sorted_out
from feature_store.feature_ground import Ground, generated_ground, rows_for
from feature_store.features import Feature, all_features

HEAD = "import numpy as np\nimport polars as pl\nfrom feature_store.features import feature\n\n"
Try = Callable[..., Outcome]


@pytest.fixture(scope="module")
def ground() -> Ground:
    return generated_ground(())


@pytest.fixture
def tried(tmp_path: Path, ground: Ground) -> Try:
    """Writes one feature with these inputs and body into a folder of extensions and gives back how it fared."""

    def call(body: str, lookback_bars: int, inputs: str = "close, atr", on: Ground = ground, **declared: object) -> Outcome:
        words = "".join(f", {name}={value!r}" for name, value in declared.items())
        text = f"@feature(lookback_bars={lookback_bars}{words})\ndef mine({inputs}):\n    return {body}\n"
        (tmp_path / "mine.py").write_text(HEAD + text, encoding="utf-8")
        (mine,) = (f for f in all_features(tmp_path) if f.file)
        (outcome,) = check([mine], on, extensions=tmp_path)
        return outcome

    return call


def broken(outcome: Outcome) -> dict[str, float]:
    """Size of each violation by contract."""
    assert not outcome.not_judged
    return {v.contract: v.size for v in outcome.violations}


@pytest.mark.parametrize(
    ("body", "lookback_bars", "inputs"),
    [
        ("(close - close.shift(24)) / atr", 25, "close, atr"),
        ("(close - close.rolling_median(30)) / atr", 30, "close, atr"),
        ("pl.when(spread_points.is_not_null()).then(close.diff(3) / atr)", 4, "close, atr, spread_points"),
        ("d1__close.diff(5) / d1__atr", 6, "d1__close, d1__atr"),
        ("(close - h4__low) / atr", 1, "close, h4__low, atr"),
        ("usdjpy__close.diff(10) / usdjpy__atr", 11, "usdjpy__close, usdjpy__atr"),
        ("change.rolling_sum(6) / lead__atr", 7, "change, lead__atr"),
    ],
)
def test_a_feature_that_keeps_every_contract_is_left_alone(tried: Try, body: str, lookback_bars: int, inputs: str) -> None:
    outcome = tried(body, lookback_bars, inputs)
    assert broken(outcome) == {}
    assert {outcome.word(c) for c in CONTRACTS} == {"ok"}


def test_a_feature_that_reads_the_next_bar_is_caught_looking_ahead(tried: Try, ground: Ground) -> None:
    outcome = tried("(close.shift(-1) - close) / atr", 2)
    assert broken(outcome)["no look-ahead"] == math.inf
    (ahead,) = (v for v in outcome.violations if v.contract == "no look-ahead")
    opens_s = epoch_s(ground.features(["gap"]).compute(ground.base, "EURUSD")["time"])
    assert ahead.row is not None and ahead.time_s == opens_s[ahead.row]
    assert ahead.line().startswith("mine: no look-ahead: changes between known and unknown once later bars are cut off at row ")
    assert ahead.line().endswith("on generated bars")


def test_a_mean_over_all_of_history_is_caught_looking_ahead_with_its_size(tried: Try) -> None:
    sizes = broken(tried("(change - change.mean()) / change.std()", 2, "change"))
    # Early rows learn of all that comes: a few hundredths to a few deviations, never exactly nothing.
    assert 1e-3 < sizes["no look-ahead"] < 10
    assert sizes["live = history"] > 1e-3


def test_a_value_that_waits_for_a_later_bar_is_caught_even_where_cuts_miss_it(tried: Try) -> None:
    assert broken(tried("spread_points.backward_fill() / atr", 1, "spread_points, atr"))["live = history"] == math.inf


def test_a_context_that_is_shifted_back_in_time_is_caught(tried: Try) -> None:
    assert "no look-ahead" in broken(tried("(lead__close.shift(-1) - lead__close) / lead__atr", 2, "lead__close, lead__atr"))
    assert "no look-ahead" in broken(tried("(h4__close.shift(-1) - close) / atr", 2, "h4__close, close, atr"))


@pytest.mark.parametrize("enough", [False, True])
def test_a_lookback_is_caught_when_it_is_one_bar_too_short(tried: Try, enough: bool) -> None:
    outcome = tried("close.diff(10) / atr", 10 + enough)
    assert set(broken(outcome)) == (set() if enough else {"live = history"})
    if not enough:
        (line,) = (v.line() for v in outcome.violations)
        assert "is nan live and " in line and line.endswith(
            "its lookback of 10 bars is too short, or it reads other bars than those"
        )


def test_a_memory_that_never_ends_is_caught_whatever_lookback_is_declared(tried: Try) -> None:
    short, long = (
        broken(tried("(close - close.ewm_mean(span=60)) / atr", bars))["live = history"] for bars in (60, 300)
    )  # fmt: skip
    assert 1e-6 < long < short


def test_a_price_in_points_is_caught_unless_it_says_so(tried: Try) -> None:
    outcome = tried("close.diff()", 2, "close")
    assert set(broken(outcome)) == {"scale-free"}
    assert "with a point 10 times finer" in outcome.violations[0].line()
    assert broken(tried("close.diff()", 2, "close", scale_free=False)) == {}


def test_a_price_level_is_caught(tried: Try) -> None:
    assert "scale-free" in broken(tried("close * 1e-5", 1, "close"))


def test_a_constant_and_a_feature_that_is_never_known_are_caught(tried: Try) -> None:
    assert broken(tried("close * 0 + 7", 1, "close")) == {"varies": 0.0}
    assert broken(tried("(close - close) / (close - close)", 1, "close")) == {"known": 1.0}


def test_a_feature_that_draws_lots_is_caught(tried: Try) -> None:
    assert broken(tried("change / atr + np.random.default_rng().random()", 2, "change, atr"))["repeatable"] > 0


def test_a_feature_that_fails_on_rows_breaks_every_contract_and_stops_no_other(tmp_path: Path, ground: Ground) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD
        + "@feature(lookback_bars=1)\ndef bad(close):\n    return close.map_elements(lambda v: 1 // 0, return_dtype=pl.Int64)\n"
        + "@feature(lookback_bars=2)\ndef good(change, atr):\n    return change / atr\n",
        encoding="utf-8",
    )
    bad, good = check([f for f in all_features(tmp_path) if f.file], ground, extensions=tmp_path)
    assert {bad.word(c) for c in CONTRACTS} == {"FAIL"} and {good.word(c) for c in CONTRACTS} == {"ok"}
    assert bad.violations[0].line().startswith("bad: runs: ZeroDivisionError: ")
    assert "\n" not in bad.violations[0].line()


# --- what cannot be judged ----------------------------------------------------------------------------------------


def test_what_the_bars_do_not_show_is_not_judged(tried: Try, ground: Ground) -> None:
    outcome = tried("xauusd__close.diff(3) / xauusd__atr", 4, "xauusd__close, xauusd__atr")
    assert (outcome.violations, outcome.not_judged) == ((), "there is no XAUUSD")
    assert outcome.word("varies") == "-"
    blind = Ground(
        "blind", {s: b.with_columns(spread_points=None).cast(b.schema) for s, b in ground.base.items()}, ground.base_timeframe,
        ground.symbol, ground.timeframe, ground.context_symbols, ground.points,
    )  # fmt: skip
    assert tried("spread_points / atr", 1, "spread_points, atr", on=blind).not_judged == "there is no known spread_points"


def test_on_a_single_bar_nothing_is_judged_and_no_feature_blamed(tried: Try, ground: Ground) -> None:
    one = replace(ground, base={symbol: bars.head(1) for symbol, bars in ground.base.items()})
    outcome = tried("(close - close.shift(24)) / atr", 25, on=one)
    assert outcome.not_judged == "there is no second bar" and not outcome.violations
    alone = Ground("alone", ground.base, "M5", "EURUSD", "H1", ("EURUSD",), ground.points)
    assert tried("lead__change / atr", 1, "lead__change, atr", on=alone).not_judged == "there is no second symbol"


def test_a_series_shorter_than_the_warm_up_is_not_judged(tried: Try, ground: Ground) -> None:
    few = Ground(
        "few", {s: b.head(1000) for s, b in ground.base.items()}, "M5", "EURUSD", "H1", ground.context_symbols, ground.points
    )
    assert tried("close.diff(60) / atr", 61, on=few).not_judged == "there is no row 50 after the 61 of warm-up, only 24 are"


def test_what_only_poor_bars_break_is_a_note_and_what_all_break_is_not(tried: Try, ground: Ground) -> None:
    frozen = {s: b.with_columns(open=b["close"].shift(1).fill_null(b["open"])) for s, b in ground.base.items()}
    still = Ground("still", frozen, "M5", "EURUSD", "M5", ground.context_symbols, ground.points)
    (gap,) = (f for f in all_features() if f.name == "gap")
    poor, good = check([gap], still)[0], check([gap], ground)[0]
    assert set(broken(poor)) == {"varies"} and broken(good) == {}
    assert [[v.contract for v in part] for part in sorted_out([poor, good])] == [[], ["varies"]]
    assert [[v.contract for v in part] for part in sorted_out([poor])] == [["varies"], []]
    leak = tried("(close.shift(-1) - close) / atr", 2)
    assert {v.contract for v in sorted_out([leak, good])[0]} == {"no look-ahead", "live = history"}


def test_rows_are_shorter_than_every_bar_that_a_feature_reads(tmp_path: Path) -> None:
    def rows(inputs: str) -> str:
        (tmp_path / "mine.py").write_text(HEAD + f"@feature(lookback_bars=1)\ndef mine({inputs}):\n    return {inputs}\n")
        return rows_for(next(f for f in all_features(tmp_path) if f.file))

    assert [rows(i) for i in ("close", "d1__close", "h1__close", "m15__close", "gbpusd__close")] == [
        "H1",
        "H1",
        "M30",
        "M5",
        "H1",
    ]


# --- the ground ---------------------------------------------------------------------------------------------------


def test_the_generated_ground_has_holes_unknown_spreads_and_the_night_of_the_clocks(ground: Ground) -> None:
    assert generated_ground(()).base["EURUSD"].equals(ground.base["EURUSD"])
    for bars in ground.base.values():
        opens_s = epoch_s(bars["time"])
        assert (np.diff(opens_s) > 300).sum() > 300 and bars["spread_points"].null_count() > 300
        assert bars["spread_points"].drop_nulls().n_unique() > 5
    rows = epoch_s(ground.features(["gap"]).compute(ground.base, "EURUSD")["time"])
    assert rows[-200] < 1710054000 < rows[-1]  # 10 March 2024, 07:00 UTC, New York 02:00


def test_the_generated_ground_makes_the_pairs_that_features_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD + "@feature(lookback_bars=1)\ndef mine(gbpusd__change, gbpusd__atr, xauusd__close):\n    return gbpusd__change\n"
    )
    mine = [f for f in all_features(tmp_path) if f.file]
    assert generated_ground(mine).context_symbols == ("EURUSD", "USDJPY", "GBPUSD")


@pytest.mark.slow
@pytest.mark.parametrize("some", range(4))
def test_every_feature_of_ours_keeps_every_contract(some: int, ground: Ground) -> None:
    chosen: list[Feature] = list(all_features())[some::4]
    outcomes = check(chosen, ground)
    assert [v.line() for o in outcomes for v in o.violations] == []
    assert [o.feature for o in outcomes if o.not_judged] == []
