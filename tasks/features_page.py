"""One self-contained HTML page about the features on one series: alike, unknown, distributed, looking back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from feature_store.bars import SECONDS, seconds
from feature_store.features import Feature
from tasks._page import COLOURS, chips, figure_card, table, write_document
from tasks.feature_statistics import ALIKE, Distribution, FeatureStatistics

# Opposites at the ends and the page's own ground between them, light or dark.
_OPPOSITES = [[0.0, "#d2634b"], [0.5, "rgba(128,140,150,0.06)"], [1.0, "#2a86a8"]]
_MISSING = [[0.0, "rgba(128,140,150,0.06)"], [1.0, "#d2634b"]]
_GROUPS = (*COLOURS, "#b8860b", "#c06c94", "#4f9c9c", "#8a6f5c", "#6f8fd0", "#a3a847", "#8f5bb0", "#6b7d8c")
_NAMED_PAIRS = 60
_MARKED = 0.01
_STYLE = """<style>
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 12px 16px }
.small div { min-width: 0 } .small b { display: block; font-size: 13px; overflow-wrap: anywhere; line-height: 1.25 }
.small svg { display: block; width: 100%; height: 54px; margin: 4px 0 1px }
.small .ends, .small .note { font-size: 11px; color: var(--soft); font-variant-numeric: tabular-nums }
.small .ends { display: flex; justify-content: space-between }
.legend span { font-size: 13px; margin-right: 14px; white-space: nowrap }
td.wide { white-space: normal; text-align: left; min-width: 220px } .broad { min-width: 760px }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px }
</style>"""


def write_features_page(path: Path, found: FeatureStatistics) -> Path:
    """Write the page. It needs no network and no other file."""
    colours = _colours(found.features)
    parts = [_head(found), _alike(found), _unknown(found), _lookbacks(found, colours), _distributions(found, colours)]
    write_document(path, f"Tradewind: features on {found.series}", _STYLE + "\n".join([*parts, _definitions(found)]))
    return path


def _colours(features: Sequence[Feature]) -> dict[str, str]:
    groups = dict.fromkeys(f.group for f in features)
    return {group: _GROUPS[number % len(_GROUPS)] for number, group in enumerate(groups)}


def _head(found: FeatureStatistics) -> str:
    gone = int((found.missing >= 1.0).sum())
    facts = [
        f"{len(found.features)} features",
        f"{found.rows:,} rows",
        f"{found.first} to {found.last}",
        f"warm-up {found.warmup_bars:,} rows, left out",
        f"{len(found.alike())} pairs alike",
        f"{int((found.missing > _MARKED).sum())} unknown in more than {_MARKED:.0%}",
        f"hash {found.hash[:16]}",
    ]
    note = f"<p class='sub bad'>{gone} features are unknown on every row of this series.</p>" if gone else ""
    return f"<h1>Features on {escape(found.series)}</h1>{chips(facts)}{note}"


def _alike(found: FeatureStatistics) -> str:
    names = [found.names[i] for i in found.order]
    shown = np.round(found.correlation[np.ix_(found.order, found.order)], 2)
    figure = go.Figure(
        go.Heatmap(
            z=shown, x=names, y=names, zmin=-1, zmax=1, colorscale=_OPPOSITES, hoverongaps=False,
            colorbar={"thickness": 10, "len": 0.5, "y": 1.0, "yanchor": "top", "outlinewidth": 0},
            hovertemplate="%{y}<br>%{x}<br>correlation %{z:.2f}<extra></extra>",
        )
    )  # fmt: skip
    size = max(8, min(11, 900 // max(len(names), 1)))
    labels = {"tickfont": {"size": size}, "showgrid": False, "ticks": "", "automargin": True, "dtick": 1}
    figure.update_xaxes(tickangle=-90, **labels).update_yaxes(autorange="reversed", **labels)
    card = figure_card(figure, "Correlation, the alike side by side", int(220 + (size + 4) * len(names)))
    # On a phone the card is scrolled: squeezed, the cells could not be told apart.
    card = card.replace("<div class=card>", "<div class=card><div class=broad>", 1) + "</div>"
    return f"<h2>Alike</h2>{card}<div class=card>{_pairs(found)}</div>"


def _pairs(found: FeatureStatistics) -> str:
    pairs = found.alike()
    if not pairs:
        return f"No two features correlate beyond {ALIKE} on this series."
    rows = [f"<td>{escape(a)}<td class=text>{escape(b)}<td>{c:+.3f}" for a, b, c in pairs[:_NAMED_PAIRS]]
    more = f"<p class=sub>{len(pairs) - _NAMED_PAIRS} more pairs are not shown.</p>" if len(pairs) > _NAMED_PAIRS else ""
    note = (
        "<p class=sub>Pearson correlation over rows on which both are known. "
        f"Pairs beyond {ALIKE}: a model learns nothing from the second that the first did not tell it.</p>"
    )
    return table(["feature", "and", "correlation"], rows) + more + note


def _unknown(found: FeatureStatistics) -> str:
    some = [int(i) for i in np.argsort(-found.missing, kind="stable") if found.missing[i] > 0]
    if not some:
        return "<h2>Unknown</h2><div class=card>Every feature is known on every row after warm-up.</div>"
    names = [found.names[i] for i in some]
    height = 150 + 17 * len(names)
    shares = go.Figure(
        go.Bar(
            x=found.missing[some], y=names, orientation="h", marker_color=COLOURS[1],
            text=[f"{found.missing[i]:.2%}" for i in some], textposition="outside", cliponaxis=False,
            hovertemplate="%{y}: %{x:.2%}<extra></extra>",
        )
    )  # fmt: skip
    longest = float(found.missing[some[0]])
    shares.update_xaxes(tickformat=".1%" if longest < 0.1 else ".0%", range=[0, longest * 1.15])
    shares.update_yaxes(autorange="reversed", automargin=True, dtick=1, tickfont={"size": 10})
    over_time = go.Figure(
        go.Heatmap(
            z=np.round(found.missing_by_period[:, some].T, 4), x=list(found.periods), y=names, zmin=0, zmax=1,
            colorscale=_MISSING, colorbar={"thickness": 10, "tickformat": ".0%", "outlinewidth": 0},
            hovertemplate="%{y}<br>from %{x}: %{z:.1%}<extra></extra>",
        )
    )  # fmt: skip
    over_time.update_xaxes(type="category", nticks=12, showgrid=False)
    over_time.update_yaxes(autorange="reversed", automargin=True, dtick=1, tickfont={"size": 10}, showgrid=False)
    never = len(found.names) - len(some)
    note = f"<p class=sub>The other {never} features are known on every row after warm-up.</p>" if never else ""
    return (
        "<h2>Unknown</h2>"
        + figure_card(shares, "Share of rows on which a feature is unknown", height)
        + figure_card(over_time, "When they are unknown", height + 20)
        + note
    )


def _lookbacks(found: FeatureStatistics, colours: dict[str, str]) -> str:
    figure = go.Figure()
    for group, colour in colours.items():
        members = [f for f in found.features if f.group == group]
        figure.add_scatter(
            x=[f.reach_bars * _frame_seconds(f, found) / 3600 for f in members], y=[group] * len(members), mode="markers",
            marker={"size": 12, "color": colour, "opacity": 0.55}, showlegend=False,
            text=[f"{f.name}: {f.reach_bars} bars of {_frame(f, found)}" for f in members],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    ticks = {"1 h": 1, "4 h": 4, "1 day": 24, "1 week": 120, "1 month": 520, "1 year": 6240}
    figure.update_xaxes(
        type="log", tickvals=list(ticks.values()), ticktext=list(ticks), title="market time that one value looks back on"
    )
    figure.update_yaxes(automargin=True, autorange="reversed")
    return "<h2>Lookback</h2>" + figure_card(figure, "How far features look back", 130 + 34 * len(colours))


def _frame(feature: Feature, found: FeatureStatistics) -> str:
    return feature.home.upper() if feature.home.upper() in SECONDS else f"{feature.home} {found.timeframe}".strip()


def _frame_seconds(feature: Feature, found: FeatureStatistics) -> int:
    return SECONDS.get(feature.home.upper(), seconds(found.timeframe))


def _distributions(found: FeatureStatistics, colours: dict[str, str]) -> str:
    cells = [
        f"<div><b>{escape(f.name)}</b>{_histogram(shown, colours[f.group])}</div>"
        for f, shown in zip(found.features, found.distributions, strict=True)
    ]
    legend = "".join(f"<span><i style='background:{c}'></i>{escape(g)}</span>" for g, c in colours.items())
    note = "<p class=sub>From the 0.5th to the 99.5th percentile; the tick, and the number in the middle, is the median.</p>"
    return (
        f"<h2>Distributions</h2><div class=card><p class=legend>{legend}</p><div class=small>{''.join(cells)}</div>{note}</div>"
    )


def _histogram(shown: Distribution | None, colour: str) -> str:
    if shown is None:
        return "<p class=note>unknown on every row</p>"
    top, n = max(shown.counts) or 1, len(shown.counts)
    steps = "".join(f"V{60 - 56 * count / top:.1f}h{200 / n:.3f}" for count in shown.counts)
    middle = 200 * (shown.median - shown.low) / (shown.high - shown.low)
    ends = "".join(f"<span>{_short(v)}</span>" for v in (shown.low, shown.median, shown.high))
    said = f"mean {_short(shown.mean)}, deviation {_short(shown.deviation)}"
    return (
        f"<svg viewBox='0 0 200 66' preserveAspectRatio=none role=img aria-label='{said}'><title>{said}</title>"
        f"<path d='M0 60{steps}V60Z' fill='{colour}'/>"
        f"<rect x={middle - 0.75:.1f} y=60 width=1.5 height=6 fill=currentColor /></svg>"
        f"<div class=ends>{ends}</div>"
    )


def _short(value: float) -> str:
    if abs(value) < 1e-9:
        return "0"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _definitions(found: FeatureStatistics) -> str:
    titles = ["feature", "group", "lookback", "unknown", "mean", "deviation", "definition", "source"]
    rows = "".join(f"<tr>{row}</tr>" for row in _rows(found))
    head = "".join(f"<th{' style=text-align:left' if t in ('definition', 'source') else ''}>{t}" for t in titles)
    return f"<h2>Definitions</h2><div class=card><table><tr>{head}</tr>{rows}</table></div>"


def _rows(found: FeatureStatistics) -> Iterator[str]:
    for feature, missing, shown in zip(found.features, found.missing, found.distributions, strict=True):
        numbers = ["-", "-"] if shown is None else [_short(shown.mean), _short(shown.deviation)]
        written = f"your own, {Path(feature.file).name}" if feature.file else ""
        source = escape("; ".join(part for part in (written, feature.source) if part))
        cells = [
            feature.group, f"{feature.reach_bars} {_frame(feature, found)}", f"{missing:.2%}" if missing else "0", *numbers,
        ]  # fmt: skip
        yield (
            f"<td><b>{escape(feature.name)}</b>"
            + "".join(f"<td>{escape(cell)}" for cell in cells)
            + f"<td class=wide>{escape(feature.description)}<td class=wide>{source}"
        )
