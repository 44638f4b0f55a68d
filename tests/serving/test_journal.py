import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from serving import journal as journal_module
from serving import magic
from serving._errors import Final, Retryable
from serving.journal import DealRow, Decision, Exit, Journal, RiskDay, read


class StoppedClock:
    def now_utc(self):
        return datetime(2024, 3, 6, 10, tzinfo=UTC)

    def wait_until(self, t):
        return True


@pytest.fixture
def path(tmp_path):
    return tmp_path / "demo" / "journal.sqlite"


@pytest.fixture
def journal(path):
    journal = Journal(path, account="demo", clock=StoppedClock())
    yield journal
    journal.close()


def intend(journal, line="majors/EURUSD"):
    return journal.add_intent(line=line, kind="open", symbol="EURUSD", side=1, lots=0.1, bar_s=0, reason="signal")


DEAL = DealRow(7, 6, 6, 1, "EURUSD", "trade", 1, "in", 0.1, 1.1, -0.35, 0.0, 0.0, 0.0, 0, "expert", "", None)
DECISION = Decision("majors/EURUSD", 3600, 1, 0.2, 0.3, 0.5, 1, 0.7, 0.001, 10_000.0, "none", "spread", None, 900, "ab")


def test_every_intent_gets_a_sequence_never_used_before_even_after_a_restart(journal, path):
    first, second = intend(journal), intend(journal, "majors/USDJPY")
    assert (first.sequence, second.sequence) == (1, 2) and (first.line_id, second.line_id) == (1, 2)
    assert magic.decode(second.magic) == (2, 2)
    journal.raise_sequence(40)
    journal.close()
    again = Journal(path, account="demo", clock=StoppedClock())
    assert intend(again).sequence == 41 and intend(again).line_id == 1
    again.close()


def test_an_intent_stays_unresolved_until_it_is_resolved(journal):
    intent = intend(journal)
    assert [(i.state, i.attempts) for i in journal.unresolved()] == [("unknown", 0)]
    number = journal.request(intent.sequence, {"action": 1})
    assert [(i.state, i.attempts) for i in journal.unresolved()] == [("unknown", 1)]
    journal.reply(number, {"retcode": 10009}, 850)
    journal.resolve(intent.sequence, "filled", position=99, filled_lots=0.1, price=1.1)
    assert journal.unresolved() == []
    assert journal.intent(intent.sequence).position == 99
    assert journal.rows("SELECT reply, answered_us FROM requests") == [{"reply": '{"retcode": 10009}', "answered_us": 850}]


def test_a_deal_becomes_a_fill_once(journal):
    assert journal.deal(DEAL) and not journal.deal(DEAL)
    assert journal.deals() == [DEAL] and journal.last_deal_ms() == 1


def test_one_decision_for_a_bar_and_line(journal):
    assert journal.decision(DECISION) and not journal.decision(DECISION)
    assert journal.decisions(at_s=5000) == [DECISION] and journal.decisions(at_s=3599) == []


def test_exits_of_open_positions_come_back_until_they_close(journal):
    exit_ = Exit(99, 1, "majors/EURUSD", "EURUSD", 1, 1.09, 1.11, 12, "H1", 3600, "ab", 5, None)
    journal.open_exit(exit_)
    assert journal.open_exits() == {99: exit_}
    journal.close_exit(99, 10)
    assert journal.open_exits() == {}


def test_the_risk_day_survives(journal, path):
    day = RiskDay(19787, 9876.5, 10_200.0)
    journal.set_risk(day)
    journal.close()
    assert read(path).risk() == day


def test_events_cannot_be_changed_or_removed(journal):
    journal.event("start", account="demo")
    for change in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            journal.rows(change)
    assert [e["kind"] for e in journal.events()] == ["start"]


def test_a_failed_transaction_leaves_nothing(journal):
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.event("half")
        with journal.transaction():
            journal.event("inner")
        1 / 0
    assert journal.events() == [] and not journal._database.in_transaction


def test_a_second_trader_on_the_account_is_refused_in_one_line(journal, path):
    with pytest.raises(Retryable, match="another trader runs"):
        Journal(path, account="demo", clock=StoppedClock())


def test_a_second_process_is_refused_too_and_a_reader_is_not(journal, path):
    code = f"""
from pathlib import Path
from serving.journal import Journal, read
from serving._errors import Retryable
path = Path({str(path)!r})
assert read(path).account == "demo"
try:
    Journal(path, account="demo", clock=None)
except Retryable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "another trader runs" in done.stdout, done.stderr


def test_readers_read_while_the_trader_writes_and_cannot_write(journal, path):
    reader = read(path)
    intend(journal)
    assert len(reader.unresolved()) == 1
    with journal.transaction():
        intend(journal)
        assert len(reader.unresolved()) == 1, "an open transaction is not seen and does not block"
    assert len(reader.unresolved()) == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.rows("DELETE FROM deals")
    reader.close()


def test_a_newer_schema_is_refused_by_writer_and_reader(journal, path):
    journal._database.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
    journal.close()
    for opening in (lambda: Journal(path, account="demo", clock=StoppedClock()), lambda: read(path)):
        with pytest.raises(Final, match="schema 2 is newer than 1"):
            opening()


def test_a_journal_of_another_account_is_refused(journal, path):
    journal.close()
    with pytest.raises(Final, match="belongs to account 'demo'"):
        Journal(path, account="real", clock=StoppedClock())


def test_what_was_journaled_survives_a_killed_writer(path):
    code = f"""
import os
from pathlib import Path
from feature_store.clock import SystemClock
from serving.journal import Journal, RiskDay
journal = Journal(Path({str(path)!r}), account="demo", clock=SystemClock())
journal.add_intent(line="majors/EURUSD", kind="open", symbol="EURUSD", side=1, lots=0.1, bar_s=0, reason="signal")
journal.set_risk(RiskDay(0, 1.0, 2.0))
with journal.transaction():
    journal.event("never committed")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 9
    again = Journal(path, account="demo", clock=StoppedClock())
    assert [i.sequence for i in again.unresolved()] == [1] and again.risk().peak_equity == 2.0 and again.events() == []
    again.close()


def test_an_absent_journal_says_who_writes_it(path):
    with pytest.raises(Final, match="tradewind trade"):
        journal_module.read(path)
