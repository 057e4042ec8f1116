"""The head of a network that sees several frames of a person."""

from mdkt.heads.frame_head import ClipReadings, FrameHead

__all__ = ["ClipReadings", "FrameHead"]
