"""Made-up files whose clock is known, to measure how often clock inference is right, silent or wrong.

A case draws a rule (or a change of rule), a span, a timeframe, a symbol, a pattern of gaps and, now and then, a
reference feed and series of related symbols. Only times and closes are made; their moves follow the hours of the
real market.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from feature_store._clock_reference import Reference
from feature_store._clock_related_cases import draw_related
from feature_store._clock_weeks import DAY, F64, HALF_HOURS, HOUR, I64, WEEK, profile
from feature_store.bars import SECONDS
from feature_store.clock import is_open_s, new_york_offset_s, rule_parts, server_to_utc, utc_to_server
from feature_store.clock_inference import infer_clock
from feature_store.seeds import seed_of

_RULES = (
    "utc", "ny+7", "eet", "cet", "ny", "lon", "utc+1", "utc+2", "utc+3", "utc-5", "utc+5:30", "utc+3:30", "utc-3:30",
    "utc+8", "utc+9", "ny+5", "ny+6", "ny+8", "eet-3", "cet+3", "utc-8",
)  # fmt: skip
_USUAL = ("utc", "ny+7", "eet", "cet", "ny", "utc+2")
_SYMBOLS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCAD", "EURJPY", "XAUUSD", "XAGUSD", "BTCUSD")
_GAPS = ("none", "sparse", "no-sundays", "late-open", "early-close", "holes", "holidays", "weekend-filled", "stray")
_FIRST_S, _LAST_S = 1_262_304_000, 1_704_067_200  # 2010-01-01, 2024-01-01
_WEEKS = {"M1": (1, 8), "M5": (1, 16), "M15": (2, 40), "M30": (3, 60), "H1": (4, 160), "H4": (8, 260)}


@dataclass(frozen=True)
class Case:
    """A made-up file: what it is, its rows on its own clock, and references."""

    name: str
    rule: str
    symbol: str
    timeframe: str
    wall_s: I64
    close: F64
    references: tuple[Reference, ...]
    related: tuple[Reference, ...]


@dataclass(frozen=True)
class Outcome:
    """What inference said: `correct`, `refused` or `wrong`."""

    case: str
    said: str | None
    confidence: float
    result: str


def outcomes(count: int, run_seed: int) -> Iterator[Outcome]:
    """Outcomes of `count` cases, each drawn from its own seed: case n is the same in a short and a long run."""
    for number in range(count):
        yield judge(draw(run_seed, number))


def judge(case: Case) -> Outcome:
    """Correct when every row of the case gets its true UTC time, by whatever rule."""
    verdict = infer_clock(case.wall_s, case.close, case.timeframe, case.symbol, references=case.references, related=case.related)
    if verdict.rule is None:
        result = "refused"
    else:
        same = np.array_equal(server_to_utc(case.wall_s, verdict.rule), server_to_utc(case.wall_s, case.rule))
        result = "correct" if same else "wrong"
    return Outcome(case.name, verdict.rule, verdict.confidence, result)


def draw(run_seed: int, number: int) -> Case:
    """Case `number` of a run."""
    random = np.random.default_rng(seed_of(run_seed, "clock-case", number))
    timeframe = str(random.choice(list(_WEEKS)))
    symbol, gap = str(random.choice(_SYMBOLS)), str(random.choice(_GAPS))
    low, high = _WEEKS[timeframe]
    span_s = int(np.exp(random.uniform(np.log(low), np.log(high + 1))) * WEEK)
    start_s = int(random.integers(_FIRST_S, _LAST_S - span_s)) // HOUR * HOUR
    rule = _rule(random, start_s, span_s, nights=symbol == "BTCUSD" or gap == "weekend-filled")
    while True:
        fine = _market(random, start_s, span_s, min(SECONDS[timeframe], 1800), symbol)
        utc_s, close = _bars(*fine, SECONDS[timeframe], rule)
        kept = _kept(random, gap, utc_s, rule, SECONDS[timeframe])
        utc_s, close = utc_s[kept], close[kept]
        if _shows_every_part(utc_s, rule):
            break
        rule = rule_parts(rule)[-1][0]
    references: tuple[Reference, ...] = ()
    if random.random() < 0.25:
        references = (_reference(random, utc_s, close),)
    if gap == "weekend-filled":
        utc_s, close = _filled(utc_s, close, SECONDS[timeframe])
    wall_s, first = np.unique(utc_to_server(utc_s, rule), return_index=True)
    name = f"{number}: {rule}, {symbol} {timeframe}, {span_s / WEEK:.1f} weeks, gaps {gap}, {len(references)} references"
    # Draws of their own: a case is otherwise what it was before there were related series.
    related, told = draw_related(np.random.default_rng(seed_of(run_seed, "clock-related", number)), *fine)
    return Case(name + told, rule, symbol, timeframe, wall_s, close[first], references, related)


def _rule(random: np.random.Generator, start_s: int, span_s: int, *, nights: bool) -> str:
    """One rule, or up to three that change on Sundays, each with at least two weeks: what is shorter is not sought,
    and a clock that comes back within four weeks counts as a slip, which is reported and not followed.
    Files with bars in the `nights` of Sunday do not change in one in which daylight saving begins or ends: a change
    of clock and one of daylight saving are then told apart by a few hours without trade."""
    sundays = np.arange(start_s - (start_s - 3 * DAY) % WEEK + 3 * WEEK, start_s + span_s - 2 * WEEK, WEEK)
    if nights:
        sundays = sundays[[not any(_saving(zone, int(day)) for zone in ("ny", "lon")) for day in sundays]]
    if random.random() < 0.7 or sundays.size == 0:
        return str(random.choice(_USUAL if random.random() < 0.6 else _RULES))
    days = np.sort(random.choice(sundays, size=min(sundays.size, int(random.integers(1, 3))), replace=False))
    days = days[np.append(True, np.diff(days) >= 5 * WEEK)]
    rules = [str(r) for r in random.choice(_USUAL, size=days.size + 1, replace=False)]
    dates = (days // DAY).astype("datetime64[D]")
    return ", ".join([*(f"{rule} until {day}" for rule, day in zip(rules, dates, strict=False)), rules[-1]])


def _saving(zone: str, day_s: int) -> bool:
    """Whether daylight saving begins or ends on the UTC day."""
    ends = np.array([day_s, day_s + DAY], dtype=np.int64)
    return bool(np.ptp(utc_to_server(ends, zone) - ends))


def _shows_every_part(utc_s: I64, rule: str) -> bool:
    """Whether two weeks' worth of rows are left of each part of a rule, and of what tells it from its neighbour."""
    parts = rule_parts(rule)
    ends_s = [end_s for _, end_s in parts if end_s is not None]
    spans = np.split(utc_s, np.searchsorted(utc_s, ends_s))
    least = 2 * float(np.median(np.unique(utc_s // WEEK, return_counts=True)[1]))
    if not ends_s:
        return True
    for (left, _), (right, _), before, after in zip(parts, parts[1:], spans, spans[1:], strict=False):
        for span in (before, after):
            telling = int((utc_to_server(span, left) != utc_to_server(span, right)).sum())
            if span.size < least or 0 < telling < least:
                return False
    return True


def _market(random: np.random.Generator, start_s: int, span_s: int, fine_s: int, symbol: str) -> tuple[I64, F64]:
    """True UTC opens and closes of bars of `fine_s` seconds that some market of that symbol would have shown."""
    utc_s = np.arange(start_s, start_s + span_s, fine_s, dtype=np.int64)
    hour_s = (utc_s + new_york_offset_s(utc_s)) % DAY
    if symbol == "BTCUSD":
        open_ = np.ones(utc_s.size, dtype=np.bool_)
        shape = np.zeros(utc_s.size)
    else:
        open_ = is_open_s("", utc_s)
        if symbol.startswith("XA"):
            open_ &= hour_s // HOUR != 17
        # No symbol moves just as the profile says; some hardly follow the hours at all.
        own = profile(symbol) * random.uniform(0.4, 1.2) + random.normal(0, 0.15, HALF_HOURS)
        shape = own[hour_s // 1800]
    # Slow volatility of days, one value for all bars of a day.
    days = (utc_s - utc_s[0]) // DAY
    slow = np.cumsum(random.normal(0, 0.15, int(days[-1]) + 1))
    sd = 3e-4 * np.sqrt(fine_s / HOUR) * np.exp(shape + np.clip(slow, -1.2, 1.2)[days])
    moves = np.where(open_, sd * random.standard_t(4, utc_s.size), 0.0)
    close = np.round(1.2 * np.exp(np.cumsum(moves)), 5)
    return utc_s[open_], close[open_]


def _bars(utc_s: I64, close: F64, step_s: int, rule: str) -> tuple[I64, F64]:
    """Bars of `step_s` seconds made of half hours, or what is already as short."""
    if step_s <= 1800:
        return utc_s, close
    # Longer bars lie on the grid of the wall clock, as a server makes them.
    wall_s = utc_to_server(utc_s, rule)
    grid = utc_s - utc_s % HOUR if step_s == HOUR else utc_s - wall_s % step_s
    last = np.append(np.diff(grid) != 0, True)
    return grid[last], close[last]


def _kept(random: np.random.Generator, gap: str, utc_s: I64, rule: str, step_s: int) -> I64:
    """Rows that the file still has."""
    new_york = utc_s + new_york_offset_s(utc_s)
    since_open = (new_york - 3 * DAY - 17 * HOUR) % WEEK  # Sunday 17:00 New York
    keep = np.ones(utc_s.size, dtype=np.bool_)
    if gap == "sparse":
        keep = random.random(utc_s.size) > (0.3 if step_s < 900 else 0.02)
    elif gap == "no-sundays":
        keep = (utc_to_server(utc_s, rule) // DAY + 3) % 7 != 6
    elif gap == "late-open":
        keep = since_open >= int(random.integers(1, 4)) * HOUR
    elif gap == "early-close":
        keep = since_open < 5 * DAY - int(random.integers(1, 4)) * HOUR
    elif gap == "holes":
        for start in random.choice(utc_s, size=4):
            keep &= ~((utc_s >= start) & (utc_s < start + int(random.integers(HOUR, 9 * DAY))))
    elif gap == "holidays":
        keep = ~np.isin(new_york // DAY, random.choice(np.unique(new_york // DAY), size=3))
    elif gap == "stray":
        keep = random.random(utc_s.size) > 0.01
    rows = np.flatnonzero(keep)
    return rows if rows.size > 20 else np.arange(utc_s.size)


def _filled(utc_s: I64, close: F64, step_s: int) -> tuple[I64, F64]:
    """The same bars with the last close repeated wherever there was none, as some sources do."""
    every = np.arange(utc_s[0], utc_s[-1] + 1, step_s, dtype=np.int64)
    if not np.isin(utc_s, every).all():
        return utc_s, close
    return every, close[np.searchsorted(utc_s, every, side="right") - 1]


def _reference(random: np.random.Generator, utc_s: I64, close: F64) -> Reference:
    """The same market as another feed saw it: small differences, and not the whole span."""
    part = slice(0, None) if random.random() < 0.6 else slice(utc_s.size // 3, None)
    noise = np.exp(random.normal(0, 2e-5, utc_s.size))
    return Reference("other", utc_s[part], (close * noise)[part])
