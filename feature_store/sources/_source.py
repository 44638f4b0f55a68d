"""How file formats are found, and how paths become bars."""

from __future__ import annotations

import glob
import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from feature_store._errors import Final
from feature_store.bars import SECONDS
from feature_store.clock import check_rule
from feature_store.sources._content import Content, contents_of
from feature_store.sources._days import joined_days
from feature_store.sources._raw import Asked, RawBars, Refused, Side, Source, going_on
from feature_store.sources._sides import check_spread, joined_sides

__all__ = ["Asked", "RawBars", "Side", "Source", "SourceBars", "file_sources", "read_path", "recognise"]

log = logging.getLogger(__name__)

Skipped = Callable[[str], object]
"""Takes the line on a file of a folder or archive that is no table of a known format."""


@dataclass(frozen=True)
class SourceBars:
    """Bars of one symbol, columns of `bars.SCHEMA`, true UTC, in the order of the source.

    Nothing is repaired: a row that could not be read has null time or price, and the store counts it.
    clock_rule: how the source's clock was read. sha256: of the source's bytes.
    """

    symbol: str
    timeframe: str
    bars: pl.DataFrame
    clock_rule: str
    origin: str
    sha256: str


@lru_cache(maxsize=1)
def file_sources() -> tuple[Source, ...]:
    """All file formats, special ones before generic ones, by file name."""
    package = __name__.rpartition(".")[0]
    files = sorted(p for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    # The folder holds other sources too; importing the market generator takes seconds that no file needs.
    names = [p.stem for p in files if "\nSOURCE = " in p.read_text(encoding="utf-8")]
    found: list[Source] = [importlib.import_module(f"{package}.{name}").SOURCE for name in names]
    return tuple(sorted(found, key=lambda source: source.generic))


def recognise(content: Content) -> Source | None:
    """Format of the content, None when no source knows it."""
    return next((source for source in file_sources() if source.recognises(content)), None)


def read_path(
    *paths: Path,
    symbol: str | None = None,
    timeframe: str | None = None,
    clock_rule: str | None = None,
    side: Side | None = None,
    ask_spread_points: float | None = None,
    refused: Refused | None = None,
    skipped: Skipped = log.warning,
) -> Iterator[RawBars]:
    """Bars of files, of every known file in a folder, or of every file a glob pattern matches, in name order.

    All that is given together is one set: a bid and an ask file of one symbol are merged, files of a day each are
    joined. symbol, timeframe,
    clock_rule and side hold for all of them; None takes what content or names say. ask_spread_points: taken off the
    prices of an ask file that has no bid file. Raises `Final` for a path that leads nowhere and, outside folders and
    archives, for a file of no known format. refused: takes the line of each path or file that cannot be read, so that
    the others go on; without it the first one raises. skipped: takes the line of each file beside tables that is none.
    """
    if clock_rule is not None:
        check_rule(clock_rule)
    if timeframe is not None and timeframe not in SECONDS:
        raise Final(f"timeframe {timeframe!r} is not known; use one of {', '.join(SECONDS)}")
    if side not in (None, "bid", "ask"):
        raise Final(f"side {side!r} is not known; use bid or ask")
    check_spread(ask_spread_points)
    asked = Asked(symbol, timeframe, clock_rule, side)
    sided: list[tuple[str, RawBars]] = []
    days: list[RawBars] = []
    for path in paths:
        with going_on(refused):
            for content, source in _contents(Path(path), refused, skipped):
                with going_on(refused):
                    for raw in source.read(content, asked):
                        if raw.is_day:
                            days.append(raw)
                        elif raw.side:
                            sided.append((content.name, raw))
                        else:
                            yield raw
    yield from joined_days(days)
    yield from joined_sides(sided, ask_spread_points, refused)
    if ask_spread_points is not None and not any(raw.side == "ask" for _, raw in sided):
        with going_on(refused):
            raise Final("--ask-spread took nothing off: no file given here holds the ask; leave it out, or add --side ask")


def _contents(path: Path, refused: Refused | None, skipped: Skipped) -> list[tuple[Content, Source]]:
    """Tables that `path` leads to, each with its format."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
        for folder in (p for p in files if p.is_dir()):
            skipped(f"{folder} skipped: a folder inside the folder; give it by itself")
        known: list[tuple[Content, Source]] = []
        for file in (p for p in files if p.is_file()):
            with going_on(refused):
                inside = _known_in(file, skipped)
                if not inside:
                    skipped(f"{file} skipped: {'not a format that is known' if file.stat().st_size else 'it is empty'}")
                known += inside
        if not known:
            raise Final(f"folder {path} holds no file of a known format; known are {_formats()}")
        return known
    matches = [path] if path.is_file() else sorted(Path(p) for p in glob.glob(str(path)) if Path(p).is_file())  # noqa: PTH207
    if not matches:
        raise Final(f"{path} does not exist; give a file, a folder or a pattern such as data/*.csv")
    found: list[tuple[Content, Source]] = []
    for file in matches:
        with going_on(refused):
            inside = _known_in(file, skipped)
            if not inside:
                raise Final(_unknown(file))
            found += inside
    return found


def _known_in(file: Path, skipped: Skipped) -> list[tuple[Content, Source]]:
    pairs = [(content, recognise(content)) for content in contents_of(file)]
    known = [(content, source) for content, source in pairs if source is not None]
    for content, source in pairs if known else []:  # where nothing is known, the caller says so of the whole file
        if source is None:
            skipped(f"{content.origin} skipped: not a format that is known")
    return known


def _unknown(file: Path) -> str:
    if file.stat().st_size == 0:
        return f"{file} is empty; fetch or export it again"
    return (
        f"{file} is of no known format; known are {_formats()}; a table of text needs a header line with "
        "time,open,high,low,close or lines such as 2024.01.31,13:45,open,high,low,close,volume"
    )


def _formats() -> str:
    return ", ".join(source.name for source in file_sources())
