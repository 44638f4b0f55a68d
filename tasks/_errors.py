"""What can go wrong between the folders, split by what the caller must do about it."""


class TaskError(Exception):
    """Anything wrong in tasks. The message is one line a user can act on."""


class Retryable(TaskError):
    """Trying again later may succeed: a tracking server is away."""


class Final(TaskError):
    """Trying again cannot help: too few bars, a wrong pipeline, a spent budget."""
