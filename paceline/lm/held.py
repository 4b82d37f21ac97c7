"""What one slot holds of the layers of one group: their keys and values, which all begin and end at the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Held"]


@dataclass(eq=False)
class Held:
    """Per layer [2, H, capacity, D] (0 = keys, 1 = values), in the order of the text. `dropped`: how many tokens are missing
    behind the first `sinks`; a later one, at position p, stands at p - dropped.
    """

    dropped: int = 0
    sinks: int = 0
    capacity: int = 0
    layers: dict[int, torch.Tensor] = field(default_factory=dict)
    addresses: Any = None  # of the layers, for compiled code that has asked for them

    @property
    def bytes(self) -> int:
        return sum(x.numel() * x.element_size() for x in self.layers.values())

    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        return sum(x[:, :, 0].numel() * x.element_size() for x in self.layers.values())

    def restart(self, position: int, sinks: int) -> None:
        """Nothing, of a text whose next token stands at `position`; only its first tokens can be sinks."""
        self.dropped, self.sinks = position, 0 if position else sinks

    def add(self, layer: int, like: torch.Tensor) -> None:
        """A further layer, for keys like these [H, T, D]; where there are none it is 0, since a mask hides no NaN."""
        self.layers[layer], self.addresses = like.new_zeros((2, like.shape[0], self.capacity, like.shape[2])), None

    def move(self, layer: int, to: "Held") -> None:
        """Let another group, which has nothing yet or is held alike, go on with a layer."""
        to.dropped, to.capacity = self.dropped, self.capacity
        to.layers[layer] = self.layers.pop(layer)
        self.addresses = to.addresses = None

    def resize(self, capacity: int) -> None:
        """Room for so many keys in every layer; those that have none are gone."""
        for layer, old in self.layers.items():
            made = old.new_zeros((2, old.shape[1], capacity, old.shape[3]))
            made[:, :, : self.capacity] = old[:, :, :capacity]
            self.layers[layer] = made
        self.capacity, self.addresses = capacity, None

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
    def drop(self, dropped: int, stop: int) -> None:
        """Let go, behind the sinks, so that so many are missing of a text of `stop` tokens."""
        start = self.sinks + dropped - self.dropped
        for cache in self.layers.values():
            cache[:, :, self.sinks : stop - dropped] = cache[:, :, start : stop - self.dropped].clone()
        self.dropped = dropped
