"""What the event loop takes and returns: NamedTuples of arrays. T times, S symbols, L lines; money in account currency."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from serving._decision_types import Positions, Quotes, Signals, Specs

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


class Market(NamedTuple):
    """Prices of all symbols on one timeline of bars, NaN where a symbol has no bar. Bars are bid."""

    close_s: I64  # (T,) moment each bar is known, UTC epoch s
    day: I64  # (T,) risk day in which the bar opens
    nights: I64  # (T,) nights of swap that fall between the bar before and this one's open
    open: F64  # (T, S)
    high: F64
    low: F64
    close: F64
    spread: F64  # (T, S) price units, the larger of the bar's own and the feed's table
    market_open: Bool  # (T, S) whether an order sent at the bar's close would be taken
    rate_gain: F64  # (T, S) profit currency to account currency, as known at the bar's close
    rate_loss: F64
    base_rate: F64  # (T, S) base currency to account currency


class Symbols(NamedTuple):
    """S symbols."""

    contract_size: F64
    point: F64
    volume_min: F64
    volume_max: F64
    volume_step: F64
    stops_level: F64  # price units
    commission_per_side: F64  # per lot, account currency
    leverage: F64
    swap_long: F64  # points a night
    swap_short: F64
    own_rate: I64  # 1: profit is converted at the symbol's own price (its base is the account currency)
    base_currency: I64
    profit_currency: I64


class Lines(NamedTuple):
    """L lines, each on one symbol; what its model says is known at the close of its bars."""

    symbol: I64  # (L,)
    closes: Bool  # (T, L) a bar of the line closes here
    side: I64  # (T, L) from `signal`
    confidence: F64
    atr: F64  # price units


class Options(NamedTuple):
    """How the account starts and what its risk day is measured from."""

    start_balance: float
    day_base_balance: int  # 1: the day's loss is measured from balance, 0: from equity
    resume_next_day: int  # 1: a person resumes a halted account when the next risk day begins


class Book(NamedTuple):
    """What each of the L lines holds and has on its way. side 0: nothing."""

    side: I64
    lots: F64
    entry: F64
    stop: F64
    target: F64
    bars_held: I64
    horizon_bars: I64
    opened: I64  # index of the bar it was filled in
    entry_spread: F64
    risked: F64  # lost at the stop from the fill on, commission included; NaN without a stop
    swap: F64  # so far, negative when paid
    closing: I64  # reason of a close sent at the last bar's close, or 0
    sent_side: I64  # order sent at a bar's close that waits for the symbol's next bar
    sent_lots: F64
    sent_stop: F64
    sent_target: F64


class Desk(NamedTuple):
    """What is known now: written anew at every bar."""

    specs: Specs
    quotes: Quotes
    spread: F64  # (S,) last known, price units
    seen_s: I64  # (S,) close of the symbol's last bar
    signals: Signals
    positions: Positions  # room for one a line


class Track(NamedTuple):
    """What happened. `trades` has one row per closed position, columns `TRADE_COLUMNS`."""

    trades: F64
    balance: F64  # (T,) after the bar
    equity: F64  # (T,) at its close
    worst_equity: F64  # (T,) if every position stood at its worst price of the bar at once
    state: I64  # (T,)
    reason: npt.NDArray[np.int16]  # (T, L) first rule that said no, 0: granted or nothing to decide


TRADE_COLUMNS = (
    "line", "symbol", "side", "lots", "entry_index", "entry_price", "exit_index", "exit_price", "reason",
    "gross", "spread_cost", "commission", "swap", "net", "r_multiple", "bars_held",
)  # fmt: skip
TRADE_WIDTH = len(TRADE_COLUMNS)


def _empty(kind: Any, size: int, fill: float = 0.0) -> Any:
    """A NamedTuple of arrays of `size` entries: zeros where whole numbers belong, else `fill`."""
    hints = (str(kind.__annotations__[name]) for name in kind._fields)
    return kind(*(np.zeros(size, np.int64) if "I64" in hint else np.full(size, fill) for hint in hints))


def empty_book(width: int) -> Book:
    """A book in which none of `width` lines holds anything."""
    made: Book = _empty(Book, width)
    return made


def empty_desk(symbols: Symbols, lines: Lines) -> Desk:
    """A desk on which nothing was seen yet; what never changes about the symbols is filled in."""
    size, width = symbols.point.size, lines.symbol.size
    specs = Specs(
        point=symbols.point,
        volume_min=symbols.volume_min,
        volume_max=symbols.volume_max,
        volume_step=symbols.volume_step,
        stops_level=symbols.stops_level,
        value_per_price=np.full(size, np.nan),
        commission_per_lot=2.0 * symbols.commission_per_side,
        margin_per_lot=np.full(size, np.nan),
        notional_per_lot=np.full(size, np.nan),
        base_currency=symbols.base_currency,
        profit_currency=symbols.profit_currency,
    )
    signals: Signals = _empty(Signals, width)._replace(symbol=lines.symbol)
    return Desk(
        specs=specs,
        quotes=_empty(Quotes, size, np.nan),
        spread=np.full(size, np.nan),
        seen_s=np.zeros(size, np.int64),
        signals=signals,
        positions=_empty(Positions, width),
    )


def empty_track(times: int, width: int, most_trades: int) -> Track:
    """Room for what happens over `times` bars. Untouched rows of `trades` cost no memory."""
    return Track(
        trades=np.empty((most_trades, TRADE_WIDTH)),
        balance=np.zeros(times),
        equity=np.zeros(times),
        worst_equity=np.zeros(times),
        state=np.zeros(times, np.int64),
        reason=np.zeros((times, width), np.int16),
    )
