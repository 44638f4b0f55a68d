"""`demo`: bars to trades on the embedded simulated broker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flows import console, demo_home, interrupt
from flows.commands.learn import document, show, silence_prefect
from flows.quiet import quiet_environment
from flows.settings import writable

_MONEY = (
    ("price moves, mid to mid", "gross"),
    ("spread", "spread"),
    ("commission", "commission"),
    ("swap", "swap"),
    ("net", "net"),
)


def demo(home: tuple[Path, bool], *, edge: bool, seed: int, as_json: bool) -> None:
    """Run the demo flow in its own home below the home."""
    started = time.monotonic()
    root = writable(home[0]) / "demo"
    demo_home.prepare_home(root, edge=demo_home.default_edge(edge), seed=seed)
    quiet_environment(root)
    silence_prefect()
    console.err.print(
        f"demo in {root}: a generated market {'with a planted edge' if edge else 'without any edge'}; first Prefect starts"
    )
    from flows import demo as flow

    with interrupt.ends_at_once(), console.watching():
        result = flow.demo(root)
    took = time.monotonic() - started
    account = None if result.account is None else _account(result.account)
    if as_json:
        console.print_json({**document(result.report), "account": account, "page": str(result.page), "seconds": round(took, 1)})
        return
    show(result.report, as_json=False)
    if account is None:
        console.out.print("[bold yellow]no edge: nothing promoted, nothing traded[/]")
    else:
        rows = [[label, f"{account['costs'][key]:+,.2f}"] for label, key in _MONEY]
        balance = f"{account['start_balance']:,.2f} to {account['end_balance']:,.2f} {account['currency']}"
        console.print_table(f"simulated account: {account['trades']} trades, {balance}", ["", account["currency"]], rows)
        if account["latency_ms"] is not None:
            console.say(f"median bar-in to order-out {account['latency_ms']:.2f} ms")
    console.say(f"report: {result.page}")
    console.say(f"done in {took:.0f} s; look at runs with: mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.sqlite'}")


def _account(page: Any) -> dict[str, Any]:
    return {
        "start_balance": page.start_balance,
        "end_balance": page.end_balance,
        "currency": page.currency,
        "costs": page.costs,
        "trades": len(page.trades),
        "decisions": page.decisions,
        "latency_ms": page.latency_ms,
    }
