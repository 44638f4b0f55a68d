"""Bars from a MetaTrader 5 terminal: any object with the MetaTrader5 package's own functions and constants.

Positions count back from the newest bar, requests must stay below the terminal's `maxbars`, a symbol nobody has
asked for answers short or not at all while its history loads, and times are the server's clock written as UTC.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._errors import Final, Retryable
from feature_store.bars import SCHEMA, bar_close
from feature_store.clock import Clock, server_to_utc
from feature_store.sources._source import SourceBars

log = logging.getLogger(__name__)

Rates = npt.NDArray[Any]

_TRIES = 6
_PAUSE = timedelta(seconds=1)
_CALL_FAILED = -1  # no such symbol, no history that far back, or history not loaded yet
_NO_CONNECTION = -10000  # this and below: the terminal process is away, not the data


class RatesTerminal(Protocol):
    """The part of a terminal that has bars."""

    def copy_rates_from_pos(self, symbol: str, timeframe: int, start_pos: int, count: int, /) -> Rates | None: ...

    def terminal_info(self) -> Any: ...

    def last_error(self) -> tuple[int, str]: ...


def read_terminal(
    terminal: RatesTerminal,
    *,
    broker_symbol: str,
    symbol: str,
    timeframe: str,
    clock_rule: str,
    clock: Clock,
    chunk: int = 20_000,
    start: datetime | None = None,
) -> Iterator[SourceBars]:
    """One `SourceBars` with every bar the terminal has, from `start` (open time, aware) on; none when it has none.

    The bar that is forming by `clock` is left out. clock_rule: the server's. Waits through `clock` while a cold
    symbol loads. Raises `Retryable` when the terminal is away, answers nothing, or the wait is interrupted;
    `Final` for a symbol or timeframe it does not know.
    """
    code = getattr(terminal, f"TIMEFRAME_{timeframe}", None)
    if code is None:
        raise Final(f"{broker_symbol}: the terminal has no timeframe {timeframe}; use one such as M1, M5 or H1")
    info = terminal.terminal_info()
    if info is None:
        raise Retryable(f"{broker_symbol}: the terminal is away ({_reason(terminal)}); start it and try again")
    # The moment before the first request: what comes back is at least as new, so a closed bar is complete.
    now_s = int(clock.now_utc().timestamp())
    count = max(1, min(chunk, int(info.maxbars) - 1))
    start_s = None if start is None else int(start.timestamp())
    pages: list[Rates] = []
    while True:
        wanted = _Page(broker_symbol, code, count * len(pages), count)
        page = _ask(terminal, clock, wanted, history_began=bool(pages))
        if page is None or not len(page) or (pages and page["time"][0] >= pages[-1]["time"][0]):
            break  # the history has ended; some terminals then repeat their oldest bars
        pages.append(page)
        oldest_s = int(server_to_utc(page["time"][:1].astype(np.int64), clock_rule)[0])
        if len(page) < count or (start_s is not None and oldest_s <= start_s):
            break
    if not pages:
        return
    rates = np.concatenate(pages[::-1])
    bars = _bars(rates, clock_rule, timeframe, now_s, start_s)
    origin = f"terminal {broker_symbol}"
    yield SourceBars(symbol, timeframe, bars, clock_rule, origin, hashlib.sha256(rates.tobytes()).hexdigest())


class _Page:
    """One request: `count` bars that end `position` bars before the newest."""

    def __init__(self, broker_symbol: str, timeframe_code: int, position: int, count: int) -> None:
        self.broker_symbol, self.timeframe_code, self.position, self.count = broker_symbol, timeframe_code, position, count

    def ask(self, terminal: RatesTerminal) -> Rates | None:
        return terminal.copy_rates_from_pos(self.broker_symbol, self.timeframe_code, self.position, self.count)


def _ask(terminal: RatesTerminal, clock: Clock, page: _Page, *, history_began: bool) -> Rates | None:
    """The page, asked for again while it is short and still growing. None where history has ended."""
    previous = -1
    for _ in range(_TRIES):
        rates = page.ask(terminal)
        if rates is None:
            _check_error(terminal, page)
        length = 0 if rates is None else len(rates)
        # Full, or the same short answer twice: the history is loaded.
        if length == page.count or (length == previous and (length > 0 or history_began)):
            return rates
        previous = length
        log.info("%s: %d of %d bars so far, history may still be loading", page.broker_symbol, length, page.count)
        if not clock.wait_until(clock.now_utc() + _PAUSE):
            raise Retryable(f"{page.broker_symbol}: interrupted while its history was loading; ask again")
    if rates is None and not history_began:
        raise Retryable(
            f"{page.broker_symbol}: no bars after {_TRIES} tries ({_reason(terminal)}); check the name and open its chart once"
        )
    return rates


def _check_error(terminal: RatesTerminal, page: _Page) -> None:
    """Raise unless the terminal's last error is one that loading history can cure."""
    code, text = terminal.last_error()
    if code <= _NO_CONNECTION:
        raise Retryable(f"{page.broker_symbol}: the terminal is away ({code}, {text!r}); start it and try again")
    if code != _CALL_FAILED:
        raise Final(
            f"{page.broker_symbol}: the terminal refused {page.count} bars at position {page.position} ({code}, {text!r})"
        )


def _reason(terminal: RatesTerminal) -> str:
    code, text = terminal.last_error()
    return f"{code}, {text!r}"


def _bars(rates: Rates, clock_rule: str, timeframe: str, now_s: int, start_s: int | None) -> pl.DataFrame:
    """Closed bars in time order, each once: pages overlap when a bar closes between two requests."""
    opens_s = server_to_utc(rates["time"].astype(np.int64), clock_rule)
    keep = bar_close(opens_s, timeframe) <= now_s
    if start_s is not None:
        keep &= opens_s >= start_s
    opens_s, first = np.unique(opens_s[keep], return_index=True)
    rates = rates[keep][first]
    values = {name: np.ascontiguousarray(rates[name]) for name in ("open", "high", "low", "close")}
    frame = pl.DataFrame({"time": opens_s * 1000, **values})
    counts = {"tick_volume": "tick_volume", "spread_points": "spread", "real_volume": "real_volume"}
    return frame.with_columns(
        pl.col("time").cast(pl.Datetime("ms")),
        *(pl.Series(ours, rates[theirs].astype(np.int64)).cast(SCHEMA[ours]) for ours, theirs in counts.items()),
    ).select(list(SCHEMA))
