"""Environment of the libraries that would talk to the network or to the user unasked. Import before them."""

from __future__ import annotations

import os
from pathlib import Path

_OFF = {
    # Use the word `true`: MLflow takes no other for DO_NOT_TRACK.
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # MLflow's job runner is eight processes and 2 GB that nothing here uses.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
# A first start makes Prefect's database; the 20 s it allows itself are not enough on a small machine.
_PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}
# What our own code logs belongs on the run's page.
_LOGS = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tradewind,feature_store,serving",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # the same code also runs outside of flows
}


def quiet_environment(home: Path | None = None) -> None:
    """Turn telemetry off and, when `home` is given, keep Prefect's own files there. What the user set stays."""
    for name, value in {**_OFF, **_PATIENT, **_LOGS}.items():
        os.environ.setdefault(name, value)
    if home is not None and "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
