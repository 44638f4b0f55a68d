"""Pages on the Prefect run: shown when a task runs inside a flow, silent when it is called by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext, TaskRunContext


def _in_a_run() -> bool:
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


def publish_markdown(key: str, text: str, description: str) -> None:
    """Show `text` on the run's page under `key` (lower-case letters, digits and dashes)."""
    if _in_a_run():
        create_markdown_artifact(markdown=text, key=key, description=description)


def publish_table(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """Show `rows` as a table on the run's page under `key`."""
    if _in_a_run():
        create_table_artifact(table=list(rows), key=key, description=description)
