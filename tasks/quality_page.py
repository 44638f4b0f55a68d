"""The quality page of one series: one self-contained HTML file with everything its report found, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path

import polars as pl

from feature_store.quality import ClockUsed, Jump, QualityReport, weeks_of
from tasks import quality_plots as plots
from tasks._page import chips, figure_card, table, write_document

_ROWS, _FEW = 12, 5


def page_path(folder: Path, report: QualityReport) -> Path:
    """Where the page of that series lies in `folder`: FEED_SYMBOL_TIMEFRAME.html."""
    return folder / f"{report.feed}_{report.symbol}_{report.timeframe}.html"


def write_quality_page(folder: Path, report: QualityReport, bars: pl.DataFrame, *, rejected: pl.DataFrame | None = None) -> Path:
    """Write the page of `report` on `bars` (time order) into `folder`; return its path.

    rejected: some rows that were turned away, columns source_row, reason and content of `Store.rejects`.
    """
    parts = [
        _head(report),
        _banner(report),
        figure_card(plots.price(report, bars), "Price, with holes, jumps and spikes", 420),
        _gaps(report, bars),
        _moves(report, bars),
        _spreads(report, bars),
        _clock(report, bars),
        _ingests(report, rejected),
    ]
    path = page_path(folder, report)
    write_document(path, f"Quality: {report.feed} {report.symbol} {report.timeframe}", "\n".join(parts))
    return path


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _card(body: str, note: str = "") -> str:
    return f"<div class=card>{body}{f'<p class=sub>{note}</p>' if note else ''}</div>"


def _pair(*parts: str) -> str:
    """Cards side by side where there is room."""
    there = [f"<div>{part}</div>" for part in parts if part]
    return f"<div class=pair>{''.join(there)}</div>" if there else ""


def _rows(cells: Iterable[Sequence[object]]) -> list[str]:
    return ["".join(f"<td>{escape(str(cell))}" for cell in row) for row in cells]


def _head(report: QualityReport) -> str:
    words = [
        f"feed {report.feed}",
        f"{report.rows:,} bars",
        f"{_at(report.first)} to {_at(report.last)} UTC",
        *(f"clock {used.rule}" for used in report.ingested.clocks),
        f"{report.bars_missing:,} bars missing",
        f"{report.duplicates:,} duplicate times",
        f"{report.jump_count:,} jumps",
        f"{report.spike_count:,} spikes",
        f"{report.stale_runs:,} stale runs",
    ]
    return f"<h1>Quality of {escape(report.symbol)} {escape(report.timeframe)}</h1>{chips(words)}"


def _banner(report: QualityReport) -> str:
    if not report.warnings:
        return "<div class='banner yes'><b>Nothing to act on</b><small>What was found stands below.</small></div>"
    count = len(report.warnings)
    said = "".join(f"<small>{escape(warning)}</small>" for warning in report.warnings)
    return f"<div class='banner no'><b>{count} {'thing' if count == 1 else 'things'} to look at</b>{said}</div>"


def _gaps(report: QualityReport, bars: pl.DataFrame) -> str:
    kinds = table(
        ["gaps inside the week", "gaps", "bars"], _rows((kind, f"{n:,}", f"{m:,}") for kind, (n, m) in report.gap_kinds.items())
    )
    note = (
        "An edge lies beside a weekend or a daily break, where brokers differ by an hour or two; quiet minutes are too "
        "short to be more than a market without a tick; a hole is neither."
    )
    known = table(
        ["known breaks, no gaps", "bars"], [f"<td class=text>{escape(name)}<td>{n:,}" for name, n in report.excused.items()]
    )
    largest = table(
        ["from (UTC)", "to", "bars", "kind"],
        _rows(
            (_at(g.start), _at(g.end), f"{g.bars_missing:,}", g.kind)
            for g in report.gaps[: max(_FEW, min(_ROWS, report.gap_kinds.get("hole", (0, 0))[0]))]
        ),
    )
    weeks = report.weeks
    short = table(
        ["short week from (UTC)", "bars", "expected"],
        _rows((_at(w.start), f"{w.bars:,}", f"{w.expected:,}") for w in weeks.short[:_FEW]),
    )
    picture = figure_card(
        plots.weeks(weeks_of(bars, report.feed, report.symbol, report.timeframe)),
        f"Bars a week, usually {weeks.bars_a_week:g}; {weeks.short_count} of {weeks.count} weeks lack a tenth or more",
        300,
    )
    left = (_card(kinds, note) if report.gap_kinds else "") + (_card(known) if report.excused else "")
    right = (_card(largest) if report.gaps else "") + (_card(short) if weeks.short else "")
    return f"<h2>Gaps and weeks</h2>{_pair(left, right)}{picture}"


def _move_table(title: str, moves: Sequence[Jump]) -> str:
    seen = {None: "-", True: "yes", False: "no"}
    return table(
        [title, "basis points", "usual moves of that hour", "seen by other feeds"],
        _rows((_at(m.time), f"{m.return_bp:+,.1f}", f"{abs(m.scales):.0f}", seen[m.seen]) for m in moves[:_ROWS]),
    )


def _moves(report: QualityReport, bars: pl.DataFrame) -> str:
    parts = []
    if report.jumps:
        note = f"The largest of {report.jump_count:,}. They stayed: news and crises look like this. All are kept."
        parts.append(_card(_move_table("jump (UTC)", report.jumps), note))
    if report.spikes:
        note = (
            f"The largest of {report.spike_count:,}. They came back within the bar: bad ticks look like this, and so do "
            "interventions; another feed tells which. All are kept."
        )
        parts.append(_card(_move_table("spike (UTC)", report.spikes), note))
    if report.stale:
        rows = _rows((_at(run.start), f"{run.bars:,}", f"{run.price:g}") for run in report.stale[:_ROWS])
        parts.append(_card(table(["stale from (UTC)", "bars", "price"], rows), f"{report.stale_runs:,} runs in all."))
    figure = plots.returns(report, bars)
    picture = (
        "" if figure is None else figure_card(figure, "Returns against the normal distribution, in standard deviations", 320)
    )
    return f"<h2>Jumps, spikes, stale quotes</h2>{_pair(*parts)}{picture}"


def _spreads(report: QualityReport, bars: pl.DataFrame) -> str:
    unknown = f"unknown in {report.spread_unknown_share:.1%}, zero in {report.spread_zero_share:.1%} of bars"
    if report.spread_median_points is None:
        return f"<h2>Spread</h2>{_card(escape('No spread is known; costs are assumed.'))}"
    regimes = table(
        ["spread from", "to", "days", "median, points", "95 %", "zero", "constant"],
        _rows(
            (
                f"{r.start:%Y-%m-%d}", f"{r.end:%Y-%m-%d}", f"{r.days:,}", f"{r.median_points:g}", f"{r.p95_points:g}",
                f"{r.zero_share:.0%}", "-" if r.constant_points is None else r.constant_points,
            )
            for r in report.regimes
        ),
    )  # fmt: skip
    plugs = _rows((p.points, f"{p.rows:,}") for p in report.plugs)
    note = "Far above the usual, and far too often for its size."
    tables = [
        _card(regimes, f"Spread {unknown}."),
        _card(table(["filled-in value, points", "bars"], plugs), note) if plugs else "",
    ]
    parts = ["<h2>Spread</h2>", _pair(*tables)]
    parts.append(figure_card(plots.spread_over_time(report, bars), "Spread over time", 420))
    if (report.spread_max_points or 0) > 0:
        parts.append(figure_card(plots.spread_by_hour(bars), "Spread by New York hour, zeros left out", 320))
    return "".join(parts)


def _evidence(used: ClockUsed) -> str:
    lines = [f"<b>{escape(used.rule)}</b>, {escape(used.words())}, {used.batches} {'ingest' if used.batches == 1 else 'ingests'}"]
    return "<br>".join([*lines, *(escape(line) for line in (*used.stretches, *used.evidence))])


def _clock(report: QualityReport, bars: pl.DataFrame) -> str:
    parts = [_card(_evidence(used)) for used in report.ingested.clocks]
    if report.weeks.opens:
        rows = [f"<td class=text>{o.season}<td>{o.opens}<td>{o.share:.0%}<td>{o.weeks:,}" for o in report.weeks.opens]
        note = "A clock read with the wrong daylight saving opens an hour off in one of the seasons."
        parts.append(_card(table(["season", "week opens, New York", "share of weeks", "weeks"], rows), note))
    figure, what = plots.hours(bars)
    parts = ["<h2>Clock</h2>", _pair(*parts)]
    parts.append(figure_card(figure, f"Activity by hour of the week: {what}", 320))
    slips = [(agreement.other, slip) for agreement in report.agreements for slip in agreement.slips]
    if slips:
        rows = _rows(
            (
                _at(s.start), _at(s.end), s.days, f"{abs(s.late_s) / 3600:g} h {'late' if s.late_s > 0 else 'early'}", other,
                f"{s.as_written:.2f}", f"{s.correlation:.2f}",
            )
            for other, s in slips
        )  # fmt: skip
        heads = ["slip from (UTC)", "to", "days", "stands", "against", "correlation as written", "shifted back"]
        parts.append(_card(table(heads, rows), "Returns of these days agree with the other feed only when shifted."))
    together = plots.agreements(report.agreements)
    if together is not None:
        parts.append(figure_card(together, "Returns against other feeds of the store, correlation by month", 300))
    return "".join(parts)


def _ingests(report: QualityReport, rejected: pl.DataFrame | None) -> str:
    said = report.ingested
    if not said.batches:
        return ""
    rows = [("bid above ask, spread cleared", f"{said.crossed:,}", "kept")]
    rows += [(reason, f"{count:,}", "rejected") for reason, count in said.rejects.items()]
    body = table([f"{said.rows_read:,} rows read in {said.batches} ingests", "rows", "what became of them"], _rows(rows))
    notes = "<br>".join(escape(note) for note in said.notes)
    parts = [_card(body), _card(notes) if notes else ""]
    if rejected is not None and not rejected.is_empty():
        told = [
            f"<td>{row['source_row']}<td>{escape(row['reason'])}<td class=text>{escape(row['content'] or '')}"
            for row in rejected.iter_rows(named=True)
        ]
        parts.append(_card(table(["row of the file", "reason", "what stood there"], told), "The first of the latest ingest."))
    return f"<h2>Ingests</h2>{''.join(parts)}"
