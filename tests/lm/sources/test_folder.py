"""A folder decoded without transformers' model classes: the same text, and whatever is not sure is left to transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import paceline
from paceline.lm import kept
from paceline.lm.forwards.fused import compiler
from paceline.lm.sources import Asked
from paceline.lm.sources.folder import Folder, opened
from paceline.lm.sources.llama import FAMILIES
from paceline.testing import tiny_model, toy_tokenizer

needs_compiler = pytest.mark.skipif(compiler.library()[0] is None, reason="there is no compiled code here")
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
MIXED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 24, "head_dim": 16,
         "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
PROMPT = [5, 6, 7, 8, 5, 6, 7]


def saved(folder: Path, family: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    model = tiny_model(family, **changes).to(dtype)
    model.save_pretrained(folder, max_shard_size="100KB")
    toy_tokenizer().save_pretrained(folder)
    return model


def text(model: Any) -> list[int]:
    return paceline.generate(model, [PROMPT], max_new_tokens=12, eos=())[0].tokens


def source(folder: Path) -> Folder | None:
    return opened(folder, Asked(lambda: None))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("family", "changes"), [
    *((family, {}) for family in FAMILIES if family not in ("ministral", "gemma3")), ("ministral", MIXED),
    ("llama", {"attention_bias": True}), ("llama", {"tie_word_embeddings": True}),
    ("mistral", {"sliding_window": None}), ("llama", {"rope_parameters": LINEAR}),
])  # fmt: skip
def test_it_writes_what_the_module_writes(tmp_path: Path, family: str, changes: dict[str, Any], dtype: torch.dtype) -> None:
    model = saved(tmp_path, family, dtype, **changes)
    lm = paceline.load(tmp_path)
    assert isinstance(lm.source, Folder) and lm.forward_name == "fused" and lm.dtype is dtype, lm.notes
    assert lm.parameters == sum(p.numel() for p in model.parameters()) and lm.context == 1024
    assert text(lm) == text(model)
    assert lm.fingerprint == paceline.load(model).fingerprint


@needs_compiler
def test_a_second_load_imports_no_modelling_code(tmp_path: Path) -> None:
    saved(tmp_path)
    paceline.load(tmp_path)
    asked = ("import sys, pathlib, torch, paceline; from paceline.lm import kept; torch.set_num_threads(1)\n"
             "kept.folder = lambda: pathlib.Path(sys.argv[2]); lm = paceline.load(sys.argv[1])\n"
             "print(paceline.generate(lm, 'ab', max_new_tokens=3)[0].tokens)\n"
             "print([m for m in sys.modules if m.startswith('transformers.model')])")
    said = subprocess.run([sys.executable, "-c", asked, str(tmp_path), str(kept.folder())], capture_output=True, text=True,
                          check=True).stdout
    assert said.splitlines()[1] == "[]" and len(said.splitlines()) == 2


def test_its_module_is_the_folders(tmp_path: Path) -> None:
    model = saved(tmp_path)
    made = paceline.load(tmp_path).model
    assert type(made) is type(model) and torch.equal(made.lm_head.weight, model.lm_head.weight)


def without(name: str) -> Any:
    return lambda settings: settings.pop(name)


CHANGES: dict[str, Any] = {
    "a setting is missing": without("rms_norm_eps"), "another family": lambda settings: settings.update(model_type="gpt2"),
    "quantised": lambda settings: settings.update(quantization_config={}),
    "layers with windows": lambda settings: settings.update(layer_types=["sliding_attention"] * 3),
    "heads turned in part": lambda settings: settings.update(partial_rotary_factor=0.5),
    "an embedding of another size": lambda settings: settings.update(vocab_size=300),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_sure_is_left_to_transformers(tmp_path: Path, change: str) -> None:
    saved(tmp_path)
    assert source(tmp_path) is not None
    settings = json.loads((tmp_path / "config.json").read_text())
    CHANGES[change](settings)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert source(tmp_path) is None


def test_old_names_of_rotations_are_read(tmp_path: Path) -> None:
    saved(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    rope = settings.pop("rope_parameters")
    settings |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "linear", "factor": 2.0}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    found = source(tmp_path)
    assert found is not None and found.settings.rope_parameters == {"rope_type": "linear", "type": "linear", "factor": 2.0, **{
        "rope_theta": rope["rope_theta"]}}


def test_a_folder_that_is_broken_says_so(tmp_path: Path) -> None:
    saved(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"nothing")
    with pytest.raises(paceline.ModelError, match="Cannot load"):
        paceline.load(tmp_path)
