"""Risk rules of an account: every file of this folder whose name has no leading underscore is one rule."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from serving._errors import Final
from serving.risk._rule import FIRST_RULE_CODE, Entry, Rule, Setting

if TYPE_CHECKING:
    from serving.decision import Account, Positions, Quotes, Specs

    class Limits:
        """Every setting of every rule as one float; the names are the rules' own."""

        def __getattr__(self, name: str) -> float: ...


def order_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules by reason code, which is the order they are asked in. Raises `Final` when two share a code, a
    name or a setting, or when a rule can neither halt nor cap."""
    ordered = tuple(sorted(rules, key=lambda rule: rule.code))
    for what, values in (
        ("code", [str(rule.code) for rule in ordered]),
        ("name", [rule.name for rule in ordered]),
        ("setting", [setting.name for rule in ordered for setting in rule.settings]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise Final(f"risk rules share the {what} {', '.join(twice)}; give each rule its own")
    for rule in ordered:
        if rule.code < FIRST_RULE_CODE:
            raise Final(f"risk rule {rule.name}: code {rule.code} belongs to serving.decision; use {FIRST_RULE_CODE} or more")
        if rule.breach is None and rule.cap is None:
            raise Final(f"risk rule {rule.name} has neither breach nor cap, so it would never say no")
    return ordered


def _discover() -> tuple[Rule, ...]:
    names = sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return order_rules(import_module(f"{__name__}.{name}").RULE for name in names)


RULES = _discover()
SETTINGS: dict[str, Setting] = {setting.name: setting for rule in RULES for setting in rule.settings}

if not TYPE_CHECKING:
    # At module level and under its own name: numba's cache on disk pickles it by reference.
    Limits = namedtuple("Limits", list(SETTINGS))


def limits(values: Mapping[str, float] | None = None) -> Limits:
    """The limits, defaults where `values` says nothing. Raises `Final` for a name no rule declares or a value
    outside its range (NaN included)."""
    values = values or {}
    unknown = sorted(set(values) - set(SETTINGS))
    if unknown:
        raise Final(f"risk setting {unknown[0]!r} is not known; use {', '.join(SETTINGS)}")
    for name, value in values.items():
        setting = SETTINGS[name]
        if not setting.low <= value <= setting.high:
            raise Final(f"{name} = {value}: allowed is {setting.low:g} to {setting.high:g} ({setting.unit})")
    make: Any = Limits
    made: Limits = make(*(float(values.get(name, setting.default)) for name, setting in SETTINGS.items()))
    return made


Breach = Callable[..., int]
Cap = Callable[..., tuple[float, int]]


def _no_breach(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> int:
    return 0


def _else_breach(before: Breach, breach: Callable[..., bool], code: int) -> Breach:
    def first_breach(account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits) -> int:
        found = before(account, positions, quotes, specs, limits)
        if found != 0:
            return found
        return code if breach(account, positions, quotes, specs, limits) else 0

    return first_breach


def _all_lots(
    entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits
) -> tuple[float, int]:
    return entry.lots, 0


def _then_cap(before: Cap, cap: Callable[..., float], code: int) -> Cap:
    def smallest(
        entry: Entry, account: Account, positions: Positions, quotes: Quotes, specs: Specs, limits: Limits
    ) -> tuple[float, int]:
        lots, said = before(entry, account, positions, quotes, specs, limits)
        if not lots > 0.0:
            return 0.0, said
        left = Entry(entry.symbol, entry.side, lots, entry.loss_per_lot, entry.atr)
        allowed = cap(left, account, positions, quotes, specs, limits)
        if allowed >= lots:
            return lots, said
        # Also the way of a NaN: what a rule cannot tell, it does not allow.
        return (allowed, code) if allowed > 0.0 else (0.0, code)

    return smallest


def chain_breaches(rules: Iterable[Rule]) -> Breach:
    """One function: 0, or the code of the first rule that is breached. Chained as closures, not looped over, so
    that numba compiles it too."""
    chain: Breach = _no_breach
    for rule in rules:
        if rule.breach is not None:
            chain = _else_breach(chain, rule.breach, rule.code)
    return chain


def chain_caps(rules: Iterable[Rule]) -> Cap:
    """One function: (lots that every rule allows, code of the last rule that took some away or 0)."""
    chain: Cap = _all_lots
    for rule in rules:
        if rule.cap is not None:
            chain = _then_cap(chain, rule.cap, rule.code)
    return chain


breached: Breach = chain_breaches(RULES)
allowed: Cap = chain_caps(RULES)
