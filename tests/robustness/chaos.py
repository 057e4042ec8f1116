"""Harms trainings at random moments, resumes them, and says how many ended with the weights of an unharmed one.

python tests/robustness/chaos.py --rounds 100

A round is one of: a kill (one process, or two), a full disk at a checkpoint, a folder that is removed, a clock that
jumps. A round survives if the run that goes on ends with the same weights, bit for bit, and nothing half-written.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
CONFIG = """
MODEL:
  DEVICE: cpu
  BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25, FEAT_DIM: 128}
  HEADS: {WITH_BNNECK: True}
INPUT: {SIZE_TRAIN: [32, 16], SIZE_TEST: [32, 16], FLIP: {ENABLED: True}}
DATASETS: {NAMES: "('SynthReIDTiny',)", TESTS: "('SynthReIDTiny',)"}
DATALOADER: {NUM_WORKERS: 1}
SOLVER: {IMS_PER_BATCH: 32, MAX_EPOCH: 4, WARMUP_ITERS: 2, CHECKPOINT_PERIOD: 1}
TEST: {EVAL_PERIOD: 2, IMS_PER_BATCH: 128}
SEED: 11
"""
_MOST_TRIES = 6
_LONGEST = 600  # seconds


class Chaos:
    """Trainings of one config in one folder.

    Args:
        folder: for everything that is written.
        draw: of moments and harms.
    """

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        self.config = folder / "chaos.yml"
        self.config.write_text(CONFIG)
        self.kills = 0
        self.unharmed = {}
        self.seconds = {}
        for processes in (1, 2):
            begin = time.monotonic()
            output = folder / f"unharmed-{processes}"
            if self.start(output, processes).wait(_LONGEST):
                raise SystemExit(f"the unharmed run failed: {(output / 'said.txt').read_text()[-2000:]}")
            self.unharmed[processes] = weights(output)
            self.seconds[processes] = time.monotonic() - begin

    def start(self, output: Path, processes: int, *options: str, **environment: str) -> subprocess.Popen:
        """A training in the background, in a process group of its own."""
        output.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, ROOT / "train_net.py", "--config-file", self.config, "--num-gpus", str(processes)]
        with (output / "said.txt").open("a") as said:
            return subprocess.Popen(
                [*words, *options, "OUTPUT_DIR", str(output)],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def killed(self, output: Path, processes: int) -> None:
        """A kill -9 of the whole run at any moment, up to a few times."""
        for number in range(self.draw.randint(1, 3)):
            running = self.start(output, processes, *["--resume"] * (number > 0))
            # Before that it imports packages and has nothing to lose
            self.kill_after(running, self.draw.uniform(0.25, 1) * self.seconds[processes])

    def full_disk(self, output: Path, processes: int) -> None:
        """No room for one of the checkpoints."""
        output.mkdir(parents=True)
        name = self.draw.choice(["model_0000", "model_0001", "model_0002", "model_final"])
        full = output / f"{name}.pth.tmp"
        full.symlink_to("/dev/full")
        code = self.start(output, processes).wait(_LONGEST)
        assert code, "a full disk went unnoticed"
        full.unlink(missing_ok=True)

    def removed(self, output: Path, processes: int) -> None:
        """The folder goes while the run writes to it; the run begins anew."""
        running = self.start(output, processes)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(self.draw.uniform(0.25, 1) * self.seconds[processes])
        shutil.rmtree(output, ignore_errors=True)
        running.wait(_LONGEST)
        shutil.rmtree(output, ignore_errors=True)

    def clock_jumps(self, output: Path, processes: int) -> None:
        """What a run has written is from the future, or from long ago, when it is resumed."""
        running = self.start(output, processes)
        self.kill_after(running, self.draw.uniform(0.25, 1) * self.seconds[processes])
        jump = self.draw.choice([-1, 1]) * 10 * 365 * 86400
        for path in output.rglob("*"):
            os.utime(path, (time.time() + jump, time.time() + jump))

    def kill_after(self, running: subprocess.Popen, seconds: float) -> None:
        """Kill a run with all of its processes, if it has not ended by then."""
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            self.kills += 1
        running.wait()

    def survives(self, harm: str, processes: int, output: Path) -> str:
        """ "" if a harmed run ends as the unharmed one, or what is wrong."""
        getattr(self, harm)(output, processes)
        for _ in range(_MOST_TRIES):
            if self.start(output, processes, "--resume").wait(_LONGEST) == 0:
                break
        else:
            return "it could not be resumed"
        if list(output.rglob("*.tmp")):
            return "it left something half-written"
        _, traceback, lines = (output / "said.txt").read_text().partition("Traceback")
        if traceback and harm == "killed":
            return f"it printed a traceback: {lines[:3000]}"
        ours, theirs = weights(output), self.unharmed[processes]
        same = ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
        return "" if same else "its weights are others"


def weights(output: Path) -> dict[str, torch.Tensor]:
    """What a run has trained."""
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


HARMS = (("killed", 1), ("killed", 2), ("killed", 1), ("full_disk", 1), ("clock_jumps", 1), ("removed", 1))


def main() -> int:
    """Run the rounds; 0 if all survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="of moments and harms (default: a new one)")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(2**31)
    survived, counts = 0, Counter()
    with tempfile.TemporaryDirectory(prefix="mdpr-chaos-") as folder:
        os.environ.setdefault("FASTREID_DATASETS", f"{folder}/datasets")
        chaos = Chaos(Path(folder), random.Random(seed))
        for number in range(args.rounds):
            harm, processes = HARMS[number % len(HARMS)]
            output = Path(folder, f"round-{number}")
            wrong = chaos.survives(harm, processes, output)
            survived += not wrong
            counts[harm, processes] += 1
            print(f"{number + 1}: {harm}, {processes} processes: {wrong or 'survived'}", flush=True)
            shutil.rmtree(output, ignore_errors=True)
    kinds = ", ".join(f"{count} {harm} ({processes})" for (harm, processes), count in counts.items())
    print(f"survived: {survived} of {args.rounds}, {chaos.kills} kills (seed {seed}; {kinds})")
    return 0 if survived == args.rounds else 1


if __name__ == "__main__":
    sys.exit(main())
