"""Symbols: what one lot of each is, in which currency, and who said so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

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


_CURRENCIES = frozenset(
    "USD EUR GBP JPY CHF CAD AUD NZD SEK NOK DKK PLN HUF CZK TRY ZAR MXN SGD HKD CNH THB ILS".split()  # noqa: SIM905
)
# name: (digits, units in one lot)
_METALS = {"XAU": (2, 100.0), "XAG": (3, 5000.0), "XPT": (2, 100.0), "XPD": (2, 100.0)}
_COINS = {"BTC": (2, 1.0), "ETH": (2, 1.0), "LTC": (2, 1.0), "BCH": (2, 1.0), "BNB": (2, 1.0), "SOL": (2, 1.0)}
_COINS |= {"XRP": (5, 1.0), "ADA": (5, 1.0), "DOT": (3, 1.0), "XLM": (5, 1.0)}
_DIGITS = {"JPY": 3, "HUF": 3, "THB": 3}


def is_pair(name: str) -> bool:
    """Whether `name` is a currency pair or a metal in a currency, by our name: EURUSD, XAUUSD."""
    base, profit = name[:3], name[3:]
    return (base in _CURRENCIES or base in _METALS) and profit in _CURRENCIES and base != profit


def is_crypto(name: str) -> bool:
    """Whether `name` is a coin in a currency, by our name: BTCUSD, ETHEUR. It trades day and night."""
    return name[:3] in _COINS and name[3:] in _CURRENCIES


def assumed_spec(feed: str, symbol: str, *, commission_per_lot: float = 3.5) -> SymbolSpec:
    """Usual specification of a currency pair, metal or coin, marked `assumed`. Raises `Final` for other names."""
    name = symbol.upper()
    if not (is_pair(name) or is_crypto(name)):
        raise Final(
            f"symbol {symbol!r}: no usual specification is known; ingest it as a currency pair, metal or coin, such as "
            "--symbol EURUSD, or from its terminal"
        )
    base, profit = name[:3], name[3:]
    digits, contract_size = (_METALS | _COINS).get(base, (_DIGITS.get(profit, 5), 100_000.0))
    return SymbolSpec(
        feed=feed,
        symbol=name,
        broker_symbol=symbol,
        valid_from=datetime(1970, 1, 1, tzinfo=UTC),
        digits=digits,
        point=round(10.0**-digits, digits),
        contract_size=contract_size,
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


def check_spec(spec: SymbolSpec) -> None:
    """Raise `Final` when a value of `spec` cannot be true, naming it."""
    wrong = [
        f"{name} {value!r} must be above 0"
        for name in ("point", "contract_size", "volume_min", "volume_max", "volume_step")
        if not (value := getattr(spec, name)) > 0
    ]
    if not wrong and spec.volume_max < spec.volume_min:
        wrong.append(f"volume_max {spec.volume_max} must not be below volume_min {spec.volume_min}")
    if spec.source not in get_args(Provenance):
        wrong.append(f"source {spec.source!r} must be one of {', '.join(get_args(Provenance))}")
    if wrong:
        raise Final(f"{spec.feed} {spec.symbol}: {'; '.join(wrong)}; correct it where the specification comes from")
