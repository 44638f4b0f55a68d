"""What can go wrong between the folders, split by what the caller must do about it."""

import re


class TaskError(Exception):
    """Anything wrong in tasks. The message is one line a user can act on."""


class Retryable(TaskError):
    """Trying again later may succeed: a tracking server is away."""


class Final(TaskError):
    """Trying again cannot help: too few bars, a wrong pipeline, a spent budget."""


def without_credentials(text: str) -> str:
    """The text with name and password taken out of every address in it."""
    return re.sub(r"(?<=://)[^/\s]+@", "***@", text)
