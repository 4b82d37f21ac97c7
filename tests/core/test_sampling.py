"""Laws against transformers' own processors, values no model could honour, and the keyed dice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import LogitsProcessorList
from transformers.generation import logits_process as hf

from paceline import RequestError, Sampling
from paceline.core.sampling import Dice, is_stateful, law_of, nucleus, shaped

ALARM = 1e-6  # chance of each statistical test failing although nothing is wrong
V = 40
THEIRS = [
    ({"temperature": 0.6}, [hf.TemperatureLogitsWarper(0.6)]),
    ({"top_k": 5}, [hf.TopKLogitsWarper(5)]),
    ({"top_p": 0.7}, [hf.TopPLogitsWarper(0.7)]),
    ({"top_p": 1e-6}, [hf.TopPLogitsWarper(1e-6)]),
    ({"min_p": 0.2}, [hf.MinPLogitsWarper(0.2)]),
    ({"repetition_penalty": 1.4}, [hf.RepetitionPenaltyLogitsProcessor(1.4)]),
    ({"logit_bias": {3: 2.0, 4: -math.inf}}, [hf.SequenceBiasLogitsProcessor({(3,): 2.0, (4,): -math.inf})]),
    ({"repetition_penalty": 0.8, "temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
     [hf.RepetitionPenaltyLogitsProcessor(0.8), hf.TemperatureLogitsWarper(1.3), hf.TopKLogitsWarper(20),
      hf.TopPLogitsWarper(0.9), hf.MinPLogitsWarper(0.05)]),
    ({"processors": (hf.NoRepeatNGramLogitsProcessor(2),)}, [hf.NoRepeatNGramLogitsProcessor(2)]),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), THEIRS, ids=lambda x: "+".join(x) if isinstance(x, dict) else "")
def test_laws_equal_transformers(ours: dict, theirs: list) -> None:
    prefix = [1, 2, 3, 2, 5, 2]
    for seed in range(20):
        logits = 3 * torch.randn(V, generator=torch.Generator().manual_seed(seed))
        sampling = Sampling(**{"temperature": 1.0, **ours})
        law = law_of(shaped(logits, sampling, prefix, 2), sampling)
        expected = LogitsProcessorList(theirs)(torch.tensor([prefix]), logits[None].clone())[0].softmax(-1)
        torch.testing.assert_close(law, expected, atol=1e-6, rtol=1e-5)


def test_presence_and_frequency_count_the_output_only() -> None:
    logits = torch.zeros(6, dtype=torch.float64)
    sampling = Sampling(presence_penalty=1.0, frequency_penalty=0.25)
    assert shaped(logits, sampling, [1, 1, 2, 3, 3, 2], 3).tolist() == [0, 0, -1.25, -1.5, 0, 0]
    assert shaped(logits, sampling, [1, 1, 2], 3).tolist() == [0] * 6


def test_shaping_leaves_the_logits_alone_and_works_in_fp32_at_least() -> None:
    logits = torch.randn(V).bfloat16()
    before = logits.clone()
    out = shaped(logits, Sampling(repetition_penalty=2.0, logit_bias={1: 5.0}), [1, 2], 1)
    assert torch.equal(logits, before) and out.dtype is torch.float32
    assert shaped(torch.randn(V).double(), Sampling(), [], 0).dtype is torch.float64


def test_greedy_is_the_first_maximum() -> None:
    assert law_of(torch.tensor([0.0, 2.0, 2.0]), Sampling()).tolist() == [0, 1, 0]


ABSURD = [
    ("temperature", -0.1), ("temperature", math.nan), ("temperature", math.inf), ("temperature", "hot"), ("temperature", None),
    ("top_k", -1), ("top_k", 2.5), ("top_k", True), ("top_p", 0.0), ("top_p", 1.01), ("top_p", None), ("min_p", -0.1),
    ("min_p", 1.1),
    ("repetition_penalty", 0.0), ("repetition_penalty", -1.0), ("presence_penalty", math.inf), ("frequency_penalty", 1e9),
    ("logprobs", -1), ("logprobs", 1.5), ("seed", 1.5), ("seed", "x"), ("logit_bias", {3: math.nan}), ("logit_bias", {"a": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ABSURD)
def test_absurd_values_are_refused_by_name(name: str, value) -> None:
    with pytest.raises(RequestError, match=name):
        Sampling(**{name: value}).check(V)


def test_a_bias_outside_the_vocabulary_is_refused() -> None:
    Sampling(logit_bias={V - 1: 1.0}).check(V)
    for token in (V, -1):
        with pytest.raises(RequestError, match=f"token {token}"):
            Sampling(logit_bias={token: 1.0}).check(V)


def test_a_processor_with_state_is_found_without_disturbing_it() -> None:
    class Counting:
        calls = 0

        def __call__(self, ids, scores):
            self.calls += 1
            return scores + self.calls * torch.arange(scores.shape[-1])

    counting = Counting()
    assert is_stateful([counting], torch.zeros(V), [1, 2]) and counting.calls == 0
    assert not is_stateful([hf.NoRepeatNGramLogitsProcessor(2), hf.MinLengthLogitsProcessor(5, 1)], torch.zeros(V), [1, 2])


def uniforms(n: int = 20_000) -> list[float]:
    """Keys as decoding asks for them: neighbouring positions, siblings and kinds."""
    dice = Dice(5)
    return [dice.uniform((kind, position, sibling)) for position in range(n // 8) for kind in (0, 1) for sibling in (-1, 0, 1, 2)]


def test_numbers_are_uniform() -> None:
    values = uniforms()
    assert all(0 <= v < 1 for v in values)
    assert stats.kstest(values, "uniform").pvalue > ALARM


@pytest.mark.parametrize("lag", [1, 2, 4, 8, 16])
def test_neighbouring_keys_are_independent(lag: int) -> None:
    """Pairs of neighbouring siblings, kinds and positions fill an 8 x 8 square evenly."""
    cells = [int(8 * v) for v in uniforms()]
    pairs = torch.zeros(8, 8)
    for a, b in zip(cells, cells[lag:], strict=False):
        pairs[a, b] += 1
    assert stats.chisquare(pairs.flatten().numpy()).pvalue > ALARM


@pytest.mark.parametrize("vary", ["seed", "stream"])
def test_neighbouring_seeds_and_streams_are_independent(vary: str) -> None:
    at = [Dice(i).uniform((0, 7, -1)) if vary == "seed" else Dice(3, i).uniform((0, 7, -1)) for i in range(4000)]
    assert stats.kstest(at, "uniform").pvalue > ALARM
    assert abs(stats.pearsonr(at[:-1], at[1:]).statistic) < 0.08  # five standard deviations


def test_draws_have_the_law_s_frequencies() -> None:
    law, dice, n = torch.tensor([0.5, 0.0, 0.3, 0.2]), Dice(1), 20_000
    counts = torch.bincount(torch.tensor([dice.draw(law, (0, i, -1)) for i in range(n)]), minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]].numpy(), n * law[[0, 2, 3]].double().numpy()).pvalue > ALARM
    assert abs(sum(dice.flip(0.3, (0, i, 0)) for i in range(n)) / n - 0.3) < 5 * math.sqrt(0.21 / n)


def test_certain_outcomes_are_certain() -> None:
    dice = Dice(0)
    for i in range(2000):
        assert dice.flip(1.0, (i,)) and not dice.flip(0.0, (i,))
        assert dice.draw(torch.tensor([0.0, 1.0, 0.0]), (i,)) == 1
        assert dice.draw(torch.tensor([0.0, 3.0, 3.0, 0.0]), (i,)) in (1, 2)  # laws need not add up to one


def test_noise_is_a_pure_function_of_seed_stream_and_key() -> None:
    keys = list(itertools.product((0, 1), (3, 4), (-1, 0)))
    assert [Dice(9, 2).uniform(k) for k in keys] == [Dice(9, 2).uniform(k) for k in reversed(keys)][::-1]
    every = {Dice(seed, stream).uniform(k) for seed in (-1, 0, 2**64 - 2, 2**63) for stream in (0, 1) for k in keys}
    assert len(every) == 4 * 2 * len(keys)
    assert Dice(None).uniform((0,)) != Dice(None).uniform((0,))


def sorted_whole(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """The nucleus by its definition: a stable sort of all, and the tokens before which less than `top_p` stands."""
    ordered, order = scores.sort(descending=True, stable=True)
    before = ordered.softmax(-1).cumsum(-1).roll(1)
    before[0] = 0.0
    return scores.masked_fill(torch.zeros_like(scores, dtype=torch.bool).scatter(0, order, before >= top_p), -math.inf)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 2000), st.integers(0, 10**6), st.floats(0.001, 0.999), st.sampled_from([0.05, 0.5, 3.0, 20.0]),
       st.sampled_from([None, 2.0, 16.0]), st.booleans())
def test_the_nucleus_is_that_of_a_whole_stable_sort(vocab: int, seed: int, top_p: float, spread: float, grid: float | None,
                                                    forbidding: bool) -> None:
    """Ties included: on a grid many scores are equal, and some tokens may be forbidden."""
    scores = spread * torch.randn(vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores = scores if grid is None else (scores * grid).round() / grid
    if forbidding:
        scores[1::3] = -math.inf
    assert torch.equal(nucleus(scores, top_p), sorted_whole(scores, top_p))


class Uncopied:
    """Counts its calls and cannot be copied."""

    calls = 0

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return scores

    def __deepcopy__(self, memo: dict) -> None:
        raise TypeError("cannot be copied")


def test_a_processor_that_cannot_be_copied_is_not_asked() -> None:
    uncopied, seen = Uncopied(), list[int]()

    def closes_over(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        return scores + len(seen)

    assert is_stateful([uncopied], torch.zeros(V), [1, 2]) and uncopied.calls == 0
    assert is_stateful([closes_over], torch.zeros(V), [1, 2]) and not seen


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    sampling = Sampling(top_k=np.int64(3), seed=np.int64(-5), temperature=np.float32(0.5), logprobs=np.int32(1))
    assert (sampling.top_k, sampling.seed, sampling.logprobs) == (3, -5, 1) and type(sampling.seed) is int
