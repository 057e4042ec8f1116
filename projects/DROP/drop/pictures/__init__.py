"""Pictures to judge a training by: where parts were found, and how that went over the epochs."""

from drop.pictures.curves import plot_curves
from drop.pictures.parts_sheet import parts_sheet

__all__ = ["parts_sheet", "plot_curves"]
