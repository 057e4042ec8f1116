"""``python -m mdpr_fastreid <verb>``, the same as ``mdpr <verb>``."""

import sys

from mdpr_fastreid.cli import main

sys.exit(main())
