"""Leaves beside a chain: as many as the paper's bins say, or as their learned chance is worth."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline.core.proposal import Proposal
from paceline.drafters.cape import BINS, RANKS, Cape, by_bins, told
from paceline.drafters.small_model import SmallModel
from paceline.errors import SpecError
from paceline.lm.batch import Batch
from paceline.lookup.acceptance import RankCalibration
from paceline.testing import ToyLM, tiny_lm

TOY = ToyLM(12, seed=1)
WIDE = "fixed:budget=64,together=64"


def first(drafter: Cape, lm, prompt: list[int], budget: int = 64):
    engine = paceline.Engine(lm, drafter, controller=f"fixed:budget={budget},together={budget}", exact=False)
    row = engine.submit(paceline.Request(prompt, max_new_tokens=90))
    engine.step()
    return row.last.proposal


def test_the_papers_bins() -> None:
    """Confidence below 0.3, 0.6, 0.8 and above: 8, 6, 4 and 2 candidates in all, and likelier ones first."""
    others = [(token, 0.01) for token in range(10, 20)]
    for confidence, extra in ((0.05, 7), (0.29, 7), (0.31, 5), (0.59, 5), (0.61, 3), (0.79, 3), (0.81, 1), (1.0, 1)):
        likely = [(5, confidence), *others]
        found = by_bins(Proposal.chain([5], "x"), [likely])
        assert found == [(-1, token) for token in range(10, 10 + extra)]
    assert len(BINS) == 10 and max(BINS) == RANKS - 1


@pytest.mark.parametrize("kind", ["toy", "fused"])
def test_every_place_of_the_chain_has_leaves_from_the_same_law(kind: str) -> None:
    lm = TOY if kind == "toy" else tiny_lm()
    proposal = first(Cape(SmallModel(model=lm, length=4, worth=0.0), "paper"), lm, [1, 2])
    chain, n = list(proposal.tokens[:4]), len(proposal)
    assert list(proposal.parents[:4]) == [-1, 0, 1, 2] and set(proposal.parents[4:]) == {-1, 0, 1, 2}
    kv = lm.cache()
    slot = kv.take()
    logits = lm.forward(Batch.of([slot], [[1, 2, *chain]]), kv)[1:5].float()
    for place, law in enumerate(logits.softmax(-1)):
        leaves = [proposal.tokens[i] for i in range(4, n) if proposal.parents[i] == place - 1]
        count = BINS[min(9, int(10 * float(law.max())))]
        wanted = law.topk(count + 1).indices.tolist()
        assert wanted[0] == chain[place] and leaves == wanted[1:]
    assert not any(proposal.drawn[4:]) and set(proposal.source) == {"small_model", "cape"}


def test_the_budget_cuts_leaves_and_never_the_chain() -> None:
    for budget in (2, 4, 6):
        proposal = first(Cape(SmallModel(model=TOY, length=4, worth=0.0), "paper"), TOY, [1, 2], budget)
        assert len(proposal) == budget and list(proposal.parents[: min(4, budget)]) == list(range(-1, min(4, budget) - 1))


def test_a_tree_accepts_at_least_what_its_chain_does() -> None:
    """Property 9: from any state, the comb holds the chain."""
    lm, small = ToyLM(12, seed=3), ToyLM(12, seed=4, sharpness=0.7)
    inner = SmallModel(model=small, length=4, worth=0.0)
    found = [paceline.generate(lm, [[i, 2 + i] for i in range(6)], drafter=drafter, controller=WIDE, max_new_tokens=60, eos=())
             for drafter in (inner, Cape(inner, "paper"))]
    assert [g.tokens for g in found[0]] == [g.tokens for g in found[1]]
    chain, comb = (sum(g.stats.rounds for g in out) for out in found)
    assert comb < 0.8 * chain


def test_auto_takes_what_pays_and_learns_it() -> None:
    lm = ToyLM(12, seed=3)
    engine = paceline.Engine(lm, Cape(SmallModel(model=ToyLM(12, seed=4), length=3, worth=0.0), bins="auto"), controller=WIDE)
    drafter = engine.drafters[0]
    before = [row[:] for row in drafter.calibration.hits]
    out = engine.run([paceline.Request([1, 2], max_new_tokens=80)])[0]
    assert out.tokens == paceline.generate(lm, [[1, 2]], drafter="none", max_new_tokens=80, eos=())[0].tokens
    assert drafter.calibration.hits != before
    likely = [[(token, 0.3 / (1 + token)) for token in range(8)]] * 3
    chain = Proposal.chain([0, 0, 0], "x")
    counts = [len(drafter._worthwhile(chain, likely, lambda nodes, cost=cost: cost)) for cost in (0.0, 0.1, 0.5, 1.0)]
    assert counts[0] == 21 and counts == sorted(counts, reverse=True) and counts[-1] == 0


def test_ranks_are_counted_by_confidence() -> None:
    calibration = RankCalibration(4)
    start = calibration.of(0.5)
    assert abs(sum(start) - 1) < 0.1 and start == sorted(start, reverse=True)
    for _ in range(300):
        calibration.learn(0.55, 2)
        calibration.learn(0.95, None)
    assert calibration.of(0.5)[2] > 0.7 and max(calibration.of(0.95)) < 0.3
    assert calibration.of(0.15) == RankCalibration(4).of(0.15)


def test_what_was_told_is_preferred_to_a_law() -> None:
    law = torch.tensor([0.1, 0.7, 0.2])
    assert told(Proposal([1], [-1], [False], ["x"], {-1: law}), -1)[0][0] == 1
    assert told(Proposal([1], [-1], [False], ["x"], {-1: law}, {-1: [(2, 0.4)]}), -1) == [(2, 0.4)]
    assert told(Proposal.chain([1], "x"), -1) == []


def test_it_says_what_it_can_wrap() -> None:
    with pytest.raises(SpecError, match="tells how sure it is"):
        Cape("ngram").attach(TOY)
    for more in ({"beam": 2}, {"branch": 2}):
        with pytest.raises(SpecError, match="drafts a tree already"):
            Cape(SmallModel(model=TOY, **more)).attach(TOY)
    with pytest.raises(SpecError, match="bins must be one of auto, paper"):
        paceline.plugins.make("drafter", "cape:bins=all")


def test_a_leaf_that_was_hit_tells_the_chain_that_its_own_token_was_refused() -> None:
    engine = paceline.Engine(ToyLM(12, seed=3), Cape(SmallModel(model=ToyLM(12, seed=4), length=3), "paper"), controller=WIDE)
    inner = engine.drafters[0].inner
    learned: list[tuple[int, int]] = []
    row = engine.submit(paceline.Request([1, 2], max_new_tokens=60))
    while row.finish_reason is None:
        engine.step()
        memory = inner._rows.get(row.id)
        if memory is None or not memory.shares:
            continue
        memory.calibration.learn = lambda shares, taken: learned.append((len(shares), taken))
        chain = len(memory.shares)
        hit = [node for node in row.last.verdict.path if node >= chain]
        on_chain = len(row.last.verdict.path) - len(hit)
        before = len(learned)
        if row.finish_reason is None:
            engine.step()
            assert learned[before:] in ([], [(chain, on_chain)])
    assert any(taken < count for count, taken in learned)


def test_a_sampled_text_is_the_same_again_with_what_was_learned_since() -> None:
    lm = ToyLM(12, seed=3)
    engine = paceline.Engine(lm, Cape(SmallModel(model=ToyLM(12, seed=4), length=3), bins="auto"), controller=WIDE)
    asked = paceline.Request([1, 2], paceline.Sampling(temperature=1.0, seed=5), max_new_tokens=60)
    first = engine.run([asked])[0].tokens
    engine.run([paceline.Request([i, 2], max_new_tokens=60) for i in range(6)])
    assert engine.run([asked])[0].tokens == first
