"""`trade`, `status`, `why`, `halt`, `reduce`, `resume`, `flatten`: everything that touches an account.

Nothing here, nor anything it imports, schedules, tracks or trains: it works with Prefect and MLflow down.
"""

from __future__ import annotations

import getpass
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_store.clock import SystemClock
from flows import console
from flows._errors import FlowError
from flows.settings import Settings, load
from serving import control as serving_control
from serving import reports
from serving.control import journal_path
from serving.journal import read
from serving.trader import StopRequest, TraderConfig, run_trader, stop_on_signals

SCHEMA = 1


def account_of(settings: Settings, name: str | None) -> str:
    """The account named, else the only one there is."""
    if name is not None:
        settings.account(name)
        return name
    if len(settings.accounts) == 1:
        return next(iter(settings.accounts))
    there = ", ".join(sorted(settings.accounts)) or "none"
    raise FlowError(f"which account? there is: {there}; add --account NAME, or a table [accounts.NAME] to tradewind.toml")


def trade(
    home: tuple[Path, bool],
    *,
    account: str | None,
    live: str | None,
    bars: int | None,
    until: datetime | None,
    as_json: bool,
) -> int:
    """Exit status 0 when the trader ended as asked."""
    from flows.terminals import account_desk

    root, named = home
    settings = load(root)
    name = account_of(settings, account)
    about = settings.account(name)
    if about.mode != "sim" and not named:
        raise FlowError(
            f"account {name!r} is in mode {about.mode}: name its home with --home or TRADEWIND_HOME; "
            "the default one serves research"
        )
    feed = settings.feed(about.feed)
    desk = account_desk(root, name, about, feed, settings.lock_wait_s)
    last = desk.end if until is None and bars is None else until
    config = TraderConfig(
        home=root,
        account=name,
        settings=about,
        clock_rule=desk.clock_rule,
        symbols=feed.symbols,
        commission_per_lot=feed.commission_per_lot,
        live=live,
        bars=bars,
        until=None if last is None else last.replace(tzinfo=UTC),
    )
    stop = StopRequest(desk.clock if isinstance(desk.clock, SystemClock) else None)
    with stop_on_signals(stop):
        summary = run_trader(config, desk.terminal, desk.clock, emit=_json_line if as_json else _person_line, stop=stop)
    if not as_json:
        latency = "" if summary.latency_us is None else f", median bar-in to order-out {summary.latency_us / 1000:.1f} ms"
        done = f"{summary.bars} bars, {summary.decisions} decisions, {summary.orders} orders"
        console.say(f"{name}: {summary.why}; {done}, state {summary.state}, equity {summary.equity:,.2f}{latency}")
    return 0


def _json_line(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()


_QUIET = ("schema", "event", "time")


def _person_line(event: dict[str, Any]) -> None:
    """One line for what a person watches for; every bar and check stands in the journal."""
    if event["event"] == "failed":
        return  # told on stderr when the command ends
    if event["event"] == "decision":
        if event["sequence"] is None:
            return
        event = {k: event[k] for k in (*_QUIET, "line", "action", "confidence")}
    rest = "  ".join(f"{k} {_short(v)}" for k, v in event.items() if k not in _QUIET and v not in (None, "", 0))
    console.say(f"{event['time'][:19]}  {event['event']:<9} {rest}")


def _short(value: Any) -> str:
    return f"{value:.5f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def status(home: tuple[Path, bool], *, account: str | None, as_json: bool) -> None:
    """How accounts stand, from their journals alone."""
    root, _ = home
    settings = load(root)
    names = [account_of(settings, account)] if account else sorted(settings.accounts)
    documents = [
        {**reports.status(reader), "halt_file": _halted(root, name)} for name in names if (reader := _journal(root, name))
    ]
    if as_json:
        console.print_json({"schema": SCHEMA, "accounts": documents})
        return
    if not documents:
        console.say(f"no account has traded in {root} yet; start one with: tradewind trade --account NAME")
    for d in documents:
        state, fills, risk = d["state"], d["fills"], d["risk_day"]
        console.say(f"{d['account']}: {state['state']} since {state['since'][:19]} ({state['by']}: {state['reason']})")
        if d["halt_file"]:
            console.say(f"  halted by the file {d['halt_file']}")
        if risk:
            console.say(f"  the risk day began at {risk['day_start_equity']:,.2f}, peak {risk['peak_equity']:,.2f}")
        parts = ", ".join(f"{part} {fills[part]:+,.2f}" for part in ("profit", "commission", "swap"))
        console.say(f"  {fills['deals']} deals, net {fills['net']:+,.2f}: {parts}")
        for p in d["positions"]:
            side = "long" if p["side"] > 0 else "short"
            ends = f"stop {p['stop']:.5f}, target {p['target']:.5f}, at most {p['horizon_bars']} bars"
            console.say(f"  {p['line']}: {side} since {p['opened'][:16]}, {ends}")
        if not d["positions"]:
            console.say("  no open positions of ours")
        for intent in d["unresolved"]:
            console.say(f"  UNRESOLVED {intent['kind']} {intent['symbol']} {intent['lots']} sent {intent['sent_ms']}")


def _halted(root: Path, name: str) -> str | None:
    found = serving_control.halted_by_file(root, name)
    return None if found is None else str(found)


def _journal(root: Path, name: str) -> Any:
    path = journal_path(root, name)
    return read(path) if path.is_file() else None


def why(home: tuple[Path, bool], *, account: str | None, last: int, as_json: bool) -> None:
    """The last decisions and what became of them."""
    root, _ = home
    name = account_of(load(root), account)
    reader = _journal(root, name)
    if reader is None:
        raise FlowError(f"account {name!r} has no journal in {root}: it has not traded yet")
    found = reports.why(reader, last=last)
    if as_json:
        console.print_json({"schema": SCHEMA, "account": name, "decisions": found})
        return
    for d in found:
        chances = "no probabilities"
        if d["p_long"] is not None:
            chances = f"short {d['p_short']:.3f} flat {d['p_flat']:.3f} long {d['p_long']:.3f}"
        because = f": {d['reason']}" if d["reason"] else ""
        console.say(f"{d['bar'][:16]} {d['line']}: {d['action']}{because} ({chances})")


def control(home: tuple[Path, bool], command: str, *, account: str | None, reason: str, as_json: bool) -> None:
    """Send a command to an account's trader, running or not."""
    root, _ = home
    name = account_of(load(root), account)
    path = serving_control.send(root, name, command, by=getpass.getuser(), reason=reason, clock=SystemClock())
    if as_json:
        console.print_json({"schema": SCHEMA, "account": name, "command": command, "file": str(path)})
    else:
        console.say(f"{command} of {name} is on disk; a running trader obeys at its next check, another at its start")
