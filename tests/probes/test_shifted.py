"""Attention under shifted positions: against materialised attention, transformers' own rotation, and what must be zero."""

from __future__ import annotations

import pytest
import torch

from paceline.lm import rows as rows_module
from paceline.lm.rotary import Rope
from paceline.lm.seen import Seen
from paceline.probes._shifted import PRECISIONS, differences, rotated, shifted, still

ROPE = Rope(1.0 / 10000 ** (torch.arange(0, 16, 2) / 16))


def layer(scale: float = 1.0, length: int = 96, rope: Rope = ROPE, window: int | None = None, cap: float | None = None) -> Seen:
    """Random queries and keys, as a layer rotates them at positions 0, 1, 2 …"""
    random, places = torch.Generator().manual_seed(3), torch.arange(length)
    q, k = (rope.rotate(scale * torch.randn(heads, length, 20, generator=random), places) for heads in (4, 2))
    return Seen(0, 0, places, q, k, k, 0.25, window, cap, None, places, rope, torch.zeros(length, 8), None)


@pytest.mark.parametrize("block", [1, 3000])
@pytest.mark.parametrize(("window", "cap"), [(None, None), (20, None), (None, 2.0)])
def test_differences_are_those_of_materialised_attention(
    window: int | None, cap: float | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", block)
    versions = [shifted(still(layer(window=window, cap=cap)), shift, PRECISIONS["bf16"]) for shift in (0, 16)]
    found = list(differences(*versions, [30, 64, 90]))
    assert [each.length for each in found] == [30, 64, 90]
    for each in found:
        t = each.length
        ago = torch.arange(t)[:, None] - torch.arange(t)
        seen = (ago >= 0) & (ago < (window or t))
        scores = [x.q[:, :t] @ x.k[:, :t].repeat_interleave(2, 0).mT * 0.25 for x in versions]
        scores = [cap * (s / cap).tanh() if cap else s for s in scores]
        a, b = (s.masked_fill(~seen, -torch.inf).softmax(-1) for s in scores)
        torch.testing.assert_close(each.keys, (a - b).abs().sum(1) / seen.sum(0), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(each.sink, a[..., 0].mean(1), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(each.logit, (scores[0] - scores[1])[:, seen[:, 0], 0].abs().mean(1), atol=1e-6, rtol=1e-4)


def test_rounding_is_what_breaks_the_invariance() -> None:
    def total(name: str, scale: float, shift: int = 16) -> float:
        one, other = (shifted(still(layer(scale)), by, PRECISIONS[name]) for by in (0, shift))
        return float(next(differences(one, other, [96])).keys.sum())

    assert total("bf16", 1.0, shift=0) == 0
    for scale in (1.0, 4.0):
        assert total("fp32", scale) <= 1e-3 * min(total("bf16", scale), total("fp32-rotation", scale))
    assert total("bf16", 4.0) > 2 * total("bf16", 1.0)
    assert total("bf16-angles", 1.0, shift=300) > 10 * total("bf16", 1.0, shift=300)


@pytest.mark.parametrize("interleaved", [False, True])
def test_full_precision_gives_what_the_layer_had(interleaved: bool) -> None:
    seen = layer(rope=Rope(ROPE.frequencies, 1.1, interleaved))
    for shift in (0, 16):  # 4 of 20 numbers are not rotated
        again = shifted(still(shifted(still(seen), shift, PRECISIONS["fp32"])), -shift, PRECISIONS["fp32"])
        torch.testing.assert_close(again.q, seen.q, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again.k, seen.k, atol=1e-4, rtol=1e-4)


def test_rotation_in_bf16_is_that_of_transformers() -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    x, places = torch.randn(4, 96, 16), torch.arange(96) + 7
    angle = torch.outer(places.float(), ROPE.frequencies).repeat(1, 2)
    cos, sin = angle.cos()[None].bfloat16(), angle.sin()[None].bfloat16()
    theirs = apply_rotary_pos_emb(x[None].bfloat16(), x[None].bfloat16(), cos, sin)[0]
    assert torch.equal(rotated(x, places, ROPE, PRECISIONS["bf16"]), theirs[0].float())
