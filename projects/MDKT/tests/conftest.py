"""The project's folder, so that its package is found wherever the tests are started."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

import mdkt  # noqa: E402, F401  (registers the method)
