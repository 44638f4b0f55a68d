"""What the broker shows about one intent: done, surely not done, or not to be known yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from feature_store.clock import from_epoch
from serving.journal import Intent
from serving.terminal.broker import Broker, Deal

# Deals are asked for from this long before the request went out: the server's clock is not ours.
_CLOCK_SLACK = timedelta(minutes=10)


@dataclass(frozen=True)
class Finding:
    """state: filled, not_filled or unknown. position: the ticket opened or closed."""

    state: str
    position: int = 0
    lots: float = 0.0
    price: float = 0.0
    note: str = ""


def look(broker: Broker, intent: Intent, *, settled: bool) -> Finding:
    """What positions, orders and history say about `intent`, looked up by its magic number. Nothing found proves
    that nothing was done only once `settled`, when a fill would long be visible. Raises `Disconnected`."""
    if not broker.is_connected():
        return Finding("unknown", note="the terminal has no connection to its server: what it shows may be old")
    if intent.kind == "close":
        return _closed(broker, intent, settled)
    return _opened(broker, intent, settled)


def _opened(broker: Broker, intent: Intent, settled: bool) -> Finding:
    for position in broker.positions():
        if position.magic == intent.magic:
            return Finding("filled", position.ticket, position.lots, position.entry, "found among the positions")
    deals = [d for d in _deals(broker, intent) if d.magic == intent.magic and d.entry in ("in", "inout")]
    if deals:
        lots, price = _average(deals)
        return Finding("filled", deals[0].position, lots, price, "found among the deals")
    if any(order.magic == intent.magic for order in broker.working_orders()):
        return Finding("unknown", note="its order still works at the broker")
    since = from_epoch(intent.at_ms / 1000) - _CLOCK_SLACK
    states = {order.state for order in broker.past_orders(since) if order.magic == intent.magic}
    if states & {"filled", "partial"}:
        return Finding("unknown", note="its order is filled, the deal is not visible yet")
    if settled:
        return Finding("not_filled", note="its order was cancelled" if states else "no position, order or deal carries its key")
    return Finding("unknown", note="nothing visible yet")


def _closed(broker: Broker, intent: Intent, settled: bool) -> Finding:
    there = any(position.ticket == intent.position for position in broker.positions())
    deals = [d for d in _deals(broker, intent) if d.position == intent.position and d.entry in ("out", "out_by", "inout")]
    ours = [d for d in deals if d.magic == intent.magic]
    lots, price = _average(ours or deals)
    if not there and deals:
        return Finding("filled", intent.position, lots, price, "the position is closed")
    if there and ours:
        return Finding("filled", intent.position, lots, price, "a part of the position is closed")
    if there and settled:
        return Finding("not_filled", intent.position, note="the position is still there")
    if settled:
        return Finding("filled", intent.position, intent.lots, 0.0, "the position is gone, its deal is not visible")
    return Finding("unknown", intent.position, note="nothing visible yet")


def _deals(broker: Broker, intent: Intent) -> list[Deal]:
    return broker.deals(from_epoch(intent.at_ms / 1000) - _CLOCK_SLACK)


def _average(deals: list[Deal]) -> tuple[float, float]:
    """(lots, volume-weighted price) of deals."""
    lots = sum(d.lots for d in deals)
    return lots, sum(d.lots * d.price for d in deals) / lots if lots else 0.0
