"""Tokenizers in a GGUF file's words: with the same ids, or not at all."""

from __future__ import annotations

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from paceline.convert.vocabulary import vocabulary_of
from paceline.errors import ModelError
from paceline.lm.load import load_tokenizer
from paceline.lm.sources.gguf_tokenizer import tokenizer_of

TEXT = "It's a test of 123 words:  naïve 你好 🙂"


def sentencepiece(prefix: bool) -> PreTrainedTokenizerFast:
    """As converted from SentencePiece: bytes where there is no token, a space before a text."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyz", "▁t", "es", "te", "tes", "▁te", "▁tes", "▁test"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [("▁", "t"), ("e", "s"), ("t", "e"), ("t", "es"), ("te", "s"), ("▁t", "e"), ("▁", "te"), ("▁t", "es"), ("▁", "tes"),
              ("▁te", "s"), ("▁tes", "t")]
    made = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, merges, unk_token="<unk>", byte_fallback=True,
                                fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece(prefix: bool) -> None:
    tokenizer = sentencepiece(prefix)
    found = vocabulary_of(tokenizer, len(tokenizer) + 2, 2)
    assert found["tokenizer.ggml.model"] == "llama" and found["tokenizer.ggml.add_space_prefix"] is prefix
    assert found["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6] and found["tokenizer.ggml.token_type"][-3:] == [1, 5, 5]
    assert tokenizer_of(found)(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
PIECES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


@pytest.mark.parametrize(("name", "cuts", "whole"), [
    ("gpt-2", [pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
    ("smollm", [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)], False),
    ("llama-bpe", [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), PIECES], True),
    ("smaug-bpe", [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), PIECES], False),
    ("qwen2", [pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"), PIECES], False)])  # fmt: skip
def test_how_text_is_cut_has_a_name(name: str, cuts: list, whole: bool) -> None:
    """As the makers of gpt-2, smollm, llama 3 and qwen 2 write it."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "he"]
    made = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, [("h", "e")], ignore_merges=whole))
    made.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    found = vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=made), len(tokens), None)
    assert found["tokenizer.ggml.pre"] == name and found["tokenizer.ggml.merges"] == ["h e"]


def test_ends_and_templates() -> None:
    tokenizer = load_tokenizer("zoo:tiny")
    found = vocabulary_of(tokenizer, 4096, [4, 2])
    assert (found["tokenizer.ggml.eos_token_id"], found["tokenizer.ggml.eot_token_id"]) == (4, 2)
    assert found["tokenizer.chat_template"] == tokenizer.chat_template
    assert found["tokenizer.ggml.add_bos_token"] is True and found["tokenizer.ggml.add_eos_token"] is False


def test_what_llama_cpp_has_no_word_for() -> None:
    made = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ModelError, match="found one of the type WordLevel"):
        vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=made), 10, None)
    odd = load_tokenizer("zoo:tiny")
    odd.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(),
                                                                   pre_tokenizers.ByteLevel(add_prefix_space=True)])
    with pytest.raises(ModelError, match="no name for"):
        vocabulary_of(odd, 4096, None)
    with pytest.raises(ModelError, match="an id 4095, and the model an embedding of 100"):
        vocabulary_of(load_tokenizer("zoo:tiny"), 100, None)
