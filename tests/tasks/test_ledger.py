"""The ledger: what is noted once counts once, and every look at the same market counts against the next."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tasks._errors import Final
from tasks.ledger import Ledger, Span

ROOT = Path(__file__).resolve().parents[2]
SPAN = Span("icm", ("EURUSD", "USDJPY"), 1000, 2000)


def note(ledger, number, *, study="s", pipeline="majors", family="linear", skill=0.01, state="complete"):
    ledger.add_trial(
        study=study, number=number, pipeline=pipeline, family=family, params={"x": 1}, skill=skill, state=state, span=SPAN
    )


def look(ledger, run, *families, span=SPAN, pipeline="majors"):
    return ledger.look(run=run, families=families or ("linear",), pipeline=pipeline, span=span)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "ledger.sqlite")


def test_a_trial_noted_again_counts_once_and_keeps_what_was_said_first(tmp_path, ledger):
    note(ledger, 0, skill=0.02)
    note(Ledger(tmp_path / "deep" / "ledger.sqlite"), 0, skill=0.5)
    assert ledger.trials("majors", "linear") == 1
    with sqlite3.connect(tmp_path / "deep" / "ledger.sqlite") as database:
        rows = database.execute("select study, number, params, skill, state, start_s, end_s from trials").fetchall()
    database.close()
    assert rows == [("s", 0, '{"x": 1}', 0.02, "complete", 1000, 2000)]


def test_trials_add_up_over_studies_and_stay_apart_by_pipeline_and_family(ledger):
    for study in ("first retrain", "second retrain"):
        for number in range(3):
            note(ledger, number, study=study)
    note(ledger, 3, study="second retrain", skill=None, state="pruned")
    note(ledger, 0, study="x", family="xgboost")
    note(ledger, 0, study="y", pipeline="crosses")
    assert ledger.trials("majors", "linear") == 7
    assert ledger.trials("majors", "xgboost") == ledger.trials("crosses", "linear") == 1
    assert ledger.trials("nothing", "linear") == 0


def test_the_same_run_looking_again_sees_nothing_new_and_counts_once_for_others(ledger):
    assert [look(ledger, "a", "linear", "xgboost") for _ in range(3)] == [0, 0, 0]
    assert look(ledger, "b") == 2, "each family that looked is one earlier look"
    assert look(ledger, "c", "linear") == 3


def test_families_that_the_same_run_judged_before_count_against_those_it_judges_now(ledger):
    assert look(ledger, "a", "linear") == 0
    assert look(ledger, "a", "xgboost") == 1
    assert look(ledger, "a", "catboost") == 2
    assert look(ledger, "a", "linear", "xgboost", "catboost") == 0, "judged together they count as candidates, not as looks"


@pytest.mark.parametrize(
    ("span", "seen"),
    [
        (SPAN, 1),
        (Span("icm", ("EURUSD",), 1999, 5000), 1),
        (Span("icm", ("EURUSD",), 0, 1001), 1),
        (Span("icm", ("USDJPY", "GBPUSD"), 1400, 1500), 1),
        (Span("icm", ("EURUSD",), 0, 9000), 1),
        (Span("icm", ("EURUSD",), 2000, 3000), 0),
        (Span("icm", ("EURUSD",), 0, 1000), 0),
        (Span("icm", ("GBPUSD", "EURJPY"), 1000, 2000), 0),
        (Span("pepper", ("EURUSD", "USDJPY"), 1000, 2000), 0),
    ],
)
def test_looks_overlap_when_they_share_feed_symbol_and_a_moment(ledger, span, seen):
    look(ledger, "a")
    assert look(ledger, "b", span=span, pipeline="another name changes nothing") == seen


def test_a_newer_ledger_is_refused_in_one_line_and_left_as_it_is(tmp_path, ledger):
    look(ledger, "a")
    path = tmp_path / "deep" / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("update meta set schema = 2")
    database.close()
    for attempt in (lambda: note(ledger, 0), lambda: look(ledger, "b"), lambda: ledger.trials("majors", "linear")):
        with pytest.raises(Final, match=r"schema 2 is newer than this Tradewind knows \(1\)") as error:
            attempt()
        assert "\n" not in str(error.value)
    with sqlite3.connect(path) as database:
        assert database.execute("select (select count(*) from trials), (select count(*) from looks)").fetchone() == (0, 1)
    database.close()


def test_processes_that_write_at_once_lose_nothing_and_the_later_look_sees_the_earlier(tmp_path):
    code = """if True:
        import sys
        from pathlib import Path
        from tasks.ledger import Ledger, Span
        path, name = Path(sys.argv[1]), sys.argv[2]
        print("ready", flush=True)
        sys.stdin.readline()
        ledger, span = Ledger(path), Span("icm", ("EURUSD",), 0, 10)
        for number in range(20):
            about = {"pipeline": "p", "family": "f", "params": {}, "skill": 0.0, "state": "complete", "span": span}
            ledger.add_trial(study=name, number=number, **about)
        print(ledger.look(run=name, families=["f"], pipeline="p", span=span))
    """
    path = tmp_path / "ledger.sqlite"
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    workers = [subprocess.Popen([*command, f"run {i}"], **pipes) for i in range(4)]
    assert [w.stdout.readline().strip() for w in workers] == ["ready"] * 4
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sorted(said) == ["0", "1", "2", "3"]
    assert Ledger(path).trials("p", "f") == 80
    with sqlite3.connect(path) as database:
        assert database.execute("select schema from meta").fetchall() == [(1,)]
    database.close()
