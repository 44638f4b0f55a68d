"""The package's surface: struct types, constants and dtypes, against hand-copied facts and the shared file of them."""

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from serving.terminal import surface

FACTS = Path(__file__).parents[3].parent / "shared" / "mt5" / "api_surface.json"
COUNTS = {
    "AccountInfo": 28, "TerminalInfo": 22, "SymbolInfo": 96, "Tick": 8, "BookInfo": 4, "TradePosition": 19,
    "TradeOrder": 24, "TradeDeal": 18, "TradeRequest": 17, "OrderSendResult": 11, "OrderCheckResult": 9,
}  # fmt: skip


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def test_all_223_constants_have_the_names_values_and_order_of_the_wheel():
    assert len(surface.CONSTANTS) == 223
    assert digest(surface.CONSTANTS) == "be9170384e7a2928565da3fb4194660438a361ae7a6475b4f190ab695eed1b4a"
    assert "TRADE_RETCODE_HEDGE_PROHIBITED" not in surface.CONSTANTS


def test_all_11_structs_have_the_fields_and_order_of_the_wheel():
    fields = {name: names.split() for name, names in surface.STRUCT_FIELDS.items()}
    assert {name: len(names) for name, names in fields.items()} == COUNTS
    assert digest(fields) == "403fdf285bb5f1c62d45530ca881b6d704b9127d506b90c12c9f98cf3d288d02"


@pytest.mark.real_data
@pytest.mark.skipif(not FACTS.exists(), reason="../shared/mt5/api_surface.json is absent")
def test_the_surface_equals_the_shared_facts():
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert facts["constants"] == surface.CONSTANTS
    assert facts["structs"] == {name: list(kind.__match_args__) for name, kind in surface.STRUCTS.items()}
    assert [[name, surface.RATES_DTYPE[name].str] for name in surface.RATES_DTYPE.names] == facts["dtypes"]["rates"]
    assert [[name, surface.TICKS_DTYPE[name].str] for name in surface.TICKS_DTYPE.names] == facts["dtypes"]["ticks"]
    texts = {int(code): text.rstrip("*") for code, text in facts["retcode_comments"].items() if code.isdigit()}
    assert texts == surface.RETCODE_TEXTS


@pytest.mark.parametrize(("name", "kind"), surface.STRUCTS.items())
def test_a_struct_behaves_as_the_packages_own(name, kind):
    value = kind(range(COUNTS[name]))
    first = kind.__match_args__[0]
    assert isinstance(value, tuple) and value == tuple(range(COUNTS[name])) and hash(value) == hash(tuple(value))
    assert kind.n_fields == kind.n_sequence_fields == len(kind.__match_args__) == COUNTS[name]
    assert kind.n_unnamed_fields == 0
    assert repr(kind) == f"<class '{name}'>"
    assert not any(hasattr(value, absent) for absent in ("_fields", "_replace", "_make", "__dict__"))
    assert value._asdict() == dict(zip(kind.__match_args__, range(COUNTS[name]), strict=True))
    assert copy.copy(value) == value
    with pytest.raises(AttributeError):
        setattr(value, first, 5)
    with pytest.raises(TypeError):
        kind(range(COUNTS[name] - 1))
    with pytest.raises(TypeError):
        kind(**dict.fromkeys(kind.__match_args__, 0))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(value)


EXIT = """
import pathlib, sys
from tests.serving.terminal.simulated_fixture import REQ, f1
handle = f1(autosave=pathlib.Path(sys.argv[1]))
for _ in range(50):
    handle.module.order_send(REQ | {"volume": 0.01})
"""


def test_structs_alive_at_exit_do_not_make_the_interpreter_complain(tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", EXIT, str(tmp_path / "broker.json")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_bars_and_ticks_are_packed_into_60_bytes():
    for dtype in (surface.RATES_DTYPE, surface.TICKS_DTYPE):
        assert dtype.itemsize == 60
        assert [dtype.fields[name][1] for name in dtype.names] == [0, 8, 16, 24, 32, 40, 48, 52]
        assert dtype.isalignedstruct is False
