"""What a reply of `order_send` means for an order: done, surely not done, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.terminal._broker_types import Done, Rejected, Reply, Unknown

DONE, DONE_PARTIAL, PLACED = 10009, 10010, 10008
NO_CHANGES = 10025
REQUOTE, PRICE_CHANGED, NO_PRICES = 10004, 10020, 10021
INVALID_STOPS = 10016
MARKET_CLOSED = 10018
POSITION_GONE = 10036

# Codes after which the server has surely done nothing. Any code not listed here or above is Unknown: a list
# of what is safe fails closed when a broker invents a new one. 10011, 10012, 10028 and 10031 are left out on
# purpose: an error, a timeout, a lock or a lost connection may hide a fill.
_REFUSED = {
    REQUOTE, 10006, 10007, 10013, 10014, 10015, INVALID_STOPS, 10017, MARKET_CLOSED, 10019, PRICE_CHANGED, NO_PRICES, 10022,
    10024, 10026, 10027, 10029, 10030, 10032, 10033, 10034, 10035, POSITION_GONE, 10038, 10039, 10040, 10041,
    10042, 10043, 10044, 10045, 10046,
}  # fmt: skip
_PRICE_MOVED = {REQUOTE, PRICE_CHANGED, NO_PRICES}
# None from the package: the request never left it (bad arguments, API trading switched off).
_NEVER_SENT = {-2, -8}


def sort_reply(result: Any, error: tuple[int, str], kind: str) -> Reply:
    """The reply in our words. `error` is `last_error()` taken right after; it speaks when `result` is None."""
    if result is None:
        code, text = error
        raw: Mapping[str, Any] = {"last_error": [code, text]}
        return Rejected(code, text, False, False, raw) if code in _NEVER_SENT else Unknown(code, text, raw)
    raw = plain(result)
    code, text = int(result.retcode), str(result.comment)
    if kind == "protect":
        if code in (DONE, NO_CHANGES):
            return Done(int(result.order), 0, 0.0, 0.0, raw)
    elif code in (DONE, DONE_PARTIAL) and result.deal:
        return Done(int(result.order), int(result.deal), float(result.volume), float(result.price), raw)
    if code in _REFUSED:
        return Rejected(code, text, code in _PRICE_MOVED, code == INVALID_STOPS, raw)
    # Also here: done or placed without a deal, whose fill may still come.
    return Unknown(code, text, raw)


def plain(result: Any) -> Mapping[str, Any]:
    """A result as a dictionary that JSON takes, its request included."""
    fields = result._asdict()
    return {name: dict(value._asdict()) if hasattr(value, "_asdict") else value for name, value in fields.items()}
