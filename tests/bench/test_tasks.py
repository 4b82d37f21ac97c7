"""Prompts: the shipped ones, files, data folders, and what is said when one is broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.bench.tasks import KINDS, OF_DATA, SPEC_BENCH, Prompt, asked, builtin, encode, from_data, read_prompts
from paceline.errors import DataError


class Words:
    """A tokenizer that numbers characters and has a visible chat template."""

    chat_template = "yes"

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        self.text = text
        return {"input_ids": [ord(c) for c in text]}

    def apply_chat_template(self, messages: list, tools: list | None, add_generation_prompt: bool, tokenize: bool) -> str:
        assert add_generation_prompt and not tokenize
        names = [tool["function"]["name"] for tool in tools or ()]
        return "".join(f"[{m['role']}]{m['content']}" for m in messages) + f"{names}[assistant]"


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_prompts(kind: str) -> None:
    prompts = builtin(kind)
    assert len(prompts) == 16 == len(set(prompts_key(p) for p in prompts))
    assert all(p.kind == kind for p in prompts)
    assert all(bool(p.text) == (kind in ("code", "prose")) and bool(p.tools) == (kind == "tools") for p in prompts)


def prompts_key(prompt: Prompt) -> str:
    return prompt.text or prompt.turns[0]


def test_unknown_task_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'math'"):
        builtin("maths")


def test_both_record_layouts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    records = [{"prompt": "a"}, {"question_id": 1, "category": "qa", "turns": ["x", "y"]}]
    path.write_text("\n".join(map(json.dumps, records)) + "\n\n")
    first, second = read_prompts(path)
    assert first == Prompt("prompts", text="a")
    assert second == Prompt("qa", turns=("x", "y"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b'{"prompt": "a"}\n{"prompt": ', "line 2: expected JSON"),
        (b'{"prompt": "a"}\n\n[1]', "line 3: expected a JSON object; found list"),
        (b'{"prompt": "a"}\n{"text": "b"}', r"line 2: expected .*found the fields \['text'\]"),
        (b'{"turns": []}', "line 1: expected"),
        (b'{"turns": [3]}', "line 1: expected"),
        (b'{"prompt": "\xff"}', "line 1: expected text in UTF-8; found the byte 0xff"),
        (b'{"prompt": "a"}\n{"prompt": "\\ud83d"}', r"line 2: expected whole characters; found half a surrogate pair, '.ud83d'"),
        (b'{"messages": []}', "line 1: expected"),
        (b'{"turns": ["a"], "tools": {"name": "f"}}', "line 1: expected 'tools' to be a list of JSON objects"),
        (b'{"turns": ["a"], "system": ["s"]}', "line 1: expected 'system' to be text"),
    ],
)
def test_a_broken_prompt_file_is_named_with_its_line(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(text)
    with pytest.raises(DataError, match=complaint):
        read_prompts(path)


def test_tools_may_be_null_and_strings_hold_unicodes_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('\ufeff{"turns": ["a\u2028b\u2029c\x85d"], "tools": null}\r\n', encoding="utf-8", newline="")
    assert read_prompts(path) == [Prompt("prompts", turns=("a\u2028b\u2029c\x85d",))]


def test_a_prompt_that_the_template_refuses_is_named_with_its_line(tmp_path: Path) -> None:
    class Strict(Words):
        def apply_chat_template(self, messages: list, **_: object) -> str:
            raise ValueError("System role not supported")

    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"turns": ["a"], "system": "s"}\n')
    with pytest.raises(DataError, match="line 2: .* template refuses these messages .*: System role not supported"):
        encode(Strict(), read_prompts(path)[1])


def test_a_missing_prompt_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_prompts(tmp_path / "none.jsonl")


def test_conversations_go_through_the_chat_template() -> None:
    prompt = Prompt("t", turns=("hi", "and?"), system="s", tools=({"type": "function", "function": {"name": "f"}},))
    words = Words()
    encode(words, prompt)
    assert words.text == "[system]s[user]hi['f'][assistant]"
    encode(words, prompt, ("ho",))
    assert words.text == "[system]s[user]hi[assistant]ho[user]and?['f'][assistant]"


def test_plain_text_does_not(tmp_path: Path) -> None:
    words = Words()
    assert encode(words, Prompt("code", text="def f")) == [ord(c) for c in "def f"]


def make_data(folder: Path) -> None:
    def put(name: str, text: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    put("humaneval/problems.jsonl", json.dumps({"prompt": "def f():\n"}))
    put("gsm8k/test.jsonl", json.dumps({"question": "1 + 1?", "answer": "2"}))
    put("api_bank/level-2.json", json.dumps([{"system": "tools: T", "user": "use T"}]))
    bfcl = {"question": [[{"role": "user", "content": "go"}]], "function": [{"name": "g", "parameters": {}}]}
    put("bfcl/parallel.json", json.dumps(bfcl))
    article = " ".join(f"w{i}" for i in range(120))
    put("wikitext-2/test.txt", f" = Title = \n{article}\n = = Part = = \n{'more ' * 1500}\n = Other = \nshort one\n")
    put("spec_bench/question.jsonl", json.dumps({"question_id": 1, "category": "qa", "turns": ["q"]}))


def test_held_out_data_in_its_published_layout(tmp_path: Path) -> None:
    make_data(tmp_path)
    assert from_data("code", tmp_path) == [Prompt("code", text="def f():\n")]
    assert from_data("math", tmp_path) == [Prompt("math", turns=("1 + 1?",))]
    bank, bfcl = from_data("tools", tmp_path)
    assert bank == Prompt("tools", turns=("use T",), system="tools: T")
    assert bfcl.tools[0]["function"]["name"] == "g"
    assert [replace(p, kind="tools") for kind in ("api_bank", "bfcl") for p in from_data(kind, tmp_path)] == [bank, bfcl]
    prose = from_data("prose", tmp_path)[0]
    assert prose.text == " ".join(f"w{i}" for i in range(48))
    [long] = from_data("long_summaries", tmp_path)
    assert "w0 w1 w2" in long.turns[0] and " = = Part = = more " in long.turns[0] and 1500 <= len(long.turns[0].split()) < 1510
    assert from_data("spec_bench", tmp_path) == [Prompt("spec_bench", turns=("q",))]
    assert from_data("qa", tmp_path) == [Prompt("qa", turns=("q",))] and from_data("rag", tmp_path) == []


def test_plain_texts_can_be_asked_for() -> None:
    [turn] = asked(Prompt("code", text="def f():\n")).turns
    assert turn == "Complete this Python code.\n\n```python\ndef f():\n```"
    assert asked(Prompt("prose", text="Once")).turns == ("Go on with this text.\n\nOnce",)
    assert asked(talk := Prompt("t", turns=("hi",), system="s")) is talk


@pytest.mark.parametrize("kind", OF_DATA)
def test_kinds_that_no_shipped_set_has(kind: str) -> None:
    with pytest.raises(DataError, match="name a folder of public data sets with --data"):
        builtin(kind)


def test_groups_of_spec_bench_are_first_turns_and_mt_bench_is_one(tmp_path: Path) -> None:
    records = [{"category": c, "turns": [f"{c} 1", f"{c} 2"]} for c in ("writing", "math", "math_reasoning", "summarization")]
    (tmp_path / "spec_bench").mkdir()
    (tmp_path / "spec_bench" / "question.jsonl").write_text("\n".join(map(json.dumps, records)))
    found = {group: from_data(group, tmp_path) for group in SPEC_BENCH}
    assert found["mt_bench"] == [Prompt("mt_bench", turns=("writing 1",)), Prompt("mt_bench", turns=("math 1",))]
    assert found["math_reasoning"] == [Prompt("math_reasoning", turns=("math_reasoning 1",))]
    assert sum(map(len, found.values())) == len(records)


def test_data_in_another_layout_or_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        from_data("math", tmp_path)
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"q": 1}')
    with pytest.raises(DataError, match="not in the published layout"):
        from_data("math", tmp_path)
    with pytest.raises(DataError, match="Did you mean 'tools'"):
        from_data("tool", tmp_path)
