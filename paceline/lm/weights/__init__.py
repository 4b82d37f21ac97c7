"""How weights are stored: one file a format, with its torch reference and the name of its compiled kernel."""

from typing import NamedTuple, Protocol

import torch

__all__ = ["Native", "Table", "Weights"]


class Native(NamedTuple):
    """Weights as compiled code reads them: `tiles` of TILE outputs (`layout.py`) that the kernel `kind` knows, [out, in] =
    `shape`; `scale` and `bias`, in tiles and [out], where there are any. gated: tiles of the upper and the lower half of the
    outputs lie in turn, so that gate and up are made together; `shape` is then that of one half. integer: inputs are rounded
    (`blocks.rounded`). rest: outputs that follow, in another format.
    """

    tiles: torch.Tensor
    kind: int
    shape: tuple[int, int]
    gated: bool = False
    scale: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    integer: bool = False
    rest: "Native | None" = None


class Weights(Protocol):
    """A linear's weights [out, in] in one storage format."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def bytes(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of what goes in and comes out."""
        ...

    @property
    def kernel(self) -> int | None:
        """The compiled code's number for this format; None where it has no kernel for it."""
        ...

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        """x [M, in] -> x W^T + bias [M, out], plus `add` where given: the reference that every kernel is tested against."""
        ...

    def native(self, gated: bool = False) -> Native | None:
        """For compiled code; None where there is no kernel. gated: gate and up, each a half of the outputs."""
        ...


class Table(Protocol):
    """Weights [ids, W] that an embedding is looked up in."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """ids [...] -> [..., W]."""
        ...
