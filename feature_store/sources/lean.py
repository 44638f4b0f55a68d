"""QuantConnect Lean: milliseconds since midnight and no header; the day stands in the name of the file or its zip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from feature_store._errors import Final
from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import ASKS, PRICES, Layout, text_lines
from feature_store.sources._names import day_in_name
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text
from feature_store.sources._times import milliseconds_of_day

_DAY_MS = 86_400_000
_LINE = re.compile(r"\d{1,8}(,[\d.]*)+\s*")
# Cells behind the time: bid bar, size, ask bar, size; bid, ask; bid, size, ask, size.
_COLUMNS: dict[int, dict[str, int]] = {
    11: {"time": 0, **dict(zip(PRICES, range(1, 5), strict=True)), **dict(zip(ASKS, range(6, 10), strict=True))},
    6: {"time": 0, **dict(zip(PRICES, range(1, 5), strict=True)), "tick_volume": 5},
    5: {"time": 0, "bid": 1, "ask": 3},
    3: {"time": 0, "bid": 1, "ask": 2},
}


class Lean:
    """Quote bars of a day (`minute`, `second`) and quotes (`tick`). The clock differs from market to market."""

    name: ClassVar[str] = "lean"
    generic: ClassVar[bool] = False

    def recognises(self, content: Content) -> bool:
        lines = [line for line in text_lines(content.head)[:50] if line]
        if not lines or not all(_LINE.fullmatch(line) for line in lines):
            return False
        cells = {line.count(",") + 1 for line in lines}
        times = [int(line.partition(",")[0]) for line in lines]
        return cells <= _COLUMNS.keys() and len(cells) == 1 and times[-1] < _DAY_MS and times == sorted(times)

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        day = day_in_name(content.names)
        if day is None:
            raise Final(
                f"{content.name}: its times count from midnight and no name says of which day; name it 20140502_quote.zip"
            )
        cells = text_lines(content.head)[0].count(",") + 1
        layout = Layout(",", 0, cells, _COLUMNS[cells])
        for raw in read_text(content, layout, asked, Claim(), milliseconds_of_day(day)):
            yield replace(raw, is_day=True)


SOURCE = Lean()
