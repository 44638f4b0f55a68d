"""A pipeline's features in its snapshot: all that fit, those it names, and the user's own."""

from __future__ import annotations

import numpy as np
import pytest

from feature_store._errors import FeatureStoreError
from feature_store.features import all_features
from tasks.dataset import feature_set_of
from tests.tasks.test_dataset import built, home, keep, pipeline

__all__ = ["home"]

MINE = (
    "from feature_store.features import feature\n\n@feature(lookback_bars=1)\ndef my_body(open, close, atr):\n"
    "    return (close - open) / atr\n\n@feature(lookback_bars=2)\ndef my_lead(lead__change, atr):\n"
    "    return lead__change / atr\n"
)


def extend(home, text=MINE):
    home.extensions.mkdir(parents=True, exist_ok=True)
    (home.extensions / "mine.py").write_text(text, encoding="utf-8")


def test_a_snapshot_of_all_features_holds_the_user_s_own(home):
    keep(home, "EURUSD")
    plain = built(home, pipeline("EURUSD"))
    extend(home)
    found = built(home, pipeline("EURUSD"))
    assert (
        found.manifest.feature_names == (*plain.manifest.feature_names, "my_body")
        and found.manifest.feature_hash != plain.manifest.feature_hash
    )
    column = found.features[:, -1]
    assert np.isfinite(column[found.manifest.warmup_bars :]).all() and np.nanstd(column) > 0.1


def test_an_edited_file_is_another_snapshot_and_a_comment_is_not(home):
    keep(home, "EURUSD")
    extend(home)
    settings = pipeline("EURUSD", features=("my_body", "rsi"))
    first = built(home, settings)
    extend(home, "# a note\n" + MINE)
    assert built(home, settings).manifest.feature_hash == first.manifest.feature_hash
    extend(home, MINE.replace("(close - open)", "2 * (close - open)"))
    second = built(home, settings)
    assert second.manifest.feature_names == first.manifest.feature_names == ("my_body", "rsi")
    assert second.manifest.feature_hash != first.manifest.feature_hash
    np.testing.assert_allclose(second.features[100:, 0], 2 * first.features[100:, 0], rtol=1e-6)
    np.testing.assert_array_equal(second.features[:, 1], first.features[:, 1])


def test_words_may_be_names_or_groups_and_a_group_takes_what_the_pipeline_allows(home):
    extend(home)
    chosen = feature_set_of(pipeline("EURUSD", features=("mine", "context", "rsi", "my_body")), {}, extensions=home.extensions)
    context = [f.name for f in all_features() if f.group == "context" and not any(i.context == "lead" for i in f.inputs)]
    assert chosen.names == ("my_body", *context, "rsi")
    led = pipeline("EURUSD", "USDJPY", context=("EURUSD", "USDJPY"), features=("mine",))
    assert feature_set_of(led, {}, extensions=home.extensions).names == ("my_body", "my_lead", "is_eurusd", "is_usdjpy")


def test_a_word_that_is_no_feature_or_one_that_lacks_its_context_is_refused(home):
    extend(home)
    with pytest.raises(FeatureStoreError, match="feature 'my_bdy' is not known; did you mean my_body"):
        feature_set_of(pipeline("EURUSD", features=("my_bdy",)), {}, extensions=home.extensions)
    with pytest.raises(FeatureStoreError, match="feature my_lead needs a lead symbol for EURUSD"):
        feature_set_of(pipeline("EURUSD", features=("my_lead",)), {}, extensions=home.extensions)
