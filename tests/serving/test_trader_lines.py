"""The bars a line keeps for itself: equal to resampling all of history, in whatever pieces they came."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.atr import atr
from feature_store.bars import bar_close, epoch_s, resample
from feature_store.features import BaseBars
from serving._errors import Final
from serving._trader_lines import Opinion, OwnBars, _answers
from tests.conftest import make_bars

BARS = make_bars(datetime(2024, 3, 8, 12, tzinfo=UTC), 1500)  # over a weekend and the US clock change


@pytest.mark.parametrize("timeframe", ["M5", "H1", "H4"])
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, len(BARS)), min_size=1, max_size=12), overlap=st.integers(0, 5))
def test_own_bars_equal_resampled_history_in_whatever_pieces_they_came(timeframe, cuts, overlap):
    own = OwnBars(timeframe, keep=10_000)
    before = 0
    for cut in sorted({*cuts, len(BARS)}):
        piece = BARS.slice(max(0, before - overlap), cut - max(0, before - overlap))
        own.add(BaseBars.of(piece, "EURUSD"), int(epoch_s(piece["time"])[-1]) + 60)
        before = cut
    known_at_s = int(epoch_s(BARS["time"])[-1]) + 60
    whole = resample(BARS, timeframe).filter(
        pl.Series(bar_close(epoch_s(resample(BARS, timeframe)["time"]), timeframe) <= known_at_s)
    )
    opens = epoch_s(whole["time"])
    np.testing.assert_array_equal(own.opens, opens)
    expected = atr(*(whole[c].to_numpy() for c in ("high", "low", "close")), 3)[-1]
    assert own.atr(int(opens[-1]), 3) == expected
    assert own.held_since(int(opens[-4])) == 3


def test_a_bar_that_is_not_there_has_no_atr():
    own = OwnBars("H1", keep=100)
    own.add(BaseBars.of(BARS, "EURUSD"), int(epoch_s(BARS["time"])[-1]) + 60)
    assert np.isnan(own.atr(int(own.opens[-1]) + 3600, 3))


class OneBadAnswer:
    """A model that answers with no probability wherever a window holds 9, as `OnnxModel` refuses it."""

    uses_position = False

    def probabilities(self, windows: np.ndarray, position: None) -> np.ndarray:
        if (windows == 9).any():
            raise Final("the model answered something that is no probability")
        return np.full((len(windows), 3), 1 / 3, dtype=np.float32)


class NamedLine:
    def __init__(self, name: str) -> None:
        self.name, self.model = name, OneBadAnswer()

    def opinion(self, probabilities: np.ndarray, bar_s: int) -> Opinion:
        return Opinion((1 / 3, 1 / 3, 1 / 3), 0, 0.0, 1.0)


def test_a_model_that_answers_junk_for_one_line_does_not_silence_the_others():
    asked = [(NamedLine(name), np.full((2, 3), value, dtype=np.float32)) for name, value in (("a", 1), ("b", 9), ("c", 2))]
    said = _answers(asked, 0, {})
    assert isinstance(said["a"], Opinion) and isinstance(said["c"], Opinion)
    assert isinstance(said["b"], Final) and "no probability" in str(said["b"])
