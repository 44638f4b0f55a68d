"""All features as one writes them in pandas: a second implementation, for speed and for truth.

It shares no line with the features themselves. Bars are those of the set's own timeframe, indexed by their open.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from feature_store.bars import SCHEMA

Columns = dict[str, object]


def in_pandas(bars: pl.DataFrame) -> pd.DataFrame:
    """Bars indexed by their open, UTC."""
    columns = {c: bars[c].to_numpy() for c in SCHEMA if c not in ("time", "real_volume")}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(bars["time"].to_numpy()).tz_localize("UTC"))


def pandas_features(own: pd.DataFrame, lead: pd.DataFrame, point: float, step: pd.Timedelta) -> pd.DataFrame:
    """Every feature of a set with `lead`, a row per bar of `own`. point: of the own symbol. step: length of a bar."""
    known = own.index + step
    out = _returns(own) | _volatility(own) | _estimators(own) | _trend(own) | _swings(own) | _shapes(own)
    out |= _costs(own, point) | _activity(own) | _regime(own["close"]) | _calendar(known)
    out |= _longer(own, known) | _lead(own, lead, step)
    return pd.DataFrame(out, index=own.index)


# --- parts ------------------------------------------------------------------------------------------------------


def _true_range(bars: pd.DataFrame) -> pd.Series:
    previous = bars["close"].shift(1)
    ranges = pd.concat([bars["high"] - bars["low"], (bars["high"] - previous).abs(), (bars["low"] - previous).abs()], axis=1)
    return ranges.max(axis=1).where(previous.notna())


def _atr(bars: pd.DataFrame) -> pd.Series:
    return _true_range(bars).rolling(14).mean()


def _sigma(close: pd.Series, bars: int = 48) -> pd.Series:
    return np.sqrt((close.diff() ** 2).rolling(bars).mean())


def _zscore(column: pd.Series, bars: int = 48) -> pd.Series:
    rolling = column.rolling(bars)
    return (column - rolling.mean()) / rolling.std(ddof=0)


def _weighted(column: pd.Series, weights: np.ndarray) -> pd.Series:
    """Sum of the newest values, each times its weight, the newest first in `weights`."""
    full = np.convolve(column.to_numpy(), weights)[: len(column)]
    full[: len(weights) - 1] = np.nan
    return pd.Series(full, index=column.index)


def _ema_weights(span: int, bars: int) -> np.ndarray:
    raw = (1 - 2 / (span + 1)) ** np.arange(bars)
    return raw / raw.sum()


def _position(bars: pd.DataFrame, n: int) -> pd.Series:
    lowest = bars["low"].rolling(n).min()
    return (bars["close"] - lowest) / (bars["high"].rolling(n).max() - lowest)


def _efficiency(close: pd.Series) -> pd.Series:
    return close.diff(24).abs() / close.diff().abs().rolling(24).sum()


# --- groups -----------------------------------------------------------------------------------------------------


def _returns(own: pd.DataFrame) -> Columns:
    close, sigma = own["close"], _sigma(own["close"])
    change = close.diff()
    out: Columns = {f"scaled_return_{n}": close.diff(n) / (sigma * n**0.5) for n in (1, 3, 6, 12, 24, 120)}
    out["autocorrelation"] = (change * change.shift(1)).rolling(48).mean() / (change**2).rolling(48).mean()
    weights = np.cumprod(np.concatenate(([1.0], (np.arange(1, 95) - 1.4) / np.arange(1, 95))))
    # The binomial series of (1 - L) ** 0.4, and all that is cut off put on the oldest close.
    out["fractional_difference"] = _weighted(close, np.append(weights, -weights.sum())) / sigma
    return out


def _volatility(own: pd.DataFrame) -> Columns:
    close, sigma = own["close"], _sigma(own["close"])
    change = close.diff()
    size = change.abs()
    bipower = np.pi / 2 * (size * size.shift(1)).rolling(47).mean()
    rises, falls = (change.clip(**{side: 0}) ** 2 for side in ("lower", "upper"))
    return {
        "volatility_ratio": _sigma(close, 12) / sigma,
        "normalised_atr": _atr(own) / close * 10_000,
        "volatility_of_volatility": size.rolling(48).std(ddof=0) / size.rolling(48).mean(),
        "jump_share": 1 - bipower / (change**2).rolling(48).mean(),
        "semivariance_balance": (rises - falls).rolling(24).mean() / (rises + falls).rolling(24).mean(),
        "bollinger_width": close.rolling(20).std(ddof=0) / _atr(own),
    }


def _estimators(own: pd.DataFrame) -> Columns:
    open_, high, low, close = (own[c] for c in ("open", "high", "low", "close"))
    parkinson = (high - low) ** 2 / (4 * np.log(2))
    garman_klass = 0.5 * (high - low) ** 2 - (2 * np.log(2) - 1) * (close - open_) ** 2
    rogers_satchell = (high - close) * (high - open_) + (low - close) * (low - open_)
    k = 0.34 / (1.34 + 97 / 95)
    gaps, bodies = (open_ - close.shift(1)).rolling(96).var(), (close - open_).rolling(96).var()
    return {
        "parkinson_ratio": np.sqrt(parkinson.rolling(48).mean()) / _sigma(close),
        "garman_klass_ratio": np.sqrt(garman_klass.rolling(6).mean() / garman_klass.rolling(48).mean()),
        "rogers_satchell_ratio": np.sqrt(rogers_satchell.rolling(24).mean() / parkinson.rolling(24).mean()),
        "yang_zhang": np.sqrt(gaps + k * bodies + (1 - k) * rogers_satchell.rolling(96).mean()) / close * 10_000,
    }


def _trend(own: pd.DataFrame) -> Columns:
    close, atr, change = own["close"], _atr(own), own["close"].diff()
    line = _ema_weights(12, 120) - _ema_weights(26, 120)
    histogram = np.append(line, np.zeros(39)) - np.convolve(line, _ema_weights(9, 40))
    return {
        "momentum": (close.rolling(12).mean() - close.rolling(48).mean()) / atr,
        "distance_to_mean": (close - close.rolling(20).mean()) / atr,
        "rsi": 100 * change.clip(lower=0).rolling(14).sum() / change.abs().rolling(14).sum(),
        "macd_histogram": _weighted(close, histogram) / atr,
        "efficiency_ratio": _efficiency(close),
        **{f"variance_ratio_{n}": (_sigma_of(close.diff(n)) / _sigma_of(change)) ** 2 / n for n in (4, 12)},
        "trend_correlation": close.rolling(24).corr(pd.Series(np.arange(float(len(close))), index=close.index)),
        **_directions(own),
        "aroon": 4.0 * (own["high"].rolling(26).apply(_newest, raw=True) - (-own["low"]).rolling(26).apply(_newest, raw=True)),
    }


def _sigma_of(change: pd.Series) -> pd.Series:
    return np.sqrt((change**2).rolling(96).mean())


def _newest(window: np.ndarray) -> float:
    """Place of the newest highest value."""
    # Prices are counts of a point; as floats equal ones may differ in their last bits.
    return float(len(window) - 1 - np.argmax(np.round(window, 7)[::-1]))


def _directions(own: pd.DataFrame) -> Columns:
    up, down = own["high"].diff().round(7), -own["low"].diff().round(7)
    plus = up.where((up > down) & (up > 0), 0.0).rolling(14).sum()
    minus = down.where((down > up) & (down > 0), 0.0).rolling(14).sum()
    balance = ((plus - minus) / (plus + minus)).where(own["high"].diff().rolling(14).count() == 14)
    return {"directional_balance": balance, "adx": 100 * balance.abs().rolling(14).mean()}


def _swings(own: pd.DataFrame) -> Columns:
    typical = own[["high", "low", "close"]].mean(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(typical.to_numpy(), 14)
    deviation = np.abs(windows - windows.mean(axis=1, keepdims=True)).mean(axis=1)
    cci = (windows[:, -1] - windows.mean(axis=1)) / (0.015 * deviation)
    span = own["high"].rolling(14).max() - own["low"].rolling(14).min()
    return {
        "bollinger_position": _zscore(own["close"], 20),
        "cci": np.concatenate([np.full(13, np.nan), cci]),
        "choppiness": 100 * np.log10(_true_range(own).rolling(14).sum() / span) / np.log10(14),
        "range_position": _position(own, 24),
    }


def _shapes(own: pd.DataFrame) -> Columns:
    open_, high, low, close = (own[c] for c in ("open", "high", "low", "close"))
    span, body = high - low, own[["open", "close"]]
    upper, lower = high - body.max(axis=1), body.min(axis=1) - low
    shared = np.minimum(high, high.shift(1)) - np.maximum(low, low.shift(1))
    return {
        "bar_body": (close - open_) / span,
        "gap": (open_ - close.shift(1)) / _atr(own),
        "upper_wick": upper / span,
        "lower_wick": lower / span,
        "wick_balance": (lower - upper).rolling(12).sum() / span.rolling(12).sum(),
        "bar_size": _true_range(own) / _atr(own),
        "bar_overlap": shared / (high.rolling(2).max() - low.rolling(2).min()),
    }


def _costs(own: pd.DataFrame, point: float) -> Columns:
    spread, high, low = own["spread_points"], own["high"], own["low"]
    # As Corwin & Schultz write it: beta over two bars, gamma of both as one.
    beta = (high - low).pow(2).rolling(2).sum()
    gamma = (high.rolling(2).max() - low.rolling(2).min()) ** 2
    bottom = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / bottom - np.sqrt(gamma / bottom)
    return {
        "spread_zscore": _zscore(spread),
        "spread_atr": spread * point / _atr(own),
        "spread_trend": spread.rolling(6).mean() / spread.rolling(96).mean(),
        "high_low_spread": alpha.clip(lower=0).rolling(24).mean() / _atr(own),
    }


def _activity(own: pd.DataFrame) -> Columns:
    close, volume = own["close"], own["tick_volume"].astype(float)
    change = close.diff().round(7)
    place = (2 * close - own["high"] - own["low"]) / (own["high"] - own["low"])
    thin = [change.abs().rolling(n).sum() / volume.rolling(n).sum() for n in (12, 96)]
    return {
        "tick_volume_zscore": _zscore(volume),
        "volume_trend": volume.rolling(6).mean() / volume.rolling(96).mean(),
        "signed_volume": (np.sign(change) * volume).rolling(24).sum() / volume.rolling(24).sum(),
        "volume_move_correlation": change.abs().rolling(48).corr(volume),
        "illiquidity_ratio": thin[0] / thin[1],
        "money_flow": (place * volume).rolling(21).sum() / volume.rolling(21).sum(),
        "volume_mean_distance": (close - (close * volume).rolling(48).sum() / volume.rolling(48).sum()) / _atr(own),
    }


def _regime(close: pd.Series) -> Columns:
    volatility, trend = _zscore(np.sqrt(_sigma(close, 12)), 192), _zscore(_efficiency(close), 192)
    return {"volatility_regime": volatility, "regime_distance": np.hypot(volatility, trend)}


def _calendar(known: pd.DatetimeIndex) -> Columns:
    new_york = known.tz_convert("America/New_York").tz_localize(None)
    seconds = (new_york - new_york.normalize()).total_seconds().to_numpy()
    opens = {"tokyo": 19, "london": 3, "new_york": 8}
    # The moment of the close belongs to the day that ends with it.
    day = (new_york + pd.Timedelta(hours=7) - pd.Timedelta(seconds=1)).normalize()
    return {
        "new_york_hour_sin": np.sin(2 * np.pi * seconds / 86400),
        "new_york_hour_cos": np.cos(2 * np.pi * seconds / 86400),
        **{f"minutes_since_{name}": (seconds / 60 - hour * 60) % 1440 for name, hour in opens.items()},
        "day_of_week": day.day_of_week.to_numpy().astype(float),
        "days_to_month_end": (day.days_in_month - day.day).to_numpy().astype(float),
    }


# --- context ----------------------------------------------------------------------------------------------------


def _longer_bars(bars: pd.DataFrame, hours: int) -> pd.DataFrame:
    """H4 or D1 bars cut on New York close, indexed by the moment they are known."""
    server = bars.index.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=7)
    grouped = bars.groupby(server.floor(f"{hours}h"))
    longer = grouped.agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    known = longer.index + pd.Timedelta(hours=hours - 7)
    longer.index = known.tz_localize("America/New_York").tz_convert("UTC")
    return longer


def _as_known(values: pd.DataFrame, known: pd.DatetimeIndex) -> pd.DataFrame:
    """Newest values known at each moment."""
    left = pd.DataFrame({"known": known})
    right = values.rename_axis("known").reset_index()
    right["known"] = right["known"].astype(left["known"].dtype)
    return pd.merge_asof(left, right, on="known").drop(columns="known")


def _longer(own: pd.DataFrame, known: pd.DatetimeIndex) -> Columns:
    h4, d1, close = _longer_bars(own, 4), _longer_bars(own, 24), own["close"].to_numpy()
    of_h4 = pd.DataFrame(
        {
            "h4_return": h4["close"].diff(6) / (_sigma(h4["close"]) * 6**0.5),
            "h4_distance_to_mean": (h4["close"] - h4["close"].rolling(20).mean()) / _atr(h4),
            "h4_range_position": _position(h4, 30),
            "h4_volatility_ratio": _sigma(h4["close"], 12) / _sigma(h4["close"]),
        }
    )
    span, days = d1["high"] - d1["low"], _sigma(d1["close"], 10)
    of_d1 = d1.assign(
        d1_return=d1["close"].diff(5) / (days * 5**0.5),
        d1_range_ratio=span / span.rolling(10).mean(),
        sigma=days,
        highest=d1["high"].rolling(10).max(),
        lowest=d1["low"].rolling(10).min(),
    )
    day = {name: column.to_numpy() for name, column in _as_known(of_d1, known).items()}
    return {
        **{name: column.to_numpy() for name, column in _as_known(of_h4, known).items()},
        "d1_return": day["d1_return"],
        "d1_range_ratio": day["d1_range_ratio"],
        "day_before_position": (close - day["low"]) / (day["high"] - day["low"]),
        "day_return": (close - day["close"]) / day["sigma"],
        "days_range_position": (close - day["lowest"]) / (day["highest"] - day["lowest"]),
    }


def _lead(own: pd.DataFrame, lead: pd.DataFrame, step: pd.Timedelta) -> Columns:
    close, theirs = own["close"], lead["close"]
    of_lead = pd.DataFrame(
        {
            "lead_return": theirs.diff(3) / (_sigma(theirs) * 3**0.5),
            "lead_trend": theirs.diff(24) / (_sigma(theirs) * 24**0.5),
            "lead_volatility_ratio": _sigma(theirs, 12) / _sigma(theirs),
            "close": theirs,
        }
    )
    of_lead.index = of_lead.index + step
    known = _as_known(of_lead, own.index + step).set_index(own.index)
    change, beside = close.diff(), known.pop("close")
    moved = beside.diff()
    sizes = [np.sqrt((x**2).rolling(48).mean()) for x in (change, moved, moved.shift(1))]
    together = (change * moved).rolling(48).mean()
    correlation = together / (sizes[0] * sizes[1])
    scores = change / sizes[0], moved / sizes[1]
    odd = scores[0] ** 2 + scores[1] ** 2 - 2 * correlation * scores[0] * scores[1]
    return {
        **{name: column.to_numpy() for name, column in known.items()},
        "lead_correlation": correlation,
        "lead_lag_correlation": (change * moved.shift(1)).rolling(48).mean() / (sizes[0] * sizes[2]),
        "lead_residual": (close.diff(12) - together / sizes[1] ** 2 * beside.diff(12)) / (sizes[0] * 12**0.5),
        "lead_turbulence": np.sqrt(odd / (1 - correlation**2)),
    }
