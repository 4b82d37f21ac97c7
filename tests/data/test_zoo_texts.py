"""The real sources, on miniature copies of their folders: what is learned from, and what never is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.data.tokenizer import train_tokenizer
from paceline.data.zoo_texts import API_BANK_TRAIN, Texts

SYSTEM = "Help.\n\n1. Name: Now\nDescription: Time.\nParameters: {}\n\n**Only generate Tool Calls**\nformat"
TOKENIZER = train_tokenizer([], 300)


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def sample(i: int) -> dict[str, object]:
        return {"system": SYSTEM, "user": f"user {i}", "answer": [{"name": "Now", "parameters": {"n": i}}]}

    put(tmp_path / "api_bank" / "level-1.json", [sample(i) for i in range(API_BANK_TRAIN + 50)])
    put(tmp_path / "api_bank" / "level-2.json", [sample(9000)])
    for part in ("train", "test"):
        put(tmp_path / "gsm8k" / f"{part}.jsonl", {"question": f"{part} question", "answer": "1\n#### 1"})
    for part in ("valid", "test"):
        put(tmp_path / "wikitext-2" / f"{part}.txt", f" = {part} = \n \n The {part} text . \n")
    put(tmp_path / "shakespeare" / "input.txt", "First Citizen:\nSpeak.\n\nAll:\nSpeak.\n")
    return tmp_path


def texts(folder: Path, dialogues: int = 40) -> Texts:
    return Texts(folder, TOKENIZER, dialogues, seed=0)


def test_api_bank_stops_at_the_allowed_samples_and_comes_in_both_styles(folder: Path) -> None:
    found = [d.text for d in texts(folder).train("api_bank")]
    assert len(found) == 2 * API_BANK_TRAIN
    assert not any(f"user {API_BANK_TRAIN}" in text or "user 9000" in text for text in found)
    native, template = found[:2]
    assert SYSTEM in native and '```<tool_call>\n{"name": "Now", "parameters": {"n": 0}}\n</tool_call>\n```' in native
    assert SYSTEM not in template and '<tool_call>\n{"name": "Now", "arguments": {"n": 0}}\n</tool_call>' in template


def test_test_parts_are_measured_and_never_learned(folder: Path) -> None:
    t = texts(folder)
    learned = "".join(d.text for name in ("gsm8k", "wikitext", "shakespeare", "api_bank") for d in t.train(name))
    assert "train question" in learned and "test question" not in learned
    assert "The valid text." in learned and "The test text." not in learned
    assert "test question" in t.measured("math")[0].text and "The test text." in t.measured("prose")[0].text
    assert "user 9000" in t.measured("tools")[0].text and len(t.measured("tools")) == 1


def test_arithmetic_comes_as_plain_text_and_as_dialogue(folder: Path) -> None:
    plain, chat = (d.text for d in texts(folder).train("gsm8k"))
    assert plain == "<|bos|>Question: train question\nAnswer: 1\n#### 1\n<|eos|>"
    assert "<|im_start|>user\ntrain question<|im_end|>" in chat and chat.endswith("<|im_end|>\n<|eos|>")


def test_a_quarter_of_the_dialogues_use_the_native_prompt(folder: Path) -> None:
    found = [d.text for d in texts(folder).train("dialogues")]
    native = [text for text in found if "**Only generate Tool Calls**\nformat" in text]
    assert len(found) == 40 and len(native) == 10 and all("1. Name: " in text for text in native)


def test_held_out_code_is_not_learned(folder: Path) -> None:
    t = texts(folder)
    learned = {d.text for d in t.train("stdlib")}
    assert learned and not learned & {d.text for d in t.measured("code")}
