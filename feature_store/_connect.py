"""Short DuckDB connections that respect each other: one writer, many readers, a stated wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from feature_store._errors import Final, Retryable
from feature_store._schema import STORE_SCHEMA, check_schema, create_tables, migrate, stored_schema

_RETRY_EVERY_S = 0.05
# How DuckDB says that another process (POSIX, Windows) or another thread of this one has the file.
_BUSY = ("could not set lock", "being used by another process", "different configuration", "already attached")
# A data store never fetches code: extensions would need a network and trust.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


# A long source must leave memory for those who read it; DuckDB takes four fifths of the machine's unless told.
_SPARING = "512MB"


def spare_memory(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the connection keep little in memory and the rest in a file beside the store."""
    connection.execute(f"SET memory_limit = '{_SPARING}'")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _connect(path: str, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(path, read_only=read_only, config=_CONFIG)
    # It draws on stdout, which is for results, as soon as a statement takes two seconds.
    connection.execute("SET enable_progress_bar = false")
    return connection


def _open(path: Path, *, read_only: bool, wait_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    pause = threading.Event()
    while True:
        try:
            return _connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if not any(mark in str(error).lower() for mark in _BUSY):
                raise Final(f"store {path} cannot be opened: {_first_line(error)}") from error
            if time.monotonic() >= deadline:
                raise Retryable(
                    f"store {path.name} was in use by another process or thread for {wait_s:g} s; try again when it is done"
                ) from error
            pause.wait(_RETRY_EVERY_S)


@contextmanager
def _closing(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        yield connection
    except duckdb.Error as error:
        raise Final(f"store {path}: {_first_line(error)}") from error
    finally:
        connection.close()


@contextmanager
def reading(path: Path, *, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection; an absent store reads as an empty one and is not created.

    Raises `Retryable` when a writer holds the store longer than `wait_s`.
    """
    # Twice: an older store is brought up to date in between.
    for _ in range(2 if path.is_file() else 0):
        with _closing(_open(path, read_only=True, wait_s=wait_s), path) as connection:
            schema = stored_schema(connection)
            if schema is not None:
                check_schema(schema, path.name)
            if schema == STORE_SCHEMA:
                yield connection
                return
        if schema is not None:
            with writing(path, wait_s=wait_s):
                pass
    # The file is not there, or its maker was killed before the tables were: nothing is stored yet.
    with _closing(_connect(":memory:"), path) as empty:
        create_tables(empty)
        yield empty


@contextmanager
def writing(path: Path, *, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection inside one transaction: committed when the block ends, rolled back when it raises.

    Writers queue on an OS file lock beside the store. Raises `Retryable` after `wait_s`. A store of an older
    schema is brought up to date first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"), timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise Retryable(
            f"store {path.name} was being written by another process or thread for {wait_s:g} s; try again when it is done"
        ) from error
    try:
        if not path.exists():
            _make(path)
        # Readers hold DuckDB's own lock for moments only: wait for them too.
        with _closing(_open(path, read_only=False, wait_s=wait_s), path) as connection:
            _bring_up_to_date(connection, path.name)
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
    finally:
        lock.release()


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    schema = stored_schema(connection)
    if schema is None:
        create_tables(connection)
        return
    check_schema(schema, name)
    if schema < STORE_SCHEMA:
        migrate(connection, schema)


def _make(path: Path) -> None:
    """An empty store at `path`, whole or not at all: DuckDB never opens again a file whose making a full disk ended."""
    new = path.with_name(path.name + ".new")
    for left_over in (new, new.with_name(new.name + ".wal")):
        left_over.unlink(missing_ok=True)
    with _closing(_open(new, read_only=False, wait_s=0.0), path) as connection:
        create_tables(connection)
        connection.execute("CHECKPOINT")
    new.replace(path)
