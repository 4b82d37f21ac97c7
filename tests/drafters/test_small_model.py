"""A small model's chains and combs, its own cache, and the check of its vocabulary."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import paceline
from paceline import Engine, ModelError, Request, Sampling
from paceline.core.proposal import Verdict
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from paceline.testing import ToyLM, tiny_lm, tiny_model, toy_tokenizer
from tests.tiny import nearly

TOY = ToyLM(6, seed=3)
GREEDY = Sampling()


def first_proposal(drafter: SmallModel, lm, prompt: list[int], sampling: Sampling = GREEDY, budget: int = 16):
    engine = Engine(lm, drafter, controller=f"fixed:budget={budget}")
    row = engine.submit(Request(prompt, sampling, max_new_tokens=40))
    engine.step()
    return row.last.proposal


def greedy(lm: ToyLM, prompt: list[int], n: int) -> list[int]:
    text = list(prompt)
    for _ in range(n):
        text.append(int(lm.logits(text).argmax()))
    return text[len(prompt) :]


def test_a_greedy_chain_is_its_own_greedy_text() -> None:
    proposal = first_proposal(SmallModel(model=TOY, length=5, worth=0.0), ToyLM(6, seed=9), [1, 2])
    assert list(proposal.tokens) == greedy(TOY, [1, 2], 5) and proposal.is_chain and proposal.all_chosen


def test_length_and_budget_limit_the_chain() -> None:
    assert len(first_proposal(SmallModel(model=TOY, length=9, worth=0.0), TOY, [1], budget=4)) == 4
    assert len(first_proposal(SmallModel(model=TOY, length=3, worth=0.0), TOY, [1], budget=4)) == 3


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9, seed=1)])
def test_the_chain_ends_where_it_is_no_longer_worth_it(sampling: Sampling) -> None:
    drafters = [SmallModel(model=TOY, length=8, worth=worth) for worth in (0.0, 0.1, 0.5, 0.99)]
    lengths = [len(first_proposal(drafter, TOY, [1, 2], sampling)) for drafter in drafters]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] == 8 and lengths[-1] <= 1


def test_drawn_chains_store_the_law_they_were_drawn_from() -> None:
    sampling = Sampling(temperature=0.7, top_k=3, seed=4)
    proposal = first_proposal(SmallModel(model=TOY, length=3, worth=0.0), ToyLM(6, seed=9), [1, 2], sampling)
    assert all(proposal.drawn)
    text = [1, 2]
    for i, token in enumerate(proposal.tokens):
        law = TOY.logits(text) / 0.7
        law = law.masked_fill(law < law.topk(3).values[-1], -torch.inf).softmax(-1)
        torch.testing.assert_close(proposal.distributions[i - 1], law)
        text.append(token)


def test_a_comb_adds_the_next_best_beside_each_node() -> None:
    proposal = first_proposal(SmallModel(model=TOY, length=2, branch=3, worth=0.0), ToyLM(6, seed=9), [1, 2])
    first, second = greedy(TOY, [1, 2], 2)
    best = [TOY.logits([1, 2]).topk(3).indices.tolist(), TOY.logits([2, first]).topk(3).indices.tolist()]
    assert list(proposal.tokens) == [first, second, *best[0][1:], *best[1][1:]]
    assert list(proposal.parents) == [-1, 0, -1, -1, 0, 0]


def test_a_beam_drafts_the_likeliest_paths() -> None:
    """On a table of six tokens a beam of 40 forgets no path, so the tree is the likeliest of all nodes."""
    proposal = first_proposal(SmallModel(model=TOY, length=2, beam=40), ToyLM(6, seed=9), [1, 2], budget=9)
    values = {}
    first = TOY.logits([1, 2]).log_softmax(-1)
    for a in range(6):
        values[(a,)] = float(first[a])
        values |= {(a, b): float(first[a] + TOY.logits([2, a]).log_softmax(-1)[b]) for b in range(6)}
    found = {tuple(proposal.tokens[i] for i in proposal.path(node)) for node in range(len(proposal))}
    assert found == set(sorted(values, key=lambda path: -values[path])[:9]) and proposal.all_chosen


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, top_k=3, repetition_penalty=1.3, seed=5)])
@pytest.mark.parametrize("forward", ["auto", "stock"])
def test_trees_of_two_rows_leave_the_text_as_it_is(forward: str, sampling: Sampling) -> None:
    lm = tiny_lm(forward=forward)
    drafter = SmallModel(model=nearly(lm), length=3, beam=3)
    settings_ = {"sampling": sampling, "max_new_tokens": 24, "exact": False if forward == "stock" else None}
    out = paceline.generate(lm, [[5, 6, 7], [9] * 20], drafter=drafter, **settings_)
    plain = paceline.generate(lm, [[5, 6, 7], [9] * 20], **settings_)
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    assert all(g.stats.accepted > 0 and not g.stats.failures for g in out)
    assert max(g.stats.drafted / g.stats.rounds for g in out) > 3


def test_a_comb_and_a_tree_exclude_each_other() -> None:
    with pytest.raises(paceline.SpecError, match="not both"):
        SmallModel(model=TOY, branch=2, beam=2)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_its_memory_follows_any_commits(data) -> None:
    """Accepted or not, idle for rounds or not, two rows or one: the next chain is the one a fresh drafter would make."""
    fast = SmallModel(model=TOY, length=4, worth=0.0).attach(TOY)
    engine = Engine(TOY, "none")
    rows = [engine.submit(Request([1, 2], max_new_tokens=60)), engine.submit(Request([3] * 25, max_new_tokens=60))]
    for _ in range(data.draw(st.integers(1, 6))):
        asked = data.draw(st.sampled_from([rows, rows[:1], rows[1:], rows[::-1]]))
        fresh = SmallModel(model=TOY, length=4, worth=0.0).attach(TOY)
        ours = fast.propose(asked, [4] * len(asked))
        assert [list(p.tokens) for p in ours] == [list(p.tokens) for p in fresh.propose(asked, [4] * len(asked))]
        for row, proposal in zip(asked, ours, strict=True):
            n = data.draw(st.integers(0, len(proposal)))
            row.tokens += [*proposal.tokens[:n], *data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=2))]
    if data.draw(st.booleans()):
        fast.forget(rows[0])
        assert len(fast.kv.active) == len(fast._rows)
        assert list(fast.propose(rows, [4, 4])[0].tokens) == greedy(TOY, rows[0].tokens, 4)


def test_its_slots_are_freed_with_the_rows(lm: LM) -> None:
    engine = Engine(lm, SmallModel(model=lm, length=3), slots=2)
    engine.run([Request([5 + i], max_new_tokens=6) for i in range(5)])
    assert not engine.drafters[0].kv.active and not engine.drafters[0]._rows


def test_a_draft_with_a_shorter_context_stops_drafting() -> None:
    small = tiny_lm(seed=0, max_position_embeddings=24)
    target = tiny_lm(seed=0)
    out = paceline.generate(target, [5, 6, 7], drafter=SmallModel(model=small, length=4, worth=0.0), max_new_tokens=60)[0]
    assert out.tokens == paceline.generate(target, [5, 6, 7], drafter="none", max_new_tokens=60)[0].tokens
    assert out.stats.accepted > 0 and not out.stats.failures


def test_another_vocabulary_is_refused_and_what_differs_is_said(lm: LM) -> None:
    with pytest.raises(ModelError, match="128 ids against the target's 259"):
        SmallModel(model=tiny_model(vocab=128)).attach(lm)
    with pytest.raises(ModelError, match=r"'<\|new\|>' is id 259 there and missing here"):
        SmallModel(model=extended("<|new|>")).attach(extended("<|old|>", "<|older|>"))


def extended(*added: str) -> LM:
    """A tiny model with tokens added to its tokenizer, and rows for them."""
    words = toy_tokenizer()
    words.add_tokens(list(added))
    return paceline.load(tiny_model(vocab=259 + len(added)), tokenizer=words)


@pytest.mark.parametrize("options", [{"worth": 0.0}, {"worth": 0.0, "branch": 2}, {"beam": 2}])
def test_tokens_that_only_one_of_the_two_has_are_no_hindrance(lm: LM, options: dict) -> None:
    """They stand in the prompt, as a chat's marks do: in what is prefilled and in what is fed with the pending token."""
    more = extended("<|new|>", "<|newer|>")
    for target, small, prompt in ((more, lm, [5, 259] * 10 + [260]), (lm, more, [5, 6] * 10)):
        drafter = SmallModel(model=small, length=3, **options)
        plain, out = (paceline.generate(target, [prompt], drafter=d, max_new_tokens=12, eos=())[0] for d in ("none", drafter))
        assert out.tokens == plain.tokens and out.stats.drafted > 0 and not out.stats.failures


@pytest.mark.parametrize(("ours", "theirs"), [(259, 264), (264, 259)])
def test_heads_padded_differently_draft_the_shared_ids(ours: int, theirs: int) -> None:
    """Same tokenizer, output heads rounded up to different sizes: ids beyond the target's head are never proposed."""
    target, small = (paceline.load(tiny_model(vocab=v), tokenizer=toy_tokenizer()) for v in (ours, theirs))
    drafter = SmallModel(model=small, length=3, branch=2, worth=0.0)
    for sampling in (Sampling(), Sampling(temperature=1.5, seed=1)):
        out = paceline.generate(target, [5, 6], drafter=drafter, sampling=sampling, max_new_tokens=12)[0]
        assert not out.stats.failures and out.stats.drafted > 0


def test_verdicts_other_than_ours_are_survived() -> None:
    """A rule may accept anything: the memory looks at what was committed, not at what it hoped for."""

    def never(scores, proposal, row) -> Verdict:
        return Verdict([], scores.best(-1))

    out = Engine(TOY, SmallModel(model=TOY, length=3, worth=0.0), rule=never).run([Request([1, 2], max_new_tokens=12)])[0]
    assert out.tokens == greedy(TOY, [1, 2], 12) and out.stats.accepted == 0
