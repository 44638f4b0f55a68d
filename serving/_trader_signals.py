"""Asking a trader to stop: from another thread, or by the signals of the operating system."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from feature_store.clock import SystemClock


class StopRequest:
    """Whether a stop was asked for. Setting it also ends the wait of a system clock."""

    def __init__(self, clock: SystemClock | None = None) -> None:
        self._event, self._clock = threading.Event(), clock

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    def ask(self) -> None:
        self._event.set()
        if self._clock is not None:
            self._clock.interrupt()


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[StopRequest]:
    """Within it SIGTERM, SIGINT and, on Windows, SIGBREAK ask for a stop instead of killing the process."""
    names = [name for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]

    def handler(number: int, frame: FrameType | None) -> None:
        stop.ask()

    before = {name: signal.signal(getattr(signal, name), handler) for name in names}
    try:
        yield stop
    finally:
        for name, old in before.items():
            signal.signal(getattr(signal, name), old)
