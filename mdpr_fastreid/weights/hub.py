"""The file of pretrained weights that timm knows for one of its models."""

from typing import NamedTuple

from mdpr_fastreid.errors import UsageError

_GIVE = "give MODEL.BACKBONE.PRETRAIN_PATH (docs/how-to/weights.md), or MODEL.BACKBONE.PRETRAIN False"


class HubFile(NamedTuple):
    """Where it is published, and what it is called on this machine."""

    url: str
    name: str


def file_of_timm(model: str) -> HubFile:
    """The file that timm's ``pretrained_cfg`` of a model names, at the Hugging Face hub or elsewhere.

    Args:
        model: name with or without the tag of its weights, such as ``convnext_atto.d2_in1k``.

    Raises:
        UsageError: timm is not installed, or knows no weights for this model.
    """
    try:
        from timm.models import get_pretrained_cfg
    except ImportError as error:
        raise UsageError("MODEL.BACKBONE.PRETRAIN True needs timm: pip install 'mdpr-fastreid[timm]'") from error
    try:
        known = get_pretrained_cfg(model)
    except RuntimeError as error:  # another tag than those of its weights
        raise UsageError(f"MODEL.BACKBONE.TIMM.MODEL {model}: {str(error).splitlines()[0]}") from error
    if known is not None and known.hf_hub_id:
        file = known.hf_hub_filename or "model.safetensors"
        url = f"https://huggingface.co/{known.hf_hub_id}/resolve/main/{file}"
        return HubFile(url, f"{known.hf_hub_id}/{file}".replace("/", "_"))
    if known is not None and known.url:
        return HubFile(known.url, known.url.rpartition("/")[2])
    raise UsageError(f"no weights of {model or 'a model without a name'} can be fetched: {_GIVE}")


def normalisation_of_timm(model: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the pixels, from 0 to 255, that timm's weights of a model were trained with.

    Args:
        model: as in :func:`file_of_timm`, which has found it.
    """
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(model)
    return [255 * value for value in known.mean], [255 * value for value in known.std]
