"""What of a report a person must act on, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from feature_store._quality_gaps import HOLE
from feature_store.spreads import MAX_ZERO_SHARE
from feature_store.symbols import is_pair

if TYPE_CHECKING:
    from feature_store.quality import QualityReport

_CLOSED_SHARE = 0.005  # above this share of bars in closed hours, the clock was read wrongly
_MISSING_SHARE = 0.01


def warnings_of(report: QualityReport, price: float) -> QualityReport:
    """The report with its warnings. price: the usual one, in the symbol's own units."""
    return replace(report, warnings=(*_time(report), *_values(report, price)))


def _time(report: QualityReport) -> Iterator[str]:
    if report.closed_hours_share > _CLOSED_SHARE:
        yield (f"{report.closed_hours_share:.1%} of bars stand in hours when the market is closed; the clock rule may be wrong")
    opens = {opening.season: opening.opens for opening in report.weeks.opens}
    if len(set(opens.values())) > 1:
        said = ", ".join(f"{at} in {season}" for season, at in opens.items())
        yield f"weeks open at {said} (New York): the clock may follow another daylight saving, or first hours are missing"
    for agreement in report.agreements:
        if agreement.slips:
            days = sum(slip.days for slip in agreement.slips)
            yield (
                f"on {days} days bars stand whole hours off those of feed {agreement.other}; one of the two clocks slips, "
                "and no rule of ours puts that right"
            )
    holes = report.gap_kinds.get(HOLE, (0, 0))[1]
    if holes > _MISSING_SHARE * report.rows:
        yield f"{holes} bars are missing in holes inside the week, {holes / (holes + report.rows):.1%} of all"


def _values(report: QualityReport, price: float) -> Iterator[str]:
    if report.spread_zero_share > MAX_ZERO_SHARE:
        yield f"the spread is zero in {report.spread_zero_share:.0%} of bars; costs will be assumed instead"
    if report.spread_unknown_share > 0.5:
        yield f"the spread is unknown in {report.spread_unknown_share:.0%} of bars; costs are assumed unless the rest is enough"
    for plug in report.plugs:
        yield f"a spread of exactly {plug.points} points stands in {plug.rows} bars; it looks filled in, not quoted"
    alone = sum(spike.seen is False for spike in report.spikes)
    if alone:
        yield f"{alone} spikes were seen by no other feed; they look like bad ticks"
    # No currency of the list is worth more than 30,000 of another (forint, yen, baht and won stay far below).
    if is_pair(report.symbol) and not report.symbol.startswith("X") and price > 30_000:
        yield f"prices near {price:g} are no {report.symbol} rate; they may be multiplied by a power of ten"
