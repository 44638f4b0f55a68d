"""Parquet files of bars or ticks: the store's own export, columns as MetaTrader's copy_rates gives them, or sane names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import polars as pl

from feature_store._errors import Final
from feature_store.sources._bars import Claim, raw_bars
from feature_store.sources._content import Content
from feature_store.sources._layout import columns_of, side_of
from feature_store.sources._names import symbol_in_cell
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._times import TimeForm, read_times, tell_form

WHOLE_ROWS = 5_000_000
CHUNK_ROWS = 1_000_000


class Parquet:
    """Columns found by name: a moment, open, high, low, close or bid and ask; volumes and spread where they are.

    The moment may be a timestamp with or without a zone, a date, text or an epoch number. A zone is a label, not a
    proof: dumps of copy_rates often call a server's time UTC. Columns `symbol` and `timeframe` split the file.
    """

    name: ClassVar[str] = "parquet"
    generic: ClassVar[bool] = False

    def recognises(self, content: Content) -> bool:
        return content.start == b"PAR1"

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        try:
            table = _table(content)
            parts = table.parts()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Final(f"{content.name}: is damaged Parquet ({str(error).splitlines()[0]}); fetch it again") from error
        for own in parts:
            _check_asked(own, asked, content)
            yield table.raw(own, asked)


@dataclass(frozen=True)
class _Table:
    content: Content
    schema: dict[str, pl.DataType]
    columns: dict[str, str]  # our name to the file's
    keys: dict[str, str]  # the same of the columns that split the file: symbol, timeframe
    rows: int

    @property
    def is_large(self) -> bool:
        return self.rows > WHOLE_ROWS

    def parts(self) -> list[dict[str, str]]:
        """What columns `symbol` and `timeframe` say, each combination once, in the order of the file."""
        if not self.keys:
            return [{}]
        named = [pl.col(theirs).cast(pl.String).alias(ours) for ours, theirs in self.keys.items()]
        return pl.scan_parquet(self.content.path).select(named).unique(maintain_order=True).collect().to_dicts()

    def raw(self, own: dict[str, str], asked: Asked) -> RawBars:
        step = CHUNK_ROWS if self.is_large else max(1, self.rows)
        starts = range(0, max(1, self.rows), step)
        # A part of a large file may begin anywhere in it.
        found = ((start, piece) for start in starts if (piece := self._piece(own, start, step)).height)
        begin, first = next(found, None) or (0, self._piece(own, 0, step))
        form, claim = _form(first["time"], asked, self.content)
        if own.get("timeframe") and asked.timeframe is None:
            asked = replace(asked, timeframe=own["timeframe"])

        def frames() -> Iterator[pl.DataFrame]:
            yield _cells(first, form)
            pieces = (self._piece(own, start, step) for start in starts if start > begin)
            yield from (_cells(piece, form) for piece in pieces if piece.height)

        claim = Claim(claim.stated_rule, claim.label, claim.notes, side=side_of(list(self.schema)))
        return raw_bars(
            self.content,
            asked,
            claim,
            frames,
            self.lines,
            large=self.is_large,
            symbol=symbol_in_cell(own["symbol"]) if own.get("symbol") else None,
        )

    def _piece(self, own: dict[str, str], offset: int, count: int) -> pl.DataFrame:
        """Rows offset .. offset + count of the file, those of one part: columns by our names, source_row from 1."""
        scan = pl.scan_parquet(self.content.path).slice(offset, count).with_row_index("source_row", offset + 1)
        wanted = [pl.col(theirs).alias(ours) for ours, theirs in self.columns.items() if ours not in ("date", "time")]
        moment = pl.col(self.columns["time"])
        if "date" in self.columns:
            moment = pl.col(self.columns["date"]).cast(pl.String) + " " + moment.cast(pl.String)
        for ours, value in own.items():
            scan = scan.filter(pl.col(self.keys[ours]).cast(pl.String).eq_missing(pl.lit(value, dtype=pl.String)))
        return scan.select(moment.alias("time"), *wanted, pl.col("source_row").cast(pl.Int64)).collect()

    def lines(self, rows: Sequence[int]) -> list[str]:
        """These rows (1-based) as text."""
        if not rows:
            return []
        low, high = min(rows), max(rows)
        frame = pl.read_parquet(self.content.path, n_rows=high).slice(low - 1) if high <= self.rows else pl.DataFrame()
        return [", ".join(f"{name}={value}" for name, value in frame.row(row - low, named=True).items()) for row in rows]


def _table(content: Content) -> _Table:
    schema = dict(pl.read_parquet_schema(content.path))
    names = list(schema)
    numbers = columns_of(names)
    if not numbers:
        shown = ", ".join(names)
        raise Final(
            f"{content.name}: has only the columns {shown}; bars need time, open, high, low, close and ticks time, bid, ask"
        )
    columns = {ours: names[number] for ours, number in numbers.items()}
    texts = (pl.String, pl.Categorical, pl.Enum)
    keys = {"symbol": columns.pop("symbol", "symbol"), "timeframe": "timeframe"}
    keys = {ours: theirs for ours, theirs in keys.items() if theirs in schema and schema[theirs] in texts}
    if "date" in columns and schema[columns["time"]] not in (pl.String, pl.Time):
        del columns["date"]  # the other column is a whole moment
    wrong = [columns[ours] for ours in columns if ours not in ("time", "date") and not schema[columns[ours]].is_numeric()]
    if wrong:
        kinds = ", ".join(f"{name} {schema[name]}" for name in wrong)
        raise Final(f"{content.name}: bars cannot be read from columns that are no numbers ({kinds})")
    rows = pl.scan_parquet(content.path).select(pl.len()).collect().item()
    return _Table(content, schema, columns, keys, int(rows))


def _check_asked(own: dict[str, str], asked: Asked, content: Content) -> None:
    symbol, timeframe = own.get("symbol"), own.get("timeframe")
    if symbol and asked.symbol and symbol_in_cell(symbol) != asked.symbol.upper():
        raise Final(f"{content.name}: holds {symbol}, not {asked.symbol}; leave --symbol out or give another file")
    if timeframe and asked.timeframe and timeframe != asked.timeframe:
        raise Final(f"{content.name}: holds {timeframe} bars, not {asked.timeframe}; leave --timeframe out or give another file")


def _form(times: pl.Series, asked: Asked, content: Content) -> tuple[TimeForm | None, Claim]:
    """How the column's values become the wall clock as written (None: they are timestamps), and what they claim."""
    dtype = times.dtype
    if isinstance(dtype, pl.Datetime):
        zone = dtype.time_zone
        if zone not in (None, "UTC") and asked.clock_rule is not None:
            raise Final(f"{content.name}: its times carry the zone {zone}; leave --clock out")
        label = "" if zone is None else "labelled UTC" if zone == "UTC" else f"labelled {zone}, turned into UTC"
        return None, Claim(label=label)
    if dtype == pl.Date:
        return None, Claim()
    if dtype.is_numeric():
        return tell_form(times.cast(pl.Int64).cast(pl.String), content.name), Claim(label="epoch numbers")
    if dtype != pl.String:
        raise Final(f"{content.name}: its column of times is of type {dtype}; it must be timestamps, text or epoch numbers")
    form = tell_form(times, content.name)
    if form is None:
        raise Final(f"{content.name}: in its times day and month cannot be told apart; write them as 2024-01-31 13:45:00")
    if form.offset and asked.clock_rule is not None:
        raise Final(f"{content.name}: its times carry their offset from UTC, such as {form.offset!r}; leave --clock out")
    return form, Claim(stated_rule="utc" if form.offset else None)


def _cells(piece: pl.DataFrame, form: TimeForm | None) -> pl.DataFrame:
    """Cells of a piece: time as written, numbers as Float64, source_row."""
    times = piece["time"]
    if form is not None:
        text = times if times.dtype == pl.String else times.cast(pl.Int64).cast(pl.String)
        times = read_times(text, form)
    elif isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone:
        times = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    numbers = [name for name in piece.columns if name not in ("time", "date", "source_row")]
    return piece.select(times.cast(pl.Datetime("ms")).alias("time"), pl.col(numbers).cast(pl.Float64), "source_row")


SOURCE = Parquet()
