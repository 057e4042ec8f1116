"""The error for mistakes of the user's."""


class UsageError(Exception):
    """A mistake of the user's: its message names the thing and the way out, and is all that a command line prints."""
