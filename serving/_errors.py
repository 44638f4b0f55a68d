"""What can go wrong while acting, split by what the caller must do about it."""


class ServingError(Exception):
    """Anything wrong in serving. The message is one line a user can act on."""


class Retryable(ServingError):
    """Trying again later may succeed: the terminal is away, the market is closed. Never said of an order."""


class Final(ServingError):
    """Trying again cannot help: a wrong account, a changed bundle, a refused setting."""
