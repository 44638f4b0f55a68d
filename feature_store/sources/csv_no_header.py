"""Tables of text without a header: MetaTrader 4's export and others; what a cell is follows from the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import layout_of, text_lines
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text


class HeaderlessCsv:
    """`2013.12.04,00:55,open,high,low,close,volume` or the moment in one cell; `time,bid,ask` are ticks."""

    name: ClassVar[str] = "csv_no_header"
    generic: ClassVar[bool] = True

    def recognises(self, content: Content) -> bool:
        layout = layout_of(text_lines(content.head))
        return layout is not None and not layout.header

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        layout = layout_of(text_lines(content.head))
        assert layout is not None
        yield from read_text(content, layout, asked, Claim())


SOURCE = HeaderlessCsv()
