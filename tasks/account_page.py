"""An account's trading as its page shows it: from the journal's deals and the simulated market's spreads."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from feature_store.bars import epoch_s
from feature_store.clock import from_epoch
from serving.conversion import rate
from serving.journal import DealRow, JournalReader
from serving.settings import AccountSettings
from serving.trader import TraderSummary
from tasks.report_page import AccountPage


class Broker(Protocol):
    """The part of a simulated broker's handle that knows what spread its market had."""

    @property
    def config(self) -> Any: ...


def account_page(journal: JournalReader, broker: Broker, account: AccountSettings, summary: TraderSummary) -> AccountPage:
    """What was traded since the journal began, every cost apart."""
    deals = [d for d in journal.deals() if d.kind == "trade" and d.line is not None]
    spreads = {d.ticket: _half_spread(broker, d) for d in deals}
    by_position: dict[int, list[DealRow]] = {}
    for deal in deals:
        by_position.setdefault(deal.position, []).append(deal)
    asked = {row["position"]: row["reason"] for row in journal.rows("SELECT position, reason FROM intents WHERE kind = 'close'")}
    trades = [_trade(parts, spreads, asked) for parts in by_position.values() if any(d.entry == "out" for d in parts)]
    costs = {
        "spread": -sum(t["spread"] for t in trades),
        "commission": sum(t["commission"] for t in trades),
        "swap": sum(t["swap"] for t in trades),
        "net": sum(t["net"] for t in trades),
    }
    costs["gross"] = costs["net"] - costs["spread"] - costs["commission"] - costs["swap"]
    start = account.start_balance
    curve, balance = [], start
    for deal in sorted(deals, key=lambda d: (d.at_ms, d.ticket)):
        balance += deal.profit + deal.commission + deal.swap + deal.fee
        curve.append((deal.at_ms / 1000.0, balance))
    reasons: dict[str, int] = {}
    for decision in journal.decisions():
        said = decision.reason or decision.action
        reasons[said] = reasons.get(said, 0) + 1
    return AccountPage(
        name=summary.account,
        mode="simulated" if account.mode == "sim" else account.mode,
        currency=account.currency,
        start_balance=start,
        end_balance=summary.balance,
        costs=costs,
        equity=curve,
        trades=trades,
        decisions=reasons,
        latency_ms=None if summary.latency_us is None else summary.latency_us / 1000.0,
    )


def _trade(parts: list[DealRow], half_spread: dict[int, float], asked: dict[int, str]) -> dict[str, Any]:
    entry = next(d for d in parts if d.entry == "in")
    leave = [d for d in parts if d.entry == "out"][-1]
    return {
        "opened": from_epoch(entry.at_ms / 1000).strftime("%Y-%m-%d %H:%M"),
        "line": entry.line or "",
        "side": "long" if entry.side > 0 else "short",
        "lots": entry.lots,
        "entry": entry.price,
        "exit": leave.price,
        "closed": from_epoch(leave.at_ms / 1000).strftime("%Y-%m-%d %H:%M"),
        "why": asked.get(leave.position, leave.reason),
        "spread": sum(half_spread[d.ticket] for d in parts),
        "commission": sum(d.commission + d.fee for d in parts),
        "swap": sum(d.swap for d in parts),
        "net": sum(d.profit + d.commission + d.fee + d.swap for d in parts),
    }


def _half_spread(broker: Broker, deal: DealRow) -> float:
    """What half the spread at the moment of the deal cost, in account currency."""
    config, at_s = broker.config, deal.at_ms // 1000
    quotes = {s.market_name: _quote(config, s, at_s) for s in config.symbols}
    bid, ask = quotes[deal.symbol]
    symbol = next(s for s in config.symbols if s.market_name == deal.symbol)
    worth = rate(symbol.currency_profit, config.account.currency, quotes)
    return float(0.5 * (ask - bid) * symbol.contract_size * deal.lots * worth)


def _quote(config: Any, symbol: Any, at_s: int) -> tuple[float, float]:
    """Bid and ask of the bar in which a moment lies; its spread holds for the whole bar."""
    bars = config.bars(symbol)
    at = max(0, int(np.searchsorted(epoch_s(bars["time"]), at_s, side="right")) - 1)
    bid, points = float(bars["open"][at]), float(bars["spread_points"][at] or 0)
    return bid, bid + points * symbol.point
