"""The contract of a model family, what it is handed, and how families are found by file name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from model_zoo._errors import Final

if TYPE_CHECKING:
    import optuna

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Params = dict[str, Any]

SHORT, FLAT, LONG = 0, 1, 2
CLASSES = ("short", "flat", "long")


@dataclass(frozen=True)
class Samples:
    """Rows of one snapshot that end a sample. Arrays of length N cover the whole snapshot and are read-only
    (usually memory-mapped); `rows` picks n of them.

    features: (N, F) float32, may hold NaN. rows: (n,) int64. segment_starts: first row of each segment.
    window_bars: T. label: (N,) int8 in {0 short, 1 flat, 2 long}. r_long, r_short: (N,) float32, net result
    of each trade in ATR units. weights: (N,) float32, average uniqueness. next_bar_return: (N,) float32.
    """

    features: FloatArray
    rows: IntArray
    segment_starts: IntArray
    window_bars: int
    label: npt.NDArray[np.int8]
    r_long: FloatArray
    r_short: FloatArray
    weights: FloatArray
    next_bar_return: FloatArray

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.dtype != np.float32:
            # Trees trained on float64 put thresholds between float32 neighbours; the exported graph then answers otherwise.
            raise Final(f"features must be a float32 matrix, they are {self.features.dtype} with {self.features.ndim} dimensions")
        for name in ("label", "r_long", "r_short", "weights", "next_bar_return"):
            if len(getattr(self, name)) != len(self.features):
                raise Final(f"{name} has {len(getattr(self, name))} rows, the features have {len(self.features)}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_features(self) -> int:
        return int(self.features.shape[1])

    @cached_property
    def X(self) -> FloatArray:
        """(n, F) float32: the last row of each window, a copy."""
        return np.ascontiguousarray(self.features[self.rows], dtype=np.float32)

    @cached_property
    def y(self) -> npt.NDArray[np.int64]:
        """(n,) class of each sample: 0 short, 1 flat, 2 long."""
        return self.label[self.rows].astype(np.int64)

    @cached_property
    def w(self) -> FloatArray:
        """(n,) sample weights, mean 1 over these rows."""
        w = self.weights[self.rows].astype(np.float32)
        return np.asarray(w / max(float(w.mean()), 1e-12), dtype=np.float32) if len(w) else w

    def windows(self, rows: IntArray | None = None) -> FloatArray:
        """(n, T, F) float32: the T rows that end at each sample, gathered now. Pass slices for large n.
        Raises `Final` for a row whose window would reach over the start of its segment."""
        rows = self.rows if rows is None else rows
        segment = np.searchsorted(self.segment_starts, rows, side="right") - 1
        short = rows - np.asarray(self.segment_starts)[segment] < self.window_bars - 1
        if short.any():
            raise Final(f"row {rows[np.argmax(short)]} has no {self.window_bars} bars of its own segment before it")
        index = rows[:, None] + np.arange(1 - self.window_bars, 1)[None, :]
        return np.ascontiguousarray(self.features[index], dtype=np.float32)

    def batches(self, size: int = 4096) -> Iterator[FloatArray]:
        """Windows of all samples in order, `size` at a time."""
        for start in range(0, len(self.rows), size):
            yield self.windows(self.rows[start : start + size])

    def take(self, rows: IntArray) -> Samples:
        """The same snapshot seen through other rows."""
        return replace(self, rows=np.asarray(rows, dtype=np.int64))


class Report(Protocol):
    """Called by `fit` with a step number and the validation skill so far; may raise to stop a hopeless trial."""

    def __call__(self, step: int, skill: float) -> None: ...


def _ignore(step: int, skill: float) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Context:
    """What a fit may use. deadline_s: on the monotonic clock, None for no limit."""

    device: str = "cpu"
    threads: int = 1
    deadline_s: float | None = None
    checkpoint_dir: Path | None = None
    report: Report = field(default=_ignore)

    def out_of_time(self) -> bool:
        """Whether the deadline has passed; a fit then ends with what it has."""
        return self.deadline_s is not None and time.monotonic() > self.deadline_s


class ModelFamily(ABC):
    """One way to learn. A family never reads the store, Prefect or MLflow, and changes none of its inputs."""

    name: ClassVar[str] = ""
    """File name; set when the family is found."""
    uses_position: ClassVar[bool] = False
    """Whether the graph takes `position`, float32 [batch, 1] in {-1, 0, 1}, beside `window`."""
    tolerance: ClassVar[float] = 1e-5
    """Largest difference allowed between ONNX Runtime and `predict`; up to 1e-4 with `tolerance_reason`."""
    tolerance_reason: ClassVar[str] = ""
    defaults: ClassVar[Params] = {}
    """Every parameter `fit` knows, with the value it takes when not given: sensible before any tuning."""

    def complete(self, params: Params) -> Params:
        """`params` with defaults for what is left out. Raises `Final` for a name that `fit` does not know."""
        for name in params.keys() - self.defaults.keys():
            near = difflib.get_close_matches(name, self.defaults, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.defaults)}"
            raise Final(f"family {self.name}: unknown parameter {name!r}; {hint}")
        return {**self.defaults, **params}

    @abstractmethod
    def search_space(self, trial: optuna.Trial) -> Params:
        """Draw one set of parameters."""

    @abstractmethod
    def fit(self, train: Samples, valid: Samples | None, params: Params, *, seed: int, context: Context) -> Any:
        """Fit on `train`. With `valid`, stop at the round that scores best there. Without it, run exactly
        `params["rounds"]` rounds, for families that have rounds."""

    @abstractmethod
    def predict(self, model: Any, samples: Samples) -> FloatArray:
        """(n, 3) float32 probabilities of short, flat, long. Position 0 for families that use it."""

    @abstractmethod
    def export_onnx(self, model: Any, path: Path, T: int, F: int) -> None:
        """Write the bare graph: `window` float32 [batch, T, F] to `probabilities` float32 [batch, 3]."""

    def rounds(self, model: Any) -> int | None:
        """Rounds the fit settled on (trees, epochs), or None where the word means nothing."""
        return None

    def device(self, context: Context) -> str:
        """Device the fit will really run on, as words: `cpu` or the accelerator's name."""
        return "cpu"

    def importance(self, model: Any) -> FloatArray | None:
        """(F,) share of each feature in the model, summing to 1, or None."""
        return None


_FOLDER = Path(__file__).parent
_LARGEST_TOLERANCE = 1e-4
# The same rule as in feature_store/features/_extension_source.py, which this room cannot import; a test holds them together.
_FEATURES = re.compile(
    r"^\s*(?:from\s+feature_store\.features\b|import\s+feature_store\.features\b|from\s+feature_store\s+import\s.*\bfeatures\b)",
    re.MULTILINE,
)


def family_names(extensions: Path | None = None) -> list[str]:
    """Names of all families: this folder's files, then those of the user's `extensions/` folder."""
    own = _names_in(_FOLDER)
    extra = _families_in(extensions) if extensions is not None and extensions.is_dir() else []
    clash = set(own) & set(extra)
    if clash:
        raise Final(f"extension {', '.join(sorted(clash))} in {extensions} bears the name of a built-in family; rename the file")
    return own + extra


def get(name: str, extensions: Path | None = None) -> ModelFamily:
    """The family of that file name, imported only now. Raises `Final` for an unknown or broken one."""
    names = family_names(extensions)
    if name not in names:
        raise Final(f"family {name!r} is not known; there are {', '.join(names)}")
    try:
        if extensions is None or name in _names_in(_FOLDER):
            module = importlib.import_module(f"model_zoo.{name}")
        else:
            module = _load_extension(name, extensions)
    except Exception as error:  # a user's file may raise anything at all while it is imported
        raise Final(f"family {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return _only_family(name, module)


def _names_in(folder: Path) -> list[str]:
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def _families_in(extensions: Path) -> list[str]:
    """Names of the user's files, without those of features, which stand in the same folder and import them.

    Told from the text: a file is imported only when it is asked for."""
    texts = {name: (extensions / f"{name}.py").read_text(encoding="utf-8", errors="replace") for name in _names_in(extensions)}
    return [name for name, text in texts.items() if not _FEATURES.search(text)]


def _load_extension(name: str, folder: Path) -> ModuleType:
    qualified, file = f"tradewind_extensions.{name}", (folder / f"{name}.py").resolve()
    loaded = sys.modules.get(qualified)
    if loaded is not None and loaded.__file__ == str(file):
        return loaded
    spec = importlib.util.spec_from_file_location(qualified, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickles inside look their own module up by name.
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    return module


def _only_family(name: str, module: ModuleType) -> ModelFamily:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ModelFamily) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise Final(f"family {name!r}: its file must define exactly one ModelFamily, it defines {len(found)}")
    missing = sorted(found[0].__abstractmethods__)
    if missing:
        raise Final(f"family {name!r}: {found[0].__name__} does not define {', '.join(missing)}")
    family = found[0]()
    type(family).name = name
    if not 0.0 < family.tolerance <= (_LARGEST_TOLERANCE if family.tolerance_reason else ModelFamily.tolerance):
        raise Final(f"family {name!r}: tolerance {family.tolerance} is over 1e-5; up to 1e-4 is allowed with a tolerance_reason")
    return family
