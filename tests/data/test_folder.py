"""Anyone's texts: files of every kind, in order, and what is wrong with one said by file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from paceline.data.corpus import Document, tokenise
from paceline.data.folder import joined, read_stream, split
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
    assert len(stream.learn) == len(stream.tokens) == stream.starts[-1]
    assert texts_of(read_stream(tmp_path / "a.txt", words), words) == ["one<eos>"]


@pytest.mark.parametrize(("line", "said"), [("{", "line 2: expected one JSON object"), ("3", "line 2: expected a field"),
                                            ('{"words": 1}', "line 2: expected a field text")])
def test_a_bad_line_is_named(line: str, said: str, words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + line)
    with pytest.raises(DataError, match=said):
        read_stream(tmp_path, words)


def test_bad_lines_are_left_out_where_that_is_asked_for(words: PreTrainedTokenizerFast, tmp_path: Path,
                                                        caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{\n{"words": 1}\n{"text": "good"}\n')
    assert texts_of(read_stream(tmp_path, words, skip_bad=True), words) == ["fine<eos>", "good<eos>"]
    assert "2 lines were left out" in caplog.text and "line 2" in caplog.text


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
    with pytest.raises(DataError, match="more documents"):
        split(tokenise([Document("one")], words), 5)
