"""Queries noted in a forward, and the attention that keys get from them, against transformers' own attention."""

from __future__ import annotations

import pytest
import torch

from paceline.lm import capture as capture_module
from paceline.lm.batch import Batch
from paceline.lm.capture import lazy_ratio, mass
from paceline.testing import tiny_lm
from tests.contracts.test_families import FORWARDS
from tests.models.draft_head.test_head import ids


@pytest.mark.parametrize(("family", "forward"), [f for f in FORWARDS if f[0] in ("llama", "qwen3", "gpt_neox", "mistral")])
@pytest.mark.parametrize("block", [7, 4096])
def test_mass_is_the_attention_of_the_stock_model(family: str, forward: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "BLOCK", block)
    lm, text, wanted = tiny_lm(family, forward=forward), ids(20), [3, 9, 10, 18]
    kv = lm.cache()
    slot = kv.take()
    trace = lm.prefill(kv, slot, text, watch=wanted)
    assert trace.positions == wanted and len(trace.queries) == len(kv.patterns)
    lm.model.set_attn_implementation("eager")
    seen = lm.model(torch.tensor([text]), output_attentions=True).attentions
    for layer, attention in enumerate(seen):
        held = kv.read(layer, slot, 0, len(text))[0]
        ours = mass(trace.queries[layer], held, trace.positions)
        theirs = attention[0, :, wanted].sum(1).unflatten(0, (held.shape[0], -1)).sum(1)
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
def test_a_forward_shows_the_same_queries_alone_and_in_a_batch(forward: str) -> None:
    lm = tiny_lm(forward=forward)
    for exact in (False, True):
        kv = lm.cache(exact=exact and lm.exact)
        slots = [kv.take(), kv.take()]
        for i, slot in enumerate(slots):
            lm.prefill(kv, slot, ids(10 + i, i))
        together: list[torch.Tensor] = []
        alone: list[list[torch.Tensor]] = [[], []]
        tokens = torch.tensor([[5, 6, 7], [8, 9, 10]])
        lm.forward(Batch(slots, tokens, queries=together), kv)
        for i, slot in enumerate(slots):
            lm.forward(Batch([slot], tokens[i : i + 1], queries=alone[i]), kv)
        for layer, q in enumerate(together):
            assert q.shape == (2, 4, 3, 16)
            for i in range(2):
                torch.testing.assert_close(q[i], alone[i][layer][0], atol=1e-4, rtol=1e-4)


def test_one_token_shows_one_query() -> None:
    for forward in ("auto", "lean", "stock"):
        lm = tiny_lm(forward=forward)
        kv = lm.cache()
        queries: list[torch.Tensor] = []
        lm.forward(Batch.of([kv.take()], [[5]], queries=queries), kv)
        assert [q.shape for q in queries] == [(1, 4, 1, 16)] * 3


def test_keys_behind_a_query_get_nothing() -> None:
    q, k = torch.randn(2, 2, 4), torch.randn(1, 6, 4)
    got = mass(q, k, [1, 3])
    assert (got[0, 4:] == 0).all() and got.sum() == pytest.approx(4.0)


@pytest.mark.parametrize(("length", "sinks", "recent"), [(40, 4, 8), (40, 0, 8), (40, 4, 0), (12, 4, 8), (9, 4, 8), (40, 4, 39)])
@pytest.mark.parametrize(("window", "cap"), [(None, None), (20, 2.0)])
def test_the_lazy_ratio_is_that_of_materialised_attention(
    length: int, sinks: int, recent: int, window: int | None, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_module, "BLOCK", 7)
    q, k, positions = torch.randn(4, 6, 8), torch.randn(2, length, 8), range(length - 6, length)
    scores = q @ k.repeat_interleave(2, 0).mT
    scores = cap * (scores / cap).tanh() if cap else scores
    keys, ago = torch.arange(length), torch.tensor(positions)[:, None] - torch.arange(length)
    attention = scores.masked_fill((ago < 0) | (ago >= (window or length)), -torch.inf).softmax(-1)
    kept = float((attention * ((keys < sinks) | (ago < recent))).sum(-1).mean())
    found = lazy_ratio(q, k, positions, sinks, recent, window, cap)
    assert found == pytest.approx(1.0 if length <= sinks + recent else kept, abs=1e-5) and found <= 1 + 1e-6
