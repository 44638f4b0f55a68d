"""What the simulated terminal is told before it starts: accounts, symbols, market, clock, faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from feature_store.bars import SECONDS
from feature_store.clock import parse_rule
from feature_store.symbols import SymbolSpec
from serving._errors import Final
from serving.terminal._faults import Fault

FOREX, CFD, CFD_LEVERAGE = 0, 2, 4
_CALC_MODES = (FOREX, CFD, CFD_LEVERAGE)
INSTANT, MARKET = 1, 2
_EXECUTIONS = {"instant": INSTANT, "market": MARKET}


class BarSource(Protocol):
    """Anything that hands out bars by symbol, such as the market generator."""

    def bars(self, symbol: str) -> pl.DataFrame:
        """Bars of `symbol`, columns of `feature_store.bars.SCHEMA`, ascending."""


@dataclass(frozen=True)
class AccountConfig:
    """One account at the simulated broker. Money in `currency`; stop-out levels in percent of margin."""

    login: int = 1_000_001
    password: str = "simulated"
    server: str = "Tradewind-Simulated"
    name: str = "Simulated account"
    company: str = "Tradewind simulated broker"
    currency: str = "USD"
    currency_digits: int = 2
    balance: float = 10_000.0
    leverage: int = 100
    margin_mode: Literal["hedging", "netting"] = "hedging"
    trade_mode: int = 0  # demo
    stop_out_call: float = 50.0
    stop_out: float = 30.0
    limit_orders: int = 200

    def __post_init__(self) -> None:
        if self.margin_mode != "hedging":
            raise Final(f"account {self.login}: margin mode {self.margin_mode!r} is not simulated; use 'hedging'")
        if self.login <= 0 or self.leverage < 1 or self.balance < 0:
            raise Final(
                f"account {self.login}: login {self.login}, leverage {self.leverage}, balance {self.balance}; "
                "login and leverage must be at least 1, the balance at least 0"
            )


@dataclass(frozen=True)
class SymbolConfig:
    """One symbol at the simulated broker. Distances in points, volumes in lots, swaps in points a night."""

    name: str
    digits: int
    contract_size: float
    currency_base: str
    currency_profit: str
    currency_margin: str
    calc_mode: int = FOREX
    execution: Literal["instant", "market"] = "market"
    filling_mode: int = 3  # mask: FOK 1, IOC 2
    volume_min: float = 0.01
    volume_max: float = 100.0
    volume_step: float = 0.01
    stops_level: int = 0
    freeze_level: int = 0
    trade_mode: int = 4  # full
    swap_long: float = 0.0
    swap_short: float = 0.0
    swap_rollover3days: int = 3  # Wednesday; Sunday is 0
    commission_per_lot: float = 0.0  # account currency, per lot and side
    spread_points: int | None = None  # used where a bar does not know its spread
    slippage_points: int = 0  # lost on every fill at market or through a stop, execution "market"
    margin_hedged: float | None = None  # contract size charged for matched lots; None: one leg's
    selected: bool = True
    bars: str = ""  # name of its bars in the market; empty: `name`

    def __post_init__(self) -> None:
        if self.execution not in _EXECUTIONS:
            raise Final(f"{self.name}: execution {self.execution!r} is not simulated; use 'instant' or 'market'")
        if self.calc_mode not in _CALC_MODES:
            raise Final(f"{self.name}: calculation mode {self.calc_mode} is not simulated; use one of {_CALC_MODES}")
        if not 0 < self.volume_min <= self.volume_max or self.volume_step <= 0:
            raise Final(f"{self.name}: volumes {self.volume_min}/{self.volume_max}/{self.volume_step} do not fit together")
        if len(self.name) > 29:
            raise Final(f"{self.name}: a symbol's name has at most 29 characters")

    @cached_property
    def point(self) -> float:
        return round(10.0**-self.digits, self.digits)

    @cached_property
    def execution_mode(self) -> int:
        return _EXECUTIONS[self.execution]

    @property
    def market_name(self) -> str:
        return self.bars or self.name

    @classmethod
    def from_spec(
        cls,
        spec: SymbolSpec,
        *,
        execution: Literal["instant", "market"] = "market",
        filling_mode: int = 3,
        spread_points: int | None = None,
        slippage_points: int = 0,
    ) -> SymbolConfig:
        """The broker's side of a `SymbolSpec`: named as the broker names it, playing the bars of our name."""
        return cls(
            name=spec.broker_symbol,
            digits=spec.digits,
            contract_size=spec.contract_size,
            currency_base=spec.base_currency,
            currency_profit=spec.profit_currency,
            currency_margin=spec.margin_currency,
            execution=execution,
            filling_mode=filling_mode,
            volume_min=spec.volume_min,
            volume_max=spec.volume_max,
            volume_step=spec.volume_step,
            stops_level=spec.stops_level_points,
            freeze_level=spec.freeze_level_points,
            swap_long=spec.swap_long,
            swap_short=spec.swap_short,
            commission_per_lot=spec.commission_per_lot,
            spread_points=spread_points,
            slippage_points=slippage_points,
            bars=spec.symbol,
        )


@dataclass(frozen=True, eq=False)
class SimulatedConfig:
    """Everything `serving.terminal.simulated.install` needs.

    market: bars by symbol, frames of `feature_store.bars.SCHEMA` (true UTC, bid) of `base_timeframe`; bars
    before `start` are history, later ones are played. autosave: file that holds the broker's whole state
    after each change of an account, so that the broker outlives the process that trades.
    """

    symbols: tuple[SymbolConfig, ...]
    market: Mapping[str, pl.DataFrame] | BarSource
    start: datetime
    account: AccountConfig = AccountConfig()
    other_accounts: tuple[AccountConfig, ...] = ()
    server_clock: str = "ny+7"
    base_timeframe: str = "M1"
    feed: str = "simulated"  # whose trading week holds, see feature_store.clock.is_open
    maxbars: int = 100_000
    visibility_delay_ms: int = 0  # until a new position and its deals can be seen
    faults: tuple[Fault, ...] = ()
    autosave: Path | None = None

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise Final(f"start {self.start} has no zone; give an aware datetime, such as one in UTC")
        if self.base_timeframe not in SECONDS:
            raise Final(f"base timeframe {self.base_timeframe!r} is not known; use one of {', '.join(SECONDS)}")
        if self.maxbars < 1:
            raise Final(f"maxbars {self.maxbars} must be at least 1")
        names = [symbol.name for symbol in self.symbols]
        logins = [self.account.login, *(account.login for account in self.other_accounts)]
        if not names or len(set(names)) != len(names):
            raise Final(f"symbols {names}: at least one is needed, and none twice")
        if len(set(logins)) != len(logins):
            raise Final(f"accounts {logins}: no login may stand twice")
        parse_rule(self.server_clock)

    def bars(self, symbol: SymbolConfig) -> pl.DataFrame:
        """The bars that `symbol` plays. Raises `Final` when the market has none."""
        if not isinstance(self.market, Mapping):
            return self.market.bars(symbol.market_name)
        if symbol.market_name not in self.market:
            raise Final(f"{symbol.name}: the market has no bars of {symbol.market_name!r}; it has {', '.join(self.market)}")
        return self.market[symbol.market_name]
