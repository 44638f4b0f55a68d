"""What can go wrong with data, split by what the caller must do about it."""


class FeatureStoreError(Exception):
    """Anything wrong in feature_store. The message is one line a user can act on."""


class Retryable(FeatureStoreError):
    """Trying again later may succeed: the store is locked, a server is away."""


class Final(FeatureStoreError):
    """Trying again cannot help: the input, the request or the stored data is wrong."""
