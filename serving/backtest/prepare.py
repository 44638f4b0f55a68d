"""From frames of bars and model outputs to the arrays a backtest plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from feature_store.bars import bar_close, epoch_s
from feature_store.clock import is_open_s, new_york_hour, new_york_offset_s
from feature_store.symbols import SymbolSpec
from serving._errors import Final
from serving.backtest._types import F64, I64, Lines, Market, Options, Symbols
from serving.backtest.engine import BacktestInput
from serving.conversion import rate_series
from serving.decision import DecisionSpec, confidence, policy, signal
from serving.settings import RiskDay

if TYPE_CHECKING:
    from serving.risk import Limits

_NIGHTS = np.array([1, 1, 3, 1, 1, 0, 0])  # of swap, for the night after Monday, Tuesday, ...: 7 a week


@dataclass(frozen=True)
class LineInput:
    """What one (pipeline, symbol) line said: probabilities known at the close of each of its bars."""

    name: str
    symbol: str
    timeframe: str  # of its decision bars; the backtest's own or a longer one
    spec: DecisionSpec
    open_s: I64  # (n,) open of each decision bar, UTC epoch s
    probabilities: F64  # (n, 3) short, flat, long; NaN where there is none
    atr: F64  # (n,) price units


def swap_nights(open_s: I64) -> I64:
    """Nights of swap charged between each bar's open and the one before (the first: 0). Three on Wednesday's."""
    day = (open_s + new_york_offset_s(open_s) + 7 * 3600) // 86400
    weekday = (day + 3) % 7  # of the FX day, Monday 0
    since_start = (day - weekday) + np.concatenate(([0], np.cumsum(_NIGHTS)))[weekday]
    nights: I64 = np.diff(since_start, prepend=since_start[:1])
    return nights


def _on_timeline(times: I64, opens: I64, values: F64) -> F64:
    column = np.full(times.size, np.nan)
    column[np.searchsorted(times, opens)] = values
    return column


def _filled(values: F64) -> F64:
    """Each value, or the last one before it: what was known."""
    return pl.Series(values).fill_nan(None).forward_fill().fill_null(float("nan")).to_numpy()


def _symbol_arrays(specs: Sequence[SymbolSpec], currency: str, leverage: float) -> Symbols:
    currencies = sorted({c for spec in specs for c in (spec.base_currency, spec.profit_currency)})

    def floats(values: Sequence[float]) -> F64:
        return np.array(values, dtype=np.float64)

    def whole(values: Sequence[int]) -> I64:
        return np.array(values, dtype=np.int64)

    return Symbols(
        contract_size=floats([spec.contract_size for spec in specs]),
        point=floats([spec.point for spec in specs]),
        volume_min=floats([spec.volume_min for spec in specs]),
        volume_max=floats([spec.volume_max for spec in specs]),
        volume_step=floats([spec.volume_step for spec in specs]),
        stops_level=floats([spec.stops_level_points * spec.point for spec in specs]),
        commission_per_side=floats([spec.commission_per_lot for spec in specs]),
        leverage=np.full(len(specs), float(leverage)),
        swap_long=floats([spec.swap_long for spec in specs]),
        swap_short=floats([spec.swap_short for spec in specs]),
        own_rate=whole([int(spec.base_currency == currency) for spec in specs]),
        base_currency=whole([currencies.index(spec.base_currency) for spec in specs]),
        profit_currency=whole([currencies.index(spec.profit_currency) for spec in specs]),
    )


def _given_rates(times: I64, opens: I64, sides: tuple[F64, F64]) -> tuple[F64, F64]:
    return _filled(_on_timeline(times, opens, sides[0])), _filled(_on_timeline(times, opens, sides[1]))


def _market(
    times: I64,
    timeframe: str,
    feed: str,
    bars: Mapping[str, pl.DataFrame],
    specs: Mapping[str, SymbolSpec],
    spread_points: Mapping[str, F64],
    currency: str,
    risk_day: RiskDay,
    given: Mapping[str, tuple[F64, F64]] | None,
) -> Market:
    close_s = bar_close(times, timeframe)
    hour = new_york_hour(times)
    columns: dict[str, list[F64]] = {name: [] for name in ("open", "high", "low", "close", "spread")}
    bid: dict[str, F64] = {}
    ask: dict[str, F64] = {}
    for symbol, frame in bars.items():
        opens = epoch_s(frame["time"])
        for name in ("open", "high", "low", "close"):
            columns[name].append(_on_timeline(times, opens, frame[name].cast(pl.Float64).to_numpy()))
        own = _on_timeline(times, opens, frame["spread_points"].cast(pl.Float64).fill_null(0.0).to_numpy())
        # Of many feeds a bar's own spread is its least one, or zero.
        columns["spread"].append(np.maximum(own, np.asarray(spread_points[symbol])[hour]) * specs[symbol].point)
        bid[symbol] = _filled(columns["close"][-1])
        ask[symbol] = bid[symbol] + _filled(columns["spread"][-1])
    if given is None:
        rates = [rate_series(specs[symbol].profit_currency, currency, bid, ask, times.size) for symbol in bars]
        bases = [rate_series(specs[symbol].base_currency, currency, bid, ask, times.size)[1] for symbol in bars]
    else:
        rates = [_given_rates(times, epoch_s(frame["time"]), given[symbol]) for symbol, frame in bars.items()]
        bases = [ask[symbol] * loss for symbol, (_, loss) in zip(bars, rates, strict=True)]
    stacked = {name: np.column_stack(parts) for name, parts in columns.items()}
    return Market(
        close_s=close_s,
        day=risk_day.ids(times),
        nights=swap_nights(times),
        market_open=np.repeat(is_open_s(feed, close_s)[:, None], len(bars), axis=1),
        rate_gain=np.column_stack([gain for gain, _ in rates]),
        rate_loss=np.column_stack([loss for _, loss in rates]),
        base_rate=np.column_stack(bases),
        **stacked,
    )


def _lines(lines: Sequence[LineInput], names: tuple[str, ...], opens: I64, market: Market) -> Lines:
    shape = (market.close_s.size, len(lines))
    made = Lines(
        symbol=np.array([names.index(line.symbol) for line in lines], dtype=np.int64),
        closes=np.zeros(shape, np.bool_),
        side=np.zeros(shape, np.int64),
        confidence=np.full(shape, np.nan),
        atr=np.full(shape, np.nan),
    )
    for number, line in enumerate(lines):
        there = np.flatnonzero(~np.isnan(market.close[:, made.symbol[number]]))
        # The last bar of the timeline that closes no later than the line's own bar: with gaps it may close earlier.
        place = np.searchsorted(market.close_s[there], bar_close(line.open_s, line.timeframe), side="right") - 1
        inside = (place >= 0) & (opens[there[place]] >= line.open_s)
        rows = there[place[inside]]
        made.closes[rows, number] = True
        made.atr[rows, number] = line.atr[inside]
        said = np.asarray(line.probabilities, dtype=np.float64)[inside]
        sides = [signal(short, flat, long, line.spec) for short, flat, long in said.tolist()]
        made.side[rows, number] = sides
        made.confidence[rows, number] = [confidence(row[0], row[2], side) for row, side in zip(said.tolist(), sides, strict=True)]
    return made


def prepare(
    bars: Mapping[str, pl.DataFrame],
    timeframe: str,
    specs: Mapping[str, SymbolSpec],
    spread_points: Mapping[str, F64],
    lines: Sequence[LineInput],
    *,
    feed: str,
    currency: str,
    start_balance: float,
    limits: Limits,
    leverage: float = 100.0,
    risk_day: RiskDay | None = None,
    resume_next_day: bool = False,
    rates: Mapping[str, tuple[F64, F64]] | None = None,
) -> BacktestInput:
    """Arrays of a backtest over all the given bars.

    bars: symbol -> frame of `feature_store.bars.SCHEMA`, all of `timeframe`; symbols that no line trades serve
    conversion. spread_points: symbol -> (24,) usual spread by New York hour. rates: symbol -> (gain, loss) of its
    profit currency in the account's at the close of each of its bars; None finds them in `bars`. Raises `Final` when
    a line's symbol has no bars or a currency cannot be converted.
    """
    missing = sorted({line.symbol for line in lines} - set(bars)) + sorted(set(bars) - set(specs))
    if missing:
        raise Final(f"{missing[0]}: no bars or no symbol specification for the backtest; ingest the symbol first")
    names = tuple(bars)
    times = np.unique(np.concatenate([epoch_s(frame["time"]) for frame in bars.values()]))
    risk_day = risk_day or RiskDay()
    market = _market(times, timeframe, feed, bars, specs, spread_points, currency, risk_day, rates)
    return BacktestInput(
        open_s=times,
        market=market,
        symbols=_symbol_arrays([specs[name] for name in names], currency, leverage),
        lines=_lines(lines, names, times, market),
        policy=policy([line.spec for line in lines]),
        limits=limits,
        options=Options(float(start_balance), int(risk_day.base == "balance"), int(resume_next_day)),
        symbol_names=names,
        line_names=tuple(line.name for line in lines),
        currency=currency,
        assumed=tuple(f"specification of {name}" for name in names if specs[name].source == "assumed"),
    )
