"""Models with windows, far beyond them: what is dropped is never missed, on any forward, in chains, trees, batches and forks, and
the memory of windowed layers stays as it is.
"""

from __future__ import annotations

import functools

import pytest
import torch

import paceline
from paceline import Engine, Request
from paceline.core.proposal import Proposal
from paceline.drafters.ngram import Ngram
from paceline.drafters.small_model import SmallModel
from paceline.drafters.sparse_self import SparseSelf
from paceline.lm import LM
from paceline.lm.batch import Batch
from paceline.lm.forwards.fused import compiler
from paceline.lm.kv import FULL, KV, MARGIN
from paceline.lm.lm import CHUNK
from paceline.patterns.sliding import Sliding
from paceline.testing import tiny_lm
from tests.contracts.test_families import ids, theirs
from tests.tiny import nearly

FORWARDS = [("mistral", "stock"), ("mistral", "lean"), ("gemma3_text", "stock")]
if compiler.library()[0] is not None:
    FORWARDS.append(("mistral", "fused"))
LONG = 1000  # tokens: windows of 24 have been dropped many times, in quanta of 64 and of 512
TREE = [-1, -1, 0, 0, 1, 2, 4, -1, 6]


@functools.lru_cache
def model(family: str, forward: str) -> LM:
    return tiny_lm(family, forward=forward, max_position_embeddings=4096)


def windowed(kv: KV, slot) -> int:
    """First token that windowed layers hold."""
    [layer] = [layer for layer, pattern in kv.patterns.items() if pattern != FULL][:1]
    return kv.start(layer, slot)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_a_chain_and_a_tree_far_beyond_the_window(family: str, forward: str, exact: bool) -> None:
    lm = model(family, forward)
    kv = lm.cache(exact=exact)
    texts = [ids(LONG, 1, lm.vocab), ids(30, 2, lm.vocab), ids(LONG - 100, 3, lm.vocab)]
    slots = [kv.take() for _ in texts]
    for slot, text in zip(slots, texts, strict=True):
        lm.prefill(kv, slot, text[:-1])
    assert [windowed(kv, slot) > 0 for slot in slots] == [True, False, True]
    nodes = ids(len(TREE), 4, lm.vocab)
    tree, chain = Proposal(nodes, TREE, [False] * 9, ["test"] * 9), Proposal.chain(nodes, "test")
    scores = lm.score(kv, slots, [t[-1] for t in texts], [tree, tree, chain])
    for text, proposal, ours in zip(texts, [tree, tree, chain], scores, strict=True):
        for node in (-1, 4, 8):
            expected = theirs(lm, [*text, *(proposal.tokens[i] for i in proposal.path(node))])[-1]
            torch.testing.assert_close(ours[node + 1], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_drafts_far_beyond_the_window_are_plain_decodings_text(family: str, forward: str) -> None:
    lm = model(family, forward)
    prompts = [ids(9, 5, lm.vocab) * 40, ids(120, 6, lm.vocab)]
    plain = [g.tokens for g in paceline.generate(lm, prompts, max_new_tokens=50, eos=(), slots=1)]
    for drafter in (Ngram(min_n=1, worth=0.0), SmallModel(model=nearly(lm), length=5, branch=2, worth=0.0),
                    SparseSelf(keys=40, length=4, worth=0.0)):
        out = paceline.generate(lm, prompts, drafter=drafter, max_new_tokens=50, eos=(), slots=2)
        assert [g.tokens for g in out] == plain
        assert not any(g.stats.failures for g in out) and sum(g.stats.drafted for g in out) > 30


@pytest.mark.parametrize("forward", [forward for family, forward in FORWARDS if family == "mistral" and forward != "stock"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_when_keys_are_dropped_changes_no_bit(forward: str, dtype: torch.dtype, all_threads: None) -> None:
    """One token at a time, in chains that end on both sides of where keys are dropped, and beside another row."""
    made = paceline.testing.tiny_model("mistral", hidden_size=320, intermediate_size=960, num_hidden_layers=1).to(dtype)
    lm = paceline.load(made, forward=forward)
    if not lm.exact:
        pytest.skip(f"this machine cannot promise it: {lm.why_not_exact}")
    text, at, new = ids(680, 7, lm.vocab), 560, 120
    found = []
    for size in (1, 7, 24):
        kv = lm.cache(exact=True)
        slot, other = kv.take(), kv.take()
        lm.prefill(kv, slot, text[:at])
        lm.prefill(kv, other, text[: at // 2])
        before, logits = windowed(kv, slot), []
        for start in range(at, at + new - new % size, size):
            rows = [text[start : start + size], text[:size]] if size == 7 else [text[start : start + size]]
            logits.append(lm.forward(Batch.of([slot, other][: len(rows)], rows), kv)[:size])
            kv.keep([slot], [range(size)])
        assert windowed(kv, slot) > before
        found.append(torch.cat(logits))
    assert all(torch.equal(x, found[0][: len(x)]) for x in found)


@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_the_memory_of_windowed_layers_does_not_grow(family: str, forward: str) -> None:
    lm = model(family, forward)
    sizes, full = {}, 0
    for length in (1000, 2000, 3000):
        kv = lm.cache()
        slot = kv.take()
        lm.prefill(kv, slot, ids(length, 8, lm.vocab))
        sizes[length] = sum(held.bytes for pattern, held in slot.held.items() if pattern != FULL)
        full = slot.bytes - sizes[length]
    assert len(set(sizes.values())) == 1
    assert bool(full) is (family == "gemma3_text") and sizes[1000] <= slot.token_bytes * (24 + MARGIN + 64 + 2 * CHUNK)


@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_a_beginning_that_was_dropped_is_read_again(family: str, forward: str) -> None:
    """What is still whole is reused: a text that goes on; another that leaves it early is prefilled."""
    lm = model(family, forward)
    engine, text = Engine(lm, slots=1, max_cached=2), ids(400, 9, lm.vocab)
    [first] = engine.run([Request(text, max_new_tokens=10)])
    asked = [Request([*text, *first.tokens, 5, 6], max_new_tokens=30), Request([*text[:100], 7, 8], max_new_tokens=30)]
    out = engine.run(asked)
    assert [g.stats.reused for g in out] == [len(text) + 9, 0]
    assert [g.tokens for g in out] == [Engine(lm).run([request])[0].tokens for request in asked]


@pytest.mark.skipif(compiler.library()[0] is None, reason="no compiler")
def test_sinks_and_a_window_are_two_ranges_of_keys() -> None:
    """A cache may say that layers keep less than their model sees: every forward then computes the same."""
    patterns, found = {0: Sliding(20, sinks=3), 2: Sliding(33, sinks=5)}, []
    for forward in ("fused", "lean", "stock"):
        lm = tiny_lm(forward=forward)
        kv, text = KV(patterns=patterns), ids(300, 10, lm.vocab)
        slots = [kv.take(), kv.take()]
        for slot, n in zip(slots, (290, 25), strict=True):
            lm.prefill(kv, slot, text[:n])
        assert windowed(kv, slots[0]) > 3 and not windowed(kv, slots[1])
        rows = torch.tensor([text[290:299], text[25:34]])
        found.append([lm.forward(Batch(slots, rows), kv), lm.forward(Batch(slots, rows, [TREE, TREE[:4]]), kv)])
        apart = []
        for i in range(6):
            apart.append(lm.forward(Batch(slots[:1], rows[:1, i : i + 1]), kv))
            kv.keep(slots[:1], [[0]])
        torch.testing.assert_close(torch.cat(apart), found[-1][0][:6], atol=1e-4, rtol=1e-4)
    trees = torch.tensor([*range(9), *range(9, 13)])  # what lies behind the second row's is padding
    for chain, tree in found[1:]:
        torch.testing.assert_close(chain, found[0][0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tree[trees], found[0][1][trees], atol=1e-4, rtol=1e-4)
