from __future__ import annotations

import numpy as np
import pytest

from serving._errors import Final
from serving.conversion import rate, rate_series

QUOTES = {"EURUSD": (1.1000, 1.1002), "USDJPY": (150.00, 150.02), "GBPUSD": (1.25, 1.2502)}


def test_a_currency_is_worth_one_of_itself_without_any_quote():
    assert rate("USD", "USD", {}) == 1.0


@pytest.mark.parametrize(
    ("source", "target", "loss", "gain"),
    [
        ("EUR", "USD", 1.1002, 1.1000),
        ("JPY", "USD", 1 / 150.00, 1 / 150.02),
        ("USD", "EUR", 1 / 1.1000, 1 / 1.1002),
        ("JPY", "EUR", 1 / 150.00 / 1.1000, 1 / 150.02 / 1.1002),
        ("EUR", "JPY", 1.1002 * 150.02, 1.1000 * 150.00),
    ],
)
def test_direct_inverse_and_through_the_dollar_on_the_side_that_is_worse_for_us(source, target, loss, gain):
    assert rate(source, target, QUOTES) == pytest.approx(loss)
    assert rate(source, target, QUOTES, gain=True) == pytest.approx(gain)


def test_a_missing_rate_is_an_error_and_never_one():
    with pytest.raises(Final, match="no rate from CHF to USD"):
        rate("CHF", "USD", QUOTES)


@pytest.mark.parametrize("quote", [(float("nan"), 1.1), (0.0, 1.1), (1.2, 1.1), (1.1, float("inf"))])
def test_a_quote_that_is_no_price_converts_nothing(quote):
    with pytest.raises(Final, match="EURUSD: bid"):
        rate("EUR", "USD", {"EURUSD": quote})


def test_a_series_is_the_rate_of_each_moment():
    bid = {"USDJPY": np.array([150.0, 160.0]), "EURUSD": np.array([1.1, 1.2])}
    ask = {name: prices + 0.02 for name, prices in bid.items()}
    gain, loss = rate_series("JPY", "EUR", bid, ask, 2)
    for i in range(2):
        quotes = {name: (bid[name][i], ask[name][i]) for name in bid}
        assert loss[i] == pytest.approx(rate("JPY", "EUR", quotes)) and gain[i] == pytest.approx(
            rate("JPY", "EUR", quotes, gain=True)
        )


def test_a_series_without_a_way_is_refused():
    with pytest.raises(Final, match="no rate from CHF"):
        rate_series("CHF", "USD", {}, {}, 3)
