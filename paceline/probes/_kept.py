"""What a probe keeps: a small tensor for every text and layer."""

from collections.abc import Sequence

import torch

__all__ = ["Kept"]


class Kept:
    """Sums by text and layer, on the CPU."""

    def __init__(self) -> None:
        self.sums: dict[tuple[int, int], torch.Tensor] = {}

    def add(self, text: int, layer: int, value: torch.Tensor) -> None:
        """A further part of a text's layer; the first one is copied."""
        part = value.detach().to("cpu", torch.float32)
        self.sums[text, layer] = self.sums[text, layer] + part if (text, layer) in self.sums else part.clone()

    @property
    def texts(self) -> Sequence[int]:
        return sorted({text for text, _ in self.sums})

    @property
    def layers(self) -> Sequence[int]:
        return sorted({layer for _, layer in self.sums})

    @property
    def each(self) -> torch.Tensor:
        """[texts, layers, …]"""
        texts, layers = self.texts, self.layers
        return torch.stack([torch.stack([self.sums[text, layer] for layer in layers]) for text in texts])
