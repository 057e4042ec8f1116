"""Training and evaluation of any FastReID config: what ``train_net.py`` is made of."""

from mdpr_fastreid.config import config_from
from mdpr_fastreid.engine.command_line import run
from mdpr_fastreid.engine.evaluation_weights import load_for_evaluation
from mdpr_fastreid.engine.results import make_output_dir, print_results, print_written_files
from mdpr_fastreid.engine.trainer import Trainer

__all__ = [
    "Trainer",
    "config_from",
    "load_for_evaluation",
    "make_output_dir",
    "print_results",
    "print_written_files",
    "run",
]
