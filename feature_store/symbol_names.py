"""Which of a broker's symbols is which of ours: by currencies, name and contract size, never by guess between two."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feature_store.symbols import assumed_spec, is_crypto, is_pair

_ALIASES = {"XAU": ("GOLD",), "XAG": ("SILVER",), "XPT": ("PLATINUM",), "XPD": ("PALLADIUM",), "BTC": ("BITCOIN",)}
_ALIASES |= {"ETH": ("ETHEREUM",)}


@dataclass(frozen=True)
class Offer:
    """One symbol as a broker offers it; name with case and suffix. contract_size: units in one lot."""

    name: str
    base_currency: str
    profit_currency: str
    contract_size: float
    tradable: bool  # both ways; close-only and disabled symbols are not


@dataclass(frozen=True)
class Proposal:
    """What our `symbol` seems to be called. broker_symbol: "" when none or several may be meant, see `reason`."""

    symbol: str
    broker_symbol: str
    reason: str
    candidates: tuple[str, ...]


def propose(offers: Sequence[Offer], wanted: Iterable[str], known: Mapping[str, str]) -> list[Proposal]:
    """A proposal for each of our names in `wanted`; all that the offers hold when it names none.

    known: our name to the broker's as the user has it; it stays wherever the broker offers it.
    """
    names = list(dict.fromkeys(wanted)) or sorted({ours for offer in offers for ours in _ours(offer)})
    return [_proposal(name, offers, known.get(name, "")) for name in names]


def _proposal(symbol: str, offers: Sequence[Offer], known: str) -> Proposal:
    if known and any(offer.name == known for offer in offers):
        return Proposal(symbol, known, "as it is in the settings", (known,))
    if not (is_pair(symbol) or is_crypto(symbol)):
        return Proposal(symbol, "", "no currency pair, metal or coin: name it in the settings yourself", ())
    found = [offer for offer in offers if _means(offer, symbol)]
    names = tuple(offer.name for offer in found)
    usable = [offer for offer in found if offer.tradable]
    usual = assumed_spec("", symbol).contract_size
    of_size = [offer for offer in usable if offer.contract_size == usual]
    if not found:
        return Proposal(symbol, "", "the broker offers none", names)
    if not usable:
        return Proposal(symbol, "", f"{', '.join(names)} cannot be traded both ways on this account", names)
    if len(of_size) == 1:
        return Proposal(symbol, of_size[0].name, _why(of_size[0], found), names)
    if not of_size and len(usable) == 1:
        size = f"its lot is {usable[0].contract_size:g} {symbol[:3]}, not the usual {usual:g}"
        return Proposal(symbol, usable[0].name, size, names)
    several = ", ".join(offer.name for offer in (of_size or usable))
    return Proposal(symbol, "", f"{several} may all be meant; name one in the settings", names)


def _why(chosen: Offer, found: Sequence[Offer]) -> str:
    currencies = f"{chosen.base_currency} against {chosen.profit_currency}, {chosen.contract_size:g} in a lot"
    others = [f"{o.name} ({o.contract_size:g}{'' if o.tradable else ', not tradable'})" for o in found if o is not chosen]
    return currencies + (f"; not {', '.join(others)}" if others else "")


def _ours(offer: Offer) -> list[str]:
    """Our names that the offer may stand for."""
    profit = offer.profit_currency.upper()
    bases = [offer.base_currency.upper(), *(base for base, words in _ALIASES.items() if any(_in(w, offer) for w in words))]
    bases += [word for word in _ALIASES if _in(word + profit, offer)]
    names = [base + profit for base in bases]
    return [name for name in names if (is_pair(name) or is_crypto(name)) and _means(offer, name)]


def _means(offer: Offer, symbol: str) -> bool:
    """Whether the offer's name holds ours or its alias, and its currencies or its contract size bear it out."""
    base, profit = symbol[:3], symbol[3:]
    words = (symbol, *_ALIASES.get(base, ()))
    if offer.profit_currency.upper() != profit or not any(_in(word, offer) for word in words):
        return False
    if offer.base_currency.upper() == base:
        return True
    # Metals and coins are often booked as contracts for difference, whose base is the profit currency. So are shares
    # with such names: GOLDMAN.
    is_contract = offer.base_currency.upper() == profit and offer.contract_size == assumed_spec("", symbol).contract_size
    return is_contract and not _is_currency_pair(symbol) and any(_in(word, offer, letters="") for word in words)


def _is_currency_pair(symbol: str) -> bool:
    return is_pair(symbol) and not symbol.startswith("X")


def _in(word: str, offer: Offer, letters: str = "|[A-Z]{1,3}") -> bool:
    """Whether the broker's name is the word between signs and a short suffix: #EURUSD, EURUSD.r, mEURUSD, EUR/USD, GOLDUSDpro."""
    plain = re.sub(r"^[^A-Za-z0-9]+", "", offer.name).replace("/", "")
    plain = re.sub(r"^([A-Za-z]{3})[-_.]([A-Za-z]{3})", r"\1\2", plain)
    profit = re.escape(offer.profit_currency)
    return re.fullmatch(rf"m?(?i:{word})(?i:{profit})?([^A-Za-z0-9 ].*|[a-z]{{0,6}}{letters})", plain) is not None
