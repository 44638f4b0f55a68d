"""Currency conversion at the moment's rate: direct, inverse or through one common currency; never 1.0 for unknown.

MetaTrader converts profit through the traded symbol itself at the closing price when one leg is the account's
currency, and otherwise on the side that is worse for the client: gains at the lower rate, losses at the higher one.
Here bid is the rate of a gain, ask that of a loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from serving._errors import Final

F64 = npt.NDArray[np.float64]
COMMON = "USD"  # nearly every currency is quoted against it


def _leg(source: str, target: str, quotes: Mapping[str, tuple[float, float]]) -> tuple[float, float] | None:
    """(rate of a gain, rate of a loss) of one symbol, direct or inverse; None when neither is quoted."""
    if source == target:
        return 1.0, 1.0
    for symbol, inverse in ((source + target, False), (target + source, True)):
        if symbol in quotes:
            bid, ask = quotes[symbol]
            if not (math.isfinite(bid) and math.isfinite(ask) and 0.0 < bid <= ask):
                raise Final(f"{symbol}: bid {bid} and ask {ask} convert nothing; wait for a valid quote")
            return (1.0 / ask, 1.0 / bid) if inverse else (bid, ask)
    return None


def rate(from_currency: str, to_currency: str, quotes: Mapping[str, tuple[float, float]], *, gain: bool = False) -> float:
    """What one unit of `from_currency` is worth in `to_currency`. quotes: symbol -> (bid, ask).

    On the side of a loss (the higher rate) unless `gain`. Raises `Final` when no quoted symbol leads there, also not
    through USD: a guessed rate would size positions wrongly without a sign of it.
    """
    side = 0 if gain else 1
    straight = _leg(from_currency, to_currency, quotes)
    if straight is not None:
        return straight[side]
    first, second = _leg(from_currency, COMMON, quotes), _leg(COMMON, to_currency, quotes)
    if first is None or second is None:
        raise Final(
            f"no rate from {from_currency} to {to_currency}: neither {from_currency}{to_currency}, {to_currency}{from_currency} "
            f"nor a way through {COMMON} is quoted; add one of them to the feed's symbols"
        )
    return first[side] * second[side]


def _leg_series(source: str, target: str, bid: Mapping[str, F64], ask: Mapping[str, F64]) -> tuple[F64, F64] | None:
    if source + target in bid:
        return bid[source + target], ask[source + target]
    if target + source in bid:
        return 1.0 / ask[target + source], 1.0 / bid[target + source]
    return None


def rate_series(
    from_currency: str, to_currency: str, bid: Mapping[str, F64], ask: Mapping[str, F64], size: int
) -> tuple[F64, F64]:
    """(rates of a gain, rates of a loss), each (size,), as `rate` gives them at each moment.

    bid, ask: symbol -> (size,) prices known at each moment, NaN before the first one; the rate is NaN there, which
    sizes nothing. Raises `Final` when no symbol leads there.
    """
    if from_currency == to_currency:
        return np.ones(size), np.ones(size)
    straight = _leg_series(from_currency, to_currency, bid, ask)
    if straight is not None:
        return straight
    first, second = _leg_series(from_currency, COMMON, bid, ask), _leg_series(COMMON, to_currency, bid, ask)
    if first is None or second is None:
        raise Final(
            f"no rate from {from_currency} to {to_currency}: the bars hold neither {from_currency}{to_currency}, "
            f"{to_currency}{from_currency} nor a way through {COMMON}; ingest one of them or use another account currency"
        )
    return first[0] * second[0], first[1] * second[1]
