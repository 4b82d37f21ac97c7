"""The lossless rule inside the whole round loop, by exact enumeration: any tree, any declaration that is true."""

from __future__ import annotations

import pytest
import torch

from paceline import Engine, Request
from paceline.core.sampling import Sampling
from paceline.testing import ToyLM
from tests.laws import TIGHT, TreeDrafter, distance, engine_law, plain_law, softmax_of

PROMPT = [1, 0]
DRAW = Sampling(temperature=1.0, seed=0)
TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)

D, C = True, False
TREES = {  # parents, drawn
    "drawn chain": ([-1, 0], [D, D]),
    "chosen chain": ([-1, 0], [C, C]),
    "drawn siblings": ([-1, -1], [D, D]),
    "three drawn siblings": ([-1, -1, -1], [D, D, D]),
    "chosen siblings": ([-1, -1, -1], [C, C, C]),
    "drawn comb with chosen leaves": ([-1, 0, -1, 0], [D, D, C, C]),
    "chosen before drawn": ([-1, -1], [C, D]),
    "drawn tree": ([-1, -1, 0], [D, D, D]),
    "chosen tree": ([-1, -1, 0, 1], [C, C, C, C]),
    "drawn below chosen": ([-1, 0, 0], [C, D, D]),
}


@pytest.mark.parametrize("shape", TREES)
def test_every_tree_keeps_the_law(shape: str) -> None:
    parents, drawn = TREES[shape]
    drafter = TreeDrafter(softmax_of(OTHER), parents, drawn)
    law = engine_law(TARGET, PROMPT, DRAW, 2, drafter, room=min(len(parents), 3))
    assert distance(law, plain_law(TARGET, PROMPT, DRAW, 2)) < TIGHT


def test_the_joint_law_of_three_tokens() -> None:
    drafter = TreeDrafter(softmax_of(OTHER), [-1, 0], [D, D])
    law = engine_law(TARGET, PROMPT, DRAW, 3, drafter, room=0)
    assert len(law) == 27
    assert distance(law, plain_law(TARGET, PROMPT, DRAW, 3)) < TIGHT


def only(*tokens: int):
    """A law on some tokens only, whatever the prefix."""
    law = torch.zeros(3, dtype=torch.float64)
    law[list(tokens)] = 1.0 / len(tokens)
    return lambda prefix: law


@pytest.mark.parametrize("q", [only(0), only(2), only(0, 1)], ids=["one-hot", "another", "two of three"])
@pytest.mark.parametrize("shape", ["drawn chain", "drawn comb with chosen leaves"])
def test_zero_mass_where_the_target_has_some(q, shape: str) -> None:
    drafter = TreeDrafter(q, *TREES[shape])
    assert distance(engine_law(TARGET, PROMPT, DRAW, 2, drafter), plain_law(TARGET, PROMPT, DRAW, 2)) < TIGHT


def test_disjoint_supports_never_accept_and_keep_the_law() -> None:
    sampling = Sampling(temperature=1.0, logit_bias={0: -1e9}, seed=0)
    drafter = TreeDrafter(only(0), [-1, 0], [D, D])
    law = engine_law(TARGET, PROMPT, sampling, 2, drafter)
    assert distance(law, plain_law(TARGET, PROMPT, sampling, 2)) < TIGHT
    assert all(0 not in text for text in law)


def test_equal_laws_always_accept() -> None:
    engine = Engine(TARGET, TreeDrafter(softmax_of(TARGET), [-1, 0, 1], [D, D, D]))
    for seed in range(50):
        row = engine.submit(Request(PROMPT, Sampling(temperature=1.0, seed=seed), max_new_tokens=16))
        while row.finish_reason is None:
            engine.step()
        assert row.stats.accepted == row.stats.drafted == 12
    law = engine_law(TARGET, PROMPT, DRAW, 2, TreeDrafter(softmax_of(TARGET), [-1, 0], [D, D]))
    assert distance(law, plain_law(TARGET, PROMPT, DRAW, 2)) < TIGHT


@pytest.mark.parametrize("shape", TREES)
def test_greedy_writes_the_same_tokens(shape: str) -> None:
    law = engine_law(TARGET, PROMPT, Sampling(), 3, TreeDrafter(softmax_of(OTHER), *TREES[shape]), room=1)
    assert set(law) == set(plain_law(TARGET, PROMPT, Sampling(), 3))


LIES = {
    "the likeliest token declared drawn": TreeDrafter(softmax_of(OTHER), [-1], [C], declare=[D]),
    "the law is not the one drawn from": TreeDrafter(softmax_of(OTHER), [-1], [D], stored=softmax_of(TARGET)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wrong_declaration_is_caught_by_these_tests(lie: str) -> None:
    assert distance(engine_law(TARGET, PROMPT, DRAW, 2, LIES[lie]), plain_law(TARGET, PROMPT, DRAW, 2)) > 0.01


def test_siblings_drawn_with_replacement_are_not_drawn_siblings() -> None:
    """The rule takes the second sibling to be drawn from what the first left over."""
    target, other = ToyLM(4, seed=3), ToyLM(4, seed=13)
    plain = plain_law(target, PROMPT, DRAW, 1)
    for replacement in (False, True):
        drafter = TreeDrafter(softmax_of(other), [-1, -1], [D, D], replacement=replacement)
        assert (distance(engine_law(target, PROMPT, DRAW, 1, drafter, room=2), plain) > 0.01) == replacement


def test_a_drawn_node_pruned_by_its_own_draw_is_biased_unless_chosen() -> None:
    """Invariant 3: whether the node stands depends on what it is, so declaring it drawn is false."""
    plain = plain_law(TARGET, PROMPT, DRAW, 2)
    honest = engine_law(TARGET, PROMPT, DRAW, 2, Pruned(softmax_of(OTHER), [-1], [D], declare=[C]))
    lying = engine_law(TARGET, PROMPT, DRAW, 2, Pruned(softmax_of(OTHER), [-1], [D], declare=[D]))
    assert distance(honest, plain) < TIGHT < 0.01 < distance(lying, plain)


class Pruned(TreeDrafter):
    """Drops its draw when it is token 0."""

    def _tree(self, row, n: int):
        whole = super()._tree(row, n)
        return whole.clip(0) if whole.tokens and whole.tokens[0] == 0 else whole
