"""Content: the bytes of one table, plain or packed, as blocks of whole lines of UTF-8 text."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, cast

import numpy as np

from feature_store._errors import Final

HEAD_BYTES = 65536
# Up to here a file is parsed in one piece and kept; above, it streams in blocks of about a million lines.
WHOLE_BYTES = 200_000_000
BLOCK_BYTES = 50_000_000

_MEMBER_TYPES = (".csv", ".txt", ".tsv", ".prn", ".hst", "")


@dataclass(frozen=True)
class Content:
    """A file, or one member of an archive. member: its name inside a zip, "" otherwise."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Name to speak of: the file's, with the member's behind it where there is one."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def origin(self) -> str:
        """Where it came from, for the batch."""
        return f"{self.path.as_posix()}/{self.member}" if self.member else self.path.as_posix()

    @property
    def names(self) -> tuple[str, ...]:
        """Names that may tell symbol, side or day, the most telling first, without ending."""
        own = (Path(self.member).stem,) if self.member else ()
        return (*own, self.path.name.removesuffix(".gz").rpartition(".")[0] or self.path.name, self.path.parent.name)

    @cached_property
    def start(self) -> bytes:
        """First four bytes as they lie on disk."""
        with self.path.open("rb") as file:
            return file.read(4)

    @property
    def packing(self) -> str:
        """How the file is packed, by its first bytes: gz, zip or nothing."""
        return "gz" if self.start[:2] == b"\x1f\x8b" else "zip" if self.start == b"PK\x03\x04" else ""

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes as they lie on disk, hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def head(self) -> bytes:
        """First bytes, unpacked, as UTF-8 where they are text."""
        return next(self.blocks(HEAD_BYTES), b"")

    @cached_property
    def is_large(self) -> bool:
        """Whether it must be read in blocks."""
        return self._unpacked_bytes() > WHOLE_BYTES

    def _unpacked_bytes(self) -> int:
        packed = self.path.stat().st_size
        if self.packing == "zip":
            with zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).file_size
        if self.packing == "gz":
            # The trailer counts modulo 4 GiB; text of prices packs no better than some 20 to 1.
            with self.path.open("rb") as file:
                file.seek(max(0, packed - 4))
                return max(int.from_bytes(file.read(4), "little"), packed * 2)
        return packed

    def open(self) -> IO[bytes]:
        """The unpacked bytes."""
        if self.packing == "gz":
            return cast(IO[bytes], gzip.open(self.path, "rb"))
        if self.packing == "zip":
            return zipfile.ZipFile(self.path).open(self.member)
        return self.path.open("rb")

    def blocks(self, size: int | None = None) -> Iterator[bytes]:
        """Text as UTF-8 without byte order mark, in blocks that end with a line; one block without `size`.

        Raises `Final` where the packing is damaged: what can be unpacked before that is not half a file.
        """
        try:
            with self.open() as file:
                yield from _whole_lines(file, size)
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            if not self.packing:
                raise Final(f"{self.name}: cannot be read ({error})") from error
            raise Final(f"{self.name}: is a damaged {self.packing} file ({error}); fetch it again") from error

    def check_packing(self) -> None:
        """Raise `Final` when the packing is damaged, which shows at its end only."""
        if self.packing:
            for _ in self.blocks(BLOCK_BYTES):
                pass

    def lines(self, rows: Sequence[int]) -> list[str]:
        """Text of these lines (1-based), in the order asked; "" for lines that are not there."""
        wanted, first = set(rows), 1
        found: dict[int, str] = {}
        last = max(wanted, default=0)
        for block in self.blocks(BLOCK_BYTES if self.is_large else None):
            end = first + block.count(b"\n") + (0 if block.endswith(b"\n") else 1)
            here = sorted(row for row in wanted if first <= row < end)
            found.update(zip(here, lines_at(block, [row - first for row in here]), strict=True))
            first = end
            if first > last:
                break
        return [found.get(row, "") for row in rows]


def lines_at(block: bytes, numbers: Sequence[int]) -> list[str]:
    """Lines of `block` by 0-based number, without their ends."""
    ends = np.append(np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")), len(block))
    starts = np.append(0, ends[:-1] + 1)
    return [block[starts[n] : ends[n]].rstrip(b"\r").decode("utf-8", errors="replace") for n in numbers]


def _whole_lines(file: IO[bytes], size: int | None) -> Iterator[bytes]:
    start = file.read(4)
    encoding = _encoding(start)
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if encoding else None
    if decoder is not None:
        rest = decoder.decode(start).lstrip("\ufeff").encode()
    else:  # from the first letter again: to put four bytes before a large block would copy it
        file.seek(3 if start.startswith(codecs.BOM_UTF8) else 0)
        rest = b""
    while True:
        read = file.read(size) if size else file.read()
        text = read if decoder is None else decoder.decode(read, final=not read).encode()
        if size is None:
            yield rest + text if rest else text
            return
        if not read:
            if rest + text:
                yield rest + text
            return
        cut = text.rfind(b"\n") + 1
        if cut:
            yield rest + text[:cut]
            rest = text[cut:]
        else:
            rest += text


def _encoding(start: bytes) -> str | None:
    """UTF-16 with or without its mark, None for what is (or will be read as) UTF-8 or Latin-1 bytes."""
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16-le" if start[:2] == codecs.BOM_UTF16_LE else "utf-16-be"
    if len(start) == 4 and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le"
    if len(start) == 4 and start[0] == start[2] == 0 and start[1] and start[3]:
        return "utf-16-be"
    return None


def contents_of(path: Path) -> list[Content]:
    """The tables a file holds: itself, or each table of text in a zip archive. Raises `Final` for a damaged zip."""
    file = Content(path)
    if file.packing != "zip":
        return [file]
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise Final(f"{path.name}: is a damaged zip file ({error}); fetch it again") from error
    return [Content(path, name) for name in sorted(names) if Path(name).suffix.lower() in _MEMBER_TYPES]


def as_latin1(block: bytes) -> bytes:
    """Bytes that are not UTF-8 as the UTF-8 of their Latin-1 reading."""
    return block.decode("latin-1").encode()
