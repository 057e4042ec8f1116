"""What stock FastReID needs on a current stack: one small file per breakage, each with ``apply()``."""


def apply() -> None:
    """Mend every breakage, once; a mend does nothing where the toolbox already works."""
