"""A converted model is the same weights with windows in the layers that are most often lazy, for us with sinks."""

from __future__ import annotations

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
