"""Tables of text as bars: one typed pass, then the few rows it could not read again, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from feature_store._errors import Final
from feature_store.sources import _content
from feature_store.sources._bars import Claim, Frames, kept, raw_bars
from feature_store.sources._content import Content, as_latin1, lines_at
from feature_store.sources._layout import COUNTS, Layout, side_of, split
from feature_store.sources._names import symbol_in_cell
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._times import TimeForm, read_times, tell_form

_BEYOND = "beyond"
_TEXTS = ("date", "time", "symbol")
_FORM_BYTES = 1_000_000
_HIDDEN_COMMA = re.compile(rb'"(-?\d+),(\d+)"')


@dataclass(frozen=True)
class TextTable:
    """A content with its layout and the form of its times: what any block of it needs to become a frame."""

    content: Content
    layout: Layout
    form: TimeForm

    def frames(self) -> Iterator[pl.DataFrame]:
        """A frame for each block of the content; one empty frame where there are no lines."""
        first_line, before = 1, b""
        for block in self.content.blocks(_content.BLOCK_BYTES if self.content.is_large else None):
            first_line += before.count(b"\n")
            yield self.frame(block, first_line)
            before = block
        if not before:
            yield self.frame(b"", 1)

    def frame(self, block: bytes, first_line: int) -> pl.DataFrame:
        """Cells of a block: `time`, numbers as Float64, `source_row`; null where a cell cannot be read.

        first_line: 1-based number of the block's first line in the file. Blank lines are left out.
        """
        skip = max(0, self.layout.skip - first_line + 1)
        cells = _typed(block, self.layout, skip)
        frame = self._read(cells).with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("source_row") + first_line + skip)
        # Empty volumes and spreads are usual; a few among many are worth a second look.
        needed = [name for name in frame.columns if name not in COUNTS or frame[name].null_count() < 0.01 * frame.height]
        unread = frame.select(pl.any_horizontal(pl.col(needed).is_null())).to_series()
        if not unread.any():
            return frame
        return self._again(block, frame, unread, first_line)

    def _read(self, cells: pl.DataFrame) -> pl.DataFrame:
        others = [name for name in self.layout.columns if name not in ("date", "time")]
        read = cells.select(read_times(_time_text(cells), self.form).alias("time"), *others)
        if cells[_BEYOND].null_count() == cells.height:
            return read
        # A cell too many: which of them belongs where is unknown.
        ragged = cells[_BEYOND].str.strip_chars().fill_null("") != ""
        return read.with_columns(pl.when(~ragged).then(pl.col(name)).alias(name) for name in others)

    def _again(self, block: bytes, frame: pl.DataFrame, unread: pl.Series, first_line: int) -> pl.DataFrame:
        """The frame with its unread rows read from cells without outer blanks and quotes, and without blank lines."""
        rows = frame.filter(unread)["source_row"].to_list()
        texts = lines_at(block, [row - first_line for row in rows])
        filled = [(row, text) for row, text in zip(rows, texts, strict=True) if text.strip()]
        layout = self.layout
        bare = [layout.separator.join(_bare_cells(text, layout)) for _, text in filled]
        # Of a line of quotes alone nothing is left, and a blank line would be no row: let it be one of a cell too many.
        cleaned = [text if text.strip() else layout.separator * layout.cells + "-" for text in bare]
        cells = _typed("\n".join(cleaned).encode(), replace(layout, quotes=""), 0)
        numbers = pl.Series("source_row", [row for row, _ in filled], dtype=pl.Int64)
        return pl.concat([frame.filter(~unread), self._read(cells).with_columns(numbers)]).sort("source_row")


def read_text(content: Content, layout: Layout, asked: Asked, claim: Claim, form: TimeForm | None = None) -> Iterator[RawBars]:
    """Bars (or the bars of ticks) of a table of text. form: of its times, told from them when None."""
    if form is None:
        form = _told_form(content, layout)
    if form.offset:
        if asked.clock_rule is not None:
            raise Final(f"{content.name}: its times carry their offset from UTC, such as {form.offset!r}; leave --clock out")
        claim = replace(claim, stated_rule="utc")
    claim = replace(claim, side=claim.side or side_of(layout.header))
    table = TextTable(content, layout, form)
    if "symbol" not in layout.columns:
        yield raw_bars(content, asked, claim, table.frames, content.lines, large=content.is_large)
        return
    for symbol, frames in _by_symbol(table, asked):
        yield raw_bars(content, asked, claim, frames, content.lines, large=content.is_large, symbol=symbol)


def _by_symbol(table: TextTable, asked: Asked) -> Iterator[tuple[str | None, Frames]]:
    """Each symbol that a column names, and the frames of its rows. Rows that name none stay with the first."""
    frames: Frames = table.frames if table.content.is_large else kept(table.frames())
    cells = (cell for frame in frames() for cell in frame["symbol"].drop_nulls().unique(maintain_order=True).to_list())
    named = {cell: symbol_in_cell(cell) for cell in cells if cell.strip()}
    symbols = list(dict.fromkeys(named.values()))
    if not symbols:
        yield None, frames
        return
    wanted = symbols if asked.symbol is None else [name for name in symbols if name == asked.symbol.upper()]
    if not wanted:
        raise Final(f"{table.content.name}: holds {', '.join(symbols[:5])}, not {asked.symbol}; leave --symbol out")
    owner = pl.col("symbol").replace_strict(named, default=symbols[0]).fill_null(symbols[0])
    for symbol in wanted:
        yield symbol, partial(_filled, frames, owner == symbol)


def _filled(frames: Frames, rows: pl.Expr) -> Iterator[pl.DataFrame]:
    parts = (frame.filter(rows) for frame in frames())
    return (part for part in parts if part.height)


def _told_form(content: Content, layout: Layout) -> TimeForm:
    """The form of the times, from the first lines; from many more where those leave day and month open."""
    for size in (_FORM_BYTES, _content.BLOCK_BYTES):
        times = _time_text(_typed(next(content.blocks(size), b""), layout, layout.skip))
        if not (times.str.strip_chars() != "").any():
            raise Final(f"{content.name}: has a header and no lines of bars; export it again")
        try:
            form = tell_form(times, content.name)
        except Final:
            content.check_packing()
            raise
        if form is not None:
            return form
    raise Final(f"{content.name}: in its times day and month cannot be told apart; write them as 2024-01-31 13:45:00")


def _time_text(cells: pl.DataFrame) -> pl.Series:
    """The cells that hold the moment: one column, or date and time in two."""
    return cells.select(pl.col("date") + " " + pl.col("time")).to_series() if "date" in cells.columns else cells["time"]


def _bare_cells(text: str, layout: Layout) -> list[str]:
    cells = split(text, layout.separator, layout.quotes)
    # A separator that quotes hid would split the cell again: it is a decimal comma, or text that nobody reads.
    return [cell.replace(layout.separator, "." if layout.decimal_comma else " ") for cell in cells]


def _typed(block: bytes, layout: Layout, skip: int) -> pl.DataFrame:
    """The block's cells, a row for each line: times and symbols as text, else Float64, null where they are not."""
    names = {number: name for name, number in layout.columns.items()}
    cells = [names.get(number, f"cell{number}") for number in range(layout.cells)]
    kinds: dict[str, pl.DataType] = {
        name: pl.Float64() if name in layout.columns and name not in _TEXTS else pl.String() for name in cells
    }
    schema = {**kinds, _BEYOND: pl.String()}
    if not block or (block[:1000].isspace() and not block.strip()):
        return pl.DataFrame(schema=schema)
    if layout.quotes == "drop":
        block = block.replace(b'"', b"")
    if layout.quotes == "keep" and layout.decimal_comma:
        block = _HIDDEN_COMMA.sub(rb'"\1.\2"', block)
    try:
        table = _parsed(block, layout, skip, schema)
    except pl.exceptions.PolarsError:  # not UTF-8
        table = _parsed(as_latin1(block), layout, skip, schema)
    if layout.quotes != "keep" or table.height == _lines_in(block) - skip:
        return table
    # A quote that nobody closed ate line ends: a row must stay a line.
    lines = block.decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    plain = "\n".join(layout.separator.join(_bare_cells(line, layout)) for line in lines)
    return _parsed(plain.encode(), replace(layout, quotes=""), skip, schema)


def _parsed(block: bytes, layout: Layout, skip: int, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    try:
        return pl.read_csv(
            block,
            has_header=False,
            skip_lines=skip,
            schema=schema,
            separator=layout.separator,
            quote_char='"' if layout.quotes == "keep" else None,
            decimal_comma=layout.decimal_comma and layout.separator != ",",
            ignore_errors=True,
            truncate_ragged_lines=True,
            extra_columns="ignore",
            missing_columns="insert",
        )
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=schema)


def _lines_in(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))
