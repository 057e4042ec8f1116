"""Who a pedestrian is: body, hair, garments and what is carried, and the look-alikes of each."""

from dataclasses import asdict, dataclass, replace

from .exact import Stream

PALETTE = {
    "black": (28, 28, 32),
    "charcoal": (62, 64, 70),
    "grey": (128, 130, 134),
    "silver": (184, 186, 190),
    "white": (232, 232, 228),
    "navy": (32, 42, 84),
    "blue": (44, 90, 176),
    "sky": (122, 172, 220),
    "teal": (30, 122, 124),
    "green": (46, 124, 62),
    "olive": (98, 102, 52),
    "yellow": (226, 192, 56),
    "orange": (222, 118, 40),
    "red": (190, 40, 44),
    "maroon": (106, 28, 40),
    "pink": (226, 146, 170),
    "purple": (106, 62, 138),
    "brown": (96, 64, 42),
    "beige": (202, 180, 142),
}
COLOURS = tuple(PALETTE)
SKINS = ((244, 206, 178), (226, 180, 146), (198, 148, 112), (150, 104, 74), (98, 66, 48))
HAIRS = {
    "black": (24, 20, 20),
    "brown": (74, 48, 32),
    "blond": (196, 160, 98),
    "grey": (150, 148, 146),
    "red": (134, 62, 34),
}
UPPER_CUTS = ("t-shirt", "shirt", "jacket", "hoodie", "coat")
LOWER_CUTS = ("trousers", "trousers", "trousers", "shorts", "skirt")
PATTERNS = ("plain", "plain", "plain", "stripes", "checks", "gradient", "yoke", "dots")
LOGOS = ("disc", "bar", "square", "chevron")
BACK_PRINTS = ("disc", "band", "square", "cross")

TRAIN, TEST, STRANGER = 0, 1, 2
"""Where an identity belongs; strangers only ever walk by."""


@dataclass(frozen=True)
class Identity:
    """One pedestrian. Colours are names of :data:`PALETTE` (hair: of :data:`HAIRS`); "" means that there is none."""

    height: float
    build: float
    shoulders: float
    stride: float
    skin: int
    hair_style: str
    hair_colour: str
    hat: str
    hat_colour: str
    upper_cut: str
    upper_pattern: str
    upper_colour: str
    upper_second: str
    logo: str
    logo_colour: str
    back_print: str
    back_colour: str
    backpack: str
    bag: str
    bag_side: str
    bag_colour: str
    lower_cut: str
    lower_colour: str
    side_stripe: str
    shoes: str


def _other(stream: Stream, *taken: str) -> str:
    """A colour that is none of ``taken`` and can be told from them."""
    dark = {"black", "charcoal", "navy"}
    banned = set(taken) | (dark if dark & set(taken) else set())
    return stream.choice([colour for colour in COLOURS if colour not in banned])


def _draw(stream: Stream) -> Identity:
    muted = ("black", "charcoal", "grey", "navy", "white", "beige", "brown", "blue")
    upper = stream.choice(COLOURS if stream.chance(0.75) else muted)
    lower = stream.choice(muted if stream.chance(0.65) else COLOURS)
    pattern = stream.choice(PATTERNS)
    second = _other(stream, upper)
    carries_back = stream.uniform()
    return Identity(
        height=stream.bell(1.70, 0.16),
        build=stream.uniform(0.88, 1.22),
        shoulders=stream.uniform(0.92, 1.1),
        stride=stream.uniform(0.8, 1.15),
        skin=stream.below(len(SKINS)),
        hair_style=stream.choice(("short", "short", "long", "ponytail", "bun", "bald")),
        hair_colour=stream.choice(("black", "black", "brown", "brown", "blond", "grey", "red")),
        hat=stream.choice(("cap", "beanie")) if stream.chance(0.2) else "",
        hat_colour=stream.choice(COLOURS),
        upper_cut=stream.choice(UPPER_CUTS),
        upper_pattern=pattern,
        upper_colour=upper,
        upper_second=second,
        logo=stream.choice(LOGOS) if stream.chance(0.5) else "",
        logo_colour=_other(stream, upper, second),
        back_print=stream.choice(BACK_PRINTS) if carries_back < 0.35 else "",
        back_colour=_other(stream, upper, second),
        backpack=_other(stream, upper) if carries_back > 0.65 else "",
        bag=stream.choice(("hand", "shoulder")) if stream.chance(0.45) else "",
        bag_side=stream.choice(("left", "right")),
        bag_colour=_other(stream, upper, lower),
        lower_cut=stream.choice(LOWER_CUTS),
        lower_colour=lower,
        side_stripe=_other(stream, lower) if stream.chance(0.2) else "",
        shoes=stream.choice(("black", "white", "brown", "grey", "red", "blue", "beige")),
    )


def _change(identity: Identity, detail: str, stream: Stream) -> Identity:
    """``identity`` with one local detail changed so that it can be seen."""
    upper, second, lower = identity.upper_colour, identity.upper_second, identity.lower_colour
    if detail == "logo":
        return replace(identity, logo="" if identity.logo else stream.choice(LOGOS))
    if detail == "back":
        if identity.backpack:
            return replace(identity, backpack=_other(stream, upper, identity.backpack))
        if identity.back_print:
            return replace(identity, back_colour=_other(stream, upper, second, identity.back_colour))
        return replace(identity, back_print=stream.choice(BACK_PRINTS))
    if detail == "bag":
        if identity.bag and stream.chance(0.5):
            return replace(identity, bag_colour=_other(stream, upper, lower, identity.bag_colour))
        return replace(identity, bag="" if identity.bag else stream.choice(("hand", "shoulder")))
    if detail == "shoes":
        return replace(identity, shoes=_other(stream, identity.shoes, lower))
    if detail == "hat":
        if identity.hat:
            return replace(identity, hat_colour=_other(stream, identity.hat_colour))
        return replace(identity, hat=stream.choice(("cap", "beanie")))
    if detail == "hair":
        styles = [style for style in ("short", "long", "ponytail", "bun") if style != identity.hair_style]
        colours = [colour for colour in HAIRS if colour != identity.hair_colour]
        if identity.hat or identity.hair_style == "bald" or stream.chance(0.5):
            return replace(identity, hair_style=stream.choice(styles))
        return replace(identity, hair_colour=stream.choice(colours))
    if identity.side_stripe or identity.lower_cut == "skirt":
        return replace(identity, side_stripe="" if identity.side_stripe else _other(stream, lower))
    return replace(identity, side_stripe=_other(stream, lower))


DETAILS = ("logo", "back", "bag", "shoes", "hat", "hair", "stripe")
"""What a look-alike may differ in. Each is small and none shows from every side, so no global statistic finds it."""


def look_alike_group(index: int, count: int, size: int, share: float = 1.0) -> tuple[int, int]:
    """Which group identity ``index`` of ``count`` is in, and which member of it.

    A ``share`` of the identities is in groups of at least ``size``; each of the others, which come first, is alone.
    """
    alone = count - round(count * share)
    if index < alone:
        return index, 0
    groups = max(1, (count - alone) // size)
    return alone + (index - alone) % groups, (index - alone) // groups


def make_identity(
    seed: int, split: int, index: int, count: int, look_alikes: int, look_alike_share: float = 1.0
) -> Identity:
    """Identity ``index`` of a split.

    The first member of a group is drawn freely; each other member is the first with one local detail changed, a
    different one for each, so that any two members differ in one or two details.

    Args:
        seed: of the set.
        split: :data:`TRAIN`, :data:`TEST` or :data:`STRANGER`.
        index: 0 to ``count - 1``.
        count: identities in the split.
        look_alikes: identities in a group.
        look_alike_share: share of identities that are in one.
    """
    group, member = look_alike_group(index, count, look_alikes, look_alike_share)
    identity = _draw(Stream(seed, 1, split, group))
    if member == 0:
        return identity
    order = Stream(seed, 2, split, group).shuffled(DETAILS)
    return _change(identity, order[(member - 1) % len(order)], Stream(seed, 3, split, group, member))


def differences(first: Identity, second: Identity) -> list[str]:
    """The attributes in which two identities differ."""
    one, two = asdict(first), asdict(second)
    return [name for name in one if one[name] != two[name]]
