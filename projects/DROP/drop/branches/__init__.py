"""The branch of DROP that says where the parts of the body are."""

from drop.branches.parsing import ParsingBranch

__all__ = ["ParsingBranch"]
