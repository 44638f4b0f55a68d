"""The decorator of every task: a Prefect task that never answers from Prefect's own cache.

Results that may be reused lie in the run's folder, keyed by data and settings, with or without a server.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task whose runs are called `name`, a template over its arguments."""

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                # Prefect keeps the error of a failed run to the end of the process, and with its frames whatever
                # they hold: DuckDB answers a connection left over there with a hundred lines on stderr.
                traceback.clear_frames(error.__traceback__)
                raise

        made: Any = Task(run, task_run_name=name, cache_policy=NO_CACHE)
        return made  # type: ignore[no-any-return]

    return decorate
