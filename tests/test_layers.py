"""The live process works where nothing that schedules, tracks or trains can be imported at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.parts import ROOT, environment, trading_home

BLOCKED = (
    "prefect",
    "mlflow",
    "torch",
    "pytorch_lightning",
    "optuna",
    "xgboost",
    "lightgbm",
    "catboost",
    "sklearn",
    "numba",
    "arch",
)
COMPILER = "serving.backtest._compile"
"""Makes machine code of the backtest; live steps through the same source without it."""

BLOCK = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # an import of it now fails
"""

CALL = """
from flows import cli

def tradewind(*arguments):
    sys.argv = ["tradewind", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def without_them(code: str, *arguments: object) -> str:
    """stdout of a process in which those packages cannot be imported."""
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_of(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if name != COMPILER]


def test_every_module_of_serving_imports_without_them():
    names = modules_of("serving")
    assert "serving.trader" in names and "serving.risk.daily_loss" in names and len(names) > 40
    code = f"import importlib\nfor name in {names!r}:\n    importlib.import_module(name)\nprint(*sys.modules)"
    assert set(names) <= set(without_them(code).split())


def test_an_account_is_traded_watched_and_halted_without_them(tmp_path: Path):
    home = trading_home(tmp_path / "home")
    code = CALL + (
        "home = ['--account', 'demo', '--home', sys.argv[1], '--json']\n"
        "tradewind('trade', '--bars', '2', *home)\n"
        "for command in ('status', 'why', 'halt', 'reduce', 'resume', 'flatten'):\n"
        "    tradewind(command, *home)\n"
    )
    documents = [json.loads(line) for line in without_them(code, home).splitlines()]
    events = [d["event"] for d in documents if "event" in d]
    assert events.count("decision") == 2 and events[-1] == "stopped"
    status, why, *controls = documents[len(events) :]
    assert status["accounts"][0]["state"]["state"] == "active"
    assert len(why["decisions"]) == 2
    assert [c["command"] for c in controls] == ["halt", "reduce", "resume", "flatten"]


@pytest.mark.parametrize("name", ["prefect", "numba"])
def test_the_block_is_a_block(name):
    code = f"import importlib\ntry:\n    importlib.import_module({name!r})\nexcept ImportError:\n    print('refused')"
    assert without_them(code) == "refused\n"
