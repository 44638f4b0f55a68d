"""Symbols written into tradewind.toml: one table changes, comments and everything else stay as they are."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows._errors import FlowError

_HEADER = re.compile(r"\s*\[")


def write_symbols(path: Path, feed: str, symbols: Mapping[str, str]) -> None:
    """Set `symbols` (ours to the broker's) of a feed in the settings file, replaced whole or not at all.

    Names the file already has and `symbols` lacks stay. Raises `FlowError` when the feed has no table there, or its
    table is written in a way that cannot be changed safely; then the file is as it was.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # line ends as they are
        before = tomllib.loads(text)
    except FileNotFoundError:
        raise FlowError(f"{path} does not exist; write it with a table [feeds.{feed}] first") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FlowError(f"{path}: not valid TOML: {error}") from None
    if feed not in before.get("feeds", {}):
        raise FlowError(f"{path} has no table [feeds.{feed}]; add it with source, clock and commission_per_lot first")
    merged = {**before["feeds"][feed].get("symbols", {}), **symbols}
    edited = _edited(text.splitlines(keepends=True), feed, symbols, merged, "\r\n" if "\r\n" in text else "\n")
    if not _is_wanted(edited, before, feed, merged):
        lines = "; ".join(_pair(ours, theirs) for ours, theirs in symbols.items())
        raise FlowError(f"{path}: [feeds.{feed}] is written in a way that is not changed here; add by hand: {lines}")
    _replace(path, edited)


def _edited(lines: list[str], feed: str, symbols: Mapping[str, str], merged: Mapping[str, str], newline: str) -> str:
    own, table = _section(lines, f"feeds.{feed}"), _section(lines, f"feeds.{feed}.symbols")
    if table is not None:
        return "".join(_in_table(lines, table, symbols, newline))
    if own is None:
        return "".join(lines)
    for number in range(*own):
        if inline := re.match(r"(\s*symbols\s*=\s*)\{.*\}(\s*(?:#.*)?\r?\n?)$", lines[number], re.DOTALL):
            pairs = ", ".join(_pair(ours, theirs) for ours, theirs in merged.items())
            lines[number] = f"{inline[1]}{{ {pairs} }}{inline[2]}"
            return "".join(lines)
    end = _last_line(lines, own) + 1
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += newline
    added = [newline, f"[feeds.{_key(feed)}.symbols]{newline}", *(_pair(o, t) + newline for o, t in merged.items())]
    return "".join([*lines[:end], *added, *lines[end:]])


def _in_table(lines: list[str], table: tuple[int, int], symbols: Mapping[str, str], newline: str) -> list[str]:
    """The lines with the table's keys set: known ones in place, with their comments, new ones behind the last."""
    added = []
    for ours, theirs in symbols.items():
        key = re.compile(rf"(\s*[\"']?{re.escape(ours)}[\"']?\s*=\s*)(?:\"[^\"]*\"|'[^']*')(.*)", re.DOTALL)
        where = next((n for n in range(*table) if key.match(lines[n])), None)
        if where is None:
            added.append(_pair(ours, theirs) + newline)
        else:
            lines[where] = key.sub(lambda m, theirs=theirs: f"{m[1]}{json.dumps(theirs)}{m[2]}", lines[where])  # type: ignore[misc]
    end = _last_line(lines, table) + 1
    if added and not lines[end - 1].endswith("\n"):
        lines[end - 1] += newline
    return [*lines[:end], *added, *lines[end:]]


def _section(lines: list[str], name: str) -> tuple[int, int] | None:
    """First line behind the header of a table, and the line of the next header."""
    for number, line in enumerate(lines):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$", line.rstrip("\r\n"))
        if header and re.sub(r"[\"'\s]", "", header[1]) == name:
            ends = (n for n in range(number + 1, len(lines)) if _HEADER.match(lines[n]))
            return number + 1, next(ends, len(lines))
    return None


def _last_line(lines: list[str], section: tuple[int, int]) -> int:
    """The section's last line that says something: comments before the next header belong to that one."""
    says = (n for n in range(section[1] - 1, section[0] - 1, -1) if lines[n].strip() and not lines[n].lstrip().startswith("#"))
    return next(says, section[0] - 1)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _pair(ours: str, theirs: str) -> str:
    return f"{_key(ours)} = {json.dumps(theirs)}"


def _is_wanted(text: str, before: dict[str, Any], feed: str, merged: Mapping[str, str]) -> bool:
    """Whether the text means what was there with this one table changed, and nothing else."""
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    feeds = before["feeds"]
    return after == {**before, "feeds": {**feeds, feed: {**feeds[feed], "symbols": dict(merged)}}}


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
