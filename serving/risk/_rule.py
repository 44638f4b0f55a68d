"""What a risk rule is: a name, a reason code, its settings and one or two pure functions.

A rule is one file in this folder with a module constant `RULE`. Its functions are written in the subset that
numba compiles: scalars, arrays and NamedTuples; no lists, no exceptions, no defaults. They read their settings
from `limits`, by the names declared in `RULE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

FIRST_RULE_CODE = 100  # below it stand the reasons of serving.decision itself


class Entry(NamedTuple):
    """An order that `step` would like to send. Money in account currency."""

    symbol: int
    side: int  # +1 or -1
    lots: float  # what the rules before this one left of it
    loss_per_lot: float  # at the stop, commission included; NaN when it has no stop
    atr: float  # price units


@dataclass(frozen=True)
class Setting:
    """One number a user may set, always inside [low, high]. `tighter` says which direction trades less."""

    name: str
    default: float
    unit: str
    tighter: Literal["lower", "higher"]
    low: float
    high: float


@dataclass(frozen=True)
class Rule:
    """One rule. `breach(account, positions, quotes, specs, limits) -> bool` halts the account and closes what is
    ours; `cap(entry, account, positions, quotes, specs, limits) -> lots` is the most this order may have (0 or NaN:
    none at all). `positions` hold what was granted in the same step already."""

    name: str
    code: int
    says: str  # for people: what it means that this rule said no
    settings: tuple[Setting, ...]
    breach: Callable[..., bool] | None = None
    cap: Callable[..., float] | None = None
