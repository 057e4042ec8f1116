"""MDPR as the student: an image network with losses of its own that sees the frames one by one."""

import torch

from mdkt.heads import ClipReadings
from mdpr_fastreid.modeling.meta_arch import MDPR


class MDPRStudent(MDPR):
    """MDPR that also says what it reads off clips; weights, their names, and what it does with images are MDPR's.

    Its inference vector, averaged over the frames, is the embedding; the logits of its last head, the fused one where
    there is one, averaged likewise, are the logits.
    """

    def learn(self, clips: torch.Tensor, targets: torch.Tensor) -> tuple[ClipReadings, dict[str, torch.Tensor]]:
        """What it reads off clips ``[B, T, 3, H, W]``, and MDPR's own losses on their frames; targets are ``[B]``."""
        size = clips.shape[:2]
        of_frames = targets.repeat_interleave(size[1])
        images = self.preprocess_image(clips.flatten(0, 1))
        outputs = self.heads(self.perspectives(self.backbone(images, self.heads.wanted_readings())), of_frames)
        vectors = [outputs["heads"][name]["features"] for name in self.heads.inference_heads()]
        frames = torch.cat(vectors, dim=1).unflatten(0, size)
        logits = outputs["pred_class_logits"].unflatten(0, size)
        readings = ClipReadings(frames, frames.mean(dim=1), logits.mean(dim=1))
        return readings, self.losses(outputs, of_frames)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """``[N, 3, H, W]`` -> ``[N, D]``, the inference vector."""
        return self.forward(images)
