"""Live features: fed bit by bit, held to a few bars, and loud about what is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_store.features as package
from feature_store._errors import Final, Retryable
from feature_store.bars import bar_close, bar_open, conform, epoch_s, resample
from feature_store.features import BaseBars, FeatureSet, FeatureSpec, LiveFeatures, live_windows
from feature_store.features._series import merged
from tests.feature_store.features.conftest import POINTS, MakeMarket, Market

SPEC = FeatureSpec(names=None, timeframe="H1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))
SET = FeatureSet(SPEC, points=POINTS)


def before(market: Market, moment_s: int, *, since_s: int = 0, step_s: int = 300) -> Market:
    """Bars that opened at `since_s` or later and were known at `moment_s`."""
    return {s: b.filter(pl.Series(epoch_s(b["time"])).is_between(since_s, moment_s - step_s)) for s, b in market.items()}


def history(features: FeatureSet, market: Market, symbol: str = "EURUSD") -> tuple[np.ndarray, np.ndarray]:
    frame = features.compute(market, symbol)
    return epoch_s(frame["time"]), frame.select(features.names).to_numpy()


@pytest.mark.parametrize("season", ["spring", "autumn"])
def test_a_start_with_no_more_than_what_must_be_fetched_equals_history(season: str, request: pytest.FixtureRequest) -> None:
    market: Market = request.getfixturevalue(season)
    opens_s, expected = history(SET, market)
    for row in range(SET.warmup_bars + 200, len(opens_s), 61):
        open_s = int(opens_s[row])
        live = LiveFeatures(SET, "EURUSD", longest_window=16)
        live.update(before(market, open_s + 3600, since_s=SET.fetch_from_s(open_s, "EURUSD", 16)))
        assert np.allclose(live.window(open_s, 16), expected[row - 15 : row + 1], rtol=1e-6, atol=1e-7, equal_nan=True)


def test_bars_given_one_at_a_time_or_all_at_once_make_the_same_window(spring: Market) -> None:
    opens_s, expected = history(SET, spring)
    open_s, row = int(opens_s[500]), 500
    first, rest = before(spring, open_s - 20 * 3600), before(spring, open_s + 3600, since_s=open_s - 20 * 3600)
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    live.update(first)
    for symbol, bars in rest.items():
        for i in range(len(bars)):
            live.update({symbol: bars[i : i + 1]})
    assert np.allclose(live.window(open_s, 4), expected[row - 3 : row + 1], rtol=1e-6, atol=1e-7, equal_nan=True)


def test_bars_given_twice_count_once(spring: Market) -> None:
    opens_s, expected = history(SET, spring)
    open_s = int(opens_s[520])
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    live.update(before(spring, open_s))
    live.update(before(spring, open_s + 3600, since_s=open_s - 5 * 86400))
    assert np.allclose(live.window(open_s, 1)[0], expected[520], rtol=1e-6, atol=1e-7, equal_nan=True)


def test_bars_of_later_moments_that_are_held_already_change_nothing(spring: Market) -> None:
    opens_s, expected = history(SET, spring)
    live = LiveFeatures(SET, "EURUSD", longest_window=256)
    live.update(spring)
    for row in (SET.warmup_bars + 5, 450, 700):
        assert np.allclose(live.window(int(opens_s[row]), 1)[0], expected[row], rtol=1e-6, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(("timeframe", "step_s"), [("M5", 300), ("M15", 300), ("H4", 3600), ("H3", 900)])
def test_other_timeframes_are_equal_to_history_too(timeframe: str, step_s: int, make_market: MakeMarket) -> None:
    days = {"M5": 32, "M15": 32, "H4": 120, "H3": 60}[timeframe]
    market = make_market(datetime(2024, 2, 5, tzinfo=UTC), days, step_s)
    features = FeatureSet(replace(SPEC, timeframe=timeframe), points=POINTS)
    opens_s, expected = history(features, market)
    assert len(opens_s) > features.warmup_bars + 30
    known_s = bar_close(opens_s, timeframe)
    live = LiveFeatures(features, "EURUSD", longest_window=3)
    live.update(before(market, int(known_s[features.warmup_bars]), step_s=step_s))
    for row in range(features.warmup_bars + 3, min(len(opens_s), features.warmup_bars + 300)):
        live.update(before(market, int(known_s[row]), since_s=int(known_s[row - 3]), step_s=step_s))
        window = live.window(int(opens_s[row]), 3)
        assert np.allclose(window, expected[row - 2 : row + 1], rtol=1e-6, atol=1e-7, equal_nan=True)


def test_rows_of_each_symbol_of_a_pooled_set_read_their_own_lead(make_market: MakeMarket) -> None:
    market = make_market(datetime(2024, 2, 5, tzinfo=UTC), 24, 900, ("EURUSD", "USDJPY", "GBPUSD"))
    features = FeatureSet(replace(SPEC, symbols=("EURUSD", "GBPUSD")), points=POINTS)
    assert features.symbol_of("lead", "EURUSD") == "USDJPY"
    assert features.symbol_of("lead", "GBPUSD") == "EURUSD"
    for symbol, flags in (("EURUSD", [1.0, 0.0]), ("GBPUSD", [0.0, 1.0])):
        opens_s, expected = history(features, market, symbol)
        live = LiveFeatures(features, symbol)
        live.update(market)
        window = live.window(int(opens_s[-1]), 2)
        assert window.dtype == np.float32
        assert np.allclose(window, expected[-2:], rtol=1e-6, atol=1e-7, equal_nan=True)
        assert window[0, -2:].tolist() == flags


def test_symbols_asked_together_get_what_each_alone_gets_and_one_without_bars_silences_no_other(make_market: MakeMarket) -> None:
    symbols = ("EURUSD", "GBPUSD", "USDJPY")
    market = make_market(datetime(2024, 2, 5, tzinfo=UTC), 24, 900, symbols)
    market["GBPUSD"] = market["GBPUSD"].filter(pl.Series(np.arange(len(market["GBPUSD"])) % 13 != 5))  # bars of its own
    features = FeatureSet(replace(SPEC, symbols=symbols), points=POINTS)
    alone, together = ([LiveFeatures(features, s, longest_window=4) for s in symbols] for _ in range(2))
    for live in (*alone, *together):
        live.update(market if live.symbols[0] != "USDJPY" else {s: b.head(40) for s, b in market.items()})
    open_s = int(history(features, market)[0][-1])
    windows = live_windows(together, open_s, 4)
    for one, window in zip(alone[:2], windows[:2], strict=True):
        assert isinstance(window, np.ndarray) and np.array_equal(window, one.window(open_s, 4), equal_nan=True)
    assert isinstance(windows[2], Retryable) and "USDJPY" in str(windows[2])
    assert [str(w) for w in live_windows(together[2:], open_s, 4)] == [str(windows[2])]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "symbol"), [("EURUSD_H1_vj", "EURUSD"), ("XAUUSD_H1_vj", "XAUUSD"), ("USDJPY_M30_sk", "USDJPY")]
)
def test_real_bars_give_the_same_live_as_in_history(file: str, symbol: str, real_data: Path) -> None:
    bars = conform(pl.read_parquet(real_data / "bars" / f"{file}.parquet").rename({"spread": "spread_points"}))[-12_000:]
    features = FeatureSet(FeatureSpec(names=None, timeframe="H1", symbols=(symbol,)))
    opens_s, expected = history(features, {symbol: bars}, symbol)
    deviation = np.nanstd(expected[features.warmup_bars :].astype(np.float64), axis=0)
    live, known_s, fed = LiveFeatures(features, symbol, longest_window=2), epoch_s(bars["time"]) + 1800, 0
    for row in range(features.warmup_bars + 1, features.warmup_bars + 500):
        upto = int(np.searchsorted(known_s, opens_s[row] + 3600, side="right"))
        live.update({symbol: bars[fed:upto]})
        fed = upto
        window = live.window(int(opens_s[row]), 2)
        assert np.array_equal(np.isnan(window), np.isnan(expected[row - 1 : row + 1]))
        assert np.nanmax(np.abs(window - expected[row - 1 : row + 1]) / deviation) < 1e-6


def test_it_takes_the_bars_that_the_set_says_it_needs(spring: Market) -> None:
    live = LiveFeatures(SET, "EURUSD")
    assert {*live.symbols} == {*SET.needs("EURUSD")} == {"EURUSD", "USDJPY"}


# --- what is refused --------------------------------------------------------------------------------------------


def test_a_bar_that_has_not_come_is_an_error_and_never_an_old_row(spring: Market) -> None:
    opens_s, _ = history(SET, spring)
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    with pytest.raises(Retryable, match="is not held; update with its base bars first"):
        live.window(int(opens_s[500]), 1)
    live.update(before(spring, int(opens_s[500])))
    with pytest.raises(Retryable, match=r"2024-.* is not held"):
        live.window(int(opens_s[500]), 1)


@pytest.mark.parametrize(
    ("since_days", "message"),
    [(1, r"closed H1 bars of EURUSD are held, 216 are needed"), (13, r"closed D1 bars of EURUSD are held, 11 are needed")],
)
def test_too_few_bars_are_an_error_that_says_how_many(since_days: int, message: str, spring: Market) -> None:
    opens_s, _ = history(SET, spring)
    open_s = int(opens_s[583])
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    live.update(before(spring, open_s + 3600, since_s=open_s - since_days * 86400))
    with pytest.raises(Retryable, match=message):
        live.window(open_s, 1)


def test_a_lead_without_bars_is_an_error(spring: Market) -> None:
    opens_s, _ = history(SET, spring)
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    live.update({"EURUSD": before(spring, int(opens_s[500]) + 3600)["EURUSD"]})
    with pytest.raises(Retryable, match="0 closed H1 bars of USDJPY are held, 49 are needed"):
        live.window(int(opens_s[500]), 1)


def test_a_base_bar_that_comes_after_its_hour_was_used_is_an_error(spring: Market) -> None:
    opens_s, _ = history(SET, spring)
    open_s = int(opens_s[500])
    live = LiveFeatures(SET, "EURUSD", longest_window=4)
    known = before(spring, open_s + 3600)
    live.update(known | {"EURUSD": known["EURUSD"][:-1]})
    live.window(open_s, 1)
    with pytest.raises(Retryable, match="came after the H1 bar it is part of was used"):
        live.update({"EURUSD": known["EURUSD"]})


def test_a_window_longer_than_what_is_held_is_refused() -> None:
    with pytest.raises(Final, match="1 to 4 are held, raise longest_window"):
        LiveFeatures(SET, "EURUSD", longest_window=4).window(0, 5)


def test_bars_longer_than_the_set_s_are_refused(spring: Market) -> None:
    with pytest.raises(Final, match="H1 cannot be made from them"):
        LiveFeatures(SET, "EURUSD").update({"EURUSD": resample(spring["EURUSD"], "H4")})


# --- inside -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 300), timeframe=st.sampled_from(["M15", "H1", "H4", "D1"]))
@settings(max_examples=40, deadline=None)
def test_bars_merged_live_are_those_that_resample_makes(seed: int, count: int, timeframe: str) -> None:
    random = np.random.default_rng(seed)
    times_s = 1_710_000_000 + 60 * np.cumsum(random.integers(1, 40, count))
    frame = pl.DataFrame(
        {
            "time": pl.Series(times_s * 1000).cast(pl.Datetime("ms")),
            **{name: random.integers(1, 50, count).astype(float) for name in ("open", "high", "low", "close")},
            "tick_volume": pl.Series([None if u < 0.5 else int(9 * u) for u in random.random(count)], dtype=pl.Int64),
            "spread_points": pl.Series([None if u < 0.5 else int(9 * u) for u in random.random(count)], dtype=pl.Int32),
            "real_volume": pl.Series([None] * count, dtype=pl.Int64),
        }
    )
    expected = resample(frame, timeframe)
    opens_s, values = merged(bar_open(times_s, timeframe), BaseBars.of(frame, "EURUSD").values)
    assert np.array_equal(opens_s, epoch_s(expected["time"]))
    assert np.array_equal(values, BaseBars.of(expected, "EURUSD").values, equal_nan=True)


def test_live_features_import_no_store_no_trainer_and_no_compiler() -> None:
    code = (
        "import sys\n"
        "import feature_store.features\n"
        "feature_store.features.all_features()\n"
        "print(*({'duckdb', 'torch', 'numba', 'pandas', 'scipy', 'sklearn'} & {*sys.modules}))"
    )
    root = Path(package.__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
