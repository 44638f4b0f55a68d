"""The journal: everything one account's trader saw, decided, sent and was told, in one SQLite file.

Write-ahead log with full synchronisation: what was journaled survives a power cut. One writer under a lock
of the operating system; any number of readers at any time, also while the trader runs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from feature_store.clock import Clock
from serving import magic
from serving._errors import Final, Retryable
from serving._journal_rows import DealRow, Decision, Exit, Intent, RiskDay, State
from serving._journal_tables import SCHEMA, TABLES

__all__ = ["DealRow", "Decision", "Exit", "Intent", "Journal", "JournalReader", "RiskDay", "State", "read"]

Row = TypeVar("Row")


class JournalReader:
    """Questions to a journal. Opened by `read`, or the writer itself."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.row_factory = sqlite3.Row

    def close(self) -> None:
        self._database.close()

    def rows(self, question: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of a read-only SQL question, as dictionaries."""
        return [dict(row) for row in self._database.execute(question, tuple(values))]

    def _all(self, kind: type[Row], question: str, values: Sequence[object] = ()) -> list[Row]:
        return [kind(**row) for row in self.rows(question, values)]

    @property
    def account(self) -> str:
        return str(self.rows("SELECT value FROM meta WHERE name = 'account'")[0]["value"])

    def state(self) -> State:
        found = self._all(State, "SELECT state, by, reason, at_ms FROM states ORDER BY id DESC LIMIT 1")
        return found[0] if found else State("active", "start", "a new journal", 0)

    def risk(self) -> RiskDay | None:
        found = self._all(RiskDay, "SELECT day, day_start_equity, peak_equity FROM risk")
        return found[0] if found else None

    def intent(self, sequence: int) -> Intent | None:
        found = self._all(Intent, "SELECT * FROM intents WHERE sequence = ?", [sequence])
        return found[0] if found else None

    def unresolved(self) -> list[Intent]:
        """Intents of which nobody knows yet whether the broker did them, oldest first."""
        return self._all(Intent, "SELECT * FROM intents WHERE state = 'unknown' ORDER BY sequence")

    def open_exits(self) -> dict[int, Exit]:
        """Exits of positions not known to be closed, by position ticket."""
        return {e.position: e for e in self._all(Exit, "SELECT * FROM exits WHERE closed_ms IS NULL")}

    def lines(self) -> dict[str, int]:
        return {row["name"]: row["id"] for row in self.rows("SELECT name, id FROM lines ORDER BY id")}

    def lines_decided(self) -> list[str]:
        return [str(row["line"]) for row in self.rows("SELECT DISTINCT line FROM decisions ORDER BY line")]

    def decisions(self, *, last: int | None = None, at_s: int | None = None, line: str | None = None) -> list[Decision]:
        """Decisions, newest first: the `last` ones, or those whose bar opened at or just before `at_s`."""
        where, values = ["1"], list[object]()
        if line is not None:
            where.append("line = ?")
            values.append(line)
        if at_s is not None:
            where.append("bar_s = (SELECT max(bar_s) FROM decisions d WHERE d.line = decisions.line AND d.bar_s <= ?)")
            values.append(at_s)
        question = f"SELECT * FROM decisions WHERE {' AND '.join(where)} ORDER BY bar_s DESC, line LIMIT ?"
        return self._all(Decision, question, [*values, -1 if last is None else last])

    def deals(self, since_ms: int = 0) -> list[DealRow]:
        return self._all(DealRow, "SELECT * FROM deals WHERE at_ms >= ? ORDER BY at_ms, ticket", [since_ms])

    def last_deal_ms(self) -> int | None:
        value = self.rows("SELECT max(at_ms) AS at_ms FROM deals")[0]["at_ms"]
        return None if value is None else int(value)

    def events(self, *, kind: str | None = None, last: int | None = None) -> list[dict[str, Any]]:
        """Events, oldest first; of `kind` only, the `last` ones only."""
        where, values = ("kind = ?", [kind]) if kind else ("1", [])
        found = self.rows(f"SELECT * FROM events WHERE {where} ORDER BY id DESC LIMIT ?", [*values, -1 if last is None else last])
        return [row | {"detail": json.loads(row["detail"])} for row in reversed(found)]


class Journal(JournalReader):
    """The one writer of an account's journal. Raises `Retryable` when another trader holds it."""

    def __init__(self, path: Path, *, account: str, clock: Clock) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise Retryable(f"account {account!r}: another trader runs on it; stop that one first") from None
        try:
            super().__init__(sqlite3.connect(path, isolation_level=None))
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            _prepare(self._database, account)
        except BaseException:
            self.close()
            raise
        self._clock = clock
        self._depth = 0
        self._forget()

    def close(self) -> None:
        if hasattr(self, "_database"):
            super().close()
        self._lock.release()

    def _forget(self) -> None:
        # The only writer may remember what it read, until it writes.
        self._unresolved: list[Intent] | None = None
        self._open_exits: dict[int, Exit] | None = None

    def unresolved(self) -> list[Intent]:
        if self._unresolved is None:
            self._unresolved = super().unresolved()
        return self._unresolved

    def open_exits(self) -> dict[int, Exit]:
        if self._open_exits is None:
            self._open_exits = super().open_exits()
        return dict(self._open_exits)

    def now_ms(self) -> int:
        return round(self._clock.now_utc().timestamp() * 1000)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together, or none does."""
        if self._depth == 0:
            self._database.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._database.execute("ROLLBACK")
                self._forget()
            raise
        self._depth -= 1
        if self._depth == 0:
            self._database.execute("COMMIT")

    def event(self, kind: str, line: str | None = None, /, **detail: object) -> None:
        text = json.dumps(detail, default=str)
        self._database.execute(
            "INSERT INTO events(at_ms, kind, line, detail) VALUES (?, ?, ?, ?)", (self.now_ms(), kind, line, text)
        )

    def line_id(self, name: str) -> int:
        """Number of the line `name` in magic numbers; a new line gets the next one, for good."""
        known = self.lines()
        if name not in known:
            known[name] = max(known.values(), default=0) + 1
            magic.encode(known[name], 1)
            self._database.execute("INSERT INTO lines(id, name) VALUES (?, ?)", (known[name], name))
        return known[name]

    def add_intent(
        self,
        *,
        line: str,
        kind: str,
        symbol: str,
        side: int,
        lots: float,
        bar_s: int,
        reason: str,
        stop: float = 0.0,
        target: float = 0.0,
        position: int = 0,
        horizon_bars: int = 0,
        timeframe: str = "",
        bundle: str = "",
    ) -> Intent:
        """The intent, durable before anyone sends it, under a sequence never used before."""
        with self.transaction():
            line_id, sequence = self.line_id(line), self._next_sequence()
            intent = Intent(
                sequence, line, line_id, kind, symbol, side, lots, stop, target, position, bar_s, horizon_bars,
                timeframe, bundle, reason, self.now_ms(), "unknown", 0, 0, 0.0, 0.0, "",
            )  # fmt: skip
            self._insert("intents", intent)
            self._forget()
        return intent

    def _next_sequence(self) -> int:
        row = self.rows("SELECT max(coalesce((SELECT max(sequence) FROM intents), 0), (SELECT value + 0 FROM meta "
                        "WHERE name = 'sequence_floor')) AS top")[0]  # fmt: skip
        return int(row["top"]) + 1

    def raise_sequence(self, used: int) -> None:
        """No later intent gets a sequence up to `used`: one seen at the broker that this journal does not know."""
        self._database.execute("UPDATE meta SET value = max(value + 0, ?) WHERE name = 'sequence_floor'", (used,))

    def request(self, sequence: int, request: Mapping[str, object], *, attempt: bool = True) -> int:
        """Row number of a raw request about to be sent. With `attempt` the intent counts one more."""
        with self.transaction():
            now = self.now_ms()
            if attempt:
                self._forget()
                self._database.execute(
                    "UPDATE intents SET attempts = attempts + 1, sent_ms = ? WHERE sequence = ?",
                    (now, sequence),
                )
            cursor = self._database.execute(
                "INSERT INTO requests(sequence, at_ms, request) VALUES (?, ?, ?)",
                (sequence, now, json.dumps(request, default=str)),
            )
        return int(cursor.lastrowid or 0)

    def reply(self, request_id: int, reply: Mapping[str, object], answered_us: int) -> None:
        self._database.execute(
            "UPDATE requests SET reply = ?, answered_us = ? WHERE id = ?",
            (json.dumps(reply, default=str), answered_us, request_id),
        )

    def resolve(
        self,
        sequence: int,
        state: str,
        *,
        position: int | None = None,
        filled_lots: float = 0.0,
        price: float = 0.0,
        note: str = "",
    ) -> None:
        self._database.execute(
            "UPDATE intents SET state = ?, position = coalesce(?, position), filled_lots = ?, price = ?, note = ? "
            "WHERE sequence = ?",
            (state, position, filled_lots, price, note, sequence),
        )
        self._forget()

    def open_exit(self, exit_: Exit) -> None:
        self._insert("exits", exit_, "OR IGNORE")
        self._forget()

    def close_exit(self, position: int, at_ms: int) -> None:
        self._database.execute("UPDATE exits SET closed_ms = ? WHERE position = ? AND closed_ms IS NULL", (at_ms, position))
        self._forget()

    def deal(self, row: DealRow) -> bool:
        """True when the deal was not known before: each becomes a fill once."""
        return self._insert("deals", row, "OR IGNORE")

    def decision(self, row: Decision) -> bool:
        """True when this bar of this line had no decision before."""
        return self._insert("decisions", row, "OR IGNORE")

    def set_state(self, state: str, *, by: str, reason: str) -> None:
        self._database.execute(
            "INSERT INTO states(at_ms, state, by, reason) VALUES (?, ?, ?, ?)", (self.now_ms(), state, by, reason)
        )

    def set_risk(self, risk: RiskDay) -> None:
        self._database.execute("INSERT OR REPLACE INTO risk VALUES (1, ?, ?, ?)", astuple(risk))

    def _insert(self, table: str, row: Any, clash: str = "") -> bool:
        names = [f.name for f in fields(row)]
        marks = ", ".join("?" * len(names))
        cursor = self._database.execute(f"INSERT {clash} INTO {table}({', '.join(names)}) VALUES ({marks})", astuple(row))
        return cursor.rowcount == 1


def read(path: Path) -> JournalReader:
    """The journal at `path` for reading, at any time, also while its trader runs. Raises `Final` when absent."""
    if not path.exists():
        raise Final(f"{path.parent.name}: no journal yet; it is written by the first `tradewind trade` on this account")
    reader = JournalReader(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0))
    try:
        _check_schema(reader.rows("SELECT value FROM meta WHERE name = 'schema'"), path.parent.name)
    except BaseException:
        reader.close()
        raise
    return reader


def _prepare(database: sqlite3.Connection, account: str) -> None:
    tables = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
    if not tables:
        meta = [("schema", str(SCHEMA)), ("account", account), ("sequence_floor", "0")]
        values = ", ".join("('{}', '{}')".format(name, value.replace("'", "''")) for name, value in meta)
        database.executescript(f"BEGIN; {TABLES} INSERT INTO meta(name, value) VALUES {values}; COMMIT;")
    _check_schema(database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall(), account)
    kept = database.execute("SELECT value FROM meta WHERE name = 'account'").fetchone()["value"]
    if kept != account:
        raise Final(f"this journal belongs to account {kept!r}, not {account!r}; give each account its own folder")


def _check_schema(rows: Sequence[Any], account: str) -> None:
    schema = int(rows[0]["value"])
    if schema > SCHEMA:
        raise Final(f"{account}: the journal's schema {schema} is newer than {SCHEMA}; update tradewind")
