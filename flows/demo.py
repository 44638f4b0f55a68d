"""The demo flow: a generated market from its first bar to an account's last trade, in a home of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from prefect import flow  # noqa: E402

from flows.demo_home import SYMBOLS  # noqa: E402
from flows.ingest import ingest  # noqa: E402
from flows.retrain import retrain  # noqa: E402
from flows.settings import load  # noqa: E402
from flows.terminals import account_broker  # noqa: E402
from serving.control import journal_path  # noqa: E402
from serving.journal import read  # noqa: E402
from serving.trader import TraderConfig, run_trader  # noqa: E402
from tasks import account_page, progress, report_page  # noqa: E402
from tasks import ingest as tasks_ingest  # noqa: E402
from tasks._step import step  # noqa: E402
from tasks.home import Home  # noqa: E402
from tasks.report_page import AccountPage  # noqa: E402
from tasks.results import RetrainReport  # noqa: E402

TRADE_BARS = 480
"""Closed H1 bars that the demo account trades: twenty trading days."""


@dataclass(frozen=True)
class DemoResult:
    """How the demo ended. account is None when nothing was promoted and so nothing traded."""

    report: RetrainReport
    account: AccountPage | None
    page: Path


@step("trade demo account")
def trade_demo(root: Path) -> AccountPage:
    """Trade the champion on the simulated broker, bar by bar, as live would."""
    settings = load(root)
    account, feed = settings.account("demo"), settings.feed("demo")
    handle = account_broker(root, "demo", account, feed, settings.lock_wait_s)
    config = TraderConfig(
        home=root,
        account="demo",
        settings=account,
        clock_rule=feed.clock,
        symbols=feed.symbols,
        commission_per_lot=feed.commission_per_lot,
        bars=TRADE_BARS,
    )
    seen: set[str] = set()

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "decision":
            seen.add(str(event["bar_s"]))
            progress.tell("trade", len(seen), TRADE_BARS, f"{event['time'][:16]}")

    with handle:
        summary = run_trader(config, handle.module, handle.clock, emit=show)
        reader = read(journal_path(root, "demo"))
        try:
            return account_page.account_page(reader, handle, account, summary)
        finally:
            reader.close()


@flow(name="demo", flow_run_name="demo")
def demo(root: Path) -> DemoResult:
    """Ingest, retrain, and trade the champion if there is one."""
    settings = load(root)
    ingest("demo", home=root)
    feed = settings.feed("demo")
    assert feed.market is not None
    report = retrain(home=root, pipeline="demo", until=feed.market.history_end)
    account = trade_demo(root) if report.promoted is not None else None
    quality = tasks_ingest.quality.fn(Home(root).store, "demo", SYMBOLS, lock_wait_s=settings.lock_wait_s)
    page = report_page.write_page(
        root / "reports" / "demo.html", report, account=account, quality=[line for q in quality for line in q.lines()]
    )
    return DemoResult(report, account, page)
