"""What a journal tells people: how the account stands, and why it did or did not trade."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from feature_store.clock import from_epoch
from serving.journal import Decision, JournalReader

STATUS_SCHEMA = 1
WHY_SCHEMA = 1


def status(journal: JournalReader, *, events: int = 10) -> dict[str, Any]:
    """How the account stands, as one document that JSON takes. Money in account currency, as of the last check.

    Keys: state with who set it and why, the risk day, open positions of ours with their exits, orders of unknown
    fate, the newest decision of each line, sums over all fills, latency of orders, the newest `events`.
    """
    state, risk = journal.state(), journal.risk()
    return {
        "schema": STATUS_SCHEMA,
        "account": journal.account,
        "state": {"state": state.state, "by": state.by, "reason": state.reason, "since": _iso_ms(state.at_ms)},
        "risk_day": asdict(risk) if risk else None,
        "positions": [
            asdict(e) | {"opened": _iso_ms(e.opened_ms), "decided_on_bar": _iso_s(e.bar_s)} for e in journal.open_exits().values()
        ],
        "unresolved": [asdict(intent) for intent in journal.unresolved()],
        "lines": [_decision(d) for d in _newest_of_each_line(journal)],
        "fills": _fills(journal),
        "latency_us": _median_latency(journal),
        "events": [{**event, "time": _iso_ms(event["at_ms"])} for event in journal.events(last=events)],
    }


def why(
    journal: JournalReader, *, when: datetime | None = None, last: int | None = None, line: str | None = None
) -> list[dict[str, Any]]:
    """Decisions with what became of them, newest first: the `last` ones, or each line's at the bar that holds `when`.

    Each document carries the probabilities, the first rule that said no, and, where an order went out, its
    intent, its raw requests and replies and its fills.
    """
    if when is None and last is None:
        last = 1
    found = journal.decisions(last=last, at_s=None if when is None else int(when.timestamp()), line=line)
    return [{"schema": WHY_SCHEMA, **_decision(decision), "order": _order(journal, decision.sequence)} for decision in found]


def _decision(decision: Decision) -> dict[str, Any]:
    return asdict(decision) | {"bar": _iso_s(decision.bar_s), "time": _iso_ms(decision.at_ms)}


def _order(journal: JournalReader, sequence: int | None) -> dict[str, Any] | None:
    intent = journal.intent(sequence) if sequence is not None else None
    if intent is None:
        return None
    requests = journal.rows("SELECT at_ms, request, reply, answered_us FROM requests WHERE sequence = ? ORDER BY id", [sequence])
    fills = journal.rows("SELECT * FROM deals WHERE position = ? ORDER BY at_ms", [intent.position]) if intent.position else []
    return asdict(intent) | {"magic": intent.magic, "requests": requests, "fills": fills}


def _newest_of_each_line(journal: JournalReader) -> list[Decision]:
    return [d for name in journal.lines_decided() for d in journal.decisions(last=1, line=name)]


def _fills(journal: JournalReader) -> dict[str, Any]:
    (row,) = journal.rows(
        "SELECT count(*) AS deals, coalesce(sum(profit), 0) AS profit, coalesce(sum(commission + fee), 0) AS commission, "
        "coalesce(sum(swap), 0) AS swap FROM deals WHERE kind = 'trade' AND line IS NOT NULL"
    )
    return row | {"net": row["profit"] + row["commission"] + row["swap"]}


def _median_latency(journal: JournalReader) -> int | None:
    """Median from bars in hand to order out, over all orders of the journal."""
    rows = journal.rows("SELECT latency_us FROM decisions WHERE action LIKE 'open%' ORDER BY latency_us")
    return int(rows[len(rows) // 2]["latency_us"]) if rows else None


def _iso_s(time_s: float) -> str:
    return from_epoch(time_s).isoformat()


def _iso_ms(time_ms: int) -> str:
    return _iso_s(time_ms / 1000)
