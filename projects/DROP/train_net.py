#!/usr/bin/env python3
"""Train or evaluate DROP, with FastReID's command line.

python projects/DROP/train_net.py --config-file projects/DROP/configs/synthreid_r18.yml
"""

import sys
from pathlib import Path

# The project's folder, and the checkout if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from mdpr_fastreid.engine import run, train_or_evaluate  # noqa: E402  # isort: skip

import drop  # noqa: E402, F401  (registers the method)
from fastreid.engine import default_argument_parser  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(train_or_evaluate, default_argument_parser()))
