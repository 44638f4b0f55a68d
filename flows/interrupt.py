"""Ctrl-C while a flow runs in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flows import console

SAID = "interrupted; what was finished is kept, start the same command again to go on"


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Within it Ctrl-C ends the process at once, with status 130.

    Prefect would wait for minutes, for every task that runs. Nothing is lost by not waiting: what was finished
    lies whole on the disk, and the same command goes on from there.
    """
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = sys.modules.get("prefect.server.api.server")
    if server is not None:
        server.SubprocessASGIServer().stop()  # Prefect's temporary one: it would outlive this process
    console.err.show_cursor()  # a progress bar hid it
    print(f"tradewind: {SAID}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(128 + number)
