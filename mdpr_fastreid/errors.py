"""The errors for mistakes of the user's."""


class UsageError(Exception):
    """A mistake of the user's: its message names the thing and the way out, and is all that a command line prints."""


class SettingsError(UsageError, ValueError):
    """Settings that a model cannot be built with; still the ``ValueError`` that a caller in Python may expect."""
