"""Values of a second library, talipp, which shares no line and no method with ours: it steps over lists, bar by bar.

It reads prices as counts of a point, as features do. Its ATR is Wilder's, which never forgets; ours is a plain mean
of the true range, so it is made there from its own parts: SMA over ATR(1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from talipp import indicators as ta
from talipp.ohlcv import OHLCV

from feature_store.bars import conform, resample
from feature_store.features import FeatureSet, FeatureSpec
from feature_store.features._context import points
from tests.feature_store.features.conftest import Market

Values = np.ndarray


@dataclass(frozen=True)
class Candles:
    """Bars as talipp takes them, and as arrays."""

    rows: list[OHLCV]
    close: Values
    volume: Values
    spread: Values

    @classmethod
    def of(cls, bars: pl.DataFrame, point: float) -> Candles:
        open_, high, low, close = (points(bars[c].to_numpy(), point) for c in ("open", "high", "low", "close"))
        volume, spread = (bars[c].to_numpy().astype(float) for c in ("tick_volume", "spread_points"))
        counts = [open_.tolist(), high.tolist(), low.tolist(), close.tolist(), volume.tolist()]
        return cls([OHLCV(*row) for row in zip(*counts, strict=True)], close.astype(float), volume, spread)

    @property
    def closes(self) -> list[float]:
        return self.close.tolist()

    @property
    def atr(self) -> Values:
        return array(ta.SMA(14, input_values=[*ta.ATR(1, self.rows)]), lost=1)


def array(values: ta.Indicator, field: str = "", *, lost: int = 0) -> Values:
    """An indicator's values; NaN for its first `lost`, and where it has none."""
    read = (None if v is None else getattr(v, field) if field else v for v in values)
    out = np.array([np.nan if v is None else v for v in read], dtype=float)
    out[:lost] = np.nan  # its first true range has no close before it
    return out


def moved(values: Values, n: int) -> Values:
    """Change over `n` bars."""
    return np.concatenate([np.full(n, np.nan), values[n:] - values[:-n]])


def mean(values: Values, n: int) -> Values:
    return array(ta.SMA(n, values.tolist()))


def zscore(values: Values, n: int) -> Values:
    return (values - mean(values, n)) / array(ta.StdDev(n, values.tolist()))


def bollinger_position(c: Candles) -> Values:
    bands = ta.BB(20, 1.0, c.closes)
    return (c.close - array(bands, "cb")) / (array(bands, "ub") - array(bands, "cb"))


def lower_wick(c: Candles) -> Values:
    # Where the close stands in the bar, less the body of a bar that rose.
    return array(ta.IBS(c.rows)) - np.maximum(array(ta.BOP(c.rows)), 0)


def donchian(c: Candles) -> Values:
    channel = ta.DonchianChannels(24, c.rows)
    return (c.close - array(channel, "lb")) / (array(channel, "ub") - array(channel, "lb"))


SECOND: dict[str, Callable[[Candles], Values]] = {
    "aroon": lambda c: array(ta.Aroon(25, c.rows), "up") - array(ta.Aroon(25, c.rows), "down"),
    "bar_body": lambda c: array(ta.BOP(c.rows)),
    "bollinger_position": bollinger_position,
    "bollinger_width": lambda c: array(ta.StdDev(20, c.closes)) / c.atr,
    "cci": lambda c: array(ta.CCI(14, c.rows)),
    "choppiness": lambda c: array(ta.CHOP(14, c.rows), lost=14),
    "distance_to_mean": lambda c: (c.close - mean(c.close, 20)) / c.atr,
    "lower_wick": lower_wick,
    "momentum": lambda c: (mean(c.close, 12) - mean(c.close, 48)) / c.atr,
    "money_flow": lambda c: moved(array(ta.AccuDist(c.rows)), 21) / (21 * mean(c.volume, 21)),
    "normalised_atr": lambda c: c.atr / c.close * 10_000,
    "range_position": lambda c: array(ta.Stoch(24, 3, c.rows), "k") / 100,
    "signed_volume": lambda c: moved(array(ta.OBV(c.rows)), 24) / (24 * mean(c.volume, 24)),
    "spread_zscore": lambda c: zscore(c.spread, 48),
    "tick_volume_zscore": lambda c: zscore(c.volume, 48),
    "volume_mean_distance": lambda c: (c.close - array(ta.VWMA(48, c.rows))) / c.atr,
}


def prices_only(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars that a second opinion exists on: talipp gives none for a bar of no range."""
    return bars.filter(pl.col("high") > pl.col("low"))


def ours(bars: pl.DataFrame, point: float) -> dict[str, Values]:
    features = FeatureSet(FeatureSpec(None, "H1", symbols=("EURUSD",)), points={"EURUSD": point})
    frame = features.compute({"EURUSD": bars}, "EURUSD")
    return {name: frame[name].to_numpy().astype(float) for name in features.names} | {"rows": np.array([len(frame)])}


@pytest.fixture(scope="module")
def generated(spring: Market) -> pl.DataFrame:
    return prices_only(resample(spring["EURUSD"], "H1")).with_columns(pl.col("spread_points").fill_null(9))


def compare(bars: pl.DataFrame, point: float, names: set[str]) -> None:
    computed = ours(bars, point)
    rows = int(computed["rows"][0])
    candles = Candles.of(bars.head(rows), point)
    for name in sorted(names):
        theirs, own = SECOND[name](candles), computed[name]
        assert np.isfinite(own[60:]).mean() > 0.95, name
        known = np.isfinite(own) & np.isfinite(theirs)
        assert known.sum() > 0.9 * (rows - 60), name
        # Ours are float32; theirs add up floats of a long sum.
        assert np.allclose(own[known], theirs[known], rtol=2e-5, atol=2e-6 * np.nanmax(np.abs(theirs[known]))), name


def test_sixteen_features_agree_with_the_second_library(generated: pl.DataFrame) -> None:
    compare(generated, 1e-5, {*SECOND})
    assert len(SECOND) == 16


def macd_error(bars: pl.DataFrame, point: float) -> float:
    """Largest difference of the MACD histogram, as a share of what the cut-off tails allow at that row."""
    computed = ours(bars, point)
    rows = int(computed["rows"][0])
    candles = Candles.of(bars.head(rows), point)
    theirs = array(ta.MACD(12, 26, 9, candles.closes), "histogram") / candles.atr
    # A mean that forgets nothing differs from its finite window by the weight of what lies before it, times at most
    # the range of all closes so far; the signal line takes that over and adds the same of its own, of the line.
    spans = np.maximum.accumulate(candles.close) - np.minimum.accumulate(candles.close)
    tails = [(1 - 2 / (span + 1)) ** kept for span, kept in ((12, 120), (26, 120), (9, 40))]
    line = np.abs(np.nan_to_num(array(ta.MACD(12, 26, 9, candles.closes), "macd"))).max()
    allowed = (2 * (tails[0] + tails[1]) * spans + 2 * tails[2] * line) / candles.atr + 1e-6
    found = np.abs(computed["macd_histogram"] - theirs)
    assert np.isfinite(found[200:]).all()
    # That bound takes every old close for an extreme one. What is really lost is far less.
    assert found[200:].max() < 0.02 * np.nanstd(theirs)
    return float((found / allowed)[200:].max())


def test_macd_differs_from_one_that_never_forgets_by_the_weight_of_what_it_forgets(generated: pl.DataFrame) -> None:
    assert macd_error(generated, 1e-5) < 1


def kaufman_error(bars: pl.DataFrame, point: float) -> float:
    """Largest difference, in points, of Kaufman's moving average stepped with our efficiency ratio from theirs."""
    computed = ours(bars, point)["efficiency_ratio"]
    candles = Candles.of(bars.head(len(computed)), point)
    theirs = array(ta.KAMA(24, 2, 30, candles.closes))
    fast, slow = 2 / 3, 2 / 31
    start = int(np.flatnonzero(np.isfinite(theirs) & np.isfinite(computed))[0])
    step, worst = theirs[start], 0.0
    for row in range(start + 1, len(computed)):
        step += (computed[row] * (fast - slow) + slow) ** 2 * (candles.close[row] - step)
        worst = max(worst, abs(step - theirs[row]))
    return worst


def test_kaufman_s_average_comes_out_of_our_efficiency_ratio(generated: pl.DataFrame) -> None:
    assert kaufman_error(generated, 1e-5) < 0.01


# --- real bars --------------------------------------------------------------------------------------------------


@pytest.fixture
def real(real_data: Path) -> Callable[[str], pl.DataFrame]:
    def read(file: str) -> pl.DataFrame:
        frame = pl.read_parquet(real_data / "bars" / f"{file}.parquet").rename({"spread": "spread_points"})
        return prices_only(conform(frame)[-4000:])

    return read


@pytest.mark.real_data
def test_on_real_bars_with_volume_they_agree_too(real: Callable[[str], pl.DataFrame]) -> None:
    compare(real("XAUUSD_H1_vj"), 0.01, {*SECOND} - {"spread_zscore"})


@pytest.mark.real_data
def test_on_real_bars_with_spread_they_agree_too(real: Callable[[str], pl.DataFrame]) -> None:
    bars = real("EURUSD_H1_ln").with_columns(pl.lit(1, dtype=pl.Int64).alias("tick_volume"))
    volume = {"money_flow", "signed_volume", "tick_volume_zscore", "volume_mean_distance"}
    compare(bars, 1e-5, {*SECOND} - volume)


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "point"), [("EURUSD_H1_ln", 1e-5), ("XAUUSD_H1_vj", 0.01)])
def test_on_real_bars_the_finite_windows_hold_what_they_promise(
    file: str, point: float, real: Callable[[str], pl.DataFrame]
) -> None:
    assert macd_error(real(file), point) < 1
    assert kaufman_error(real(file), point) < 0.01
