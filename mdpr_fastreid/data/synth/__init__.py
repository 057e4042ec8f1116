"""SynthReID: draws pedestrians, cameras and scenes from a seed and writes them as a ReID data set.

The folder imports nothing from outside it but NumPy, Pillow and filelock, and only by relative names, so it runs
under any name and as a distribution of its own: ``README.md`` says how.

From the bottom up: ``exact`` (arithmetic and random numbers that agree everywhere), ``identity``, ``texture``,
``body`` and ``canvas`` (who, what they wear, how they stand, how it is drawn), ``scene``, ``occluders``, ``camera``,
``shot`` (one image), ``presets`` and ``plan`` (which images), ``manifest`` (what a folder holds, and whether it still
does), ``writer`` (the folder), ``preview`` (contact sheets), ``judge`` (figures of a rendered set; needs scikit-learn
besides).
"""

from .manifest import RenderError, Request, check_files, departures, mask_path, read_manifest, verify
from .presets import KNOBS, PRESETS, Preset, adjusted
from .preview import write_previews
from .writer import DEFAULT_SIZE, ensure, set_folder

__all__ = [
    "DEFAULT_SIZE",
    "KNOBS",
    "PRESETS",
    "Preset",
    "RenderError",
    "Request",
    "adjusted",
    "check_files",
    "departures",
    "ensure",
    "mask_path",
    "read_manifest",
    "set_folder",
    "verify",
    "write_previews",
]
