"""The set: which features, what they need, and a hash of what they mean."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import feature_store.features as package
from feature_store._errors import Final
from feature_store.bars import bar_close, epoch_s, resample
from feature_store.features import FeatureSet, FeatureSpec, all_features
from feature_store.features import _feature as registry
from tests.feature_store.features.conftest import POINTS, Market

SPEC = FeatureSpec(names=None, timeframe="H1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))


def test_there_are_76_features_of_which_16_read_context() -> None:
    context = [f.name for f in all_features() if any(i.context for i in f.inputs)]
    assert len(all_features()) == 76
    assert len(context) == 16
    assert sum(name.startswith("lead") for name in context) == 7


def test_every_group_file_holds_a_feature_and_every_feature_says_what_it_gives() -> None:
    files = {p.stem for p in Path(package.__file__).parent.glob("*.py") if not p.stem.startswith("_")}
    assert {f.group for f in all_features()} == files
    for one in all_features():
        assert one.description.endswith(".") or ":" in one.description, one.name
        assert 20 < len(one.description) < 130, one.name


def test_a_set_without_context_symbols_takes_the_features_that_need_none() -> None:
    names = FeatureSet(replace(SPEC, context_symbols=())).names
    assert len(names) == 69
    assert not any(name.startswith("lead") for name in names)


def test_a_set_on_day_bars_takes_no_feature_of_shorter_or_equal_bars() -> None:
    names = FeatureSet(replace(SPEC, timeframe="D1")).names
    assert not any(name.startswith(("h4", "d1", "day_before", "day_return", "days_range")) for name in names)


def test_several_symbols_get_a_column_each_that_is_1_for_the_row_s_own(spring: Market) -> None:
    spec = replace(SPEC, names=("bar_body",), symbols=("EURUSD", "USDJPY"))
    features = FeatureSet(spec, points=POINTS)
    assert features.names == ("bar_body", "is_eurusd", "is_usdjpy")
    found = features.compute(spring, "USDJPY").select("is_eurusd", "is_usdjpy").unique().row(0)
    assert found == (0.0, 1.0)
    assert features.compute(spring, "EURUSD").columns == ["time", *features.names]


def test_everything_a_model_sees_is_float32_and_never_infinite(spring: Market) -> None:
    frame = FeatureSet(SPEC, points=POINTS).compute(spring, "EURUSD")
    assert set(frame.schema.values()) == {pl.Datetime("ms"), pl.Float32}
    assert not np.isinf(frame.drop("time").to_numpy()).any()
    assert frame.null_count().sum_horizontal().item() == 0


def test_no_row_is_dropped(spring: Market) -> None:
    frame = FeatureSet(SPEC, points=POINTS).compute(spring, "EURUSD")
    assert frame["time"].equals(resample(spring["EURUSD"], "H1")["time"][: len(frame)])


def test_after_warm_up_a_value_is_missing_only_where_its_input_is_unknown(spring: Market) -> None:
    known = {s: b.with_columns(pl.col("spread_points").fill_null(9)) for s, b in spring.items()}
    features = FeatureSet(SPEC, points=POINTS)
    after = features.compute(known, "EURUSD")[features.warmup_bars :]
    assert not np.isnan(after.select(features.names).to_numpy()).any()


def test_an_unknown_spread_is_nan_for_the_features_of_cost_and_for_no_other(spring: Market) -> None:
    unknown = {s: b.with_columns(pl.lit(None, dtype=pl.Int32).alias("spread_points")) for s, b in spring.items()}
    features = FeatureSet(SPEC, points=POINTS)
    after = features.compute(unknown, "EURUSD")[features.warmup_bars :]
    empty = {n for n in features.names if after[n].is_nan().all()}
    assert empty == {"spread_zscore", "spread_atr", "spread_trend"}


# --- hash -------------------------------------------------------------------------------------------------------


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "from feature_store.features import FeatureSet, FeatureSpec\n"
        "print(FeatureSet(FeatureSpec(None, 'H1', ('EURUSD', 'USDJPY'), ('EURUSD',))).hash)"
    )
    root = Path(package.__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == FeatureSet(SPEC).hash


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, timeframe="M15"),
        replace(SPEC, context_symbols=("USDJPY", "GBPUSD")),
        replace(SPEC, symbols=("EURUSD", "USDJPY")),
        replace(SPEC, names=("rsi", "gap")),
        replace(SPEC, parameters={"rsi": {"rsi_bars": 21}}),
        replace(SPEC, parameters={"momentum": {"fast_bars": 6}}),
    ],
)
def test_the_hash_changes_with_the_meaning(other: FeatureSpec) -> None:
    assert FeatureSet(other).hash != FeatureSet(SPEC).hash


def test_the_hash_changes_with_the_order_of_names_and_not_with_how_they_were_asked_for() -> None:
    forward, backward = (FeatureSet(replace(SPEC, names=n)) for n in (("rsi", "gap"), ("gap", "rsi")))
    assert forward.hash != backward.hash
    assert FeatureSet(FeatureSet(SPEC).spec).hash == FeatureSet(SPEC).hash
    assert FeatureSet(SPEC, points={"EURUSD": 0.01}).hash == FeatureSet(SPEC).hash


@pytest.mark.parametrize("kind", ["feature", "measure"])
def test_the_hash_changes_with_a_version(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = FeatureSet(SPEC).hash
    held = registry._features if kind == "feature" else registry._measures
    name = "rsi" if kind == "feature" else "atr"
    monkeypatch.setitem(held, name, replace(held[name], version=2))  # type: ignore[type-var, arg-type]
    assert FeatureSet(SPEC).hash != before


def test_a_spec_survives_json() -> None:
    spec = FeatureSet(replace(SPEC, parameters={"rsi": {"rsi_bars": 21}})).spec
    again = FeatureSpec.from_dict(json.loads(json.dumps(spec.as_dict())))
    assert again == spec
    assert FeatureSet(again).hash == FeatureSet(spec).hash
    assert FeatureSpec.from_dict(SPEC.as_dict()) == SPEC


# --- needs ------------------------------------------------------------------------------------------------------


def test_lookback_counts_bars_of_each_timeframe() -> None:
    features = FeatureSet(replace(SPEC, names=("distance_to_mean", "h4_return", "lead_return")))
    # 20 closes outlast the 15 bars of the ATR; the 49 of the volatility outlast six changes.
    assert features.plan[""].lookback_bars == 20
    assert features.plan["h4"].lookback_bars == 49
    # One row lies in one H4 bar that may still form: two bars more, the one closed before it among them.
    assert features.needs("EURUSD") == {"EURUSD": {"H1": 20, "H4": 51}, "USDJPY": {"H1": 49}}
    assert features.needs("EURUSD", 16) == {"EURUSD": {"H1": 35, "H4": 54}, "USDJPY": {"H1": 64}}
    assert features.lookback == {"H1": 49, "H4": 51}


def test_a_parameter_moves_the_lookback_with_it() -> None:
    names = ("momentum",)
    assert FeatureSet(replace(SPEC, names=names)).plan[""].lookback_bars == 48
    longer = FeatureSet(replace(SPEC, names=names, parameters={"momentum": {"slow_bars": 96}}))
    assert longer.plan[""].lookback_bars == 96


@pytest.mark.parametrize("season", ["spring", "autumn"])
def test_warm_up_is_as_long_as_it_must_be(season: str, request: pytest.FixtureRequest) -> None:
    market: Market = request.getfixturevalue(season)
    for one in all_features():
        if "spread" in one.name:
            continue  # unknown at random, whatever the warm-up
        features = FeatureSet(replace(SPEC, names=(one.name,)), points=POINTS)
        column = features.compute(market, "EURUSD")[one.name].to_numpy()
        assert not np.isnan(column[features.warmup_bars :]).any(), one.name
        # Not longer than two bars of the longest timeframe beyond what was needed.
        first = int(np.flatnonzero(~np.isnan(column))[0])
        slack = 50 if one.name.startswith(("d1", "day")) else 10
        assert features.warmup_bars - first <= slack, one.name


# --- known at ---------------------------------------------------------------------------------------------------


def test_a_bar_that_may_still_form_gives_no_row(spring: Market) -> None:
    features = FeatureSet(replace(SPEC, names=("bar_body",)), points=POINTS)
    times_s = epoch_s(spring["EURUSD"]["time"])
    whole = features.compute(spring, "EURUSD")
    row = len(whole) // 2
    opened_s = int(epoch_s(whole["time"][row : row + 1])[0])
    until_half_past = {"EURUSD": spring["EURUSD"].filter(pl.Series(times_s < opened_s + 1800))}
    assert len(features.compute(until_half_past, "EURUSD")) == row
    assert len(features.compute(spring, "EURUSD", known_at_s=opened_s + 3599)) == row
    assert len(features.compute(spring, "EURUSD", known_at_s=opened_s + 3600)) == row + 1


def test_before_the_first_bar_is_known_there_are_no_rows_and_still_all_columns(spring: Market) -> None:
    features = FeatureSet(SPEC, points=POINTS)
    assert features.compute(spring, "EURUSD", known_at_s=0).columns == ["time", *features.names]
    assert features.compute(spring, "EURUSD", known_at_s=0).is_empty()
    first_s = int(epoch_s(spring["EURUSD"]["time"])[0])
    one_bar = {s: b.head(1) for s, b in spring.items()}
    assert len(features.compute(one_bar, "EURUSD", known_at_s=first_s + 7200)) == 1


def test_bars_of_the_set_s_own_timeframe_give_the_same_as_shorter_ones(spring: Market) -> None:
    features = FeatureSet(SPEC, points=POINTS)
    from_m5 = features.compute(spring, "EURUSD")
    from_h1 = features.compute({s: resample(b, "H1") for s, b in spring.items()}, "EURUSD")
    assert from_m5.equals(from_h1[: len(from_m5)], null_equal=True)


def test_the_close_moment_decides_the_hour_of_new_york_through_both_changes_of_the_clocks(spring: Market, autumn: Market) -> None:
    features = FeatureSet(replace(SPEC, names=("new_york_hour_sin", "new_york_hour_cos")), points=POINTS)
    for market in (spring, autumn):
        frame = features.compute(market, "EURUSD")
        closed = frame["time"].dt.replace_time_zone("UTC").dt.offset_by("1h").dt.convert_time_zone("America/New_York")
        turn = 2 * np.pi * (closed.dt.hour().to_numpy() / 24)
        assert np.allclose(frame["new_york_hour_sin"], np.sin(turn), atol=1e-6)
        assert np.allclose(frame["new_york_hour_cos"], np.cos(turn), atol=1e-6)


def test_a_row_sees_the_newest_h4_and_d1_bar_that_closed_by_its_own_close(spring: Market) -> None:
    features = FeatureSet(replace(SPEC, names=("h4_return", "d1_return")), points=POINTS)
    frame = features.compute(spring, "EURUSD")
    known_s = bar_close(epoch_s(frame["time"]), "H1")
    for timeframe, name in (("H4", "h4_return"), ("D1", "d1_return")):
        longer = resample(spring["EURUSD"], timeframe)
        closes_s = bar_close(epoch_s(longer["time"]), timeframe)
        of_longer = features.plan[timeframe.lower()].values(
            longer.select((pl.col("close") / 1e-5).round().cast(pl.Int64))
        )[name].cast(pl.Float32).to_numpy()  # fmt: skip
        for row in range(features.warmup_bars, len(frame), 7):
            newest = max(i for i, c in enumerate(closes_s) if c <= known_s[row])
            assert frame[name][row] == pytest.approx(of_longer[newest], rel=1e-6)
        # The bar that closes at this very moment is among them: 17:00 New York closes H1, H4 and D1 at once.
        assert np.isin(known_s, closes_s).sum() > 10


def test_another_symbol_s_bar_is_seen_once_it_is_known_and_stays_while_it_quotes_nothing(spring: Market) -> None:
    features = FeatureSet(replace(SPEC, names=("lead_return",)), points=POINTS)
    whole = features.compute(spring, "EURUSD")
    hole_s = int(epoch_s(whole["time"][500:501])[0])
    lead = spring["USDJPY"]
    gone = pl.Series(epoch_s(lead["time"])).is_between(hole_s, hole_s + 3 * 3600 - 1)
    column = features.compute(spring | {"USDJPY": lead.filter(~gone)}, "EURUSD")["lead_return"]
    assert column[:500].equals(whole["lead_return"][:500], null_equal=True)
    assert column[499] == column[500] == column[501] == column[502]
    assert len({*column[498:506].to_list()}) > 3


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, names=("rsy",)), "did you mean rsi"),
        (replace(SPEC, names=("rsi", "rsi")), "each once"),
        (replace(SPEC, names=()), "at least one"),
        (replace(SPEC, symbols=()), "at least one"),
        (replace(SPEC, symbols=("eurusd",)), "write EURUSD"),
        (replace(SPEC, timeframe="H5"), "timeframe 'H5' is not known"),
        (replace(SPEC, names=("lead_return",), context_symbols=("EURUSD",)), "needs a lead symbol for EURUSD"),
        (replace(SPEC, names=("h4_return",), timeframe="H4"), "not longer than the set's H4"),
        (replace(SPEC, names=("rsi",), parameters={"rsi": {"bars": 3}}), "no parameter 'bars'; it has rsi_bars"),
        (replace(SPEC, names=("rsi",), parameters={"rsi": {"rsi_bars": 0}}), "give a number above 0"),
        (replace(SPEC, parameters={"rsj": {"lookback_bars": 3}}), "did you mean rsi"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_what_to_do(spec: FeatureSpec, message: str) -> None:
    with pytest.raises(Final, match=message):
        FeatureSet(spec)


def test_a_newer_spec_is_refused() -> None:
    with pytest.raises(Final, match="schema 2, this version reads up to 1"):
        FeatureSpec.from_dict(SPEC.as_dict() | {"schema": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.reverse(), "not in time order"),
        (lambda b: pl.concat([b, b.tail(1)]), "one stands twice"),
        (lambda b: b.with_columns(close=pl.lit(None, dtype=pl.Float64)), "missing or not finite"),
        (lambda b: b.drop("tick_volume"), "lack the columns tick_volume"),
        (lambda b: resample(b, "H4"), "H1 cannot be made from them"),
        (lambda b: b.head(1), "one bar does not tell its own length"),
        (lambda b: b.clear(), "no bars of EURUSD"),
    ],
)
def test_bars_that_cannot_be_used_are_refused(
    change: Callable[[pl.DataFrame], pl.DataFrame], message: str, spring: Market
) -> None:
    features = FeatureSet(replace(SPEC, names=("rsi",)), points=POINTS)
    with pytest.raises(Final, match=message):
        features.compute({"EURUSD": change(spring["EURUSD"])}, "EURUSD")


def test_a_symbol_or_bars_that_are_not_there_are_named(spring: Market) -> None:
    features = FeatureSet(SPEC, points=POINTS)
    with pytest.raises(Final, match=r"'GBPUSD' is not one of this set's; use EURUSD"):
        features.compute(spring, "GBPUSD")
    with pytest.raises(Final, match=r"features read USDJPY \(lead\), whose bars are not given"):
        features.compute({"EURUSD": spring["EURUSD"]}, "EURUSD")


def test_prices_finer_than_the_point_are_reported(spring: Market, caplog: pytest.LogCaptureFixture) -> None:
    spec = replace(SPEC, names=("rsi",))
    FeatureSet(spec, points=POINTS).compute(spring, "EURUSD")
    assert not caplog.records
    FeatureSet(spec, points={"EURUSD": 1e-4}).compute(spring, "EURUSD")
    assert "EURUSD: prices are finer than its point 0.0001" in caplog.text


def test_a_feature_names_only_columns_that_exist() -> None:
    with pytest.raises(Final, match="no column 'closing'"):

        @registry.feature(lookback_bars=1)
        def planted(closing: pl.Expr) -> pl.Expr:
            """A column nobody has."""
            return closing


def test_a_name_is_given_once() -> None:
    with pytest.raises(Final, match="rsi is defined twice"):

        @registry.feature(lookback_bars=1)
        def rsi(close: pl.Expr) -> pl.Expr:
            """Another of the same name."""
            return close
