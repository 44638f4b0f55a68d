"""MetaTrader 5 "Export bars": tabs, a header of names in angle brackets, the server's clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl

from feature_store._errors import Final
from feature_store.sources._source import SourceBars, sha256_of, stated_clock, symbol_for, text_of, timeframe_for, to_utc
from feature_store.sources._text import bars_of, separator_of, table, times_of

_COLUMNS = {
    "open": "<OPEN>",
    "high": "<HIGH>",
    "low": "<LOW>",
    "close": "<CLOSE>",
    "tick_volume": "<TICKVOL>",
    "spread_points": "<SPREAD>",  # of the bar, 0 included, as the terminal recorded it
    "real_volume": "<VOL>",
}


class MetaTraderExport:
    """`<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL> <SPREAD>`; daily exports have no `<TIME>`."""

    name: ClassVar[str] = "mt5_export"
    generic: ClassVar[bool] = False

    def recognises(self, head: bytes) -> bool:
        return text_of(head).lstrip().upper().startswith("<DATE>")

    def read(self, path: Path, *, symbol: str | None, timeframe: str | None, clock_rule: str | None) -> Iterator[SourceBars]:
        with path.open("rb") as file:
            header = text_of(file.read(4096)).splitlines()[0]
        frame = table(path, separator_of(header)).rename(str.upper)
        missing = [name for name in ("<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>") if name not in frame.columns]
        if missing:
            raise Final(f"{path.name}: has no {', '.join(missing)}; export bars, not ticks, from the terminal's Symbols window")
        rule = stated_clock(path, clock_rule)
        moments = pl.col("<DATE>") + " " + (pl.col("<TIME>") if "<TIME>" in frame.columns else pl.lit("00:00:00"))
        times = to_utc(times_of(frame.select(moments).to_series(), path), rule)
        bars = bars_of(frame, {ours: theirs for ours, theirs in _COLUMNS.items() if theirs in frame.columns}, times)
        yield SourceBars(
            symbol=symbol_for(path, symbol),
            timeframe=timeframe_for(path, timeframe, bars["time"]),
            bars=bars,
            clock_rule=rule,
            origin=path.as_posix(),
            sha256=sha256_of(path),
        )


SOURCE = MetaTraderExport()
