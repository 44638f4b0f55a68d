"""Layout: which cell of a line is what, told from a header of names or, without one, from the numbers themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from feature_store.sources._times import looks_like_time

PRICES = ("open", "high", "low", "close")
ASKS = tuple(f"ask_{price}" for price in PRICES)
COUNTS = ("tick_volume", "spread_points", "real_volume")

_HEADER_LINES = 20  # lines above the header: a title, `sep=;`
_SAMPLE_LINES = 200

# Names as they are written once lower case letters and digits are all that is left.
_NAMES = {
    "time": ("time", "datetime", "timestamp", "gmttime", "utctime", "utc", "localtime", "opentime", "timegmt", "timeutc",
             "timeeet", "eettime", "datetimeutc", "timestamputc", "dategmt", "ts", "date", "unix", "epoch", "barstart"),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose", "last"),
    "tick_volume": ("tickvolume", "tickvol", "ticks", "tickqty", "tickcount"),
    "spread_points": ("spreadpoints", "spread"),
    "real_volume": ("realvolume", "realvol"),
    "bid": ("bid", "bidprice", "b"),
    "ask": ("ask", "askprice", "offer", "a"),
    "symbol": ("symbol", "ticker", "instrument", "pair", "currencypair"),
}  # fmt: skip
_SIDED = {
    side + price: {side + price, side + price[0], price + side, side[0] + price, side[0] + price[0]}
    for side in ("bid", "ask")
    for price in PRICES
}


@dataclass(frozen=True)
class Layout:
    """How lines split and what their cells are.

    skip: lines before the first bar. cells: cells a line should have. columns: our name of a cell to its number:
    `time` (with `date` before it where the moment stands in two cells), names of `bars.SCHEMA`, `ask_open` ..
    `ask_close`, or `bid` and `ask` of ticks; `symbol`. quotes: "" none, "drop" (they enclose lines or plain cells), "keep" (they
    hide separators). header: names as written, () where the file has none.
    """

    separator: str
    skip: int
    cells: int
    columns: dict[str, int]
    quotes: str = ""
    decimal_comma: bool = False
    header: tuple[str, ...] = ()

    @property
    def is_ticks(self) -> bool:
        return "close" not in self.columns


def bare(name: str) -> str:
    """A column's name reduced to lower case letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def columns_of(header: Sequence[str]) -> dict[str, int]:
    """Our name to cell number for the names that are understood; {} unless they hold a time and prices."""
    names = [bare(name) for name in header]
    at = {name: number for number, name in reversed(list(enumerate(names)))}
    found: dict[str, int] = {}
    for ours, theirs in _NAMES.items():
        number = next((at[name] for name in theirs if name in at), None)
        if number is not None:
            found[ours] = number
    for sided, spellings in _SIDED.items():
        number = next((at[name] for name in spellings if name in at), None)
        if number is not None:
            found[sided.removeprefix("bid") if sided.startswith("bid") else f"ask_{sided.removeprefix('ask')}"] = number
    _volumes(found, at)
    if "time" not in found and names and names[0] in ("", "index", "unnamed0"):
        found["time"] = 0  # a pandas index without a name
    if "date" in at and "time" in at:
        found["date"], found["time"] = at["date"], at["time"]
    return _complete(found)


def _volumes(found: dict[str, int], at: dict[str, int]) -> None:
    """A column called volume counts ticks, unless another one does."""
    number = at.get("volume", at.get("vol", at.get("v")))
    if number is None:
        return
    if "tick_volume" not in found:
        found["tick_volume"] = number
    else:
        found.setdefault("real_volume", number)


def _complete(found: dict[str, int]) -> dict[str, int]:
    """The columns of bars, or of ticks, or nothing."""
    if "time" not in found:
        return {}
    if found.keys() >= set(PRICES):
        return {name: number for name, number in found.items() if name not in ("bid", "ask")}
    if found.keys() >= set(ASKS):
        return {_as_bid(name): number for name, number in found.items() if name not in ("bid", "ask", *PRICES)}
    if found.keys() >= {"bid", "ask"}:
        return {name: number for name, number in found.items() if name in ("date", "time", "bid", "ask", "symbol")}
    return {}


def _as_bid(name: str) -> str:
    return name.removeprefix("ask_")


def side_of(header: Sequence[str]) -> str:
    """ "bid" or "ask" when the names of the prices say that they are of one side alone, else ""."""
    names = {bare(name) for name in header}
    sides = {side for side in ("bid", "ask") if all(names & _SIDED[side + price] for price in PRICES)}
    plain = all(names & set(_NAMES[price]) for price in PRICES)
    return sides.pop() if len(sides) == 1 and not plain else ""


def text_lines(head: bytes) -> list[str]:
    """Whole lines of the first block; [] where it is not text."""
    if b"\x00" in head:
        return []
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    return text.splitlines()


def layout_of(lines: Sequence[str]) -> Layout | None:
    """The layout of a table of text, None when its lines are no bars and no ticks."""
    lines = lines[: _HEADER_LINES + _SAMPLE_LINES]
    separator = _separator(lines)
    if separator is None:
        return None
    quotes = _quotes(lines, separator)
    table = [split(line, separator, quotes) for line in lines]
    headed = next((n for n, row in enumerate(table[:_HEADER_LINES]) if columns_of(row)), None)
    skip = 0 if headed is None else headed + 1
    body = [row for row in table[skip:] if any(row)]
    comma = (separator != "," or quotes == "keep") and _has_decimal_comma(body)
    if headed is not None:
        header = tuple(table[headed])
        cells = max(len(header), _usual_cells(body) if body else 0)
        columns = columns_of(header)
        if "date" in columns and any(_is_whole_moment(row, columns["time"]) for row in body):
            del columns["date"]  # a column of dates beside one of whole moments
        return Layout(separator, skip, cells, columns, quotes, comma, header)
    told = _columns_without_names(body, comma)
    return None if told is None else Layout(separator, 0, _usual_cells(body), told, quotes, comma)


def split(line: str, separator: str, quotes: str) -> list[str]:
    """Cells of a line, without quotes and outer blanks."""
    if quotes == "keep":
        line = re.sub(r'"([^"]*)"', lambda m: m[1].replace(separator, "\x1f"), line)
    cells = line.replace('"', "").rstrip("\r\n").split(separator)
    return [cell.replace("\x1f", separator).strip() for cell in cells]


def _usual_cells(rows: Sequence[Sequence[str]]) -> int:
    return Counter(len(row) for row in rows).most_common(1)[0][0]


def _separator(lines: Sequence[str]) -> str | None:
    """The first of tab, semicolon, bar and comma that splits nearly all lines into the same number of cells."""
    filled = [line for line in lines if line.strip() and not line.lower().startswith("sep=")]
    for separator in "\t;|,":
        counts = Counter(line.count(separator) for line in filled)
        if not counts:
            return None
        usual, votes = counts.most_common(1)[0]
        if usual >= 2 and votes >= 0.8 * len(filled):
            return separator
    return None


def _quotes(lines: Sequence[str], separator: str) -> str:
    quoted = [line for line in lines if '"' in line]
    if not quoted:
        return ""
    cells = [cell for line in quoted for cell in re.findall(r'"([^"]*)"', line)]
    several = sum(line.count('"') for line in quoted) > 2 * len(quoted)
    return "keep" if several and any(separator in cell for cell in cells) else "drop"


def _has_decimal_comma(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell for row in rows for cell in row]
    commas = sum(bool(re.fullmatch(r"-?\d+,\d+", cell)) for cell in cells)
    points = sum(bool(re.fullmatch(r"-?\d+\.\d+", cell)) for cell in cells)
    return commas > points


def _number(cell: str, comma: bool) -> float | None:
    try:
        return float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return None


def _is_whole_moment(row: Sequence[str], number: int) -> bool:
    return len(row) > number and looks_like_time(row[number]) and len(row[number]) > 8


def _columns_without_names(rows: Sequence[Sequence[str]], comma: bool) -> dict[str, int] | None:
    """Time first, then open, high, low, close (proved by their order), then a volume or the same of the ask side."""
    cells = _usual_cells(rows) if rows else 0
    usual = [row for row in rows if len(row) == cells]
    if cells < 3 or len(usual) < 2:
        return None
    two = looks_like_time(usual[-1][0] + " " + usual[-1][1]) and not looks_like_time(usual[-1][1])
    start = 2 if two else 1
    times = [" ".join(row[:start]) for row in usual]
    if sum(map(looks_like_time, times)) < 0.8 * len(times):
        return None
    columns = {"date": 0, "time": 1} if two else {"time": 0}
    numbers = [[_number(cell, comma) for cell in row[start:]] for row in usual]
    return _numbers_without_names(numbers, start, columns)


def _numbers_without_names(numbers: list[list[float | None]], start: int, columns: dict[str, int]) -> dict[str, int] | None:
    width = len(numbers[0])
    if _are_prices(numbers, 0):
        columns.update(zip(PRICES, range(start, start + 4), strict=True))
        later = next((n for n in range(4, width - 3) if _are_prices(numbers, n)), None)
        if later is not None:
            columns.update(zip(ASKS, range(start + later, start + later + 4), strict=True))
        elif width > 4 and any(row[4] for row in numbers):  # all zero: the source has no volume (HistData)
            columns["tick_volume"] = start + 4
        return columns
    if width in (2, 3) and _are_quotes(numbers):
        return {**columns, "bid": start, "ask": start + 1}
    return None


def _are_prices(numbers: Sequence[Sequence[float | None]], first: int) -> bool:
    """Whether four cells are open, high, low, close in nearly all lines, and not the same four numbers in all."""
    cells = [[cell for cell in row[first : first + 4] if cell is not None] for row in numbers]
    full = [row for row in cells if len(row) == 4]
    good = sum(h >= max(o, c) and 0 < lo <= min(o, c) and h < 2 * lo for o, h, lo, c in full)
    return bool(full) and good >= 0.9 * len(numbers) and len({tuple(row) for row in full}) > 1


def _are_quotes(numbers: Sequence[Sequence[float | None]]) -> bool:
    """Whether the first two cells are bid and ask: within two percent of each other, the second not usually below."""
    full = [(row[0], row[1]) for row in numbers if row[0] and row[1]]
    near = sum(abs(a - b) < 0.02 * abs(b) for b, a in full)
    ordered = sum(a >= b for b, a in full)
    return bool(full) and near >= 0.9 * len(numbers) and ordered >= 0.7 * len(numbers)
