"""COOL-SD by exact enumeration: where it is exact, what it departs by elsewhere, and that it never says less than that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import exp
from typing import Any

import pytest
import torch

from paceline import Engine, Request, RequestError, Sampling, SpecError, plugins
from paceline.core.proposal import Proposal
from paceline.rules._walk import Split, best, siblings, walk
from paceline.rules.annealed import Annealed
from paceline.rules.lossless import lossless
from paceline.testing import ToyLM
from tests.laws import TreeDrafter, distance, plain_law, priced_law, softmax_of

PROMPT = [1, 0]
DRAW = Sampling(temperature=1.0, seed=0)
TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)
EXACT = 1e-12
PAIR = ([-1, 0], [True, True])
SCHEDULES = ("clamped", "printed", "uniform", "linear", "reversed", "first")
D, C = True, False
TREES = {
    "drawn chain": PAIR,
    "chosen chain": ([-1, 0], [C, C]),
    "drawn siblings": ([-1, -1, 0], [D, D, D]),
    "chosen siblings": ([-1, -1, 0], [C, C, C]),
    "drawn comb with chosen leaves": ([-1, 0, -1, 0], [D, D, C, C]),
    "chosen before drawn": ([-1, -1], [C, D]),
}


def priced(rule: Any, count: int = 2, tree: Any = PAIR, sampling: Sampling = DRAW, target: ToyLM = TARGET, other: ToyLM = OTHER):
    request = Request(PROMPT, sampling, max_new_tokens=count + 1)
    return priced_law(target, request, count, TreeDrafter(softmax_of(other), *tree), rule)


def acceptance(omega: float) -> float:
    p, q = (softmax_of(lm)(PROMPT) for lm in (TARGET, OTHER))
    return float(torch.minimum(q, omega * p).sum())


@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("schedule", ["clamped", "uniform", "first"])
def test_an_omega_of_one_is_exact(schedule: str, shape: str) -> None:
    found = priced(Annealed(delta=1.0, nu=0.0, schedule=schedule), tree=TREES[shape])
    assert distance(found.law, plain_law(TARGET, PROMPT, DRAW, 2)) < EXACT and found.most == 0.0


@pytest.mark.parametrize("shape", TREES)
def test_an_omega_below_one_is_exact_with_the_best_law(shape: str) -> None:
    rule = Annealed(delta=0.5, schedule="uniform")
    found = priced(rule, tree=TREES[shape])
    assert rule.lossless and distance(found.law, plain_law(TARGET, PROMPT, DRAW, 2)) < EXACT and found.most == 0.0


def test_an_omega_below_one_is_not_exact_with_the_ordinary_residual() -> None:
    """Norm([p - q]+) belongs to min(1, p / q) only."""

    def ordinary(rest, q, token, sibling):
        return Split(torch.minimum(q, 0.5 * rest), (rest - q).clamp_min(0.0))

    found = priced(lambda scores, proposal, row: walk(scores, proposal, row, lambda place: siblings(place, ordinary)))
    assert distance(found.law, plain_law(TARGET, PROMPT, DRAW, 2)) > 0.05


@pytest.mark.parametrize("omega", [1.0, 1.2, 2.0, 50.0])
def test_one_position_departs_by_the_acceptance_that_was_gained(omega: float) -> None:
    found = priced(Annealed(omega, schedule="uniform"), count=1, tree=([-1], [True]))
    gained = acceptance(omega) - acceptance(1.0)
    assert distance(found.law, plain_law(TARGET, PROMPT, DRAW, 1)) == pytest.approx(gained, abs=EXACT)
    assert found.spent == pytest.approx(gained, abs=EXACT)
    assert (gained > 0.01) == (omega > 1.0)


def test_acceptance_grows_to_pure_draft_sampling() -> None:
    rates = [acceptance(omega) for omega in (0.1, 0.5, 1.0, 1.5, 4.0, 1e6)]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(1.0)
    found = priced(Annealed(1e6, schedule="uniform"), tree=PAIR)
    assert distance(found.law, plain_law(OTHER, PROMPT, DRAW, 2)) < EXACT


@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_was_spent_bounds_the_departure(schedule: str, shape: str) -> None:
    found = priced(Annealed(1.6, schedule=schedule, length=2), tree=TREES[shape])
    departed = distance(found.law, plain_law(TARGET, PROMPT, DRAW, 2))
    assert 0.01 < departed <= found.spent + EXACT


@pytest.mark.parametrize("seed", range(6))
def test_whole_texts_of_several_rounds(seed: int) -> None:
    target, other = ToyLM(2, seed=seed), ToyLM(2, seed=seed + 20)
    found = priced(Annealed(1.5, length=2), count=4, target=target, other=other)
    departed = distance(found.law, plain_law(target, PROMPT, DRAW, 4))
    assert 0 < departed <= found.spent + EXACT


@pytest.mark.parametrize("seed", range(8))
def test_random_acceptance_is_bounded_as_well(seed: int) -> None:
    table = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def rule(scores, proposal, row):
        def step(place):
            text = [*row.tokens, *(proposal.tokens[i] for i in place.path)]
            return siblings(place, lambda rest, q, token, sibling: best(rest, q * table[text[-2], text[-1]]))

        return walk(scores, proposal, row, step)

    found = priced(rule)
    departed = distance(found.law, plain_law(TARGET, PROMPT, DRAW, 2))
    assert 0.005 < departed <= found.spent + EXACT


def test_no_other_law_after_a_rejection_departs_less() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        p, q, f, g = (torch.rand(5, generator=random, dtype=torch.float64) for _ in range(4))
        p, q, g = p / p.sum(), q / q.sum(), g / g.sum()
        part = best(p, q * f)
        rejected = 1 - part.taken.sum()
        ours, other = (float((part.taken + rejected * law - p).abs().sum() / 2) for law in (part.left / part.left.sum(), g))
        assert ours == pytest.approx(part.spent, abs=EXACT) and part.spent <= other + EXACT
    clamped = torch.minimum(q, 1.3 * p)
    assert torch.allclose(best(p, clamped).left, (p - q).clamp_min(0.0))  # Proposition 1


# -- schedules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s != "clamped"])
@pytest.mark.parametrize(("delta", "length"), [(1.1, 5), (2.0, 5), (1.7, 1), (1.3, 3)])
def test_omegas_have_the_asked_mean(schedule: str, delta: float, length: int) -> None:
    omegas = Annealed(delta, schedule=schedule, length=length).omegas
    assert len(omegas) == length and sum(omegas) / length == pytest.approx(delta)


def test_printed_omegas_fall_by_exp_nu_and_clamping_ends_at_one() -> None:
    omegas = Annealed(1.1, schedule="printed").omegas
    assert [round(o, 2) for o in omegas] == [2.85, 1.42, 0.70, 0.35, 0.17]
    assert all(b / a == pytest.approx(exp(-0.7)) for a, b in itertools.pairwise(omegas))
    assert Annealed(1.1).omegas == tuple(max(1.0, o) for o in omegas)
    assert Annealed(1.1, schedule="reversed").omegas == omegas[::-1]
    assert Annealed(1.4, nu=0.0, schedule="printed").omegas == pytest.approx([1.4] * 5)


@dataclass
class Once:
    """Drafts in the first round only: what the target writes completes it."""

    drafter: TreeDrafter
    captures, has_model, timed = (), False, False

    def attach(self, lm: Any) -> Once:
        return self

    def forget(self, row: Any) -> None:
        """Keeps nothing."""

    def propose(self, rows, budgets):
        return [p if not row.stats.rounds else Proposal() for row, p in
                zip(rows, self.drafter.propose(rows, budgets), strict=True)]


def test_clamping_changes_no_round_but_accepts_more() -> None:
    """A falling schedule below 1 refuses what would have been exact."""
    chain = Once(TreeDrafter(softmax_of(OTHER), [-1, 0, 1], [True] * 3))
    request = Request(PROMPT, DRAW, max_new_tokens=4)
    printed, clamped = (priced_law(TARGET, request, 3, chain, r) for r in
                        (Annealed(1.1, schedule="printed", length=3), Annealed(1.1, length=3)))
    assert distance(printed.law, clamped.law) < EXACT < distance(clamped.law, plain_law(TARGET, PROMPT, DRAW, 3))
    assert clamped.accepted > 1.05 * printed.accepted


def test_depths_beyond_the_length_are_exact() -> None:
    chain = Once(TreeDrafter(softmax_of(OTHER), [-1, 0], [True] * 2))
    request = Request(PROMPT, DRAW, max_new_tokens=3)
    rules = Annealed(1.5, length=1), Annealed(1.25, length=2, schedule="first")
    short, first = (priced_law(TARGET, request, 2, chain, rule) for rule in rules)
    assert distance(short.law, first.law) < EXACT and short.spent == pytest.approx(first.spent)


# -- a budget ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0.0, 0.02, 0.1, 0.3])
def test_no_output_spends_more_than_its_budget(budget: float) -> None:
    free = priced(Annealed(2.0, length=2), count=3)
    found = priced(Annealed(2.0, length=2, tv_budget=budget), count=3)
    departed = distance(found.law, plain_law(TARGET, PROMPT, DRAW, 3))
    assert departed <= found.spent + EXACT and found.most <= budget + EXACT < free.most
    assert found.most == pytest.approx(budget) and (departed > EXACT) == (budget > 0)


def test_a_spent_budget_is_the_lossless_rule_again() -> None:
    """The same noise gives the same text: level for level it is the same walk."""
    drafter = TreeDrafter(softmax_of(OTHER), *TREES["drawn comb with chosen leaves"])
    texts = []
    for rule in (lossless, Annealed(3.0, tv_budget=0.0), Annealed(1.0, nu=0.0)):
        engine = Engine(TARGET, drafter, rule)
        texts.append([g.tokens for g in engine.run([Request(PROMPT, DRAW, max_new_tokens=40, stream=i) for i in range(8)])])
    assert texts[0] == texts[1] == texts[2]


def test_mistakes_are_explained() -> None:
    for spec in ("delta=0", "nu=-1", "length=0", "tv_budget=-0.1", "schedule=up", "delta=nan", "delta=inf", "nu=inf"):
        with pytest.raises(SpecError):
            plugins.make("rule", f"annealed:{spec}")
    with pytest.raises(SpecError, match="knows the schedules"):
        Annealed(schedule="up")  # type: ignore[arg-type]
    assert Annealed(1.5, nu=1e4).omegas == pytest.approx([7.5, 1, 1, 1, 1])
    engine = Engine(TARGET, "none", "annealed")
    with pytest.raises(RequestError, match="nothing to relax"):
        engine.submit(Request(PROMPT))
    with pytest.raises(RequestError, match="very text"):
        engine.submit(Request(PROMPT, DRAW, reproducible=True))
    assert not engine.waiting
    assert Engine(TARGET, "none", "annealed:delta=1,nu=0").run([Request(PROMPT, max_new_tokens=2)])
