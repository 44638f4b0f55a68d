"""The ingest flow: new bars of a feed's terminal into the store, with their quality report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from prefect import flow  # noqa: E402

from feature_store.clock import SystemClock  # noqa: E402
from feature_store.store import Batch  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import home_folder, load  # noqa: E402
from flows.terminals import open_terminal  # noqa: E402
from tasks import ingest as tasks_ingest  # noqa: E402
from tasks.home import Home  # noqa: E402


@flow(name="ingest", flow_run_name="ingest {feed}")
def ingest(feed: str, timeframe: str = "M1", home: Path | None = None, terminal: Any = None, clock: Any = None) -> list[Batch]:
    """Fetch the bars that closed since the last ingest. terminal, clock: for tests and the demo; by default the feed's own."""
    root, _ = home_folder(home)
    settings = load(root)
    if feed not in settings.feeds:
        there = ", ".join(sorted(settings.feeds)) or "none"
        raise FlowError(f"feed {feed!r} is not in tradewind.toml; there is: {there}; add a table [feeds.{feed}]")
    chosen = settings.feed(feed)
    symbols = tuple(chosen.symbols)
    if not symbols:
        raise FlowError(f'feed {feed!r} lists no symbols; add [feeds.{feed}.symbols] with lines such as EURUSD = "EURUSDm"')
    if terminal is None:
        terminal, clock = open_terminal(root, feed, chosen)
    place = Home(root)
    batches = tasks_ingest.ingest_terminal(
        place.store, feed, chosen, terminal, symbols, timeframe, clock or SystemClock(), lock_wait_s=settings.lock_wait_s
    )
    tasks_ingest.quality(place.store, feed, symbols, lock_wait_s=settings.lock_wait_s, pages=place.quality)
    return batches
