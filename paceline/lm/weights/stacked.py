"""Linears that share their input but not their format, as the queries, keys and values of a Q4_K_M file."""

from collections.abc import Sequence

import torch

from paceline.lm.weights import Native, Weights

__all__ = ["Stacked"]


class Stacked:
    """Outputs of the first part, then those of the next …; x [M, in] goes to all. gated: they are gate and up, of which compiled
    code wants the tiles in turn, so it has no kernel for them.
    """

    def __init__(self, parts: Sequence[Weights], gated: bool = False) -> None:
        self.parts, self.gated, self.dtype = parts, gated, parts[0].dtype
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def kernel(self) -> int | None:
        """The first part's, where all have one."""
        return None if self.gated or any(part.kernel is None for part in self.parts) else self.parts[0].kernel

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        out = torch.cat([part.linear(x) for part in self.parts], -1)
        return out if add is None else out + add

    def native(self, gated: bool = False) -> Native | None:
        """The first part's, with the others as its `rest`."""
        made: Native | None = None
        for part in reversed(self.parts if self.kernel is not None else ()):
            own = part.native()
            made = own and own._replace(rest=made)
        return made
