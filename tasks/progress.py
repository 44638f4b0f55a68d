"""How long work says how far it is. Whoever shows progress listens; the work does not know who."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger("tradewind")
Listener = Callable[[str, int, int, str], None]
_listeners: list[Listener] = []


def tell(step: str, done: int, total: int, note: str = "") -> None:
    """`done` of `total` parts of `step` are finished. total 0: a step of unknown length has begun."""
    for listener in _listeners:
        listener(step, done, total, note)
    log.log(logging.INFO if done == total else logging.DEBUG, "%s %d/%d %s", step, done, total, note)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hand every progress message to `listener` inside this block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
