"""The report as lines of text: for the terminal, the run's page and the report of a retrain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from feature_store._quality_prices import STALE_BARS, Jump

if TYPE_CHECKING:
    from feature_store.quality import QualityReport

_SHOWN = 5


def lines(report: QualityReport) -> list[str]:
    """The whole report in short lines, the largest few of each kind, warnings last."""
    return [*_whole(report), *_lists(report), *_clock(report), *(f"warning: {warning}" for warning in report.warnings)]


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _seen(move: Jump) -> str:
    return "" if move.seen is None else ", other feeds saw it" if move.seen else ", no other feed saw it"


def _whole(report: QualityReport) -> Iterator[str]:
    yield f"{report.feed} {report.symbol} {report.timeframe}: {report.rows} bars, {_at(report.first)} to {_at(report.last)} UTC"
    kinds = ", ".join(f"{count} of kind {kind} with {bars} bars" for kind, (count, bars) in report.gap_kinds.items())
    yield (
        f"{report.bars_missing} bars missing in {report.gap_count} gaps inside the week{f' ({kinds})' if kinds else ''}, "
        f"{report.duplicates} duplicate times"
    )
    if report.excused:
        yield "no gaps: " + "; ".join(f"{bars} bars, {name}" for name, bars in report.excused.items())
    known = (
        f"spread median {report.spread_median_points:g}, max {report.spread_max_points} points; "
        if report.spread_max_points
        else ""
    )
    yield f"{known}spread unknown in {report.spread_unknown_share:.1%}, zero in {report.spread_zero_share:.1%} of bars"
    yield (
        f"{report.stale_runs} runs of {STALE_BARS} or more unchanged bars (longest {report.longest_stale_bars}), "
        f"{report.jump_count} jumps that stayed (kept), {report.spike_count} spikes that came back within the bar"
    )
    weeks = report.weeks
    yield f"{weeks.bars_a_week:g} bars in the usual of {weeks.count} weeks, {weeks.short_count} weeks lack a tenth or more"
    said = report.ingested
    if said.batches:
        rejects = ", ".join(f"{count} {reason}" for reason, count in said.rejects.items()) or "none"
        yield f"{said.rows_read} rows read in {said.batches} ingests; rejected: {rejects}; {said.crossed} crossed quotes"


def _lists(report: QualityReport) -> Iterator[str]:
    for gap in report.gaps[:_SHOWN]:
        yield f"gap {_at(gap.start)} to {_at(gap.end)}: {gap.bars_missing} bars, {gap.kind}"
    for jump in report.jumps[:_SHOWN]:
        yield f"jump {_at(jump.time)}: {jump.return_bp:+.0f} bp{_seen(jump)}"
    for spike in report.spikes[:_SHOWN]:
        yield f"spike {_at(spike.time)}: {spike.return_bp:+.0f} bp and back{_seen(spike)}"
    for run in report.stale[: _SHOWN if report.longest_stale_bars >= 2 * STALE_BARS else 0]:
        yield f"stale {_at(run.start)}: {run.bars} bars at {run.price:g}"
    if len(report.regimes) > 1:
        for regime in report.regimes:
            constant = f", constant {regime.constant_points}" if regime.constant_points else ""
            yield (
                f"spread {regime.start:%Y-%m-%d} to {regime.end:%Y-%m-%d}: median {regime.median_points:g} points, "
                f"zero in {regime.zero_share:.0%}{constant}"
            )


def _clock(report: QualityReport) -> Iterator[str]:
    for used in report.ingested.clocks:
        yield f"clock {used.rule}, {used.words()}" + "".join(f"; {stretch}" for stretch in used.stretches)
        yield from (f"clock evidence: {line}" for line in used.evidence)
    if report.weeks.opens:
        yield "weeks open, New York time: " + "; ".join(
            f"{o.opens} in {o.share:.0%} of {o.weeks} openings in {o.season}" for o in report.weeks.opens
        )
    for agreement in report.agreements:
        if agreement.correlation is not None:
            yield f"returns against feed {agreement.other}: correlation {agreement.correlation:.3f} over {agreement.days} days"
        for slip in agreement.slips:
            yield (
                f"clock slip {_at(slip.start)} to {_at(slip.end)}: {abs(slip.late_s) / 3600:g} h "
                f"{'late' if slip.late_s > 0 else 'early'} against {agreement.other} on {slip.days} days"
            )
    yield from (f"note: {note}" for note in report.ingested.notes)
