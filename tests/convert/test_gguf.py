"""Models written as GGUF files: read again, they are the same models, to the bit where nothing was rounded."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

import paceline
from paceline.convert.gguf import convert, model_contents, turned, write
from paceline.errors import DataError, ModelError, SpecError
from paceline.lm.batch import Batch
from paceline.lm.load import load_tokenizer
from paceline.lm.sources.gguf import GGUF
from paceline.lm.weights.quantise import quantized_decoder
from paceline.testing import tiny_model

IDS = torch.arange(3, 43)[None]
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


@functools.cache
def words():
    return load_tokenizer("zoo:tiny")


def tiny(family: str = "llama", **changes):
    return paceline.load(tiny_model(family, vocab=4100, **changes), forward="lean", packed=False, tokenizer=words())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in fp32; nothing may change it."""
    path = tmp_path_factory.mktemp("plain") / "plain.gguf"
    write(path, model_contents(tiny()), "f32")
    return path


def logits(lm) -> torch.Tensor:
    kv = lm.cache()
    return lm.forward(Batch([kv.take()], IDS), kv)


@functools.cache
def stored(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    return {t.name: (t.tensor_type.name, gguf.quants.dequantize(t.data, t.tensor_type)) for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("family", "changes"), [
    ("llama", {"rope_parameters": LLAMA3}), ("llama", {"tie_word_embeddings": True, "attention_bias": True}), ("mistral", {}),
    ("qwen2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}), ("qwen3", {}), ("phi3", {}),
    ("olmo2", {})])  # fmt: skip
def test_what_is_read_again_is_the_same_model(tmp_path: Path, family: str, changes: dict) -> None:
    lm = tiny(family, **changes)
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    write(tmp_path / "x.gguf", model_contents(lm), "f32")
    read = paceline.load(tmp_path / "x.gguf", forward="lean")
    same = logits(paceline.load(lm.model, forward="lean", packed=False))
    assert torch.equal(logits(read), same) or "rope_parameters" in changes  # whose factors are rounded once more
    torch.testing.assert_close(logits(read), same)
    assert read.context == lm.context and read.generation.eos_token_id == [1, 4]  # <|im_end|> is known to end a turn
    text = "It's 42 tokens,\n<|im_start|> 你好 🙂 and more."
    assert read.tokenizer(text)["input_ids"] == words()(text)["input_ids"] and len(read.tokenizer) == 4100
    messages = [{"role": "user", "content": "Hello"}]
    assert read.tokenizer.apply_chat_template(messages) == words().apply_chat_template(messages, tokenize=False)


def rotated(x: torch.Tensor, neighbours: bool) -> torch.Tensor:
    """Rotary embedding of x [T, d], its pairs either neighbours (2 i, 2 i + 1) or halves (i, i + d / 2)."""
    length, width = x.shape
    angle = torch.arange(length)[:, None] / 100.0 ** (torch.arange(width // 2) * 2 / width)
    a, b = (x[:, ::2], x[:, 1::2]) if neighbours else x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def test_attention_scores_survive_the_order_of_rotary_pairs() -> None:
    torch.manual_seed(0)
    heads, width, length = 3, 8, 5
    q, k, x = torch.randn(heads * width, 16), torch.randn(heads * width, 16), torch.randn(length, 16)
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        before = rotated(x @ q[rows].T, False) @ rotated(x @ k[rows].T, False).T
        there = [rotated(x @ turned(w, heads)[rows].T, True) for w in (q, k)]
        torch.testing.assert_close(there[0] @ there[1].T, before)


@pytest.mark.parametrize("weights", ["q4_1", "q4_0", "q8_0", "f16", "bf16"])
def test_weights_are_rounded_as_ggml_rounds(tmp_path: Path, plain: Path, weights: str) -> None:
    before = stored(plain)
    assert convert(str(plain), tmp_path / "x.gguf", weights) == sum(weight.size for _, weight in before.values())
    for name, (kind, weight) in stored(tmp_path / "x.gguf").items():
        outer = name in ("token_embd.weight", "output.weight") and weights.startswith("q4")
        assert kind == ("F32" if weight.ndim == 1 else "Q8_0" if outer else weights.upper())
        again = gguf.quants.quantize(before[name][1], gguf.GGMLQuantizationType[kind])
        np.testing.assert_array_equal(weight, gguf.quants.dequantize(again, gguf.GGMLQuantizationType[kind]))


@pytest.mark.parametrize(("weights", "kind"), [("q4_1", "u4"), ("q8_0", "i8")])
def test_a_file_holds_what_loading_would_have_rounded(tmp_path: Path, plain: Path, weights: str, kind: str) -> None:
    convert(str(plain), tmp_path / "x.gguf", weights)
    read, made = GGUF(tmp_path / "x.gguf", "int8").decoder(64)[0], quantized_decoder(tiny().source.decoder(64)[0], kind, "int8")
    for ours, theirs in zip(read.layers, made.layers, strict=True):
        for name in ("qkv", "out", "gate_up", "down"):
            assert torch.equal(getattr(ours, name).tiles, getattr(theirs, name).tiles)
    assert torch.equal(read.head.tiles, made.head.tiles) and torch.equal(read.embed.tiles, made.embed.tiles)


def test_metadata_are_told_in_the_types_that_llama_cpp_reads(plain: Path) -> None:
    fields = gguf.GGUFReader(plain).fields
    kinds = {key: [kind.name for kind in field.types] for key, field in fields.items()}
    assert kinds["llama.block_count"] == ["UINT32"] and kinds["llama.rope.freq_base"] == ["FLOAT32"]
    assert kinds["tokenizer.ggml.token_type"] == ["ARRAY", "INT32"] and kinds["tokenizer.ggml.add_bos_token"] == ["BOOL"]
    assert fields["tokenizer.ggml.pre"].contents() == "qwen2" and fields["tokenizer.ggml.merges"].contents()[0] == "Ġ Ġ"
    types = fields["tokenizer.ggml.token_type"].contents()
    assert types[4] == 3 and types[4090] == 4 and types[100] == 1 and types[4096:] == [5] * 4


def test_a_file_of_parts_becomes_one(tmp_path: Path, plain: Path) -> None:
    whole = gguf.GGUFReader(plain)
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama", split_max_tensors=10)
    for key, field in whole.fields.items():
        if not key.startswith(("GGUF.", "general.architecture")):
            writer.add_key_value(key, field.contents(), field.types[0])
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    convert(str(next(tmp_path.glob("part-00001-of-*"))), tmp_path / "one.gguf", "f32")
    assert (tmp_path / "one.gguf").read_bytes() == plain.read_bytes()


def test_layers_of_different_widths_are_told_one_by_one(tmp_path: Path) -> None:
    from paceline.lm.grow import grow

    lm = paceline.load(grow(tiny_model(), 0.5e6), forward="lean", packed=False)
    write(tmp_path / "x.gguf", model_contents(lm), "f32")
    fields = gguf.GGUFReader(tmp_path / "x.gguf").fields
    assert fields["general.architecture"].contents() == "deci" and len(set(fields["deci.feed_forward_length"].contents())) == 2
    assert fields["tokenizer.ggml.model"].contents() == "no_vocab"


@pytest.mark.parametrize(("changes", "said"), [
    ({"family": "gpt_neox"}, "type gpt_neox cannot be written"), ({"rope_parameters": YARN}, "positions of the kind yarn"),
    ({"hidden_act": "gelu"}, "the activation gelu"), ({"intermediate_size": 100}, "'blk.0.ffn_down.weight' has 100 inputs")])
def test_what_cannot_be_told_or_rounded_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    family = changes.pop("family", "llama")
    lm = paceline.load(tiny_model(family, **changes), forward="stock", packed=False)
    with pytest.raises(ModelError, match=said):
        write(tmp_path / "x.gguf", model_contents(lm), "q4_1")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_fp16_leave_no_file(tmp_path: Path) -> None:
    lm = tiny()
    with torch.no_grad():
        lm.model.model.layers[2].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match="'blk.2.ffn_up.weight' exceeds 65504"):
        write(tmp_path / "x.gguf", model_contents(lm), "q8_0")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="Cannot write"):
        write(tmp_path / "missing" / "x.gguf", model_contents(lm), "bf16")
    with pytest.raises(SpecError, match="Did you mean 'q4_0'"):
        convert("zoo:tiny", tmp_path / "x.gguf", "q4_00")


def test_from_the_command_line(tmp_path: Path, plain: Path, paceline_cli) -> None:
    source, out = plain, tmp_path / "x.gguf"
    done = paceline_cli("convert", str(source), "--weights", "q8_0", "--out", str(out), "--json", "-")
    assert "On the shipped prompts: perplexity" in done.err and 0 < json.loads(done.out)["loss"]["divergence"] < 0.1
    assert done.code == 0 and f"{out}: 0.6" in done.err and json.loads(done.out)["bytes"] == out.stat().st_size
    for arguments, code, said in (((str(source),), 2, "--out"), ((str(source), "--out", "x.bin"), 2, "ends in .gguf"),
                                  ((str(out), "--out", str(out)), 1, "another file than the model's for --out"),
                                  ((str(tmp_path / "none"), "--out", str(out)), 1, "no file or folder")):
        done = paceline_cli("convert", *arguments)
        assert done.code == code and said in done.err
