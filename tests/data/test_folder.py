"""Anyone's texts: files of every kind, in order, and what is wrong with one said by file and line."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from paceline.data.corpus import Document, tokenise
from paceline.data.folder import fingerprint, joined, read_stream, split
from paceline.errors import DataError


@pytest.fixture(scope="module")
def words(model_folder: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(model_folder)


def texts_of(stream, words) -> list[str]:
    return [words.decode(stream.tokens[a:b].tolist()) for a, b in zip(stream.starts[:-1], stream.starts[1:], strict=True)]


def test_every_kind_of_file_is_read(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n\n{"messages": [{"role": "user", "content": "three"}]}\n')
    (tmp_path / "c.bin").write_text("not a text")
    tokenise([Document("four"), Document("five")], words).save(tmp_path / "d.npz")
    stream = read_stream(tmp_path, words)
    assert texts_of(stream, words) == ["four", "five", "one<eos>", "two<eos>", "user: three\nassistant: <eos>"]
    assert len(stream.learn) == len(stream.tokens) == stream.starts[-1] and stream.learn.all()
    assert texts_of(read_stream(tmp_path / "a.txt", words), words) == ["one<eos>"]


def test_of_a_prompt_with_its_answer_the_answer_is_learned(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "two and two?", "answer": " four", "kind": 1}\n')
    stream = read_stream(tmp_path, words)
    assert texts_of(stream, words) == ["two and two? four<eos>"] and words.decode(stream.tokens[stream.learn]) == " four<eos>"


BAD = [
    (b"{", "line 2: expected JSON"), (b"3", "line 2: expected a JSON object"), (b'{"words": 1}', "line 2: expected a field text"),
    (b'{"text": 5}', "line 2: .* found 5 in text"),
    (b'{"text": "\xe9"}', "line 2: expected text in UTF-8; found the byte 0xe9"),
    (b'{"text": "\\ud83d"}', "line 2: expected whole characters"), (b"[" * 99999, "line 2: expected JSON"),
    (b'{"messages": []}', "line 2: Expected messages"), (b'{"messages": {"role": "user"}}', "line 2: Expected messages"),
    (b'{"messages": [{"content": "a"}]}', r"line 2: messages\[0\] must be a message"),
    (b'{"messages": [{"role": "user", "content": [{"type": "image", "url": "a"}]}]}', "line 2: .* list of parts of type text"),
    (b'{"messages": [{"role": "system", "content": "a"}]}', "line 2: .* refuses these messages .*: no system role"),
    (b'{"messages": [{"role": "user", "content": "a"}], "tools": {"name": "f"}}', "line 2: expected 'tools' to be a list"),
]


@pytest.fixture
def strict(words: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A template that refuses the system role and knows tools."""
    words = copy.deepcopy(words)
    words.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}"
        "{% for m in messages %}{{ m.role + ' ' + m.content }};{% endfor %}"
    )
    return words


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_bad_line_is_named_or_left_out(line: bytes, said: str, strict: PreTrainedTokenizerFast, tmp_path: Path,
                                         caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b'\n{"text": "good"}')
    with pytest.raises(DataError, match=said):
        read_stream(tmp_path, strict)
    assert texts_of(read_stream(tmp_path, strict, skip_bad=True), strict) == ["fine<eos>", "good<eos>"]
    assert "1 files or lines were left out" in caplog.text and re.search(said, caplog.text)


def test_what_is_unusual_but_right_is_read(strict: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    user = '"messages": [{"role": "user", "content": "a"}]'
    rows = ['{"text": "a\u2028b\u2029c\x85d"}', f'{{{user}, "tools": null}}', f'{{{user}, "tools": [{{"name": "f"}}]}}']
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8", newline="")
    (tmp_path / "b.txt").write_text("\ufeffone\r\ntwo", encoding="utf-8", newline="")
    assert texts_of(read_stream(tmp_path, strict), strict) == [
        "a\u2028b\u2029c\x85d<eos>", "user a;<eos>", "<f>user a;<eos>", "one\ntwo<eos>"]


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.txt", b"caf\xe9", "a.txt: expected text in UTF-8"), ("a.npz", b"text", "a.npz: expected a token stream"),
    ("a.npz", b"", "a.npz: expected a token stream"),
])
def test_a_bad_file_is_named(name: str, content: bytes, said: str, words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_stream(tmp_path, words)


def test_data_are_told_apart_by_names_and_contents_and_not_by_place(tmp_path: Path) -> None:
    def data(name: str, **files: str) -> Path:
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file.replace("_", ".")).write_text(text)
        return tmp_path / name

    first = fingerprint(data("first", a_txt="one", b_txt="two"))
    assert first == fingerprint(data("moved", a_txt="one", b_txt="two", DS_Store="?"))
    others = [data("text", a_txt="one", b_txt="tow"), data("cut", a_txt="onet", b_txt="wo"),
              data("name", a_txt="one", c_txt="two")]
    assert len({first, *map(fingerprint, others)}) == 4


def test_nothing_to_read_and_strange_ids_are_said(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        read_stream(tmp_path, words)
    stream = tokenise([Document("abc")], words)
    type(stream)(stream.tokens + 9999, stream.starts, stream.learn, 3).save(tmp_path / "x.npz")
    with pytest.raises(DataError, match="another tokenizer"):
        read_stream(tmp_path, words)


def test_documents_are_held_out_whole(words: PreTrainedTokenizerFast) -> None:
    stream = tokenise([Document(f"text {i}") for i in range(10)], words)
    rest, held = split(stream, 5)
    assert texts_of(held, words) == ["text 4", "text 9"] and len(texts_of(rest, words)) == 8
    assert rest.bytes + held.bytes == stream.bytes
    assert np.array_equal(np.sort(joined([rest, held]).tokens), np.sort(stream.tokens))
    few = tokenise([Document(f"text {i}") for i in range(3)], words)
    assert [texts_of(part, words) for part in split(few, 50)] == [["text 0", "text 1"], ["text 2"]]
    parts = split(tokenise([Document("0123456789" * 5)], words), 50)
    assert [texts_of(part, words) for part in parts] == [["0123456789" * 4 + "012345678"], ["9"]]
    with pytest.raises(DataError, match="more documents"):
        split(tokenise([Document("1")], words), 5)
