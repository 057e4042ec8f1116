"""The errors for mistakes of the user's."""

import errno
import unicodedata


class UsageError(Exception):
    """A mistake of the user's: its message names the thing and the way out, and is all that a command line prints.

    Text that moves the cursor or changes a terminal, as names of files may have it, is escaped in the message.
    """

    def __str__(self) -> str:
        return printable_lines(super().__str__())


def printable(text: str) -> str:
    """Text on one line, in which what does not show or what a terminal would obey is escaped as in Python."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()
        for char in text
    )


def shown(text: str, most: int = 300) -> str:
    """Text of a user's for a message: :func:`printable`, and cut where it is long."""
    return printable(text if len(text) <= most else f"{text[: most - 40]}... ({len(text)} characters)")


def printable_lines(text: str) -> str:
    """As :func:`printable`, but for line breaks."""
    return "\n".join(map(printable, text.split("\n")))


class SettingsError(UsageError, ValueError):
    """Settings that a model cannot be built with; still the ``ValueError`` that a caller in Python may expect."""


def disk_is_full(error: OSError) -> bool:
    """Whether the system refused to write for want of room, or of more of it for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def one_line(error: Exception) -> str:
    """What a command line prints of an error."""
    return " ".join(str(error).split("\n"))


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was no room for a tensor, on the host (PyTorch's message says so) or on a GPU."""
    said = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in said or "CUDA out of memory" in said
