"""Who sees whom: masks and positions of chains, trees and padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

import paceline.lm.attention as module
from paceline.lm.attention import Call, ancestors, attend
from paceline.lm.batch import Batch
from paceline.lm.kv import FULL, KV
from paceline.patterns.sliding import Sliding


def call(lengths: list[int], width: int, parents: list[list[int]] | None, exact: bool = False) -> Call:
    kv = KV(capacity=32, quantum=8, exact=exact)
    slots = [kv.take() for _ in lengths]
    for slot, length in zip(slots, lengths, strict=True):
        slot.length = length
    return Call(Batch.of(slots, [[0] * width] * len(slots), parents), kv, 1 << 40)


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
    for pattern in (FULL, Sliding(3)):
        for b in range(2):
            chain = call([5, 2], 4, None).mask(b, pattern, 16, like, 2)
            tree = call([5, 2], 4, [[-1, 0, 1, 2]] * 2).mask(b, pattern, 16, like, 2)
            assert torch.equal(chain, tree)


def test_positions_are_length_plus_depth() -> None:
    assert call([5, 2], 4, None).positions == [[5, 6, 7, 8], [2, 3, 4, 5]]
    assert call([5, 2], 4, [[-1, 0, 0, 1], [-1, 0]]).positions == [[5, 6, 6, 7], [2, 3, 2, 2]]


def test_a_window_counts_positions_not_places() -> None:
    """A node two deep sees two committed tokens of a window of four, however many siblings lie between."""
    mask = call([6], 4, [[-1, 0, 0, 1]]).mask(0, Sliding(4), 16, torch.zeros(()), 1)
    assert (mask[3] == 0).nonzero().flatten().tolist() == [5, 6, 7, 9]
    assert (mask[2] == 0).nonzero().flatten().tolist() == [4, 5, 6, 8]


@torch.inference_mode()
def test_padding_rows_and_stale_keys_never_matter() -> None:
    """A short row beside a long one, with rubbish left in the cache, gives what it gives alone."""
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 3, 8, generator=random) for h in (4, 2, 2))
    together = call([1, 9], 3, [[-1], [-1, 0, 0]])
    for slot in together.slots:
        cache = together.kv.reserve(0, slot, FULL, k[0], 32)
        cache.copy_(torch.randn(cache.shape, generator=random) * 100)
    past = together.slots[0].held[FULL].layers[0][:, :, :1].clone()
    both = attend(q, k, v, 0, together, 0.3)
    alone = call([1], 1, None)
    alone.kv.fill(0, alone.slots[0], past, FULL)
    torch.testing.assert_close(both[0, :1], attend(q[:1, :, :1], k[:1, :, :1], v[:1, :, :1], 0, alone, 0.3)[0])


@pytest.mark.parametrize("width", [1, 2, 5, 16, 20])
def test_padded_queries_change_nothing(width: int) -> None:
    random = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, h, width, 8, generator=random) for h in (4, 2, 2))
    plain, padded = (attend(q, k, v, 0, call([0], width, None, exact), 0.3) for exact in (False, True))
    torch.testing.assert_close(plain, padded)


@pytest.mark.parametrize(("wide", "narrow"), [(12, 8), (8, 12)])
def test_values_of_another_width_than_keys(wide: int, narrow: int) -> None:
    random = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(1, h, 5, d, generator=random) for h, d in ((4, wide), (2, wide), (2, narrow)))
    expected = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(attend(q, k, v, 0, call([0], 5, None), 0.3), expected)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "groups", "new", "tree"),
                         [(2, 3, 9, True), (1, 1, 1, False), (4, 2, 5, False), (2, 1, 17, True)])
def test_attention_in_parts_equals_attention_under_one_mask(dtype: torch.dtype, heads: int, groups: int, new: int,
                                                            tree: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Property 5 of LongSpec's notes: random trees, grouped queries, a single node."""
    random, prefix, d = torch.Generator().manual_seed(new), 1100, 16
    past = torch.randn(2, 1, heads, prefix, d, generator=random).to(dtype)
    q = torch.randn(1, heads * groups, new, d, generator=random).to(dtype)
    k, v = torch.randn(2, 1, heads, new, d, generator=random).to(dtype)
    parents = [[-1, *(int(torch.randint(-1, i, (1,), generator=random)) for i in range(1, new))]] if tree else None
    made = []
    for pays in (False, True):
        monkeypatch.setattr(module, "parts_pay", lambda *sizes, pays=pays: pays)
        kv = KV(2048)
        slot = kv.take()
        slot.length = prefix
        kv.fill(0, slot, past[:, 0], FULL)
        call = Call(Batch.of([slot], [[0] * new], parents), kv, 1 << 40)
        made.append(attend(q, k, v, 0, call, 0.25))
        assert (not any(key[0] == "own" for key in call._masks)) == (not pays)
        assert not pays or all(m.shape[-1] == new for m in call._masks.values())  # no mask as long as the prefix
    torch.testing.assert_close(made[1], made[0], atol=1e-5 if dtype is torch.float32 else 2e-2, rtol=1e-5)


def test_parts_are_for_long_texts_alone_and_not_for_exact_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parts_pay", lambda *sizes: True)
    like = torch.zeros(1, 2, 5, 16)
    cases = ((1024, 1, False, True), (1023, 1, False, False), (1024, 2, False, False), (1024, 1, True, False))
    for length, slots, exact, wanted in cases:
        assert call([0] * slots, 5, None, exact).in_parts(like, length) is wanted


def test_the_measurement_is_made_once_for_sizes_alike() -> None:
    a, b = (module.sizes(torch.zeros(1, 2, n, 16), prefix) for n, prefix in ((5, 1500), (8, 2048)))
    assert a == b == (8, 2048, 2, 16, torch.float32)
    assert module.parts_pay(*a) in (True, False)
