"""A stand-in for `pl.Expr` on a handful of rows, for the live row.

The features are the same functions; only what they are called with differs. Polars hands every expression to
its thread pool, which on a busy machine costs milliseconds a row; plain arrays stay on the thread that trades.
A feature that uses more of polars than this is evaluated by polars, live too. Tests hold both to one value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from feature_store._arrays import F64

Operand: TypeAlias = "Column | float"


class Column:
    """Values of one column, oldest first along the last axis; NaN where unknown. Whole numbers are exact below 2**53.

    An axis before it holds the same column of several symbols: each operation then serves them all at once.
    """

    __slots__ = ("values",)

    def __init__(self, values: F64) -> None:
        self.values = values

    def __add__(self, other: Operand) -> Column:
        return Column(self.values + _plain(other))

    def __sub__(self, other: Operand) -> Column:
        return Column(self.values - _plain(other))

    def __mul__(self, other: Operand) -> Column:
        return Column(self.values * _plain(other))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: float) -> Column:
        return Column(other - self.values)

    def __truediv__(self, other: Operand) -> Column:
        return Column(self.values / _plain(other))

    def __neg__(self) -> Column:
        return Column(-self.values)

    def __mod__(self, other: Operand) -> Column:
        return Column(self.values % _plain(other))

    def __floordiv__(self, other: Operand) -> Column:
        return Column(self.values // _plain(other))

    def __pow__(self, exponent: float) -> Column:
        return Column(self.values * self.values if exponent == 2 else self.values**exponent)

    def abs(self) -> Column:
        return Column(np.abs(self.values))

    def sign(self) -> Column:
        return Column(np.sign(self.values))

    def sqrt(self) -> Column:
        return Column(np.sqrt(self.values))

    def log(self) -> Column:
        return Column(np.log(self.values))

    def sin(self) -> Column:
        return Column(np.sin(self.values))

    def cos(self) -> Column:
        return Column(np.cos(self.values))

    def clip(self, lower_bound: float | None = None, upper_bound: float | None = None) -> Column:
        values = self.values if lower_bound is None else np.maximum(self.values, lower_bound)
        return Column(values if upper_bound is None else np.minimum(values, upper_bound))

    def shift(self, n: int) -> Column:
        out = _unknown_first(self.values.shape, n)
        out[..., n:] = self.values[..., : self.values.shape[-1] - n]
        return Column(out)

    def diff(self, n: int = 1) -> Column:
        out = _unknown_first(self.values.shape, n)
        np.subtract(self.values[..., n:], self.values[..., : self.values.shape[-1] - n], out=out[..., n:])
        return Column(out)

    def cum_count(self) -> Column:
        return Column(np.broadcast_to(np.arange(1.0, self.values.shape[-1] + 1), self.values.shape))

    def rolling_sum(self, window_size: int, weights: Sequence[float] | None = None) -> Column:
        if weights is None:
            return self._rolled(np.add.reduce, window_size)
        row = np.asarray(weights)
        return self._rolled(lambda windows, axis, out: np.matmul(windows, row, out=out), window_size)

    def rolling_min(self, window_size: int) -> Column:
        return self._rolled(np.minimum.reduce, window_size)

    def rolling_max(self, window_size: int) -> Column:
        return self._rolled(np.maximum.reduce, window_size)

    def tail(self, n: int) -> Column:
        """The newest `n` values."""
        return Column(self.values[..., -n:])

    def _rolled(self, reduction: Callable[..., object], size: int) -> Column:
        values = np.ascontiguousarray(self.values)
        *before, length = values.shape
        out = _unknown_first(values.shape, size - 1)
        if length >= size:
            # Each window is summed anew: nothing accumulates, and a NaN ends with the windows that hold it.
            strides = (*values.strides, values.strides[-1])
            windows = np.ndarray((*before, length - size + 1, size), values.dtype, values, 0, strides)
            reduction(windows, axis=-1, out=out[..., size - 1 :])
        return Column(out)


def _unknown_first(shape: tuple[int, ...], n: int) -> F64:
    """Room for values of which the first `n` are unknown. Filling those alone is faster than `np.full`."""
    out = np.empty(shape)
    out[..., :n] = np.nan
    return out


def _plain(operand: Operand) -> F64 | float:
    return operand.values if isinstance(operand, Column) else operand


def evaluated(function: Callable[..., Any], columns: Mapping[str, Column], settings: Mapping[str, float]) -> Column | None:
    """What `function` makes of the columns; None where it needs polars itself."""
    try:
        made = function(**columns, **settings)
    except (AttributeError, TypeError, ValueError, pl.exceptions.PolarsError):
        return None
    return made if isinstance(made, Column) else None


def by_polars(expression: pl.Expr, columns: Mapping[str, Column]) -> Column:
    """`expression` over a frame of the columns, of each symbol in turn."""
    wanted = {name: columns[name].values for name in expression.meta.root_names() if name in columns}
    shape = next(iter(columns.values())).values.shape
    made = np.empty(shape)
    for at in np.ndindex(*shape[:-1]):
        frame = pl.DataFrame({name: _series(values[at]) for name, values in wanted.items()})
        made[at] = frame.select(expression).to_series().cast(pl.Float64).fill_null(np.nan).to_numpy()
    return Column(made)


def _series(values: F64) -> pl.Series:
    series = pl.Series(values).fill_nan(None)
    # As in history, where bars are counts: a rolling sum of integers is exact.
    return series.cast(pl.Int64) if bool((series.drop_nulls() % 1 == 0).all()) else series
