"""Kinds of attention of the small model, against what each must be by definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from paceline.errors import ShapeError
from paceline.models.small_lm import Attention, Shape, SmallLM, attention_weights, visible
from paceline.probes.sinks import lookers, uniform

T = 12
SMALL = Shape(vocabulary=50, width=32, layers=2, heads=2, ffn=48)
TOKENS = torch.randint(50, (3, T), generator=torch.Generator().manual_seed(1))
LATER = torch.ones(T, T).triu(1).bool()


def made(**shape: Any) -> SmallLM:
    """With weights large enough that attention is far from even."""
    model = SmallLM(replace(SMALL, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() == 2 else 1)
    return model


def maps_of(model: SmallLM, tokens: Tensor = TOKENS) -> Tensor:
    maps: list[Tensor] = []
    with torch.no_grad():
        model(tokens, maps)
    return torch.stack(maps)


@pytest.mark.parametrize("shape", [{}, {"window": 4}, {"bias": "k"}, {"bias": "kv"}, {"bias": "v"}, {"content": "centred"},
                                   {"content": "fixed"}, {"weights": "sigmoid"}, {"weights": "normalised_elu"},
                                   {"weights": "linear"}], ids=str)  # fmt: skip
def test_no_token_learns_of_a_later_one(shape: dict[str, Any]) -> None:
    model = made(**shape)
    with torch.no_grad():
        before, after = model(TOKENS), model(torch.cat((TOKENS[:, :6], TOKENS[:, 6:].flip(1)), 1))
    assert torch.equal(before[:, :6], after[:, :6]) and not torch.allclose(before[:, 6:], after[:, 6:])


def test_one_repeated_token_has_one_state_everywhere() -> None:
    """Any average of equal values is that value, so no position can be told from another (section 3.3 of the paper); weights that
    are not averages tell how many keys there are.
    """
    repeated = torch.full((1, T), 7)
    with torch.no_grad():
        for kind, same in (("softmax", True), ("normalised_sigmoid", True), ("normalised_elu", True), ("sigmoid", False)):
            logits = made(weights=kind)(repeated)[0]
            assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-4) == same, kind


def test_an_extra_key_takes_from_all_others() -> None:
    """At score zero, where it begins, it adds one to every denominator; at minus infinity there is none."""
    q, k = torch.randn(2, 2, T, 8, generator=torch.Generator().manual_seed(0))
    with_key, causal = torch.cat((torch.zeros(2, 1, 8), k), 1), torch.cat((torch.zeros(T, 1).bool(), LATER), 1)
    plain = attention_weights("softmax", q, k, LATER)
    scores = (q @ k.mT * 8**-0.5).masked_fill(LATER, -torch.inf).exp()
    off_by_one = scores / (1 + scores.sum(-1, keepdim=True))
    torch.testing.assert_close(attention_weights("softmax", q, with_key, causal)[..., 1:], off_by_one)
    causal[:, 0] = True
    torch.testing.assert_close(attention_weights("softmax", q, with_key, causal)[..., 1:], plain)
    assert maps_of(made(bias="k")).shape[-2:] == (T, T + 1)


def test_an_extra_value_leaves_attention_as_it_is() -> None:
    attention, x = Attention(replace(SMALL, bias="v")), torch.randn(1, T, 32, generator=torch.Generator().manual_seed(0))
    rotation, found = torch.stack((torch.ones(T, 8), torch.zeros(T, 8))), []
    with torch.no_grad():
        outs = [attention(x, rotation, LATER, found)]
        attention.value.add_(1)
        outs.append(attention(x, rotation, LATER, found))
    assert torch.equal(found[0], found[1]) and not torch.allclose(outs[0], outs[1])


def test_only_normalised_weights_are_tied_to_each_other() -> None:
    """Changing one key moves no other key's weight under plain sigmoid; under softmax it does."""
    q, k = torch.randn(2, 1, T, 8, generator=torch.Generator().manual_seed(0))
    other = k.clone()
    other[:, 3] += 1
    rest = torch.arange(T) != 3
    for kind, tied in (("sigmoid", False), ("elu", False), ("linear", False), ("softmax", True), ("normalised_sigmoid", True)):
        before, after = (attention_weights(kind, q, each, LATER) for each in (k, other))
        assert torch.allclose(before[..., rest], after[..., rest]) != tied, kind
        assert not before.masked_select(LATER).any()


def test_who_sees_whom() -> None:
    assert torch.equal(visible(SMALL, T), ~LATER)
    assert torch.equal(visible(replace(SMALL, prefix=1), T), ~LATER) and torch.equal(visible(replace(SMALL, window=T), T), ~LATER)
    assert torch.equal(visible(replace(SMALL, window=4), T).sum(1), torch.arange(1, T + 1).clamp_max(4))
    shown = visible(replace(SMALL, prefix=3), T)
    assert shown[:, :3].all() and torch.equal(shown[:, 3:], ~LATER[:, 3:])
    assert torch.equal(visible(SMALL, T).sum(0).float(), lookers(T))


def test_even_attention_gives_the_first_key_its_null_level() -> None:
    model = made()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:32] = 0  # no queries
    found = maps_of(model).sum(-2) / lookers(T)
    torch.testing.assert_close(found, uniform(T).expand_as(found))
    assert uniform(64)[0] == pytest.approx(0.0741, abs=1e-4)


def test_rotary_pairs_turn_within_their_wavelengths() -> None:
    """Where none turns, attention does not know the order: what the last token reads does not change when others swap places."""
    swapped = TOKENS[:, [1, 0, *range(2, T)]]
    for wavelengths, still in (((0.0, float("inf")), False), ((1e9, float("inf")), True)):
        model = made(layers=1, wavelengths=wavelengths)
        with torch.no_grad():
            ends = [model(tokens)[:, -1] for tokens in (TOKENS, swapped)]
        assert torch.allclose(*ends, atol=1e-4) == still


def test_seeds_and_sizes() -> None:
    first, same, other = (SmallLM(SMALL, seed).embed.weight for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    with pytest.raises(ShapeError, match="even width, found width 30 and 2"):
        Shape(width=30, heads=2)
