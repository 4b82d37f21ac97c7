"""Classifier-free guidance: two branches in one forward write what two forwards would, drafted or not, alone or in a batch."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import pytest
import torch

import paceline
from paceline import Engine, Request, RequestError, Sampling, plugins
from paceline.core.guidance import Guidance
from paceline.core.sampling import guided, law_of
from paceline.drafters.ngram import Ngram
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from paceline.rules.annealed import Annealed
from paceline.testing import ToyLM
from tests.contracts.test_families import ids
from tests.laws import TIGHT, Law, TreeDrafter, distance, priced_law, softmax_of
from tests.tiny import nearly

SCALE, NEW = 1.8, 20
PROMPT, NEGATIVE = ids(17, 3, 259), ids(9, 4, 259)
GREEDY, WARM = Sampling(), Sampling(temperature=0.8, top_p=0.95, seed=5)
DRAFTERS = ["none", Ngram(min_n=1, worth=0.0), "small", "small, one branch", "small comb", "small tree"]


def made(drafter, lm: LM):
    options = {
        "small": {"length": 4}, "small, one branch": {"length": 4, "guided": False}, "small comb": {"length": 3, "branch": 3},
        "small tree": {"length": 3, "beam": 2},
    }  # fmt: skip
    return SmallModel(model=nearly(lm), worth=0.0, **options[drafter]) if drafter in options else drafter


@torch.inference_mode()
def reference(lm: LM, scale: float = SCALE, count: int = NEW) -> list[int]:
    """Greedy, by two forwards of transformers' own model for every token."""
    new: list[int] = []
    for _ in range(count):
        own, other = (lm.model(torch.tensor([[*p, *new]])).logits[0, -1] for p in (PROMPT, NEGATIVE))
        new.append(int((other + scale * (own - other)).argmax()))
    return new


def request(sampling: Sampling = GREEDY, **given) -> Request:
    return Request(PROMPT, sampling, NEW, guidance=Guidance(SCALE, NEGATIVE), **given)


@pytest.mark.parametrize("exact", [None, False])
@pytest.mark.parametrize("drafter", DRAFTERS, ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_greedy_text_is_that_of_two_forwards(family: str, drafter, exact: bool | None, lm_of) -> None:
    lm = lm_of(family)
    [out] = Engine(lm, made(drafter, lm), exact=exact).run([request()])
    assert out.tokens == reference(lm)
    assert drafter == "none" or out.stats.drafted > 0 and not out.stats.failures


@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_every_drafter_writes_the_guided_text(name: str, lm: LM, tiny_of) -> None:
    """Also beside an unguided row, and with side branches."""
    for exact in (None, False):
        engine = Engine(lm, tiny_of(name, lm), exact=exact)
        out = engine.run([request(), Request(PROMPT, max_new_tokens=NEW), request(WARM, reproducible=True)])
        assert [g.tokens for g in out] == undrafted(lm)
        assert not any(g.stats.failures for g in out)


@functools.lru_cache
def undrafted(lm: LM) -> list[list[int]]:
    texts = Engine(lm).run([request(), Request(PROMPT, max_new_tokens=NEW), request(WARM)])
    assert texts[0].tokens == reference(lm) != texts[1].tokens
    return [g.tokens for g in texts]


def test_the_scale_matters(lm: LM) -> None:
    texts = {tuple(reference(lm, scale)) for scale in (0.0, 1.0, SCALE)}
    assert len(texts) == 3
    assert tuple(paceline.generate(lm, PROMPT, max_new_tokens=NEW)[0].tokens) in texts


@pytest.mark.parametrize("drafter", DRAFTERS, ids=str)
def test_a_seed_gives_plain_text(drafter, lm: LM) -> None:
    plain, out = (Engine(lm, d).run([request(WARM, reproducible=True)])[0].tokens for d in ("none", made(drafter, lm)))
    assert out == plain


def test_guided_and_unguided_rows_together(lm: LM) -> None:
    """Rows join and leave; each writes what it writes alone."""
    unguided = Request(PROMPT, max_new_tokens=7)
    requests = [unguided, request(), Request([7], max_new_tokens=NEW), request(WARM), request(), unguided]
    alone = [Engine(lm).run([r])[0].tokens for r in requests]
    for drafter in ("none", made("small", lm)):
        engine = Engine(lm, drafter, slots=3)
        out = [g.tokens for g in engine.run([*requests[:3], Request(PROMPT, WARM, NEW, reproducible=True,
                                             guidance=Guidance(SCALE, NEGATIVE)), *requests[4:]])]
        assert out == alone
        assert not engine.kv.active
    assert not engine.drafters[0].kv.active  # type: ignore[attr-defined]


@pytest.mark.parametrize("drafter", ["none", "small"])
def test_cancelling_and_stopping_free_both_slots(drafter: str, lm: LM) -> None:
    engine = Engine(lm, made(drafter, lm), slots=4, max_cached=2)
    rows = [engine.submit(request(stream=i)) for i in range(3)]
    engine.step()
    assert len(engine.kv.active) == 6 and all(t.slot.length == len(t.tokens) - 1 for r in rows for t in r.texts)
    engine.cancel(rows[1])
    assert len(engine.kv.active) == 4
    ended = engine.submit(request(until=lambda tokens: len(tokens) >= len(PROMPT) + 3))
    while any(r.finish_reason is None for r in (*rows, ended)):
        engine.step()
        assert all(t.slot.length == len(t.tokens) - 1 for r in engine.rows for t in r.texts)
    assert ended.finish_reason == "stop" and ended.new_tokens == reference(lm, count=3)
    assert rows[2].new_tokens == reference(lm)
    assert not engine.kv.active
    again = engine.submit(request())
    engine.step()
    assert again.stats.reused >= len(PROMPT) - 1  # of what was parked


def test_both_branches_are_paid_for(lm: LM) -> None:
    engine = Engine(lm, "none", slots=2)
    plain, both = engine.submit(Request(PROMPT, max_new_tokens=NEW)), engine.submit(request())
    while engine.waiting or engine.rows:
        engine.step()
    assert both.stats.seconds["verify"] == pytest.approx(2 * plain.stats.seconds["verify"])


# -- the law --------------------------------------------------------------------------------------------------------------------

TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)
OWN, NULL, DRAW = [1, 0], [2], Sampling(temperature=1.0, top_k=2)
TOY = Request(OWN, DRAW, max_new_tokens=3, guidance=Guidance(SCALE, NULL))


def guided_law(count: int, prompts: Sequence[list[int]] = (OWN, NULL)) -> Law:
    law: Law = {(): 1.0}
    for _ in range(count):
        longer: Law = {}
        for text, weight in law.items():
            p = law_of(guided(*(TARGET.logits([*prompt, *text]) for prompt in prompts), SCALE), DRAW)
            longer |= {(*text, t): weight * float(p[t]) for t in range(3) if p[t] > 0}
        law = longer
    return law


@pytest.mark.parametrize("drafter", [
    TreeDrafter(softmax_of(OTHER), [-1, 0], [True, True]), TreeDrafter(softmax_of(OTHER), [-1, -1, 0], [False] * 3),
    SmallModel(model=OTHER, length=2, worth=0.0), Ngram(max_n=2, min_n=1, length=2, worth=0.0),
], ids=["drawn", "chosen", "small_model", "ngram"])  # fmt: skip
def test_drafting_keeps_the_guided_law(drafter) -> None:
    law = priced_law(TARGET, TOY, 2, drafter).law
    assert distance(law, guided_law(2)) < TIGHT
    assert distance(law, guided_law(2, (OWN, OWN))) > 0.05


def test_a_guided_draft_is_the_guided_law_of_its_model() -> None:
    """With the target itself as draft every token is accepted, which an unguided draft would not reach."""
    accepted = priced_law(TARGET, TOY, 3, SmallModel(model=TARGET, length=2, worth=0.0)).accepted
    assert accepted == pytest.approx(2.0)
    assert priced_law(TARGET, TOY, 3, SmallModel(model=TARGET, length=2, worth=0.0, guided=False)).accepted < 1.9


def test_a_relaxed_rule_bounds_the_guided_departure() -> None:
    found = priced_law(TARGET, TOY, 2, SmallModel(model=OTHER, length=2, worth=0.0), Annealed(2.0, length=2))
    assert 0.01 < distance(found.law, guided_law(2)) <= found.spent + TIGHT


# -- the doors ------------------------------------------------------------------------------------------------------------------


def test_the_front_door(lm: LM) -> None:
    out = paceline.generate(lm, PROMPT, guidance=SCALE, negative=NEGATIVE, max_new_tokens=NEW)
    assert out[0].tokens == reference(lm)
    last = paceline.generate(lm, PROMPT, guidance=SCALE, max_new_tokens=NEW)[0].tokens
    assert last == Engine(lm).run([Request(PROMPT, max_new_tokens=NEW, guidance=Guidance(SCALE, PROMPT[-1:]))])[0].tokens


def test_the_command_line(paceline_cli, model_folder) -> None:
    def text(*flags: object) -> str:
        given = ("abc abc", "--model", model_folder, "--max-new-tokens", 12, "--json", "-")
        return json.loads(paceline_cli("generate", *given, *flags).out)["generations"][0]["text"]

    assert text("--guidance", 3, "--negative", "xyz") != text()
    assert paceline_cli("generate", "abc", "--model", model_folder, "--negative", "x").code == 1


def test_mistakes_are_explained(lm: LM) -> None:
    with pytest.raises(RequestError, match="at least one token"):
        Guidance(2.0, [])
    with pytest.raises(RequestError, match="must be a number"):
        Guidance(float("nan"), [1])
    with pytest.raises(RequestError, match="without guidance"):
        paceline.generate(lm, PROMPT, negative=NEGATIVE)
    for prompt, problem in (([10**6], "ids run"), ([5] * 5000, "context")):
        with pytest.raises(RequestError, match=problem):
            Engine(lm).submit(Request(PROMPT, guidance=Guidance(2.0, prompt)))


def test_the_longer_branch_ends_at_the_context(lm: LM) -> None:
    long = ids(lm.context - 6, 5, 259)
    for drafter in ("none", made("small", lm)):
        [out] = Engine(lm, drafter).run([Request(PROMPT, max_new_tokens=50, guidance=Guidance(SCALE, long))])
        assert len(out.tokens) == 6 and out.finish_reason == "length" and not out.stats.failures
