"""From an error to an exit code: what ``train_net.py`` needs besides FastReID and a config."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import torch.multiprocessing as mp

from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.engine.lost_machines import LostMachineError
from mdpr_fastreid.engine.torchrun import record_for_torchrun
from mdpr_fastreid.errors import UsageError, disk_is_full, is_out_of_memory, one_line

_MOST_PROCESSES = 256  # on one machine; a typing error of one more digit would otherwise stop the machine


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
        own_address = parser.get_default("dist_url")
        _check_processes(args, own_address)
        # FastReID's default is one port for each user, and a second run would not start
        address = "auto" if args.dist_url == own_address else args.dist_url
        launch(main, args.num_gpus, args.num_machines, args.machine_rank, address, args=(args,))
    except UsageError as error:
        record_for_torchrun(error)
        return _report(2, _message_alone(error))
    except OSError as error:
        if not disk_is_full(error):
            raise
        return _report(1, f"{error}: make room; --resume continues from the last checkpoint, if there is one")
    except (FloatingPointError, LostMachineError, mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        record_for_torchrun(error)
        return _report(1, str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _report(1, f"out of memory ({one_line(error) or 'on the host'}): make the model or a batch smaller")
    except KeyboardInterrupt:
        return _report(130, "interrupted; --resume continues from the last checkpoint, if there is one")
    return 0


def _check_processes(args: Namespace, own_address: str) -> None:
    """Refuse numbers of processes and machines that no run can have.

    Args:
        args: of FastReID's command line.
        own_address: the default of ``--dist-url``, on this machine.

    Raises:
        UsageError: it names the option.
    """
    if not 0 <= args.num_gpus <= _MOST_PROCESSES:
        raise UsageError(
            f"--num-gpus must be the number of processes on this machine, from 1 to {_MOST_PROCESSES} "
            f"(0 counts as 1), got {args.num_gpus}"
        )
    if args.num_machines < 1:
        raise UsageError(f"--num-machines must be 1 or more, got {args.num_machines}")
    if not 0 <= args.machine_rank < args.num_machines:
        raise UsageError(
            f"--machine-rank must be from 0 to {args.num_machines - 1}, as --num-machines is {args.num_machines}, "
            f"got {args.machine_rank}"
        )
    if args.num_machines > 1 and args.dist_url == own_address:  # where the others would wait for ever
        raise UsageError("several machines need the address of the first one: --dist-url tcp://HOST:PORT")


def _message_alone(error: UsageError) -> str:
    """Without the traceback that an error from a loader's worker has as a part of its text."""
    return one_line(error).rpartition("UsageError: ")[2].strip()


def _report(exit_code: int, message: str) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    return exit_code
