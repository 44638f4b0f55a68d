"""The live row: the same features from the declared lookback alone, as bars close one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_store._arrays import F32, F64, I64
from feature_store._errors import Final, Retryable
from feature_store.bars import bar_close
from feature_store.clock import from_epoch
from feature_store.features import _context
from feature_store.features._plan import FramePlan
from feature_store.features._series import BaseBars, Series
from feature_store.features._set import FeatureSet

# Trimming copies the bars that stay; once in so many rows it costs nothing.
_SLACK_ROWS = 64


@dataclass(frozen=True)
class _Computed:
    """Values of a context from one of its bars on, kept until its next bar closes: (features then joined columns, bars)."""

    version: int
    known_s: I64
    values: F64


@dataclass(frozen=True)
class _Gathered:
    """What one row window is computed from: columns of the own frame, and the contexts' finished features by position."""

    columns: F64  # (own columns then joined ones, bars)
    finished: list[tuple[list[int], F64]]  # positions in the set, (features, T)


class LiveFeatures:
    """Features of one symbol, fed with closed base bars and asked for the window that ends at a bar.

    Holds as many bars as a window of `longest_window` rows needs and no more. Equal to `FeatureSet.compute`
    at every row that has its lookback.
    """

    def __init__(self, feature_set: FeatureSet, symbol: str, *, longest_window: int = 256) -> None:
        self._set, self._symbol, self._longest = feature_set, symbol, longest_window
        self._sources = {context: feature_set.symbol_of(context, symbol) for context in feature_set.plan}
        self._series = {
            context: Series(plan.timeframe or feature_set.spec.timeframe, feature_set.point(source), plan.columns)
            for (context, plan), source in zip(feature_set.plan.items(), self._sources.values(), strict=True)
        }
        self._newest_s = {source: np.iinfo(np.int64).min for source in self._sources.values()}
        self._computed: dict[str, _Computed] = {}
        flags = feature_set.names[len(feature_set.features) :]
        self._flags = np.array([name == f"is_{symbol.lower()}" for name in flags], dtype=np.float32)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols whose bars `update` takes."""
        return tuple(self._newest_s)

    def update(self, bars: Mapping[str, pl.DataFrame]) -> None:
        """Take newly closed base bars by symbol; those not newer than what was given before are left out.

        Frames have the columns of `bars.SCHEMA`. Symbols that no feature reads are ignored. Raises `Retryable` for a
        bar that belongs to a longer one which a window has used already.
        """
        self.take({source: BaseBars.of(bars[source], source) for source in self._newest_s if source in bars})

    def take(self, bars: Mapping[str, BaseBars]) -> None:
        """`update` with bars that were checked before."""
        for source, newest_s in self._newest_s.items():
            given = bars.get(source)
            if given is None or not len(given):
                continue
            _context.check_step(given.step_s, len(given), self._set.spec.timeframe)
            seen = int(np.searchsorted(given.opens_s, newest_s, side="right"))
            if seen == len(given):
                continue
            self._newest_s[source] = int(given.opens_s[-1])
            for context, of_context in self._sources.items():
                if of_context == source:
                    self._series[context].add(given.opens_s[seen:], given.values[:, seen:])

    def window(self, time_s: int, T: int) -> F32:
        """(T, F) float32: the rows that end at the bar opened at `time_s` (epoch s), as known at its close.

        Raises `Retryable` when that bar has not come or bars before it are missing, `Final` for a T longer than
        `longest_window`.
        """
        found = windows([self], time_s, T)[0]
        if isinstance(found, Retryable):
            raise found
        return found

    def _gather(self, time_s: int, T: int) -> _Gathered:
        if not 1 <= T <= self._longest:
            raise Final(f"a window of {T} rows was asked for; 1 to {self._longest} are held, raise longest_window")
        known_at_s = int(bar_close(np.array([time_s], dtype=np.int64), self._set.spec.timeframe)[0])
        for series in self._series.values():
            series.advance(known_at_s)
        own, lookback_bars = self._series[""], self._set.plan[""].lookback_bars
        end = int(np.searchsorted(own.known_s, known_at_s, side="right"))
        if end == 0 or own.known_s[end - 1] != known_at_s:
            raise Retryable(
                f"{self._symbol}: the bar opened at {from_epoch(time_s)} is not held; update with its base bars first"
            )
        first = end - T - lookback_bars + 1
        if first < 0:
            raise self._too_few("", end, lookback_bars + T - 1)
        columns, finished = [own.rows(first, end)], []
        for context, plan in self._set.plan.items():
            if context:
                computed = self._compute(context, plan, int(own.known_s[end - T - plan.own_depth_bars]))
                # Rows before the context is known serve the lookback of other features; theirs are not read.
                rows = np.maximum(_context.rows_known(computed.known_s, own.known_s[first:end]), 0)
                n = len(plan.features)
                columns.append(computed.values[n:, rows])
                finished.append(([self._set.position[f.name] for f in plan.features], computed.values[:n, rows[-T:]]))
        self._forget(end)
        return _Gathered(np.concatenate(columns), finished)

    def _compute(self, context: str, plan: FramePlan, from_s: int) -> _Computed:
        """Values of a context at its bar known at `from_s` and at all later ones."""
        series = self._series[context]
        held = self._computed.get(context)
        if held is None or held.version != series.version or held.known_s[0] > from_s:
            at = int(np.searchsorted(series.known_s, from_s, side="right")) - 1
            start = at - plan.lookback_bars + 1
            if start < 0:
                raise self._too_few(context, at + 1, plan.lookback_bars)
            with np.errstate(all="ignore"):
                columns = dict(zip(plan.columns, series.rows(start, len(series.known_s)), strict=True))
                values = plan.row_values(columns, len(series.known_s) - at)
            held = self._computed[context] = _Computed(series.version, series.known_s[at:], np.stack([*values.values()]))
        return held

    def _forget(self, end: int) -> None:
        """Drop bars that no later window can need."""
        own, lookback_bars = self._series[""], self._set.plan[""].lookback_bars
        keep = self._longest + lookback_bars - 1
        if end <= keep + _SLACK_ROWS:
            return
        for context, plan in self._set.plan.items():
            series = self._series[context]
            if context:
                oldest_s = own.known_s[end - self._longest - plan.own_depth_bars]
                at = int(np.searchsorted(series.known_s, oldest_s, side="right")) - 1
                series.drop(max(at - plan.lookback_bars + 1, 0))
        own.drop(end - keep)

    def _too_few(self, context: str, held: int, needed: int) -> Retryable:
        timeframe = self._set.plan[context].timeframe or self._set.spec.timeframe
        return Retryable(
            f"{self._symbol}: {held} closed {timeframe} bars of {self._sources[context]} are held, {needed} are needed; "
            "start again with bars from FeatureSet.fetch_from_s on, or earlier"
        )


def windows(of: Sequence[LiveFeatures], time_s: int, T: int) -> list[F32 | Retryable]:
    """`LiveFeatures.window` of several symbols of one feature set, computed together: one pass over the features serves
    them all. A symbol that has no window gets the reason in its place. Raises `Final` for a T longer than is held."""
    found: list[_Gathered | Retryable] = []
    for live in of:
        try:
            found.append(live._gather(time_s, T))
        except Retryable as missing:
            found.append(missing)
    ready = [(live, at) for live, at in zip(of, found, strict=True) if isinstance(at, _Gathered)]
    if not ready:
        return [at for at in found if isinstance(at, Retryable)]
    made = iter(_evaluated(ready, T))
    return [at if isinstance(at, Retryable) else next(made) for at in found]


def _evaluated(ready: Sequence[tuple[LiveFeatures, _Gathered]], T: int) -> F32:
    """(symbols, T, F) float32."""
    features = ready[0][0]._set
    plans = [plan for context, plan in features.plan.items() if context]
    names = (*features.plan[""].columns, *(name for plan in plans for name in plan.joined_names))
    columns = np.stack([gathered.columns for _, gathered in ready], axis=1)
    out = np.empty((len(ready), T, len(features.names)), dtype=np.float32)
    with np.errstate(all="ignore"):  # what has no value comes out as NaN or infinite, and is dealt with below
        for name, values in features.plan[""].row_values(dict(zip(names, columns, strict=True)), T).items():
            out[:, :, features.position[name]] = values
        for rows, (live, gathered) in zip(out, ready, strict=True):
            for positions, values in gathered.finished:
                rows[:, positions] = values.T
            rows[:, len(features.features) :] = live._flags
    # A ratio to nothing is unknown, not infinite: no infinity may reach a model.
    out[~np.isfinite(out)] = np.nan
    return out
