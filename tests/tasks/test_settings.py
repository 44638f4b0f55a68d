"""Settings of a pipeline: what is left out has a value, what is wrong is refused with its name."""

import pytest
from pydantic import ValidationError

from feature_store._errors import FeatureStoreError
from tasks.settings import PipelineSettings


def settings(**changes):
    return PipelineSettings(**{"feed": "icm", "symbols": ("EURUSD",), **changes})


def test_symbols_are_upper_case_and_stand_beside_each_other_as_context():
    both = settings(symbols=("eurusd", "GbpUsd"))
    assert both.symbols == both.context_symbols == ("EURUSD", "GBPUSD")
    assert settings().context_symbols == (), "a symbol is no context of itself"
    assert settings(context=("usdjpy",)).context_symbols == ("USDJPY",)
    assert settings(symbols=("EURUSD", "GBPUSD"), context=()).context_symbols == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"famlies": ("linear",)}, "famlies"),
        ({"label": {"stop": 1.0}}, "stop"),
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("EURUSD", "eurusd")}, "name one twice"),
        ({"timeframe": "H7"}, "timeframe 'H7' is not known; use one of M1"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "start 2024-02-01 is not before end 2024-01-01"),
        ({"folds": {"count": 1}}, "greater than or equal to 2"),
        ({"folds": {"holdout_share": 0.9}}, "less than 0.6"),
        ({"budget": {"trials": 0}}, "trials"),
        ({"gate": {"confidence": 0.5}}, "confidence"),
        ({"account_currency": "usd"}, "account_currency"),
        ({"decision": {"risk_fraction": 0.5}}, "risk_fraction"),
    ],
)
def test_a_wrong_value_or_name_is_refused(change, words):
    with pytest.raises((ValidationError, FeatureStoreError), match=words):
        settings(**change)


def test_settings_cannot_be_changed_once_read():
    with pytest.raises(ValidationError, match="frozen"):
        settings().seed = 5
