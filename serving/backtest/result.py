"""What a backtest gives back: trades, equity and daily returns as frames, and totals with every cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from feature_store.clock import new_york_offset_s
from serving._decision_types import I64
from serving.backtest._types import F64, TRADE_COLUMNS, Track
from serving.decision import END_OF_DATA, HALTED, REASONS, STOP_HIT, TARGET_HIT

if TYPE_CHECKING:
    from serving.backtest.engine import BacktestInput

DAYS_A_YEAR = 260  # FX days, Monday to Friday
_IN_BAR = (STOP_HIT, TARGET_HIT, END_OF_DATA)


@dataclass(frozen=True)
class Totals:
    """Sums over a backtest, in account currency. gross - spread_cost - commission + swap = net = final - start."""

    start_balance: float
    final_balance: float
    gross: float  # from mid to mid
    spread_cost: float
    commission: float
    swap: float  # negative when paid
    net: float
    trades: int
    winners: int
    refused_at_open: int  # orders whose stop or target the open had passed already
    halts: int
    max_drawdown: float  # largest fall of equity at closes from its peak, as a fraction of the peak
    net_sharpe: float  # a year, of daily returns; NaN without any


@dataclass(frozen=True)
class BacktestResult:
    """One backtest. Times are UTC without a zone; an exit inside a bar carries that bar's close."""

    trades: pl.DataFrame
    equity: pl.DataFrame  # time (close of the bar), balance, equity, worst_equity, halted
    daily: pl.DataFrame  # day (FX day, from 17:00 New York of the eve), equity, return
    totals: Totals
    reasons: dict[str, dict[str, int]]  # line -> what was said at its bars -> how often
    currency: str
    assumed: tuple[str, ...]  # what the costs rest on that no broker stated

    def summary(self) -> dict[str, Any]:
        """Totals and reasons as plain values, for JSON."""
        totals = {name: None if value != value else value for name, value in asdict(self.totals).items()}
        return {**totals, "currency": self.currency, "assumed": list(self.assumed), "reasons": self.reasons}


def _times(seconds: I64) -> pl.Series:
    return pl.Series("time", seconds * 1000).cast(pl.Datetime("ms"))


def trade_frame(data: BacktestInput, rows: F64) -> pl.DataFrame:
    """One row per closed trade, in the order they closed."""
    column = dict(zip(TRADE_COLUMNS, rows.T, strict=True))
    whole = {name: column[name].astype(np.int64) for name in ("line", "symbol", "side", "reason", "bars_held")}
    entry, leave = column["entry_index"].astype(np.int64), column["exit_index"].astype(np.int64)
    in_bar = np.isin(whole["reason"], _IN_BAR)
    return pl.DataFrame(
        {
            "line": pl.Series([data.line_names[i] for i in whole["line"]], dtype=pl.String),
            "symbol": pl.Series([data.symbol_names[i] for i in whole["symbol"]], dtype=pl.String),
            "side": whole["side"],
            "lots": column["lots"],
            "entry_time": _times(data.open_s[entry]),
            "entry_price": column["entry_price"],
            "exit_time": _times(np.where(in_bar, data.market.close_s[leave], data.open_s[leave])),
            "exit_price": column["exit_price"],
            "reason": pl.Series([REASONS[i] for i in whole["reason"]], dtype=pl.String),
            "bars_held": whole["bars_held"],
            **{name: column[name] for name in ("gross", "spread_cost", "commission", "swap", "net", "r_multiple")},
        }
    )


def daily_returns(close_s: I64, equity: F64, start_balance: float) -> pl.DataFrame:
    """Equity at the last close of each FX day, and its return on the day before. A bar belongs to the day it closes
    in, the one that ends at 17:00 New York exactly to the day that ends."""
    days = (close_s - 1 + new_york_offset_s(close_s - 1) + 7 * 3600) // 86400
    last = np.append(np.flatnonzero(np.diff(days)), days.size - 1)
    at_end = equity[last]
    before = np.append(start_balance, at_end[:-1])
    # An account that is gone earns nothing any more.
    returns = np.divide(at_end - before, before, out=np.zeros_like(at_end), where=before > 0.0)
    return pl.DataFrame({"day": pl.Series(days[last]).cast(pl.Int32).cast(pl.Date), "equity": at_end, "return": returns})


def yearly_sharpe(returns: F64) -> float:
    """Mean over standard deviation of daily returns, times the root of 260; NaN when they do not vary."""
    if returns.size < 2 or not float(returns.std(ddof=1)) > 0.0:
        return float("nan")
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(DAYS_A_YEAR))


def max_drawdown(equity: F64, start_balance: float) -> float:
    """Largest fall from a peak so far, the start included, as a fraction of that peak."""
    peak = np.maximum.accumulate(np.append(start_balance, equity))[1:]
    return float(np.max((peak - equity) / peak))


def result_of(data: BacktestInput, track: Track, refused: int, halts: int) -> BacktestResult:
    """Frames and totals of what the loop left in `track`, whose trades are cut to those that closed."""
    trades = trade_frame(data, track.trades)
    daily = daily_returns(data.market.close_s, track.equity, data.options.start_balance)
    sums = {name: float(trades[name].sum()) for name in ("gross", "spread_cost", "commission", "swap", "net")}
    totals = Totals(
        start_balance=data.options.start_balance,
        final_balance=float(track.balance[-1]),
        trades=trades.height,
        winners=int((trades["net"] > 0.0).sum()),
        refused_at_open=refused,
        halts=halts,
        max_drawdown=max_drawdown(track.equity, data.options.start_balance),
        net_sharpe=yearly_sharpe(daily["return"].to_numpy()),
        **sums,
    )
    equity = pl.DataFrame(
        {
            "time": _times(data.market.close_s),
            "balance": track.balance,
            "equity": track.equity,
            "worst_equity": track.worst_equity,
            "halted": track.state == HALTED,
        }
    )
    return BacktestResult(trades, equity, daily, totals, _reasons(data, track), data.currency, data.assumed)


def _reasons(data: BacktestInput, track: Track) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    for line, name in enumerate(data.line_names):
        codes, counts = np.unique(track.reason[data.lines.closes[:, line], line], return_counts=True)
        counted[name] = {REASONS[int(code)] or "order sent": int(count) for code, count in zip(codes, counts, strict=True)}
    return counted
