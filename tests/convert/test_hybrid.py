"""A converted model is the same weights with windows in the layers that are most often lazy, for us with sinks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import paceline
from paceline.convert.hybrid import convert
from paceline.errors import ModelError, SpecError
from paceline.lm.batch import Batch
from paceline.patterns.sliding import Sliding
from paceline.testing import tiny_model, toy_tokenizer

SPEC = "lighttransfer:keep=0.5,sinks=3,recent=70,last=8"
TEXTS = ["".join(chr(97 + i * j % 26) for i in range(150)) for j in (3, 5, 7, 9)]


def saved(folder: Path, family: str, **changes) -> str:
    tiny_model(family, num_hidden_layers=4, **changes).save_pretrained(folder / family)
    toy_tokenizer().save_pretrained(folder / family)
    return str(folder / family)


@torch.inference_mode()
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_stock_transformers_opens_it_and_ours_adds_the_first_keys(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    before, out = saved(tmp_path, family), tmp_path / "hybrid"
    found = convert(before, out, SPEC, [*TEXTS, "short"], context=150)
    assert len(found.cut) == 2 and (found.texts, found.short) == (4, 1) and sum(found.counts.values()) == 8
    ours, stock = paceline.load(str(out)), AutoModelForCausalLM.from_pretrained(out)
    assert ours.patterns == dict.fromkeys(found.cut, Sliding(70, 3))
    assert [i for i, kind in enumerate(stock.config.layer_types) if kind == "sliding_attention"] == found.cut
    tokens = torch.randint(3, 259, (1, 120), generator=torch.Generator().manual_seed(0))
    whole, theirs = AutoModelForCausalLM.from_pretrained(before)(tokens).logits[0], stock(tokens).logits[0]
    kv = ours.cache()
    logits = ours.forward(Batch.of([kv.take()], tokens.tolist()), kv)
    torch.testing.assert_close(logits[:70], theirs[:70], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[:73], whole[:73], atol=1e-4, rtol=1e-4)  # three more than stock's windows see
    assert not torch.allclose(theirs[72], whole[72], atol=1e-4) and not torch.allclose(logits[-1], whole[-1], atol=1e-4)
    with pytest.raises(ModelError, match="windows already"):
        convert(str(out), tmp_path / "twice", SPEC, TEXTS)


@torch.inference_mode()
@pytest.mark.parametrize("recent", [1, 2, 5, 12])
def test_windows_shorter_than_the_text_of_the_check_at_load(recent: int, tmp_path: Path) -> None:
    before, out = saved(tmp_path, "llama"), tmp_path / "hybrid"
    convert(before, out, f"lighttransfer:layers=[1,2],sinks=3,recent={recent},last=8", TEXTS)
    whole, ours = paceline.load(before), paceline.load(str(out))
    tokens, sees = list(range(3, 60)), recent + 3
    before_cut, cut = (lm.forward(Batch.of([(kv := lm.cache()).take()], [tokens]), kv) for lm in (whole, ours))
    torch.testing.assert_close(cut[:sees], before_cut[:sees], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(cut[-1], before_cut[-1], atol=1e-4)


def test_the_verb_converts_once_and_the_result_is_generated_with(paceline_cli: Callable, tmp_path: Path) -> None:
    before, out = saved(tmp_path, "llama"), tmp_path / "hybrid"
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps({"prompt": text}) for text in TEXTS))
    asked = ("--prompts", texts, "--context", 150, "--out", out)
    done = paceline_cli("convert", before, "--selector", SPEC, *asked)
    assert done.code == 0 and "NOT LOSSLESS" in done.err and "told by 4 texts" in done.err
    assert paceline_cli("generate", TEXTS[0], "--model", out, "--max-new-tokens", 4).code == 0
    for model, spec, code, complaint in ((out, SPEC, 1, "windows already"), (before, "topk", 2, "scores keys"),
                                         (before, "lighttransfer:layers=[1,9]", 2, "cannot cut layer 9")):
        refused = paceline_cli("convert", model, "--selector", spec, *asked)
        assert refused.code == code and complaint in refused.err and refused.err.count("\n") <= 2
    assert paceline_cli("convert", before, "--selector", SPEC, "--out", tmp_path / "hybrid.gguf").code == 2
    refused = paceline_cli("convert", before, "--selector", SPEC, "--out", before)
    assert refused.code == 1 and "another folder than the model" in refused.err, refused.err


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    llama = saved(tmp_path, "llama")
    for model, spec, texts, error, what in (
        (llama, "lighttransfer:layers=[1,9]", TEXTS, SpecError, "cannot cut layer 9"),
        (llama, SPEC, ["short"], ModelError, "None of 1 texts"),
        (saved(tmp_path, "mistral"), SPEC, TEXTS, ModelError, "windows already"),
        (saved(tmp_path, "olmo2"), SPEC, TEXTS, ModelError, "type olmo2"),
    ):
        with pytest.raises(error, match=what):
            convert(model, tmp_path / "out", spec, texts)
    assert not (tmp_path / "out").exists()
