"""Control of a running trader: commands as files, so that they work with everything else down.

    <home>/HALT                                   halts every account, for as long as it is there and after
    <home>/accounts/<account>/HALT                halts one account
    <home>/accounts/<account>/commands/*.json     halt, reduce, resume, flatten, in order of their names

The state is latched in the journal: removing a HALT file does not resume. Only `resume`, by a named person
with a reason, does, and it is refused while a HALT file is there.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from feature_store.clock import Clock
from serving._errors import Final
from serving.journal import Journal

SCHEMA = 1
STATES = ("active", "reducing", "halted")
COMMANDS = {"halt": "halted", "reduce": "reducing", "resume": "active", "flatten": "halted"}
_SEVERITY = {state: level for level, state in enumerate(STATES)}


@dataclass(frozen=True)
class Command:
    """What a person asked for, and who."""

    name: str  # a key of COMMANDS
    by: str
    reason: str
    at_ms: int
    schema: int = SCHEMA


def account_folder(home: Path, account: str) -> Path:
    """Folder of everything the trader of `account` keeps."""
    if not account or not all(c.isalnum() or c in "-_." for c in account) or account.startswith("."):
        raise Final(f"account name {account!r}: use letters, digits, '-', '_' and '.', not starting with a dot")
    return home / "accounts" / account


def journal_path(home: Path, account: str) -> Path:
    return account_folder(home, account) / "journal.sqlite"


def halt_files(home: Path, account: str) -> tuple[Path, Path]:
    """The files whose presence halts `account`: the home's and its own."""
    return home / "HALT", account_folder(home, account) / "HALT"


def halted_by_file(home: Path, account: str) -> Path | None:
    """The HALT file that is there, or None. A folder that cannot be asked counts as halted."""
    return _first_there(halt_files(home, account))


def _first_there(paths: tuple[Path, ...]) -> Path | None:
    for path in paths:
        try:
            path.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return path  # fail closed: a broken disk is no permission to trade
        return path
    return None


def send(home: Path, account: str, name: str, *, by: str, reason: str, clock: Clock) -> Path:
    """File of the command, on disk before this returns. The trader takes it at its next check, or at its start.

    `halt` and `flatten` also put the account's HALT file there; `resume` removes it, never the home's.
    """
    if name not in COMMANDS:
        raise Final(f"command {name!r} is not known; use one of {', '.join(COMMANDS)}")
    if not by.strip() or not reason.strip():
        raise Final(f"{name}: say who asks and why; both go into the journal")
    shared, own = halt_files(home, account)
    if name == "resume":
        if shared.exists():
            raise Final(f"{account}: {shared.name} in the home halts every account; remove that file first, then resume")
        own.unlink(missing_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    if name in ("halt", "flatten"):
        # Whole or not at all: a trader that looks meanwhile would halt without knowing why.
        partial = own.with_name(f".{own.name}.{secrets.token_hex(3)}")
        partial.write_text(f"{name} by {by}: {reason}\n", encoding="utf-8")
        partial.replace(own)
    command = Command(name, by.strip(), reason.strip(), round(clock.now_utc().timestamp() * 1000))
    folder = own.parent / "commands"
    folder.mkdir(exist_ok=True)
    # Names sort by time; the random tail keeps two commands of one millisecond apart.
    path = folder / f"{command.at_ms:015d}-{secrets.token_hex(3)}.json"
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(command), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path


def pending(folder: Path) -> Iterator[tuple[Path, Command | None]]:
    """Commands in the folder, oldest first; None for a file that says nothing readable."""
    for path in sorted(folder.glob("*.json")):
        yield path, _parse(path)


def _parse(path: Path) -> Command | None:
    try:
        command = Command(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None
    known = command.schema == SCHEMA and command.name in COMMANDS and bool(command.by) and bool(command.reason)
    return command if known else None


def _words(file: Path) -> str:
    """What a HALT file is called in the journal: where it lies, and its first line when somebody wrote one."""
    try:
        said = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        said = []
    where = f"{file.name} in {file.parent.name}"
    return f"{where}: {said[0]}" if said else where


@dataclass(frozen=True)
class Taken:
    """What control asks of the trader at this check. flatten: close all that is ours, until a person resumes."""

    state: str
    flatten: bool
    changed: bool


class Control:
    """The latched state of one account, fed by files and rules; every change is journaled."""

    def __init__(self, home: Path, account: str, journal: Journal) -> None:
        self._journal, self._halts = journal, halt_files(home, account)
        self._commands = account_folder(home, account) / "commands"
        latched = journal.state()
        self.state = latched.state
        # A flatten outlives a restart: the trader may have died between the command and the last close.
        self._flatten = latched.reason.startswith("flatten: ")

    def check(self) -> Taken:
        """Takes waiting commands and looks for HALT files; cheap enough for every second."""
        before = self.state
        for path, command in pending(self._commands):
            if command is None:
                # Nobody knows what was asked for: the safe reading is halt.
                self.latch("halted", by="control", reason=f"unreadable command {path.name}")
            else:
                self._take(command)
            path.unlink()
        file = _first_there(self._halts)
        if file is not None and self.state != "halted":
            self.latch("halted", by="HALT file", reason=_words(file))
        return Taken(self.state, self._flatten, self.state != before)

    def latch(self, state: str, *, by: str, reason: str) -> bool:
        """True when a rule made the state stricter. A rule never loosens it: that takes a person."""
        if _SEVERITY[state] <= _SEVERITY[self.state]:
            return False
        self._set(state, by, reason)
        return True

    def _take(self, command: Command) -> None:
        state = COMMANDS[command.name]
        self._journal.event("command", name=command.name, by=command.by, reason=command.reason, asked_ms=command.at_ms)
        if command.name == "resume" and _first_there(self._halts) is not None:
            self._journal.event("resume refused", by=command.by, why="a HALT file is there")
        elif command.name == "reduce" and self.state == "halted":
            self._journal.event("reduce refused", by=command.by, why="halted is stricter; resume first")
        elif state != self.state or (command.name == "flatten" and not self._flatten):
            self._set(state, command.by, f"{command.name}: {command.reason}")
            self._flatten = command.name == "flatten"

    def _set(self, state: str, by: str, reason: str) -> None:
        with self._journal.transaction():
            self._journal.set_state(state, by=by, reason=reason)
            self._journal.event("state", state=state, before=self.state, by=by, reason=reason)
        self.state = state
