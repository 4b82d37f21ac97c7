"""Rotary positions: frequencies as data, and their cosines and sines as tables that grow as texts get longer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Rope", "Rotary", "rope_of", "rotate"]


@dataclass(frozen=True)
class Rope:
    """frequencies [P] in fp32: radians a position for each pair of the first 2 P numbers of a head (Su et al., arXiv 2104.09864);
    what is behind them is not turned. scale: what cosines and sines are multiplied by. interleaved: pairs are neighbours
    (2 l, 2 l + 1), else halves (l, l + P).
    """

    frequencies: torch.Tensor
    scale: float = 1.0
    interleaved: bool = False

    def pairs(self, x: torch.Tensor) -> torch.Tensor:
        """Of heads [..., D], the turning part as complex numbers [..., P]: a rotation multiplies them by exp(i angle)."""
        count = len(self.frequencies)
        a, b = x[..., : 2 * count].float().unflatten(-1, (count, 2) if self.interleaved else (2, count)).unbind(
            -1 if self.interleaved else -2)
        return torch.complex(a, b)

    def placed(self, pairs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Heads x [..., D] with these in the place of their `pairs`, in fp32."""
        parts = torch.view_as_real(pairs)
        parts = parts if self.interleaved else parts.transpose(-1, -2)
        return torch.cat((parts.flatten(-2), x[..., 2 * len(self.frequencies) :].float()), -1)

    def rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Heads [..., T, D] turned to positions [T], in fp32, as the model turns them."""
        angles = self.angles(positions)
        return self.turned(x, torch.polar(torch.full_like(angles, self.scale), angles))

    def unrotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """What `rotate` made x of: heads as their projections gave them."""
        angles = self.angles(positions)
        return self.turned(x, torch.polar(torch.full_like(angles, 1 / self.scale), -angles))

    def turned(self, x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """Heads x [..., D], their pairs multiplied by complex numbers, in fp32."""
        return self.placed(self.pairs(x) * turns, x)

    def angles(self, positions: torch.Tensor) -> torch.Tensor:
        """Radians [T, P] in fp32, rounded as the model's are."""
        return positions.float()[:, None] * self.frequencies.float()


def rope_of(parameters: Mapping[str, Any], dim: int) -> Rope | None:
    """The rotation that a configuration's `rope_parameters` name, for heads of width `dim`, with the very numbers of
    transformers' modules; None for a kind that is not one of default, linear, llama3 and yarn.
    """
    kind, base = parameters.get("rope_type", "default"), parameters.get("rope_theta")
    if base is None or float(parameters.get("partial_rotary_factor", 1.0)) != 1.0:
        return None
    lengths = base ** (torch.arange(0, dim, 2, dtype=torch.int64, device="cpu").float() / dim)
    frequencies = 1.0 / lengths
    if kind == "yarn":
        return yarn(lengths, parameters)
    if kind == "linear":
        frequencies = frequencies / parameters["factor"]
    elif kind == "llama3":
        frequencies = llama3(frequencies, parameters)
    elif kind != "default":
        return None
    return Rope(frequencies)


def llama3(frequencies: torch.Tensor, parameters: Mapping[str, Any]) -> torch.Tensor:
    """Low frequencies slowed by `factor`, high ones as they are, those between blended (Llama 3.1's scaling)."""
    factor, low, high = (parameters[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    old = parameters["original_max_position_embeddings"]
    lengths = 2 * math.pi / frequencies
    slowed = torch.where(lengths > old / low, frequencies / factor, frequencies)
    share = (old / lengths - low) / (high - low)
    blended = (1 - share) * slowed / factor + share * slowed
    return torch.where((lengths >= old / high) & (lengths <= old / low), blended, slowed)


def yarn(lengths: torch.Tensor, parameters: Mapping[str, Any]) -> Rope | None:
    """Pairs that turn often within the old context stay, those that hardly turn are slowed by `factor`, with a ramp between them;
    cosines and sines grow a little with the factor (YaRN, Peng et al., arXiv 2309.00071, section 3). lengths: tokens a radian.
    None where the parameters name something else.
    """
    factor, old = parameters.get("factor"), parameters.get("original_max_position_embeddings")
    if not factor or not old or parameters.get("mscale") or not parameters.get("truncate", True):
        return None
    dim, base = 2 * len(lengths), parameters["rope_theta"]
    first, last = (dim * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(base)) for turns in
                   (parameters.get("beta_fast") or 32, parameters.get("beta_slow") or 1))
    low, high = max(math.floor(first), 0), min(math.ceil(last), dim - 1)
    ramp = (torch.arange(len(lengths), dtype=torch.float32, device="cpu") - low) / (high - low or 0.001)
    kept = 1 - ramp.clamp(0, 1)
    scale = parameters.get("attention_factor") or 1.0 + 0.1 * math.log(max(factor, 1.0))
    return Rope(1.0 / (factor * lengths) * (1 - kept) + 1.0 / lengths * kept, scale)


class Rotary:
    """Cosines and sines [length, D] in the dtype and on the device of `like`; the sine carries the sign of the half-rotation.

    context: positions stay below it.
    """

    def __init__(self, rope: Rope, context: int, like: torch.Tensor) -> None:
        self.rope, self.context, self.like = rope, context, like
        self.cos = self.sin = like.new_zeros((0, 0))
        self.reach(min(1024, context))

    def reach(self, length: int) -> None:
        """Make the tables at least this long."""
        if length <= len(self.cos):
            return
        length = min(max(length, 2 * len(self.cos)), self.context)
        device, dtype = self.like.device, self.like.dtype
        places = torch.arange(length, dtype=torch.float32, device=device)
        angles = torch.outer(places, self.rope.frequencies.to(device).float()).repeat(1, 2)
        sin = (angles.sin() * self.rope.scale).to(dtype)
        sin[:, : sin.shape[1] // 2].neg_()
        self.cos, self.sin = (angles.cos() * self.rope.scale).to(dtype), sin

    def at(self, positions: slice | Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine rows [M, 1, D] at these positions; views where they are a slice."""
        rows: Any = positions
        if isinstance(positions, slice):
            self.reach(positions.stop)
        else:
            self.reach(max(positions) + 1)
            rows = torch.tensor(positions, dtype=torch.long, device=self.like.device)
        return self.cos[rows, None], self.sin[rows, None]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Heads [M, H, D] rotated to their positions."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
