"""`config` and `doctor`: what is set, what is there, what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flows.quiet import quiet_environment

quiet_environment()

from feature_store._errors import FeatureStoreError  # noqa: E402
from flows import console  # noqa: E402
from flows._errors import FlowError  # noqa: E402
from flows.settings import FILE_NAME, load  # noqa: E402
from serving._errors import ServingError  # noqa: E402
from tasks._errors import TaskError, without_credentials  # noqa: E402

SCHEMA = 1
_SECRET = ("password", "secret", "token", "key")


def config(home: tuple[Path, bool], *, as_json: bool) -> None:
    """Settings in force, and where the home was named."""
    root, named = home
    settings = load(root)
    values = _hidden(settings.model_dump(mode="json"))
    environment = sorted(k for k in os.environ if k.startswith("TRADEWIND_"))
    source = "a flag or TRADEWIND_HOME" if named else "the default"
    if as_json:
        console.print_json(
            {"schema": SCHEMA, "home": str(root), "home_from": source, "environment": environment, "settings": values}
        )
        return
    there = "" if (root / FILE_NAME).is_file() else " (not there: defaults hold)"
    console.out.print(f"home {root}, from {source}")
    console.out.print(f"file {root / FILE_NAME}{there}")
    console.out.print(f"environment: {', '.join(environment) or 'none'}")
    _print_tree(values, 0)


def _hidden(value: Any, name: str = "") -> Any:
    """The value without anything that looks like a secret, also inside addresses."""
    if isinstance(value, dict):
        return {k: _hidden(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_hidden(v, name) for v in value]
    if isinstance(value, str) and value:
        if any(word in name.lower() for word in _SECRET):
            return "***"
        return without_credentials(value)
    return value


def _print_tree(value: dict[str, Any], depth: int) -> None:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            console.out.print(f"{'  ' * depth}{key}:", markup=False)
            _print_tree(inner, depth + 1)
        else:
            console.out.print(f"{'  ' * depth}{key} = {inner}", markup=False)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. state: ok, note or problem. todo: what to do about it, empty when nothing."""

    what: str
    state: str
    says: str
    todo: str = ""


def doctor(home: tuple[Path, bool], *, as_json: bool) -> int:
    """Exit status 1 when something that is needed does not work."""
    root, _ = home
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("home", lambda: _home(root)),
        ("settings", lambda: _settings(root)),
        ("bar store", lambda: _store(root)),
        ("MLflow", lambda: _mlflow(root)),
        ("GPU", _gpu),
        ("torch", _torch),
        ("onnxruntime", _onnxruntime),
        ("xgboost", lambda: _trees("xgboost")),
        ("lightgbm", lambda: _trees("lightgbm")),
        ("catboost", lambda: _trees("catboost")),
        ("Prefect", _prefect),
        ("terminal", lambda: _terminal(root)),
    ]
    findings = []
    for what, look in looks:
        try:
            findings.append(look())
        except (FlowError, FeatureStoreError, ServingError, TaskError, OSError, ImportError) as error:
            findings.append(
                Finding(what, "problem", " ".join(str(error).split()), "mend what the line says, then run doctor again")
            )
    findings = [replace(f, says=_hidden(f.says)) for f in findings]
    if as_json:
        console.print_json({"schema": SCHEMA, "home": str(root), "findings": [asdict(f) for f in findings]})
    else:
        mark = {"ok": "[green]ok     [/]", "note": "[yellow]note   [/]", "problem": "[red]problem[/]"}
        for f in findings:
            console.out.print(f"{mark[f.state]} {f.what}: {f.says}" + (f"\n          -> {f.todo}" if f.todo else ""))
    return int(any(f.state == "problem" for f in findings))


def _python() -> Finding:
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    todo = "" if good else "install Python 3.11, 3.12 or 3.13 and run run.py with it"
    return Finding("python", "ok" if good else "problem", f"{platform.python_version()} on {platform.platform()}", todo)


def _home(root: Path) -> Finding:
    if not root.exists():
        return Finding("home", "note", f"{root} is not there yet", "it is made by the first ingest or retrain")
    free = shutil.disk_usage(root).free / 2**30
    if not os.access(root, os.W_OK):
        return Finding(
            "home", "problem", f"{root} cannot be written", "give this user the right to write there, or name another home"
        )
    low = free < 2.0
    return Finding("home", "problem" if low else "ok", f"{root}, {free:.1f} GiB free", "free some disk space" if low else "")


def _settings(root: Path) -> Finding:
    settings = load(root)
    there = f"{len(settings.feeds)} feeds, {len(settings.pipelines)} pipelines, {len(settings.accounts)} accounts"
    return Finding("settings", "ok", there if (root / FILE_NAME).is_file() else f"no {FILE_NAME}; defaults hold")


def _store(root: Path) -> Finding:
    from feature_store.store import Store
    from tasks.home import Home

    if not Home(root).store.exists():
        return Finding("bar store", "note", "empty", "bring bars in: tradewind ingest FILE, or tradewind demo")
    inventory = Store(Home(root).store, lock_wait_s=5.0).inventory()
    return Finding("bar store", "ok", f"answers: {len(inventory)} series, {int(inventory['rows'].sum()):,} bars")


def _mlflow(root: Path) -> Finding:
    from tasks.home import Home

    settings = load(root).mlflow
    if not settings.tracking_uri and not Home(root).mlflow_database.exists():
        return Finding("MLflow", "note", "no runs yet", "the first retrain makes its database")
    from tasks.track import answers

    # A server that is away shall be told of now, not after MLflow's minutes of trying again.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "5"
    return Finding("MLflow", "ok", f"answers at {answers(Home(root), settings)}")


def _gpu() -> Finding:
    from serving.model import cuda_devices

    count = cuda_devices()
    return Finding("GPU", "ok" if count else "note", f"{count} CUDA device{'s' if count != 1 else ''} offered by the driver")


def _torch() -> Finding:
    import torch

    from serving.model import cuda_devices

    built = torch.version.cuda
    if cuda_devices() and built is None:
        todo = "this torch has no CUDA (the public Windows wheel never has): install a CUDA build of torch 2.13.0 into .venv"
        return Finding("torch", "problem", f"{torch.__version__} is a CPU build on a machine with a GPU", todo)
    if cuda_devices() and not torch.cuda.is_available():
        return Finding("torch", "problem", f"{torch.__version__} (CUDA {built}) cannot open the GPU", "update the NVIDIA driver")
    return Finding("torch", "ok", f"{torch.__version__}, will use {'cuda' if torch.cuda.is_available() else 'cpu'}")


def _onnxruntime() -> Finding:
    import onnxruntime

    from serving.model import cuda_devices, providers

    found = providers()
    lost = cuda_devices() > 0 and not found[0].startswith("CUDA")
    todo = "install the CUDA 13 and cuDNN 9 libraries onnxruntime-gpu needs" if lost else ""
    return Finding(
        "onnxruntime",
        "problem" if lost else "ok",
        f"{onnxruntime.__version__}, will use {found[0]}; live always uses the CPU",
        todo,
    )


def _trees(name: str) -> Finding:
    from model_zoo._family import Context, get
    from serving.model import cuda_devices

    wanted = "cuda" if cuda_devices() else "cpu"
    version = importlib.import_module(name).__version__
    return Finding(name, "ok", f"{version}, will use {get(name).device(Context(device=wanted))}")


def _prefect() -> Finding:
    url = os.environ.get("PREFECT_API_URL", "")
    version = importlib.import_module("importlib.metadata").version("prefect")
    if not url:
        return Finding("Prefect", "ok", f"{version}, no server named: flows start their own while they run")
    import httpx

    try:
        httpx.get(f"{url}/health", timeout=5.0).raise_for_status()
    except httpx.HTTPError as error:
        return Finding(
            "Prefect",
            "problem",
            f"no answer from {url}: {error}",
            "start it (prefect server start) or unset PREFECT_API_URL",
        )
    return Finding("Prefect", "ok", f"{version}, answers at {url}")


def _terminal(root: Path) -> Finding:
    settings = load(root)
    real = sorted(n for n, f in settings.feeds.items() if f.source == "terminal")
    if not real:
        return Finding("terminal", "note", "no feed uses a MetaTrader 5 terminal; the simulated one is always there")
    from flows.terminals import metatrader

    terminal = metatrader()
    if not terminal.initialize():
        return Finding(
            "terminal", "problem", f"MetaTrader 5 does not answer: {terminal.last_error()}", "start the terminal and log in"
        )
    info = terminal.account_info()
    return Finding(
        "terminal", "ok", f"answers, logged in to {info.login}@{info.server}" if info else "answers, no account logged in"
    )
