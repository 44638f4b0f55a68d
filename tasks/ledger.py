"""The ledger: every trial ever run and every look at a holdout span, across retrains.

A verdict is only worth what was tried before it. Nothing is ever removed from here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks._errors import Final

SCHEMA = 1
_TABLES = (
    "create table if not exists meta (schema integer not null)",
    """create table if not exists trials (
  study text not null, number integer not null, pipeline text not null, family text not null,
  params text not null, skill real, state text not null, start_s integer not null, end_s integer not null,
  primary key (study, number))""",
    """create table if not exists looks (
  run text not null, family text not null, pipeline text not null, feed text not null, symbols text not null,
  start_s integer not null, end_s integer not null, primary key (run, family))""",
)


@dataclass(frozen=True)
class Span:
    """A stretch of one feed's market, UTC epoch seconds, [start_s, end_s)."""

    feed: str
    symbols: tuple[str, ...]
    start_s: int
    end_s: int


class Ledger:
    """One SQLite file in the home. Writing the same entry twice changes nothing, so a resumed run counts once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction that others wait for, also while the file is being made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=60.0, isolation_level=None)
        try:
            connection.execute("begin immediate")
            with connection:
                for table in _TABLES:
                    connection.execute(table)
                found = connection.execute("select schema from meta").fetchone()
                if found is None:
                    connection.execute("insert into meta values (?)", (SCHEMA,))
                elif found[0] > SCHEMA:
                    raise Final(
                        f"{self._path}: schema {found[0]} is newer than this Tradewind knows ({SCHEMA}); update Tradewind"
                    )
                yield connection
        finally:
            connection.close()

    def add_trial(
        self,
        *,
        study: str,
        number: int,
        pipeline: str,
        family: str,
        params: dict[str, Any],
        skill: float | None,
        state: str,
        span: Span,
    ) -> None:
        """Note one finished trial."""
        row = (study, number, pipeline, family, json.dumps(params, sort_keys=True), skill, state, span.start_s, span.end_s)
        with self._open() as connection:
            connection.execute("insert or ignore into trials values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def trials(self, pipeline: str, family: str) -> int:
        """Trials ever run for that family in that pipeline."""
        with self._open() as connection:
            query = "select count(*) from trials where pipeline = ? and family = ?"
            return int(connection.execute(query, (pipeline, family)).fetchone()[0])

    def look(self, *, run: str, families: Sequence[str], pipeline: str, span: Span) -> int:
        """Note that `families` of `run` are judged on `span`; returns how many OTHER looks overlap it: those of
        other runs, and those of this run by families that are not judged now.

        Looks overlap when they share a symbol of the same feed and a moment. One transaction: of two runs
        that judge at once, the later one sees the earlier.
        """
        with self._open() as connection:
            there = connection.execute(
                "select run, family, symbols from looks where feed = ? and start_s < ? and end_s > ?",
                (span.feed, span.end_s, span.start_s),
            ).fetchall()
            earlier = [json.loads(symbols) for by, family, symbols in there if by != run or family not in families]
            overlapping = sum(1 for symbols in earlier if set(symbols) & set(span.symbols))
            connection.executemany(
                "insert or ignore into looks values (?, ?, ?, ?, ?, ?, ?)",
                [(run, f, pipeline, span.feed, json.dumps(sorted(span.symbols)), span.start_s, span.end_s) for f in families],
            )
            return overlapping
