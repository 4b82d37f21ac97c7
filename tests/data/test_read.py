"""Readers, on a few small files written here in the formats of the data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.data import read
from paceline.errors import DataError

SYSTEM = (
    "You help.\n\n**Available Tools**\n1. Name: AddAlarm\nDescription: Adds an alarm.\n"
    "Parameters: {'time': {'type': 'str', 'description': \"The alarm's time.\"}, 'loud': {'type': 'bool'}}\n"
    "2. Name: Now\nDescription: The time.\nParameters: {}\n\n**Only generate Tool Calls**"
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_gsm8k_loses_its_calculator_marks(tmp_path: Path) -> None:
    line = {"question": "48/2?", "answer": "It is 48/2=<<48/2=24>>24.\n#### 24"}
    path = write(tmp_path / "train.jsonl", json.dumps(line) + "\n\n" + json.dumps(line) + "\n")
    assert read.gsm8k(path) == [("48/2?", "It is 48/2=24.\n#### 24")] * 2


def test_errors_name_the_file_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read.records(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="line 2"):
        read.records(write(tmp_path / "x.jsonl", '{"a": 1}\n{"a": \n'))
    with pytest.raises(DataError, match="expected JSON"):
        read.records(write(tmp_path / "y.json", '[{"a": 1}, '))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" The lobster , known as H. gammarus , is a crab @-@ like animal ( 3 @.@ 5 kg ) . ", None),
        (' He said " go home " and left ; it was Bob \'s . ', 'He said "go home" and left; it was Bob\'s.'),
        (" They did n't . ", "They didn't."),
        (" = = Early life = = ", "\nEarly life"),
        (" A <unk> one . A plain one . ", "A plain one."),
        (" = <unk> = ", ""),
    ],
)
def test_wikitext_reads_like_prose(line: str, expected: str | None) -> None:
    expected = "The lobster, known as H. gammarus, is a crab-like animal (3.5 kg)." if expected is None else expected
    assert read.detokenise(line) == expected


def test_wikitext_articles(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", " \n = One = \n \n It is one . \n = = Part = = \n More . \n = Two = \n Two it is . \n")
    assert read.wikitext(path) == ["One\nIt is one.\n\nPart\nMore.\n", "Two\nTwo it is.\n"]


def test_mending_puts_a_word_seen_between_the_same_neighbours() -> None:
    text = "a red fish swam . a red <unk> swam . the red boat sank ."
    assert read.mend(text) == "a red fish swam . a red fish swam . the red boat sank ."
    assert read.mend(text) == read.mend(text)


def test_stdlib_files_are_split_by_name(tmp_path: Path) -> None:
    for i in range(200):
        write(tmp_path / f"m{i}.py", f"x = {i}\n")
    write(tmp_path / "test" / "t.py", "test = 1\n")
    write(tmp_path / "site-packages" / "p.py", "other = 1\n")
    learned, measured = read.stdlib(False, tmp_path), read.stdlib(True, tmp_path)
    assert len(learned) + len(measured) == 200 and not set(learned) & set(measured)
    assert 3 <= len(measured) <= 20
    assert not any("test" in text or "other" in text for text in learned + measured)


def test_api_bank_keeps_its_own_format(tmp_path: Path) -> None:
    call = {"name": "AddAlarm", "parameters": {"time": "07:00"}}
    sample = {"system": SYSTEM, "user": "Wake me at 7. ", "answer": [call]}
    path = write(tmp_path / "level.json", json.dumps([sample, {**sample, "answer": call}, sample]))
    system, user, answer = read.api_bank(path, stop=2)[1]
    assert len(read.api_bank(path, stop=2)) == 2 and user["content"] == "Wake me at 7."
    assert answer["content"] == f"```<tool_call>\n{json.dumps(call)}\n</tool_call>\n```"
    alarm, now = read.native_tools(system["content"])
    assert alarm["parameters"]["properties"]["time"] == {"type": "string", "description": "The alarm's time."}
    assert alarm["parameters"]["properties"]["loud"]["type"] == "boolean"
    assert now == {
        "name": "Now",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    }


def test_bfcl_takes_the_first_accepted_value(tmp_path: Path) -> None:
    tool = {"name": "area", "parameters": {"type": "dict", "properties": {"base": {"type": "float"}}}}
    question = {"id": "x_0", "question": [[{"role": "user", "content": "Area?"}]], "function": [tool]}
    accepted = {"base": [10, 10.0], "unit": ["", "cm"], "box": [{"w": [3, 4], "h": ["", 1]}], "list": [[1, 2]]}
    write(tmp_path / "x.json", json.dumps(question) + "\n")
    write(tmp_path / "possible_answer" / "x.json", json.dumps({"id": "x_0", "ground_truth": [{"area": accepted}]}))
    ((messages, tools),) = read.bfcl(tmp_path, "x")
    (call,) = messages[-1]["tool_calls"]
    assert call == {"name": "area", "arguments": {"base": 10, "box": {"w": 3, "h": ""}, "list": [1, 2]}}
    assert tools[0]["parameters"]["type"] == "object"
    assert tools[0]["parameters"]["properties"]["base"]["type"] == "number"


def test_passages_lose_nothing() -> None:
    text = "\n\n".join(f"Speech {i} " + "word " * 30 for i in range(50))
    parts = read.passages(text, size=1000)
    assert len(parts) > 5 and "".join(parts).rstrip("\n") == text


def test_functions_stand_by_themselves_from_their_def_on() -> None:
    text = "import os\n\nclass A:\n    @property\n    def long(self):\n        x = 1\n" + "        x += 1\n" * 9
    text += "        return x\n\n"
    text += "def short():\n    pass\n\nasync def late(n):\n" + "    await n\n" * 9
    found = read.functions(text)
    assert [f.splitlines()[0] for f in found] == ["async def late(n):", "def long(self):"]
    assert all(compile(f, "test", "exec") for f in found) and found[1].endswith("    return x\n")
    assert read.functions(text, longest=10) == [] and read.functions("def broken(:") == []
