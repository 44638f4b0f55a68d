"""What names of files say: symbol, timeframe, side, day. Content is asked first wherever it can tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from feature_store._errors import Final
from feature_store.bars import SECONDS, epoch_s
from feature_store.symbols import is_crypto, is_pair

_SPACING_ROWS = 20_000
_BY_SECONDS = {length: name for name, length in SECONDS.items()}


def tokens_of(name: str) -> list[str]:
    """The words of a file's name."""
    return [token for token in re.split(r"[^A-Za-z0-9]+", name) if token]


def symbol_for(names: Sequence[str], given: str | None, shown: str) -> str:
    """Our name of the symbol: as given, else the pair in the first name that has one. Raises `Final` for neither."""
    if given is not None:
        return given.upper()
    for told in names:
        for token in tokens_of(told):
            name, rest = token[:6].upper(), token[6:].lower()
            # EURUSD, EURUSDm (a broker's suffix), EURUSD5 and EURUSDh1 (a timeframe behind it)
            if _is_known(name) and re.fullmatch(r"[a-z]{0,2}\d{0,5}", rest) and not _is_in_coin(name, rest):
                return name
        joined = re.search(r"([A-Za-z]{3})[ _./-]([A-Za-z]{3})(?![A-Za-z])", told)
        if joined and _is_known((joined[1] + joined[2]).upper()):
            return (joined[1] + joined[2]).upper()  # EUR_USD, EUR-USD
    raise Final(f"{shown}: which symbol it holds is not in its name; add --symbol, such as --symbol EURUSD")


def _is_known(name: str) -> bool:
    return is_pair(name) or is_crypto(name)


def _is_in_coin(name: str, rest: str) -> bool:
    """Whether the price is in another coin: BTCUSDT and BTCUSDC are not BTCUSD."""
    return is_crypto(name) and rest[:1] in ("t", "c")


def symbol_in_cell(text: str) -> str:
    """Our name of the symbol that a cell names: EURUSD of "EUR/USD" and "EURUSDm"; other words in upper case."""
    try:
        return symbol_for([text], None, text)
    except Final:
        return text.strip().upper()


def timeframe_for(names: Sequence[str], given: str | None, times: pl.Series, shown: str) -> str:
    """Timeframe as given, else from the file's name, else from the spacing of the bars.

    Raises `Final` when none says it, or when bars stand closer than the timeframe that was given or named.
    """
    named = given or next((token for name in names for token in tokens_of(name) if token in SECONDS), None)
    spacing_s = _usual_spacing_s(times)
    if named is not None:
        if spacing_s is not None and spacing_s < SECONDS[named]:
            says = "was given" if given else "stands in the file's name"
            raise Final(f"{shown}: timeframe {named} {says}, but bars stand {spacing_s} s apart; give the true --timeframe")
        return named
    if spacing_s in _BY_SECONDS:
        return _BY_SECONDS[spacing_s]
    raise Final(f"{shown}: its timeframe cannot be told from the bars; add --timeframe, such as --timeframe M5")


def _usual_spacing_s(times: pl.Series) -> int | None:
    """Most common distance of neighbours in seconds, None when fewer than half of them share it."""
    moments = np.unique(epoch_s(times.head(_SPACING_ROWS).drop_nulls()))
    if len(moments) < 3:
        return None
    spacings, counts = np.unique(np.diff(moments), return_counts=True)
    most = int(np.argmax(counts))
    return int(spacings[most]) if counts[most] * 2 >= counts.sum() else None


def side_in_name(names: Sequence[str]) -> str:
    """ "bid" or "ask" when one of the words stands in the first name that has any of them, else ""."""
    for name in names[:2]:
        sides = {token.lower() for token in tokens_of(name)} & {"bid", "ask"}
        if sides:
            return sides.pop() if len(sides) == 1 else ""
    return ""


def series_key(name: str) -> str:
    """The name without its side: the same for the two files of a pair."""
    return "|".join(token.lower() for token in tokens_of(name) if token.lower() not in ("bid", "ask"))


def day_in_name(names: Sequence[str]) -> date | None:
    """The day written as YYYYMMDD in the first name that has one."""
    for name in names:
        for token in tokens_of(name):
            if re.fullmatch(r"(19|20)\d{6}", token):
                try:
                    return date(int(token[:4]), int(token[4:6]), int(token[6:]))
                except ValueError:
                    continue
    return None
