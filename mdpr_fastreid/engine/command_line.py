"""From an error to an exit code: what ``train_net.py`` needs besides FastReID and a config."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import torch.multiprocessing as mp

from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.errors import UsageError, disk_is_full


def run(main: Callable[[Namespace], object], parser: ArgumentParser, argv: list[str] | None = None) -> int:
    """Call ``main(args)`` in every process that the command line asks for.

    Args:
        main: the work of one process; has to be importable, as it may be called in a spawned one.
        parser: FastReID's ``default_argument_parser()``, or one with more arguments.
        argv: the words of the command line; those of this process by default.

    Returns:
        The exit code: 0, 1 for a failed run, 2 for a mistake of the user's (one line), 130 when interrupted.
    """
    args = parser.parse_args(argv)
    try:
        launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except UsageError as error:
        return _report(2, _message_alone(error))
    except OSError as error:
        if not disk_is_full(error):
            raise
        return _report(1, f"{error}: make room; --resume continues from the last checkpoint, if there is one")
    except (FloatingPointError, mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        return _report(1, str(error))
    except KeyboardInterrupt:
        return _report(130, "interrupted; --resume continues from the last checkpoint, if there is one")
    return 0


def _message_alone(error: UsageError) -> str:
    """Without the traceback that an error from a loader's worker has as a part of its text."""
    return str(error).rpartition("UsageError: ")[2].strip()


def _report(exit_code: int, message: str) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    return exit_code
