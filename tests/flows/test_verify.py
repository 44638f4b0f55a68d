"""`tradewind verify`: what the product claims, measured."""

import json
import subprocess
import sys

import pytest

from feature_store import _clock_cases
from feature_store._clock_cases import Outcome
from feature_store._errors import Final
from flows.commands import verify


def test_verify_clock_counts_every_case_and_ends_well(capsys):
    assert verify.clock(cases=25, seed=2, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["correct"] + document["refused"] == document["cases"] == 25
    assert (document["schema"], document["seed"], document["wrong"], document["wrong_cases"]) == (1, 2, 0, [])


def test_verify_clock_fails_and_names_the_case_when_a_clock_is_told_wrong(monkeypatch, capsys):
    told = [Outcome("0: utc", "utc", 0.999, "correct"), Outcome("1: eet, EURUSD", "ny+7", 0.997, "wrong")]
    monkeypatch.setattr(verify, "outcomes", lambda count, seed: iter(told[:count]))
    assert verify.clock(cases=2, seed=1, as_json=False) == 1
    out = capsys.readouterr().out
    assert "wrong: case 1: eet, EURUSD: said ny+7, confidence 0.997" in out
    assert "50.00%" in out


def test_a_wrong_verdict_is_counted_as_wrong(monkeypatch):
    case = _clock_cases.draw(1, 0)
    verdict = _clock_cases.infer_clock(case.wall_s, case.close, case.timeframe, case.symbol)
    lie = type(verdict)("utc-11", 0.999, (), (), "")
    monkeypatch.setattr(_clock_cases, "infer_clock", lambda *_, **__: lie)
    assert _clock_cases.judge(case).result == "wrong"


def test_no_cases_are_refused():
    with pytest.raises(Final, match="--cases 0"):
        verify.clock(cases=0, seed=1, as_json=True)


def test_the_command_is_there():
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "verify", "clock", "--cases", "3", "--json"],
        capture_output=True, text=True, encoding="utf-8", check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout)["cases"] == 3
