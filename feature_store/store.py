"""The store of bars and symbols: one DuckDB file, every ingest a batch that can be undone."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from feature_store import _batches, _reclock, spreads
from feature_store._batches import SERIES, Batch
from feature_store._connect import reading, spare_memory, writing
from feature_store._errors import Final
from feature_store._incoming import Content, Incoming, incoming
from feature_store.bars import SCHEMA, bar_close, bar_open, epoch_s, resample, seconds
from feature_store.clock import from_epoch
from feature_store.spreads import SpreadTable
from feature_store.symbols import SymbolSpec, assumed_spec, check_spec

__all__ = ["Batch", "Store"]

_SPEC_NAMES = [f.name for f in fields(SymbolSpec)]


class Store:
    """Bars and symbols under one path. Every call opens the file, does its work and closes it.

    lock_wait_s: how long a call waits for others before it raises `Retryable`.
    """

    def __init__(self, path: Path, *, lock_wait_s: float = 30.0) -> None:
        self.path = Path(path)
        self.lock_wait_s = lock_wait_s

    def ingest(
        self,
        feed: str,
        symbol: str,
        timeframe: str,
        bars: pl.DataFrame | Iterable[pl.DataFrame],
        *,
        origin: str,
        sha256: str,
        clock_rule: str,
        at: datetime,
        clock: Mapping[str, Any] | None = None,
        content: Content | None = None,
        notes: Sequence[str] = (),
    ) -> Batch:
        """The batch this ingest became, after one transaction that added new bars and overwrote changed ones.

        bars: one frame or several, columns of `SCHEMA`, true UTC, any order; a column `source_row` says where each
        row stood in its source, else they are counted from 1. at: now; bars that close later are rejected as forming.
        clock: how the rule was told. content: text of the rows asked for, kept with those that are rejected.
        The same content a second time adds 0 and changes 0. Of several frames one at a time is held in memory.
        """
        _check_names(feed, symbol)
        moment = _to_ms(at, "ingest moment")
        series = {"feed": feed, "symbol": symbol, "timeframe": timeframe}
        with (
            incoming(bars, timeframe, moment.timestamp(), content, self.path.parent) as rows,
            writing(self.path, wait_s=self.lock_wait_s) as connection,
        ):
            batch_id = _batches.next_id(connection)
            if rows.long:
                spare_memory(connection)
            counts = _batches.upsert(connection, series, rows.accepted(), batch_id, rows.span)
            if rows.rejects:
                _batches.record_rejects(connection, batch_id, rows.rejected())
            batch = Batch(
                id=batch_id,
                feed=feed,
                symbol=symbol,
                timeframe=timeframe,
                origin=origin,
                sha256=sha256,
                clock_rule=clock_rule,
                ingested_at=moment,
                **_counted(rows, counts),
                clock=dict(clock or {}),
                notes=tuple(notes),
            )
            _batches.record(connection, batch)
        return batch

    def reclock(
        self,
        feed: str,
        rule: str | Mapping[int, str],
        *,
        symbol: str | None = None,
        at: datetime,
        clocks: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> list[Batch]:
        """New batches that hold the bars of the feed's batches at the times of the right clock, all or none.

        rule: for every batch of the feed (and symbol), or by batch number for some of them. Each batch is converted
        back with the rule it was read by and forward with the new one; where that moves no bar nothing happens.
        A bar that comes to stand where another one is, off the grid or in the future, is rejected with its reason.
        clocks: by batch, how its rule was told. `undo` of a new batch brings the old times back. Raises `Final` for
        an unknown feed, symbol or batch.
        """
        moment = _to_ms(at, "reclock moment")
        with writing(self.path, wait_s=self.lock_wait_s) as connection:
            found = _reclock.batches_of(connection, feed, symbol, rule)
            rules = {batch.id: rule if isinstance(rule, str) else rule[batch.id] for batch in found}
            return _reclock.move_all(connection, found, rules, clocks or {}, moment)

    def batch_bars(self, batch_id: int) -> pl.DataFrame:
        """Bars that the batch put into the store and that stand there now, columns of `SCHEMA`, in time order."""
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            _batches.find(connection, batch_id)
            return _batches.bars_of(connection, batch_id)

    def batch(self, batch_id: int) -> Batch:
        """The batch of that number. Raises `Final` when there is none."""
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return _batches.find(connection, batch_id)

    def rejects(self, batch_id: int) -> pl.DataFrame:
        """Rows of its source that the batch did not store: source_row, reason, time (UTC), content, in their order."""
        query = "SELECT source_row, reason, time, content FROM rejects WHERE batch = $id ORDER BY source_row"
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            _batches.find(connection, batch_id)
            return _frame(connection.sql(query, params={"id": batch_id}))

    def undo(self, batch_id: int) -> Batch:
        """The batch, now undone: rows it added are gone, rows it overwrote or moved are back. Its rejects stay listed.

        Raises `Final` for an unknown batch, one undone before, or one whose rows a later batch changed: that one
        must be undone first. Batches of the same reclock that stand in the way are taken back too, and noted. Rows
        that a later batch only confirmed go too; ingest its source again to have them.
        """
        with writing(self.path, wait_s=self.lock_wait_s) as connection:
            return _batches.take_back(connection, batch_id)

    def bars(
        self, feed: str, symbol: str, timeframe: str, start: datetime | None = None, end: datetime | None = None
    ) -> pl.DataFrame:
        """Bars with open time in [start, end), columns of `SCHEMA`, in time order.

        The shortest stored timeframe comes as stored, longer ones are resampled from it, even where the source
        gave them too: one definition in history and live. A longer bar that was still forming at the last ingest
        is left out. Raises `Final` when nothing as short is stored.
        """
        first = None if start is None else _naive(start, "start")
        last = None if end is None else _naive(end, "end")
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            base = _base(connection, feed, symbol)
            series = {"feed": feed, "symbol": symbol, "timeframe": base}
            if timeframe == base:
                return _stored(connection, series, first, last)
            if seconds(timeframe) < seconds(base):
                raise Final(
                    f"{feed} {symbol}: {timeframe} cannot be made from {base}, the shortest stored; ask for {base} or longer"
                )
            shorter = _stored(connection, series, first, _bar_end(last, timeframe))
            asked_at_s = _last_ingest_s(connection, series)
        longer = resample(shorter, timeframe)
        longer = longer.filter(pl.Series(bar_close(epoch_s(longer["time"]), timeframe) <= asked_at_s, dtype=pl.Boolean))
        inside = [] if first is None else [pl.col("time") >= first]
        inside += [] if last is None else [pl.col("time") < last]
        return longer.filter(*inside) if inside else longer

    def base_timeframe(self, feed: str, symbol: str) -> str:
        """Shortest timeframe stored of the symbol. Raises `Final` when there is none."""
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return _base(connection, feed, symbol)

    def feeds_of(self, symbol: str) -> list[str]:
        """Feeds that hold bars of the symbol, in alphabetical order."""
        query = "SELECT DISTINCT feed FROM bars WHERE symbol = $symbol ORDER BY feed"
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return [feed for (feed,) in connection.execute(query, {"symbol": symbol}).fetchall()]

    def export(self, feed: str, symbol: str, timeframe: str, out: Path) -> int:
        """Rows written to the Parquet file `out`, which appears whole or not at all.

        Columns are those of `SCHEMA` (the spread is called spread_points). A stored timeframe goes out exactly as
        stored; any other is resampled as in `bars`.
        """
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            stored = _stored(connection, {"feed": feed, "symbol": symbol, "timeframe": timeframe}, None, None)
        frame = self.bars(feed, symbol, timeframe) if stored.is_empty() else stored
        out = Path(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
        try:
            frame.write_parquet(partial)
            partial.replace(out)
        except pl.exceptions.PolarsError as error:  # its own word for a full disk
            raise Final(f"{out} cannot be written: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return frame.height

    def inventory(self) -> pl.DataFrame:
        """One row per series: feed, symbol, timeframe, rows, first, last, spread_known (share of rows), batches."""
        query = """
            SELECT feed, symbol, timeframe, count(*) AS rows, min(time) AS first, max(time) AS last,
                   count(spread_points) / count(*) AS spread_known, count(DISTINCT batch) AS batches
            FROM bars GROUP BY feed, symbol, timeframe ORDER BY feed, symbol, timeframe
        """
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return _frame(connection.sql(query))

    def batches(self) -> pl.DataFrame:
        """One row per ingest, oldest first, undone ones included; columns of `Batch`; rejects, clock, notes as JSON text."""
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return _frame(connection.sql("SELECT * FROM batches ORDER BY id"))

    def put_symbol(self, spec: SymbolSpec) -> None:
        """Keep `spec` from its valid_from on; one with the same valid_from is replaced.

        Nothing is written when the specification already known for that moment says the same.
        """
        check_spec(spec)
        _check_names(spec.feed, spec.symbol)
        row = asdict(spec) | {"valid_from": _naive(spec.valid_from, "valid_from")}
        places = ", ".join(f"${name}" for name in _SPEC_NAMES)
        with writing(self.path, wait_s=self.lock_wait_s) as connection:
            before = [known for known in _specs(connection, spec.feed, spec.symbol) if known.valid_from <= spec.valid_from]
            if not before or replace(before[-1], valid_from=spec.valid_from) != spec:
                connection.execute(f"INSERT OR REPLACE INTO symbols ({', '.join(_SPEC_NAMES)}) VALUES ({places})", row)

    def symbol(self, feed: str, symbol: str, at: datetime) -> SymbolSpec:
        """Specification of the symbol as of `at`.

        Before the first known one, its values are returned but marked `assumed`; with none known, the usual
        specification, `assumed` too.
        """
        moment = _naive(at, "moment").replace(tzinfo=UTC)
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            return _spec(connection, feed, symbol, moment)

    def spread_table(self, feed: str, symbol: str) -> SpreadTable:
        """Spread by New York hour of the symbol's base bars, see `spreads.spread_table`."""
        with reading(self.path, wait_s=self.lock_wait_s) as connection:
            base = _base(connection, feed, symbol)
            bars = _stored(connection, {"feed": feed, "symbol": symbol, "timeframe": base}, None, None)
            spec = _spec(connection, feed, symbol, bars["time"][-1].replace(tzinfo=UTC))
        return spreads.spread_table(bars, base, spec)


def _to_ms(moment: datetime, what: str) -> datetime:
    """The moment in UTC and as exact as the tables keep it."""
    utc = _naive(moment, what).replace(tzinfo=UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _counted(rows: Incoming, counts: tuple[int, int, int]) -> dict[str, Any]:
    """What a batch says of the rows it came from. counts: new, changed and same ones."""
    return {
        "rows_read": rows.rows_read,
        **dict(zip(("rows_new", "rows_changed", "rows_same"), counts, strict=True)),
        "rows_rejected": sum(rows.rejects.values()),
        "rejects": rows.rejects,
        "spreads_cleared": rows.spreads_cleared,
        "first": None if rows.first is None else rows.first.replace(tzinfo=UTC),
        "last": None if rows.last is None else rows.last.replace(tzinfo=UTC),
    }


def _naive(moment: datetime, what: str) -> datetime:
    if moment.tzinfo is None:
        raise Final(f"{what} {moment} has no time zone; give an aware UTC moment")
    return moment.astimezone(UTC).replace(tzinfo=None)


def _check_names(feed: str, symbol: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", feed):
        raise Final(f"feed {feed!r} is not a name; use letters, digits, dot, dash and underscore")
    if not re.fullmatch(r"[A-Z0-9._#-]+", symbol):
        raise Final(f"symbol {symbol!r} is not one of our names; use upper case without suffix, such as EURUSD")


def _frame(relation: duckdb.DuckDBPyRelation | None) -> pl.DataFrame:
    assert relation is not None  # only a statement without a result gives None
    frame = pl.from_arrow(relation.to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _bar_end(last: datetime | None, timeframe: str) -> datetime | None:
    """Close of the last bar of `timeframe` that opens before the naive UTC moment."""
    if last is None:
        return None
    before_s = np.array([math.ceil(last.replace(tzinfo=UTC).timestamp()) - 1], dtype=np.int64)
    return from_epoch(int(bar_close(bar_open(before_s, timeframe), timeframe)[0])).replace(tzinfo=None)


def _base(connection: duckdb.DuckDBPyConnection, feed: str, symbol: str) -> str:
    rows = connection.execute("SELECT DISTINCT feed, symbol, timeframe FROM bars ORDER BY ALL").fetchall()
    stored: list[str] = [timeframe for f, s, timeframe in rows if (f, s) == (feed, symbol)]
    if not stored:
        held = ", ".join(sorted({f"{f} {s}" for f, s, _ in rows})) or "nothing yet"
        raise Final(f"no bars of {symbol} from feed {feed!r}; the store holds {held}")
    return min(stored, key=seconds)


def _stored(
    connection: duckdb.DuckDBPyConnection, series: dict[str, str], first: datetime | None, last: datetime | None
) -> pl.DataFrame:
    where, params = SERIES, dict[str, object](series)
    if first is not None:
        where, params["first"] = f"{where} AND time >= $first", first
    if last is not None:
        where, params["last"] = f"{where} AND time < $last", last
    return _frame(connection.sql(f"SELECT {', '.join(SCHEMA)} FROM bars WHERE {where} ORDER BY time", params=params))


def _last_ingest_s(connection: duckdb.DuckDBPyConnection, series: dict[str, str]) -> float:
    rows = connection.execute(f"SELECT max(ingested_at) FROM batches WHERE {SERIES} AND NOT undone", series).fetchall()
    moment: datetime = rows[0][0]  # stored bars have a batch that was not undone
    return moment.replace(tzinfo=UTC).timestamp()


def _specs(connection: duckdb.DuckDBPyConnection, feed: str, symbol: str) -> list[SymbolSpec]:
    """What is known of the symbol, oldest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_SPEC_NAMES)} FROM symbols WHERE feed = $feed AND symbol = $symbol ORDER BY valid_from",
        {"feed": feed, "symbol": symbol},
    ).fetchall()
    specs = [SymbolSpec(*row) for row in rows]
    return [replace(spec, valid_from=spec.valid_from.replace(tzinfo=UTC)) for spec in specs]


def _spec(connection: duckdb.DuckDBPyConnection, feed: str, symbol: str, moment: datetime) -> SymbolSpec:
    specs = _specs(connection, feed, symbol)
    if not specs:
        return assumed_spec(feed, symbol)
    valid = [spec for spec in specs if spec.valid_from <= moment]
    return valid[-1] if valid else replace(specs[0], valid_from=datetime(1970, 1, 1, tzinfo=UTC), source="assumed")
