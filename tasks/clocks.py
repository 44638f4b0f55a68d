"""Which clock a series was written on: said by the user, proven by the content, or told by the data itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SCHEMA, seconds
from feature_store.clock import server_to_utc, utc_to_server
from feature_store.clock_inference import ClockVerdict, Reference, infer_clock
from feature_store.sources._source import RawBars
from feature_store.store import Store
from tasks._clock_witnesses import related, same_symbol, span_of

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

# Above this the clock is told from one bar in each half hour: half an hour is the finest step of any offset met.
_WHOLE_ROWS = 2_000_000
_THIN_TIMEFRAME = "M30"
# Verdicts that differ on fewer rows differ on the day of a change, not on a clock: the weeks when only one side of
# the Atlantic has summer time are 8 % of a year.
_SAME_CLOCK = 0.02


@dataclass(frozen=True)
class Told:
    """The rule to read times by, how it was told (`ClockVerdict.as_dict()` and `told_by`), and what speaks against it."""

    rule: str
    clock: dict[str, Any]
    warning: str = ""


@dataclass(frozen=True)
class Walls:
    """A series as far as its clock is concerned: opens as written (epoch s, ascending, unique), closes, tick counts."""

    wall_s: I64
    close: F64
    volume: F64
    timeframe: str


def tell_clock(store: Store, feed: str, raw: RawBars, *, given: str | None) -> Told:
    """The clock of a file: `given`, else what its content proves, else what its bars tell.

    The bars are asked in every case; where they contradict what was given or stated, the warning says so. Raises
    `Final` when nothing is given or stated and the bars leave it open.
    """
    walls = walls_of(raw.chunks(), raw.timeframe)
    rule = given or raw.stated_rule
    if not walls.wall_s.size:
        if rule is None:
            raise Final(f"{raw.origin}: none of its rows can be read as a bar; look at the file, or name its clock to keep them")
        return Told(rule, {})
    verdict = verdict_of(store, raw.symbol, walls, without_feed=feed)
    if rule is None:
        if verdict.rule is None:
            raise Final(f"{raw.origin}: {verdict.refusal}{_hint(store, feed, raw)}")
        return Told(verdict.rule, _as_clock(verdict, "data"))
    return Told(rule, _as_clock(verdict, "user" if given else "content"), _contradiction(walls, rule, verdict))


def verdict_of(store: Store, symbol: str, walls: Walls, *, without_feed: str) -> ClockVerdict:
    """What the series itself tells, beside what other feeds of the store say of the symbol.

    A feed that was read by a wrong clock would hand its mistake on: where the bars alone tell another clock than
    beside the others, the verdict is a refusal. Symbols that share a currency are asked only where nothing else tells.
    """
    span = span_of(int(walls.wall_s[0]), int(walls.wall_s[-1]))
    references = same_symbol(store, symbol, walls.timeframe, span, without_feed=without_feed)
    alone = _infer(symbol, walls, [])
    beside = _infer(symbol, walls, references) if references else alone
    if alone.rule is None and beside.rule is None:
        kin = related(store, symbol, walls.timeframe, span, without_feed=without_feed)
        return _infer(symbol, walls, references, kin) if kin else beside
    if alone.rule is None or beside.rule is None or alone.rule == beside.rule:
        return beside
    differing = float(np.mean(server_to_utc(walls.wall_s, alone.rule) != server_to_utc(walls.wall_s, beside.rule)))
    if differing <= _SAME_CLOCK:
        return beside
    feeds = ", ".join(reference.feed for reference in references)
    return replace(
        beside,
        rule=None,
        confidence=0.0,
        stretches=(),
        refusal=f"the bars alone tell {alone.rule}, beside feed {feeds} they tell {beside.rule}; pass --clock with the right "
        f"one, or correct the other feed with ingest --reclock",
    )


def _infer(symbol: str, walls: Walls, references: Sequence[Reference], kin: Sequence[Reference] = ()) -> ClockVerdict:
    return infer_clock(
        walls.wall_s, walls.close, walls.timeframe, symbol, references=references, related=kin, volume=walls.volume
    )


def walls_of(frames: Iterable[pl.DataFrame], timeframe: str) -> Walls:
    """The series of frames with `time` as written; of more than one frame, or a very long one, a bar each half hour."""
    rest = iter(frames)
    head = next(rest, pl.DataFrame(schema=SCHEMA))
    second = next(rest, None)
    thin = seconds(timeframe) < seconds(_THIN_TIMEFRAME) and (second is not None or head.height > _WHOLE_ROWS)
    parts = [_readable(frame, thin) for frame in chain([head], [] if second is None else [second], rest)]
    wall_s, close, volume = (np.concatenate([part[column] for part in parts]) for column in range(3))
    if not bool((wall_s[1:] > wall_s[:-1]).all()):
        wall_s, first = np.unique(wall_s, return_index=True)
        close, volume = close[first], volume[first]
    return Walls(wall_s, close, volume, _THIN_TIMEFRAME if thin else timeframe)


def _readable(frame: pl.DataFrame, thin: bool) -> tuple[I64, F64, F64]:
    good = frame.select("time", "close", "tick_volume")
    whole = not good["time"].null_count() and bool((good["close"] > 0).all()) and bool(good["close"].is_finite().all())
    if not whole:
        good = good.filter(pl.col("time").is_not_null(), pl.col("close").is_finite(), pl.col("close") > 0)
    wall_s: I64 = good["time"].cast(SCHEMA["time"]).to_physical().to_numpy() // 1000
    close: F64 = good["close"].to_numpy()
    volume: F64 = good["tick_volume"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return _thinned(wall_s, close, volume) if thin else (wall_s, close, volume)


def _thinned(wall_s: I64, close: F64, volume: F64) -> tuple[I64, F64, F64]:
    """One bar each half hour of the wall clock: the last close, the ticks of all."""
    order = np.argsort(wall_s, kind="stable")
    wall_s, close, volume = wall_s[order], close[order], volume[order]
    bucket = wall_s // seconds(_THIN_TIMEFRAME)
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[:1] - 1)) if bucket.size else np.empty(0, dtype=np.int64)
    ends = np.append(starts[1:], bucket.size) - 1 if starts.size else starts
    ticks = np.add.reduceat(volume, starts) if starts.size else volume[:0]
    return bucket[starts] * seconds(_THIN_TIMEFRAME), close[ends], ticks


def _as_clock(verdict: ClockVerdict, told_by: str) -> dict[str, Any]:
    return verdict.as_dict() | {"told_by": told_by}


def _contradiction(walls: Walls, rule: str, verdict: ClockVerdict) -> str:
    """A line where the data tell another clock than the one in force, "" where they agree or do not tell."""
    if verdict.rule is None:
        return ""
    apart = np.abs(server_to_utc(walls.wall_s, rule) - server_to_utc(walls.wall_s, verdict.rule))
    differing = int((apart > 0).sum())
    if not differing:
        return ""
    return (
        f"clock {rule} is used, but the bars themselves tell {verdict.rule} (confidence {verdict.confidence:.2f}): "
        f"{differing:,} of {apart.size:,} would stand up to {int(apart.max()) / 3600:g} h elsewhere"
    )


def _hint(store: Store, feed: str, raw: RawBars) -> str:
    """What the feed's other batches of the symbol were read by: often the same server."""
    known = store.batches().filter(~pl.col("undone"), feed=feed, symbol=raw.symbol)
    rules = known["clock_rule"].unique(maintain_order=True).to_list()
    label = f" ({raw.label}, but that is no proof)" if raw.label else ""
    return label + (f"; earlier batches of {feed} {raw.symbol} were read by {', '.join(rules)}" if rules else "")


def in_utc(frame: pl.DataFrame, rule: str) -> pl.DataFrame:
    """The frame with `time` as written turned into UTC; null stays null."""
    ms = frame["time"].cast(SCHEMA["time"]).to_physical()
    wall_ms = ms.fill_null(0).to_numpy()
    utc = pl.Series("time", server_to_utc(wall_ms // 1000, rule) * 1000 + wall_ms % 1000, dtype=pl.Int64)
    if ms.null_count():
        utc = utc.set(ms.is_null(), None)
    return frame.with_columns(utc.cast(SCHEMA["time"]))


@dataclass(frozen=True)
class Retold:
    """What the stored bars of a feed tell of its clock: rule and evidence by batch, and who does not tell."""

    rules: Mapping[int, str]
    clocks: Mapping[int, dict[str, Any]]
    refused: tuple[str, ...]


def retell(store: Store, feed: str, symbol: str | None) -> Retold:
    """The clock of every batch of the feed, told again from its bars and from other feeds of the store.

    Batches of one series that were read by one rule are told together: an update of some days tells nothing alone.
    """
    rules: dict[int, str] = {}
    clocks: dict[int, dict[str, Any]] = {}
    refused: list[str] = []
    for (name, timeframe, rule), numbers in _groups(store, feed, symbol):
        frames = [_as_written(store.batch_bars(number), rule) for number in numbers]
        walls = walls_of([pl.concat(frames)], timeframe)
        if not walls.wall_s.size:
            continue
        verdict = verdict_of(store, name, walls, without_feed=feed)
        if verdict.rule is None:
            refused.append(f"{feed} {name} {timeframe}: {verdict.refusal}")
            continue
        rules |= dict.fromkeys(numbers, verdict.rule)
        clocks |= dict.fromkeys(numbers, _as_clock(verdict, "data"))
    return Retold(rules, clocks, tuple(refused))


def _groups(store: Store, feed: str, symbol: str | None) -> Iterator[tuple[tuple[str, str, str], list[int]]]:
    there = store.batches().filter(~pl.col("undone"), pl.col("feed") == feed)
    chosen = there if symbol is None else there.filter(pl.col("symbol") == symbol)
    if chosen.is_empty():
        what = feed if symbol is None else f"{feed} {symbol}"
        raise Final(f"{what} has no batches; see them with tradewind data --batches")
    for key, part in chosen.group_by("symbol", "timeframe", "clock_rule", maintain_order=True):
        name, timeframe, rule = (str(value) for value in key)
        yield (name, timeframe, rule), part["id"].to_list()


def _as_written(bars: pl.DataFrame, rule: str) -> pl.DataFrame:
    ms = bars["time"].to_physical().to_numpy()
    wall = pl.Series("time", utc_to_server(ms // 1000, rule) * 1000 + ms % 1000, dtype=pl.Int64)
    return bars.with_columns(wall.cast(SCHEMA["time"]))


def clock_lines(clock: Mapping[str, Any]) -> list[str]:
    """How a batch's clock was told, one line each, for a person; none when nobody looked."""
    if not clock:
        return []
    verdict = f"{clock['rule']}, confidence {clock['confidence']:.2f}" if clock.get("rule") else f"nothing: {clock['refusal']}"
    by = {"user": "clock given by you", "content": "clock stated by the file"}.get(clock["told_by"])
    lines = [f"{by}; the bars tell {verdict}" if by else f"clock told by the bars: {verdict}"]
    if len(clock.get("stretches", ())) > 1:
        lines += [f"  {s['start'] or 'first bar'}: {s['rule']}, confidence {s['confidence']:.2f}" for s in clock["stretches"]]
    return lines + [f"  {line}" for line in clock.get("evidence", ())]
