"""Token streams: what is in them, what they keep on disk, and which documents make them up."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.data.corpus import Document, Stream, tokenise
from paceline.data.tokenizer import BOS, EOS, train_tokenizer
from paceline.data.zoo_texts import MEASURED, ORIGINS, SmallTexts
from paceline.errors import DataError

TOKENIZER = train_tokenizer(["one two three four five six\n" * 30], vocabulary=300)


def test_documents_end_to_end() -> None:
    head, body = f"{BOS}one two", f" three{EOS}"
    stream = tokenise([Document(f"{BOS}five six{EOS}"), Document(head + body, len(head))], TOKENIZER)
    assert TOKENIZER.decode(stream.tokens.tolist()) == f"{BOS}five six{EOS}{head}{body}"
    assert stream.starts.tolist()[0] == 0 and stream.starts.tolist()[-1] == len(stream.tokens)
    second = int(stream.starts[1])
    assert stream.first.nonzero()[0].tolist() == [0, second]
    unlearned = stream.tokens[second:][~stream.learn[second:]]
    assert TOKENIZER.decode(unlearned.tolist()) == head and stream.learn[:second].all()
    assert stream.bytes == len("five six") + len("one two three")


def test_a_stream_survives_the_disk(tmp_path: Path) -> None:
    stream = tokenise([Document("one two"), Document("three four")], TOKENIZER)
    stream.save(tmp_path / "a.npz")
    loaded = Stream.load(tmp_path / "a.npz")
    for name in ("tokens", "starts", "learn"):
        assert (getattr(loaded, name) == getattr(stream, name)).all()
    assert loaded.bytes == stream.bytes and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_no_documents_are_refused() -> None:
    with pytest.raises(DataError, match="at least one document"):
        tokenise([], TOKENIZER)


def test_every_source_and_kind_has_texts() -> None:
    texts = SmallTexts(Path("absent"), TOKENIZER, dialogues=5, seed=0)
    for name in ORIGINS:
        assert texts.train(name)
    for kind in MEASURED:
        assert texts.measured(kind)
    assert {origin.kind for origin in ORIGINS.values()} == set(MEASURED)
    for kind in MEASURED:
        assert sum(o.share for o in ORIGINS.values() if o.kind == kind) == pytest.approx(1)


def test_no_loss_on_the_system_turn_of_made_dialogues() -> None:
    document = SmallTexts(Path("absent"), TOKENIZER, dialogues=3, seed=0).train("dialogues")[0]
    assert document.text[: document.unlearned].endswith("<|im_end|>")
    assert document.text[document.unlearned :].startswith("\n<|im_start|>user\n")
