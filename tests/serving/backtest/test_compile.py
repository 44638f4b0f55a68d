"""The machine code is made of the very functions live runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from serving import decision, risk, sizing
from serving.backtest import _compile
from serving.backtest._loop import simulate


def test_the_loop_reaches_signal_free_step_guard_sizing_and_every_risk_rule():
    called = _compile.all_called(simulate)
    for function in (decision.step, decision.guard, sizing.size_line, sizing.round_down):
        assert function in called
    for rule in risk.RULES:
        assert (rule.cap or rule.breach) in called, rule.name


def test_a_changed_rule_changes_the_name_the_machine_code_is_cached_under(monkeypatch):
    before = _compile.source_hash(simulate)
    assert before == _compile.source_hash(simulate)
    monkeypatch.setattr(_compile.Path, "read_bytes", lambda self: b"another source")
    assert _compile.source_hash(simulate) != before


def test_live_decisions_load_neither_numba_nor_the_backtest():
    code = "import sys, serving.decision, serving.settings; print({'numba', 'serving.backtest', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_a_second_process_loads_the_machine_code_instead_of_making_it(backtest_of, random_markets):
    markets, said = random_markets(1)
    from serving.backtest import run

    run(backtest_of(markets, said, atr={"EURUSD": 0.001, "USDJPY": 0.1}), compiled=True)
    made = _compile.compiled_simulate()
    if not hasattr(made, "stats") or made.stats.cache_path is None:
        pytest.skip("numba found no folder it may write its cache to")
    code = (
        "from serving.backtest._compile import compiled_simulate as c; f = c(); s = list(f._cache._cache_file._load_index()); "
        "print(len(s))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 1
