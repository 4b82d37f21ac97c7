"""Layers are chosen by how lazy they are, one at a time as well as all together; what is chosen is what a row then decodes by."""

from __future__ import annotations

import functools
import random

import pytest
import torch

import paceline
from paceline import plugins
from paceline.core.trace import Trace
from paceline.drafters.ngram import Ngram
from paceline.drafters.sparse_self import SparseSelf
from paceline.engine import Engine
from paceline.errors import SpecError
from paceline.lm import LM
from paceline.lm.batch import Batch
from paceline.lm.capture import lazy_ratio
from paceline.lm.forwards.fused import compiler
from paceline.lm.kv import KV, MARGIN
from paceline.lm.lm import CHUNK
from paceline.patterns.sliding import Sliding
from paceline.selectors import choosing_layers
from paceline.selectors.lighttransfer import LightTransfer, queued
from paceline.testing import tiny_lm
from tests.models.draft_head.test_head import ids

LAYERS, SINKS, RECENT = 4, 3, 20
BYTES = 2 * 2 * 16 * 4  # of a token's keys and values in one layer: two heads of 16 numbers
PROMPTS = [ids(220, 1), ids(180, 2), ids(30, 3), [7]]
FORWARDS = ["lean", "stock", *(["fused"] if compiler.library()[0] is not None else [])]


@functools.lru_cache
def model(forward: str) -> LM:
    return tiny_lm(forward=forward, num_hidden_layers=LAYERS)


def chosen(keep: float = 0.5, **options) -> LightTransfer:
    return LightTransfer(keep=keep, sinks=SINKS, recent=RECENT, last=8, **options)


def decoded(lm: LM, prompts: list[list[int]], selector: LightTransfer | None, drafter="none", new: int = 24, **options):
    return paceline.generate(lm, prompts, drafter=drafter, selector=selector, max_new_tokens=new, eos=(), **options)


def read(lm: LM, tokens: list[int]):
    """A slot that holds them, and what was asked at the last eight."""
    kv = lm.cache()
    slot = kv.take()
    return slot, lm.prefill(kv, slot, tokens, range(len(tokens) - 8, len(tokens)))


def test_a_queue_leaves_what_sorting_leaves() -> None:
    random.seed(0)
    for count in range(9):
        ratios = [(layer, random.choice((0.1, 0.5, 0.5, random.random()))) for layer in range(count)]
        ranked = [layer for layer, ratio in sorted(ratios, key=lambda one: (-one[1], one[0]))]
        for full in range(count + 1):
            held, cut = 0, list[int]()
            online = queued(((held := held + 1) and one for one in ratios), full)
            for layer in online:
                cut.append(layer)
                assert held - len(cut) == full  # when a layer is cut, one more than are kept was read in full
            assert sorted(cut) == sorted(ranked[: count - full])


@torch.inference_mode()
def test_the_laziest_are_cut_and_controls_cut_others() -> None:
    slot, trace = read(model("lean"), PROMPTS[0])
    keys = [slot.kv.read(layer, slot, 0, slot.length)[0] for layer in range(LAYERS)]
    ratios = [lazy_ratio(q, k, trace.positions, SINKS, RECENT) for q, k in zip(trace.queries, keys, strict=True)]
    ranked = sorted(range(LAYERS), key=lambda layer: -ratios[layer])

    def cut(**options) -> set[int]:
        plan = chosen(**options).select(trace, slot, since=9)
        assert set(plan.values()) <= {Sliding(RECENT, SINKS, 9)}
        return set(plan)

    assert cut() == set(ranked[:2]) and cut(keep=1.0) == set() and cut(keep=0.0) == set(range(LAYERS))
    assert cut(by="reversed") == set(ranked[2:])
    assert cut(by="ends") == {0, 3} and cut(by="uniform") != cut(by="ends")
    assert cut(by="random") == cut(by="random") and len({frozenset(cut(by="random", seed=s)) for s in range(6)}) > 1
    assert cut(threshold=ratios[ranked[2]] - 1e-6) == set(ranked[:3])
    assert cut(budget=2 - ratios[ranked[0]] - ratios[ranked[1]] + 1e-6) == set(ranked[:2])
    assert cut(layers=(1, 3)) == {1, 3}


@torch.inference_mode()
def test_a_short_text_tells_no_layers_apart() -> None:
    slot, trace = read(model("lean"), ids(SINKS + RECENT, 5))
    assert chosen(0.0).select(trace, slot) == {} and list(chosen(layers=(2,)).select(trace, slot)) == [2]


@torch.inference_mode()
def test_reading_in_chunks_gives_the_same_plan() -> None:
    lm, tokens = model("lean"), ids(290, 6)
    slot, trace = read(lm, tokens)
    kv, once = lm.cache(), Trace()
    whole, queries = kv.take(), list[torch.Tensor]()
    lm.forward(Batch.of([whole], [tokens], at=(), queries=queries), kv)
    kv.keep([whole], [range(len(tokens))])
    once.add([q[0][:, -8:] for q in queries], range(282, 290))
    assert chosen().select(once, whole) == chosen().select(trace, slot)


@pytest.mark.parametrize("forward", FORWARDS)
def test_rows_with_different_layers_cut_are_as_alone_with_any_drafter(forward: str) -> None:
    lm = model(forward)
    alone = [decoded(lm, [prompt], chosen())[0] for prompt in PROMPTS]
    assert len({tuple(g.stats.cut_layers) for g in alone}) > 1 and alone[0].stats.saved_bytes > 0
    drafters = ["none", SparseSelf(selector=chosen(0.34), length=4, worth=0.0)]
    if forward == "fused":
        drafters += [Ngram(min_n=1, worth=0.0), SparseSelf(keys=40, length=4, worth=0.0)]
    for drafter in drafters:
        out = decoded(lm, PROMPTS, chosen(), drafter, slots=3)
        assert [g.tokens for g in out] == [g.tokens for g in alone]
        assert [g.stats.cut_layers for g in out] == [g.stats.cut_layers for g in alone]
        assert not any(g.stats.failures for g in out)


@pytest.mark.parametrize("forward", FORWARDS)
def test_the_first_token_is_the_models_own_and_with_all_layers_every_one(forward: str) -> None:
    lm = model(forward)
    plain = decoded(lm, PROMPTS[:2], None, new=20, slots=2)
    for keep in (0.0, 1.0):
        out = decoded(lm, PROMPTS[:2], chosen(keep), new=20, slots=2)
        assert [g.tokens[0] for g in out] == [g.tokens[0] for g in plain]
        assert ([g.tokens for g in out] == [g.tokens for g in plain]) is (keep == 1.0)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("forward", FORWARDS)
@torch.inference_mode()
def test_a_cut_layer_sees_what_a_mask_would_show(forward: str, exact: bool) -> None:
    """Far behind the prompt, when keys were dropped many times, against a cache that drops nothing."""
    lm, text, at = model(forward), ids(900, 7), 300
    plan = {1: Sliding(RECENT, SINKS, at + 1), 2: Sliding(RECENT, 0, at + 1), 3: Sliding(RECENT, SINKS)}
    found = []
    for holding in (False, True):
        kv = lm.cache(exact=exact)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("paceline.lm.kv.MARGIN", 10**6 if holding else MARGIN)
            slot = kv.take()
            kv.follow(slot, {3: plan[3]})  # from the beginning
            lm.prefill(kv, slot, text[:at])
            kv.follow(slot, plan)
            logits = []
            for start in range(at, 900, 25):
                logits.append(lm.forward(Batch.of([slot], [text[start : start + 25]]), kv))
                kv.keep([slot], [range(25)])
            assert slot.length == 900 and bool(slot.saved_bytes) is not holding
        found.append(torch.cat(logits))
    torch.testing.assert_close(found[0], found[1], atol=0 if forward == "fused" else 1e-4, rtol=0 if forward == "fused" else 1e-4)


@pytest.mark.parametrize("forward", FORWARDS)
@torch.inference_mode()
def test_layers_chosen_early_hold_little_while_the_rest_is_read(forward: str) -> None:
    """What is decoded is what comes of following the plan from there on by hand; with all layers kept it is the model's own."""
    lm, prompts, new = model(forward), [ids(3 * CHUNK + 200, 10), ids(CHUNK + 90, 11), PROMPTS[1], [7]], 12
    early, held = chosen(early=CHUNK - 9), list[int]()
    engine = Engine(lm, "none")
    rows = [engine.submit(paceline.Request(prompt, max_new_tokens=new, selector=early, eos=())) for prompt in prompts]
    while rows[0].finish_reason is None:
        engine.step()
        held += [kept.bytes for pattern, kept in rows[0].slot.held.items() if pattern.anchored]
    assert [row.new_tokens for row in rows] == [g.tokens for g in decoded(lm, prompts, early, SparseSelf(selector=early), new)]
    assert max(held) <= 2 * BYTES * (2 * CHUNK + SINKS + RECENT + MARGIN + 3 * 64) < 2 * BYTES * len(prompts[0])
    for prompt, row in zip(prompts[:2], rows, strict=False):
        slot, trace = read(lm, prompt[:CHUNK])
        slot.kv.follow(slot, plan := early.select(trace, slot, since=CHUNK))
        lm.prefill(slot.kv, slot, prompt[CHUNK:-1])
        found = prompt[-1:]
        for _ in range(new):
            found.append(int(lm.forward(Batch.of([slot], [found[-1:]]), slot.kv)[0].argmax()))
            slot.kv.keep([slot], [[0]])
        assert found[1:] == row.new_tokens and row.stats.cut_layers == sorted(plan)
    assert rows[2].stats.cut_layers and not rows[3].stats.cut_layers  # a shorter prompt is told by all of it


@pytest.mark.parametrize("length", [200, 512])
@torch.inference_mode()
def test_keys_held_are_the_formulas_and_stay_as_many(length: int) -> None:
    """2 G d S numbers of a layer that is kept, 2 G d (sinks + recent) of one that is cut; a block and a margin more allocated."""
    lm, new = model("auto"), 100
    engine = Engine(lm, "none")
    row = engine.submit(paceline.Request(ids(length, 8), max_new_tokens=new, selector=chosen()))
    sizes = set[int]()
    while row.finish_reason is None:
        slot = row.slot
        engine.step()
        if len(row.new_tokens) > 5 and row.finish_reason is None:
            [held] = [held for pattern, held in slot.held.items() if pattern.anchored]
            n, (sinks, start) = slot.length, next(iter(slot.plan.values())).keep(slot.length)
            assert sinks + n + 1 - start == min(n + 1, SINKS + RECENT)  # with its own key, what a token sees
            assert n - held.dropped <= SINKS + RECENT + MARGIN + slot.kv.quantum
            assert slot.saved_bytes == held.dropped * 2 * BYTES and len(held.layers) == 2
            sizes.add(held.bytes)
    assert max(sizes) <= 2 * BYTES * (SINKS + RECENT + MARGIN + 3 * 64)


def test_the_hybrid_view_drafts_and_the_text_is_the_whole_models() -> None:
    lm = model("auto")
    plain = [g.tokens for g in decoded(lm, PROMPTS, None)]
    for keep in (0.0, 0.5, 1.0):
        out = decoded(lm, PROMPTS, None, SparseSelf(selector=chosen(keep), length=4, worth=0.0), slots=3)
        assert [g.tokens for g in out] == plain and not any(g.stats.failures for g in out)
        assert all(g.stats.accepted == g.stats.drafted for g in out) is (keep == 1.0)


def test_a_text_that_was_cut_lends_its_keys_to_nobody() -> None:
    lm = model("auto")
    engine, asked = Engine(lm, "none", max_cached=2), paceline.Request(PROMPTS[0], max_new_tokens=20, selector=chosen())
    first, again = (engine.run([asked])[0] for _ in range(2))
    [plain] = engine.run([paceline.Request(PROMPTS[0], max_new_tokens=20)])
    assert first.tokens == again.tokens and plain.stats.reused == again.stats.reused == 0
    assert plain.tokens == decoded(lm, PROMPTS[:1], None, new=20)[0].tokens


def test_both_branches_of_a_guided_row_have_plans() -> None:
    lm, options = model("auto"), {"guidance": 2.0, "negative": PROMPTS[1]}
    plain = decoded(lm, PROMPTS[:1], chosen(), new=40, **options)[0].tokens
    assert decoded(lm, PROMPTS[:1], chosen(), Ngram(min_n=1, worth=0.0), 40, **options)[0].tokens == plain
    assert decoded(lm, PROMPTS[:1], None, new=40, **options)[0].tokens != plain


@pytest.mark.parametrize("bad", ["keep=1.5", "recent=0", "threshold=0.5,budget=1", "threshold=0.5,by=ends", "by=size", "early=9"])
def test_options_that_say_nothing_are_refused(bad: str) -> None:
    with pytest.raises(SpecError, match="lighttransfer"):
        plugins.make("selector", f"lighttransfer:{bad}")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SpecError, match="scores keys"):
        choosing_layers("topk")
    with pytest.raises(SpecError, match="cannot cut layer 9"):
        decoded(model("auto"), PROMPTS[:1], chosen(layers=(1, 9)))


def test_a_cache_may_stream_from_the_beginning() -> None:
    """What all layers keep by the cache's own patterns and by a plan from the first token on is the same."""
    lm, text = model("auto"), ids(200, 9)
    pattern, found = Sliding(RECENT, SINKS), []
    for kv in (KV(patterns=dict.fromkeys(range(LAYERS), pattern)), KV()):
        slot = kv.take()
        if not kv.patterns:
            kv.follow(slot, dict.fromkeys(range(LAYERS), pattern))
        lm.prefill(kv, slot, text)
        found.append(lm.forward(Batch.of([slot], [[5]]), kv))
    assert torch.equal(*found)
