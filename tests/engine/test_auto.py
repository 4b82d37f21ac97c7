"""Which drafters fit a model, and the doors that lead there."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import paceline
from paceline.controllers.fixed import Fixed
from paceline.controllers.ucb import Ucb
from paceline.core.request import Request
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.engine.allowance import Guarded
from paceline.engine.auto import arranged, attached, fitting, limited, suited
from paceline.errors import ModelError, SpecError
from paceline.lm import LM
from paceline.lm.grow import grow
from paceline.lm.load import resolve
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import shape_for
from paceline.testing import ToyLM, tiny_lm
from tests.models.draft_head.test_head import ids


def test_models_of_ones_own_get_the_drafters_that_need_none() -> None:
    lm = tiny_lm()
    assert suited(lm) == suited(ToyLM(5)) == "suffix"


def test_the_embedded_target_also_gets_its_draft_models_grown_or_not() -> None:
    lm = paceline.load("zoo:tiny")
    assert suited(lm) == "merge:drafters=[suffix,glide]" == suited(paceline.load(grow(lm.model, 20e6)))
    assert {suited(lm), "suffix", "ngram", "cape:inner=glide", "small_model:model=zoo:tiny-draft"} < set(fitting(lm))
    assert fitting(tiny_lm()) == ["suffix", "ngram"]


def changed(**options: object) -> LM:
    """The embedded target with other settings, and with two more tokens where none are given."""
    source = resolve("zoo:tiny")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    if not options:
        model.resize_token_embeddings(model.config.vocab_size + 2, mean_resizing=False)
    return paceline.load(model, tokenizer=AutoTokenizer.from_pretrained(source))


def test_the_embedded_target_with_more_tokens_keeps_its_draft_models() -> None:
    lm = changed()
    prompt = [lm.vocab - 1, *lm.tokenizer("def binary_search(").input_ids]
    plain = paceline.generate(lm, [prompt], drafter="none", max_new_tokens=24)[0]
    for drafter in ("auto", "glide:worth=0", "longspec:worth=0"):
        out = paceline.generate(lm, [prompt], drafter=drafter, max_new_tokens=24)[0]
        assert out.tokens == plain.tokens and not out.stats.failures
        assert out.stats.drafted > 0 or drafter == "auto"  # which goes by the clock
    assert suited(lm) == "merge:drafters=[suffix,glide]"


def test_the_embedded_target_changed_in_what_its_heads_read_is_drafted_for_without_them() -> None:
    lm = changed(rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
    assert suited(lm) == "suffix" and Engine(lm, "auto").drafters
    with pytest.raises(ModelError, match="another target: it has rope"):
        Engine(lm, "glide")


def test_auto_writes_plain_decodings_text_alone_and_in_a_batch() -> None:
    lm = paceline.load("zoo:tiny")
    prompts = ["def binary_search(", "The river", '{"name": "get_weather", "parameters": {"city":', "17 + 25 ="]
    plain = paceline.generate(lm, prompts, drafter="none", max_new_tokens=48)
    for slots in (1, 4):
        out = paceline.generate(lm, prompts, drafter="auto", max_new_tokens=48, slots=slots)
        assert [g.tokens for g in out] == [g.tokens for g in plain] and not any(g.stats.failures for g in out)
    

@pytest.mark.parametrize("controller", [None, "fixed:guarded=true", "ucb:reward=net,budgets=[0,4]"])
def test_a_seed_gives_plain_decodings_sample_where_the_clock_chooses(controller: str | None) -> None:
    lm = tiny_lm()
    sampling = paceline.Sampling(temperature=1.0, seed=5)
    drafters = [SmallModel(model=tiny_lm(), length=3, worth=0.0), "ngram"]
    plain = paceline.generate(lm, [[1, 2, 3]], drafter="none", sampling=sampling, n=4, max_new_tokens=24)
    out = paceline.generate(lm, [[1, 2, 3]], drafter=drafters, controller=controller, sampling=sampling, n=4, max_new_tokens=24)
    assert [g.tokens for g in out] == [g.tokens for g in plain] and sum(g.stats.drafted for g in out)


def test_without_the_clock_or_a_seed_drafts_are_drawn() -> None:
    lm, drafter = tiny_lm(), SmallModel(model=tiny_lm(), length=3)
    timed = Engine(lm, drafter, controller="fixed:guarded=true")
    assert not timed.submit(Request([1], paceline.Sampling(temperature=1.0))).request.reproducible
    assert timed.submit(Request([1], paceline.Sampling(temperature=1.0, seed=1))).request.reproducible
    assert not Engine(lm, drafter).submit(Request([1], paceline.Sampling(temperature=1.0, seed=1))).request.reproducible


def test_draft_models_are_read_once_for_a_target_and_again_when_their_files_change(tmp_path: Path) -> None:
    lm = tiny_lm()
    folder = tmp_path / "head"
    Head(shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48)).save_pretrained(folder)
    first, second = (Engine(lm, f"glide:model={folder}").drafters[0] for _ in range(2))
    assert first is not second and first.lm is second.lm
    Head(shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48), seed=1).save_pretrained(folder)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert Engine(lm, f"glide:model={folder}").drafters[0].lm is not first.lm
    assert Engine(tiny_lm(), f"glide:model={folder}").drafters[0].lm is not first.lm


def test_a_drafter_that_cannot_be_built_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    lm, other = tiny_lm(), SmallModel(model=ToyLM(5))
    with caplog.at_level(logging.WARNING, "paceline"):
        engine = Engine(lm, ["ngram", other])
    assert len(engine.drafters) == 1 and "left out" in caplog.text and "vocabulary" in caplog.text
    with pytest.raises(ModelError, match="vocabulary"):
        Engine(lm, [other])
    with pytest.raises(SpecError, match="empty list"):
        attached([], lm)


def test_several_drafters_are_merged_unless_somebody_says_how_to_choose() -> None:
    lm = tiny_lm()
    [merged], controller = arranged(["ngram", "suffix"], None, lm)
    assert [type(each).__name__ for each in merged.inner] == ["Lookup", "Suffixes"] and isinstance(controller, Guarded)
    for several, asked in ((["ngram", "suffix"], "ucb"), (["none", "suffix"], None), (["ngram", "merge"], None)):
        drafters, controller = arranged(several, asked, lm)
        assert len(drafters) == 2 and isinstance(controller.options, Ucb)


def test_what_was_chosen_here_has_to_pay_and_what_was_asked_for_drafts() -> None:
    """Within a budget, too, which is all that may be said of it."""
    lm = tiny_lm()
    assert isinstance(arranged("auto", None, lm)[1], Guarded) and isinstance(Engine(lm).controller, Guarded)
    assert isinstance(arranged("ngram", None, lm)[1], Fixed) and isinstance(arranged(["ngram"], None, lm)[1], Fixed)
    assert arranged("auto", limited("auto", 3), lm)[1].inner.budget == 3
    assert limited("auto", None) is None and limited("ngram", 4) == "fixed:budget=4"


def test_the_pool_of_an_attached_controller_outlives_its_engine() -> None:
    lm = tiny_lm()
    drafters, controller = arranged("auto", None, lm)
    controller.allowance.pool.steps = -1.0
    [out] = paceline.generate(lm, [ids(20)], drafter=drafters, controller=controller, max_new_tokens=30, eos=())
    assert out.stats.drafted == 0 and -1.0 < controller.allowance.pool.steps < 0.0
