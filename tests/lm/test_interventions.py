"""Interventions: what they do to attention, that they cost what they should, and that the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import paceline
from paceline.lm.interventions import drop, freeze, intervene, loss, mask, mean, rank_one, zero
from paceline.lm.sources.transformers import Module
from paceline.lm.trace import Seen, of_decoder, subject
from paceline.testing import tiny_model

TEXT = [5, 7, 7, 1, 200, 31, 8, 90, 41, 12, 55, 5, 7, 7, 2, 100, 101, 102, 103, 9, 250, 251, 13, 14]


class Looking:
    """Keeps what a layer was given, and the rows it made."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.probs: list[torch.Tensor] = []

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        self.seen.append(seen)
        self.probs.append(probs.clone())

    def reading(self) -> Any:
        return None


def looked(of: Any) -> Looking:
    made = Looking()
    of.read(TEXT, 0, [made])
    return made


@pytest.fixture(scope="module", params=["stock", "lean"])
def of(request: pytest.FixtureRequest) -> Any:
    """A tiny llama to look at, on its own forward and on the lean one."""
    source = Module(tiny_model())
    return subject(source) if request.param == "stock" else of_decoder(source, source.decoder(64)[0])


def changed_model(change: Callable[[Any], Any]) -> Any:
    """Logits of a copy of the tiny llama after this change to its modules, by transformers alone."""
    model = tiny_model()
    change(model)
    with torch.no_grad():
        return model(torch.tensor([TEXT])).logits[0]


@pytest.mark.parametrize("change", [drop, freeze, rank_one, mean, zero, mask])
def test_the_model_is_itself_again(of: Any, change: Any) -> None:
    """Logits are the same bits before, inside for the model that was given, and after; the changed model's differ inside."""
    before = of.logits(TEXT)
    with intervene(of, change) as changed:
        assert torch.equal(of.logits(TEXT), before)
        assert (changed.logits(TEXT) - before).abs().max() > 1e-3
    assert torch.equal(changed.logits(TEXT), before)


def test_one_inside_the_other(of: Any) -> None:
    with intervene(of, zero, heads=[(0, 0), (1, 1)]) as both, intervene(of, zero, heads=[(0, 0)]) as outer:
        with intervene(outer, zero, heads=[(1, 1)]) as inner:
            torch.testing.assert_close(inner.logits(TEXT), both.logits(TEXT))
        assert torch.equal(inner.logits(TEXT), outer.logits(TEXT)) and not torch.equal(outer.logits(TEXT), both.logits(TEXT))


def test_a_head_of_zeros_is_one_without_output_weights(of: Any) -> None:
    def cut(model: Any) -> None:
        model.model.layers[1].self_attn.o_proj.weight.data[:, 2 * 16 : 3 * 16] = 0

    with intervene(of, zero, heads=[(1, 2)]) as changed:
        torch.testing.assert_close(changed.logits(TEXT), changed_model(cut), atol=1e-4, rtol=1e-4)


def test_frozen_pairs_are_a_model_without_positions(of: Any) -> None:
    """All of them; the frequencies of a band set to zero are that band frozen."""
    def still(model: Any, kept: slice = slice(0)) -> None:
        old = model.model.rotary_emb.inv_freq.clone()
        model.model.rotary_emb.inv_freq.zero_()[kept] = old[kept]

    with intervene(of, freeze) as changed:
        torch.testing.assert_close(changed.logits(TEXT), changed_model(still), atol=1e-4, rtol=1e-4)
    high = int((2 * torch.pi / tiny_model().model.rotary_emb.inv_freq <= 16).sum())
    with intervene(of, freeze, band="high") as changed:
        assert 0 < high < 8
        theirs = changed_model(lambda model: still(model, slice(high, None)))
        torch.testing.assert_close(changed.logits(TEXT), theirs, atol=1e-4, rtol=1e-4)


def test_dropping_all_pairs_leaves_even_attention(of: Any) -> None:
    with intervene(of, drop) as changed:
        for probs in looked(changed).probs:
            even = torch.ones(24, 24).tril() / torch.arange(1, 25)[:, None]
            torch.testing.assert_close(probs, even.expand_as(probs))


def test_a_masked_key_gets_nothing(of: Any) -> None:
    """Its own query aside; the other keys keep their proportions, and the heads that were not asked for all they had."""
    plain = looked(of)
    with intervene(of, mask, heads=[(0, 1)], key=0) as changed:
        first, *_ = looked(changed).probs
    assert first[1, 1:, 0].eq(0).all() and first[1, 0, 0] == 1
    before = plain.probs[0]
    torch.testing.assert_close(first[1, 1:, 1:], before[1, 1:, 1:] / (1 - before[1, 1:, :1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first[[0, 2, 3]], before[[0, 2, 3]])


def test_rank_one_and_mean_see_what_they_say(of: Any) -> None:
    """Before they turn, queries of rank one are the nearest such matrix; the means are one vector, whose rows are constant along
    diagonals.
    """
    plain = looked(of).seen[0]
    assert plain.rope is not None
    q = plain.rope.unrotate(plain.q, plain.positions)
    u, s, v = torch.linalg.svd(q, full_matrices=False)
    with intervene(of, rank_one) as changed:
        seen = looked(changed).seen[0]
        nearest = s[:, :1, None] * u[:, :, :1] @ v[:, :1]
        torch.testing.assert_close(seen.rope.unrotate(seen.q, seen.positions), nearest, atol=1e-4, rtol=1e-3)
    with intervene(of, mean) as changed:
        seen = looked(changed).seen[0]
        scores = seen.q[0] @ seen.k[0].T
        torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], atol=1e-3, rtol=1e-3)


def test_windows_and_soft_caps_hold_when_changed() -> None:
    model = tiny_model("gemma2", sliding_window=8, head_dim=16, attn_logit_softcapping=2.0)
    with intervene(model, mask) as changed:
        for layer, probs in enumerate(looked(changed).probs):
            assert probs[:, 1:, 0].eq(0).all()
            assert bool(probs[:, 20, :12].eq(0).all()) == (layer != 1)
            torch.testing.assert_close(probs.sum(-1), torch.ones(probs.shape[:2]))


def test_the_cost_is_the_difference_of_losses() -> None:
    """As transformers gives them, with an interval over texts."""
    model, texts = tiny_model(), [TEXT, TEXT[::-1], TEXT[:2]]
    found = paceline.loss_with(model, zero, texts, heads=[(0, 0)], length=24).values
    with torch.no_grad():
        theirs = [float(model(ids, labels=ids).loss) for ids in torch.tensor(texts[:2])[:, None]]
    assert found["plain"].each.tolist() == pytest.approx(theirs, abs=1e-4)
    low, high = found["cost"].interval()
    assert len(found["plain"].each) == 2 and low <= found["changed"].mean - found["plain"].mean <= high
    assert float(paceline.loss_with(model, mask, texts[0], key=30).values["cost"].mean) == pytest.approx(0, abs=1e-4)


def test_what_cannot_be_changed() -> None:
    with pytest.raises(paceline.ModelError, match="3 layers of 4 query heads, numbered from 0; found none at \\(3, 0\\)"), \
            intervene(tiny_model(), zero, heads=[(0, 0), (3, 0)]):
        pass
    with pytest.raises(paceline.ModelError, match="needs rotary positions"), intervene(tiny_model("gpt2"), drop) as changed:
        changed.logits(TEXT)
    with pytest.raises(paceline.SpecError, match="high, medium, low and all, or a pair from 0 to 7; found 'fast'"), \
            intervene(tiny_model(), drop, band="fast") as changed:
        changed.logits(TEXT)
    with pytest.raises(paceline.RequestError, match="at least 2 tokens"):
        loss(subject(tiny_model()), TEXT[:1])
