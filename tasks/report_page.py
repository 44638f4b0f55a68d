"""One self-contained HTML page about a retrain and, when there is one, an account's trading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tasks._page import chips, figure_card, table, write_document
from tasks.results import RetrainReport

_TRADES = 40


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
    write_document(path, f"Tradewind: {report.pipeline} {report.as_of}", body)
    return path


def _head(report: RetrainReport) -> str:
    words = [
        f"{report.mode} market",
        f"{report.cost_source} costs",
        f"feed {report.feed}",
        f"{', '.join(report.symbols)} {report.timeframe}",
    ]
    facts = chips([*words, f"as of {report.as_of}", f"snapshot {report.snapshot}"])
    return f"<h1>Pipeline {escape(report.pipeline)}</h1>{facts}"


def _verdict(report: RetrainReport) -> str:
    kind = "yes" if report.promoted else "no"
    title = f"Champion: {report.promoted}" if report.promoted else "No edge: nothing promoted"
    return f"<div class='banner {kind}'><b>{escape(title)}</b><small>{escape(str(report.verdict['summary']))}</small></div>"


def _cell(value: float, pattern: str) -> str:
    return format(value, pattern) if np.isfinite(value) else "-"


_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("direction AUC", "auc", ".3f"),
    ("low", "auc_low", ".3f"),
    ("high", "auc_high", ".3f"),
    ("skill", "skill", "+.2%"),
    ("Brier", "brier", ".4f"),
    ("calibr. error", "calibration_error", ".3f"),
    ("net Sharpe", "net_sharpe", "+.2f"),
    ("trades", "trades", ".0f"),
    ("holdout AUC", "holdout_auc", ".3f"),
    ("holdout skill", "holdout_skill", "+.2%"),
    ("holdout Sharpe", "holdout_net_sharpe", "+.2f"),
    ("row \u00b5s", "latency_us", ".0f"),
    ("train s", "train_s", ".1f"),
    ("trials", "trials", ".0f"),
)


def _leaderboard(report: RetrainReport) -> str:
    titles = ["family", *(title for title, _, _ in _COLUMNS), "device", "verdict"]
    lines = []
    for row in report.rows():
        cells = [f"<b>{escape(row['family'])}</b>", *(_cell(row[key], pattern) for _, key, pattern in _COLUMNS)]
        lines.append("".join(f"<td>{cell}" for cell in [*cells, escape(row["device"]), escape(row["verdict"])]))
    board = table(titles, lines)
    reasons = [f"<td><b>{escape(r['family'])}</b><td class=text>{escape(r['reason'])}" for r in report.rows()]
    note = (
        "<p class=sub>Out of sample unless a column says holdout; low and high bound the AUC with 90 % confidence "
        "(block bootstrap). Every number is computed from the ONNX file.</p>"
    )
    return f"<h2>Leaderboard</h2><div class=card>{board}{note}</div><h2>Why</h2><div class=card>{table([], reasons)}</div>"


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
    return figure_card(figure, "How well is the direction told?")


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
    return figure_card(figure, "Reliability, out of sample")


def _times(curve: np.ndarray[Any, Any]) -> list[str]:
    return [str(t) for t in curve[:, 0].astype("datetime64[s]")]


def _equity(report: RetrainReport) -> str:
    figure = go.Figure()
    for family in report.families:
        curve = np.array(family.equity, dtype=np.float64).reshape(-1, 2)
        figure.add_scatter(x=_times(curve), y=curve[:, 1], mode="lines", name=family.family)
    figure.update_yaxes(title="account equity")
    return figure_card(figure, f"Equity over the holdout, net of every cost ({report.mode}, {report.cost_source} costs)")


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
    return figure_card(figure, "What the models look at", 460) if top else ""


def _account(account: AccountPage) -> str:
    money = [("price moves, before costs", "gross"), ("spread paid", "spread"), ("commission", "commission"), ("swap", "swap")]
    rows = [f"<td>{label}<td>{account.costs[key]:+,.2f}" for label, key in money]
    rows.append(f"<td><b>net</b><td><b>{account.costs['net']:+,.2f}</b>")
    words = f"{account.start_balance:,.2f} to {account.end_balance:,.2f} {account.currency}, {len(account.trades)} trades"
    if account.latency_ms is not None:
        words += f", median bar-in to order-out {account.latency_ms:.1f} ms"
    money_card = f"<div class=card><b>{escape(words)}</b>{table([f'{account.mode} account', account.currency], rows)}</div>"
    curve = np.array(account.equity, dtype=np.float64).reshape(-1, 2)
    figure = go.Figure(go.Scatter(x=_times(curve), y=curve[:, 1], mode="lines", name="equity"))
    figure.update_yaxes(title=account.currency)
    parts = [f"<h2>Account {escape(account.name)}</h2>", money_card, figure_card(figure, f"Equity of the {account.mode} account")]
    if account.decisions:
        counted = sorted(account.decisions.items(), key=lambda item: -item[1])
        why = table(["decision at a closed bar", "count"], [f"<td>{escape(rule)}<td>{count}" for rule, count in counted])
        parts.append(f"<div class=card>{why}</div>")
    if account.trades:
        parts.append(_trades(account))
    return "".join(parts)


def _trades(account: AccountPage) -> str:
    shown = list(account.trades)[-_TRADES:]
    columns = list(shown[0])
    shown_table = table(columns, ["".join(f"<td>{_plain(trade[c])}" for c in columns) for trade in shown])
    note = f"<p class=sub>The last {len(shown)} of {len(account.trades)} trades.</p>"
    return f"<h2>Trades</h2><div class=card>{shown_table}{note}</div>"


def _plain(value: Any) -> str:
    return f"{value:,.5g}" if isinstance(value, float) else escape(str(value))
