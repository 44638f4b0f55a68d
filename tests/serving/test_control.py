from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import control
from serving._errors import Final
from serving.journal import Journal


class StoppedClock:
    def __init__(self, t=datetime(2024, 3, 6, 10, tzinfo=UTC)):
        self.t = t

    def now_utc(self):
        return self.t

    def wait_until(self, t):
        self.t = max(self.t, t)
        return True


@pytest.fixture
def clock():
    return StoppedClock()


@pytest.fixture
def journal(tmp_path, clock):
    journal = Journal(control.journal_path(tmp_path, "demo"), account="demo", clock=clock)
    yield journal
    journal.close()


def ask(home, clock, name, by="Ann", reason="because"):
    control.send(home, "demo", name, by=by, reason=reason, clock=clock)


@pytest.mark.parametrize(("name", "state"), [("halt", "halted"), ("reduce", "reducing"), ("flatten", "halted")])
def test_a_command_latches_its_state_with_who_and_why(tmp_path, clock, journal, name, state):
    ask(tmp_path, clock, name)
    taken = control.Control(tmp_path, "demo", journal).check()
    assert (taken.state, taken.changed, taken.flatten) == (state, True, name == "flatten")
    kept = journal.state()
    assert kept.state == state and kept.by == "Ann" and "because" in kept.reason
    assert control.Control(tmp_path, "demo", journal).state == state, "a restart finds it again"


def test_commands_work_before_any_trader_or_database_ever_ran(tmp_path, clock):
    ask(tmp_path, clock, "halt")
    assert control.halted_by_file(tmp_path, "demo") is not None
    assert not control.journal_path(tmp_path, "demo").exists()


def test_removing_a_halt_file_does_not_resume(tmp_path, journal):
    (tmp_path / "HALT").touch()
    running = control.Control(tmp_path, "demo", journal)
    assert running.check().state == "halted"
    (tmp_path / "HALT").unlink()
    assert running.check().state == "halted"


def test_only_a_named_person_with_a_reason_resumes(tmp_path, clock, journal):
    running = control.Control(tmp_path, "demo", journal)
    ask(tmp_path, clock, "halt")
    assert running.check().state == "halted"
    for by, reason in (("", "fixed"), ("Ann", " ")):
        with pytest.raises(Final, match="who asks and why"):
            ask(tmp_path, clock, "resume", by, reason)
    ask(tmp_path, clock, "resume", "Ann", "feed is back")
    assert running.check().state == "active"
    assert journal.state().by == "Ann" and "feed is back" in journal.state().reason


def test_resume_is_refused_while_the_home_is_halted(tmp_path, clock, journal):
    running = control.Control(tmp_path, "demo", journal)
    ask(tmp_path, clock, "halt")
    running.check()
    (tmp_path / "HALT").touch()
    with pytest.raises(Final, match="halts every account"):
        ask(tmp_path, clock, "resume")
    (tmp_path / "HALT").unlink()
    ask(tmp_path, clock, "resume")
    (tmp_path / "HALT").touch()  # comes between the command and the check
    assert running.check().state == "halted"


def test_an_unreadable_command_halts(tmp_path, journal):
    folder = control.account_folder(tmp_path, "demo") / "commands"
    folder.mkdir()
    (folder / "0-x.json").write_text('{"name": "resu', encoding="utf-8")
    running = control.Control(tmp_path, "demo", journal)
    assert running.check().state == "halted" and not list(folder.iterdir())


def test_a_flatten_holds_over_restarts_until_a_person_resumes(tmp_path, clock, journal):
    running = control.Control(tmp_path, "demo", journal)
    running.latch("halted", by="daily loss", reason="-5 %")
    ask(tmp_path, clock, "flatten")
    assert running.check().flatten and running.check().flatten
    assert control.Control(tmp_path, "demo", journal).check().flatten
    ask(tmp_path, clock, "resume")
    assert not running.check().flatten
    assert not control.Control(tmp_path, "demo", journal).check().flatten


def test_a_command_is_taken_once(tmp_path, clock, journal):
    running = control.Control(tmp_path, "demo", journal)
    ask(tmp_path, clock, "reduce")
    assert running.check().changed and not running.check().changed
    assert [e["detail"]["name"] for e in journal.events(kind="command")] == ["reduce"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(control.STATES), max_size=8))
def test_a_rule_never_loosens_the_state(tmp_path_factory, states):
    home = tmp_path_factory.mktemp("home")
    journal = Journal(control.journal_path(home, "demo"), account="demo", clock=StoppedClock())
    running = control.Control(home, "demo", journal)
    worst = 0
    for state in states:
        running.latch(state, by="rule", reason="test")
        worst = max(worst, control.STATES.index(state))
        assert control.STATES.index(running.state) == worst
    journal.close()


def test_reduce_does_not_loosen_a_halt(tmp_path, clock, journal):
    running = control.Control(tmp_path, "demo", journal)
    running.latch("halted", by="daily loss", reason="-5 %")
    ask(tmp_path, clock, "reduce")
    assert running.check().state == "halted"


def test_a_name_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(Final, match="account name"):
        control.account_folder(tmp_path, "../other")
