"""Speed of the simulated terminal: `python benchmarks/terminal.py [--bars N]` prints one line per measurement."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

from serving.terminal.simulated import AccountConfig, Handle, SimulatedConfig, SymbolConfig, install

START = datetime(2023, 1, 2, tzinfo=UTC)
HISTORY = 3000
M1, H1 = 1, 16385


def random_bars(minutes: int, seed: int) -> pl.DataFrame:
    """A random walk of M1 bars that never closes, so that every minute can be traded."""
    random = np.random.default_rng(seed)
    close = 1.1 * np.exp(np.cumsum(random.normal(0, 2e-5, minutes)))
    open_ = np.concatenate([[1.1], close[:-1]])
    reach = np.abs(random.normal(0, 3e-5, (2, minutes)))
    naive = START.replace(tzinfo=None)
    times = pl.datetime_range(naive, naive + timedelta(minutes=minutes - 1), "1m", time_unit="ms", eager=True)
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) + reach[0],
        "low": np.minimum(open_, close) - reach[1],
        "close": close,
    }
    frame = pl.DataFrame({"time": times} | {name: np.round(values, 5) for name, values in columns.items()})
    return frame.with_columns(tick_volume=pl.lit(50), spread_points=pl.lit(8), real_volume=pl.lit(0))


def handle_of(minutes: int, symbols: int = 1) -> Handle:
    names = ("EURUSD", "GBPUSD", "AUDUSD", "NZDUSD")[:symbols]
    config = SimulatedConfig(
        symbols=tuple(SymbolConfig(name, 5, 100_000, name[:3], "USD", name[:3], commission_per_lot=3.5) for name in names),
        market={name: random_bars(minutes, seed) for seed, name in enumerate(names)},
        start=START + timedelta(minutes=HISTORY),
        account=AccountConfig(balance=1_000_000.0),
        feed="bench-24x7",
        server_clock="utc+2",
    )
    handle = install(config)
    handle.module.initialize()
    return handle


def each_us(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median and 99th percentile of one call in microseconds."""
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        call()
        taken.append((perf_counter() - began) * 1e6)
    return statistics.median(taken), float(np.quantile(taken, 0.99))


def single_calls(repeats: int) -> None:
    with handle_of(20_000) as handle:
        mt5 = handle.module
        request = {
            "action": 1,
            "symbol": "EURUSD",
            "volume": 0.01,
            "type": 0,
            "magic": 7,
            "comment": "bench",
            "sl": 0.5,
            "tp": 2.0,
        }

        def round_trip() -> None:
            ticket = mt5.order_send(request).order
            mt5.order_send({"action": 1, "symbol": "EURUSD", "volume": 0.01, "type": 1, "position": ticket})

        calls: dict[str, tuple[Callable[[], Any], int]] = {
            "order_send open + close, per order": (round_trip, 2),
            "copy_rates_from_pos 300 M1": (lambda: mt5.copy_rates_from_pos("EURUSD", M1, 0, 300), 1),
            "copy_rates_from_pos 300 H1": (lambda: mt5.copy_rates_from_pos("EURUSD", H1, 0, 300), 1),
            "symbol_info_tick": (lambda: mt5.symbol_info_tick("EURUSD"), 1),
            "symbol_info": (lambda: mt5.symbol_info("EURUSD"), 1),
            "account_info": (mt5.account_info, 1),
            "positions_get": (mt5.positions_get, 1),
        }
        for name, (call, parts) in calls.items():
            median, p99 = each_us(call, repeats)
            print(f"{name:38} median {median / parts:8.1f} us   p99 {p99 / parts:8.1f} us")


def bar_loop(bars: int) -> None:
    with handle_of(HISTORY + bars + 1) as handle:
        mt5, now, held = handle.module, handle.clock.now_utc(), 0
        request = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "sl": 0.5, "tp": 2.0}
        began = perf_counter()
        for number in range(bars):
            now += timedelta(minutes=1)
            handle.clock.wait_until(now)
            mt5.copy_rates_from_pos("EURUSD", M1, 0, 300)
            mt5.positions_get()
            if number % 30 == 0:
                close = {"type": 1, "position": held, "sl": 0.0, "tp": 0.0} if held else {}
                held = 0 if held else mt5.order_send(request | close).order
                if close:
                    mt5.order_send(request | close)
        taken = perf_counter() - began
    print(f"{bars} M1 bars, rates and positions each, an order every 30: {taken:.2f} s")


def waits(step_s: int, *, held: bool) -> None:
    days = 10
    with handle_of(HISTORY + days * 1440 + 1, symbols=4) as handle:
        if held:
            for symbol in ("EURUSD", "GBPUSD"):
                handle.manual_trade(symbol, 1, 0.1, sl=0.5, tp=2.0)
        now, step, steps = handle.clock.now_utc(), timedelta(seconds=step_s), days * 86400 // step_s
        began = perf_counter()
        for _ in range(steps):
            now += step
            handle.clock.wait_until(now)
        taken = perf_counter() - began
    kind = "two positions" if held else "no position"
    print(f"{days} days in waits of {step_s:2} s, {kind:13}: {taken:6.2f} s, {taken / steps * 1e6:6.2f} us a wait")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3000)
    arguments = parser.parse_args()
    single_calls(arguments.repeats)
    for held in (False, True):
        for step_s in (1, 15):
            waits(step_s, held=held)
    bar_loop(arguments.bars)


if __name__ == "__main__":
    main()
