"""Magic numbers: which of our orders an order, deal or position at the broker belongs to.

Layout, from the highest bit, 53 bits in all so that every broker bridge that keeps it in a double is exact:

    | tag 13 bits = 0x1A7D | line 10 bits | sequence 30 bits |

`line` numbers the (pipeline, symbol) lines of one account, `sequence` its order intents; both are handed out
by the account's journal and never used twice. Comments are for people and are never read back.
"""

from __future__ import annotations

from typing import NamedTuple

from serving._errors import Final

TAG = 0x1A7D
TAG_BITS, LINE_BITS, SEQUENCE_BITS = 13, 10, 30
MAX_LINE = 2**LINE_BITS - 1
MAX_SEQUENCE = 2**SEQUENCE_BITS - 1
COMMENT_LENGTH = 29  # UTF-16 units; the package refuses one more


class Key(NamedTuple):
    """What a magic number of ours carries."""

    line: int
    sequence: int


def encode(line: int, sequence: int) -> int:
    """Magic number, below 2**53, of intent `sequence` of line `line`."""
    if not 0 <= line <= MAX_LINE:
        raise Final(f"line {line} does not fit a magic number; 0 to {MAX_LINE} lines are allowed for one account")
    if not 1 <= sequence <= MAX_SEQUENCE:
        raise Final(f"order sequence {sequence} does not fit a magic number; allowed up to {MAX_SEQUENCE}: start a new journal")
    return TAG << (LINE_BITS + SEQUENCE_BITS) | line << SEQUENCE_BITS | sequence


def decode(magic: int) -> Key | None:
    """What `magic` carries, or None when the number is not one of ours."""
    if magic < 0 or magic >> (LINE_BITS + SEQUENCE_BITS) != TAG:
        return None
    sequence = magic & MAX_SEQUENCE
    return Key(magic >> SEQUENCE_BITS & MAX_LINE, sequence) if sequence else None


def comment(text: str) -> str:
    """`text` cut to what the package takes: 29 UTF-16 units, plain characters only."""
    return text.encode("ascii", "replace").decode("ascii")[:COMMENT_LENGTH]
