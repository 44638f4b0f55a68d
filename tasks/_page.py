"""What every page of ours is made of: the document with its style, cards with figures, tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tasks.home import write_text

COLOURS = ("#2a86a8", "#d2634b", "#5f9460", "#9b78a6", "#d09a5c", "#7884b8", "#7fb29b")

_STYLE = Path(__file__).with_name("report_page.css").read_text(encoding="utf-8")
# Figures know nothing of dark mode: what is drawn on a clear ground in middle tones is read on both.
_TEXT, _GRID = "#7b8794", "rgba(128,140,150,0.22)"


def write_document(path: Path, title: str, body: str) -> None:
    """Write a page of `body` (HTML), whole or not at all. It needs no network and no other file."""
    write_text(
        path,
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title>"
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>",
    )


def chips(words: Sequence[str]) -> str:
    """Facts of one or two words side by side."""
    return "<div class=words>" + "".join(f"<span>{escape(word)}</span>" for word in words) + "</div>"


def table(titles: Sequence[str], rows: Sequence[str]) -> str:
    """A table; each row is HTML that starts with `<td>`."""
    head = "<tr>" + "".join(f"<th>{escape(title)}" for title in titles) + "</tr>" if titles else ""
    return f"<table>{head}" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def figure_card(figure: go.Figure, title: str, height: int = 340) -> str:
    """The figure in a card, in the style of all of them."""
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 44},
        template="plotly_white",
        colorway=COLOURS,
        legend={"orientation": "h", "y": -0.18},
        font={"family": "system-ui, Segoe UI, sans-serif", "size": 13, "color": _TEXT},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": _GRID, "activecolor": _TEXT},
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID, linecolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID, linecolor=_GRID)
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    # Beside the figure, not in it: a title of plotly is cut off on a phone.
    return f"<div class=card><h3>{escape(title)}</h3>{html}</div>"
