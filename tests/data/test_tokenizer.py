"""The tokenizer: nothing is lost, digits stand alone, indentation is cheap; and the chat template, turn by turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from paceline.data.tokenizer import BOS, EOS, PAD, TAGS, TURN, TURN_END, train_tokenizer

CODE = "def add(first, second):\n    if first:\n        return first + second\n    return 1024\n\n\n"
TOOL = {"name": "find_room", "description": "Find a room.", "parameters": {"type": "object", "properties": {}}}
_TOKENIZER = train_tokenizer([CODE * 20, "Please find the room number 1234 in Oslo, at 10:30.\n" * 20], vocabulary=420)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return _TOKENIZER


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    ids = _TOKENIZER(text, add_special_tokens=False)["input_ids"]
    # Special tokens written out in a text are not text any more.
    if not any(mark in text for mark in (BOS, EOS, PAD, TURN, TURN_END)):
        assert _TOKENIZER.decode(ids) == text


def test_digits_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.tokenize("1024 + 31.5 = x1055")
    assert not [t for t in tokens if sum(c.isdigit() for c in t) > 1]
    assert [t for t in tokens if t.isdigit()] == list("10243151055")


def test_indentation_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer.tokenize("\n        return")) <= 3
    assert tokenizer.decode(tokenizer.encode(CODE), skip_special_tokens=True) == CODE


def test_the_vocabulary_is_as_large_as_asked() -> None:
    letters = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklmn" for c in "opqrstu"]
    assert len(train_tokenizer([" ".join(letters)] * 3, vocabulary=400)) == 400


def test_encoding_begins_with_the_begin_mark(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("Oslo")["input_ids"][0] == tokenizer.bos_token_id


def test_turn_marks_are_hidden_and_tool_tags_are_not(tokenizer: PreTrainedTokenizerFast) -> None:
    text = f"{TURN}assistant\n<tool_call>\n{{}}\n</tool_call>{TURN_END}"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "assistant\n<tool_call>\n{}\n</tool_call>"
    for mark in (BOS, EOS, PAD, TURN, TURN_END, *TAGS):
        assert len(tokenizer(mark, add_special_tokens=False)["input_ids"]) == 1


def test_saved_and_loaded_it_is_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").exists()
    assert loaded(CODE)["input_ids"] == tokenizer(CODE)["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == (BOS, EOS, PAD)
    assert {TURN, TURN_END} <= set(loaded.all_special_tokens) and not set(TAGS) & set(loaded.all_special_tokens)


def render(messages: list[dict[str, Any]], **options: Any) -> str:
    text = _TOKENIZER.apply_chat_template(messages, tokenize=False, **options)
    assert isinstance(text, str)
    return text


def test_plain_turns() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    assert render(messages, add_generation_prompt=True) == (
        "<|bos|><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("tool", [TOOL, {"type": "function", "function": TOOL}])
def test_tools_are_listed_in_the_system_turn(tool: dict[str, Any]) -> None:
    text = render([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], tools=[tool, tool])
    system = text.split(TURN_END)[0]
    assert system.startswith(f"{BOS}{TURN}system\nBe brief.\n\nYou can call these tools:\n<tools>\n")
    listed = system.split("<tools>\n")[1].split("\n</tools>")[0].split("\n")
    assert [json.loads(line) for line in listed] == [TOOL, TOOL]
    assert "Be brief" not in text.split(TURN_END, 1)[1]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("as_text", [False, True])
def test_calls_and_results_round_trip(wrapped: bool, as_text: bool) -> None:
    arguments = {"city": "Tromsø", "nights": 3}
    call: dict[str, Any] = {"name": "find_room", "arguments": json.dumps(arguments) if as_text else arguments}
    call = {"type": "function", "function": call} if wrapped else call
    messages = [
        {"role": "user", "content": "A room"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "content": {"status": "ok"}},
        {"role": "assistant", "content": "Done."},
    ]
    text = render(messages, tools=[TOOL])
    turns = text.split(TURN)[2:]
    blocks = [part.split("\n</tool_call>")[0] for part in turns[1].split("<tool_call>\n")[1:]]
    assert [json.loads(b) for b in blocks] == [{"name": "find_room", "arguments": arguments}] * 2
    assert turns[2] == 'tool\n<tool_response>\n{"status": "ok"}\n</tool_response><|im_end|>\n'
    assert turns[3] == "assistant\nDone.<|im_end|>\n"


def test_the_template_and_the_tokenizer_agree_on_one_begin_mark() -> None:
    ids = _TOKENIZER.apply_chat_template([{"role": "user", "content": "Hi"}], return_dict=True)["input_ids"]
    assert ids.count(_TOKENIZER.bos_token_id) == 1 and ids[0] == _TOKENIZER.bos_token_id
