"""``mdpr run`` and ``mdpr doctor``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdpr_fastreid import compat
from mdpr_fastreid.cli import main
from mdpr_fastreid.compat.patching import Patches, State

ROOT = Path(__file__).parents[2]

# As FastReID's tools/train_net.py is: nothing of ours, and FastReID is imported first
SCRIPT = """
import sys
from fastreid.engine import default_argument_parser, launch
from fastreid.utils import comm
import beside

def main(args):
    print(f"rank {comm.get_rank()} of {comm.get_world_size()}, {args.opts}, {beside.NAME}\\n", end="", flush=True)

if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    print(__file__, sys.argv[0])
    launch(main, args.num_gpus, dist_url="auto", args=(args,))
"""


def test_an_unmodified_script_runs_and_so_do_its_child_processes(tmp_path):
    script = tmp_path / "train_net.py"
    script.write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("NAME = 'found'")
    command = [sys.executable, "-m", "mdpr_fastreid", "run", script, "--num-gpus", "2", "SOLVER.MAX_EPOCH", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    first, *ranks = [line for line in done.stdout.splitlines() if line]
    assert first == f"{script} {script}"
    assert sorted(ranks) == [f"rank {rank} of 2, ['SOLVER.MAX_EPOCH', '1'], found" for rank in (0, 1)]
    assert "RuntimeWarning" not in done.stderr


def test_a_script_that_is_not_there_is_one_line(capsys):
    assert main(["run", "tools/nothing.py", "--num-gpus", "2"]) == 2
    assert capsys.readouterr().err == "mdpr run: tools/nothing.py: no such script\n"


def test_the_doctor_lists_every_patch_and_its_state(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for patch in compat.patches():
        assert f"  {patch.target}: {compat.patches().state(patch).value}\n" in shown
    assert "fastreid.data.build: from collections import Mapping" in shown
    assert "1.4.0" in shown


@pytest.mark.parametrize("state", [State.DIFFERS, State.MISSING])
def test_the_doctor_fails_where_a_patch_does_not_fit(capsys, monkeypatch, state):
    patches = list(compat.patches())
    monkeypatch.setattr(Patches, "state", lambda self, patch: state if patch is patches[0] else State.APPLIED)
    assert main(["doctor"]) == 1
    assert f"1 of them do not fit this FastReID: {patches[0].target}" in capsys.readouterr().out
