"""What the trader is told, and whether the account it found is the one that was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from serving._errors import Final, Retryable
from serving.bundle import Alias
from serving.orders import OrderPolicy
from serving.settings import AccountSettings
from serving.terminal.broker import Identity

Emit = Callable[[dict[str, Any]], None]

SIMULATED_SERVERS = ("Tradewind-",)
"""How the server of a simulated account begins. A sim or paper account on any other server is refused."""

_HEDGING = 2  # margin_mode of the platform


@dataclass(frozen=True)
class TraderConfig:
    """One account and its lines. Times in seconds.

    live: LOGIN@SERVER typed by a person; without it a live account is refused. grace_s: a bar not there this
    long after its close is skipped. settle_s: how long a bar's own next quote is waited for before the bar is
    taken as complete. alias: champion, or practice for a model that passed no gate. bars, until: when to stop.
    """

    home: Path
    account: str
    settings: AccountSettings
    clock_rule: str
    symbols: Mapping[str, str] = field(default_factory=dict)
    commission_per_lot: float = 0.0
    connection: Mapping[str, object] = field(default_factory=dict)
    live: str | None = None
    alias: Alias = "champion"
    grace_s: float = 10.0
    settle_s: float = 1.0
    orders: OrderPolicy = field(default_factory=OrderPolicy)
    bars: int | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.settings.lines:
            raise Final(f"account {self.account!r} has no lines; add pipeline and symbol under [accounts.{self.account}]")
        symbols = [line.symbol for line in self.settings.lines]
        if self.settings.margin_mode == "netting" and len(set(symbols)) < len(symbols):
            raise Final(f"account {self.account!r} is netting: two lines on one symbol would share one position; use one")
        if self.settings.mode != "live":
            if self.live is not None:
                raise Final(f"account {self.account!r} is in mode {self.settings.mode}; --live is for accounts in mode live")
            return
        meant = f"{self.settings.login}@{self.settings.server}"
        if self.live != meant:
            raise Final(
                f"account {self.account!r} trades real money: confirm it with --live {meant} (got {self.live or 'nothing'})"
            )
        if self.alias != "champion":
            raise Final(f"account {self.account!r} trades real money: only a champion that passed the gate may, not {self.alias}")


def check_identity(config: TraderConfig, found: Identity) -> None:
    """Raises `Final` naming the first thing in which the terminal's account is not the one in the settings."""
    settings = config.settings
    pinned = {
        "login": (settings.login, found.login),
        "server": (settings.server, found.server),
        "company": (settings.company, found.company),
        "currency": (settings.currency, found.currency),
        "margin_mode": (settings.margin_mode, "hedging" if found.margin_mode == _HEDGING else "netting"),
    }
    for name, (meant, there) in pinned.items():
        if meant is not None and meant != there:
            raise Final(f"account {config.account!r}: {name} is {there!r}, the settings say {meant!r}; log the terminal in to it")
    simulated = found.server.startswith(SIMULATED_SERVERS)
    if settings.mode in ("sim", "paper") and not simulated:
        raise Final(f"account {config.account!r} is in mode {settings.mode}, but {found} is no simulated account")
    if settings.mode in ("practice", "live") and simulated:
        raise Final(f"account {config.account!r} is in mode {settings.mode}, but {found} is a simulated account")


@contextmanager
def sole_trader(config: TraderConfig, identity: Identity) -> Iterator[None]:
    """A lock on the login itself: two account names in one home must not trade one login. Raises `Retryable`.

    Simulated accounts need none: each process has a broker of its own."""
    if config.settings.mode in ("sim", "paper"):
        yield
        return
    folder = config.home / "accounts" / ".logins"
    folder.mkdir(parents=True, exist_ok=True)
    server = "".join(c if c.isalnum() else "-" for c in identity.server)
    lock = FileLock(folder / f"{identity.login}-{server}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Retryable(f"{identity}: another trader in this home trades this login; stop that one first") from None
    try:
        yield
    finally:
        lock.release()
