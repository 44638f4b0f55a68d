"""What the simulated broker offers, through the package's own functions."""

from datetime import UTC, datetime

import pytest

from feature_store.symbol_names import Offer
from serving._errors import Retryable
from serving.terminal.offers import offers
from serving.terminal.simulated import SimulatedConfig, SymbolConfig, install
from tests.conftest import make_bars

START = datetime(2024, 3, 4, 10, tzinfo=UTC)


@pytest.fixture
def terminal():
    bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 900)
    symbols = (
        SymbolConfig("EURUSD.r", 5, 100_000.0, "EUR", "USD", "EUR"),
        SymbolConfig("EURUSDm", 5, 1000.0, "EUR", "USD", "EUR", trade_mode=3),
    )
    with install(SimulatedConfig(symbols=symbols, market={s.name: bars for s in symbols}, start=START)) as handle:
        yield handle.module


def test_every_symbol_is_offered_with_its_currencies_size_and_whether_it_trades(terminal):
    assert offers(terminal) == (
        Offer("EURUSD.r", "EUR", "USD", 100_000.0, True),
        Offer("EURUSDm", "EUR", "USD", 1000.0, False),
    )


def test_a_terminal_that_does_not_answer_may_be_asked_again_later():
    class Away:
        def initialize(self):
            return False

        def last_error(self):
            return -10005, "IPC timeout"

    with pytest.raises(Retryable, match=r"does not answer: IPC timeout \(-10005\)"):
        offers(Away())
