"""Which model embeddings are of: those of two models have nothing to do with each other, however alike their shapes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mdpr_fastreid.errors import UsageError, printable


@dataclass(frozen=True)
class ModelId:
    """What makes two embeddings comparable.

    Args:
        weights: SHA-256 of the weight file, 64 hexadecimal digits; an exported file has that of what it was made of.
        size: height and width of the images that the network gets.
        dim: length of an embedding.
        features: names and lengths of its parts, in order, where the model says them.
        distance: what compares two of them: ``cosine`` or ``euclidean``.
        source: what :meth:`mdpr_fastreid.ReID.load` was given, where it is known; two models may be equal without it.
        source_weights: the weight file that it was given beside that, if any.
    """

    weights: str
    size: tuple[int, int]
    dim: int
    features: tuple[tuple[str, int], ...] = ()
    distance: str = "cosine"
    source: str = field(default="", compare=False)
    source_weights: str = field(default="", compare=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ModelId":
        """What :meth:`to_dict` gave, also after JSON.

        Raises:
            UsageError: it is something else.
        """
        try:
            size, parts = content["size"], content.get("features", ())
            made = cls(
                weights=content["weights"],
                size=(int(size[0]), int(size[1])),
                dim=int(content["dim"]),
                features=tuple((str(name), int(length)) for name, length in parts),
                distance=content.get("distance", "cosine"),
                source=content.get("source", ""),
                source_weights=content.get("source_weights", ""),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UsageError(f"what it says of its model cannot be read ({type(error).__name__}: {error})") from None
        texts = (made.weights, made.distance, made.source, made.source_weights)
        if not all(isinstance(text, str) for text in texts) or made.dim < 1 or min(made.size) < 1:
            raise UsageError("what it says of its model cannot be read: a text or a number is none")
        return made

    def check_same(self, other: "ModelId", ours: str = "these", theirs: str = "the others") -> None:
        """Refuse to compare embeddings of two models.

        Args:
            other: the other model.
            ours: what is of this model, for the message.
            theirs: what is of the other.

        Raises:
            UsageError: they differ; the message says in what.
        """
        for name in ("weights", "size", "dim", "features", "distance"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine != its:
                raise UsageError(
                    f"{ours} are embeddings of another model than {theirs}, so their distances mean nothing: "
                    f"{_WORDS[name]} {_said(name, mine)} and {_said(name, its)}"
                )


_WORDS = {
    "weights": "SHA-256 of the weights",
    "size": "image size",
    "dim": "length",
    "features": "parts",
    "distance": "distance",
}


def _said(name: str, value: Any) -> str:
    if name == "weights":
        return printable(value[:12])
    if name == "size":
        return "{}x{}".format(*value)
    if name == "features":
        return printable(", ".join(part for part, _ in value)) or "unnamed"
    return printable(str(value))
