"""MetaTrader 5 "Export bars" and "Export ticks": tabs, names in angle brackets, the server's clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from feature_store._errors import Final
from feature_store.sources._bars import Claim
from feature_store.sources._content import Content
from feature_store.sources._layout import layout_of, text_lines
from feature_store.sources._raw import Asked, RawBars
from feature_store.sources._text import read_text


class MetaTraderExport:
    """`<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL> <SPREAD>`; daily exports have no `<TIME>`, ticks have
    `<BID> <ASK>` and leave the side empty that did not change."""

    name: ClassVar[str] = "mt5_export"
    generic: ClassVar[bool] = False

    def recognises(self, content: Content) -> bool:
        return content.head[:200].lstrip().upper().startswith(b"<DATE>")

    def read(self, content: Content, asked: Asked) -> Iterator[RawBars]:
        layout = layout_of(text_lines(content.head))
        if layout is None or not layout.header:
            raise Final(
                f"{content.name}: has no prices under its header; export bars or ticks from the terminal's Symbols window"
            )
        yield from read_text(content, layout, asked, Claim(holds_last_side=layout.is_ticks))


SOURCE = MetaTraderExport()
