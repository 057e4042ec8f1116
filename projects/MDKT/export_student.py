#!/usr/bin/env python3
"""Write the student of a checkpoint of stage 2 as weights of its own architecture, VideoReID or MDPR.

python projects/MDKT/export_student.py logs/mdkt/mars_r50/model_final.pth student.pth
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

# The project's folder, and the checkout if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from mdkt.hand_over import student_weights  # noqa: E402

from mdpr_fastreid.errors import UsageError  # noqa: E402
from mdpr_fastreid.weights import read_checkpoint, write_weights  # noqa: E402


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a mistake of the user's (one line)."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", help="of stage 2")
    parser.add_argument("output", help="the file to write")
    args = parser.parse_args(words)
    try:
        write_weights(student_weights(read_checkpoint(args.checkpoint)["model"]), args.output)
    except UsageError as error:
        text = str(error)
        named = text if args.checkpoint in text else f"{args.checkpoint}: {text}"
        print(f"{Path(__file__).name}: {named}", file=sys.stderr)
        return 2
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
