"""Tells models apart by their embedding, so that a target grown from another is the same."""

import zlib

import torch

__all__ = ["ROWS", "fingerprint"]

ROWS = 256  # that are looked at


def fingerprint(embedding: torch.Tensor | None) -> int:
    """Of an embedding [ids, W]; 0 where it is out of reach."""
    if not isinstance(embedding, torch.Tensor) or embedding.is_meta:
        return 0
    rows = embedding.detach()[:ROWS].to("cpu", torch.bfloat16).contiguous()
    return zlib.crc32(rows.view(torch.int16).numpy().tobytes())
