"""Any table of text with a header of sane names: bars or ticks; comma, semicolon, tab or bar between the cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import bare, layout_of, text_lines
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text


class GenericCsv:
    """Columns found by name: a moment (or date and time), open, high, low, close or bid and ask; volumes and spread.

    Times need a clock from elsewhere, unless an offset (`+00:00`, `Z`) stands behind each.
    """

    name: ClassVar[str] = "csv_generic"
    generic: ClassVar[bool] = True

    def recognises(self, content: Content) -> bool:
        layout = layout_of(text_lines(content.head))
        return layout is not None and bool(layout.header)

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        layout = layout_of(text_lines(content.head))
        assert layout is not None
        zone = {bare(name) for name in layout.header} & {"gmttime", "utctime", "utc", "timegmt", "timeutc", "datetimeutc"}
        yield from read_text(content, layout, asked, Claim(label="its header says UTC" if zone else ""))


SOURCE = GenericCsv()
