"""Running a model file: the graph contract, and answers that fail closed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from serving._errors import Final
from serving.manifest import stamp
from serving.model import CPU, CUDA, OnnxModel, cuda_devices, providers
from tests.serving._samples import F, T, graph, manifest

ROOT = Path(__file__).parents[2]
WINDOWS = np.array([[[9, 9, 9], [0, 0, 0]], [[9, 9, 9], [0, 0, np.log(2)]]], np.float32)


def test_probabilities_are_those_of_the_graph_by_hand():
    model = OnnxModel.load(graph())
    assert (model.window_bars, model.n_features, model.uses_position, model.providers) == (T, F, False, (CPU,))
    out = model.probabilities(WINDOWS)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[1 / 3, 1 / 3, 1 / 3], [0.25, 0.25, 0.5]], atol=1e-6)


def test_no_windows_give_no_probabilities():
    assert OnnxModel.load(graph()).probabilities(WINDOWS[:0]).shape == (0, 3)


def test_windows_that_are_a_view_are_read_rightly():
    wide = np.zeros((2, T, F * 2), np.float32)
    wide[:, :, ::2] = WINDOWS
    model = OnnxModel.load(graph())
    np.testing.assert_array_equal(model.probabilities(wide[:, :, ::2]), model.probabilities(WINDOWS))


def test_the_position_reaches_the_graph():
    model = OnnxModel.load(graph(position=True))
    assert model.uses_position
    out = model.probabilities(WINDOWS[:1].repeat(3, axis=0), np.array([-1, 0, 1], np.float32))
    np.testing.assert_allclose(out[:, 2], np.exp([-1, 0, 1]) / (2 + np.exp([-1, 0, 1])), atol=1e-6)


@pytest.mark.parametrize("held", [None, np.array([0.5, 0]), np.array([2, 0]), np.array([0]), np.array([np.nan, 0])])
def test_a_position_that_is_none_of_the_three_is_refused(held):
    with pytest.raises(Final, match="position"):
        OnnxModel.load(graph(position=True)).probabilities(WINDOWS, held)


def test_a_position_for_a_graph_without_one_is_refused():
    with pytest.raises(Final, match="takes no position"):
        OnnxModel.load(graph()).probabilities(WINDOWS, np.zeros(2, np.float32))


@pytest.mark.parametrize("windows", [WINDOWS.astype(np.float64), WINDOWS[:, :1], WINDOWS[:, :, :2], WINDOWS[0]])
def test_windows_of_another_shape_or_type_are_refused(windows):
    with pytest.raises(Final, match=r"takes float32 windows \(n, 2, 3\), it was given float"):
        OnnxModel.load(graph()).probabilities(windows)


def test_a_nan_answer_is_an_error_and_not_a_signal():
    broken = WINDOWS.copy()
    broken[1, -1, 0] = np.nan
    with pytest.raises(Final, match=r"no probability \(\[nan, nan, nan\]\); no trade on it"):
        OnnxModel.load(graph()).probabilities(broken)


def test_answers_that_do_not_sum_to_one_or_are_negative_are_errors():
    identity = OnnxModel.load(graph(last="Identity"))
    for row in ([0.5, 0.4, 0.2], [1.5, -0.5, 0.0], [0.0, 0.0, 0.0], [np.inf, 0.0, 0.0]):
        with pytest.raises(Final, match="no probability"):
            identity.probabilities(np.array([[[0, 0, 0], row]], np.float32))
    right = np.array([[[0, 0, 0], [0.5, 0.2, 0.3]]], np.float32)
    np.testing.assert_array_equal(identity.probabilities(right), right[:, -1])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"names": ("bars", "probabilities")}, r"inputs are \['bars'\]; they must be 'window'"),
        ({"names": ("window", "margin")}, r"outputs are \['margin'\]; there must be 'probabilities' alone"),
        ({"batch": 4}, "the batch of 'window' is fixed at 4; export it as a dynamic dimension"),
        ({"classes": 2}, r"'probabilities' is tensor\(float\) \['batch', 2\], outside the contract"),
        ({"dtype": TensorProto.DOUBLE}, r"'window' is tensor\(double\)"),
    ],
)
def test_a_graph_outside_the_contract_is_refused_by_name(broken, message):
    with pytest.raises(Final, match=message):
        OnnxModel.load(graph(**broken))


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    for source in (tmp_path / "m.onnx", tmp_path / "absent.onnx", b"", graph()[: len(graph()) // 2]):
        with pytest.raises(Final) as caught:
            OnnxModel.load(source)
        assert "\n" not in str(caught.value)


def test_rows_of_another_feature_hash_are_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(graph())
    stamp(tmp_path / "m.onnx", manifest())
    model = OnnxModel.load(tmp_path / "m.onnx")
    assert model.manifest == manifest()
    model.require("ab12")
    with pytest.raises(Final, match="majors/linear learned feature set ab12, these rows are of ffff"):
        model.require("ffff")


def test_a_bare_graph_answers_but_vouches_for_no_feature_hash():
    model = OnnxModel.load(graph())
    assert model.probabilities(WINDOWS).shape == (2, 3)
    with pytest.raises(Final, match="model carries no manifest"):
        model.require("ab12")


def test_a_manifest_that_does_not_fit_its_graph_is_refused(tmp_path):
    for wrong in (manifest(features=("a", "b")), manifest(window_bars=3)):
        (tmp_path / "m.onnx").write_bytes(graph())
        stamp(tmp_path / "m.onnx", wrong)
        with pytest.raises(Final, match="graph takes 2 bars of 3 features, its manifest names"):
            OnnxModel.load(tmp_path / "m.onnx")


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a CUDA GPU")
def test_without_a_gpu_only_the_cpu_is_claimed_although_the_build_lists_cuda():
    assert CUDA in ort.get_available_providers()
    assert providers() == (CPU,)


def test_a_driver_that_finds_no_device_is_no_gpu(monkeypatch):
    class Driver:
        def cuInit(self, flags):
            return 100  # CUDA_ERROR_NO_DEVICE

    monkeypatch.setattr("ctypes.CDLL", lambda name: Driver())
    assert cuda_devices() == 0


def test_inference_needs_no_trainer_no_exporter_and_no_orchestrator(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(graph())
    stamp(path, manifest())
    code = f"""
import sys
for name in ("onnx", "torch", "mlflow", "prefect", "xgboost", "lightgbm", "catboost", "sklearn", "optuna", "model_zoo"):
    sys.modules[name] = None
import numpy as np
from pathlib import Path
from serving.model import OnnxModel
from serving.manifest import read_manifest
model = OnnxModel.load(Path({str(path)!r}))
assert read_manifest(Path({str(path)!r})).family == "linear"
print(model.probabilities(np.zeros((1, {T}, {F}), np.float32)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("(1, 3)", 0), done.stderr
