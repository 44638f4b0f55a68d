"""Any csv with a header line of sane names, a stated clock, and comma, semicolon or tab between the cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl

from feature_store._errors import Final
from feature_store.sources._source import SourceBars, sha256_of, stated_clock, symbol_for, text_of, timeframe_for, to_utc
from feature_store.sources._text import bars_of, separator_of, table, times_of

# Names as they are written once lower case letters and digits are all that is left.
_NAMES = {
    "time": ("time", "datetime", "timestamp", "gmttime", "utctime", "opentime", "date"),
    "open": ("open", "o", "bidopen"),
    "high": ("high", "h", "bidhigh"),
    "low": ("low", "l", "bidlow"),
    "close": ("close", "c", "bidclose"),
    "tick_volume": ("tickvolume", "tickvol", "ticks", "tickqty"),
    "spread_points": ("spreadpoints", "spread"),
    "real_volume": ("realvolume",),
}
_PRICES = ("open", "high", "low", "close")
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _columns(header: list[str]) -> dict[str, str]:
    """Name in the schema to name in the file, for the names that are understood."""
    bare = {_bare(name): name for name in reversed(header)}
    found = {ours: next((bare[name] for name in names if name in bare), None) for ours, names in _NAMES.items()}
    # A column called volume counts ticks, unless another one does.
    volume = bare.get("volume", bare.get("vol"))
    if volume is not None:
        if found["tick_volume"] is None:
            found["tick_volume"] = volume
        elif found["real_volume"] is None:
            found["real_volume"] = volume
    return {ours: name for ours, name in found.items() if name is not None}


def _header(head: bytes) -> list[str]:
    lines = text_of(head).lstrip().splitlines()
    return [cell.strip().strip('"') for cell in lines[0].split(separator_of(lines[0]))] if lines else []


class GenericCsv:
    """Columns found by name: time (or date and time), open, high, low, close; volumes and spread where they are.

    Spread in points. Times without an offset need a stated clock; an offset (`+00:00`, `Z`) states it itself.
    """

    name: ClassVar[str] = "csv_generic"
    generic: ClassVar[bool] = True

    def recognises(self, head: bytes) -> bool:
        if b"\x00" in head[:64] and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            return False
        return {"time", *_PRICES} <= _columns(_header(head)).keys()

    def read(self, path: Path, *, symbol: str | None, timeframe: str | None, clock_rule: str | None) -> Iterator[SourceBars]:
        with path.open("rb") as file:
            header = text_of(file.read(4096)).lstrip().splitlines()[0]
        frame = table(path, separator_of(header))
        columns = _columns(frame.columns)
        missing = [name for name in ("time", *_PRICES) if name not in columns]
        if missing:
            raise Final(f"{path.name}: its lines do not split into {', '.join(missing)}; check separators and quotes")
        text = _time_text(frame, columns.pop("time"))
        rule, times = _utc(text, path, clock_rule)
        bars = bars_of(frame, columns, times)
        yield SourceBars(
            symbol=symbol_for(path, symbol),
            timeframe=timeframe_for(path, timeframe, bars["time"]),
            bars=bars,
            clock_rule=rule,
            origin=path.as_posix(),
            sha256=sha256_of(path),
        )


def _time_text(frame: pl.DataFrame, name: str) -> pl.Series:
    """The cells that hold the moment: one column, or date and time in two."""
    dates = [column for column in frame.columns if _bare(column) == "date"] if _bare(name) == "time" else []
    return frame.select(pl.col(dates[0]) + " " + pl.col(name)).to_series() if dates else frame[name]


def _utc(text: pl.Series, path: Path, clock_rule: str | None) -> tuple[str, pl.Series]:
    """(clock rule, UTC times) of times as written."""
    zoned = text.drop_nulls().str.contains(_OFFSET)
    if not len(zoned) or not zoned.all():
        rule = stated_clock(path, clock_rule)
        return rule, to_utc(times_of(text, path), rule)
    if clock_rule is not None:
        raise Final(f"{path.name}: its times carry their offset from UTC, such as {text.drop_nulls()[0]!r}; leave --clock out")
    offsets = text.str.extract(f"({_OFFSET})").str.replace_all(":", "").str.replace("Z", "+0000")
    sign = pl.when(offsets.str.starts_with("-")).then(-1).otherwise(1)
    minutes = sign * (offsets.str.slice(1, 2).cast(pl.Int64) * 60 + offsets.str.slice(3, 2).cast(pl.Int64))
    naive = times_of(text.str.replace(_OFFSET, ""), path)
    return "utc", pl.select(naive - pl.duration(minutes=minutes)).to_series()


SOURCE = GenericCsv()
