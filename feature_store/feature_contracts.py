"""What every feature must keep, whoever wrote it: functions from a set of features and bars to the rows where it does not.

The repository's tests and `tradewind features --check` call the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from feature_store._errors import Final, Retryable
from feature_store._feature_trial import Trial, Violation, said, sizes_of
from feature_store.bars import bar_close, epoch_s
from feature_store.feature_ground import Ground
from feature_store.features import BaseBars, Feature, LiveFeatures
from feature_store.features._feature import PRICES

SAME = 1e-6
"""Two values are one when they differ by less, in standard deviations of the feature."""
_SCALED_SAME = 1e-5
_CUTS = 16
_LIVE_ROWS = 200
_LEAST_ROWS = 50
_UNKNOWN_SHARE = 0.5
_SCALES = ((1000.0, 1), (1.0, 10), (0.07, 4))
"""(factor on prices and point, how many times finer the same prices are quoted)."""


Contract = Callable[[Trial], list[Violation]]


def no_look_ahead(trial: Trial, *, cuts: int = _CUTS) -> list[Violation]:
    """Features whose values change when the bars after some row are not there yet."""
    worst: dict[int, tuple[int, float]] = {}
    for row in np.linspace(trial.features.warmup_bars, len(trial.values) - 2, cuts).astype(int):
        known_at_s = int(trial.known_s[row])
        part = trial.values_of(trial.features.compute(_cut(trial.ground, known_at_s), trial.ground.symbol, known_at_s=known_at_s))
        if len(part) != row + 1:
            raise Final(f"{len(part)} rows are known at row {row}; this is a fault of the features' engine, please report it")
        sizes = sizes_of(part, trial.values[: row + 1], trial.deviation)
        for column in map(int, np.flatnonzero((sizes > SAME).any(axis=0))):
            at = int(np.argmax(sizes[:, column]))
            if column not in worst or sizes[at, column] > worst[column][1]:
                worst[column] = (at, float(sizes[at, column]))
    return [
        trial.violation("no look-ahead", column, row, size, f"changes {said(size)} once later bars are cut off")
        for column, (row, size) in worst.items()
    ]


def _cut(ground: Ground, known_at_s: int) -> dict[str, pl.DataFrame]:
    """The base bars that are closed at that moment."""
    return {
        symbol: bars.filter(pl.Series(bar_close(epoch_s(bars["time"]), ground.base_timeframe) <= known_at_s))
        for symbol, bars in ground.base.items()
    }


def live_as_history(trial: Trial, *, rows: int = _LIVE_ROWS, T: int = 1) -> list[Violation]:
    """Features whose live values, from the declared lookback alone, are not those of history on the last `rows` rows.

    The buffers are as tight as the set's longest lookback: give one feature at a time.
    """
    features, ground, opens_s = trial.features, trial.ground, trial.opens_s
    live = LiveFeatures(features, ground.symbol, longest_window=T)
    feed = _Feed(ground, live.symbols)
    worst: dict[int, tuple[int, float, str]] = {}
    for row in range(max(features.warmup_bars + T - 1, len(opens_s) - rows), len(opens_s)):
        live.take(feed.until(int(trial.known_s[row])))
        try:
            window = live.window(int(opens_s[row]), T)
        except Retryable as missing:
            window = np.full((T, len(trial.names)), np.nan, dtype=np.float32)
            reason = f" ({missing})"
        else:
            reason = ""
        past = trial.values[row - T + 1 : row + 1]
        sizes = sizes_of(window, past, trial.deviation)
        for column in map(int, np.flatnonzero((sizes > SAME).any(axis=0))):
            at = int(np.argmax(sizes[:, column]))
            size, found = float(sizes[at, column]), f"is {window[at, column]:.6g} live and {past[at, column]:.6g} in history"
            if column not in worst or size > worst[column][1]:
                worst[column] = (row - T + 1 + at, size, f"{found}, which differs {said(size)}{reason}")
    by_name = {f.name: f for f in features.features}
    hint = "its lookback of {} bars is too short, or it reads other bars than those"
    return [
        trial.violation("live = history", column, row, size, why, hint.format(by_name[trial.names[column]].lookback_bars))
        for column, (row, size, why) in worst.items()
    ]


class _Feed:
    """Base bars in the order in which they close, checked once."""

    def __init__(self, ground: Ground, symbols: Sequence[str]) -> None:
        self._bars = {s: BaseBars.of(ground.base[s], s) for s in symbols}
        self._closes = {s: bar_close(bars.opens_s, ground.base_timeframe) for s, bars in self._bars.items()}
        self._given = dict.fromkeys(symbols, 0)

    def until(self, known_s: int) -> dict[str, BaseBars]:
        """Bars that closed since the last call."""
        new = {}
        for symbol, bars in self._bars.items():
            start, end = self._given[symbol], int(np.searchsorted(self._closes[symbol], known_s, side="right"))
            new[symbol] = BaseBars(bars.opens_s[start:end], bars.values[:, start:end], bars.step_s)
            self._given[symbol] = end
        return new


def scale_free(trial: Trial) -> list[Violation]:
    """Features that claim to be free of scale and change with the unit of price or with a finer point."""
    claimed = np.array([f.scale_free for f in trial.features.features])
    ground = _snapped(trial.ground)
    before = trial.on(ground).values
    found: dict[int, Violation] = {}
    for price, finer in _SCALES:
        after = trial.on(_scaled(ground, price, finer)).values
        sizes = np.where(claimed, sizes_of(after, before, 1.0 + np.abs(before)), 0.0)
        for column in np.flatnonzero((sizes > _SCALED_SAME).any(axis=0)):
            row = int(np.argmax(sizes[:, column]))
            what = f"prices {price:g} times as high" if finer == 1 else f"a point {finer} times finer"
            why = f"is {after[row, column]:.6g} instead of {before[row, column]:.6g} with {what}"
            hint = "declare scale_free=False if it is meant"
            found.setdefault(int(column), trial.violation("scale-free", int(column), row, float(sizes[row, column]), why, hint))
    return list(found.values())


def _snapped(ground: Ground) -> Ground:
    """The ground with prices on whole points: a feed that quotes finer would show more of them in a finer point."""
    return _with_prices(ground, lambda symbol, price: (price / ground.points[symbol]).round() * ground.points[symbol])


def _scaled(ground: Ground, price: float, finer: int) -> Ground:
    scaled = _with_prices(ground, lambda _, column: column * price)
    base = {s: bars.with_columns(spread_points=pl.col("spread_points") * finer) for s, bars in scaled.base.items()}
    return replace(scaled, base=base, points={s: point * price / finer for s, point in ground.points.items()})


def _with_prices(ground: Ground, change: Callable[[str, pl.Expr], pl.Expr]) -> Ground:
    base = {s: bars.with_columns(change(s, pl.col(PRICES))) for s, bars in ground.base.items()}
    return replace(ground, base=base)


def known(trial: Trial) -> list[Violation]:
    """Features that are unknown in most rows after warm-up, where what they read is known."""
    shares = np.isnan(trial.judged).mean(axis=0)
    return [
        trial.violation("known", int(c), None, float(shares[c]), f"unknown in {shares[c]:.0%} of {trial.rows} rows after warm-up")
        for c in np.flatnonzero(shares > _UNKNOWN_SHARE)
    ]


def varies(trial: Trial) -> list[Violation]:
    """Features that have one value in all rows after warm-up."""
    found = []
    for column, values in enumerate(trial.judged.T):
        values = values[np.isfinite(values)]
        if len(values) and values.min() == values.max():
            found.append(trial.violation("varies", column, None, 0.0, f"is {values[0]:.6g} in every one of {len(values)} rows"))
    return found


def repeatable(trial: Trial) -> list[Violation]:
    """Features that come out otherwise when they are computed again."""
    sizes = sizes_of(trial.on(trial.ground).values, trial.values, trial.deviation)
    return [
        trial.violation("repeatable", int(c), int(np.argmax(sizes[:, c])), float(sizes[:, c].max()),
                        f"changes {said(float(sizes[:, c].max()))} when computed again")
        for c in np.flatnonzero((sizes > 0).any(axis=0))
    ]  # fmt: skip


CONTRACTS: dict[str, Contract] = {
    "no look-ahead": no_look_ahead,
    "live = history": live_as_history,
    "scale-free": scale_free,
    "known": known,
    "varies": varies,
    "repeatable": repeatable,
}
"""Every contract by the word its violations carry. `live_as_history` wants one feature at a time."""


@dataclass(frozen=True)
class Outcome:
    """How one feature fared on one ground. not_judged: why it could not be tried there, empty where it was."""

    feature: str
    ground: str
    violations: tuple[Violation, ...] = ()
    not_judged: str = ""

    def word(self, contract: str) -> str:
        """`ok`, `FAIL` or `-` for what was not judged."""
        if self.not_judged:
            return "-"
        return "FAIL" if any(v.contract in (contract, RUNS) for v in self.violations) else "ok"


OF_THE_BARS = frozenset({"known", "varies"})
"""Contracts that a good feature may break on poor bars: opens that equal the close before make every gap 0."""
RUNS = "runs"
"""Contract that a feature which cannot be computed at all breaks, and with it all others."""


def check(features: Sequence[Feature], ground: Ground, *, extensions: Path | None = None) -> list[Outcome]:
    """One outcome for each feature, in their order, of all contracts."""
    lacking = {f.name: lacks for f in features if (lacks := ground.lacks(f))}
    found: dict[str, list[Violation]] = {f.name: [] for f in features}
    tried = []
    for feature in features:
        if feature.name in lacking:
            continue
        alone = Trial([feature.name], ground, extensions)
        if broken := _runs(alone):
            found[feature.name].append(broken)
        elif alone.rows < _LEAST_ROWS:
            lacking[feature.name] = f"row {_LEAST_ROWS} after the {alone.features.warmup_bars} of warm-up, only {alone.rows} are"
        else:
            found[feature.name] += live_as_history(alone)
            tried.append(feature.name)
    if tried:
        together = Trial(tried, ground, extensions)
        for contract in (c for c in CONTRACTS.values() if c is not live_as_history):
            for violation in contract(together):
                found[violation.feature].append(violation)
    return [
        Outcome(f.name, ground.name, tuple(found[f.name]), f"there is no {lacking[f.name]}" if f.name in lacking else "")
        for f in features
    ]


def sorted_out(outcomes: Sequence[Outcome]) -> tuple[list[Violation], list[Violation]]:
    """(violations, notes) of features that were tried on several grounds.

    A contract that a ground's bars may break is a mere note where the feature keeps it on another ground.
    """
    kept = {(o.feature, c) for o in outcomes for c in OF_THE_BARS if o.word(c) == "ok"}
    every = [v for o in outcomes for v in o.violations]
    notes = [v for v in every if (v.feature, v.contract) in kept]
    return [v for v in every if v not in notes], notes


def _runs(trial: Trial) -> Violation | None:
    try:
        trial.values  # noqa: B018
    except Exception as error:  # a user's expression may raise anything at all once it meets rows
        said = " ".join(str(error).split())[:200]
        return Violation(trial.names[0], RUNS, trial.ground.name, None, None, float("inf"), f"{type(error).__name__}: {said}")
    return None
