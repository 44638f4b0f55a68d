"""One self-contained HTML page about a retrain and, when there is one, an account's trading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tasks.home import write_text
from tasks.results import RetrainReport

_COLOURS = ("#1f6f8b", "#c8553d", "#588157", "#8e6c8a", "#d4a373", "#3d405b", "#81b29a")

_STYLE = """
:root { --ink: #1c2733; --soft: #5b6b7b; --line: #dfe6ec; --paper: #ffffff; --wash: #f4f7f9; --good: #2e7d55; --stop: #9a5b13; }
* { box-sizing: border-box } body { margin: 0; background: var(--wash); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px } h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 18px; margin: 34px 0 10px }
.sub { color: var(--soft) } .banner { border-radius: 8px; padding: 16px 20px; color: #fff; margin: 18px 0; font-size: 17px }
.banner.yes { background: var(--good) } .banner.no { background: var(--stop) } .banner small { display: block; opacity: .9; font-size: 14px }
.words span { display: inline-block; background: var(--paper); border: 1px solid var(--line); border-radius: 99px; padding: 1px 11px; margin: 0 6px 6px 0; font-size: 13px }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; margin: 12px 0; overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums } th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600; font-size: 13px } td:first-child, th:first-child { text-align: left } td.text { white-space: normal; text-align: left; min-width: 240px }
tr.total td { font-weight: 700; border-top: 2px solid var(--ink) } .bad { color: #b3261e } .ok { color: var(--good) }
"""


@dataclass(frozen=True)
class AccountPage:
    """An account's trading as the page shows it. Money in `currency`; curves are [UTC epoch s, value]."""

    name: str
    mode: str
    currency: str
    start_balance: float
    end_balance: float
    costs: dict[str, float]
    equity: Sequence[tuple[float, float]]
    trades: Sequence[dict[str, Any]] = field(default_factory=tuple)
    decisions: dict[str, int] = field(default_factory=dict)
    latency_ms: float | None = None


def write_page(path: Path, report: RetrainReport, *, account: AccountPage | None = None, quality: Sequence[str] = ()) -> Path:
    """Write the page. It needs no network and no other file."""
    parts = [_head(report), _verdict(report), _leaderboard(report), _figures(report)]
    if account is not None:
        parts.append(_account(account))
    if quality:
        parts.append("<h2>Data quality</h2><div class=card>" + "<br>".join(escape(line) for line in quality) + "</div>")
    body = "\n".join(parts)
    title = f"Tradewind: {escape(report.pipeline)} {escape(report.as_of)}"
    write_text(
        path,
        f"<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>",
    )
    return path


def _head(report: RetrainReport) -> str:
    words = [
        f"{report.mode} market",
        f"{report.cost_source} costs",
        f"feed {report.feed}",
        f"{', '.join(report.symbols)} {report.timeframe}",
    ]
    chips = "".join(f"<span>{escape(w)}</span>" for w in [*words, f"as of {report.as_of}", f"snapshot {report.snapshot}"])
    return f"<h1>Pipeline {escape(report.pipeline)}</h1><div class=words>{chips}</div>"


def _verdict(report: RetrainReport) -> str:
    kind = "yes" if report.promoted else "no"
    title = f"Champion: {report.promoted}" if report.promoted else "No edge: nothing promoted"
    return f"<div class='banner {kind}'><b>{escape(title)}</b><small>{escape(str(report.verdict['summary']))}</small></div>"


def _cell(value: float, pattern: str) -> str:
    return format(value, pattern) if np.isfinite(value) else "-"


def _leaderboard(report: RetrainReport) -> str:
    head = (
        "<tr><th>family<th>direction AUC<th>90 % interval<th>skill<th>Brier<th>calibr. error<th>net Sharpe<th>trades"
        "<th>holdout AUC<th>holdout skill<th>holdout Sharpe<th>row &micro;s<th>train s<th>trials<th>device<th>verdict</tr>"
    )
    rows = "".join(
        f"<tr><td><b>{escape(r['family'])}</b><td>{_cell(r['auc'], '.3f')}<td>{_cell(r['auc_low'], '.3f')} to {_cell(r['auc_high'], '.3f')}"
        f"<td>{_cell(r['skill'], '+.2%')}<td>{_cell(r['brier'], '.4f')}<td>{_cell(r['calibration_error'], '.3f')}<td>{_cell(r['net_sharpe'], '+.2f')}"
        f"<td>{r['trades']}<td>{_cell(r['holdout_auc'], '.3f')}<td>{_cell(r['holdout_skill'], '+.2%')}<td>{_cell(r['holdout_net_sharpe'], '+.2f')}"
        f"<td>{_cell(r['latency_us'], '.0f')}<td>{_cell(r['train_s'], '.1f')}<td>{r['trials']}<td>{escape(r['device'])}<td>{escape(r['verdict'])}</tr>"
        for r in report.rows()
    )
    reasons = "".join(f"<tr><td><b>{escape(r['family'])}</b><td class=text>{escape(r['reason'])}</tr>" for r in report.rows())
    note = "<p class=sub>Out of sample unless a column says holdout; every number computed from the ONNX file.</p>"
    return f"<h2>Leaderboard</h2><div class=card><table>{head}{rows}</table>{note}</div><h2>Why</h2><div class=card><table>{reasons}</table></div>"


def _figure(figure: go.Figure, title: str, height: int = 340) -> str:
    figure.update_layout(
        title={"text": title, "font": {"size": 15}},
        height=height,
        margin={"l": 60, "r": 20, "t": 48, "b": 44},
        template="plotly_white",
        colorway=_COLOURS,
        legend={"orientation": "h", "y": -0.18},
        font={"family": "system-ui, Segoe UI, sans-serif", "size": 13},
    )
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    return f"<div class=card>{html}</div>"


def _figures(report: RetrainReport) -> str:
    return "<h2>Pictures</h2>" + _intervals(report) + _reliability(report) + _equity(report) + _importance(report)


def _intervals(report: RetrainReport) -> str:
    figure = go.Figure()
    for kind in ("oos", "holdout"):
        scores = [getattr(f, kind) for f in report.families]
        figure.add_scatter(
            x=[s.auc for s in scores],
            y=[f.family for f in report.families],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [s.auc_high - s.auc for s in scores],
                "arrayminus": [s.auc - s.auc_low for s in scores],
            },
            mode="markers",
            marker={"size": 10},
            name="out of sample" if kind == "oos" else "holdout",
        )
    figure.add_vline(x=0.5, line_dash="dash", line_color="#999")
    figure.update_xaxes(title="direction AUC, 90 % block-bootstrap interval; 0.5 is a coin")
    return _figure(figure, "How well is the direction told?")


def _reliability(report: RetrainReport) -> str:
    figure = go.Figure()
    for family in report.families:
        bins = np.array(family.reliability, dtype=np.float64).reshape(-1, 3)
        figure.add_scatter(x=bins[:, 0], y=bins[:, 1], mode="lines+markers", name=family.family)
    ends = [v for f in report.families for b in f.reliability for v in b[:2]] or [0.0, 1.0]
    figure.add_scatter(
        x=[min(ends), max(ends)], y=[min(ends), max(ends)], mode="lines", line={"dash": "dash", "color": "#999"}, name="perfect"
    )
    figure.update_xaxes(title="predicted share of long").update_yaxes(title="share that was long")
    return _figure(figure, "Reliability, out of sample")


def _times(curve: np.ndarray[Any, Any]) -> list[str]:
    return [str(t) for t in curve[:, 0].astype("datetime64[s]")]


def _equity(report: RetrainReport) -> str:
    figure = go.Figure()
    for family in report.families:
        curve = np.array(family.equity, dtype=np.float64).reshape(-1, 2)
        figure.add_scatter(x=_times(curve), y=curve[:, 1], mode="lines", name=family.family)
    figure.update_yaxes(title="account equity")
    return _figure(figure, f"Equity over the holdout, net of every cost ({report.mode}, {report.cost_source} costs)")


def _importance(report: RetrainReport) -> str:
    figure = go.Figure()
    shown = [f for f in report.families if f.importance]
    totals: dict[str, float] = {}
    for family in shown:
        for name, share in family.importance.items():
            totals[name] = totals.get(name, 0.0) + share
    top = sorted(totals, key=lambda name: totals[name])[-12:]
    for family in shown:
        figure.add_bar(x=[family.importance.get(n, 0.0) for n in top], y=top, orientation="h", name=family.family)
    figure.update_layout(barmode="group")
    figure.update_xaxes(title="share of the model", tickformat=".0%")
    return _figure(figure, "What the models look at", 460) if top else ""


def _account(account: AccountPage) -> str:
    money = [("price moves, before costs", "gross"), ("spread paid", "spread"), ("commission", "commission"), ("swap", "swap")]
    rows = "".join(f"<tr><td>{label}<td>{account.costs[key]:+,.2f}</tr>" for label, key in money)
    total = f"<tr class=total><td>net<td>{account.costs['net']:+,.2f}</tr>"
    words = f"{account.start_balance:,.2f} to {account.end_balance:,.2f} {escape(account.currency)}, {len(account.trades)} trades"
    if account.latency_ms is not None:
        words += f", median bar-in to order-out {account.latency_ms:.1f} ms"
    table = f"<div class=card><b>{escape(words)}</b><table><tr><th>{escape(account.mode)} account<th>{escape(account.currency)}</tr>{rows}{total}</table></div>"
    curve = np.array(account.equity, dtype=np.float64).reshape(-1, 2)
    figure = go.Figure(go.Scatter(x=_times(curve), y=curve[:, 1], mode="lines", name="equity"))
    figure.update_yaxes(title=account.currency)
    parts = [f"<h2>Account {escape(account.name)}</h2>", table, _figure(figure, f"Equity of the {account.mode} account")]
    if account.decisions:
        why = "".join(
            f"<tr><td>{escape(rule)}<td>{count}</tr>" for rule, count in sorted(account.decisions.items(), key=lambda i: -i[1])
        )
        parts.append(f"<div class=card><table><tr><th>decision at a closed bar<th>count</tr>{why}</table></div>")
    if account.trades:
        parts.append(_trades(account))
    return "".join(parts)


def _trades(account: AccountPage) -> str:
    columns = list(account.trades[0])
    head = "".join(f"<th>{escape(c)}" for c in columns)
    rows = "".join("<tr>" + "".join(f"<td>{_plain(t[c])}" for c in columns) + "</tr>" for t in list(account.trades)[-40:])
    note = f"<p class=sub>The last {min(40, len(account.trades))} of {len(account.trades)} trades.</p>"
    return f"<h2>Trades</h2><div class=card><table><tr>{head}</tr>{rows}</table>{note}</div>"


def _plain(value: Any) -> str:
    return f"{value:,.5g}" if isinstance(value, float) else escape(str(value))
