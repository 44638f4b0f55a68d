"""Finding families, and what they are handed."""

import re

import numpy as np
import pytest

from feature_store.features._extension_source import holds_features
from model_zoo._errors import Final
from model_zoo._family import Context, ModelFamily, family_names, get
from tests.model_zoo.samples import EXTENSIONS, planted, split

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
from model_zoo._family import ModelFamily

@dataclass
class Held:
    number: int

class Mine(ModelFamily):
    defaults = {"depth": 2, "learning_rate": 0.1}
    def search_space(self, trial): return {}
    def fit(self, train, valid, params, *, seed, context): return Held(1)
    def predict(self, model, samples): return None
    def export_onnx(self, model, path, T, F): return None
"""


@pytest.fixture
def extension(tmp_path):
    """Writes an extension file of its own name, since Python remembers modules by name."""

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def test_files_with_an_underscore_are_no_families():
    assert family_names() == ["catboost", "lightgbm", "linear", "xgboost"]


def test_an_extension_is_found_by_its_file_name_and_knows_it(tmp_path, extension):
    family = get(extension("mine", GOOD), tmp_path)
    assert isinstance(family, ModelFamily)
    assert family.name == "mine"
    assert family_names(tmp_path)[-1] == "mine"
    assert type(get("mine", tmp_path)) is type(family)


def test_a_missing_extensions_folder_is_no_error(tmp_path):
    assert family_names(tmp_path / "absent") == family_names()


@pytest.mark.parametrize(
    "line",
    [
        "from feature_store.features import feature", "  from feature_store.features._feature import feature",
        "import feature_store.features as f", "from feature_store import bars, features", "from feature_store import bars",
        "# import feature_store.features", "from feature_store.featuresque import x", "import numpy",
    ],
)  # fmt: skip
def test_files_of_features_in_the_same_folder_are_no_families_and_both_rooms_agree_on_which_those_are(tmp_path, extension, line):
    extension("mine", f"'''Mine.'''\n{line}\nthis is not even Python")
    extension("linear_again", GOOD)
    held = holds_features((tmp_path / "mine.py").read_text())
    assert family_names(tmp_path) == [*family_names(), "linear_again", *([] if held else ["mine"])]
    if held:
        with pytest.raises(Final, match="family 'mine' is not known"):
            get("mine", tmp_path)


def test_an_extension_with_the_name_of_a_built_in_family_is_refused(tmp_path, extension):
    extension("linear", GOOD)
    with pytest.raises(Final, match=r"extension linear in .* bears the name of a built-in family; rename the file"):
        family_names(tmp_path)


def test_an_unknown_family_is_refused_and_the_known_ones_are_named():
    with pytest.raises(Final, match="family 'lstm' is not known; there are catboost, lightgbm, linear, xgboost"):
        get("lstm")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty", "", "its file must define exactly one ModelFamily, it defines 0"),
        ("two", GOOD + "\nclass Other(Mine):\n    depth = 1\n", "it defines 2"),
        (
            "half",
            "from model_zoo._family import ModelFamily\nclass H(ModelFamily):\n    x = 1\n",
            "does not define export_onnx, fit",
        ),
        ("broken", "import no_such_library\n", "cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"),
        ("syntax", "def\n", "cannot be imported: SyntaxError"),
        ("loose", GOOD.replace("defaults", "tolerance = 5e-5\n    defaults"), "tolerance 5e-05 is over 1e-5"),
        ("looser", GOOD.replace("defaults", "tolerance = 1e-3\n    tolerance_reason = 'sums'\n    defaults"), "tolerance 0.001"),
    ],
)
def test_a_broken_extension_fails_with_one_clear_line(tmp_path, extension, name, text, message):
    with pytest.raises(Final, match=re.escape(message)) as caught:
        get(extension(name, text), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_wider_tolerance_needs_a_reason(tmp_path, extension):
    reasoned = GOOD.replace("defaults", "tolerance = 5e-5\n    tolerance_reason = 'long sums'\n    defaults")
    assert get(extension("reasoned", reasoned), tmp_path).tolerance == 5e-5


def test_parameters_are_completed_and_a_typo_names_the_nearest():
    family = get("xgboost")
    assert family.complete({"max_depth": 5}) == {**family.defaults, "max_depth": 5}
    with pytest.raises(Final, match="family xgboost: unknown parameter 'max_dept'; did you mean max_depth\\?"):
        family.complete({"max_dept": 5})


def test_every_family_states_its_defaults():
    for name in family_names(EXTENSIONS):
        assert get(name, EXTENSIONS).defaults


@pytest.mark.parametrize("name", ["xgboost", "catboost", "lightgbm", "linear"])
def test_without_a_gpu_every_family_says_cpu_whatever_is_asked(name, monkeypatch):
    monkeypatch.setattr("model_zoo._device.gpu_name", lambda: None)
    family, (train, valid) = get(name), split(planted(600))
    context = Context(device="cuda")
    assert family.device(context) == "cpu"
    params = {"rounds": 3} if "rounds" in family.defaults else {}
    assert np.isfinite(family.predict(family.fit(train, None, params, seed=1, context=context), valid)).all()


def test_windows_are_the_rows_that_end_at_each_sample():
    samples = planted(60)
    row = int(samples.rows[7])
    np.testing.assert_array_equal(samples.windows()[7], samples.features[row - 2 : row + 1])
    np.testing.assert_array_equal(samples.windows()[:, -1], samples.X)
    np.testing.assert_array_equal(np.concatenate(list(samples.batches(size=9))), samples.windows())


@pytest.mark.parametrize("row", [0, 1, 20, 21])
def test_a_window_never_reaches_over_the_start_of_its_segment(row):
    samples = planted(60)  # the second segment starts at row 20
    with pytest.raises(Final, match=f"row {row} has no 3 bars of its own segment"):
        samples.windows(np.array([row]))
    samples.windows(np.array([2, 22]))


def test_float64_features_are_refused():
    samples = planted(60)
    with pytest.raises(Final, match="features must be a float32 matrix, they are float64"):
        type(samples)(**{**vars(samples), "features": samples.features.astype(np.float64)})


def test_columns_of_another_length_are_refused():
    samples = planted(60)
    with pytest.raises(Final, match="weights has 59 rows, the features have 60"):
        type(samples)(**{**vars(samples), "weights": samples.weights[:-1]})


def test_sample_weights_have_mean_one_over_the_rows():
    train, _ = split(planted(200))
    assert train.w.mean() == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(train.w / train.w[0], train.weights[train.rows] / train.weights[train.rows[0]], rtol=1e-5)
