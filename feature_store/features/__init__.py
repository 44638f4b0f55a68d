"""Features: what a model sees of the market. A feature is one function in a group file; `ls` is the menu."""

from feature_store.features import _measures as _measures  # registers the measures that features name
from feature_store.features._feature import Feature, all_features, feature
from feature_store.features._live import LiveFeatures
from feature_store.features._live import windows as live_windows
from feature_store.features._series import BaseBars
from feature_store.features._set import FeatureSet, FeatureSpec

EXTENSIONS = "extensions"
"""Folder of a home that holds the user's own features."""

__all__ = [
    "EXTENSIONS", "BaseBars", "Feature", "FeatureSet", "FeatureSpec", "LiveFeatures", "all_features", "feature", "live_windows",
]  # fmt: skip
