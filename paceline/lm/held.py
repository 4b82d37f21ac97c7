"""What one slot holds of the layers of one group: their keys and values, which all begin and end at the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

__all__ = ["Held"]


@dataclass(eq=False)
class Held:
    """Per layer [2, H, capacity, D] (0 = keys, 1 = values), in the order of the text. `dropped`: how many tokens are missing behind
    the first `sinks`; a later one, at position p, stands at p - dropped.
    """

    dropped: int = 0
    sinks: int = 0
    layers: dict[int, torch.Tensor] = field(default_factory=dict)
    addresses: object = None  # of the layers, for compiled code that has asked for them

    @property
    def bytes(self) -> int:
        return sum(x.numel() * x.element_size() for x in self.layers.values())

    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        return sum(x[:, :, 0].numel() * x.element_size() for x in self.layers.values())

    def capacity(self, layer: int) -> int:
        return self.layers[layer].shape[2] if layer in self.layers else 0

    def grow(self, layer: int, like: torch.Tensor, capacity: int) -> None:
        """Give a layer room for so many keys like these [H, T, D]; what is beyond its keys is 0, since a mask hides no NaN."""
        made = like.new_zeros((2, like.shape[0], capacity, like.shape[2]))
        if layer in self.layers:
            made[:, :, : self.capacity(layer)] = self.layers[layer]
        self.layers[layer], self.addresses = made, None

    def positions(self, count: int) -> torch.Tensor:
        """In the text, of the first `count` keys."""
        places = torch.arange(count, dtype=torch.long, device="cpu")
        return places + self.dropped * (places >= self.sinks)

    @torch.inference_mode()
    def gather(self, start: int, path: Sequence[int]) -> None:
        """Bring the keys at these places behind `start` together there."""
        source = torch.tensor(path, dtype=torch.long, device="cpu") + start
        for cache in self.layers.values():
            cache[:, :, start : start + len(path)] = cache[:, :, source.to(cache.device)]

    @torch.inference_mode()
    def drop(self, sinks: int, dropped: int, stop: int) -> None:
        """Let go, behind the sinks, so that so many are missing of a text of `stop` tokens."""
        self.sinks, gone = sinks, dropped - self.dropped
        for cache in self.layers.values():
            cache[:, :, sinks : stop - dropped] = cache[:, :, sinks + gone : stop - self.dropped].clone()
        self.dropped = dropped
