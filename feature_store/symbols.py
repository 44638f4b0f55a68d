"""Symbols: what one lot of each is, in which currency, and who said so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from feature_store._errors import Final

Provenance = Literal["broker", "user", "assumed"]


@dataclass(frozen=True)
class SymbolSpec:
    """One symbol at one feed from `valid_from` on. Prices in profit currency, volumes in lots."""

    feed: str
    symbol: str  # our name, upper case, no suffix: EURUSD
    broker_symbol: str  # the broker's, case and suffix kept: EURUSDm
    valid_from: datetime
    digits: int
    point: float  # smallest price step
    contract_size: float  # units of base currency in one lot
    base_currency: str
    profit_currency: str
    margin_currency: str
    volume_min: float
    volume_max: float
    volume_step: float
    stops_level_points: int  # least distance of stop and target from the price
    freeze_level_points: int
    swap_long: float  # points a night, per lot
    swap_short: float
    commission_per_lot: float  # account currency, per lot and side
    source: Provenance


_PIP_DIGITS = {"JPY": 3}


def assumed_spec(feed: str, symbol: str, *, commission_per_lot: float = 3.5) -> SymbolSpec:
    """Usual specification of a currency pair or gold, marked `assumed`. Raises `Final` for other names."""
    name = symbol.upper()
    metal = name.startswith(("XAU", "XAG"))
    if not (len(name) == 6 and name.isalpha()):
        raise Final(f"symbol {symbol!r}: no usual specification is known; give one in the feed's settings")
    base, profit = name[:3], name[3:]
    digits = 2 if metal else _PIP_DIGITS.get(profit, 5)
    return SymbolSpec(
        feed=feed,
        symbol=name,
        broker_symbol=symbol,
        valid_from=datetime(1970, 1, 1),
        digits=digits,
        point=round(10.0**-digits, digits),
        contract_size=100.0 if metal else 100_000.0,
        base_currency=base,
        profit_currency=profit,
        margin_currency=base,
        volume_min=0.01,
        volume_max=100.0,
        volume_step=0.01,
        stops_level_points=0,
        freeze_level_points=0,
        swap_long=0.0,
        swap_short=0.0,
        commission_per_lot=commission_per_lot,
        source="assumed",
    )
