"""Cells become bars: what is decided once of a file's numbers, and the frames that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA
from feature_store.sources._content import Content
from feature_store.sources._layout import ASKS, COUNTS, PRICES
from feature_store.sources._names import side_in_name, symbol_for, timeframe_for
from feature_store.sources._prices import divisor_of, is_plausible, point_of, spread_is_price
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._ticks import TickTally, minute_bars

Frames = Callable[[], Iterator[pl.DataFrame]]
Lines = Callable[[Sequence[int]], list[str]]
_COLUMNS = {**SCHEMA, "source_row": pl.Int64()}


@dataclass(frozen=True)
class Claim:
    """What a format knows of its content beyond the cells.

    stated_rule: proved by the content. label: claimed, not proved. notes: for the user. volume_is_amount: the volume
    is what was traded, not a count of ticks. side: "bid" or "ask" where columns name one alone.
    holds_last_side: an empty bid or ask of a tick means that it is still the one before.
    """

    stated_rule: str | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    volume_is_amount: bool = False
    side: str = ""
    holds_last_side: bool = False


@dataclass(frozen=True)
class Meaning:
    """How numbers of a file are read: prices / divisor; spreads in price / point."""

    symbol: str
    divisor: int
    point: float
    spread_is_price: bool
    volume_is_amount: bool

    def scaled(self, cells: pl.DataFrame) -> pl.DataFrame:
        """The same cells with true prices."""
        if self.divisor == 1:
            return cells
        prices = [name for name in (*PRICES, *ASKS, "bid", "ask") if name in cells.columns]
        return cells.with_columns((pl.col(name) / self.divisor).round(10) for name in prices)

    def bars(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Bars with the columns of `bars.SCHEMA` and `source_row`."""
        cells = self.scaled(cells)
        return cells.select(
            pl.col("time").cast(SCHEMA["time"]),
            *(pl.col(name).cast(pl.Float64) for name in PRICES),
            *(self._count(cells, name).alias(name) for name in COUNTS),
            pl.col("source_row").cast(pl.Int64),
        ).select(list(_COLUMNS))

    def _count(self, cells: pl.DataFrame, name: str) -> pl.Expr:
        source = {"tick_volume": "real_volume", "real_volume": "tick_volume"}.get(name, name) if self.volume_is_amount else name
        if name == "spread_points" and "ask_close" in cells.columns:
            return _whole((pl.col("ask_close") - pl.col("close")) / self.point, name)
        if source not in cells.columns:
            return pl.lit(None, dtype=SCHEMA[name])
        if name == "spread_points" and self.spread_is_price:
            return _whole(pl.col(source) / self.point, name)
        return _whole(pl.col(source), name)


def _whole(number: pl.Expr, name: str) -> pl.Expr:
    # NaN and what no integer holds is unknown, not a count.
    return number.cast(pl.Float64).round(0).cast(SCHEMA[name], strict=False)


def raw_bars(
    content: Content, asked: Asked, claim: Claim, frames: Frames, lines: Lines, *, large: bool, symbol: str | None = None
) -> RawBars:
    """Bars of one symbol from frames of cells: `time`, names of `_layout`, `source_row`. The first frame decides.

    lines: text of source rows. large: make frames anew each time; else they are made once and kept. symbol: as the
    content says.
    """
    if not large:
        frames = kept(frames())
    first = next(frames())
    name = symbol_for(content.names, asked.symbol or symbol, content.name)
    meaning, notes = _meaning(name, first, claim)
    if "close" in first.columns:
        timeframe = timeframe_for(content.names, asked.timeframe, first["time"], content.name)
        chunks: Frames = lambda: (meaning.bars(cells) for cells in frames())  # noqa: E731
        both = "ask_close" in first.columns
        side = "" if both else asked.side or claim.side or side_in_name(content.names)
    else:
        timeframe, side = "M1", ""
        _check_ticks(asked, content)
        ticks: Frames = (lambda: _last_side_held(frames())) if claim.holds_last_side else frames
        chunks, notes = _tick_chunks(ticks, meaning, notes, large=large)
    return RawBars(
        symbol=name,
        timeframe=timeframe,
        chunks=chunks if large else kept(chunks()),
        stated_rule=claim.stated_rule or asked.clock_rule,
        label=claim.label,
        origin=content.origin,
        sha256=content.sha256,
        content=lines,
        notes=(*claim.notes, *notes),
        side=side,
    )


def kept(frames: Iterator[pl.DataFrame]) -> Frames:
    """Frames made once, handed out each time."""
    made = tuple(frames)
    return lambda: iter(made)


def _meaning(symbol: str, first: pl.DataFrame, claim: Claim) -> tuple[Meaning, tuple[str, ...]]:
    close = first["close"] if "close" in first.columns else first["bid"]
    divisor = divisor_of(symbol, close)
    notes = [] if divisor == 1 else [f"prices divided by {divisor}"]
    scaled = close / divisor if divisor > 1 else close
    if not is_plausible(symbol, scaled):
        middle = float(np.median(scaled.drop_nulls().head(100_000).to_numpy()))
        notes.append(f"prices around {middle:g} are not usual for {symbol}; check the symbol")
    point = point_of(symbol, scaled)
    in_price = "spread_points" in first.columns and spread_is_price(first["spread_points"], point)
    if in_price:
        notes.append(f"spread was in price: divided by the point, {point:g}")
    amount = claim.volume_is_amount or ("tick_volume" in first.columns and _has_fractions(first["tick_volume"]))
    if amount:
        notes.append("volume is an amount, not a count of ticks: kept as real_volume")
    if "ask_close" in first.columns:
        notes.append("spread is ask close less bid close")
    return Meaning(symbol, divisor, point, in_price, amount), tuple(notes)


def _has_fractions(volume: pl.Series) -> bool:
    known = volume.drop_nulls().head(100_000)
    return bool((known.filter(known.is_finite()) % 1 != 0).any())


def _check_ticks(asked: Asked, content: Content) -> None:
    if asked.timeframe not in (None, "M1"):
        raise Final(f"{content.name}: its ticks are made into M1 bars, not {asked.timeframe}; leave --timeframe out")


def _last_side_held(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    last: dict[str, float | None] = {"bid": None, "ask": None}
    for frame in frames:
        filled = {side: pl.col(side).forward_fill().fill_null(pl.lit(value, dtype=pl.Float64)) for side, value in last.items()}
        held = frame.with_columns(**filled)
        if held.height:
            last = {side: held[side][-1] for side in last}
        yield held


def _tick_chunks(frames: Frames, meaning: Meaning, notes: tuple[str, ...], *, large: bool) -> tuple[Frames, tuple[str, ...]]:
    def bars(tally: TickTally) -> Iterator[pl.DataFrame]:
        return minute_bars((meaning.scaled(cells) for cells in frames()), meaning.point, tally)

    if large:  # counting them would be a second pass over gigabytes
        note = "ticks made into M1 bars; crossed and zero-spread quotes left out of the spread"
        return lambda: bars(TickTally()), (*notes, note)
    tally = TickTally()
    made = kept(bars(tally))
    return made, (*notes, tally.note())
