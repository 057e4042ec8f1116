#!/usr/bin/env python3
"""Train or evaluate any FastReID config, MDPR's included, with FastReID's command line.

python train_net.py --config-file configs/MDPR/synthreid_r18.yml
python train_net.py --config-file FILE --resume
python train_net.py --config-file FILE --eval-only MODEL.WEIGHTS logs/model_final.pth
python train_net.py --config-file FILE --num-gpus 2 SOLVER.IMS_PER_BATCH 128
torchrun --nproc-per-node 2 train_net.py --config-file FILE
"""

import sys

import mdpr_fastreid  # noqa: F401  (makes FastReID importable, so it comes before any import of it)

from fastreid.engine import default_argument_parser  # isort: skip

from mdpr_fastreid.engine import run, train_or_evaluate

if __name__ == "__main__":
    sys.exit(run(train_or_evaluate, default_argument_parser()))
