"""Heads of a small model, by the slash probe's own measures: what they look at, how near to rank one they are, what their mean
vectors foretell; and the same model with one thing changed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from paceline.lm.interventions import Band, of_band
from paceline.lm.rotary import Rope
from paceline.models.small_lm import Attention, Shape, SmallLM, rotary
from paceline.probes._directions import directions
from paceline.probes._fourier import slash_law, waves
from paceline.probes.slash import part

__all__ = ["Heads", "foretold", "heads_of", "meant", "rope_of", "scores", "without"]

LEAST = 16  # rows on which a score rests


@dataclass(frozen=True)
class Heads:
    """Of all N heads, means over rows of tokens. scores, law: measured, and of mean vectors alone, [N, lags]. query, key:
    rank-one energies before rotation [N]. vectors: mean queries and keys [2, L, H, D].
    """

    scores: Tensor
    law: Tensor
    query: Tensor
    key: Tensor
    vectors: Tensor

    def best(self, lag: int) -> int:
        """The head with the highest score there."""
        return int(self.scores[:, lag].argmax())


def heads_of(model: SmallLM, tokens: Tensor) -> Heads:
    """As they are on these tokens [B, T]."""
    maps, entered = list[Tensor](), list[Tensor]()
    hooks = [each.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for each in attentions(model)]
    model(tokens, maps)
    for hook in hooks:
        hook.remove()
    projected = [each.projected(x)[:2] for each, x in zip(attentions(model), entered, strict=True)]
    vectors = torch.stack([torch.stack(layer) for layer in projected], 1)  # [2, L, B, H, T, D]
    energies = directions(vectors.flatten(0, 3))["energy"].unflatten(0, vectors.shape[:4]).mean(2).flatten(1)
    found, means = torch.stack(maps), vectors.mean((2, 4))
    measured = scores(found.flatten(0, 2)).unflatten(0, found.shape[:3]).mean(1).flatten(0, 1)
    q, k = means.flatten(1, 2)
    law = foretold(q, k, rope_of(model.shape), tokens.shape[1])
    return Heads(measured, law, energies[0], energies[1], means)


def attentions(model: Any) -> list[Attention]:
    return [block.attention for block in model.blocks]


def rope_of(shape: Shape) -> Rope:
    """The rotation of a small model's heads; pairs that do not turn have frequency 0."""
    cos, sin = rotary(shape, 2)[:, 1]
    return Rope(torch.atan2(sin, cos))


def scores(maps: Tensor) -> Tensor:
    """Slash scores [N, lags] of attention [N, T, T] at all lags that enough rows have, without the first key."""
    length = maps.shape[-1]
    return part(maps, 0, length, range(length - LEAST), skip_first_key=True)


def foretold(q: Tensor, k: Tensor, rope: Rope, length: int) -> Tensor:
    """The scores [H, lags] that mean queries and keys [H, D] alone would give."""
    return slash_law(waves(q, k, rope, q.shape[-1] ** -0.5), length, range(length - LEAST))


def without(model: SmallLM, band: Band, length: int) -> SmallLM:
    """The model without what a band's rotary pairs add to its scores."""
    changed = copy.deepcopy(model)
    kept = (~of_band(rope_of(model.shape), length, band)).repeat(2)
    for each in attentions(changed):
        each.qkv.weight.unflatten(0, (3, model.shape.heads, -1))[0].mul_(kept[:, None])
        if each.fixed is not None:
            each.fixed[0].mul_(kept)
    return changed


def meant(model: SmallLM, heads: Heads) -> SmallLM:
    """The model with each head's mean query and mean key at every token."""
    changed = SmallLM(replace(model.shape, content="fixed"))
    changed.load_state_dict(model.state_dict(), strict=False)
    for each, vectors in zip(attentions(changed), heads.vectors.unbind(1), strict=True):
        assert each.fixed is not None
        each.fixed.copy_(vectors[:, :, None])
    return changed
