"""What can go wrong while learning, split by what the caller must do about it."""


class ModelZooError(Exception):
    """Anything wrong in model_zoo. The message is one line a user can act on."""


class Retryable(ModelZooError):
    """Another try may succeed: a device ran out of memory, a deadline passed."""


class Final(ModelZooError):
    """Another try cannot help: parameters, data or family name are wrong."""
