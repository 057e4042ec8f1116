"""The networks of both stages, in FastReID's META_ARCH_REGISTRY."""

from mdkt.meta_arch.mdkt import MDKT, check_transfer
from mdkt.meta_arch.mdpr_student import MDPRStudent
from mdkt.meta_arch.video_reid import VideoReID

__all__ = ["MDKT", "MDPRStudent", "VideoReID", "check_transfer"]
