from dataclasses import replace
from datetime import UTC, datetime

import pytest

from feature_store._errors import Final
from feature_store.symbols import assumed_spec, check_spec, is_crypto, is_pair


def test_assumed_specifications_know_yen_metals_coins_and_nothing_else():
    assert (assumed_spec("f", "USDJPY").point, assumed_spec("f", "EURUSD").point) == (0.001, 0.00001)
    assert (assumed_spec("f", "xauusd").contract_size, assumed_spec("f", "XAGUSD").contract_size) == (100.0, 5000.0)
    coin = assumed_spec("f", "BTCUSD")
    assert (coin.contract_size, coin.digits, coin.base_currency, coin.source) == (1.0, 2, "BTC", "assumed")
    for name in ("BTCETH", "EUREUR", "US500", "EURUSDX"):
        with pytest.raises(Final, match="no usual specification is known"):
            assumed_spec("f", name)


def test_an_assumed_specification_says_so_and_holds_for_all_time():
    spec = assumed_spec("f", "EURUSD")
    assert (spec.source, spec.valid_from) == ("assumed", datetime(1970, 1, 1, tzinfo=UTC))
    assert (spec.base_currency, spec.profit_currency, spec.margin_currency) == ("EUR", "USD", "EUR")
    check_spec(spec)


def test_a_pair_is_two_different_currencies_or_a_metal_in_one():
    assert all(map(is_pair, ["EURUSD", "USDJPY", "XAUUSD", "XAGEUR"]))
    assert not any(map(is_pair, ["EUREUR", "USDXAU", "eurusd", "EURUSD5", "ABCDEF", "BTCUSD", ""]))
    assert all(map(is_crypto, ["BTCUSD", "ETHEUR"])) and not any(map(is_crypto, ["EURUSD", "BTC", "USDBTC"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"point": 0.0}, r"point 0\.0 must be above 0"),
        ({"volume_step": float("nan")}, "volume_step nan must be above 0"),
        ({"volume_max": 0.001}, r"volume_max 0\.001 must not be below volume_min 0\.01"),
        ({"source": "rumour"}, "source 'rumour' must be one of broker, user, assumed"),
    ],
)
def test_a_specification_that_cannot_be_true_is_refused_by_value(change, message):
    with pytest.raises(Final, match=message):
        check_spec(replace(assumed_spec("f", "EURUSD"), **change))
