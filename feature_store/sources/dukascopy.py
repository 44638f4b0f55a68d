"""Dukascopy's JForex export: `01.01.2017 22:00:00.000` (day first), one side to a file, volume as an amount."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import layout_of, text_lines
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text

_LINE = re.compile(r"\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}\.\d{3}( GMT[+-]\d{4})?[,;].*")


class Dukascopy:
    """`Gmt time` is UTC, `Local time` carries its offset, `Time` says nothing. Side from the file's name."""

    name: ClassVar[str] = "dukascopy"
    generic: ClassVar[bool] = False

    def recognises(self, content: Content) -> bool:
        lines = text_lines(content.head)[1:20]
        return bool(lines) and all(_LINE.fullmatch(line) for line in lines) and layout_of(text_lines(content.head)) is not None

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        layout = layout_of(text_lines(content.head))
        assert layout is not None
        says_gmt = any("gmt" in name.lower() for name in layout.header)
        claim = Claim(label="its header says GMT" if says_gmt else "", volume_is_amount=not layout.is_ticks)
        yield from read_text(content, layout, asked, claim)


SOURCE = Dukascopy()
