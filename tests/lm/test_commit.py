"""Committing any accepted path of any tree leaves the keys a fresh prefill would have made, on both forwards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.core.proposal import Proposal
from tests.tiny import shared_lm

token = st.integers(3, 258)
MODELS = [("llama", "lean"), ("mistral", "stock"), ("gemma3_text", "stock"), ("gpt2", "stock")]


@st.composite
def trees(draw) -> Proposal:
    n = draw(st.integers(0, 8))
    parents = [draw(st.integers(-1, i - 1)) for i in range(n)]
    return Proposal([draw(token) for _ in range(n)], parents, [False] * n, ["test"] * n)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("family", "forward"), MODELS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_keep_equals_a_fresh_prefill(family: str, forward: str, exact: bool, data) -> None:
    """Two rows of different lengths for three rounds; the rows' next logits are those of a cache made from the tokens alone."""
    lm = shared_lm(family, forward)
    kv = lm.cache(exact)
    rows = [data.draw(st.lists(token, min_size=1, max_size=4)), data.draw(st.lists(token, min_size=20, max_size=40))]
    slots = []
    for row in rows:
        slots.append(kv.take())
        lm.prefill(kv, slots[-1], row[:-1])
    for _ in range(3):
        proposals = [data.draw(trees()) for _ in rows]
        lm.score(kv, slots, [r[-1] for r in rows], proposals)
        paths = [p.path(data.draw(st.integers(-1, len(p) - 1))) for p in proposals]
        kv.keep(slots, [[0, *(i + 1 for i in path)] for path in paths])
        for row, proposal, path in zip(rows, proposals, paths, strict=True):
            row += [*(proposal.tokens[i] for i in path), data.draw(token)]
    for row, slot, ours in zip(rows, slots, lm.score(kv, slots, [r[-1] for r in rows], [Proposal()] * 2), strict=True):
        assert slot.length == len(row) - 1
        with torch.inference_mode():
            expected = lm.model(torch.tensor([row]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(ours[0], expected, atol=1e-4, rtol=1e-4)


def test_keys_do_not_depend_on_the_prefill_chunk(lm) -> None:
    """A prompt prefilled in two parts, as when a cached beginning is reused, scores the same."""
    text = torch.randint(3, 259, (600,), generator=torch.Generator().manual_seed(0)).tolist()
    kv = lm.cache()
    whole, parts = kv.take(), kv.take()
    lm.prefill(kv, whole, text[:-1])
    lm.prefill(kv, parts, text[:333])
    lm.prefill(kv, parts, text[333:-1])
    one, two = lm.score(kv, [whole, parts], [text[-1]] * 2, [Proposal()] * 2)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
