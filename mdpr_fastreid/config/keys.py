"""What a key of a config is, and how one is found."""

from dataclasses import dataclass

from fastreid.config import CfgNode

from mdpr_fastreid.config.values import Values


@dataclass(frozen=True)
class Key:
    """A key of a config."""

    name: str
    """With its sections: ``MODEL.MDPR.PARTS``."""
    default: object
    values: Values
    meaning: str
    """What it sets, in a sentence."""
    used_with: tuple[str, str | tuple[str, ...]] | None = None
    """The key and its value (or one of its values) without which this one has no effect, and so is not checked.

    Several values are a tuple: any of them.

    A key beside an ``ENABLED`` is not used where that is False; this is not repeated here.
    """


def has_key(cfg: CfgNode, name: str) -> bool:
    """Whether a config has a key of that name."""
    try:
        value_of(cfg, name)
    except KeyError:
        return False
    return True


def value_of(cfg: CfgNode, name: str) -> object:
    """The value of ``MODEL.MDPR.PARTS`` and the like.

    Raises:
        KeyError: the config has no such key.
    """
    node = cfg
    for part in name.split("."):
        if not isinstance(node, CfgNode):
            raise KeyError(name)
        node = node[part]
    return node
