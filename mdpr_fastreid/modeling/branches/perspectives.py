"""What both branches see of a person."""

from typing import NamedTuple

from mdpr_fastreid.modeling.branches.hard_content import HardContent
from mdpr_fastreid.modeling.branches.soft_content import SoftContent


class Perspectives(NamedTuple):
    """The two perspectives; one that does not exist, or is not wanted, is None."""

    hard: HardContent | None
    soft: SoftContent | None
