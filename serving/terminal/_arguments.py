"""Arguments as the MetaTrader5 package reads them: what it takes, what it refuses, and with which text."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NoReturn

from serving.terminal.surface import STRUCT_FIELDS, TradeRequest

# Longest texts in UTF-16 units: symbols and comments; the path of initialize; its other texts, and groups.
TEXT_UNITS, PATH_UNITS, NAME_UNITS = 29, 257, 253

_UNSIGNED_32, _UNSIGNED_64 = (0, 2**32 - 1), (0, 2**64 - 1)
_INTEGERS = {
    "action": _UNSIGNED_32, "type": _UNSIGNED_32, "type_filling": _UNSIGNED_32, "type_time": _UNSIGNED_32,
    "magic": _UNSIGNED_64, "order": _UNSIGNED_64, "deviation": _UNSIGNED_64, "position": _UNSIGNED_64,
    "position_by": _UNSIGNED_64, "expiration": (-(2**63), 2**63 - 1),
}  # fmt: skip
_FLOATS = {"volume", "price", "stoplimit", "sl", "tp"}
_FIELDS: tuple[tuple[str, type[Any], Any], ...] = tuple(
    (name, int, 0) if name in _INTEGERS else (name, float, 0.0) if name in _FLOATS else (name, str, "")
    for name in STRUCT_FIELDS["TradeRequest"].split()
)
_MISSING: Any = object()


class BadField(Exception):
    """A request field of the wrong type; the message is its name."""


def system_error(function: str, cause: Exception) -> NoReturn:
    """Fail as CPython does when the package returns None with an exception pending."""
    raise SystemError(f"<built-in function {function}> returned a result with an exception set") from cause


def slot_int(function: str, value: Any) -> int:
    """A C int argument: anything with `__index__`, else SystemError."""
    try:
        return operator.index(value)
    except TypeError as error:
        system_error(function, error)


def slot_float(function: str, value: Any) -> float:
    """A C double argument: ints and floats, never text, else SystemError."""
    if isinstance(value, str | bytes):
        system_error(function, TypeError(f"must be real number, not {type(value).__name__}"))
    try:
        return float(value)
    except TypeError as error:
        system_error(function, error)


def is_text(value: Any, units: int = TEXT_UNITS) -> bool:
    """Whether `value` is a str of at most `units` UTF-16 code units."""
    if not isinstance(value, str):
        return False
    return 2 * len(value) <= units or len(value.encode("utf-16-le", "surrogatepass")) // 2 <= units


def request_of(function: str, given: dict[str, Any]) -> Any:
    """The TradeRequest of a request dict. Raises `BadField`, and SystemError for an int out of range."""
    values: list[Any] = []
    for name, kind, default in _FIELDS:
        value: Any = given.get(name, _MISSING)
        if value is _MISSING:
            values.append(default)
        elif not isinstance(value, kind):
            raise BadField(name)
        elif kind is int:
            low, high = _INTEGERS[name]
            if not low <= value <= high:
                system_error(function, OverflowError("can't convert int to a C integer of that size"))
            values.append(int(value))
        elif kind is float:
            values.append(float(value))
        elif is_text(value):
            values.append(str(value))
        else:
            raise BadField(name)
    return TradeRequest(values)


def seconds_of(value: Any) -> int | None:
    """A date argument as whole seconds; None when it is none. Naive datetimes are of this machine's zone."""
    try:
        if isinstance(value, datetime):
            return int(value.timestamp()) & 0xFFFFFFFF
        if isinstance(value, int | float):
            return int(value) & 0xFFFFFFFF
    except (OSError, OverflowError, ValueError):  # NaN, infinity, years that the machine cannot convert
        return None
    return None


def in_group(group: str) -> Callable[[str], bool]:
    """Test of a symbol name against a comma list of masks: `*` is the only wildcard, `!` excludes at once."""
    masks = [mask.strip() for mask in group.split(",")]
    # fnmatch knows more wildcards than the package: make the others plain characters.
    plain = [mask.replace("[", "[[]").replace("?", "[?]") for mask in masks]
    takes = [mask for mask in plain if not mask.startswith("!")]
    drops = [mask[1:] for mask in plain if mask.startswith("!")]

    def matches(name: str) -> bool:
        return not any(fnmatchcase(name, mask) for mask in drops) and any(fnmatchcase(name, mask) for mask in takes)

    return matches
