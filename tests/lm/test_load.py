"""Names to models, and what is said when there is none."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline import ModelError
from paceline.lm.load import zoo_names
from paceline.lm.memory import keep_memory
from paceline.testing import ToyLM, tiny_model, toy_tokenizer


def test_a_folder_with_its_tokenizer(model_folder) -> None:
    lm = paceline.load(model_folder)
    assert lm.tokenizer is not None and lm.dtype is torch.float32
    assert paceline.generate(lm, "ab", max_new_tokens=3)[0].prompt_tokens == 2


def test_the_asked_for_dtype(model_folder) -> None:
    assert paceline.load(model_folder, dtype="bf16").dtype is torch.bfloat16
    assert paceline.load(model_folder, dtype=torch.float64).dtype is torch.float64
    with pytest.raises(ModelError, match="Did you mean 'fp32'"):
        paceline.load(model_folder, dtype="fp3")
    with pytest.raises(ModelError, match=r"no dtype torch\.float8"):
        paceline.load(model_folder, dtype=torch.float8_e4m3fn)
    with pytest.raises(ModelError, match="move a model you hold"):
        paceline.load(tiny_model(), dtype="bf16")


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such/folder"])
def test_a_model_that_is_not_there(name: str, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="There is no file or folder"):
        paceline.load(name)


def test_an_empty_folder(tmp_path) -> None:
    with pytest.raises(ModelError, match="config.json"):
        paceline.load(tmp_path)


def test_a_folder_with_broken_weights(model_folder, tmp_path) -> None:
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:500] if file.suffix == ".safetensors" else file.read_bytes())
    with pytest.raises(ModelError, match="Cannot load"):
        paceline.load(tmp_path)


def test_an_unknown_zoo_name() -> None:
    with pytest.raises(ModelError, match="no zoo model 'tinny'"):
        paceline.load("zoo:tinny")
    assert zoo_names() == sorted(zoo_names())


@pytest.mark.parametrize("options", [{"tokenizer": "gpt2"}, {"forward": "fast"}, {"packed": "no"}], ids=str)
def test_ways_to_load_that_there_are_not(options: dict) -> None:
    with pytest.raises(ModelError, match=f"{next(iter(options))} must be"):
        paceline.load(tiny_model(), **options)


def test_a_loaded_model_passes_through() -> None:
    toy, lm = ToyLM(), paceline.load(tiny_model(), tokenizer=toy_tokenizer())
    assert paceline.load(toy) is toy and paceline.load(lm) is lm


def test_keeping_freed_memory_is_asked_once() -> None:
    assert keep_memory() is keep_memory()
