"""Starts the processes of a run: on GPUs or on the CPU, its own or those of ``torchrun``."""

import inspect
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.utils import comm
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.engine.launch_records import ErrorRecord, error_records, records_folder, write_record
from mdpr_fastreid.engine.lost_machines import LostMachineError, naming_lost_machines
from mdpr_fastreid.engine.meeting import address_of, meet, serve
from mdpr_fastreid.engine.torchrun import join_group, started_by_torchrun
from mdpr_fastreid.errors import UsageError

_KILLED = -getattr(signal, "SIGKILL", 9)  # Windows has no such signal


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
) -> None:
    """Call ``main_func(*args)`` in every process of the run.

    One process on one machine is this one. Several are spawned here, on GPUs (NCCL) or, without CUDA, on the CPU
    (gloo), unless this process was itself started by ``torchrun`` (or has a process group already): then it is one of
    the group, and the numbers given here are not used.

    Args:
        main_func: the work of one process.
        num_gpus_per_machine: processes on each machine.
        num_machines: machines, on each of which ``launch`` is called.
        machine_rank: which of them this is, from 0.
        dist_url: address of the first machine, ``tcp://host:port``, or "auto" for one machine.
        args: passed to ``main_func``.

    Raises:
        UsageError: there are fewer GPUs than asked for, this machine is none of them, or a process raised one.
        torch.multiprocessing.ProcessRaisedException: the error of the process that failed first.
    """
    if dist.is_initialized() or started_by_torchrun():
        _join_group(main_func, args)
        return
    _check_numbers(num_gpus_per_machine, num_machines, machine_rank)
    if num_machines * num_gpus_per_machine <= 1:
        main_func(*args)
    else:
        _spawn(main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args)


def _check_numbers(num_gpus_per_machine: int, num_machines: int, machine_rank: int) -> None:
    if num_machines < 1:
        raise UsageError(f"--num-machines {num_machines}: give at least 1")
    if num_gpus_per_machine < 0:
        raise UsageError(f"--num-gpus {num_gpus_per_machine}: give 1 or more")
    if not 0 <= machine_rank < num_machines:
        raise UsageError(
            f"--machine-rank {machine_rank} is none of --num-machines {num_machines}: give 0 to {num_machines - 1}"
        )


def distributed(model: torch.nn.Module, **options: Any) -> DistributedDataParallel:
    """A model on the CPU or on this process's GPU, whose gradients are averaged over all processes.

    Args:
        model: on its device.
        options: of ``DistributedDataParallel``.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:
        options["forward_sync_buffers"] = options.pop("broadcast_buffers", True)  # the old name is deprecated
    return DistributedDataParallel(model, device_ids=None if on_cpu else [comm.get_local_rank()], **options)


def _join_group(main_func: Callable, args: tuple) -> None:
    given = dist.is_initialized()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    if not given:
        join_group(_backend())
    machines: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(machines, os.environ.get("GROUP_RANK", "0"))
    _set_local_groups([[rank for rank, at in enumerate(machines) if at == m] for m in dict.fromkeys(machines)])
    with naming_lost_machines():
        main_func(*args)
    if not given:
        _leave_group()


def _spawn(
    main_func: Callable,
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str | None,
    args: tuple,
) -> None:
    if torch.cuda.is_available() and torch.cuda.device_count() < num_processes:
        raise UsageError(f"--num-gpus {num_processes}, but this machine has {torch.cuda.device_count()}")
    place = None
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise UsageError("several machines need the address of the first one: --dist-url tcp://HOST:PORT")
        place = serve()
        dist_url = address_of(place)
    with records_folder() as folder:
        run = (main_func, num_processes, num_machines, machine_rank, dist_url, place is not None, folder, args)
        arguments = (multiprocessing.get_start_method(), *run)
        context = mp.start_processes(_worker, arguments, num_processes, join=False, start_method="spawn")
        try:
            while not context.join():
                pass
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
            raise _first_error(error, context.processes, folder) from None


def _worker(
    local_rank: int,
    start_method: str,
    main_func: Callable,
    num_processes: int,
    num_machines: int,
    machine_rank: int,
    dist_url: str,
    served: bool,
    folder: Path,
    args: tuple,
) -> None:
    try:
        # A spawned process would spawn, too: the workers of its loaders, which import everything anew in every epoch
        multiprocessing.set_start_method(start_method, force=True)
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank)
        elif "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
        rank = machine_rank * num_processes + local_rank
        meet(_backend(), dist_url, rank, num_machines * num_processes, served=served)
        _set_local_groups([list(range(m * num_processes, (m + 1) * num_processes)) for m in range(num_machines)])
        with naming_lost_machines():
            main_func(*args)
        _leave_group()
    except Exception as error:
        known = type(error)(str(error)) if isinstance(error, LostMachineError) else None
        if isinstance(error, UsageError):
            known = UsageError(str(error))  # a subclass may be of a module that the launching process has not imported
        write_record(folder, ErrorRecord(time.time(), local_rank, os.getpid(), known, traceback.format_exc()))
        raise


def _first_error(noticed: Exception, processes: list, folder: Path) -> Exception:
    """The error that began it: a killed process leaves none, and its peers only lose their connection to it."""
    for index, process in enumerate(processes):
        if process.exitcode == _KILLED:
            return mp.ProcessExitedException(
                f"process {index} of {len(processes)} was killed by SIGKILL (out of memory?)",
                error_index=index,
                error_pid=process.pid,
                exit_code=process.exitcode,
                signal_name="SIGKILL",
            )
    records = error_records(folder)
    if not records:
        return noticed
    first = records[0]
    if first.known is not None:
        return first.known
    return mp.ProcessRaisedException(
        f"process {first.local_rank} of {len(processes)} failed:\n{first.text}", first.local_rank, first.pid
    )


def _backend() -> str:
    return "nccl" if torch.cuda.is_available() else "gloo"


def _set_local_groups(ranks_of_machines: list[list[int]]) -> None:
    """Name to FastReID the processes that share this machine; every process has to create every group."""
    for ranks in ranks_of_machines:
        group = dist.new_group(ranks)
        if dist.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def _leave_group() -> None:
    dist.barrier()
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
