"""The same functions as machine code: each is compiled with the compiled versions of whatever of ours it calls.

numba's cache on disk looks only at the source of the function it was asked for. So the one cached function carries a
hash of the source of all it calls in its name: a changed risk rule can never run as its old machine code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, TypeGuard, cast

from serving.backtest._loop import simulate

OURS = "serving"
# error_model numpy: no test before each division; none of ours divides by what may be zero.
INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}


def is_ours(value: object) -> TypeGuard[FunctionType]:
    """Whether `value` is a plain function of this package."""
    return isinstance(value, FunctionType) and (value.__module__ or "").split(".")[0] == OURS


def called_by(function: FunctionType) -> dict[str, FunctionType]:
    """The functions of ours that `function` names: in its module, in a module it names, or in its closure."""
    code = function.__code__
    found: dict[str, FunctionType] = {}
    for name in code.co_names:
        value = function.__globals__.get(name)
        if is_ours(value):
            found[name] = value
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if is_ours(cell.cell_contents):
            found[name] = cell.cell_contents
    return found


def all_called(function: FunctionType, seen: dict[int, FunctionType] | None = None) -> list[FunctionType]:
    """`function` and everything of ours below it, each once."""
    seen = {} if seen is None else seen
    if id(function) not in seen:
        seen[id(function)] = function
        for below in called_by(function).values():
            all_called(below, seen)
    return list(seen.values())


def source_hash(function: FunctionType) -> str:
    """A name for the source of every file that `function` draws on and the order in which it calls."""
    functions = all_called(function)
    files = sorted({inspect.getfile(part) for part in functions})
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    digest.update(" ".join(part.__qualname__ for part in functions).encode())
    return digest.hexdigest()[:12]


def rebuilt(function: FunctionType, jit: Callable[..., Any], done: dict[int, Any]) -> FunctionType:
    """A copy of `function` that calls compiled versions of whatever of ours it calls."""
    compiled = {name: native(below, jit, done) for name, below in called_by(function).items()}
    cells = tuple(
        CellType(compiled.get(name, cell.cell_contents))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    )
    copy = FunctionType(
        function.__code__, {**function.__globals__, **compiled}, function.__name__, function.__defaults__, cells or None
    )
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def native(function: FunctionType, jit: Callable[..., Any], done: dict[int, Any]) -> Any:
    """The compiled version of `function`, made once."""
    if id(function) not in done:
        # No wrapper for calls from Python: it takes as long to compile as the function.
        done[id(function)] = jit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")(
            rebuilt(function, jit, done)
        )
    return done[id(function)]


def entry_point(function: FunctionType) -> Any:
    """`function` compiled for calls from Python, kept on disk where numba finds a folder it may write."""
    import numba  # here: live must not load it

    outer = rebuilt(function, numba.njit, {})
    outer.__qualname__ = f"{function.__qualname__}_{source_hash(function)}"
    try:
        return numba.njit(cache=True, error_model="numpy")(outer)
    except RuntimeError:  # no folder for the cache: a read-only installation without a home
        return numba.njit(error_model="numpy")(outer)


@lru_cache(maxsize=1)
def compiled_simulate() -> Callable[..., tuple[int, int, int]]:
    """`simulate` as machine code; the first call of its life takes seconds, later processes load it."""
    made: Callable[..., tuple[int, int, int]] = entry_point(cast(FunctionType, simulate))
    return made
