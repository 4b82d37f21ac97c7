"""Token ids as every forward takes them: int64 on the CPU, whatever torch's defaults have become since the model was loaded."""

from collections.abc import Sequence

import torch

__all__ = ["random_ids", "token_ids"]


def token_ids(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of equal length as ids [B, T]."""
    return torch.tensor(rows, dtype=torch.long, device="cpu")


def random_ids(vocab: int, shape: Sequence[int], seed: int) -> torch.Tensor:
    """Ids below `vocab`, the same for the same seed."""
    lots = torch.Generator("cpu").manual_seed(seed)
    return torch.randint(vocab, tuple(shape), generator=lots, dtype=torch.long, device="cpu")
