"""Lines of the trader: one pipeline's champion on one symbol, from closed bars to a signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_store._arrays import F32
from feature_store._errors import Retryable as NotYet
from feature_store.atr import atr
from feature_store.bars import bar_close, bar_open, seconds
from feature_store.features import EXTENSIONS, BaseBars, FeatureSet, FeatureSpec, LiveFeatures, live_windows
from serving import decision
from serving._errors import Final
from serving.bundle import Alias, Bundle, load_current, pointers
from serving.decision import DecisionSpec
from serving.manifest import Manifest
from serving.model import OnnxModel
from serving.settings import RiskSettings, tightened

Silent = NotYet | Final
"""Why a line says nothing at a bar."""

_KEPT_BARS = 1000  # of the line's own timeframe, beyond the horizon: for ATR and for counting how long positions are held


@dataclass(frozen=True)
class Opinion:
    """What a line says at one bar."""

    probabilities: tuple[float, float, float]
    side: int
    confidence: float
    atr: float


class OwnBars:
    """Closed bars of one symbol on the line's timeframe, as far back as ATR and open positions need."""

    def __init__(self, timeframe: str, keep: int) -> None:
        self._timeframe, self._keep = timeframe, keep
        self.opens = np.empty(0, dtype=np.int64)
        self._prices = np.empty((3, 0))  # high, low, close
        self._waiting_s = np.empty(0, dtype=np.int64)  # base bars of an own bar that is still forming
        self._waiting = np.empty((3, 0))
        self._newest_base_s = -1

    def add(self, base: BaseBars, known_at_s: int) -> None:
        """Takes closed base bars, oldest first; bars that were taken before change nothing."""
        new = int(np.searchsorted(base.opens_s, self._newest_base_s, side="right"))
        times = np.concatenate([self._waiting_s, base.opens_s[new:]])
        prices = np.concatenate([self._waiting, base.high_low_close[:, new:]], 1)
        if not len(times):
            return
        self._newest_base_s = max(self._newest_base_s, int(times[-1]))
        own = bar_open(times, self._timeframe)
        starts = np.flatnonzero(np.diff(own, prepend=own[0] - 1))
        opens = own[starts]
        ends = np.append(starts[1:], len(own)) - 1
        whole = np.stack([np.maximum.reduceat(prices[0], starts), np.minimum.reduceat(prices[1], starts), prices[2][ends]])
        known = int(np.searchsorted(bar_close(opens, self._timeframe), known_at_s, side="right"))
        self.opens = np.concatenate([self.opens, opens[:known]])[-self._keep :]
        self._prices = np.concatenate([self._prices, whole[:, :known]], 1)[:, -self._keep :]
        rest = int(starts[known]) if known < len(starts) else len(times)
        self._waiting_s, self._waiting = times[rest:], prices[:, rest:]

    def atr(self, bar_s: int, atr_bars: int) -> float:
        """Average true range in price units, of the bar that opened at `bar_s`; NaN when it or its past is missing."""
        end = int(np.searchsorted(self.opens, bar_s, side="right"))
        if end == 0 or self.opens[end - 1] != bar_s:
            return math.nan
        high, low, close = (np.ascontiguousarray(p) for p in self._prices[:, max(0, end - atr_bars - 1) : end])
        return float(atr(high, low, close, atr_bars)[-1])

    def held_since(self, bar_s: int) -> int:
        """Closed bars after the one that opened at `bar_s`."""
        return int((self.opens > bar_s).sum())


class Line:
    """One (pipeline, symbol) with the bundle it trades now. `Final` when the model does not fit this program."""

    def __init__(self, bundle: Bundle, model: OnnxModel, features: FeatureSet, symbol: str, risk: RiskSettings) -> None:
        manifest = model.manifest
        if symbol not in manifest.symbols:
            raise Final(f"{manifest.pipeline}: its model learned {', '.join(manifest.symbols)}, not {symbol}; retrain with it")
        self.pipeline, self.symbol = bundle.promotion.pipeline, symbol
        self.name = line_name(self.pipeline, symbol)
        self.bundle, self.model, self.manifest = bundle, model, manifest
        self.timeframe, self.base_timeframe = manifest.timeframe, manifest.base_timeframe
        self.spec: DecisionSpec = tightened(manifest.decision, risk)
        self._features = features
        self.live = LiveFeatures(features, symbol, longest_window=manifest.window_bars)
        self._own = OwnBars(self.timeframe, self.spec.horizon_bars + _KEPT_BARS)
        self.last_base_s: int | None = None
        """Open time (epoch s) of the newest base bar taken; None before warm-up."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols whose base bars it must be given, its own first."""
        return (self.symbol, *(s for s in self.live.symbols if s != self.symbol))

    def warmup_from_s(self, now_s: int) -> int:
        """Moment from which base bars are needed before its first window."""
        newest_s = int(bar_open(np.array([now_s]), self.timeframe)[0])
        past_s = (int(self.manifest.label["atr_bars"]) + 1) * seconds(self.timeframe)
        own_s = newest_s - past_s * 7 // 5 - 7 * 86400
        return min(self._features.fetch_from_s(newest_s, self.symbol, self.manifest.window_bars), own_s)

    def take(self, bars: Mapping[str, BaseBars], known_at_s: int) -> None:
        """Closed base bars of its symbols, oldest first; repeats change nothing."""
        self.live.take(bars)
        own = bars[self.symbol]
        if len(own):
            self._own.add(own, known_at_s)
            self.last_base_s = max(self.last_base_s or 0, int(own.opens_s[-1]))

    def opinion(self, probabilities: Sequence[float], bar_s: int) -> Opinion:
        """What the model's answer at the bar that opened at `bar_s` means for this line."""
        short, flat, long = (float(p) for p in probabilities)
        side = decision.signal(short, flat, long, self.spec)
        sure = decision.confidence(short, long, side)
        return Opinion((short, flat, long), side, sure, self._own.atr(bar_s, int(self.manifest.label["atr_bars"])))

    def has_bar(self, bar_s: int) -> bool:
        """Whether the bar that opened at `bar_s` was taken and is closed."""
        return bool(len(self._own.opens)) and bool((self._own.opens[-8:] == bar_s).any())

    def held_since(self, bar_s: int) -> int:
        return self._own.held_since(bar_s)


def opinions(lines: Sequence[Line], bar_s: int, held: Mapping[str, int]) -> dict[str, Opinion | Silent]:
    """What each line says at the bar that opened at `bar_s`, or why it says nothing; by name of line.

    held: side of the position by name of line, for models that ask. Lines of one bundle are asked together.
    """
    said: dict[str, Opinion | Silent] = {}
    by_bundle: dict[str, list[Line]] = {}
    for line in lines:
        by_bundle.setdefault(line.bundle.sha256, []).append(line)
    for together in by_bundle.values():
        windows = live_windows([line.live for line in together], bar_s, together[0].manifest.window_bars)
        asked = []
        for line, window in zip(together, windows, strict=True):
            if isinstance(window, NotYet):
                said[line.name] = window
            else:
                asked.append((line, window))
        said |= _answers(asked, bar_s, held)
    return said


def _answers(asked: Sequence[tuple[Line, F32]], bar_s: int, held: Mapping[str, int]) -> dict[str, Opinion | Silent]:
    if not asked:
        return {}
    model = asked[0][0].model
    sides = np.array([held.get(line.name, 0) for line, _ in asked], dtype=np.float32)
    try:
        answers = model.probabilities(np.stack([window for _, window in asked]), sides if model.uses_position else None)
    except Final as refused:
        if len(asked) == 1:
            return {asked[0][0].name: refused}
        # One line's answer is no probability: the others are not silenced by it.
        return {name: what for one in asked for name, what in _answers([one], bar_s, held).items()}
    return {line.name: line.opinion(answer, bar_s) for (line, _), answer in zip(asked, answers, strict=True)}


class Library:
    """Loads lines; graphs and feature sets are shared by the lines of one pipeline."""

    def __init__(self, home: Path, risk: RiskSettings, point_of: Callable[[str], float], *, alias: Alias, live: bool) -> None:
        self._home, self._risk, self._point_of, self._alias, self._live = home, risk, point_of, alias, live
        self._loaded: dict[str, tuple[Bundle, OnnxModel, FeatureSet]] = {}

    def line(self, pipeline: str, symbol: str) -> Line:
        """The line with the pipeline's verified champion. Raises as `bundle.load_current` does."""
        digest, _ = pointers(self._home, pipeline, alias=self._alias)
        if digest is None or digest not in self._loaded:
            bundle = load_current(self._home, pipeline, alias=self._alias, live=self._live)
            model = OnnxModel.load(bundle.model)
            named = {*model.manifest.symbols, *model.manifest.context}
            points = {name: self._point_of(name) for name in named}
            features = feature_set_of(model.manifest, points, extensions=self._home / EXTENSIONS)
            model.require(features.hash)
            self._loaded[bundle.sha256] = (bundle, model, features)
            digest = bundle.sha256
        bundle, model, features = self._loaded[digest]
        return Line(bundle, model, features, symbol, self._risk)

    def promoted(self, pipeline: str) -> str | None:
        """Digest of the bundle that should trade now."""
        return pointers(self._home, pipeline, alias=self._alias)[0]


def feature_set_of(manifest: Manifest, points: Mapping[str, float], *, extensions: Path | None = None) -> FeatureSet:
    """The feature set that the manifest names, the user's own features from `extensions`; its hash still has to be compared."""
    flags = {f"is_{symbol.lower()}" for symbol in manifest.symbols} if len(manifest.symbols) > 1 else set()
    names = tuple(name for name in manifest.features if name not in flags)
    spec = FeatureSpec(names=names, timeframe=manifest.timeframe, context_symbols=manifest.context, symbols=manifest.symbols)
    return FeatureSet(spec, points=points, extensions=extensions)


def line_name(pipeline: str, symbol: str) -> str:
    """Name of a line in the journal."""
    return f"{pipeline}/{symbol}"


__all__ = ["Library", "Line", "NotYet", "Opinion", "OwnBars", "feature_set_of", "line_name", "opinions"]
