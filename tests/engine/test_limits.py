"""What the engine counts, and where it stops: stats, the context, bad requests."""

from __future__ import annotations

import pytest
import torch

from paceline import Engine, ModelError, Request, RequestError, Sampling
from paceline.core.stats import Stats, is_looping
from paceline.drafters.ngram import Ngram
from paceline.drafters.small_model import SmallModel
from paceline.testing import ToyLM, tiny_lm
from tests.laws import TreeDrafter

TOY = ToyLM(5, seed=4)
EAGER = Ngram(max_n=2, min_n=1, length=4, worth=0.0)
OTHER = SmallModel(model=ToyLM(5, seed=5), length=3, worth=0.0)
SAME = SmallModel(model=TOY, length=4, branch=2, worth=0.0)
DRAFTERS = ("none", EAGER, OTHER, SAME)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_counters_are_consistent(drafter) -> None:
    engine = Engine(TOY, drafter, slots=2)
    rows = [engine.submit(Request([i, 1], Sampling(temperature=0.5, seed=i), max_new_tokens=25)) for i in range(4)]
    rounds = {row.id: 0 for row in rows}
    while any(row.finish_reason is None for row in rows):
        for row in engine.step():
            rounds[row.id] += 1
            assert row.last.committed <= len(row.last.verdict.path) + 1
    for row in rows:
        stats: Stats = row.stats
        assert stats.rounds == rounds[row.id] and stats.new_tokens == len(row.new_tokens) == len(row.drafted) == 25
        assert stats.accepted == sum(row.drafted) == sum(stats.accepted_per_position)
        assert stats.new_tokens - stats.accepted <= stats.rounds  # a round gives one token of its own, unless cut short
        assert stats.drafted >= sum(stats.drafted_per_position) >= stats.accepted
        assert [sum(n) for n in zip(*stats.sources.values(), strict=True)] in ([], [stats.drafted, stats.accepted])
        assert stats.acceptance_length == pytest.approx(25 / stats.rounds)
        assert stats.accept_per_position == [n / stats.rounds for n in stats.accepted_per_position]
        assert stats.spent == 0.0 and not stats.failures
        assert set(stats.seconds) == {"prefill", "draft", "verify", "commit", "host"}
        assert stats.tokens_per_second == pytest.approx(25 / sum(stats.seconds.values()))
    if drafter == "none":
        assert all(r.stats.acceptance_length == 1.0 and r.stats.drafted == 0 for r in rows)


def test_generation_carries_the_stats() -> None:
    out = Engine(TOY, EAGER).run([Request([1, 2, 3], max_new_tokens=6)])[0]
    assert out.prompt_tokens == 3 and out.stats.new_tokens == 6 and out.stats.peak_memory_bytes > 1 << 20


def test_looping_text_is_flagged() -> None:
    assert is_looping(list(range(8)) * 3) and is_looping([7] * 10)
    assert not is_looping(list(range(8)) * 2) and not is_looping(list(range(100)))
    assert not is_looping([*list(range(8)) * 3, *range(100, 164)])  # long ago


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_context_ends_a_row_and_its_neighbours_go_on(family: str) -> None:
    """A row at the very end of the context beside one with a long draft, whose padding would reach beyond it."""
    changes = {"n_positions": 64} if family == "gpt2" else {"max_position_embeddings": 64}
    lm = tiny_lm(family, **changes)
    requests = [Request(list(range(5, 55)), max_new_tokens=100), Request([7, 8] * 4, max_new_tokens=30)]
    wanted = [Engine(lm, slots=1).run([r])[0].tokens for r in requests]
    assert [len(w) for w in wanted] == [14, 30]
    wrong = TreeDrafter(lambda prefix: torch.eye(lm.vocab)[200], range(-1, 5), [False] * 6)
    for drafter in (SmallModel(model=lm, length=6, worth=0.0), wrong):
        for exact in (None, False):
            out = Engine(lm, drafter, exact=exact).run(requests)
            assert [g.tokens for g in out] == wanted and out[0].finish_reason == "length"


def test_requests_no_model_could_honour() -> None:
    for values, problem in (({"prompt": []}, "empty"), ({"prompt": [1], "max_new_tokens": 0}, "max_new_tokens"),
                            ({"prompt": [1], "max_new_tokens": 2.5}, "max_new_tokens"), ({"prompt": [1], "stop": ("",)}, "stop")):
        with pytest.raises(RequestError, match=problem):
            Request(**values)
    engine = Engine(TOY)
    for request, problem in ((Request([5]), "token 5"), (Request([-1]), "token -1"), (Request([1] * 256), "context is 256"),
                             (Request([1], Sampling(logit_bias={9: 1.0})), "token 9"), (Request([1], stop=("x",)), "tokenizer")):
        with pytest.raises(RequestError, match=problem):
            engine.submit(request)
    assert not engine.waiting


def test_exact_is_refused_where_it_cannot_be_promised() -> None:
    with pytest.raises(ModelError, match="a toy"):
        Engine(TOY, exact=True)


def test_a_processor_that_keeps_state_is_decoded_without_drafts(caplog) -> None:
    class Fading:
        """Each call takes more from token 0: drafts would call it with prefixes that never happened."""

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return scores - 0.3 * self.calls * torch.eye(scores.shape[-1])[0]

    for sampling in ({}, {"temperature": 1.0, "seed": 1}, {"logprobs": 1, "raw_logprobs": False}):
        caplog.clear()
        plain, drafted = (
            Engine(TOY, d).run([Request([1, 2], Sampling(processors=(Fading(),), **sampling), max_new_tokens=20), Request([1])])
            for d in ("none", EAGER)
        )
        assert drafted[0].tokens == plain[0].tokens and drafted[0].stats.accepted == 0
        assert any("state" in f for f in drafted[0].stats.failures)
        assert sum("state" in r.message for r in caplog.records) >= 1
        assert drafted[1].stats.accepted > 0  # the row beside it drafts on
