#!/usr/bin/env python3
"""Train or evaluate any FastReID config, MDPR's included, with FastReID's command line.

python train_net.py --config-file configs/MDPR/synthreid_r18.yml
python train_net.py --config-file FILE --resume
python train_net.py --config-file FILE --eval-only MODEL.WEIGHTS logs/model_final.pth
python train_net.py --config-file FILE --num-gpus 2 SOLVER.IMS_PER_BATCH 128
torchrun --nproc-per-node 2 train_net.py --config-file FILE
"""

import sys
from argparse import Namespace

import mdpr_fastreid  # noqa: F401  (patches FastReID, so it comes before any import of it)

from fastreid.engine import default_argument_parser, default_setup  # isort: skip
from fastreid.utils import comm

from mdpr_fastreid.engine import (
    Trainer,
    config_from,
    load_for_evaluation,
    make_output_dir,
    print_results,
    print_written_files,
    run,
    seed_setup,
)
from mdpr_fastreid.errors import UsageError


def main(args: Namespace) -> None:
    """The work of one process."""
    cfg = config_from(args)
    if args.eval_only and not cfg.MODEL.WEIGHTS:
        raise UsageError("--eval-only needs the weights to evaluate: MODEL.WEIGHTS path/to/model_final.pth")
    make_output_dir(cfg.OUTPUT_DIR)
    default_setup(cfg, args)
    seed_setup(cfg)

    if args.eval_only:
        cfg.defrost()
        cfg.MODEL.BACKBONE.PRETRAIN = False  # all weights come from MODEL.WEIGHTS
        cfg.TEST.EVAL_UNTRAINED = False
        model = Trainer.build_model(cfg)
        load_for_evaluation(model, cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS_SHA256)
        results = Trainer.test(cfg, model)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        results = trainer.train()

    if comm.is_main_process():
        print_results(cfg, results)
        if not args.eval_only:
            print_written_files(cfg.OUTPUT_DIR)


if __name__ == "__main__":
    sys.exit(run(main, default_argument_parser()))
