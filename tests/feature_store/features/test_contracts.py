"""What every feature must keep, whoever wrote it: these tests find new ones by themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_store.bars import bar_close, epoch_s
from feature_store.features import Feature, FeatureSet, FeatureSpec, LiveFeatures, all_features, feature
from feature_store.features import _feature as registry
from feature_store.features._context import Timeframes, prepared
from feature_store.features._feature import COLUMNS
from tests.feature_store.features.conftest import POINTS, Market

SPEC = FeatureSpec(names=None, timeframe="H1", context_symbols=("EURUSD", "USDJPY"), symbols=("EURUSD",))
every_feature = pytest.mark.parametrize("one", all_features(), ids=lambda f: f.name)


def only(name: str, **points: float) -> FeatureSet:
    return FeatureSet(FeatureSpec((name,), SPEC.timeframe, SPEC.context_symbols, SPEC.symbols), points=points or POINTS)


def values(features: FeatureSet, market: Market, known_at_s: int | None = None) -> np.ndarray:
    return features.compute(market, "EURUSD", known_at_s=known_at_s).select(features.names).to_numpy()


def cut(market: Market, known_at_s: int, step_s: int = 300) -> Market:
    return {s: b.filter(pl.Series(epoch_s(b["time"]) + step_s <= known_at_s)) for s, b in market.items()}


def equal(left: np.ndarray, right: np.ndarray) -> bool:
    return np.array_equal(left, right, equal_nan=True)


@pytest.fixture
def planted() -> Iterator[None]:
    """Lets a test register features of its own and takes them out again."""
    before = dict(registry._features)
    yield
    registry._features.clear()
    registry._features.update(before)


# --- cutting off the future -------------------------------------------------------------------------------------


def changed_by_the_future(features: FeatureSet, market: Market) -> set[str]:
    whole, changed = features.compute(market, "EURUSD"), set()
    for row in range(40, len(whole), 107):
        known_at_s = int(bar_close(epoch_s(whole["time"][row : row + 1]), "H1")[0])
        part = features.compute(cut(market, known_at_s), "EURUSD", known_at_s=known_at_s)
        assert len(part) == row + 1
        changed |= {n for n in features.names if not part[n].equals(whole[n].head(row + 1), null_equal=True)}
    return changed


@pytest.fixture(scope="session")
def changed(spring: Market) -> set[str]:
    return changed_by_the_future(FeatureSet(SPEC, points=POINTS), spring)


@every_feature
def test_values_do_not_change_when_the_future_is_cut_off(one: Feature, changed: set[str]) -> None:
    assert one.name not in changed


def test_a_feature_that_looks_ahead_is_caught(planted: None, spring: Market) -> None:
    @feature(lookback_bars=1)
    def planted_leak(close: pl.Expr) -> pl.Expr:
        """Next bar's change."""
        return close.shift(-1) / close

    assert changed_by_the_future(only("planted_leak"), spring) == {"planted_leak"}


# --- the declared lookback is enough ----------------------------------------------------------------------------


def worst_live_error(features: FeatureSet, market: Market, T: int, *, rows: int = 10**9) -> float:
    """Largest difference of live windows from history over all rows, or the last `rows`, in standard deviations."""
    frame = features.compute(market, "EURUSD")
    history, opens_s = frame.select(features.names).to_numpy(), epoch_s(frame["time"])
    deviation = np.nanstd(history[features.warmup_bars :].astype(np.float64), axis=0)
    # The tightest buffers that may exist: nothing before the lookback of this window is held.
    live = LiveFeatures(features, "EURUSD", longest_window=T)
    known_s, worst, fed = bar_close(opens_s, "H1"), 0.0, dict.fromkeys(market, 0)
    times = {s: epoch_s(b["time"]) + 300 for s, b in market.items()}
    for row in range(max(features.warmup_bars + T - 1, len(opens_s) - rows), len(opens_s)):
        upto = {s: int(np.searchsorted(t, known_s[row], side="right")) for s, t in times.items()}
        live.update({s: b[fed[s] : upto[s]] for s, b in market.items()})
        fed = upto
        window, expected = live.window(int(opens_s[row]), T), history[row - T + 1 : row + 1]
        if not np.array_equal(np.isnan(window), np.isnan(expected)):
            return math.inf
        worst = max(worst, float(np.nanmax(np.abs(window - expected) / np.where(deviation > 0, deviation, 1.0), initial=0.0)))
    return worst


@pytest.mark.parametrize("season", ["spring", "autumn"])
@pytest.mark.parametrize("T", [1, 16])
def test_the_live_row_equals_history_on_every_row(season: str, T: int, request: pytest.FixtureRequest) -> None:
    market: Market = request.getfixturevalue(season)
    features = FeatureSet(SPEC, points=POINTS)
    assert len(features.compute(market, "EURUSD")) > features.warmup_bars + 300
    assert worst_live_error(features, market, T) < 1e-6


@every_feature
def test_the_declared_lookback_of_each_feature_alone_is_enough(one: Feature, spring: Market) -> None:
    # Every row of all together stands above; here nothing but the feature's own bars is held, over a weekend.
    assert worst_live_error(only(one.name), spring, 1, rows=60) < 1e-6


def test_a_lookback_that_is_declared_too_short_is_caught(planted: None, spring: Market) -> None:
    @feature(lookback_bars=10)
    def planted_short(close: pl.Expr) -> pl.Expr:
        """Change over ten bars, which needs eleven."""
        return close.diff(10) / close

    assert worst_live_error(only("planted_short"), spring, 1, rows=50) == math.inf


def test_a_feature_that_remembers_all_of_history_is_caught(planted: None, spring: Market) -> None:
    @feature(lookback_bars=100)
    def planted_memory(close: pl.Expr) -> pl.Expr:
        """Exponential mean, which never forgets."""
        return close / close.ewm_mean(span=100)

    assert worst_live_error(only("planted_memory"), spring, 1, rows=50) > 1e-6


def test_a_feature_beyond_the_stand_in_is_evaluated_by_polars_live(planted: None, spring: Market) -> None:
    @feature(lookback_bars=12)
    def planted_median(close: pl.Expr, atr: pl.Expr, spread_points: pl.Expr) -> pl.Expr:
        """Close less its rolling median in ATR, where the spread is known."""
        return pl.when(spread_points.is_not_null()).then((close - close.rolling_median(12)) / atr)

    assert worst_live_error(only("planted_median"), spring, 4, rows=200) < 1e-6


# --- scale ------------------------------------------------------------------------------------------------------


Pair = tuple[np.ndarray, np.ndarray]
SCALES = [(1000.0, 1), (1.0, 10), (0.07, 4)]


def scaled_values(names: tuple[str, ...], market: Market, *, price: float, finer: int) -> dict[str, Pair]:
    """Values before and after prices and point are multiplied by `price` and quoted in a `finer` point."""
    scaled = {
        s: b.with_columns(
            *(pl.col(c) * price for c in ("open", "high", "low", "close")),
            (pl.col("spread_points") * finer).alias("spread_points"),
        )
        for s, b in market.items()
    }
    spec = replace(SPEC, names=names)
    before = values(FeatureSet(spec, points=POINTS), market)
    after = values(FeatureSet(spec, points={s: p * price / finer for s, p in POINTS.items()}), scaled)
    return dict(zip(names, zip(before.T, after.T, strict=True), strict=True))


def scale_error(pair: Pair) -> float:
    """Largest relative change."""
    before, after = pair
    if not np.array_equal(np.isnan(before), np.isnan(after)):
        return math.inf
    return float(np.nanmax(np.abs(after - before) / (1 + np.abs(before))))


@pytest.fixture(scope="session")
def scaled(spring: Market) -> list[dict[str, Pair]]:
    names = tuple(f.name for f in all_features() if f.scale_free)
    return [scaled_values(names, spring, price=price, finer=finer) for price, finer in SCALES]


@pytest.mark.parametrize("one", [f for f in all_features() if f.scale_free], ids=lambda f: f.name)
def test_a_scale_free_feature_does_not_change_with_the_unit_of_price(one: Feature, scaled: list[dict[str, Pair]]) -> None:
    assert max(scale_error(pairs[one.name]) for pairs in scaled) < 1e-5


def test_a_price_level_is_caught(planted: None, spring: Market) -> None:
    @feature(lookback_bars=2)
    def planted_level(close: pl.Expr) -> pl.Expr:
        """Change in points, which a finer point multiplies."""
        return close.diff()

    assert scale_error(scaled_values(("planted_level",), spring, price=1.0, finer=10)["planted_level"]) > 0.1


# --- golden values ----------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).parent / "golden" / "features.json"


def embedded() -> Market:
    """M15 bars of two symbols from integer arithmetic alone, the same on every machine and in every version."""
    market = {}
    for symbol, start, state in (("EURUSD", 110_000, 1), ("USDJPY", 150_000, 2)):
        rows, close = [], start
        for i in range(40 * 96):
            open_s = 1_710_082_800 + i * 900  # Sunday 2024-03-10 15:00 UTC, the day on which New York changes its clocks
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            a, b, c, d = (state >> 33) % 61, (state >> 40) % 23, (state >> 45) % 19, (state >> 50) % 500
            weekday = ((open_s - 75_600) // 86400 + 3) % 7
            if weekday in (4, 5) or c == 0:
                continue
            open_, close = close + b % 3 - 1, close + a - 30
            rows.append((open_s, open_, max(open_, close) + b, min(open_, close) - c, close, d + 1, 8 + b))
        columns = list(zip(*rows, strict=True))
        market[symbol] = pl.DataFrame(
            {
                "time": pl.Series(np.array(columns[0]) * 1000).cast(pl.Datetime("ms")),
                **{n: np.array(columns[i]) * POINTS[symbol] for i, n in enumerate(("open", "high", "low", "close"), 1)},
                "tick_volume": columns[5],
                "spread_points": pl.Series(columns[6], dtype=pl.Int32),
                "real_volume": pl.Series([None] * len(rows), dtype=pl.Int64),
            }
        )
    return market


def golden_entry(one: Feature) -> dict[str, object]:
    features = only(one.name)
    column = values(features, embedded())[330::29, 0]
    parameters = {"lookback_bars": one.lookback_bars, **one.parameters}
    return {"version": one.version, "parameters": parameters, "values": [round(float(v), 7) for v in column]}


@every_feature
def test_values_on_the_embedded_frame_change_only_with_the_version(one: Feature) -> None:
    kept = json.loads(GOLDEN.read_text(encoding="utf-8"))
    hint = "raise its version and run `python -m tests.feature_store.features.test_contracts`"
    assert one.name in kept, f"{one.name} is new: {hint.partition(' and ')[2]}"
    found = golden_entry(one)
    assert found["version"] == kept[one.name]["version"], f"{one.name} has another version: {hint.partition(' and ')[2]}"
    assert found["parameters"] == kept[one.name]["parameters"], f"{one.name} has other parameters: {hint}"
    assert found["values"] == pytest.approx(kept[one.name]["values"], rel=1e-6, abs=1e-6, nan_ok=True), hint


def test_the_golden_file_holds_no_feature_that_is_gone() -> None:
    assert set(json.loads(GOLDEN.read_text(encoding="utf-8"))) == {f.name for f in all_features()}


def test_every_column_that_features_may_name_is_known_to_the_frames(spring: Market) -> None:
    frame = prepared(Timeframes(spring).at("EURUSD", "H1"), "H1", 1e-5, COLUMNS)
    assert {*COLUMNS} < {*frame.columns}


def regenerate() -> None:
    """Write golden values of features that are new or have another version; all others stay as they are."""
    kept = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    entries = {f.name: golden_entry(f) for f in all_features()}
    unchanged = {n: kept[n] for n, e in entries.items() if n in kept and kept[n]["version"] == e["version"]}
    lines = (f"  {json.dumps(n)}: {json.dumps(e)}" for n, e in (entries | unchanged).items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    regenerate()
