"""Attention under shifted positions: against materialised attention, against transformers' own rotation, and what must be zero."""

from __future__ import annotations

import pytest
import torch

from paceline.lm.rotary import Rope
from paceline.probes import _shifted
from paceline.probes._shifted import PRECISIONS, Scores, differences, rotated

ROPE = Rope(1.0 / 10000 ** (torch.arange(0, 16, 2) / 16))


def pair(scale: float = 1.0, length: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return scale * torch.randn(4, length, 16, generator=random), scale * torch.randn(2, length, 16, generator=random)


def at(shift: int, name: str, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    q, k = pair(scale)
    places = torch.arange(q.shape[1]) + shift
    return rotated(q, places, ROPE, PRECISIONS[name]), rotated(k, places, ROPE, PRECISIONS[name])


@pytest.mark.parametrize("block", [1, 1000, 1 << 24])
@pytest.mark.parametrize(("window", "cap"), [(None, None), (20, None), (None, 2.0)])
def test_differences_are_those_of_materialised_attention(
    window: int | None, cap: float | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shifted, "BLOCK", block)
    one, other = at(0, "bf16"), at(16, "bf16")
    for found in differences(one, other, Scores(0.25, window, cap), [32, 96]):
        t = found.length
        ago = torch.arange(t)[:, None] - torch.arange(t)
        seen = (ago >= 0) & (ago < (window or t))
        scores = [q[:, :t] @ k[:, :t].repeat_interleave(2, 0).mT * 0.25 for q, k in (one, other)]
        scores = [cap * (s / cap).tanh() if cap else s for s in scores]
        a, b = (s.masked_fill(~seen, -torch.inf).softmax(-1) for s in scores)
        torch.testing.assert_close(found.keys, (a - b).abs().sum(1) / seen.sum(0), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found.sink, a[..., 0].mean(1), atol=1e-6, rtol=1e-5)
        logit = (scores[0] - scores[1])[:, seen[:, 0], 0].abs().mean(1)
        torch.testing.assert_close(found.logit, logit, atol=1e-6, rtol=1e-4)


def test_rounding_is_what_breaks_the_invariance() -> None:
    def total(name: str, scale: float, shift: int = 16) -> float:
        return float(next(differences(at(0, name, scale), at(shift, name, scale), Scores(0.25), [96])).keys.sum())

    assert total("bf16", 1.0, shift=0) == 0
    for scale in (1.0, 4.0):
        assert total("fp32", scale) <= 1e-3 * total("bf16", scale)
        assert total("fp32", scale) <= 1e-3 * total("fp32-rotation", scale)
    assert total("bf16", 4.0) > 2 * total("bf16", 1.0)
    assert total("bf16-angles", 1.0, shift=300) > 10 * total("bf16", 1.0, shift=300)


def test_rotation_in_bf16_is_that_of_transformers() -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q, k = pair()
    places = torch.arange(96) + 7
    angle = torch.outer(places.float(), ROPE.frequencies).repeat(1, 2)
    cos, sin = angle.cos()[None].bfloat16(), angle.sin()[None].bfloat16()
    theirs = apply_rotary_pos_emb(q[None].bfloat16(), k[None].bfloat16(), cos, sin)
    for x, their in zip((q, k), theirs, strict=True):
        assert torch.equal(rotated(x, places, ROPE, PRECISIONS["bf16"]), their[0].float())
