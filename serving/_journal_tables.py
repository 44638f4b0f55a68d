"""The journal's tables. Times are UTC epoch milliseconds (`_ms`) or seconds (`_s`); documents are JSON text."""

SCHEMA = 1

TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE events(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, line TEXT, detail TEXT NOT NULL) STRICT;
CREATE INDEX events_kind ON events(kind, id);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

CREATE TABLE lines(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

-- One row per wish of ours, written before anything is sent. `sequence` goes into the magic number.
CREATE TABLE intents(
  sequence INTEGER PRIMARY KEY, line TEXT NOT NULL, line_id INTEGER NOT NULL, kind TEXT NOT NULL, symbol TEXT NOT NULL,
  side INTEGER NOT NULL, lots REAL NOT NULL, stop REAL NOT NULL, target REAL NOT NULL, position INTEGER NOT NULL,
  bar_s INTEGER NOT NULL, horizon_bars INTEGER NOT NULL, timeframe TEXT NOT NULL, bundle TEXT NOT NULL, reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, sent_ms INTEGER NOT NULL DEFAULT 0,
  filled_lots REAL NOT NULL DEFAULT 0, price REAL NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '') STRICT;
CREATE INDEX intents_open ON intents(state) WHERE state = 'unknown';

CREATE TABLE requests(
  id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, at_ms INTEGER NOT NULL, request TEXT NOT NULL,
  reply TEXT, answered_us INTEGER) STRICT;

CREATE TABLE deals(
  ticket INTEGER PRIMARY KEY, order_ticket INTEGER NOT NULL, position INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  symbol TEXT NOT NULL, kind TEXT NOT NULL, side INTEGER NOT NULL, entry TEXT NOT NULL, lots REAL NOT NULL, price REAL NOT NULL,
  commission REAL NOT NULL, swap REAL NOT NULL, fee REAL NOT NULL, profit REAL NOT NULL, magic INTEGER NOT NULL,
  reason TEXT NOT NULL, comment TEXT NOT NULL, line TEXT) STRICT;
CREATE INDEX deals_time ON deals(at_ms);

CREATE TABLE decisions(
  line TEXT NOT NULL, bar_s INTEGER NOT NULL, at_ms INTEGER NOT NULL, p_short REAL, p_flat REAL, p_long REAL,
  side INTEGER NOT NULL, confidence REAL, atr REAL, equity REAL, action TEXT NOT NULL, reason TEXT NOT NULL, sequence INTEGER,
  latency_us INTEGER, bundle TEXT NOT NULL, PRIMARY KEY(line, bar_s)) STRICT, WITHOUT ROWID;

-- The exits a position was opened with stay its exits, whatever champion comes after.
CREATE TABLE exits(
  position INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, line TEXT NOT NULL, symbol TEXT NOT NULL, side INTEGER NOT NULL,
  stop REAL NOT NULL, target REAL NOT NULL, horizon_bars INTEGER NOT NULL, timeframe TEXT NOT NULL,
  bar_s INTEGER NOT NULL, bundle TEXT NOT NULL,
  opened_ms INTEGER NOT NULL, closed_ms INTEGER) STRICT;

CREATE TABLE states(
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, state TEXT NOT NULL, by TEXT NOT NULL, reason TEXT NOT NULL) STRICT;

CREATE TABLE risk(
  id INTEGER PRIMARY KEY CHECK (id = 1), day INTEGER NOT NULL, day_start_equity REAL NOT NULL, peak_equity REAL NOT NULL) STRICT;
"""
