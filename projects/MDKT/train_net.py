#!/usr/bin/env python3
"""Train or evaluate MDKT, with FastReID's command line; a teacher that is not named is trained first.

python projects/MDKT/train_net.py --config-file projects/MDKT/configs/synthreid_clips_r18.yml
"""

import sys
from pathlib import Path

# The project's folder, and the checkout if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from mdpr_fastreid.engine import run  # noqa: E402  # isort: skip

from fastreid.engine import default_argument_parser  # noqa: E402
from mdkt.stages import train_both_stages  # noqa: E402  (registers the method)

if __name__ == "__main__":
    sys.exit(run(train_both_stages, default_argument_parser()))
