"""The beam keeps the likeliest paths, level by level, and its choice of nodes is always a tree."""

from __future__ import annotations

import math
from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.proposal import Proposal
from paceline.lookup.beam import Beam


def grown(seed: int, depth: int, width: int, vocab: int = 4) -> tuple[Beam, torch.Tensor]:
    """A beam over a random first-order chain, every token a candidate, and the chain's log-probabilities."""
    laws = torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    beam = Beam()
    for _ in range(depth):
        states = [0 if node == -1 else beam.tree.tokens[node] for node in beam.front]
        beam.widen([list(enumerate(laws[s].tolist())) for s in states], width)
    return beam, laws


def best(beam: Beam, budget: int) -> tuple[list[int], list[int]]:
    chosen = beam.tree.best(budget)
    return list(chosen.tokens), list(chosen.parents)


def paths(tokens: list[int], parents: list[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for token, parent in zip(tokens, parents, strict=True):
        found.append((*(found[parent] if parent != -1 else ()), token))
    return found


def value(path: tuple[int, ...], laws: torch.Tensor) -> float:
    return sum(float(laws[a, b]) for a, b in zip((0, *path), path, strict=False))


def test_a_wide_beam_holds_the_likeliest_paths_of_all() -> None:
    beam, laws = grown(seed=1, depth=3, width=64)
    every = [p for n in (1, 2, 3) for p in product(range(4), repeat=n)]
    wanted = sorted(every, key=lambda p: -value(p, laws))[:10]
    assert set(paths(*best(beam, 10))) == set(wanted)
    for path, chance in zip(paths(beam.tree.tokens, beam.tree.parents), beam.tree.values, strict=True):
        assert abs(value(path, laws) - math.log(chance)) < 1e-4


def test_a_beam_of_one_is_the_greedy_chain() -> None:
    beam, laws = grown(seed=2, depth=4, width=1)
    tokens, parents = best(beam, 9)
    assert parents == [-1, 0, 1, 2]
    assert tokens == [int(laws[a].argmax()) for a in (0, *tokens[:-1])]


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 6), st.integers(0, 20))
def test_any_choice_is_a_tree_without_equal_siblings(seed: int, depth: int, width: int, budget: int) -> None:
    beam, _ = grown(seed, depth, width)
    tokens, parents = best(beam, budget)
    assert len(tokens) == min(budget, len(beam.tree)) and all(p < i for i, p in enumerate(parents))
    assert len(set(paths(tokens, parents))) == len(tokens)
    Proposal(tokens, parents, [False] * len(tokens), ["test"] * len(tokens)).check(4)
