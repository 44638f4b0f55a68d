"""The trader as a process: stopped by a signal, halted while it runs, killed and started again."""

import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from serving.control import journal_path
from serving.journal import read
from tests.flows.parts import start, trading_home

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def home(tmp_path):
    """An account with a champion and more market to trade than any test waits for."""
    return trading_home(tmp_path / "home", days=200, account="check_every_s = 5.0")


@pytest.fixture
def trader(home, tmp_path):
    """Starts the account's trader; whatever is left of it is killed after the test."""
    running = []

    def begin():
        running.append(start("trade", "--account", "demo", "--home", home, "--json", log=tmp_path / "log"))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(condition, timeout_s=60.0):
    """What `condition` gives once it is true; fails when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def events(log: Path, kind: str | None = None) -> list[dict]:
    """Events that the trader wrote as whole lines."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.startswith("{") and line.endswith("}\n")]
    return [e for e in found if kind in (None, e["event"])]


def decided(log: Path, count: int):
    return lambda: len(events(log, "decision")) >= count


def journal(home: Path):
    return read(journal_path(home, "demo"))


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_the_trader_after_what_it_is_doing(home, trader, tmp_path, name):
    process = trader()
    wait_for(decided(tmp_path / "log", 3))
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=20) == 0
    last = events(tmp_path / "log")[-1]
    assert (last["event"], last["why"], last["state"]) == ("stopped", "stopped", "active")
    reader = journal(home)
    assert reader.events(last=1)[0]["kind"] == "stopped"
    assert len(reader.decisions()) == len(events(tmp_path / "log", "decision")) == last["decisions"]
    reader.close()


def test_halt_and_resume_reach_a_trader_that_runs(home, trader, tradewind, tmp_path):
    log = tmp_path / "log"
    trader()
    wait_for(decided(log, 2))
    tradewind("halt", "--home", home, "--reason", "news")
    wait_for(lambda: [e for e in events(log, "state") if e["state"] == "halted"])
    status = tradewind("status", "--home", home, "--json").document["accounts"][0]
    assert status["state"]["state"] == "halted" and "news" in status["state"]["reason"]
    assert status["halt_file"] == str(home / "accounts" / "demo" / "HALT")
    wait_for(decided(log, len(events(log, "decision")) + 5))
    states = [e.get("state") if e["event"] == "state" else None for e in events(log)]
    after = [e for e in events(log)[states.index("halted") :] if e["event"] == "decision"]
    assert not any(e["action"].startswith("open") for e in after) and any("halted" in e["reason"] for e in after)
    tradewind("resume", "--home", home)
    wait_for(lambda: [e for e in events(log, "state") if e["state"] == "active"])
    assert tradewind("status", "--home", home, "--json").document["accounts"][0]["halt_file"] is None


@posix
@pytest.mark.slow
def test_a_trader_killed_again_and_again_never_holds_two_positions_or_forgets_one(home, trader, tmp_path):
    log = tmp_path / "log"
    for round_ in range(5):
        before = len(events(log, "decision"))
        process = trader()
        wait_for(decided(log, before + 12 + 5 * round_))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = trader()
    wait_for(decided(log, len(events(log, "decision")) + 5))
    process.terminate()
    assert process.wait(timeout=20) == 0

    assert sqlite3.connect(journal_path(home, "demo")).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader = journal(home)
    deals = [d for d in reader.deals() if d.kind == "trade"]
    decisions = reader.decisions()
    assert len({(d.line, d.bar_s) for d in decisions}) == len(decisions) > 50
    assert reader.unresolved() == []
    # One order for each intent, one position at a time: entries and exits take turns.
    entries, exits = [d for d in deals if d.entry == "in"], [d for d in deals if d.entry == "out"]
    assert len(entries) > 5 and all(d.line == "majors/EURUSD" for d in deals)
    assert max(Counter(d.magic for d in entries).values()) == 1
    assert [d.entry for d in deals] == (["in", "out"] * len(deals))[: len(deals)]
    assert all(entry.position == out.position and entry.lots == out.lots for entry, out in zip(entries, exits, strict=False))
    # What the broker still holds is what the journal says is held.
    books = json.loads((home / "brokers" / "demo.json").read_text())
    held = {p["ticket"] if isinstance(p, dict) else p[0] for account in books["accounts"] for p in account["positions"]}
    assert held == set(reader.open_exits()) and len(held) == len(entries) - len(exits)
    reader.close()
