"""What a set of features needs of each frame, worked out once from the features' own declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from feature_store._arrays import F64
from feature_store.bars import SECONDS
from feature_store.features._column import Column
from feature_store.features._feature import Feature, Measure, measure_named


@dataclass(frozen=True)
class FramePlan:
    """Work on one frame: the row's own bars (`context` empty), a longer timeframe, or another symbol.

    columns: bar columns it must hold. joined: columns and measures that features of the own frame read.
    lookback_bars: bars of this frame that one value needs, its own included.
    own_depth_bars: own bars before the row at which this frame must be known already.
    """

    context: str
    columns: tuple[str, ...]
    measures: tuple[Measure, ...]
    features: tuple[Feature, ...]
    joined: tuple[str, ...]
    lookback_bars: int
    own_depth_bars: int

    @property
    def timeframe(self) -> str | None:
        """Timeframe of this context; None where it is a symbol on the set's own timeframe."""
        return self.context.upper() if self.context.upper() in SECONDS else None

    @property
    def joined_names(self) -> tuple[str, ...]:
        """What joined columns are called beside the own ones."""
        return tuple(f"{self.context}.{name}" for name in self.joined)

    def values(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Features, then joined columns named `context.column`, at every row of `frame`."""
        frame = frame.with_columns(m.expression() for m in self.measures)
        joined = [pl.col(name).alias(joined) for name, joined in zip(self.joined, self.joined_names, strict=True)]
        return frame.select(*(f.expression() for f in self.features), *joined)

    def row_values(self, columns: Mapping[str, F64], rows: int) -> dict[str, F64]:
        """The newest `rows` rows of `values`, from and to arrays: few rows, on the calling thread."""
        held = {name: Column(values) for name, values in columns.items()}
        for measure in self.measures:
            held[measure.name] = measure.column(held)
        results = {f.name: f.column(held, rows).values for f in self.features}
        joined = zip(self.joined, self.joined_names, strict=True)
        return results | {joined_name: held[name].tail(rows).values for name, joined_name in joined}


def plan_of(features: Sequence[Feature]) -> dict[str, FramePlan]:
    """Plan of each frame by context; the own frame (key empty) is always there and stands first."""
    contexts = {"": None} | {i.context: None for f in features for i in f.inputs}
    return {context: _frame_plan(context, features) for context in contexts}


def _frame_plan(context: str, features: Sequence[Feature]) -> FramePlan:
    here = [f for f in features if f.home == context]
    mixed = [f for f in features if f.home != context and any(i.context == context for i in f.inputs)]
    read = {i.column: None for f in features for i in f.inputs if i.context == context}
    measures = [m for m in map(measure_named, read) if m is not None]
    plain = {c: None for c in read if measure_named(c) is None} | {c: None for m in measures for c in m.inputs}
    joined = {i.column: None for f in mixed for i in f.inputs if i.context == context}
    deepest = [_own_lookback(f, context) for f in here] + [_measure_lookback(name) for name in joined]
    return FramePlan(
        context=context,
        columns=tuple(plain),
        measures=tuple(measures),
        features=tuple(here),
        joined=tuple(joined),
        lookback_bars=max(deepest, default=1),
        own_depth_bars=max((f.lookback_bars - 1 for f in mixed), default=0),
    )


def _measure_lookback(column: str) -> int:
    found = measure_named(column)
    return found.lookback_bars if found else 1


def _own_lookback(feature: Feature, context: str) -> int:
    return max(feature.lookback_bars, *(_measure_lookback(i.column) for i in feature.inputs if i.context == context), 1)
