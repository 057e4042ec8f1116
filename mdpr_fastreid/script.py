"""A script of FastReID's, run as ``__main__`` after this package has prepared FastReID for it.

``mdpr run`` runs this module. A spawned child of the script imports its parent's main module by name, which is this one
again: so the script's children, too, find a FastReID that imports (``multiprocessing.spawn``, ``init_main_from_name``).
"""

import os
import sys

from mdpr_fastreid.cli.run import PATH

if __name__ in ("__main__", "__mp_main__"):
    __file__ = os.environ[PATH]
    sys.argv[0] = __file__
    with open(__file__, "rb") as _file:
        exec(compile(_file.read(), __file__, "exec"), globals())
