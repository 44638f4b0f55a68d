"""`tradewind verify`: what the product claims, measured."""

import json
import subprocess
import sys

import pytest

from feature_store import _clock_cases
from feature_store._clock_cases import Outcome
from feature_store._errors import Final
from flows.commands import verify
from tasks import gate_rate


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


@pytest.mark.parametrize(("fooled", "seen", "status"), [(3, 17, 0), (4, 20, 1), (0, 16, 1)])
def test_verify_gate_fails_when_the_gate_is_fooled_or_blind_too_often(monkeypatch, capsys, fooled, seen, status):
    asked = []

    def retrains(edge, seeds, *, features):
        asked.append(features)
        promoted = seen if edge else fooled
        return (gate_rate.Outcome(edge, s, "linear" if s <= promoted else None, 0.5, 0.0, 0.0) for s in seeds)

    monkeypatch.setattr(gate_rate, "outcomes", retrains)
    assert verify.gate(seeds=20, features="trend, rsi", as_json=True) == status
    document = json.loads(capsys.readouterr().out)
    assert (document["promoted_without_edge"], document["promoted_with_edge"]) == (fooled, seen)
    assert asked == [("trend", "rsi")] * 2 and len(document["retrains"]) == 40
    assert verify.gate(seeds=20, features="all", as_json=False) == status
    assert f"promoted in {seen} of 20 markets" in capsys.readouterr().out


def test_the_command_is_there():
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "verify", "clock", "--cases", "3", "--json"],
        capture_output=True, text=True, encoding="utf-8", check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert json.loads(done.stdout)["cases"] == 3
