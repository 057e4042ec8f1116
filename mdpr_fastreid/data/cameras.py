"""Numbers of cameras for a model that tells them apart: one camera has one number, in training and in evaluation.

FastReID numbers the cameras of a training by the order of their names as texts, in which camera 10 comes before camera
2, and those of a test as the data set does. Nothing but a model with camera embeddings sees the difference.
"""

import logging
import re
from collections.abc import Collection, Iterable

from fastreid.config import CfgNode
from torch.utils.data import Dataset

from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.errors import UsageError

_KEY = "MODEL.BACKBONE.TIMM.CAMERAS"
_NAMED = re.compile(r"(?P<set>.*?)(_test)?_(?P<number>\d+)")
"""What FastReID makes of a camera's number in training items: ``market1501_3``, ``market1501_test_3``."""

logger = logging.getLogger("fastreid.data.build")


def camera_count(cfg: CfgNode) -> int:
    """How many cameras the model of a config tells apart; 0 if it does not."""
    try:
        backbone = value_of(cfg, "MODEL.BACKBONE")
        return backbone.TIMM.CAMERAS if backbone.NAME == "build_timm_backbone" else 0
    except (AttributeError, KeyError):  # a config may be older than the key
        return 0


def number_as_tested(train_set: Dataset, count: int) -> None:
    """Let the ``camids`` of a training set be the numbers that its data set gives its test images, in place.

    Args:
        train_set: FastReID's, or one of ours.
        count: of cameras that the model tells apart.

    Raises:
        UsageError: it has more of them, is of several data sets, whose cameras have the same numbers, or has cameras
            without a number.
    """
    names = {camera: _numbered(camera) for camera in train_set.cam_dict}
    sets = sorted({of for of, _ in names.values()})
    if len(sets) > 1:
        raise UsageError(
            f"{_KEY} {count}: the cameras of several training sets ({', '.join(sets)}) have the same numbers; train on "
            "one of them, or set it to 0"
        )
    train_set.cam_dict = {camera: number for camera, (_, number) in names.items()}
    _check_count("the training set", train_set.cam_dict.values(), count)


def check_test_cameras(name: str, items: Iterable[tuple], count: int) -> None:
    """Refuse a test set with a camera that the model has no embedding of.

    Args:
        name: of the test set.
        items: ``(path, identity, camera)``.
        count: of cameras that the model tells apart.

    Raises:
        UsageError: there is one.
    """
    _check_count(name, {_numbered(item[2])[1] for item in items}, count)


def check_seen_in_training(names: Collection[str], train_set: Dataset, test_name: str, test_set: Dataset) -> None:
    """Refuse a test set with a camera that no training image is of, whose embedding would stay random.

    Args:
        names: of the training sets.
        train_set: after :func:`number_as_tested`.
        test_name: of the test set; if it is none of ``names``, a warning says that its cameras should be theirs.
        test_set: with items ``(path, identity, camera)``.

    Raises:
        UsageError: there is one.
    """
    if not (hasattr(train_set, "cam_dict") and hasattr(test_set, "img_items")):
        return  # of a project's own
    seen = set(train_set.cam_dict.values())
    new = sorted({_numbered(item[2])[1] for item in test_set.img_items} - seen)
    if new:
        raise UsageError(
            f"{_KEY}: {test_name} has {_cameras(new)}, and no training image is of {'one' if new[1:] else 'it'}: its "
            f"embedding would stay random. Training has {_cameras(sorted(seen))}; set {_KEY} to 0"
        )
    if test_name not in names:
        logger.warning(
            f"{_KEY}: {test_name} is tested with the camera embeddings of {', '.join(names)}: they mean something only "
            "if cameras of the same number are the same"
        )


def _numbered(camera: object) -> tuple[str, int]:
    """The data set and the number of an item's camera."""
    if isinstance(camera, str):
        found = _NAMED.fullmatch(camera)
        if found is None:
            raise UsageError(f"{_KEY}: the camera {camera!r} has no number; set it to 0")
        return found["set"], int(found["number"])
    return "", int(camera)


def _check_count(owner: str, numbers: Collection[int], count: int) -> None:
    last, first = max(numbers, default=0), min(numbers, default=0)
    if first < 0 or last >= count:
        wrong = first if first < 0 else last
        way = f"set it to {last + 1} where weights allow it" if first >= 0 else "cameras are numbered from 0"
        raise UsageError(f"{_KEY} is {count}, and {owner} has a camera of number {wrong}, counted from 0: {way}")


def _cameras(numbers: list[int], shown: int = 20) -> str:
    more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
    return f"camera{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:shown]))}{more}"
