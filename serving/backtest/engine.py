"""Run a backtest: check what comes in, let the event loop play it, make frames of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serving._decision_types import Policy
from serving._errors import Final
from serving.backtest._loop import simulate
from serving.backtest._types import I64, Lines, Market, Options, Symbols, empty_book, empty_desk, empty_track
from serving.backtest.result import BacktestResult, result_of

if TYPE_CHECKING:
    from serving.risk import Limits

# Below this many bars plain Python is done before numba is even imported; both give the same numbers.
PLAIN_BELOW_BARS = 20_000


@dataclass(frozen=True)
class BacktestInput:
    """Everything a backtest needs: T bars on one timeline, S symbols, L lines. `prepare` makes it from frames."""

    open_s: I64  # (T,) UTC epoch s
    market: Market
    symbols: Symbols
    lines: Lines
    policy: Policy
    limits: Limits
    options: Options
    symbol_names: tuple[str, ...]
    line_names: tuple[str, ...]
    currency: str  # of the account
    assumed: tuple[str, ...] = ()  # what the costs rest on that no broker stated


def check(data: BacktestInput) -> None:
    """Raises `Final` for input whose bars contradict themselves or whose arrays do not fit together."""
    market, lines = data.market, data.lines
    times, size, width = data.open_s.size, len(data.symbol_names), len(data.line_names)
    if times == 0 or width == 0:
        raise Final(f"a backtest needs bars and lines; got {times} bars and {width} lines")
    for name, array, shape in (
        *((name, getattr(market, name), (times, size)) for name in ("open", "high", "low", "close", "spread", "rate_loss")),
        *((name, getattr(market, name), (times,)) for name in ("close_s", "day", "nights")),
        *((name, getattr(lines, name), (times, width)) for name in ("closes", "side", "confidence", "atr")),
        ("policy.mode", data.policy.mode, (width,)),
        ("symbols.point", data.symbols.point, (size,)),
    ):
        if array.shape != shape:
            raise Final(f"backtest input {name} has shape {array.shape}; with {times} bars it must be {shape}")
    if not (np.diff(data.open_s) > 0).all() or not (market.close_s > data.open_s).all():
        raise Final("the timeline of a backtest must rise: every bar opens after the one before and closes after it opens")
    there = ~np.isnan(market.close)
    sound = (market.low <= np.minimum(market.open, market.close)) & (market.high >= np.maximum(market.open, market.close))
    bad = there & ~(sound & (market.low > 0.0) & (market.spread >= 0.0))
    if bad.any():
        t, s = np.argwhere(bad)[0]
        raise Final(
            f"{data.symbol_names[s]}: bar {t} of the backtest has open {market.open[t, s]}, high {market.high[t, s]}, "
            f"low {market.low[t, s]}, close {market.close[t, s]}, spread {market.spread[t, s]}; look at `tradewind data`"
        )
    if (lines.closes & ~there[:, lines.symbol]).any():
        raise Final("a line of the backtest closes a bar where its symbol has none; only bars that exist can be decided on")


def run(data: BacktestInput, *, compiled: bool | None = None) -> BacktestResult:
    """What the decisions would have earned, with every cost. `compiled`: machine code or plain Python, which agree
    exactly; None takes whichever is done first. Raises `Final` for input that contradicts itself."""
    check(data)
    times, width = data.lines.closes.shape
    # Every trade begins with a side on a closed bar; a row more a line for the close after the last bar.
    most_trades = int(np.count_nonzero(data.lines.closes & (data.lines.side != 0))) + width
    book, desk = empty_book(width), empty_desk(data.symbols, data.lines)
    track = empty_track(times, width, most_trades)
    loop = simulate
    if times >= PLAIN_BELOW_BARS if compiled is None else compiled:
        from serving.backtest._compile import compiled_simulate  # numba: only when it pays

        loop = compiled_simulate()
    count, refused, halts = loop(data.market, data.symbols, data.lines, data.policy, data.limits, data.options, book, desk, track)
    return result_of(data, track._replace(trades=track.trades[:count]), refused, halts)
