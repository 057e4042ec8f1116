"""What a job does: one run, as :mod:`mdpr_fastreid.compare.worker` does it."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.launchers.attempts import claim
from mdpr_fastreid.config.own_code import import_modules
from mdpr_fastreid.errors import UsageError


def work(folder: str, name: str, imports: Sequence[str] = ()) -> None:
    """Do the run of a folder, from its last checkpoint on, in this process, which ends with it.

    Args:
        folder: of the run.
        name: of the job, as the comparison submitted it.
        imports: modules that register what the config names.

    Raises:
        SystemExit: 1, when the run failed and the failure file says why.
    """
    import submitit  # an extra, installed wherever jobs run

    # submitit ignores the signal by which a scheduler asks a job to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    place = Path(folder)
    job = submitit.JobEnvironment()
    why_not = claim(place, name, job.job_id)
    if why_not or records.read_result(place):
        print(f"nothing is done: {why_not or 'the run is finished'}")
        return
    try:
        import_modules(imports)
    except UsageError as error:
        records.write_json(place / records.FAILURE, {"error": str(error), "log": str(job.paths.stdout)})
        sys.exit(1)
    from mdpr_fastreid.compare import worker  # after the modules, as in a process of its own

    if worker.main(place):
        sys.exit(1)
