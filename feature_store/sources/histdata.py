"""HistData.com: `20170306 000000;open;high;low;close;0` without a header, and ticks `20170306 000000123,bid,ask,0`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from feature_store._errors import Final
from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import layout_of, text_lines
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text

_BAR = re.compile(r"\d{8} \d{6};[\d.]+;[\d.]+;[\d.]+;[\d.]+;\d+\s*")
_TICK = re.compile(r"\d{8} \d{9},[\d.]+,[\d.]+,\d+\s*")


class HistData:
    """The site says Eastern time without daylight saving; its files of minutes follow New York all year."""

    name: ClassVar[str] = "histdata"
    generic: ClassVar[bool] = False

    def recognises(self, content: Content) -> bool:
        lines = text_lines(content.head)[:20]
        return sum(bool(_BAR.fullmatch(line) or _TICK.fullmatch(line)) for line in lines) > len(lines) // 2

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        layout = layout_of(text_lines(content.head))
        if layout is None:
            raise Final(f"{content.name}: starts as a file of HistData and goes on as something else; fetch it again")
        yield from read_text(content, layout, asked, Claim(label="HistData says New York without daylight saving"))


SOURCE = HistData()
