"""The target on few of its own keys: nothing of the text changes, whatever the keys; the copy is exact; all keys are all
accepted.
"""

from __future__ import annotations

import math

import pytest
import torch

import paceline
from paceline import plugins
from paceline.core import request as request_module
from paceline.core.request import Request
from paceline.core.sampling import Sampling
from paceline.drafters import sparse_self
from paceline.drafters.sparse_self import SparseSelf
from paceline.engine import Engine
from paceline.errors import RequestError, SpecError
from paceline.testing import ToyLM, tiny_lm
from tests.laws import TIGHT, distance, engine_law, plain_law
from tests.models.draft_head.test_head import ids

PROMPTS = [ids(90, 1), ids(30, 2), [7], ids(140, 3)]


def decoded(lm, drafter, **options):
    return paceline.generate(lm, PROMPTS, drafter=drafter, max_new_tokens=30, eos=(), **options)


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
@pytest.mark.parametrize("keys", [0, 1, 11, 10_000])
@pytest.mark.parametrize("selector", plugins.names("selector"))
def test_greedy_text_is_plain_decodings(forward: str, keys: int, selector: str) -> None:
    lm = tiny_lm(forward=forward)
    out = decoded(lm, SparseSelf(keys=keys, length=4, selector=selector, worth=0.0), slots=3)
    assert [g.tokens for g in out] == [g.tokens for g in decoded(lm, "none")]
    assert not any(g.stats.failures for g in out) and all(g.stats.drafted for g in out)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3_text", "gpt2"])
def test_with_all_keys_every_draft_is_accepted(family: str) -> None:
    lm = tiny_lm(family)
    for out in decoded(lm, SparseSelf(keys=10_000, length=4, worth=0.0)):
        assert out.stats.drafted == out.stats.accepted
        late = out.prompt_tokens == 1  # nothing was asked before its first round
        assert out.stats.rounds == math.ceil((30 - late) / 5) + late


@pytest.mark.parametrize("heads", [True, False])
@torch.inference_mode()
def test_the_copy_is_exact_and_in_order(heads: bool) -> None:
    lm = tiny_lm()
    engine = Engine(lm, SparseSelf(keys=9, length=3, heads=heads, worth=0.0), slots=2)
    rows = [engine.submit(Request(ids(80, 5), max_new_tokens=40, keep=[(0, 4), (60, 70)])),
            engine.submit(Request(ids(50, 6), max_new_tokens=40))]
    drafter = engine.drafters[0]
    for _ in range(6):
        engine.step()
        for row in rows:
            copy = drafter._memory(row, row).slot
            chosen = drafter.borrowed._rows[row.id]
            assert copy.length == row.slot.length == len(row.tokens) - 1
            for layer in engine.kv.patterns:
                held = copy.kv.read(layer, copy, copy.kv.start(layer, copy), copy.length)
                whole = engine.kv.read(layer, row.slot, 0, row.slot.length)
                for head in range(whole.shape[1]):
                    where = [positions(whole[0, head], key) for key in held[0, head]]
                    assert where == sorted(where) and where[-len(row.tokens) + row.prompt_len :] == list(
                        range(row.prompt_len - 1, len(row.tokens) - 1))
                    assert {i for i in row.request.kept if i < chosen.base} <= set(where)
                    assert torch.equal(held[1, head], whole[1, head, where])


def positions(keys: torch.Tensor, key: torch.Tensor) -> int:
    """Where this very key stands."""
    [[found]] = (keys == key).all(-1).nonzero().tolist()
    return found


@torch.inference_mode()
def test_the_copy_takes_little_memory_and_leaves_with_its_row() -> None:
    lm = tiny_lm()
    engine = Engine(lm, SparseSelf(keys=16, length=3, worth=0.0))
    row = engine.submit(Request(ids(900), max_new_tokens=12, keep=[(890, 900)]))
    while not row.new_tokens:  # its prompt is read in chunks
        engine.step()
    drafter = engine.drafters[0]
    copy = drafter._memory(row, row).slot
    assert 16 + 10 <= copy.length - copy.kv.start(0, copy) <= 16 + 10 + 8 and copy.bytes < row.slot.bytes
    while row.finish_reason is None:
        engine.step()
    assert not drafter.borrowed._rows and not drafter.kv.active


def test_under_sampling_the_law_is_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy target that looks at two tokens; its copy lacks most of the prompt, so its drafts' law is another."""
    monkeypatch.setattr(request_module, "RECENT", 1)
    lm = ToyLM(3, seed=1)
    for keys, drawn in ((0, True), (2, True), (0, False)):
        sampling = Sampling(temperature=0.9)
        drafter = SparseSelf(keys=keys, length=2, drawn=drawn, worth=0.0)
        assert distance(engine_law(lm, [1, 0, 1, 2], sampling, 3, drafter), plain_law(lm, [1, 0, 1, 2], sampling, 3)) < TIGHT
    [out] = paceline.generate(lm, [[1, 0, 1, 2]], drafter=drafter, max_new_tokens=64, sampling=Sampling(temperature=0.9, seed=1))
    assert 0 < out.stats.accepted < out.stats.drafted


def test_it_is_off_where_the_copy_would_be_most_of_the_text() -> None:
    lm = tiny_lm()
    for sampling in (Sampling(), Sampling(temperature=1.0, seed=1)):
        for out in paceline.generate(lm, PROMPTS, drafter=SparseSelf(keys=512), max_new_tokens=8, sampling=sampling):
            assert out.stats.drafted == 0 and not out.stats.failures


def test_it_drafts_where_the_measured_price_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    for seconds, drafts in (({1: 1.0, 5: 1.2}, True), ({1: 1.0, 5: 3.0}, False)):
        # The copy's slot is shorter: a step on it costs a fifth.
        monkeypatch.setattr(sparse_self, "behind", lambda lm, slots, n, s=seconds: s[n] if slots[0].length > 300 else 0.2)
        [out] = paceline.generate(lm, [ids(600)], drafter=SparseSelf(keys=64), max_new_tokens=8, eos=())
        assert bool(out.stats.drafted) is drafts


def test_a_seed_gives_the_same_text_whatever_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, texts = tiny_lm(), []
    for cost in (0.01, 10.0):
        monkeypatch.setattr(sparse_self, "behind", lambda lm, slots, n, c=cost: c)
        [out] = paceline.generate(lm, [ids(600)], drafter=SparseSelf(keys=16), max_new_tokens=20, eos=(),
                                  sampling=Sampling(temperature=1.0, seed=3))
        texts.append(out.tokens)
    assert texts[0] == texts[1]


def test_keys_are_chosen_anew_where_acceptance_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversarial scores at first; then what the verifying forwards ask decides."""
    lm = tiny_lm()
    asked = []
    plain = plugins.make("selector", "topk")

    def selector(trace, layer, keys):
        asked.append(trace.positions)
        return plain(trace, layer, keys)

    out = {}
    for refresh in (0.0, 1.0):
        asked.clear()
        drafter = SparseSelf(keys=8, length=4, selector=selector, refresh=refresh, worth=0.0)
        [got] = paceline.generate(lm, [ids(200)], drafter=drafter, max_new_tokens=60, eos=())
        out[refresh] = got.tokens
        again = [p for p in asked if p[0] >= 199]
        assert bool(again) is (refresh == 1.0)
    assert out[0.0] == out[1.0]


@pytest.mark.parametrize("bad", [{"keys": -1}, {"refresh": 2.0}, {"length": 0}])
def test_options_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(SpecError, match="sparse_self needs"):
        SparseSelf(**bad)


@pytest.mark.parametrize("span", [(3, 3), (-1, 2), (0, 99), (1, 2, 3)])
def test_spans_outside_the_prompt_are_refused(span: tuple) -> None:
    with pytest.raises(RequestError, match="spans"):
        Request([1, 2, 3, 4], keep=[span])
