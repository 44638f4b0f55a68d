"""What a file source is, how sources are found, and how paths become bars."""

from __future__ import annotations

import glob
import hashlib
import importlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SECONDS, epoch_s
from feature_store.clock import parse_rule, server_to_utc
from feature_store.symbols import is_pair

log = logging.getLogger(__name__)

HEAD_BYTES = 65536
RULES = "utc, utc+2, utc+3:30, ny, ny+7, eet, cet"
_BY_SECONDS = {length: name for name, length in SECONDS.items()}


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


class Source(Protocol):
    """One file format. A module in this folder with a line `SOURCE = ...` adds one."""

    name: ClassVar[str]
    generic: ClassVar[bool]
    """Whether more special formats are asked first."""

    def recognises(self, head: bytes) -> bool:
        """Whether a file that starts with these bytes is of this format."""

    def read(self, path: Path, *, symbol: str | None, timeframe: str | None, clock_rule: str | None) -> Iterator[SourceBars]:
        """Bars of the file; what is not given is taken from content or file name. Raises `Final`."""


@lru_cache(maxsize=1)
def file_sources() -> tuple[Source, ...]:
    """All file formats, special ones before generic ones, by file name."""
    package = __name__.rpartition(".")[0]
    files = sorted(p for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    # The folder holds other sources too; importing the market generator takes seconds that no file needs.
    names = [p.stem for p in files if "\nSOURCE = " in p.read_text(encoding="utf-8")]
    found: list[Source] = [importlib.import_module(f"{package}.{name}").SOURCE for name in names]
    return tuple(sorted(found, key=lambda source: source.generic))


def recognise(path: Path) -> Source | None:
    """Format of the file by its content, None when no source knows it."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next((source for source in file_sources() if source.recognises(head)), None)


def read_path(
    path: Path, *, symbol: str | None = None, timeframe: str | None = None, clock_rule: str | None = None
) -> Iterator[SourceBars]:
    """Bars of a file, of every known file in a folder, or of every file a glob pattern matches, in name order.

    symbol, timeframe, clock_rule: hold for all of them; None takes what content or file name say. Raises `Final`
    for a path that leads nowhere and, outside folders, for a file of no known format.
    """
    path = Path(path)
    if clock_rule is not None:
        parse_rule(clock_rule)
    if timeframe is not None and timeframe not in SECONDS:
        raise Final(f"timeframe {timeframe!r} is not known; use one of {', '.join(SECONDS)}")
    for file, source in _files(path):
        yield from source.read(file, symbol=symbol, timeframe=timeframe, clock_rule=clock_rule)


def _files(path: Path) -> list[tuple[Path, Source]]:
    if path.is_dir():
        inside = [(p, recognise(p)) for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith(".")]
        for other in (p for p, source in inside if source is None):
            log.warning("%s skipped: not a format that is known", other)
        known = [(p, source) for p, source in inside if source is not None]
        if not known:
            raise Final(f"folder {path} holds no file of a known format; known are {_known()}")
        return known
    matches = [path] if path.is_file() else sorted(Path(p) for p in glob.glob(str(path)) if Path(p).is_file())  # noqa: PTH207
    if not matches:
        raise Final(f"{path} does not exist; give a file, a folder or a pattern such as data/*.csv")
    return [(p, _must_recognise(p)) for p in matches]


def _must_recognise(path: Path) -> Source:
    source = recognise(path)
    if source is None:
        raise Final(
            f"{path} is of no known format; known are {_known()}, and csv needs a header line with time,open,high,low,close"
        )
    return source


def _known() -> str:
    return ", ".join(source.name for source in file_sources())


def sha256_of(path: Path) -> str:
    """Hash of the file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_of(head: bytes) -> str:
    """Bytes of a text file as text: UTF-16 where it says so (MetaTrader's history files), else UTF-8 or Latin-1."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return head.decode("latin-1")


def symbol_for(path: Path, given: str | None) -> str:
    """Our name of the symbol: as given, else the currency pair in the file's name. Raises `Final` for neither."""
    if given is not None:
        return given.upper()
    for token in re.split(r"[^A-Za-z0-9]+", path.stem):
        # EURUSD, EURUSDm (a broker's suffix), EURUSD5 and EURUSDh1 (a timeframe behind it)
        if is_pair(token[:6].upper()) and re.fullmatch(r"[a-z]{0,2}\d{0,5}", token[6:].lower()):
            return token[:6].upper()
    raise Final(f"{path.name}: which symbol it holds is not in its name; add --symbol, such as --symbol EURUSD")


def timeframe_for(path: Path, given: str | None, times: pl.Series) -> str:
    """Timeframe as given, else from the file's name, else from the spacing of the bars.

    Raises `Final` when none says it, or when bars stand closer than the timeframe that was given or named.
    """
    named = given or _named_timeframe(path)
    spacing_s = _usual_spacing_s(times)
    if named is not None:
        if spacing_s is not None and spacing_s < SECONDS[named]:
            says = "was given" if given else "stands in the file's name"
            raise Final(f"{path.name}: timeframe {named} {says}, but bars stand {spacing_s} s apart; give the true --timeframe")
        return named
    if spacing_s in _BY_SECONDS:
        return _BY_SECONDS[spacing_s]
    raise Final(f"{path.name}: its timeframe cannot be told from the bars; add --timeframe, such as --timeframe M5")


def _named_timeframe(path: Path) -> str | None:
    tokens = re.split(r"[^A-Za-z0-9]+", path.stem)
    return next((token for token in tokens if token in SECONDS), None)


def _usual_spacing_s(times: pl.Series) -> int | None:
    """Most common distance of neighbours in seconds, None when fewer than half of them share it."""
    moments = np.unique(epoch_s(times.drop_nulls()))
    if len(moments) < 3:
        return None
    spacings, counts = np.unique(np.diff(moments), return_counts=True)
    most = int(np.argmax(counts))
    return int(spacings[most]) if counts[most] * 2 >= counts.sum() else None


def stated_clock(path: Path, clock_rule: str | None) -> str:
    """The clock rule that was given. Raises `Final` when none was: guessing moves every bar by hours."""
    if clock_rule is None:
        raise Final(f"{path.name}: its clock is not stated; add --clock with one of {RULES}")
    return clock_rule


def to_utc(times: pl.Series, clock_rule: str) -> pl.Series:
    """Naive wall-clock times as naive UTC, milliseconds; null stays null."""
    ms = times.cast(pl.Datetime("ms")).dt.epoch("ms")
    wall_ms = ms.fill_null(0).to_numpy().astype(np.int64)
    utc_ms = server_to_utc(wall_ms // 1000, clock_rule) * 1000 + wall_ms % 1000
    readable = pl.DataFrame({"utc": utc_ms, "wall": ms})
    utc = readable.select(pl.when(pl.col("wall").is_not_null()).then(pl.col("utc")).alias(times.name)).to_series()
    return utc.cast(pl.Datetime("ms"))
