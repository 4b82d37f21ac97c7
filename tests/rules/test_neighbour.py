"""LANTERN's acceptance by neighbourhoods: what counts, what follows a rejection, and what is spent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paceline import DataError, Engine, Request, RequestError, Sampling, SpecError, plugins
from paceline.rules.neighbour import Neighbour
from paceline.testing import ToyLM
from tests.laws import distance, plain_law
from tests.rules.test_annealed import DRAW, EXACT, OTHER, PROMPT, TARGET, TREES, priced

P = torch.tensor([0.05, 0.10, 0.50, 0.20, 0.15], dtype=torch.float64)


def one(token: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(token), 5).double()


def accepted(rule: Neighbour, token: int) -> float:
    return float(rule._split(P, one(token), token, 0).taken[token])


def test_adjacent_ids_come_nearest_first_the_lower_before_the_higher() -> None:
    assert Neighbour(k=3).near(torch.tensor([0, 2, 4]), 5).tolist() == [[1, 2, 3], [1, 3, 0], [3, 2, 1]]


@pytest.mark.parametrize(("rule", "token", "mass"), [
    (Neighbour(k=0), 3, 0.20),
    (Neighbour(k=1, delta=0.5), 3, 0.20 + 0.50),
    (Neighbour(k=1, delta=0.49), 3, 0.20),  # the nearest is too heavy
    (Neighbour(k=4, delta=0.2), 0, 0.05 + 0.10),  # 1 counts; with 2 the sum would pass
    (Neighbour(k=2, delta=2.0, relative=True), 1, 0.10 + 0.05),  # at most 2 * 0.10
    (Neighbour(k=4, delta=9.0), 2, 1.0),
])  # fmt: skip
def test_neighbours_count_while_their_sum_stays_within_delta(rule: Neighbour, token: int, mass: float) -> None:
    assert accepted(rule, token) == pytest.approx(mass)


def test_a_rejection_excludes_the_neighbourhood_and_is_priced() -> None:
    part = Neighbour(k=1, delta=0.0)._split(P, one(3), 3, 0)
    assert part.left.tolist() == pytest.approx([0.05, 0.10, 0.0, 0.0, 0.15])
    outcome = part.taken + (1 - part.taken.sum()) * part.left / part.left.sum()
    assert part.spent == pytest.approx(float((outcome - P).abs().sum() / 2)) and part.spent > 0.3
    better = Neighbour(k=1, delta=0.0, resample="best")._split(P, one(3), 3, 0)
    assert better.spent == 0.0


def test_a_neighbourhood_that_is_everything_leaves_the_law() -> None:
    part = Neighbour(k=4, delta=0.1)._split(P, one(2), 2, 0)
    assert torch.equal(part.left, P)
    assert part.spent == pytest.approx(float((part.taken + (1 - part.taken.sum()) * P - P).clamp_min(0).sum()))


@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("resample", ["lantern", "best"])
@pytest.mark.parametrize("k", [1, 2])
def test_what_was_spent_bounds_the_departure(k: int, resample: str, shape: str) -> None:
    for seed in range(2):
        target, other = ToyLM(4, seed=seed), ToyLM(4, seed=seed + 20)
        found = priced(Neighbour(k, 0.3, resample=resample), tree=TREES[shape], target=target, other=other)
        assert 0.001 < distance(found.law, plain_law(target, PROMPT, DRAW, 2)) <= found.spent + EXACT


def test_the_best_law_departs_less_at_one_position() -> None:
    target, other = ToyLM(5, seed=1), ToyLM(5, seed=21)
    given = {"count": 1, "tree": ([-1], [True]), "target": target, "other": other}
    ours, theirs = (priced(Neighbour(1, 0.3, resample=r), **given) for r in ("best", "lantern"))
    plain = plain_law(target, PROMPT, DRAW, 1)
    assert distance(ours.law, plain) == pytest.approx(ours.spent, abs=EXACT)
    assert distance(theirs.law, plain) == pytest.approx(theirs.spent, abs=EXACT)
    assert ours.spent < theirs.spent


def test_tokens_outside_the_law_are_not_written() -> None:
    sampling = Sampling(temperature=1.0, top_k=2, seed=0)
    found = priced(Neighbour(2, 1.0), sampling=sampling)
    assert set(found.law) <= set(plain_law(TARGET, PROMPT, sampling, 2))


def test_a_table_says_who_is_near(tmp_path) -> None:
    np.save(tmp_path / "near.npy", np.array([[4], [4], [4], [4], [0]]))
    rule = plugins.make("rule", f"neighbour:k=1,delta=0.5,neighbours={tmp_path / 'near.npy'}")
    assert accepted(rule, 3) == pytest.approx(0.20 + 0.15)
    with pytest.raises(DataError, match="npy"):
        Neighbour(neighbours=str(tmp_path / "none.npy")).check(Request([1], DRAW), 5)
    for wrong, vocab in ((rule, 6), (Neighbour(k=2, neighbours=[[1], [0]]), 2), (Neighbour(k=5), 5)):
        with pytest.raises(RequestError, match="nearest"):
            wrong.check(Request([1], DRAW), vocab)
    for table in ([[1], [1]], [[1], [2]], [[-1], [0]]):
        with pytest.raises(RequestError, match="beside itself"):
            Neighbour(k=1, neighbours=table).check(Request([1], DRAW), 2)


def test_mistakes_are_explained() -> None:
    with pytest.raises(SpecError, match="neighbour needs"):
        Neighbour(k=-1)
    with pytest.raises(RequestError, match="nothing to relax"):
        Engine(OTHER, "none", "neighbour:k=1").submit(Request(PROMPT))
