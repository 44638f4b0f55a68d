"""The package's connection: initialize, shutdown, login, last_error, and the faults that break the pipe."""

from __future__ import annotations

from typing import Any

from serving.terminal._arguments import NAME_UNITS, PATH_UNITS, is_text
from serving.terminal._faults import CallEffect, Crash, ReplyLost
from serving.terminal._server import Server
from serving.terminal.surface import (
    AUTHORIZATION_FAILED,
    INVALID_ARGUMENTS,
    INVALID_NUMBER,
    NO_CONNECTION,
    RECEIVE_FAILED,
    SEND_FAILED,
    SUCCESS,
    TIMED_OUT,
    LastError,
    TerminalInfo,
)

CLOSED, OPEN, BROKEN = 0, 1, 2
BUILD, BUILD_DATE = 5000, "01 Jan 2026"
DEFAULT_TIMEOUT_MS = 60_000
_POLL_MS = 100
_CREDENTIALS = ("login", "password", "server")


def _invalid(name: str) -> LastError:
    return -2, f'Invalid "{name}" argument'


class Session:
    """One process's pipe to the terminal. `error` is what last_error() gives back."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pipe = CLOSED
        self.error: LastError = (0, "")
        server.crash = self._crash

    # --- the pipe

    def _connected(self) -> bool:
        if self._pipe == OPEN:
            return True
        self.error = SEND_FAILED if self._pipe == BROKEN else NO_CONNECTION
        self._pipe = CLOSED
        return False

    def _reaches(self, function: str) -> bool:
        """Whether this call gets through to the terminal and back; sets the error when not."""
        if not self._connected():
            return False
        if not self._server.plan.armed:
            return True
        effect = self._server.plan.take(function)
        return effect is None or self._survives(effect)

    def _survives(self, effect: CallEffect) -> bool:
        if isinstance(effect, Crash):
            self._crash(effect.down_s)
        elif not isinstance(effect, ReplyLost):
            return True
        self.error = RECEIVE_FAILED if effect == ReplyLost(done=True) else SEND_FAILED
        self._pipe = CLOSED
        return False

    def _crash(self, down_s: float) -> None:
        self._server.terminal.down_until_ms = self._server.now_ms + round(down_s * 1000)
        self._pipe = BROKEN if self._pipe == OPEN else CLOSED

    def _fail(self, error: LastError) -> Any:
        """None, with `error` noted: what the package answers when a call comes to nothing."""
        self.error = error
        return None

    # --- functions of the package

    def initialize(self, *args: Any, **kwargs: Any) -> bool:
        """True once connected to the terminal, and logged in where a login is given."""
        self.error = SUCCESS
        if len(args) > 1:
            self.error = INVALID_NUMBER
        elif args and not is_text(args[0], PATH_UNITS):
            self.error = (-2, "Invalid 1st unnamed argument")
        else:
            self.error = self._bad_keyword(kwargs) or SUCCESS
        if self.error != SUCCESS:
            return False
        self._pipe = CLOSED
        if not self._comes_up(kwargs.get("timeout") or DEFAULT_TIMEOUT_MS):
            self.error = TIMED_OUT
            return False
        if any(name in kwargs for name in _CREDENTIALS) and not self._authorized(kwargs):
            self.error = AUTHORIZATION_FAILED
            return False
        self._pipe = OPEN
        return True

    @staticmethod
    def _bad_keyword(kwargs: dict[str, Any]) -> LastError | None:
        for name, value in kwargs.items():
            if name in ("login", "timeout"):
                good = isinstance(value, int) and 0 <= value < 2**64
            elif name in ("password", "server"):
                good = is_text(value, NAME_UNITS)
            else:
                good = name != "path" or is_text(value, PATH_UNITS)
            if not good:
                return _invalid(name)
        return None

    def _comes_up(self, timeout_ms: int) -> bool:
        """Poll the terminal as the package does, every 100 ms of the simulated time."""
        server = self._server
        end_ms = server.now_ms + timeout_ms
        while not server.terminal.has_account or server.now_ms < server.terminal.down_until_ms:
            if server.now_ms >= end_ms:
                return False
            server.advance_to(min(end_ms, server.now_ms + _POLL_MS))
        return True

    def _authorized(self, given: dict[str, Any]) -> bool:
        account = self._server.accounts.get(given.get("login", self._server.current.config.login))
        if account is None:
            return False
        # A password or server left out is the one the terminal has saved.
        known = account.config
        if given.get("password") not in (None, "", known.password) or given.get("server") not in (None, "", known.server):
            return False
        self._server.switch(known.login)
        return True

    def login(self, *args: Any, **kwargs: Any) -> bool:
        """True once logged in. Positional order: login, password, server. Failure keeps the connection."""
        self.error = SUCCESS
        given = dict(zip(_CREDENTIALS, args, strict=False)) | kwargs
        if len(args) > 3 or not given:
            self.error = INVALID_NUMBER
        elif not given.get("login"):
            self.error = INVALID_ARGUMENTS
        else:
            self.error = self._bad_keyword(given) or SUCCESS
        if self.error != SUCCESS or not self._reaches("login"):
            return False
        if not self._authorized(given):
            self.error = AUTHORIZATION_FAILED
            return False
        return True

    def shutdown(self) -> bool:
        """True, always."""
        self._pipe, self.error = CLOSED, SUCCESS
        return True

    def last_error(self) -> LastError:
        """(code, text) of the last call; (0, '') before the first."""
        return self.error

    def version(self) -> tuple[int, int, str]:
        """(version, build, date), or (0, 0, '') without a connection."""
        self.error = SUCCESS
        return (500, BUILD, BUILD_DATE) if self._reaches("version") else (0, 0, "")

    def terminal_info(self) -> Any:
        """The terminal's state and settings as a TerminalInfo."""
        self.error = SUCCESS
        if not self._reaches("terminal_info"):
            return None
        terminal, config = self._server.terminal, self._server.config
        connected = terminal.offline_until_ms <= self._server.now_ms
        return TerminalInfo(
            (False, False, connected, False, terminal.trade_allowed, terminal.tradeapi_disabled, False, False, False, False,
             BUILD, config.maxbars, 0, 0, 0.0, 0.0, config.account.company, "Tradewind simulated terminal", "English",
             "simulated", "simulated", "simulated")
        )  # fmt: skip

    def account_info(self) -> Any:
        """The account the terminal is logged in to, as an AccountInfo."""
        self.error = SUCCESS
        return self._server.current.info() if self._reaches("account_info") else None
