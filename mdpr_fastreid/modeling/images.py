"""The images of a batch, for a model that needs them."""

from typing import Any

from mdpr_fastreid.errors import SettingsError


def images_of(batched_inputs: Any) -> Any:
    """What a batch has under ``images``; anything that is no batch stays as it is.

    Raises:
        SettingsError: the batch has no images, only fields.
    """
    if not isinstance(batched_inputs, dict):
        return batched_inputs
    if "images" not in batched_inputs:
        raise SettingsError(
            f"the model needs images, and the batch has only {', '.join(map(str, batched_inputs))}: "
            "INPUT.CLIP.WITH_IMAGE True puts them beside the clips"
        )
    return batched_inputs["images"]
