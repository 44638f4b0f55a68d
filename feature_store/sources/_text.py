"""Text tables as strings, and strings as times and numbers; what cannot be read becomes null, never a guess."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA, conform
from feature_store.sources._source import text_of

# One unambiguous form each: day and month are told apart by where the year stands. 03/04/2024 is not among them.
_FORMATS = (
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y%m%d %H%M%S",
    "%d.%m.%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
)


def separator_of(header: str) -> str:
    """Tab, semicolon or comma: the one the header line holds most often."""
    return max("\t;,", key=header.count)


def table(path: Path, separator: str) -> pl.DataFrame:
    """All cells as stripped text, columns named as in the header. Short rows end in null."""
    text = text_of(path.read_bytes())
    try:
        frame = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False, truncate_ragged_lines=True)
    except pl.exceptions.PolarsError as error:
        raise Final(f"{path.name}: is not a table of text ({str(error).splitlines()[0]})") from error
    return frame.with_columns(pl.all().str.strip_chars())


def times_of(text: pl.Series, path: Path) -> pl.Series:
    """Times as written, naive; null where unreadable. Raises `Final` when most of them are in no known form."""
    # The longest common start of all forms: fractions of a second say nothing about a bar's open.
    plain = text.str.replace("T", " ", literal=True).str.replace(r"(:\d{2}:\d{2})\.\d+$", "$1")
    plain = plain.str.replace(r"^(\d{4}[-./]\d{2}[-./]\d{2}|\d{2}\.\d{2}\.\d{4})$", "$1 00:00:00")
    counts = [(plain.str.to_datetime(form, strict=False, time_unit="ms"), form) for form in _FORMATS]
    best, _ = min(counts, key=lambda pair: pair[0].null_count())
    if best.null_count() * 2 > len(best):
        example = next((value for value in text if value), "")
        raise Final(f"{path.name}: times such as {example!r} are in no known form; write them as 2024-01-31 13:45:00")
    return best


def bars_of(frame: pl.DataFrame, columns: dict[str, str], times: pl.Series) -> pl.DataFrame:
    """Bars from text cells. columns: name in `SCHEMA` to name in the file; `times` already in UTC."""
    numbers = [pl.col(source).cast(pl.Float64, strict=False).alias(name) for name, source in columns.items()]
    counts = [name for name in columns if SCHEMA[name].is_integer()]
    bars = frame.select(numbers).with_columns(pl.col(name).round(0).cast(SCHEMA[name], strict=False) for name in counts)
    return conform(bars.with_columns(times.alias("time")))
