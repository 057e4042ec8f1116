"""Clips of tracklets in a batch: which frames, in ``sampling``; whose, in ``tracklets``; the field, in ``field``."""

from mdpr_fastreid.data.clips.field import ClipField

__all__ = ["ClipField"]
