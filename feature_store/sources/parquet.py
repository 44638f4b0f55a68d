"""Parquet files of bars: the store's own export, or columns as MetaTrader's copy_rates gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl

from feature_store._errors import Final
from feature_store.bars import conform
from feature_store.sources._source import RULES, SourceBars, sha256_of, symbol_for, timeframe_for, to_utc


class Parquet:
    """`time open high low close` and, where known, `tick_volume`, `spread_points` or `spread`, `real_volume`.

    `time` is the bar's open: naive or zoned timestamps, UTC unless a clock rule says that they are a server's; or
    epoch numbers, which servers write too, so that the rule must be given. Columns `symbol` and `timeframe` split
    the file.
    """

    name: ClassVar[str] = "parquet"
    generic: ClassVar[bool] = False

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b"PAR1")

    def read(self, path: Path, *, symbol: str | None, timeframe: str | None, clock_rule: str | None) -> Iterator[SourceBars]:
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Final(f"{path.name}: is damaged Parquet ({str(error).splitlines()[0]}); fetch it again") from error
        if "spread" in frame.columns and "spread_points" not in frame.columns:
            frame = frame.rename({"spread": "spread_points"})
        if "time" not in frame.columns:
            raise Final(
                f"{path.name}: has no column time, only {', '.join(frame.columns)}; bars need time, open, high, low, close"
            )
        times = _times(frame["time"], path, clock_rule)
        frame, digest = frame.with_columns(times), sha256_of(path)
        for (own_symbol, own_timeframe), part in _parts(frame):
            if own_symbol and symbol and own_symbol.upper() != symbol.upper():
                raise Final(f"{path.name}: holds {own_symbol}, not {symbol}; leave --symbol out or give another file")
            if own_timeframe and timeframe and own_timeframe != timeframe:
                raise Final(
                    f"{path.name}: holds {own_timeframe} bars, not {timeframe}; leave --timeframe out or give another file"
                )
            yield SourceBars(
                symbol=symbol_for(path, symbol or own_symbol),
                timeframe=timeframe_for(path, timeframe or own_timeframe, part["time"]),
                bars=conform(part),
                clock_rule=clock_rule or "utc",
                origin=path.as_posix(),
                sha256=digest,
            )


def _times(times: pl.Series, path: Path, clock_rule: str | None) -> pl.Series:
    """Naive UTC, whatever form the column has."""
    dtype = times.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone not in (None, "UTC") and clock_rule is not None:
            raise Final(f"{path.name}: its times carry the zone {dtype.time_zone}; leave --clock out")
        naive = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else times
        return to_utc(naive, clock_rule or "utc")
    if dtype.is_integer():
        if clock_rule is None:
            raise Final(f"{path.name}: its times are numbers, maybe of a server's clock; add --clock with one of {RULES}")
        longest = times.max()
        unit_ms = 1 if isinstance(longest, int) and longest > 100_000_000_000 else 1000  # later than year 5138: not seconds
        return to_utc((times.cast(pl.Int64) * unit_ms).cast(pl.Datetime("ms")), clock_rule)
    raise Final(f"{path.name}: its column time is of type {dtype}; it must be timestamps or epoch numbers")


def _parts(frame: pl.DataFrame) -> Iterator[tuple[tuple[str | None, str | None], pl.DataFrame]]:
    """The frame by (symbol, timeframe) as its own columns say, None where it has no such column."""
    keys = [name for name in ("symbol", "timeframe") if name in frame.columns]
    if not keys:
        yield (None, None), frame
        return
    for values, part in frame.partition_by(keys, as_dict=True, maintain_order=True).items():
        own = dict(zip(keys, (str(value) for value in values), strict=True))
        yield (own.get("symbol"), own.get("timeframe")), part


SOURCE = Parquet()
