"""What can go wrong while settings are read or a command starts."""


class FlowError(Exception):
    """Wrong settings or a wrong command. The message is one line a user can act on."""
