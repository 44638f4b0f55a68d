"""The numbers about features, against hand-worked ones, and the page that shows them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.feature_ground import Ground, generated_ground
from tasks._errors import Final
from tasks.feature_statistics import FeatureStatistics, clustered, correlations, feature_statistics
from tasks.features_page import write_features_page

NAMES = ("bar_body", "rsi", "range_position", "spread_atr", "h4_return")


@pytest.fixture(scope="module")
def ground() -> Ground:
    """The generated bars, those of January without a known spread."""
    made = generated_ground(())
    january = pl.col("time").dt.month() == 1
    hidden = {
        s: b.with_columns(spread_points=pl.when(january).then(None).otherwise("spread_points")) for s, b in made.base.items()
    }
    return replace(made, name="sim EURUSD H1", base=hidden)


@pytest.fixture(scope="module")
def found(ground: Ground) -> FeatureStatistics:
    return feature_statistics(ground.features(NAMES), ground)


def test_correlation_is_that_of_rows_on_which_both_are_known() -> None:
    values = np.array([[1.0, 2.0, 5.0], [2.0, 4.0, 5.0], [3.0, np.nan, 5.0], [4.0, 1.0, 5.0]])
    got = correlations(values)
    # Of (1, 2), (2, 4) and (4, 1): both means 7/3, sum of products -21/9, sums of squares 42/9.
    assert got[0, 1] == pytest.approx(-1 / 2) and got[1, 0] == got[0, 1]
    assert got[0, 0] == got[1, 1] == 1.0
    assert np.isnan(got[2]).all() and np.isnan(got[:, 2]).all()  # what never varies correlates with nothing


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.4))
@settings(max_examples=25, deadline=None)
def test_correlation_equals_numpy_s_on_the_rows_of_each_pair(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(80, 4)) @ random.normal(size=(4, 4)) * 1e3 + 1e5
    values[random.random(values.shape) < share] = np.nan
    got = correlations(values)
    for a in range(4):
        for b in range(a):
            both = values[np.isfinite(values[:, a]) & np.isfinite(values[:, b])]
            assert got[a, b] == pytest.approx(np.corrcoef(both[:, a], both[:, b])[0, 1], abs=1e-6)


def test_columns_that_are_alike_or_opposite_come_to_stand_side_by_side() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 500))
    order = clustered(
        correlations(np.column_stack([a, b, -a + 0.1 * random.normal(size=500), b + 0.1 * random.normal(size=500)]))
    )
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(2)) == abs(order.index(1) - order.index(3)) == 1


def test_the_share_unknown_is_counted_by_feature_and_over_time(found: FeatureStatistics) -> None:
    by_name = dict(zip(found.names, found.missing, strict=True))
    assert by_name["rsi"] == 0.0 and 0.15 < by_name["spread_atr"] < 0.3
    at = found.names.index("spread_atr")
    known = dict(zip(found.periods, found.missing_by_period[:, at], strict=True))
    assert {p for p, share in known.items() if share > 0.9} >= {"2024-01-08", "2024-01-15", "2024-01-22"}
    assert all(share < 0.1 for p, share in known.items() if p < "2023-12-25" or p > "2024-02-01")
    counts = np.array([len(found.periods), found.rows])
    assert (counts > [15, 1500]).all()


def test_distributions_hold_all_but_the_ends(found: FeatureStatistics, ground: Ground) -> None:
    values = ground.features(["rsi"]).compute(ground.base, "EURUSD")["rsi"][found.warmup_bars :].to_numpy()
    rsi = found.distributions[found.names.index("rsi")]
    assert rsi is not None and (0 < rsi.low < rsi.median < rsi.high < 100)
    assert rsi.median == pytest.approx(float(np.median(values)), rel=1e-6)
    assert found.rows == len(values) and 0.985 * found.rows < sum(rsi.counts) <= found.rows


def test_pairs_that_are_alike_are_named_the_most_alike_first(found: FeatureStatistics) -> None:
    pairs = found.alike(0.0)
    assert len(pairs) == 10 and [abs(c) for *_, c in pairs] == sorted((abs(c) for *_, c in pairs), reverse=True)
    (strongest, other, size) = pairs[0]
    assert {strongest, other} <= {"rsi", "range_position", "bar_body", "h4_return"} and found.alike(size + 1e-9) == []


def test_too_few_rows_are_refused_in_one_line(ground: Ground) -> None:
    short = replace(ground, base={s: b.head(900) for s, b in ground.base.items()})
    with pytest.raises(Final, match=r"sim EURUSD H1: \d+ rows after a warm-up of \d+; ingest more bars"):
        feature_statistics(short.features(NAMES), short)


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_holds_every_part_and_needs_no_network(found: FeatureStatistics, tmp_path: Path) -> None:
    text = write_features_page(tmp_path / "reports" / "page.html", found).read_text(encoding="utf-8")
    titles = ["Alike", "Unknown", "Lookback", "Distributions", "Definitions"]
    assert [t for t in titles if f"<h2>{t}</h2>" not in text] == []
    own = text.partition("<main>")[2]
    assert not re.search(r"(src|href)=['\"]?https?:", own) and own.count("Plotly.newPlot") == 4
    assert own.count("<svg viewBox") == len(NAMES)
    for feature in found.features:
        assert f"<b>{feature.name}</b>" in own and feature.description.replace("'", "&#x27;") in own
    assert "5 features" in own and "49 bars of H4" in own
    assert len(own) < 400_000


def test_the_heat_map_stands_in_the_order_of_the_clusters(found: FeatureStatistics, tmp_path: Path) -> None:
    text = write_features_page(tmp_path / "page.html", found).read_text(encoding="utf-8")
    names = re.search(r'"type":"heatmap"', text.partition("<main>")[2])
    assert names is not None
    axis = re.search(r'"y":(\["[a-z0-9_",]+\])', text.partition("<main>")[2])
    assert axis is not None and json.loads(axis.group(1)) == [found.names[i] for i in found.order]


def test_a_feature_that_is_never_known_is_said_to_be_so(ground: Ground, tmp_path: Path) -> None:
    blind = replace(ground, base={s: b.with_columns(spread_points=None).cast(b.schema) for s, b in ground.base.items()})
    found = feature_statistics(blind.features(NAMES), blind)
    assert found.distributions[found.names.index("spread_atr")] is None
    text = write_features_page(tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "1 features are unknown on every row of this series." in text and "unknown on every row</p>" in text


def test_a_set_that_is_always_known_has_no_chart_of_the_unknown(ground: Ground, tmp_path: Path) -> None:
    found = feature_statistics(ground.features(["rsi"]), ground)
    text = write_features_page(tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "Every feature is known on every row after warm-up." in text
    assert "No two features correlate beyond 0.95 on this series." in text
