"""Who sees whom: masks and positions of chains, trees and padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ModelError
from paceline.lm.attend import Call, _from_transformers, ancestors, attend
from paceline.lm.kv import KV


def call(lengths: list[int], width: int, parents: list[list[int]] | None, exact: bool = False) -> Call:
    kv = KV(len(lengths), capacity=32, quantum=8)
    slots = [kv.take() for _ in lengths]
    for slot, length in zip(slots, lengths, strict=True):
        slot.length = length
    return Call(kv, slots, width, parents, exact)


@given(st.integers(0, 9).flatmap(lambda n: st.tuples(*(st.integers(-1, i - 1) for i in range(n)))))
def test_ancestors_are_the_nodes_of_the_path(parents: tuple[int, ...]) -> None:
    seen = ancestors(parents, len(parents) + 1)
    for node in range(len(parents)):
        path, at = set(), node
        while at != -1:
            path.add(at)
            at = parents[at]
        assert seen[node] == path
    assert seen[-1] == {len(parents)}  # padding sees itself


def test_a_chain_and_the_same_chain_as_a_tree_have_one_mask() -> None:
    like = torch.zeros(())
    for window in (None, 3):
        chain = call([5, 2], 4, None).mask(like, window, 2)
        tree = call([5, 2], 4, [[-1, 0, 1, 2]] * 2).mask(like, window, 2)
        assert torch.equal(chain, tree)


def test_positions_are_length_plus_depth() -> None:
    assert call([5, 2], 4, None).positions() == [[5, 6, 7, 8], [2, 3, 4, 5]]
    assert call([5, 2], 4, [[-1, 0, 0, 1], [-1, 0]]).positions() == [[5, 6, 6, 7], [2, 3, 2, 2]]


def test_a_window_counts_positions_not_places() -> None:
    """A node two deep sees two committed tokens of a window of four, however many siblings lie between."""
    mask = call([6], 4, [[-1, 0, 0, 1]]).mask(torch.zeros(()), 4, 1)[0, 0]
    assert (mask[3] == 0).nonzero().flatten().tolist() == [5, 6, 7, 9]
    assert (mask[2] == 0).nonzero().flatten().tolist() == [4, 5, 6, 8]


def test_padding_rows_and_stale_keys_never_matter() -> None:
    """A short row beside a long one, with rubbish left in the cache, gives what it gives alone."""
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 3, 8, generator=random) for h in (4, 2, 2))
    together = call([1, 9], 3, [[-1], [-1, 0, 0]])
    for cache in (together.kv.layer(0, k),):
        cache.copy_(torch.randn(cache.shape, generator=random) * 100)
    past = together.kv.layer(0, k)[:, 0, :, :1].clone()
    both = attend(q, k, v, 0, together, 0.3)
    alone = call([1], 1, None)
    alone.kv.layer(0, k)[:, 0, :, :1] = past
    torch.testing.assert_close(both[0, :1], attend(q[:1, :, :1], k[:1, :, :1], v[:1, :, :1], 0, alone, 0.3)[0])


@pytest.mark.parametrize("width", [1, 2, 5, 16, 20])
def test_padded_queries_change_nothing(width: int) -> None:
    random = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, h, width, 8, generator=random) for h in (4, 2, 2))
    plain, padded = (attend(q, k, v, 0, call([0], width, None, exact), 0.3) for exact in (False, True))
    torch.testing.assert_close(plain, padded)


def test_attention_we_do_not_compute_is_refused() -> None:
    x = torch.zeros(1, 1, 1, 8)
    with pytest.raises(ModelError, match="softcap"):
        _from_transformers(torch.nn.Identity(), x, x, x, None, softcap=30.0)
