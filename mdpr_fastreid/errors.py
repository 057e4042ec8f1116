"""The errors for mistakes of the user's."""

import errno


class UsageError(Exception):
    """A mistake of the user's: its message names the thing and the way out, and is all that a command line prints."""


class SettingsError(UsageError, ValueError):
    """Settings that a model cannot be built with; still the ``ValueError`` that a caller in Python may expect."""


def disk_is_full(error: OSError) -> bool:
    """Whether the system refused to write for want of room, or of more of it for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
