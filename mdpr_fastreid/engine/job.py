"""What one process of a training or an evaluation does: the ``main`` of ``train_net.py``, and of every project's."""

from argparse import Namespace
from contextlib import nullcontext

from fastreid.config import CfgNode
from fastreid.engine import default_setup
from fastreid.utils import comm

from mdpr_fastreid.config import config_file, config_from
from mdpr_fastreid.engine.results import locked_output_dir, make_output_dir, print_results, print_written_files
from mdpr_fastreid.engine.seeding import seed_setup
from mdpr_fastreid.engine.trainer import Trainer
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_for_evaluation


def train_or_evaluate(args: Namespace, trainer_class: type[Trainer] = Trainer) -> None:
    """Train, resume or evaluate, and print the results on the main process.

    Args:
        args: of FastReID's command line: ``config_file``, ``opts``, ``resume``, ``eval_only``.
        trainer_class: which trainer.

    Raises:
        UsageError: the settings, the data or the weights do not let it begin.
    """
    cfg = config_from(args)
    if args.config_file:
        args = Namespace(**{**vars(args), "config_file": config_file(args.config_file)})  # FastReID logs the file
    if args.eval_only and not cfg.MODEL.WEIGHTS:
        raise UsageError("--eval-only needs the weights to evaluate: MODEL.WEIGHTS path/to/model_final.pth")
    make_output_dir(cfg.OUTPUT_DIR)
    with nullcontext() if args.eval_only else locked_output_dir(cfg.OUTPUT_DIR):
        _run(cfg, args, trainer_class)


def _run(cfg: CfgNode, args: Namespace, trainer_class: type[Trainer]) -> None:
    default_setup(cfg, args)
    seed_setup(cfg)

    if args.eval_only:
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAIN = False  # all weights come from MODEL.WEIGHTS
        cfg.TEST.EVAL_UNTRAINED = False
        model = trainer_class.build_model(cfg)
        load_for_evaluation(model, cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS_SHA256)
        results = trainer_class.test(cfg, model)
    else:
        trainer = trainer_class(cfg)
        trainer.resume_or_load(resume=args.resume)
        results = trainer.train()

    if comm.is_main_process():
        print_results(cfg, results)
        if not args.eval_only:
            print_written_files(cfg.OUTPUT_DIR)
