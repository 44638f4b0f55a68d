"""What a broker offers to trade, for the map of symbols."""

from __future__ import annotations

from typing import Any

from feature_store.symbol_names import Offer
from serving._errors import Retryable


def offers(terminal: Any) -> tuple[Offer, ...]:
    """Every symbol of the terminal's broker. Connects to the terminal first. Raises `Retryable` when it is away."""
    if not terminal.initialize():
        code, text = terminal.last_error()
        raise Retryable(f"terminal does not answer: {text} ({code}); start it and log in")
    found = terminal.symbols_get()
    if not found:
        code, text = terminal.last_error()
        raise Retryable(f"the terminal names no symbols: {text} ({code}); wait until it is logged in")
    full = int(terminal.SYMBOL_TRADE_MODE_FULL)
    return tuple(
        Offer(i.name, i.currency_base, i.currency_profit, float(i.trade_contract_size), int(i.trade_mode) == full) for i in found
    )
