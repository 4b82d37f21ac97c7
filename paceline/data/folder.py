"""Anyone's texts as a token stream: plain text, JSON lines, or streams made before, one file or a folder of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from paceline.data.corpus import Document, Stream, tokenise
from paceline.data.read import text_of
from paceline.errors import DataError

__all__ = ["read_stream", "split"]

log = logging.getLogger("paceline")

TEXTS = (".txt", ".md", ".py")


def read_stream(path: Path, tokenizer: PreTrainedTokenizerBase, skip_bad: bool = False) -> Stream:
    """All documents below ``path``: ``.txt``, ``.md`` and ``.py`` files whole, a document for each line of a ``.jsonl`` file
    (``text``, or ``messages`` put through the chat template), and ``.npz`` streams for this tokenizer as they are.

    Raises DataError where there are none, or with the file and line that cannot be read; with ``skip_bad`` such lines are left
    out, counted and named in the log.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    bad: list[str] | None = [] if skip_bad else None
    texts = [document for file in files for document in documents(file, tokenizer, bad)]
    if bad:
        log.warning("%d lines were left out, the first of them: %s", len(bad), "; ".join(bad[:3]))
    streams = [Stream.load(file) for file in files if file.suffix == ".npz"] + ([tokenise(texts, tokenizer)] if texts else [])
    if not streams:
        raise DataError(f"Expected .txt, .md, .py, .jsonl or .npz files in {path}, found none.")
    if max(int(s.tokens.max()) for s in streams) >= len(tokenizer):
        raise DataError(f"A stream in {path} was made with another tokenizer: it has ids beyond {len(tokenizer) - 1}.")
    return joined(streams)


def documents(file: Path, tokenizer: PreTrainedTokenizerBase, bad: list[str] | None = None) -> Iterator[Document]:
    """The documents of one file, between the tokenizer's begin and end marks. bad: takes what is wrong with a line, which is then
    left out; without it that is an error."""
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token or ""
    if file.suffix in TEXTS:
        yield Document(f"{begin}{text_of(file)}{end}")
    elif file.suffix == ".jsonl":
        for number, line in enumerate(text_of(file).splitlines(), 1):
            if line.strip():
                try:
                    yield Document(_text(line, f"{file}, line {number}", tokenizer, begin, end))
                except DataError as error:
                    if bad is None:
                        raise
                    bad.append(str(error))


def _text(line: str, where: str, tokenizer: PreTrainedTokenizerBase, begin: str, end: str) -> str:
    try:
        record: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: expected one JSON object; {error}.") from error
    if isinstance(record, dict) and isinstance(record.get("text"), str):
        return f"{begin}{record['text']}{end}"
    if isinstance(record, dict) and isinstance(record.get("messages"), list):
        return f"{tokenizer.apply_chat_template(record['messages'], tokenize=False)}{end}"
    found = sorted(record) if isinstance(record, dict) else repr(record)
    raise DataError(f"{where}: expected a field text or messages; found {found}.")


def joined(streams: list[Stream]) -> Stream:
    """Several streams as one."""
    offsets = np.cumsum([0, *(len(s.tokens) for s in streams)])
    starts = np.concatenate([[0], *(s.starts[1:] + offset for s, offset in zip(streams, offsets, strict=False))])
    tokens, learn = (np.concatenate([getattr(s, name) for s in streams]) for name in ("tokens", "learn"))
    return Stream(tokens, starts.astype(np.int64), learn, sum(s.bytes for s in streams))


def split(stream: Stream, every: int) -> tuple[Stream, Stream]:
    """(the other documents, every ``every``-th document; of fewer the last)."""
    count = len(stream.starts) - 1
    every = min(every, count)
    held = np.arange(count) % every == every - 1
    return _only(stream, ~held), _only(stream, held)


def _only(stream: Stream, kept: np.ndarray) -> Stream:
    if not kept.any():
        raise DataError(f"Expected more documents than {len(kept)}: some are held out to measure on.")
    lengths = np.diff(stream.starts)
    tokens = np.repeat(kept, lengths)
    share = tokens.sum() / max(len(tokens), 1)
    starts = np.concatenate([[0], np.cumsum(lengths[kept])])
    return Stream(stream.tokens[tokens], starts, stream.learn[tokens], round(stream.bytes * share))
