"""A method on the plugin's public interfaces: importing it registers its parts in FastReID's registries and ours."""

from example import model

__all__ = ["model"]
