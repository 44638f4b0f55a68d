"""Runs a model file: ONNX Runtime behind the graph contract, on the CPU unless asked otherwise."""

from __future__ import annotations

import ctypes
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving._errors import Final
from serving.manifest import KEY, Manifest, from_json

FloatArray = npt.NDArray[np.float32]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
WINDOW, POSITION, PROBABILITIES = "window", "position", "probabilities"
_SUM_TOLERANCE = 1e-4


class OnnxModel:
    """One graph, ready to answer. `window_bars` T, `n_features` F, `uses_position`, `providers` in use."""

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self._session, self._name = session, name
        self.window_bars, self.n_features, self.uses_position = _contract(session, name)
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self._text: str | None = session.get_modelmeta().custom_metadata_map.get(KEY)
        if self._text is not None and (len(self.manifest.features), self.manifest.window_bars) != (
            self.n_features,
            self.window_bars,
        ):
            raise Final(
                f"{name}: graph takes {self.window_bars} bars of {self.n_features} features, "
                f"its manifest names {self.manifest.window_bars} of {len(self.manifest.features)}; stamp the right manifest"
            )

    @classmethod
    def load(cls, source: Path | bytes, *, threads: int = 1, providers: tuple[str, ...] = (CPU,)) -> OnnxModel:
        """The model in a file or in its bytes. Raises `Final` for a graph outside the contract, or when the first of
        `providers` cannot be had: a quiet fall back to another device would make every latency a guess."""
        name = str(source) if isinstance(source, Path) else "model"
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        if threads == 1:
            options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        try:
            # Bytes, not the path: Windows keeps a loaded file open, and a champion must be replaceable while it serves.
            content = source.read_bytes() if isinstance(source, Path) else source
            session = ort.InferenceSession(content, options, providers=list(providers))
        except OSError as error:
            raise Final(f"model file {name} cannot be read: {error}") from error
        except Exception as error:  # onnxruntime raises a dozen unrelated types for a bad file
            raise Final(f"{name} is not a model that ONNX Runtime accepts: {str(error).splitlines()[0]}") from error
        if session.get_providers()[0] != providers[0]:
            raise Final(
                f"{name}: {providers[0]} was asked for, {session.get_providers()[0]} is what there is; run `tradewind doctor`"
            )
        return cls(session, name)

    @cached_property
    def manifest(self) -> Manifest:
        """The stamped manifest. Raises `Final` for a bare graph."""
        if self._text is None:
            raise Final(f"{self._name} carries no manifest (metadata key {KEY!r}); it was never registered")
        return from_json(self._text)

    def require(self, feature_hash: str) -> None:
        """Refuse rows of any other meaning than the one this model learned from."""
        if self.manifest.feature_hash != feature_hash:
            raise Final(
                f"{self.manifest.pipeline}/{self.manifest.family} learned feature set {self.manifest.feature_hash}, "
                f"these rows are of {feature_hash}; retrain, or bring back the version and the extensions that trained it"
            )

    def probabilities(self, windows: FloatArray, position: FloatArray | None = None) -> FloatArray:
        """(n, 3) float32: short, flat, long. windows: (n, T, F) float32. position: (n, 1) or (n,) in {-1, 0, 1} for graphs
        that use it. Raises `Final` on a wrong shape or dtype and on any answer that is no distribution."""
        if windows.dtype != np.float32 or windows.shape[1:] != (self.window_bars, self.n_features):
            raise Final(
                f"{self._name} takes float32 windows (n, {self.window_bars}, {self.n_features}), "
                f"it was given {windows.dtype} {windows.shape}"
            )
        if not len(windows):
            return np.empty((0, 3), dtype=np.float32)
        inputs = {WINDOW: np.ascontiguousarray(windows)}
        if self.uses_position:
            inputs[POSITION] = self._position(position, len(windows))
        elif position is not None:
            raise Final(f"{self._name} takes no position, it was given one")
        out: FloatArray = self._session.run((PROBABILITIES,), inputs)[0]
        # Written so that a NaN anywhere fails: NaN compares false.
        if not (out.min() >= 0.0 and np.abs(out.sum(axis=1) - 1.0).max() <= _SUM_TOLERANCE):
            raise Final(f"{self._name} answered something that is no probability ({out[_worst(out)].tolist()}); no trade on it")
        return out

    def _position(self, position: FloatArray | None, n: int) -> FloatArray:
        if position is None:
            raise Final(f"{self._name} takes the position held (-1, 0 or 1), it was given none")
        held = np.ascontiguousarray(position, dtype=np.float32).reshape(-1, 1)
        if len(held) != n or not np.isin(held, (-1.0, 0.0, 1.0)).all():
            raise Final(f"{self._name} takes {n} positions out of -1, 0 and 1, it was given {np.asarray(position).tolist()}")
        return held


def cuda_devices() -> int:
    """Number of CUDA GPUs that the driver really offers; 0 without a driver. Loads no CUDA library but the driver's."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def providers() -> tuple[str, ...]:
    """Execution providers that will really run here, best first. What onnxruntime lists as available are facts of its build:
    it names CUDA on a machine without a GPU. So the driver is asked first, and then a session is opened to see."""
    if CUDA not in ort.get_available_providers() or cuda_devices() == 0:
        return (CPU,)
    import onnx

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "probe", [value("x", 1, [1])], [value("y", 1, [1])]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    ort.preload_dlls()
    session = ort.InferenceSession(model.SerializeToString(), providers=[CUDA, CPU])
    return tuple(name for name in session.get_providers() if name in (CUDA, CPU))


def _contract(session: ort.InferenceSession, name: str) -> tuple[int, int, bool]:
    """T, F and whether the graph takes a position; raises `Final` naming the first thing out of contract."""
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    if set(inputs) not in ({WINDOW}, {WINDOW, POSITION}):
        raise Final(f"{name}: inputs are {sorted(inputs)}; they must be {WINDOW!r} and, for a policy, {POSITION!r}")
    if set(outputs) != {PROBABILITIES}:
        raise Final(f"{name}: outputs are {sorted(outputs)}; there must be {PROBABILITIES!r} alone")
    window, out = inputs[WINDOW], outputs[PROBABILITIES]
    checks = [(window, 3, None), (out, 2, 3)] + ([(inputs[POSITION], 2, 1)] if POSITION in inputs else [])
    for node, rank, last in checks:
        _check_node(node, rank, last, name)
    return int(window.shape[1]), int(window.shape[2]), POSITION in inputs


def _check_node(node: Any, rank: int, last: int | None, name: str) -> None:
    shape = node.shape
    fixed = all(isinstance(size, int) and size > 0 for size in shape[1:])
    if node.type != "tensor(float)" or len(shape) != rank or not fixed or (last is not None and shape[-1] != last):
        raise Final(
            f"{name}: {node.name!r} is {node.type} {shape}, outside the contract: float32, {rank} dimensions"
            + ("" if last is None else f", the last of them {last}")
        )
    if isinstance(shape[0], int):
        raise Final(f"{name}: the batch of {node.name!r} is fixed at {shape[0]}; export it as a dynamic dimension")


def _worst(out: FloatArray) -> int:
    good = (out >= 0.0).all(axis=1) & (np.abs(out.sum(axis=1) - 1.0) <= _SUM_TOLERANCE)
    return int(np.argmin(good))
