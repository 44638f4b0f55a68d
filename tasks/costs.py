"""What trading a symbol costs at each bar: spread, point, contract size and commission as they were then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import epoch_s
from feature_store.clock import from_epoch
from feature_store.labels import charged_spread
from feature_store.settings import FeedSettings
from feature_store.spreads import SpreadTable
from feature_store.store import Store
from feature_store.symbols import SymbolSpec
from tasks._errors import Final

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_TICK = timedelta(milliseconds=1)  # of the moments that the store keeps

CHARGED = np.zeros(24)
"""Spread table of a backtest whose bars already carry what they are charged."""


@dataclass(frozen=True)
class BarCosts:
    """Costs of each bar of one symbol, (n,) each. spread: price units. commission_per_lot: a side, account currency."""

    spread: F64
    commission_per_lot: F64
    contract_size: F64

    def commission_price(self, rate: F64) -> F64:
        """Commission of both sides in price units; rate: the profit currency in the account's, at each bar."""
        return 2.0 * self.commission_per_lot / self.contract_size / rate


def spread_table(store: Store, feed: str, symbol: str, settings: FeedSettings) -> SpreadTable:
    """The feed's own table, or where that is only assumed, the one of the feed that its settings name as lender.

    Raises `Final` when the lender has no bars of the symbol.
    """
    own = store.spread_table(feed, symbol)
    lender = settings.spreads_from
    if own.source == "measured" or not lender:
        return own
    lent_bars = store.inventory().filter(feed=lender, symbol=symbol)
    if lent_bars.is_empty():
        raise Final(
            f"{symbol}: feed {feed!r} borrows its spreads from feed {lender!r}, which has no bars of it; "
            f"ingest them, or take spreads_from out of [feeds.{feed}]"
        )
    lent = store.spread_table(lender, symbol)
    if lent.source == "assumed":
        return replace(own, evidence=f"{own.evidence}; feed {lender} cannot lend its own ({lent.evidence})")
    points = [_newest(store, name, symbol).point for name in (lender, feed)]
    return lent.rescaled(points[0] / points[1], lender)


def _newest(store: Store, feed: str, symbol: str) -> SymbolSpec:
    last = store.inventory().filter(feed=feed, symbol=symbol)["last"].max()
    assert isinstance(last, datetime)  # a feed that has the symbol's table has bars of it
    return store.symbol(feed, symbol, last.replace(tzinfo=UTC))


def specs_between(store: Store, feed: str, symbol: str, first_s: int, last_s: int, settings: FeedSettings) -> list[SymbolSpec]:
    """Specifications in force from `first_s` to `last_s` (UTC epoch s), oldest first.

    Assumed ones charge the commission of the feed's settings.
    """
    first = from_epoch(first_s)
    found = [store.symbol(feed, symbol, from_epoch(last_s))]
    while found[0].valid_from > first:
        found.insert(0, store.symbol(feed, symbol, found[0].valid_from - _TICK))
    usual = settings.commission_per_lot
    return [replace(spec, commission_per_lot=usual) if spec.source == "assumed" else spec for spec in found]


def bar_costs(bars: pl.DataFrame, specs: list[SymbolSpec], table: SpreadTable) -> BarCosts:
    """What each bar costs under the specification in force at its open. bars: columns time and spread_points."""
    opens = epoch_s(bars["time"])
    since = np.array([spec.valid_from.timestamp() for spec in specs[1:]])
    now = np.searchsorted(since, opens, side="right")

    def of_bar(name: str) -> F64:
        return np.array([getattr(spec, name) for spec in specs], dtype=np.float64)[now]

    point = of_bar("point")
    # A measured table counts in the points its bars had; others in those of the newest specification.
    scale = 1.0 if table.source == "measured" and not table.lender else specs[-1].point / point
    own = bars["spread_points"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    spread = charged_spread(own, table.at(opens) * scale, point, table.high_at(opens) * scale)
    return BarCosts(spread, of_bar("commission_per_lot"), of_bar("contract_size"))


def in_whole_points(bars: pl.DataFrame, spread: F64, point: float) -> pl.DataFrame:
    """The bars, each with what it is charged as its own spread, rounded up: never cheaper than `spread` (price units)."""
    points = np.ceil(spread / point - 1e-6).astype(np.int32)
    return bars.with_columns(pl.Series("spread_points", points, dtype=pl.Int32))
