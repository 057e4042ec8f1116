"""Backbones that FastReID does not have."""

from drop.backbones.hrnet import HRNet, HRNetStages, build_hrnet_backbone

__all__ = ["HRNet", "HRNetStages", "build_hrnet_backbone"]
