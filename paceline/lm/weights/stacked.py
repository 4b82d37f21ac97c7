"""Linears that share their input but not their format, as the queries, keys and values of a Q4_K_M file."""

from collections.abc import Sequence

import torch

from paceline.lm.weights import Native, Weights

__all__ = ["Stacked"]


class Stacked:
    """Outputs of the first part, then those of the next …; x [M, in] goes to all."""

    def __init__(self, parts: Sequence[Weights]) -> None:
        self.parts, self.dtype = parts, parts[0].dtype
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def kernel(self) -> int | None:
        """The first part's, where all have one."""
        return None if any(part.kernel is None for part in self.parts) else self.parts[0].kernel

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        out = torch.cat([part.linear(x) for part in self.parts], -1)
        return out if add is None else out + add

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("linears that share their input are multiplied only; an embedding has one format")

    def native(self, gated: bool = False) -> Native | None:
        """The first part's, with the others as its `rest`. None for gate and up, whose tiles could not lie in turn."""
        made: Native | None = None
        for part in reversed(self.parts):
            own = None if gated else part.native()
            if own is None:
                return None
            made = own._replace(rest=made)
        return made
