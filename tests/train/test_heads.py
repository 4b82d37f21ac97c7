"""Heads learn beside a frozen target: what they may read, that the target stays as it is, and why the mask matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.data.corpus import Stream
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import longspec_shape, shape_for
from paceline.objectives.distil import distil
from paceline.testing import tiny_model
from paceline.train.attention import use_block_attention
from paceline.train.heads import (
    Beside,
    agreement,
    anchored,
    block_mask,
    fold,
    head_gradient,
    measured_scales,
    prepare,
    read,
    reading,
    shift_mask,
    train_heads,
)  # fmt: skip
from paceline.train.loop import Loop, train
from paceline.train.packing import Batch, Batches, Source

SIZE = {"width": 32, "heads": 2, "kv_heads": 1, "ffn": 48}


def stream() -> Stream:
    """Texts that repeat a few tokens drawn anew for each: to go on one has to find the last token's earlier place."""
    rng = np.random.default_rng(0)
    texts = [np.resize(rng.permutation(np.arange(3, 60))[: rng.integers(3, 12)], 48) for _ in range(400)]
    starts = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    tokens = np.concatenate(texts).astype(np.uint16)
    return Stream(tokens, starts, np.ones(len(tokens), dtype=bool), len(tokens))


def batches(count: int = 400) -> Batches:
    return Batches({"text": Source(stream(), 1.0)}, count, rows=4, length=64, seed=0)


def reader(head: Head) -> Head:
    """A fresh head adds nothing of what it reads; this one does."""
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.endswith("cross_attn.o_proj.weight"):
                torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(2))
    return head


def target():
    return tiny_model(vocab=64, hidden_size=32, num_hidden_layers=2)


def test_the_mask_is_the_papers() -> None:
    """Section 4 of the notes: earlier blocks of its own document only; in the first block, everything up to itself."""
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]])
    documents = torch.tensor([[0] * 8 + [1] * 4])
    mask = block_mask(Batch(positions, positions, positions, documents), 3)[0, 0]
    for i in range(12):
        for j in range(12):
            p, q, same = int(positions[0, i]), int(positions[0, j]), documents[0, i] == documents[0, j]
            wanted = same and (q // 3 < p // 3 or (p < 3 and q <= p))
            assert (mask[i, j] == 0) == bool(wanted) and mask[i, j] in (0, -torch.inf)


def test_a_token_depends_on_the_keys_it_may_read_and_on_no_others() -> None:
    """Property 3: the gradient with respect to the target's key j is zero exactly where the mask hides it."""
    model = target()
    batch = batches().batch(0)
    use_block_attention(model)
    _, memory = read(model, batch, batch.positions)
    leaves = {layer: (k.clone().requires_grad_(), v) for layer, (k, v) in memory.items()}
    head = reader(Head(shape_for(model, **SIZE, block=4)))
    hidden = reading(head, batch, batch.positions, leaves, "block").unflatten(0, batch.tokens.shape)
    seen = block_mask(batch, 4)[:, 0] == 0
    for i in (2, 9, 30, 63):
        [slope] = torch.autograd.grad(hidden[0, i].sum(), [leaves[1][0]], retain_graph=True)
        touched = slope[0].abs().sum((0, 2)) > 0
        only = int(seen[0, i].sum()) == 1  # one key has weight one whatever it is
        assert not (touched & ~seen[0, i]).any() and (only or bool((touched == seen[0, i]).all()))


def test_heads_learn_together_as_they_would_alone_and_the_target_stays(tmp_path: Path) -> None:
    model = target()
    before = [p.clone() for p in model.parameters()]
    shapes = {"glide": shape_for(model, **SIZE, block=4), "causal": shape_for(model, **SIZE, block=4)}
    together = torch.nn.ModuleDict({name: Head(shape) for name, shape in shapes.items()})
    masks = {"glide": "block", "causal": "causal"}
    train(together, batches().batch, head_gradient(Beside(model, dict(together.items()), masks, distil)), Loop(tmp_path / "a", 8))
    alone = torch.nn.ModuleDict({"glide": Head(shapes["glide"])})
    train(alone, batches().batch, head_gradient(Beside(model, dict(alone.items()), masks, distil)), Loop(tmp_path / "b", 8))
    for ours, theirs in zip(together["glide"].parameters(), alone["glide"].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_head_learns_to_agree_with_its_target(tmp_path: Path) -> None:
    model = target()
    head = Head(shape_for(model, **SIZE, block=4))
    held = [batches().batch(300 + i) for i in range(4)]
    before = agreement(model, {"glide": head}, held, autocast=False)["glide"]
    losses: list[dict[str, float]] = []
    heads = torch.nn.ModuleDict({"glide": head})
    train(heads, batches().batch, head_gradient(Beside(model, {"glide": head}, {"glide": "block"}, distil)), Loop(tmp_path, 60),
          report=lambda progress: losses.append(progress.losses))
    after = agreement(model, {"glide": head}, held, autocast=False)["glide"]
    assert losses[-1]["glide.kl"] < 0.7 * losses[0]["glide.kl"]
    assert len(after) == 4 and min(after) > max(before) and max(after) <= 1


@pytest.mark.parametrize("autocast", [False, True])
def test_agreement_of_the_target_with_itself_would_be_whole(autocast: bool) -> None:
    """A head whose logits are the target's: agreement must be 1 at every gap."""
    model = target()
    use_block_attention(model)
    batch = batches().batch(0)

    class Mirror(torch.nn.Module):
        shape = shape_for(model, **SIZE, block=4)
        logits = staticmethod(model.lm_head)
        borrow = staticmethod(lambda *shared: None)

        def forward(self, tokens, positions, own, memory, seen, attend):
            return read(model, batch, batch.positions)[0].unflatten(0, tokens.shape)

    assert agreement(model, {"mirror": Mirror()}, [batch], autocast)["mirror"] == [1.0] * 4  # type: ignore[dict-item]


def test_a_shift_hides_the_newest_keys_for_a_whole_row() -> None:
    """Property 6: as if queries were shifted against keys, document by document; who has none to read reads nothing."""
    batch = batches().batch(0)
    seen = (shift_mask(batch, 4) == 0)[:, 0]
    gaps = set()
    for b in range(len(seen)):
        p, doc = batch.positions[b], batch.documents[b]
        gap = 1 + int(batch.tokens[b].sum()) % 4
        gaps.add(gap)
        for i in range(len(p)):
            wanted = (doc == doc[i]) & (p <= p[i] - gap)
            assert torch.equal(seen[b, i], wanted) and bool(wanted.any()) == bool(p[i] >= gap)
    assert len(gaps) > 1


def test_a_token_that_may_read_nothing_gets_nothing() -> None:
    model, batch = target(), batches().batch(0)
    head = reader(Head(longspec_shape(model, window=5, block=4)))
    prepare(model, {"head": head})
    _, memory = read(model, batch, batch.positions)
    out = reading(head, batch, batch.positions, memory, "shift")
    poor = {layer: (k, v + 100.0) for layer, (k, v) in memory.items()}
    moved = (reading(head, batch, batch.positions, poor, "shift") - out).abs().sum(-1).unflatten(0, batch.tokens.shape)
    blind = batch.positions < 1 + batch.tokens.sum(1, keepdim=True) % 4
    assert not out.isnan().any() and moved[blind].max() == 0 and moved[~blind].min() > 0


def test_anchored_positions_move_all_but_the_first_four() -> None:
    batch = batches().batch(0)
    longest, moved = 5000, anchored(batches().batch(0), 5000)
    near = batch.positions < 4
    assert torch.equal(moved[near], batch.positions[near]) and int(moved.max()) < longest
    offset = moved - batch.positions
    assert all(len(offset[b][~near[b]].unique()) == 1 for b in range(len(offset))) and len(offset[~near].unique()) > 1
    assert torch.equal(anchored(batch, int(batch.positions.max()) + 1), batch.positions)  # no room: as they are
    many = torch.cat([(anchored(b, longest) - b.positions).amax(1) for b in map(batches().batch, range(40))]).double()
    assert 0.35 < float(many.mean()) / longest < 0.65  # spread evenly


def test_a_window_limits_a_heads_own_attention() -> None:
    model, batch = target(), batches().batch(0)
    head = Head(longspec_shape(model, window=5, block=4, reads=None))
    prepare(model, {"head": head})
    _, memory = read(model, batch, batch.positions)
    before = reading(head, batch, batch.positions, memory, "block").unflatten(0, batch.tokens.shape)
    other = batch._replace(tokens=batch.tokens.clone())
    other.tokens[:, 0] = (other.tokens[:, 0] + 1) % 200
    after = reading(head, other, batch.positions, memory, "block").unflatten(0, batch.tokens.shape)
    changed = (after - before).abs().amax(-1) > 0
    assert changed[:, :5].any(1).all() and not changed[:, 5:].any()


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("bias", [False, True])
def test_what_was_learned_on_small_keys_and_values_is_folded_into_the_projections(family: str, bias: bool) -> None:
    model, batch = tiny_model(family, vocab=64, hidden_size=32, num_hidden_layers=2), batches().batch(0)
    head = Head(shape_for(model, **SIZE, block=4, bias=bias))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    prepare(model, {"head": head})
    scales = measured_scales(model, batch)
    _, memory = read(model, batch, batch.positions)
    small = {layer: (k / scales[2 - layer][0], v / scales[2 - layer][1]) for layer, (k, v) in memory.items()}
    assert all(abs(float(x.square().mean()) - 1) < 1e-3 for pair in small.values() for x in pair)
    before = reading(head, batch, batch.positions, small, "block")
    fold(head, scales)
    torch.testing.assert_close(reading(head, batch, batch.positions, memory, "block"), before, atol=1e-4, rtol=1e-4)


def test_training_folds_at_its_end_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def train_in(folder: str, killed_at: int | None = None) -> dict[str, torch.Tensor]:
        def batch(step: int) -> Batch:
            if step == killed_at:
                raise Killed
            return batches().batch(step)

        head = Head(shape_for(target(), **SIZE, block=4))
        loop = Loop(tmp_path / folder, 6, save_every_s=0.0, autocast=False)
        train_heads(Beside(target(), {"glide": head}, {"glide": "block"}, distil), batch, loop)
        return head.state_dict()

    whole = train_in("whole")
    with pytest.raises(Killed):
        train_in("killed", 3)
    again = train_in("killed")
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    last = torch.load(tmp_path / "whole" / "step-0000006.pt", weights_only=True)["model"]
    assert any(not torch.equal(last[f"glide.{key}"], whole[key]) for key in whole)  # checkpoints are not folded


def test_a_head_that_had_begun_goes_on_from_what_it_was(tmp_path: Path) -> None:
    model, before = target(), reader(Head(shape_for(target(), **SIZE, block=4)))
    after = Head(before.shape)
    after.load_state_dict(before.state_dict())
    still = Loop(tmp_path, 1, matrix_lr=0.0, other_lr=0.0, autocast=False)
    train_heads(Beside(model, {"glide": after}, {"glide": "block"}, distil, begun=True), batches().batch, still)
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], weight, atol=1e-6, rtol=1e-5)
