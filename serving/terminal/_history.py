"""MetaTrader's positions, orders, deals and rates in our words. Used by the broker adapter alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.bars import SCHEMA
from serving.terminal._broker_types import Deal, OpenPosition, OrderSeen

ToUtcMs = Callable[[int], int]

_ENTRIES = {0: "in", 1: "out", 2: "inout", 3: "out_by"}
_REASONS = {
    0: "client", 1: "mobile", 2: "web", 3: "expert", 4: "stop", 5: "target", 6: "stop out", 7: "rollover",
    8: "variation margin", 9: "split",
}  # fmt: skip
_BUY, _SELL = 0, 1
# Order states of the platform: those of a finished order that did nothing, and those that did something.
_DEAD, _PARTIAL, _FILLED = {2, 5, 6}, 3, 4


def position(p: Any, symbol: str, utc_ms: ToUtcMs) -> OpenPosition:
    side = 1 if p.type == _BUY else -1
    return OpenPosition(
        p.ticket,
        symbol,
        side,
        p.volume,
        p.price_open,
        p.sl,
        p.tp,
        p.profit,
        p.swap,
        p.magic,
        utc_ms(p.time_msc) / 1000,
        p.comment,
    )


def order(o: Any, symbol: str) -> OrderSeen:
    if o.state == _FILLED:
        state = "filled"
    elif o.state in _DEAD:
        # A cancelled order whose remainder is below what it asked for did a part of it.
        state = "partial" if o.volume_current < o.volume_initial else "dead"
    else:
        state = "partial" if o.state == _PARTIAL else "working"
    return OrderSeen(o.ticket, o.position_id, symbol, o.magic, state)


def deal(d: Any, symbol: str, utc_ms: ToUtcMs) -> Deal:
    trade = d.type in (_BUY, _SELL)
    side = 0 if not trade else 1 if d.type == _BUY else -1
    return Deal(
        ticket=d.ticket, order_ticket=d.order, position=d.position_id, at_ms=utc_ms(d.time_msc), symbol=symbol,
        kind="trade" if trade else "balance", side=side, entry=_ENTRIES.get(d.entry, "in"), lots=d.volume, price=d.price,
        commission=d.commission, swap=d.swap, fee=d.fee, profit=d.profit, magic=d.magic,
        reason=_REASONS.get(d.reason, str(d.reason)), comment=d.comment,
    )  # fmt: skip


def frame(rates: Any, opens_s: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Bars of `bars.SCHEMA`, spreads as the terminal recorded them, 0 included: ingest keeps them so, and live must
    see what training saw."""
    # Columns are made one by one: a frame expression costs a query plan, and this stands before every decision.
    columns = {
        "time": pl.Series(opens_s * 1000).cast(pl.Datetime("ms")),
        **{name: pl.Series(np.ascontiguousarray(rates[name])) for name in ("open", "high", "low", "close")},
        "tick_volume": pl.Series(rates["tick_volume"].astype(np.int64)),
        "spread_points": pl.Series(rates["spread"].astype(np.int32)),
        "real_volume": pl.Series(rates["real_volume"].astype(np.int64)),
    }
    return pl.DataFrame([columns[name].alias(name) for name in SCHEMA])
