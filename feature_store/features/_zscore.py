"""Standard score of whole numbers, exact in its sums."""

from __future__ import annotations

import polars as pl


def zscore(column: pl.Expr, bars: int) -> pl.Expr:
    """`column` (Int64) less its mean over the last `bars` bars, in standard deviations of those.

    A frozen column has no deviation: 0 / 0 stays NaN, the model sees it as it is and never a guess. Sums of
    integers make that exact; a rolling float variance leaves a residue and a score of any size.
    """
    total, squares = column.rolling_sum(bars), (column**2).rolling_sum(bars)
    # Mean and deviation times `bars`, so that nothing is rounded before the one division.
    return (column * bars - total) / (squares * bars - total**2).sqrt()
