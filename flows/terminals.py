"""Which terminal a feed or an account stands for: the real package, or a simulated broker playing a market."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feature_store.bars import epoch_s
from feature_store.clock import Clock, SystemClock, from_epoch
from feature_store.settings import FeedSettings
from feature_store.sources.generator import Market, MarketConfig, generate
from flows._errors import FlowError
from serving.settings import AccountSettings
from serving.terminal.simulated import AccountConfig, Handle, SimulatedConfig, SymbolConfig, install


def open_terminal(root: Path, feed: str, settings: FeedSettings) -> tuple[Any, Clock]:
    """(terminal, clock) to ingest a feed from. Raises `FlowError` for a feed of files and where MetaTrader 5 is not."""
    if settings.source == "terminal":
        return metatrader(), SystemClock()
    if settings.source == "generator":
        handle = generated_broker(feed, settings, symbols_of(settings))
        return handle.module, handle.clock
    raise FlowError(f"feed {feed!r} is fed from files; name them: tradewind ingest FILE... --feed {feed}")


def metatrader() -> Any:
    """The MetaTrader5 package. Raises `FlowError` where it cannot be: it exists on Windows only."""
    try:
        return import_module("MetaTrader5")
    except ImportError:
        raise FlowError(
            "MetaTrader 5's Python package exists on Windows only; run this command on the machine of the terminal"
        ) from None


def symbols_of(settings: FeedSettings) -> tuple[str, ...]:
    """Our names of a feed's symbols."""
    return tuple(settings.symbols)


def market_of(feed: str, settings: FeedSettings, symbols: tuple[str, ...]) -> Market:
    """The generated market of a feed."""
    if settings.market is None:
        raise FlowError(f"feed {feed!r} has source generator but no market; add a table [feeds.{feed}.market]")
    m = settings.market
    return generate(MarketConfig(symbols=symbols, start=m.start_utc, days=m.days, seed=m.seed, edge=m.edge))


def generated_broker(
    feed: str,
    settings: FeedSettings,
    symbols: tuple[str, ...],
    *,
    account: AccountConfig | None = None,
    memory: Path | None = None,
) -> Handle:
    """A simulated broker at the end of the feed's history, or where its memory says it stood."""
    market = market_of(feed, settings, symbols)
    configs = tuple(SymbolConfig.from_spec(_with_commission(market, s, feed, settings)) for s in symbols)
    assert settings.market is not None
    return _broker(configs, market, settings.market.history_end, settings.clock, "M1", account, memory)


def _with_commission(market: Market, symbol: str, feed: str, settings: FeedSettings) -> Any:
    spec = market.spec(symbol, feed)
    return replace(spec, broker_symbol=settings.symbols.get(symbol, symbol), commission_per_lot=settings.commission_per_lot)


def _broker(
    symbols: tuple[SymbolConfig, ...],
    market: Any,
    start: datetime,
    server_clock: str,
    base_timeframe: str,
    account: AccountConfig | None,
    memory: Path | None,
) -> Handle:
    config = SimulatedConfig(
        symbols=symbols,
        market=market,
        start=start,
        account=account or AccountConfig(),
        server_clock=server_clock,
        base_timeframe=base_timeframe,
        autosave=memory,
    )
    return install(config, resume_from=memory if memory is not None and memory.is_file() else None)


@dataclass(frozen=True)
class Desk:
    """What an account trades on. end: when a simulated market has no more bars, None for a real one."""

    terminal: Any
    clock: Clock
    clock_rule: str
    end: datetime | None


def account_desk(root: Path, name: str, account: AccountSettings, feed: FeedSettings, lock_wait_s: float) -> Desk:
    """Terminal and clock of an account."""
    if account.mode == "sim":
        handle = account_broker(root, name, account, feed, lock_wait_s)
        return Desk(handle.module, handle.clock, handle.config.server_clock, handle.market.end)
    if account.mode == "paper":
        raise FlowError(f"account {name!r} is in mode paper, which this version cannot trade yet; use sim or practice")
    return Desk(metatrader(), SystemClock(), feed.clock, None)


def account_broker(root: Path, name: str, account: AccountSettings, feed: FeedSettings, lock_wait_s: float) -> Handle:
    """The simulated broker behind a `sim` account; it remembers its books between runs."""
    about = AccountConfig(
        login=account.login or AccountConfig.login,
        server=account.server or AccountConfig.server,
        company=account.company or AccountConfig.company,
        currency=account.currency,
        balance=account.start_balance,
        leverage=int(account.leverage),
    )
    memory = root / "brokers" / f"{name}.json"
    memory.parent.mkdir(parents=True, exist_ok=True)
    if feed.source == "generator":
        return generated_broker(account.feed, feed, symbols_of(feed), account=about, memory=memory)
    return _stored_broker(root, account, feed, about, memory, lock_wait_s)


def _stored_broker(
    root: Path, account: AccountSettings, feed: FeedSettings, about: AccountConfig, memory: Path, lock_wait_s: float
) -> Handle:
    """A broker that plays the feed's stored bars from where the champions stopped learning."""
    from feature_store.store import Store
    from serving.bundle import load_current

    store = Store(root / "bars.duckdb", lock_wait_s=lock_wait_s)
    stored = store.inventory().filter(feed=account.feed)
    bars = {s: _with_spreads(store, account.feed, s, feed) for s in sorted(set(stored["symbol"].to_list()))}
    missing = sorted({line.symbol for line in account.lines} - set(bars))
    if missing:
        raise FlowError(f"feed {account.feed!r} has no bars of {', '.join(missing)}; ingest them first")
    bases = {store.base_timeframe(account.feed, s) for s in bars}
    if len(bases) > 1:
        raise FlowError(
            f"feed {account.feed!r} stores {', '.join(sorted(bases))}; a simulated account needs one timeframe for all"
        )
    learned_s = max(int(load_current(root, line.pipeline).manifest["training_span"][1]) for line in account.lines)
    start = from_epoch(learned_s)
    last: Any = stored["last"].max()
    newest: datetime = last.replace(tzinfo=UTC)
    if start + timedelta(days=1) > newest:
        raise FlowError(
            f"feed {account.feed!r} ends at {newest:%Y-%m-%d}, where the champion stopped learning; "
            "retrain with an earlier --end to leave bars to trade on"
        )
    specs = [replace(store.symbol(account.feed, symbol, start), broker_symbol=symbol) for symbol in bars]
    specs = [replace(s, commission_per_lot=feed.commission_per_lot) if s.source == "assumed" else s for s in specs]
    return _broker(tuple(SymbolConfig.from_spec(spec) for spec in specs), bars, start, "ny+7", bases.pop(), about, memory)


def _with_spreads(store: Any, feed: str, symbol: str, settings: FeedSettings) -> pl.DataFrame:
    """Stored bars, each with a spread: where none is known, or 0 stands for that, what a backtest charges there."""
    from tasks.costs import spread_table

    bars: pl.DataFrame = store.bars(feed, symbol, store.base_timeframe(feed, symbol))
    silent = np.ceil(spread_table(store, feed, symbol, settings).high_at(epoch_s(bars["time"]))).astype(np.int32)
    own = bars["spread_points"].fill_null(0).to_numpy()
    return bars.with_columns(pl.Series("spread_points", np.where(own > 0, own, silent), dtype=pl.Int32))
