"""Fixture F1 of the conformance scenarios: four symbols that stand still, Wednesday 12:00 server time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from serving.terminal.simulated import AccountConfig, Handle, SimulatedConfig, SymbolConfig, install

NOON = datetime(2024, 3, 6, 10, tzinfo=UTC)  # 12:00 on a server at New York + 7 h
SERVER_NOON = int(NOON.timestamp()) + 7200

EURUSD = SymbolConfig("EURUSD", 5, 100_000, "EUR", "USD", "EUR", execution="instant", swap_long=-5.0, swap_short=1.0)
USDJPY = SymbolConfig("USDJPY", 3, 100_000, "USD", "JPY", "USD", execution="instant")
EURJPY = SymbolConfig("EURJPY", 3, 100_000, "EUR", "JPY", "EUR", execution="instant")
XAUUSD = SymbolConfig(
    "XAUUSD", 2, 100, "XAU", "USD", "USD", calc_mode=4, execution="market", filling_mode=2, volume_max=50.0, selected=False
)
QUOTES = {"EURUSD": (1.1, 10), "USDJPY": (150.0, 10), "EURJPY": (165.0, 20), "XAUUSD": (2000.0, 50)}
REQ: dict[str, Any] = {
    "action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "price": 1.1001, "deviation": 20, "magic": 234000,
    "comment": "t", "type_time": 0, "type_filling": 0,
}  # fmt: skip
FROZEN_DAYS = 3


def flat(price: float, spread_points: int, start: datetime, minutes: int) -> pl.DataFrame:
    """M1 bars that all stand at one price."""
    naive = start.replace(tzinfo=None)
    times = pl.datetime_range(naive, naive + timedelta(minutes=minutes - 1), "1m", time_unit="ms", eager=True)
    return pl.DataFrame({"time": times}).with_columns(
        *(pl.lit(price).alias(column) for column in ("open", "high", "low", "close")),
        tick_volume=pl.lit(40),
        spread_points=pl.lit(spread_points),
        real_volume=pl.lit(0),
    )


def market(days: int = FROZEN_DAYS) -> dict[str, pl.DataFrame]:
    start = datetime(2024, 3, 5, 22, tzinfo=UTC)  # Wednesday 00:00 server time
    return {name: flat(price, spread, start, days * 1440) for name, (price, spread) in QUOTES.items()}


_MARKET = market()


def f1_config(**changes: Any) -> SimulatedConfig:
    account = changes.pop("account", AccountConfig())
    symbols = changes.pop("symbols", (EURUSD, USDJPY, EURJPY, XAUUSD))
    return SimulatedConfig(**{"symbols": symbols, "market": _MARKET, "start": NOON, "account": account, **changes})


def f1(*, connect: bool = True, **changes: Any) -> Handle:
    """F1, connected and with gold selected unless told otherwise."""
    handle = install(f1_config(**changes))
    if connect:
        assert handle.module.initialize()
        handle.module.symbol_select("XAUUSD", True) if "XAUUSD" in handle.config.market else None
    return handle


def later(handle: Handle, seconds: float) -> None:
    assert handle.clock.wait_until(handle.clock.now_utc() + timedelta(seconds=seconds))
