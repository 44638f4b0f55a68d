"""Which of a broker's symbols is which of ours: told by currencies and size, never guessed."""

import pytest

from feature_store.symbol_names import Offer, propose


def offer(name, base, profit="USD", size=None, tradable=True):
    usual = {"XAU": 100.0, "BTC": 1.0}.get(base, 100_000.0)
    return Offer(name, base, profit, usual if size is None else size, tradable)


@pytest.mark.parametrize(
    ("offered", "ours"),
    [
        (offer("EURUSD", "EUR"), "EURUSD"),
        (offer("EURUSDm", "EUR"), "EURUSD"),
        (offer("EURUSD.r", "EUR"), "EURUSD"),
        (offer("EURUSD_i", "EUR"), "EURUSD"),
        (offer("#EURUSD", "EUR"), "EURUSD"),
        (offer("mEURUSD", "EUR"), "EURUSD"),
        (offer("EUR/USD", "EUR"), "EURUSD"),
        (offer("EURUSD-ECN", "EUR"), "EURUSD"),
        (offer("EURUSDPRO", "EUR"), "EURUSD"),
        (offer("eurusd", "EUR"), "EURUSD"),
        (offer("USDJPY+", "USD", "JPY"), "USDJPY"),
        (offer("XAUUSD.pro", "XAU"), "XAUUSD"),
        (offer("GOLD", "XAU"), "XAUUSD"),
        (offer("GOLD", "USD", size=100.0), "XAUUSD"),  # a contract for difference: its base is the profit currency
        (offer("GOLDUSDm", "XAU"), "XAUUSD"),
        (offer("BTCUSD", "BTC"), "BTCUSD"),
        (offer("BTCUSD", "USD", size=1.0), "BTCUSD"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.name,
)
def test_prefix_suffix_case_and_alias_lead_to_our_name_and_the_brokers_spelling_is_kept(offered, ours):
    for wanted in ([ours], []):  # asked for, or found by itself
        (found,) = propose([offered], wanted, {})
        assert (found.symbol, found.broker_symbol) == (ours, offered.name)


@pytest.mark.parametrize(
    "offered",
    [
        offer("EURUSD", "EUR", "USDT"),  # pays in another currency
        offer("EURUSD", "USD", size=100_000.0),  # a currency pair is no contract for difference
        offer("GOLD", "USD", size=1.0),  # the share of a mine
        offer("GOLDMAN", "USD", size=100.0),
        offer("EURUSD outlook", "EUR"),
    ],
    ids=lambda o: f"{o.name} {o.base_currency}{o.profit_currency}",
)
def test_what_only_looks_like_ours_is_not_proposed(offered):
    for symbol in ("EURUSD", "XAUUSD"):
        (found,) = propose([offered], [symbol], {})
        assert (found.broker_symbol, found.reason) == ("", "the broker offers none")


def test_between_two_that_may_both_be_meant_nothing_is_guessed_and_both_are_named():
    (found,) = propose([offer("EURUSD", "EUR"), offer("EURUSD.r", "EUR")], ["EURUSD"], {})
    assert found.broker_symbol == "" and found.candidates == ("EURUSD", "EURUSD.r")
    assert found.reason == "EURUSD, EURUSD.r may all be meant; name one in the settings"


def test_the_usual_lot_and_being_tradable_tell_two_apart():
    micro, closed = offer("EURUSD.micro", "EUR", size=1000.0), offer("EURUSD", "EUR", tradable=False)
    (found,) = propose([micro, closed, offer("EURUSD.r", "EUR")], ["EURUSD"], {})
    assert found.broker_symbol == "EURUSD.r"
    assert found.reason == "EUR against USD, 100000 in a lot; not EURUSD.micro (1000), EURUSD (100000, not tradable)"
    (alone,) = propose([micro], ["EURUSD"], {})
    assert alone.broker_symbol == "EURUSD.micro" and alone.reason == "its lot is 1000 EUR, not the usual 100000"
    (none,) = propose([closed], ["EURUSD"], {})
    assert none.broker_symbol == "" and "cannot be traded both ways" in none.reason


def test_what_the_user_has_said_stays_while_the_broker_offers_it():
    both = [offer("EURUSD", "EUR"), offer("EURUSD.r", "EUR")]
    assert propose(both, ["EURUSD"], {"EURUSD": "EURUSD.r"})[0].broker_symbol == "EURUSD.r"
    assert propose(both[:1], ["EURUSD"], {"EURUSD": "EURUSD.x"})[0].broker_symbol == "EURUSD"


def test_an_index_is_left_to_the_user():
    (found,) = propose([offer("US500", "USD", size=1.0)], ["US500"], {})
    assert found.broker_symbol == "" and "name it in the settings" in found.reason
