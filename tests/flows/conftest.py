"""Commands called in this process, and an environment that is put back after each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows import cli
from tests.flows.parts import Done

Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the user reaches a test, and none of a test the next: commands set variables of libraries."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("TRADEWIND_", "PREFECT_", "MLFLOW_")):
            del os.environ[name]
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.getbasetemp() / "prefect")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def tradewind(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Command]:
    """Calls a command in this process; what anything wrote to stdout and stderr comes back."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["tradewind", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield call
    sys.modules.pop("MetaTrader5", None)  # the simulated one, which a command leaves to its process
