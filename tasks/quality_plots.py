"""Pictures of bars: price with what is odd about it, spreads, weeks, hours, returns. Long series keep their extremes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from feature_store.bars import bar_close, epoch_s
from feature_store.clock import new_york_hour
from feature_store.quality import Agreement, Counted, Gap, Jump, QualityReport, Regime, activity
from tasks._page import COLOURS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_COLUMNS = 1400  # about the pixels of a wide screen: more points would lie on each other
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_BINS = np.linspace(-15.0, 15.0, 121)
_SOFT = "rgba(42,134,168,0.30)"


def _text(times_s: npt.ArrayLike) -> list[str]:
    return [str(t) for t in np.asarray(times_s, dtype=np.int64).astype("datetime64[s]")]


def columns_of(times: IntArray) -> IntArray:
    """First row of each of at most `_COLUMNS` columns of equal width in time; rows without a bar have none."""
    if len(times) <= _COLUMNS:
        return np.arange(len(times))
    edges = np.linspace(times[0], times[-1], _COLUMNS + 1)[:-1]
    return np.unique(np.searchsorted(times, edges))


def price(report: QualityReport, bars: pl.DataFrame) -> go.Figure:
    """Highest, lowest and last price of each column, with holes, jumps and spikes where they are."""
    times = epoch_s(bars["time"])
    starts = columns_of(times)
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    top, bottom = np.maximum.reduceat(high, starts), np.minimum.reduceat(low, starts)
    last = close[np.append(starts[1:], len(close)) - 1]
    at = _text(times[starts])
    figure = go.Figure()
    figure.add_scatter(x=at, y=bottom, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    figure.add_scatter(
        x=at, y=top, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=_SOFT, name="low to high", hoverinfo="skip"
    )
    figure.add_scatter(x=at, y=last, mode="lines", line={"width": 1, "color": COLOURS[0]}, name="close")
    _mark(figure, report.jumps, bars, "jump, kept", "triangle-up", COLOURS[1])
    _mark(figure, report.spikes, bars, "spike and back", "x-thin-open", COLOURS[4])
    _mark_gaps(figure, report.gaps, float(bottom.min()))
    figure.update_yaxes(title=report.symbol)
    return figure


def _mark(figure: go.Figure, moves: Sequence[Jump], bars: pl.DataFrame, name: str, symbol: str, colour: str) -> None:
    """A jump at its close, a spike at its tip."""
    if not moves:
        return
    rows = bars[np.searchsorted(epoch_s(bars["time"]), [int(move.time.timestamp()) for move in moves])]
    tips = [
        row[("high" if move.return_bp > 0 else "low") if name.startswith("spike") else "close"]
        for row, move in zip(rows.iter_rows(named=True), moves, strict=True)
    ]
    figure.add_scatter(
        x=_text(epoch_s(rows["time"])),
        y=tips,
        mode="markers",
        marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 2 if "open" in symbol else 0, "color": colour}},
        name=name,
        text=[f"{move.return_bp:+.0f} bp" for move in moves],
        hovertemplate="%{x}<br>%{text}",
    )


def _mark_gaps(figure: go.Figure, gaps: Sequence[Gap], floor: float) -> None:
    holes = [gap for gap in gaps if gap.kind == "hole"]
    if not holes:
        return
    middle = [(gap.start.timestamp() + gap.end.timestamp()) / 2 for gap in holes]
    figure.add_scatter(
        x=_text(middle),
        y=[floor] * len(holes),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 14, "color": COLOURS[3], "line": {"width": 2}},
        name="hole",
        text=[f"{gap.bars_missing} bars missing" for gap in holes],
        hovertemplate="%{x}<br>%{text}",
    )


def spread_over_time(report: QualityReport, bars: pl.DataFrame) -> go.Figure:
    """Median and 95th percentile of each day above, the share of zero and unknown spreads of each month below."""
    known = bars.lazy().select("time", "spread_points").drop_nulls()
    daily = (
        known.group_by_dynamic("time", every="1d")
        .agg(pl.col("spread_points").median().alias("median"), pl.col("spread_points").quantile(0.95).alias("p95"))
        .collect()
    )
    times = epoch_s(daily["time"])
    starts = columns_of(times)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.06)
    figure.add_scatter(
        x=_text(times[starts]), y=np.maximum.reduceat(daily["p95"].to_numpy(), starts), mode="lines",
        line={"width": 1, "color": _SOFT}, name="95th percentile of the day", row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=_text(times[starts]), y=daily["median"].to_numpy()[starts], mode="lines",
        line={"width": 1, "color": COLOURS[0]}, name="median of the day", row=1, col=1,
    )  # fmt: skip
    _steps(figure, report.regimes)
    months = [f"{month.month}-01" for month in report.months]
    for name, shares, colour in (
        ("zero", [m.spread_zero_share for m in report.months], COLOURS[1]),
        ("unknown", [m.spread_unknown_share for m in report.months], COLOURS[5]),
    ):
        if any(shares):
            figure.add_bar(x=months, y=shares, name=f"{name}, share of the month", marker_color=colour, row=2, col=1)
    figure.update_layout(barmode="stack", bargap=0.1)
    figure.update_yaxes(title="points", row=1, col=1)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", row=2, col=1)
    return figure


def _steps(figure: go.Figure, regimes: Sequence[Regime]) -> None:
    if len(regimes) < 2:
        return
    x: list[str | None] = []
    y: list[float | None] = []
    for regime in regimes:
        x += [f"{regime.start:%Y-%m-%d}", f"{regime.end:%Y-%m-%d}", None]
        y += [regime.median_points, regime.median_points, None]
    figure.add_scatter(x=x, y=y, mode="lines", line={"width": 3, "color": COLOURS[1]}, name="regime, median", row=1, col=1)


def spread_by_hour(bars: pl.DataFrame) -> go.Figure:
    """Median, 95th percentile and largest spread at each New York hour, of the spreads above zero."""
    positive = bars.select("time", "spread_points").filter(pl.col("spread_points") > 0)
    spread = pl.col("spread_points")
    table = (
        positive.lazy()
        .select(pl.lit(pl.Series("hour", new_york_hour(epoch_s(positive["time"])))), spread)
        .group_by("hour")
        .agg(spread.median().alias("median"), spread.quantile(0.95).alias("p95"), spread.max().alias("largest"))
        .sort("hour")
        .collect()
    )
    figure = go.Figure()
    for name, column, colour in (
        ("median", "median", COLOURS[0]),
        ("95th percentile", "p95", COLOURS[4]),
        ("largest", "largest", COLOURS[1]),
    ):
        figure.add_scatter(
            x=table["hour"].to_list(),
            y=table[column].to_list(),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            name=name,
        )
    figure.update_xaxes(title="hour, New York", dtick=2, range=[-0.5, 23.5])
    figure.update_yaxes(title="points", type="log", dtick="D2")
    return figure


def weeks(counted: Counted) -> go.Figure:
    """Bars found in each week against bars expected, holidays and daily breaks left out."""
    at = _text(counted.start_s)
    figure = go.Figure()
    figure.add_bar(x=at, y=counted.bars.tolist(), name="found", marker={"color": COLOURS[0], "line": {"width": 0}})
    figure.add_scatter(
        x=at, y=counted.expected.tolist(), mode="lines", line={"width": 1.2, "color": COLOURS[1], "shape": "hvh"}, name="expected"
    )
    figure.update_layout(bargap=0)
    figure.update_yaxes(title="bars a week", rangemode="tozero")
    return figure


def hours(bars: pl.DataFrame) -> tuple[go.Figure, str]:
    """Activity at each New York hour of the week, and what is measured."""
    values, what = activity(epoch_s(bars["time"]), bars)
    shown = np.roll(values, 1, axis=0)  # Sunday first, when the week opens
    top = float(np.nanquantile(shown, 0.98))
    figure = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(v) else float(v) for v in row] for row in shown],
            x=list(range(24)),
            y=list(_DAYS),
            zmin=0.0,
            zmax=top if top > 0 else 1.0,
            colorscale=[[0.0, "rgba(42,134,168,0.06)"], [0.5, "#2a86a8"], [1.0, "#d2634b"]],
            colorbar={"thickness": 12},
            hovertemplate="%{y} %{x}:00 New York: %{z:.4g}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_xaxes(title="hour, New York", dtick=2, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure, what


def returns(report: QualityReport, bars: pl.DataFrame) -> go.Figure | None:
    """Density of returns in standard deviations beside the normal one, on a logarithmic scale; None without any."""
    times, close = epoch_s(bars["time"]), np.log(bars["close"].to_numpy())
    moves = np.diff(close)[times[1:] == bar_close(times, report.timeframe)[:-1]]
    deviation = float(moves.std()) if len(moves) else 0.0
    if deviation == 0.0:
        return None
    scaled = np.clip(moves / deviation, _BINS[0], _BINS[-1])
    density, edges = np.histogram(scaled, bins=_BINS, density=True)
    middle = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi)
    floor = 0.5 / (len(moves) * (edges[1] - edges[0]))
    figure = go.Figure()
    figure.add_bar(x=middle, y=np.where(density > 0, density, np.nan), name="bars", marker_color=COLOURS[0])
    shown = normal > floor
    figure.add_scatter(x=middle[shown], y=normal[shown], mode="lines", line={"color": COLOURS[1], "width": 2}, name="normal")
    figure.update_layout(bargap=0)
    figure.update_xaxes(title=f"1 = {deviation * 1e4:.2f} bp; ends hold the rest")
    figure.update_yaxes(type="log", title="density", range=[float(np.log10(floor)), 0.3], exponentformat="power")
    return figure


def agreements(found: Sequence[Agreement]) -> go.Figure | None:
    """Correlation of returns with each other feed by month; None when no month is shared."""
    shared = [agreement for agreement in found if agreement.months]
    if not shared:
        return None
    figure = go.Figure()
    for agreement in shared:
        figure.add_scatter(
            x=[f"{month}-15" for month, _ in agreement.months],
            y=[value for _, value in agreement.months],
            mode="lines+markers",
            marker={"size": 4},
            line={"width": 1.2},
            name=f"with {agreement.other}",
        )
    lowest: Any = min(value for agreement in shared for _, value in agreement.months)
    figure.update_yaxes(title="correlation", range=[min(0.9, lowest - 0.03), 1.005])
    return figure
