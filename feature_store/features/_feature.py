"""What a feature is: a function from named columns to an expression, and the facts it declares about itself."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import polars as pl

from feature_store._errors import Final
from feature_store.features._column import Column, by_polars, evaluated

Number = int | float
LookbackRule = int | Callable[..., int]

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "tick_volume", "spread_points", "new_york_s")
"""Columns a feature may name. Prices are Int64 counts of the symbol's point; spread_points and tick_volume are
Int64 and may be null; new_york_s is the moment of the bar's CLOSE on New York's wall clock, in seconds."""


@dataclass(frozen=True)
class Measure:
    """A column that several features share, computed once per frame: the unit they are measured in."""

    name: str
    function: Callable[..., pl.Expr]
    inputs: tuple[str, ...]
    lookback_bars: int
    version: int

    def expression(self) -> pl.Expr:
        """The measure over the columns of its own frame."""
        return self.function(**{name: pl.col(name) for name in self.inputs}).alias(self.name)

    def column(self, held: Mapping[str, Column]) -> Column:
        """The measure over arrays instead."""
        made = evaluated(self.function, {name: held[name] for name in self.inputs}, {})
        return made or by_polars(self.expression(), held)


@dataclass(frozen=True)
class Input:
    """One column that a feature reads: `context` is empty for the row's own bars, else h4, lead, usdjpy."""

    context: str
    column: str

    @property
    def name(self) -> str:
        return f"{self.context}.{self.column}" if self.context else self.column


@dataclass(frozen=True)
class Feature:
    """A pure function from columns to an expression.

    lookback_bars: bars that one value depends on, its own included, counted in bars of the frame it is
    evaluated on. What a measure looks back from the row itself the set knows; a feature that shifts or rolls
    a measure declares the sum of both. file, digest: where an extension is written and what its source means;
    both are empty for features of this package, whose versions say when their values change.
    """

    name: str
    group: str
    function: Callable[..., pl.Expr] = field(repr=False)
    inputs: tuple[Input, ...]
    lookback_rule: LookbackRule = field(repr=False)
    version: int
    scale_free: bool
    parameters: Mapping[str, Number] = field(hash=False)
    file: str = ""
    digest: str = ""

    @property
    def description(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def source(self) -> str:
        """What the docstring says beyond its first line: where the idea comes from. Empty where it says no more."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n")[2].split())

    @cached_property
    def lookback_bars(self) -> int:
        if isinstance(self.lookback_rule, int):
            return self.lookback_rule
        wanted = inspect.signature(self.lookback_rule).parameters
        return self.lookback_rule(**{name: self.parameters[name] for name in wanted})

    @property
    def reach_bars(self) -> int:
        """Bars of the frame of its `home` that one value depends on in the end, those of shared measures included."""
        measures = [measure_named(i.column) for i in self.inputs if i.context == self.home]
        return max(self.lookback_bars, *(m.lookback_bars for m in measures if m), 1)

    @property
    def home(self) -> str:
        """Context on whose own frame the feature is evaluated; empty for the row's own bars, joined columns beside them."""
        contexts = {i.context for i in self.inputs}
        return contexts.pop() if len(contexts) == 1 else ""

    @cached_property
    def _call(self) -> tuple[dict[str, str], dict[str, Number]]:
        """Column of the frame of `home` by parameter name, and the values of the keyword-only parameters."""
        home = self.home
        names = [i.column if i.context == home else i.name for i in self.inputs]
        settings = dict(self.parameters)
        if "lookback_bars" in inspect.signature(self.function).parameters:
            settings["lookback_bars"] = self.lookback_bars
        return dict(zip(_input_parameters(self.function), names, strict=True)), settings

    @property
    def columns(self) -> Mapping[str, str]:
        """Column of the frame of its `home` by parameter of the function."""
        return self._call[0]

    def made(self) -> pl.Expr:
        """What the function gives back, as it is."""
        names, settings = self._call
        return self.function(**{parameter: pl.col(name) for parameter, name in names.items()}, **settings)

    def expression(self) -> pl.Expr:
        """The feature over the columns of the frame of its `home`."""
        return self.made().alias(self.name)

    def column(self, held: Mapping[str, Column], rows: int) -> Column:
        """The feature over arrays instead, its newest `rows` values: made from the bars they look back on and no others."""
        names, settings = self._call
        bars = self.lookback_bars + rows - 1
        tails = {parameter: held[name].tail(bars) for parameter, name in names.items()}
        made = evaluated(self.function, tails, settings)
        return (made or by_polars(self.expression(), {name: held[name].tail(bars) for name in names.values()})).tail(rows)

    def with_parameters(self, overrides: Mapping[str, Number]) -> Feature:
        """The same feature with some of its parameters, or its lookback, replaced."""
        settable = {*self.parameters} | ({"lookback_bars"} if isinstance(self.lookback_rule, int) else set())
        for name, value in overrides.items():
            if name not in settable:
                raise Final(f"feature {self.name}: no parameter {name!r}; it has {', '.join(sorted(settable))}")
            if isinstance(value, bool) or not math.isfinite(value) or value <= 0:
                raise Final(f"feature {self.name}: {name} is {value!r}; give a number above 0")
        rule = int(overrides["lookback_bars"]) if "lookback_bars" in overrides else self.lookback_rule
        kept = {name: overrides.get(name, value) for name, value in self.parameters.items()}
        return replace(self, lookback_rule=rule, parameters=kept)


_features: dict[str, Feature] = {}
_measures: dict[str, Measure] = {}
_extending: ContextVar[dict[str, Feature] | None] = ContextVar("extending", default=None)


@contextmanager
def collecting() -> Iterator[dict[str, Feature]]:
    """Features that are registered in the block, by name; they do not join those of this package."""
    _import_groups()  # an extension that imports one of ours must not be taken for its author
    found: dict[str, Feature] = {}
    token = _extending.set(found)
    try:
        yield found
    finally:
        _extending.reset(token)


def measure(*, lookback_bars: int, version: int = 1) -> Callable[[Callable[..., pl.Expr]], Callable[..., pl.Expr]]:
    """Decorator that makes a function of columns a column itself, for features to name as input."""

    def register(function: Callable[..., pl.Expr]) -> Callable[..., pl.Expr]:
        name = function.__name__
        inputs = tuple(inspect.signature(function).parameters)
        if _extending.get() is not None:
            raise Final(f"measure {name}: measures are Tradewind's own; write it as a plain function that features call")
        if name in _measures or name in COLUMNS:
            raise Final(f"measure {name}: the name is taken; choose another")
        if unknown := [i for i in inputs if i not in COLUMNS]:
            raise Final(f"measure {name}: no column {unknown[0]!r}; use {', '.join(COLUMNS)}")
        _measures[name] = Measure(name, function, inputs, lookback_bars, version)
        return function

    return register


def feature(
    *,
    lookback_bars: LookbackRule,
    version: int = 1,
    scale_free: bool = True,
    **parameters: Number | tuple[Number, ...],
) -> Callable[[Callable[..., pl.Expr]], Callable[..., pl.Expr]]:
    """Decorator that registers a feature named like its function.

    lookback_bars: a number, or a function of some of the parameters. Every other keyword sets a keyword-only
    parameter; a tuple makes one feature per item, its name ending in the item. `version` goes up with every
    change of the values. `scale_free`: the values do not change when prices and point are multiplied by one
    constant, nor when the same prices are quoted in a finer point.
    """

    def register(function: Callable[..., pl.Expr]) -> Callable[..., pl.Expr]:
        extending = _extending.get()
        known = _features if extending is None else extending
        for name, settings in _variants(function.__name__, _defaults(function) | parameters):
            if name in known:
                raise Final(f"feature {name} is defined twice, in {known[name].group} and {function.__module__}; rename one")
            inputs = tuple(_input(name, parameter) for parameter in _input_parameters(function))
            group = function.__module__.rpartition(".")[2]
            known[name] = Feature(name, group, function, inputs, lookback_bars, version, scale_free, settings)
        return function

    return register


def _input_parameters(function: Callable[..., pl.Expr]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def _defaults(function: Callable[..., pl.Expr]) -> dict[str, Number | tuple[Number, ...]]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def _variants(name: str, parameters: Mapping[str, Number | tuple[Number, ...]]) -> list[tuple[str, dict[str, Number]]]:
    fixed = {k: v for k, v in parameters.items() if not isinstance(v, tuple)}
    varied = [(k, v) for k, v in parameters.items() if isinstance(v, tuple)]
    if not varied:
        return [(name, fixed)]
    if len(varied) > 1:
        raise Final(f"feature {name}: {len(varied)} parameters have several values; one may")
    key, values = varied[0]
    return [(f"{name}_{value}", fixed | {key: value}) for value in values]


def _input(feature_name: str, parameter: str) -> Input:
    context, _, column = parameter.rpartition("__")
    if column not in COLUMNS and column not in _measures:
        raise Final(f"feature {feature_name}: no column {column!r}; use {', '.join((*COLUMNS, *_measures))}")
    return Input(context, column)


def measure_named(name: str) -> Measure | None:
    """The measure of that name; None for a plain column."""
    return _measures.get(name)


@cache
def _import_groups() -> None:
    package = importlib.import_module("feature_store.features")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"feature_store.features.{module.name}")


def all_features(extensions: Path | None = None) -> tuple[Feature, ...]:
    """Every feature there is, by group file and then in the order of the file; those of the folder `extensions` last."""
    _import_groups()
    own = tuple(sorted(_features.values(), key=lambda f: f.group))
    if extensions is None:
        return own
    from feature_store.features._extensions import load_extensions  # it reads this module's registry

    return own + load_extensions(extensions, {f.name: f for f in own})
