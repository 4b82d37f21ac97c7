"""Packed batches: whole documents, the right labels, no attention across documents, the same again in every process."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.data.corpus import Stream
from paceline.errors import DataError
from paceline.train.packing import Batches, Piece, Source, cut, document_mask, fill, layout


def stream_of(lengths: list[int], base: int = 0) -> Stream:
    """Documents whose tokens tell where they stand: the number of the document times 100, plus the position."""
    tokens = np.concatenate([base + 100 * d + np.arange(n) for d, n in enumerate(lengths)]).astype(np.uint16)
    return Stream(tokens, np.concatenate([[0], np.cumsum(lengths)]), np.ones(len(tokens), dtype=bool), len(tokens))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=40), st.integers(4, 64), st.integers(0, 3))
def test_pieces_cover_each_document_once(lengths: list[int], length: int, seed: int) -> None:
    stream = stream_of(lengths)
    pieces = cut(stream, length, whole=False, rng=np.random.default_rng(seed))
    covered = sorted(itertools.chain.from_iterable(range(p.start, p.start + p.length) for p in pieces))
    assert covered == list(range(len(stream.tokens)))
    assert all(1 <= p.length <= length for p in pieces)
    edges = set(stream.starts.tolist())
    assert all(not edges & set(range(p.start + 1, p.start + p.length)) for p in pieces)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 32), min_size=1, max_size=60))
def test_rows_are_full_and_lose_at_most_a_row(lengths: list[int]) -> None:
    pieces = [Piece(1000 * i, n) for i, n in enumerate(lengths)]
    rows = fill(pieces, 32)
    assert rows and all(sum(p.length for p in row) == 32 for row in rows)
    if sum(lengths) > 64:
        placed = {p.start for row in rows for p in row}
        lost = [p for p in pieces if p.start not in placed]
        assert sum(p.length for p in lost) < 32


def test_whole_documents_are_never_cut() -> None:
    stream = stream_of([10, 50, 12])
    pieces = cut(stream, 16, whole=True, rng=np.random.default_rng(0))
    assert sorted(p.length for p in pieces) == [10, 12]
    with pytest.raises(DataError, match="longer rows"):
        cut(stream_of([50]), 16, whole=True, rng=np.random.default_rng(0))


def test_long_documents_are_cut_at_another_place_each_time() -> None:
    stream = stream_of([90])
    firsts = {min(cut(stream, 30, False, np.random.default_rng(s)), key=lambda p: p.start).length for s in range(20)}
    assert len(firsts) > 5


def test_labels_stop_at_the_document_and_cross_a_cut() -> None:
    stream = stream_of([5, 6])
    tokens, labels, positions, documents = layout(stream, [Piece(5, 3), Piece(0, 5)])
    assert tokens.tolist() == [100, 101, 102, 0, 1, 2, 3, 4]
    assert labels.tolist() == [101, 102, 103, 1, 2, 3, 4, -100]
    assert positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert documents.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_unlearned_tokens_are_no_labels() -> None:
    stream = stream_of([5])
    stream.learn[2] = False
    assert layout(stream, [Piece(0, 5)])[1].tolist() == [1, -100, 3, 4, -100]


def test_the_mask_shows_earlier_tokens_of_the_same_document_only() -> None:
    documents = torch.tensor([[0, 0, 1, 1, 1]])
    visible = document_mask(documents, torch.float32)[0, 0] == 0
    expected = [[j <= i and documents[0, i] == documents[0, j] for j in range(5)] for i in range(5)]
    assert visible.tolist() == [[bool(cell) for cell in row] for row in expected]


def sources() -> dict[str, Source]:
    return {
        "a": Source(stream_of([20, 7, 30, 9, 60]), 0.5),
        "b": Source(stream_of([12, 8, 15, 3, 9], base=1000), 0.25, whole=True),
        "c": Source(stream_of([40, 40], base=2000), 0.25),
    }


def test_a_batch_depends_on_its_number_only() -> None:
    one, two = (Batches(sources(), 50, 4, 16, seed=3) for _ in range(2))
    late = two.batch(40)  # asked for first, as after a restart
    for i in (0, 7, 40):
        assert all(torch.equal(x, y) for x, y in zip(one.batch(i), two.batch(i), strict=True))
    assert torch.equal(late.tokens, one.batch(40).tokens)
    assert not torch.equal(one.batch(0).tokens, Batches(sources(), 50, 4, 16, seed=4).batch(0).tokens)
    # A longer run begins with the same batches.
    assert torch.equal(one.batch(7).tokens, Batches(sources(), 90, 4, 16, seed=3).batch(7).tokens)


def test_the_mixture_follows_the_shares() -> None:
    batches = Batches(sources(), 100, 4, 16, seed=0)
    kinds = torch.cat([batches.batch(i).tokens[:, 0] // 1000 for i in range(100)])
    assert [(kinds == k).float().mean().item() for k in range(3)] == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
