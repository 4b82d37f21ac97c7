"""Token trees: structure, cuts that keep declarations true, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paceline import ShapeError
from paceline.core.proposal import Proposal

V = 7


@st.composite
def trees(draw) -> Proposal:
    n = draw(st.integers(0, 10))
    parents = [draw(st.integers(-1, i - 1)) for i in range(n)]
    drawn = [draw(st.booleans()) for _ in range(n)]
    laws = {p: torch.full((V,), 1.0 / V) for p in set(parents)}
    return Proposal([draw(st.integers(0, V - 1)) for _ in range(n)], parents, drawn, [f"s{i}" for i in range(n)], laws)


@given(trees())
def test_any_tree_passes_its_check(tree: Proposal) -> None:
    tree.check(V)


@given(trees())
def test_paths_depths_and_children_agree(tree: Proposal) -> None:
    for node in range(len(tree)):
        path = tree.path(node)
        assert path[-1] == node and len(path) == tree.depths()[node]
        assert all(child in tree.children(parent) for parent, child in zip([-1, *path], path, strict=False))
    assert sorted(c for parent in range(-1, len(tree)) for c in tree.children(parent)) == list(range(len(tree)))
    assert tree.path(-1) == []


@given(trees(), st.integers(0, 12))
def test_a_clipped_tree_is_its_first_nodes(tree: Proposal, budget: int) -> None:
    cut = tree.clip(budget)
    cut.check(V)
    n = min(budget, len(tree))
    assert list(cut.tokens) == list(tree.tokens[:n]) and list(cut.drawn) == list(tree.drawn[:n])
    assert set(cut.distributions) <= set(tree.distributions) and all(p < n for p in cut.distributions)


@given(trees())
def test_the_main_chain_is_the_first_children(tree: Proposal) -> None:
    chain = tree.main_chain()
    chain.check(V)
    assert chain.is_chain
    node = -1
    for i in range(len(chain)):
        node = tree.children(node)[0]
        assert (chain.tokens[i], chain.drawn[i], chain.source[i]) == (tree.tokens[node], tree.drawn[node], tree.source[node])
        assert chain.distributions[i - 1] is tree.distributions[tree.parents[node]]
    assert not tree.children(node)


@given(trees())
def test_chosen_declares_every_node_chosen_and_keeps_the_rest(tree: Proposal) -> None:
    chosen = tree.chosen()
    assert chosen.all_chosen and chosen.tokens == tree.tokens and chosen.distributions == tree.distributions


def test_a_chain_hangs_each_node_below_the_one_before() -> None:
    laws = [torch.ones(V), torch.zeros(V)]
    chain = Proposal.chain([4, 5], "x", drawn=True, distributions=laws)
    assert list(chain.parents) == [-1, 0] and chain.is_chain and not chain.all_chosen
    assert chain.distributions[-1] is laws[0] and chain.distributions[0] is laws[1]
    assert Proposal().is_chain and len(Proposal()) == 0


LAW = torch.full((V,), 1.0 / V)
WRONG = {
    "equal lengths": Proposal([1, 2], [-1], [False], ["x"]),
    "parent 0": Proposal([1], [0], [False], ["x"]),
    "parent 1": Proposal([1, 2], [1, -1], [False] * 2, ["x"] * 2),
    "parent -2": Proposal([1], [-2], [False], ["x"]),
    f"token {V}": Proposal([V], [-1], [False], ["x"]),
    "token -1": Proposal([-1], [-1], [False], ["x"]),
    "no law": Proposal([1], [-1], [True], ["x"]),
    "shape": Proposal([1], [-1], [True], ["x"], {-1: LAW[:-1]}),
    "shape .* expected": Proposal([1], [-1], [False], ["x"], {-1: LAW[None]}),
}


@pytest.mark.parametrize("problem", WRONG)
def test_nonsense_is_refused(problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        WRONG[problem].check(V)
