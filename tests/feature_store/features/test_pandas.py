"""A second implementation: the pandas versions of the benchmark, which share no line with the features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.pandas_features import in_pandas, pandas_features
from feature_store.bars import resample
from feature_store.features import FeatureSet, FeatureSpec
from tests.feature_store.features.conftest import POINTS, Market


@pytest.mark.parametrize("season", ["spring", "autumn"])
def test_all_features_agree_with_pandas(season: str, request: pytest.FixtureRequest) -> None:
    market: Market = request.getfixturevalue(season)
    features = FeatureSet(FeatureSpec(None, "H1", ("EURUSD", "USDJPY"), ("EURUSD",)), points=POINTS)
    ours = features.compute(market, "EURUSD")[features.warmup_bars :]
    own, lead = (in_pandas(resample(market[s], "H1")) for s in ("EURUSD", "USDJPY"))
    theirs = pandas_features(own, lead, POINTS["EURUSD"], pd.Timedelta(hours=1))
    theirs = theirs.iloc[features.warmup_bars : features.warmup_bars + len(ours)]
    assert {*theirs.columns} == {*features.names}
    for name in features.names:
        expected = theirs[name].to_numpy(dtype=np.float64)
        assert np.allclose(ours[name].to_numpy(), expected, rtol=1e-5, atol=1e-6, equal_nan=True), name
