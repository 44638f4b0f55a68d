"""A set of features: which ones, in which order, on which bars, and the hash of what they mean."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from feature_store._errors import Final
from feature_store.bars import SECONDS, seconds
from feature_store.features import _context
from feature_store.features._feature import Feature, Number, all_features, measure_named
from feature_store.features._plan import FramePlan, plan_of
from feature_store.symbols import assumed_spec

SCHEMA = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureSpec:
    """What to compute. names: None takes every feature that timeframe and context allow. Symbols in upper case.

    context_symbols: other markets that may be read; `lead` is the first of them that is not the row's own.
    symbols: those that one model serves; more than one adds a 0/1 column each. parameters: by feature name,
    values that replace what the feature declares.
    """

    names: tuple[str, ...] | None
    timeframe: str
    context_symbols: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ("EURUSD",)
    parameters: Mapping[str, Mapping[str, Number]] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """The spec in types of JSON."""
        return json.loads(json.dumps({"schema": SCHEMA} | asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FeatureSpec:
        """The spec that `as_dict` wrote. Raises `Final` for a newer schema."""
        if document["schema"] > SCHEMA:
            raise Final(f"feature spec has schema {document['schema']}, this version reads up to {SCHEMA}; update tradewind")
        names = document["names"]
        return cls(
            names=None if names is None else tuple(names),
            timeframe=document["timeframe"],
            context_symbols=tuple(document["context_symbols"]),
            symbols=tuple(document["symbols"]),
            parameters={name: dict(values) for name, values in document["parameters"].items()},
        )


class FeatureSet:
    """Features ready to compute. `spec` has its names spelled out, so that a feature added later changes nothing.

    points: smallest price step by symbol, from the broker's specification; the usual one where not given.
    extensions: folder of the user's own features. Its files are read only where the spec names one of theirs, or all.
    """

    def __init__(self, spec: FeatureSpec, *, points: Mapping[str, float] | None = None, extensions: Path | None = None) -> None:
        seconds(spec.timeframe)  # raises for a name that is none
        if not spec.symbols or len({*spec.symbols}) < len(spec.symbols):
            raise Final(f"symbols are {spec.symbols}; name at least one, and each once")
        if lower := [s for s in (*spec.symbols, *spec.context_symbols) if s != s.upper()]:
            raise Final(f"symbol {lower[0]!r} is not in upper case; write {lower[0].upper()}")
        self._points = dict(points or {})
        available = {f.name: f for f in all_features()}
        if extensions is not None and (spec.names is None or not available.keys() >= {*spec.names}):
            available |= {f.name: f for f in all_features(extensions)}
        names = spec.names if spec.names is not None else tuple(n for n, f in available.items() if _allowed(f, spec))
        if not names or len({*names}) < len(names):
            raise Final(f"features are {names}; name at least one, and each once")
        unknown = [n for n in (*names, *spec.parameters) if n not in available]
        if unknown:
            near = difflib.get_close_matches(unknown[0], available, 1)
            raise Final(
                f"feature {unknown[0]!r} is not known; {f'did you mean {near[0]}?' if near else 'see tradewind features'}"
            )
        self.spec = replace(spec, names=names)
        self.features = tuple(available[n].with_parameters(spec.parameters.get(n, {})) for n in names)
        for feature in self.features:
            _check_context(feature, spec)
        self.plan: dict[str, FramePlan] = plan_of(self.features)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Columns in order: the features, then `is_eurusd` and so on when there are several symbols."""
        several = self.spec.symbols if len(self.spec.symbols) > 1 else ()
        return (*(f.name for f in self.features), *(f"is_{s.lower()}" for s in several))

    @cached_property
    def position(self) -> dict[str, int]:
        """Column of each feature in `names`."""
        return {name: at for at, name in enumerate(self.names)}

    @cached_property
    def hash(self) -> str:
        """sha256 of what the columns mean: names in order, parameters, versions, timeframe and context."""
        meaning = {
            "schema": SCHEMA,
            "names": self.names,
            "timeframe": self.spec.timeframe,
            "context_symbols": self.spec.context_symbols,
            "features": [_meaning(f) for f in self.features],
        }
        return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @cached_property
    def lookback(self) -> dict[str, int]:
        """Bars of each timeframe that one row needs, over all symbols."""
        bars: dict[str, int] = {}
        for by_timeframe in (b for symbol in self.spec.symbols for b in self.needs(symbol).values()):
            for timeframe, count in by_timeframe.items():
                bars[timeframe] = max(bars.get(timeframe, 0), count)
        return bars

    @cached_property
    def warmup_bars(self) -> int:
        """Rows at the start that lack some of their lookback, in bars of the set's timeframe."""
        own_s = seconds(self.spec.timeframe)
        # One bar more than the lookback: history may begin in the middle of its first bar.
        rows = [self.plan[""].lookback_bars]
        for plan in (p for context, p in self.plan.items() if context):
            ratio = seconds(plan.timeframe) / own_s if plan.timeframe else 1.0
            # A day of 25 hours, for feeds that quote through the night in which clocks change, has a row more.
            daylight = 2 if ratio > 1 else 0
            rows.append(math.ceil((plan.lookback_bars + 1) * ratio) + daylight + plan.own_depth_bars)
        return max(rows)

    def symbol_of(self, context: str, symbol: str) -> str:
        """Symbol whose bars `context` means for a row of `symbol`."""
        if not context or context.upper() in SECONDS:
            return symbol
        if context == "lead":
            return next(s for s in self.spec.context_symbols if s != symbol)
        return context.upper()

    def needs(self, symbol: str, T: int = 1) -> dict[str, dict[str, int]]:
        """Bars that a window of `T` rows of `symbol` needs: by symbol, its own included, and timeframe."""
        self._check_symbol(symbol)
        bars: dict[str, dict[str, int]] = {}
        for context, plan in self.plan.items():
            timeframe = plan.timeframe or self.spec.timeframe
            rows = plan.own_depth_bars + T
            # Own rows lie in at most as many longer bars, and the first needs the one closed before it.
            count = plan.lookback_bars + (rows - 1 if timeframe == self.spec.timeframe else _spanned(rows, timeframe, self.spec))
            of_symbol = bars.setdefault(self.symbol_of(context, symbol), {})
            of_symbol[timeframe] = max(of_symbol.get(timeframe, 0), count)
        return bars

    def fetch_from_s(self, time_s: int, symbol: str, T: int = 1) -> int:
        """Moment (epoch s) from which to fetch base bars, so that a window that ends at the bar opened at `time_s` is full.

        Allows for weekends and a closed week; a market with larger holes needs more, and `LiveFeatures` says so.
        """
        longest = max(count * seconds(t) for by_timeframe in self.needs(symbol, T).values() for t, count in by_timeframe.items())
        return time_s - longest * 7 // 5 - 7 * 86400

    def point(self, symbol: str) -> float:
        """Smallest price step of `symbol`."""
        if symbol not in self._points:
            self._points[symbol] = assumed_spec("", symbol).point
        return self._points[symbol]

    def compute(self, base: Mapping[str, pl.DataFrame], symbol: str, *, known_at_s: int | None = None) -> pl.DataFrame:
        """Frame of `time` (bar open) and `names` (Float32, NaN where unknown), a row per bar known at `known_at_s`.

        base: by symbol, bars of `bars.SCHEMA` of the stored timeframe, the set's own or shorter, in time order.
        known_at_s: None takes the close of the last base bar; a bar that may still be forming gives no row.
        """
        self._check_symbol(symbol)
        for context in self.plan:
            self._check_bars(base, context, symbol)
        if known_at_s is None:
            known_at_s = int(_context.opens_s(base[symbol])[-1]) + _context.step_s(base[symbol])
        bars = _context.Timeframes(base)
        own = self._frame(bars, "", symbol).filter(pl.col("known_s") <= known_at_s)
        columns = [own]
        known_s = own["known_s"].to_numpy()
        for context, plan in self.plan.items():
            if context:
                frame = self._frame(bars, context, symbol)
                rows = _context.rows_known(frame["known_s"].to_numpy(), known_s)
                columns.append(_context.gathered(plan.values(frame), rows))
        wide = pl.concat(columns, how="horizontal")
        return wide.select("time").hstack(self._finished(wide.hstack(self.plan[""].values(wide)), symbol))

    def _frame(self, bars: _context.Timeframes, context: str, symbol: str) -> pl.DataFrame:
        plan, source = self.plan[context], self.symbol_of(context, symbol)
        timeframe = plan.timeframe or self.spec.timeframe
        return _context.prepared(bars.at(source, timeframe), timeframe, self.point(source), plan.columns)

    def _check_bars(self, base: Mapping[str, pl.DataFrame], context: str, symbol: str) -> None:
        source = self.symbol_of(context, symbol)
        if source not in base:
            raise Final(f"{symbol}: features read {source} ({context or 'own bars'}), whose bars are not given; add them")
        if source != symbol or not context:
            _context.check_order(base[source], source)
            if _context.is_off_grid(base[source], self.point(source)):
                _log.warning(
                    "%s: prices are finer than its point %g and get rounded; give its real point", source, self.point(source)
                )

    def _finished(self, wide: pl.DataFrame, symbol: str) -> pl.DataFrame:
        values = (pl.col(f.name).cast(pl.Float32) for f in self.features)
        # A ratio to nothing is unknown, not infinite: no infinity may reach a model.
        finite = [pl.when(v.is_finite()).then(v).otherwise(math.nan).cast(pl.Float32) for v in values]
        return wide.select(*finite, *self.symbol_columns(symbol))

    def symbol_columns(self, symbol: str) -> list[pl.Expr]:
        """The 0/1 column of each symbol for rows of `symbol`; none when there is one symbol."""
        return [
            pl.lit(1.0 if name == f"is_{symbol.lower()}" else 0.0, dtype=pl.Float32).alias(name)
            for name in self.names[len(self.features) :]
        ]

    def _check_symbol(self, symbol: str) -> None:
        if symbol not in self.spec.symbols:
            raise Final(f"symbol {symbol!r} is not one of this set's; use {', '.join(self.spec.symbols)}")


def _spanned(rows: int, timeframe: str, spec: FeatureSpec) -> int:
    return math.ceil(rows * seconds(spec.timeframe) / seconds(timeframe)) + 1


def _meaning(feature: Feature) -> dict[str, Any]:
    measures = [m for m in (measure_named(i.column) for i in feature.inputs) if m]
    source = {"source": feature.digest} if feature.digest else {}
    return source | {
        "name": feature.name,
        "version": feature.version,
        "lookback_bars": feature.lookback_bars,
        "parameters": dict(feature.parameters),
        "inputs": [i.name for i in feature.inputs],
        "measures": [[m.name, m.version, m.lookback_bars] for m in measures],
    }


def _allowed(feature: Feature, spec: FeatureSpec) -> bool:
    try:
        _check_context(feature, spec)
    except Final:
        return False
    return True


def _check_context(feature: Feature, spec: FeatureSpec) -> None:
    for context in {i.context for i in feature.inputs} - {""}:
        if context.upper() in SECONDS:
            if seconds(context.upper()) <= seconds(spec.timeframe):
                raise Final(f"feature {feature.name} reads {context.upper()} bars, not longer than the set's {spec.timeframe}")
        elif context == "lead":
            if lost := [s for s in spec.symbols if not any(c != s for c in spec.context_symbols)]:
                raise Final(f"feature {feature.name} needs a lead symbol for {lost[0]}; add one to context_symbols")
        elif context.upper() not in spec.context_symbols:
            raise Final(f"feature {feature.name} reads {context.upper()}; add it to context_symbols")
