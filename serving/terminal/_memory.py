"""The broker's memory on disk, made so that it costs the same after a thousand trades as after one.

`write_books` puts a whole state into one file. `Autosave` keeps three: the books (what changes) replaced as a
whole after each change, the history (what only grows) appended before them, and eight bytes with the moment
the broker has reached, which moves far more often than anything else and survives the death of the process.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

from serving._errors import Final

_KINDS = ("orders", "deals")


def write_books(path: Path, state: dict[str, Any]) -> None:
    """Write the state to `path`, whole or not at all."""
    partial = _beside(path, "partial")
    partial.write_text(json.dumps(state, separators=(",", ":")), encoding="utf-8")
    os.replace(partial, path)  # noqa: PTH105 - as everywhere: os.replace also overwrites on Windows


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def read_books(path: Path) -> dict[str, Any]:
    """The state written last, its history put back. Raises `Final` when the history is shorter than the books say."""
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if state.get("history_beside"):
        records = _read_history(_beside(path, "history"))
        for account in state["accounts"]:
            for kind in _KINDS:
                found, wanted = records.get((account["login"], kind), []), account[kind]
                if len(found) < wanted:
                    raise Final(f"{path}: its history holds {len(found)} of {wanted} {kind} of account {account['login']}")
                account[kind] = found[:wanted]  # what was appended after the books were written is not in them
    return state


def _read_history(path: Path) -> dict[tuple[int, str], list[Any]]:
    records: dict[tuple[int, str], list[Any]] = {}
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    for line in lines[:-1]:  # a line without its end was being written when the process died
        login, kind, record = json.loads(line)
        records.setdefault((login, kind), []).append(record)
    return records


def last_moment_ms(path: Path) -> int:
    """The moment kept beside the books, UTC milliseconds; 0 when none was kept."""
    file = _beside(path, "clock")
    return int.from_bytes(file.read_bytes()[:8], "little") if file.is_file() else 0


class Autosave:
    """Writes the broker's memory as it changes, from `state` (with its whole history) on."""

    def __init__(self, path: Path, state: dict[str, Any], now_ms: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._history = path, _beside(path, "history")
        # Whole first: while the history file starts anew, the books must not lean on it.
        write_books(path, state)
        self._history.write_bytes(b"")
        self._written: dict[tuple[int, str], int] = {}
        clock = _beside(path, "clock")
        clock.write_bytes(now_ms.to_bytes(8, "little"))
        with clock.open("r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), 8)
        self._moment = memoryview(self._map).cast("Q")

    def keep_moment(self, now_ms: int) -> None:
        """Remember the moment; a fraction of a microsecond."""
        self._moment[0] = now_ms

    def write(self, state: dict[str, Any]) -> None:
        """Write a state whose accounts hold their whole history as lists."""
        lines = [
            line for account in state["accounts"] for kind in _KINDS for line in self._new(account["login"], kind, account[kind])
        ]
        if lines:
            with self._history.open("a", encoding="utf-8", newline="\n") as history:
                history.writelines(lines)
        accounts = [account | {kind: len(account[kind]) for kind in _KINDS} for account in state["accounts"]]
        write_books(self._path, state | {"accounts": accounts, "history_beside": True})

    def _new(self, login: int, kind: str, records: list[Any]) -> list[str]:
        done = self._written.get((login, kind), 0)
        self._written[login, kind] = len(records)
        return [json.dumps([login, kind, tuple(record)], separators=(",", ":")) + "\n" for record in records[done:]]

    def close(self) -> None:
        """Let go of the mapped file, so that it can be deleted."""
        self._moment.release()
        self._map.close()
