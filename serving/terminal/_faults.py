"""What can be made to go wrong at the simulated terminal, and when: an effect, and the call or moment it waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from serving._errors import Final


@dataclass(frozen=True)
class ReplyLost:
    """The pipe breaks around a call: after the server has `done` it, or before. The caller gets None either way."""

    done: bool = True


@dataclass(frozen=True)
class Crash:
    """The terminal dies: the call fails, later ones find no connection until `initialize`, which succeeds once
    the terminal has been down for `down_s` seconds."""

    down_s: float = 0.0


@dataclass(frozen=True)
class Retcode:
    """order_send answers `code`; with `done` the order was filled all the same (10012 and 10031 prove nothing)."""

    code: int
    done: bool = False


@dataclass(frozen=True)
class Hidden:
    """Positions and deals made by the order cannot be seen for `delay_s` seconds."""

    delay_s: float


CallEffect = ReplyLost | Crash | Retcode | Hidden


@dataclass(frozen=True)
class StaleFeed:
    """Quotes of `symbol` (empty: of all) stand still for `duration_s` seconds, then jump to the market."""

    duration_s: float
    symbol: str = ""


@dataclass(frozen=True)
class SpreadSpike:
    """The ask of `symbol` (empty: of all) is `points` higher for `duration_s` seconds."""

    points: int
    duration_s: float
    symbol: str = ""


@dataclass(frozen=True)
class NoPrices:
    """Orders on `symbol` (empty: on all) are answered 10021 for `duration_s` seconds."""

    duration_s: float
    symbol: str = ""


@dataclass(frozen=True)
class Offline:
    """The terminal has no connection to the server for `duration_s` seconds: orders are answered 10031."""

    duration_s: float


@dataclass(frozen=True)
class ManualTrade:
    """Somebody trades by hand: side +1 buys, -1 sells."""

    symbol: str
    side: int
    volume: float
    sl: float = 0.0
    tp: float = 0.0


@dataclass(frozen=True)
class ManualClose:
    """Somebody closes position `ticket` (0: the newest) by hand."""

    ticket: int = 0


@dataclass(frozen=True)
class OtherAccount:
    """Somebody logs the terminal in to another of the config's accounts."""

    login: int


TimedEffect = StaleFeed | SpreadSpike | NoPrices | Offline | ManualTrade | ManualClose | OtherAccount | Crash
Effect = CallEffect | TimedEffect
_ON_CALL = (ReplyLost, Crash, Retcode, Hidden)
_TIMED = (StaleFeed, SpreadSpike, NoPrices, Offline, ManualTrade, ManualClose, OtherAccount, Crash)


@dataclass(frozen=True)
class Fault:
    """One planned `effect`: on the `nth` call of `function` and the `times - 1` after it, or at a moment `at`."""

    effect: Effect
    function: str = ""
    nth: int = 1
    times: int = 1
    at: datetime | None = None

    def __post_init__(self) -> None:
        kind = type(self.effect).__name__
        if bool(self.function) == (self.at is not None):
            raise Final(f"fault {kind}: give either the function whose call it waits for, or a moment `at`")
        if self.function and not isinstance(self.effect, _ON_CALL):
            raise Final(f"fault {kind} belongs to a moment `at`, not to a call of {self.function}")
        if self.at is not None and not isinstance(self.effect, _TIMED):
            raise Final(f"fault {kind} belongs to a call of a `function`, not to a moment")
        if isinstance(self.effect, Retcode | Hidden) and self.function != "order_send":
            raise Final(f"fault {kind} belongs to order_send, not to {self.function}")
        if self.at is not None and self.at.tzinfo is None:
            raise Final(f"fault {kind}: the moment {self.at} has no zone; give an aware datetime")
        if self.nth < 1 or self.times < 1:
            raise Final(f"fault {kind}: nth {self.nth} and times {self.times} must be at least 1")


class Plan:
    """The faults that wait for calls. Calls are counted from the moment a fault was added."""

    def __init__(self) -> None:
        self.armed = False
        self._waiting: dict[str, list[Fault]] = {}

    def add(self, fault: Fault) -> None:
        self._waiting.setdefault(fault.function, []).append(fault)
        self.armed = True

    def take(self, function: str) -> CallEffect | None:
        """The effect that this call of `function` meets, if any. One call meets one effect at most."""
        waiting = self._waiting.get(function)
        if not waiting:
            return None
        met: CallEffect | None = None
        left: list[Fault] = []
        for fault in waiting:
            if fault.nth > 1:
                left.append(replace(fault, nth=fault.nth - 1))
            elif met is not None:
                left.append(fault)  # another fault came first: this one waits for the next call
            else:
                assert isinstance(fault.effect, _ON_CALL)
                met = fault.effect
                if fault.times > 1:
                    left.append(replace(fault, times=fault.times - 1))
        self._waiting[function] = left
        self.armed = any(self._waiting.values())
        return met
