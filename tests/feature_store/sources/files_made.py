"""Files as users have them, made from bars, and what reading one gives."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from feature_store.bars import SCHEMA, epoch_s
from feature_store.clock import utc_to_server
from feature_store.sources._source import RawBars, read_path

PRICES = ("open", "high", "low", "close")


def one(*paths: Path, **stated: Any) -> RawBars:
    """The only series that these paths hold."""
    (found,) = read_path(*paths, **stated)
    return found


def frame(raw: RawBars) -> pl.DataFrame:
    """All chunks in one, columns checked."""
    whole = pl.concat(list(raw.chunks()))
    assert whole.schema == pl.Schema({**SCHEMA, "source_row": pl.Int64})
    return whole


def bars_of(raw: RawBars) -> pl.DataFrame:
    """Columns of `SCHEMA` alone, times as written."""
    return frame(raw).drop("source_row")


def on_server(bars: pl.DataFrame, rule: str) -> pl.DataFrame:
    """The same bars with the wall clock of a server."""
    wall = pl.Series("time", utc_to_server(epoch_s(bars["time"]), rule) * 1000).cast(pl.Datetime("ms"))
    return bars.with_columns(wall)


def write_lines(
    bars: pl.DataFrame,
    path: Path,
    line: Callable[[datetime, dict[str, Any]], str] | str,
    *,
    header: str | None = None,
    encoding: str = "utf-8",
    newline: str = "\n",
) -> Path:
    """A text file with a line for each bar. line: a pattern of t, o, h, l, c (5 digits), v, s, or a function."""
    rows = [] if header is None else [header]
    for row in bars.iter_rows(named=True):
        values = {key: f"{row[name]:.5f}" for key, name in zip("ohlc", PRICES, strict=True)}
        given = {"t": row["time"], "v": row["tick_volume"], "s": row["spread_points"], **values}
        rows.append(line.format(**given) if isinstance(line, str) else line(row["time"], row))
    path.write_bytes((newline.join(rows) + newline).encode(encoding))
    return path


PLAIN = "{t:%Y-%m-%d %H:%M:%S},{o},{h},{l},{c},{v},{s}"
PLAIN_HEADER = "time,open,high,low,close,tick_volume,spread"
EXPORT = "{t:%Y.%m.%d}\t{t:%H:%M:%S}\t{o}\t{h}\t{l}\t{c}\t{v}\t0\t{s}"
EXPORT_HEADER = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
