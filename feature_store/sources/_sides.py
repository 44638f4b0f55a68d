"""Two sides of one market: a bid and an ask file become bars of the bid with a spread; an ask alone needs a word."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA
from feature_store.sources._names import series_key
from feature_store.sources._prices import point_of
from feature_store.sources._raw import RawBars, Refused, going_on

_PRICES = ("open", "high", "low", "close")


def check_spread(spread_points: float | None) -> None:
    """Raise `Final` unless the stated spread can be one, or none is stated."""
    if spread_points is not None and not 0 < spread_points < 100_000:
        raise Final(f"--ask-spread {spread_points:g} must lie above 0 and below 100,000 points")


def joined_sides(
    found: Sequence[tuple[str, RawBars]], ask_spread_points: float | None, refused: Refused | None = None
) -> list[RawBars]:
    """All of them as bars of the bid: pairs merged, an ask without a bid moved by a stated spread.

    found: name of the file and its bars. Raises `Final` for an ask alone when no spread was stated,
    or hands its line to `refused`.
    """
    asks = [(name, raw) for name, raw in found if raw.side == "ask"]
    merged: list[RawBars] = []
    for name, raw in found:
        if raw.side == "ask":
            continue
        ask = _partner(name, raw, asks, found) if raw.side == "bid" else None
        if ask is None:
            merged.append(raw)
        else:
            asks.remove(ask)
            with going_on(refused):
                merged.append(merge(raw, ask[1]))
    for name, raw in asks:
        with going_on(refused):
            merged.append(moved_to_bid(raw, name, ask_spread_points))
    return merged


def _partner(
    name: str, bid: RawBars, asks: Sequence[tuple[str, RawBars]], found: Sequence[tuple[str, RawBars]]
) -> tuple[str, RawBars] | None:
    """The ask file of the same symbol and timeframe: of the same name but for the side, or the only one there is."""
    same = [ask for ask in asks if (ask[1].symbol, ask[1].timeframe) == (bid.symbol, bid.timeframe)]
    named = [ask for ask in same if series_key(ask[0]) == series_key(name)]
    if named:
        return named[0]
    bids = [raw for _, raw in found if raw.side == "bid" and (raw.symbol, raw.timeframe) == (bid.symbol, bid.timeframe)]
    return same[0] if len(same) == len(bids) == 1 else None


def merge(bid: RawBars, ask: RawBars) -> RawBars:
    """Bars of the bid, in the order of its file; spread_points = ask close less bid close where both have the bar.

    A negative spread stays: two sides that were made into bars apart do that. Of the ask times and closes alone are
    held in memory.
    """
    if bid.stated_rule != ask.stated_rule:
        raise Final(f"{bid.origin} and {ask.origin} state different clocks ({bid.stated_rule}, {ask.stated_rule}); convert one")
    closes = pl.concat(chunk.select("time", pl.col("close").alias("ask_close")) for chunk in ask.chunks())
    # Which of two asks of one moment is right is unknown.
    usable = closes.filter(pl.col("time").is_not_null() & ~pl.col("time").is_duplicated())
    point = point_of(bid.symbol, closes["ask_close"])

    def chunks() -> Iterator[pl.DataFrame]:
        for chunk in bid.chunks():
            both = chunk.join(usable, on="time", how="left", maintain_order="left")
            spread = ((pl.col("ask_close") - pl.col("close")) / point).round(0).cast(pl.Int32, strict=False)
            yield both.with_columns(spread.alias("spread_points")).select(chunk.columns)

    alone = usable.join(pl.concat(chunk.select("time") for chunk in bid.chunks()), on="time", how="anti").height
    note = "bid and ask files merged: spread is ask close less bid close"
    return replace(
        bid,
        chunks=chunks,
        origin=f"{bid.origin} + {ask.origin}",
        sha256=hashlib.sha256((bid.sha256 + ask.sha256).encode()).hexdigest(),
        notes=(*bid.notes, note, *([f"{alone:,} bars of the ask file have no bar of the bid: left out"] if alone else [])),
        side="",
    )


def moved_to_bid(ask: RawBars, name: str, spread_points: float | None) -> RawBars:
    """Bars of the ask less a spread that the user states, which also stands in every bar. Raises `Final` without one."""
    if spread_points is None:
        raise Final(
            f"{name}: holds the ask side and bars are of the bid; give its bid file too, or add --ask-spread POINTS "
            "to take that off, or --side bid if its name is wrong"
        )
    point = point_of(ask.symbol, next(ask.chunks())["close"])
    digits = max(0, len(f"{point:.10f}".rstrip("0").partition(".")[2]))
    spread = pl.lit(round(spread_points), dtype=SCHEMA["spread_points"])

    def chunks() -> Iterator[pl.DataFrame]:
        for chunk in ask.chunks():
            lowered = [(pl.col(price) - spread_points * point).round(digits + 1) for price in _PRICES]
            yield chunk.with_columns(*lowered, spread.alias("spread_points"))

    note = f"ask prices less a spread of {spread_points:g} points that you stated"
    return replace(ask, chunks=chunks, notes=(*ask.notes, note), side="")
