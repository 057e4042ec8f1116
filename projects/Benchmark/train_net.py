#!/usr/bin/env python3
"""Compare methods under the conditions of a config of this project: ``mdpr compare`` with ``--shared`` filled in.

python projects/Benchmark/train_net.py --config-file projects/Benchmark/configs/demo_r18.yml --seeds 0,1,2
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # a checkout that is not installed works, too

from mdpr_fastreid.cli import main

if __name__ == "__main__":
    words = ["--shared" if word == "--config-file" else word for word in sys.argv[1:]]
    sys.exit(main(["compare", *words]))
