"""How a transformers model rotates queries and keys, found by trying its own function: which pairs, how many, by what angles.

Families differ in layout, in how much of a head turns and in how frequencies are scaled, and a wrong guess would spoil every
figure silently. So frequencies are read from the rotary module as they are at each call, and a layout counts only where it gives
what the family's own function gives.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch

from paceline.lm.rotary import Rope

__all__ = ["Rotations"]

TRIED = (0, 1, 2, 7)  # positions; short ones, since some modules change their frequencies for long texts


class Rotations:
    """`rotations(layer)`: the `Rope` of a layer as it is now, or None; `why`: then, a clause that says why."""

    def __init__(self, model: Any, settings: Any) -> None:
        self.kinds, self.why = getattr(settings, "layer_types", None) or (), ""
        self.modules = [m for m in model.modules() if any(name.endswith("inv_freq") for name in m._buffers)]
        self.skipped = getattr(settings, "no_rope_layers", None) or ()  # 1 where a layer rotates, 0 where it does not
        self.layouts: dict[str, bool | None] = {}
        if getattr(settings, "kv_lora_rank", None):
            self.why = "its heads are compressed (multi-head latent attention), with rotated numbers behind others"
        elif not self.modules:
            self.why = "it has no rotary positions"
        elif len(self.modules) > 1:
            self.why = "it has several rotary modules, and which of them a layer uses is not known"

    def __call__(self, layer: int) -> Rope | None:
        if self.why or (self.skipped and not self.skipped[layer]):
            return None
        kind = self.kinds[layer] if self.kinds and not hasattr(self.modules[0], "inv_freq") else ""
        rope = read(self.modules[0], kind)
        if rope is not None and kind not in self.layouts:
            self.layouts[kind] = layout(self.modules[0], rope, kind)
        found = None if rope is None else self.layouts[kind]
        if rope is None or found is None:
            self.why = "its rotation is of a kind that is not known here"
            return None
        return Rope(rope.frequencies, rope.scale, found)


def read(rotary: Any, kind: str) -> Rope | None:
    """Frequencies and scale as a module has them for one type of layer; "" where it has one for all."""
    prefix = f"{kind}_" if kind else ""
    frequencies = getattr(rotary, f"{prefix}inv_freq", None)
    return None if frequencies is None else Rope(frequencies.detach().float(), getattr(rotary, f"{prefix}attention_scaling", 1.0))


@torch.inference_mode()
def layout(rotary: Any, rope: Rope, kind: str) -> bool | None:
    """Whether pairs are neighbours; None where neither layout gives what the model's own function gives."""
    apply: Callable[..., Any] | None = getattr(sys.modules[type(rotary).__module__], "apply_rotary_pos_emb", None)
    places = torch.tensor(TRIED, dtype=torch.long, device=rope.frequencies.device)
    heads = torch.rand((1, 1, len(TRIED), 2 * len(rope.frequencies)), dtype=torch.float32, device=places.device)
    before = rope.frequencies.clone()
    try:
        turns = rotary(heads[0], places[None], *([kind] if kind else []))
        theirs = apply(heads, heads, *turns)[0] if apply else None
    except (TypeError, ValueError, RuntimeError):  # a function of another shape
        return None
    for interleaved in (False, True):
        ours = Rope(before, rope.scale, interleaved).rotate(heads, places)
        if theirs is not None and theirs.shape == ours.shape and torch.allclose(theirs.float(), ours, atol=1e-4):
            return interleaved
    return None
