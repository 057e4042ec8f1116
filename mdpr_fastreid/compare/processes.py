"""Processes of a comparison's runs: started apart from the terminal, ended with all that they have started.

What differs between Windows and the other systems is here.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

_SECONDS_TO_END = 10.0


def start(words: Sequence[str], output: TextIO, environment: Mapping[str, str]) -> subprocess.Popen:
    """Start a program in a group of its own, so that Ctrl-C reaches the comparison alone, which then ends its runs.

    Args:
        words: the command.
        output: an open file, which takes what the program prints.
        environment: its variables.
    """
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # ignored on Windows
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # 0 elsewhere
    )


def end(process: subprocess.Popen) -> None:
    """End a program that :func:`start` has started, and the processes that it has started."""
    if sys.platform == "win32":
        words = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.wait()
        return
    for how, seconds in ((signal.SIGTERM, _SECONDS_TO_END), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):  # it is gone, and so is its group
            os.killpg(process.pid, how)
        try:
            process.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def signal_that_ended(code: int) -> str | None:
    """The name of the signal that an exit code stands for; None for a program that ended by itself, or on Windows."""
    if code >= 0:
        return None
    name = signal.Signals(-code).name
    return f"{name} (out of memory?)" if name == "SIGKILL" else name


def end_with_parent() -> None:
    """End this process when the one that started it is gone, or two would soon work in one folder.

    Windows does not let a process see that its parent is gone: there it goes on to its end.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
