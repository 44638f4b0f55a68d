"""What an account did, beside what the backtest does over the same bars: for tests that live equals backtest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from feature_store.clock import from_epoch
from feature_store.store import Store
from flows.settings import load
from flows.terminals import market_of
from serving import magic
from serving.backtest import LineInput
from serving.control import journal_path
from serving.journal import Decision, read
from tasks import backtest as tasks_backtest

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Both:
    """One market, traded and replayed. Trades have the columns symbol, side, entry_time, lots, entry, exit, exit_time
    and equity: what the account was worth when the lots were decided."""

    decisions: list[Decision]
    lines: dict[str, LineInput]
    live: pl.DataFrame
    replayed: pl.DataFrame

    def inputs(self) -> pl.DataFrame:
        """Probabilities and ATR of every bar that either side decided on, beside each other; null where one did not."""
        lived = pl.DataFrame(
            {
                "symbol": [d.line.split("/")[1] for d in self.decisions],
                "bar_s": [d.bar_s for d in self.decisions],
                **{name: [getattr(d, name) for d in self.decisions] for name in ("p_short", "p_flat", "p_long", "atr")},
            }
        )
        replayed = pl.concat(
            pl.DataFrame({"bar_s": line.open_s, "atr": line.atr})
            .with_columns(pl.lit(symbol).alias("symbol"))
            .with_columns(pl.Series(name, line.probabilities[:, i]) for i, name in enumerate(("p_short", "p_flat", "p_long")))
            for symbol, line in self.lines.items()
        )
        return lived.join(replayed, on=["symbol", "bar_s"], how="full", suffix="_replayed", coalesce=True)

    def matched(self) -> pl.DataFrame:
        """Trades of both sides with the same symbol, side and moment."""
        return self.live.join(self.replayed, on=["symbol", "side", "entry_time"], suffix="_replayed")

    def unmatched(self) -> list[tuple[dict[str, Any], pl.DataFrame]]:
        """(trade of one side alone, trades of the other side in that symbol), in time order."""
        keys = ["symbol", "side", "entry_time"]
        found = []
        for own, other in ((self.live, self.replayed), (self.replayed, self.live)):
            for trade in own.join(other, on=keys, how="anti").to_dicts():
                found.append((trade, other.filter(symbol=trade["symbol"])))
        return sorted(found, key=lambda pair: pair[0]["entry_time"])


def both(home: Path, account: str, pipeline: str, start: datetime, end: datetime) -> Both:
    """The account's journal beside a backtest of the champion from `start` to `end`, over the same generated bars."""
    settings = load(home)
    name = settings.account(account).feed
    feed = settings.feed(name)
    market, store = market_of(name, feed, tuple(feed.symbols)), Store(home / "bars.duckdb")
    for symbol in feed.symbols:
        bars = market.bars(symbol).filter(pl.col("time") < end.replace(tzinfo=None))
        store.ingest(name, symbol, "M1", bars, origin="played", sha256="", clock_rule="utc", at=LATER)
    taken: dict[str, LineInput] = {}
    prepare = tasks_backtest.prepare

    def watched(*arguments: Any, **named: Any) -> Any:
        taken.update({line.symbol: line for line in arguments[4]})
        return prepare(*arguments, **named)

    with mock.patch.object(tasks_backtest, "prepare", watched):
        result = tasks_backtest.backtest.fn(home, pipeline, None, (start, end), settings.feed, lock_wait_s=10.0).result
    reader = read(journal_path(home, account))
    decisions = [d for d in reader.decisions() if start.timestamp() <= d.bar_s < end.timestamp()]
    deals = [d for d in reader.deals() if d.kind == "trade"]
    reader.close()
    replayed = result.trades.select(
        "symbol", "side", "entry_time", "lots", "exit_time", entry="entry_price", exit="exit_price", reason="reason"
    )
    # A bar's close is the next one's open but for weekends; equity stands still over them.
    worth = result.equity.select("time", "equity").sort("time")
    replayed = replayed.sort("entry_time").join_asof(worth, left_on="entry_time", right_on="time").drop("time")
    sized = {d.sequence: d.equity for d in decisions if d.action.startswith("open")}
    return Both(decisions, taken, _trades(deals, sized), replayed)


def _trades(deals: list[Any], equity: dict[int | None, float | None]) -> pl.DataFrame:
    """equity: by sequence of the intent that opened the trade."""
    rows = []
    for entry in (d for d in deals if d.entry == "in"):
        leave = next((d for d in deals if d.entry == "out" and d.position == entry.position), None)
        rows.append(
            {
                "symbol": entry.symbol,
                "side": entry.side,
                "entry_time": from_epoch(entry.at_ms // 1000).replace(tzinfo=None),
                "lots": entry.lots,
                "entry": entry.price,
                "exit": np.nan if leave is None else leave.price,
                "exit_time": None if leave is None else from_epoch(leave.at_ms // 1000).replace(tzinfo=None),
                "reason": "open" if leave is None else leave.reason,
                "equity": equity.get(_sequence(entry)),
            }
        )
    moment = pl.Datetime("ms")
    return pl.DataFrame(rows, schema_overrides={"entry_time": moment, "exit_time": moment, "exit": pl.Float64})


def _sequence(entry: Any) -> int | None:
    key = magic.decode(entry.magic)
    return key.sequence if key else None
