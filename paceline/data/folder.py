"""Anyone's texts as a token stream: plain text, JSON lines, or streams made before, one file or a folder of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from paceline.data.corpus import Document, Stream, tokenise
from paceline.errors import DataError, RequestError
from paceline.files import decoded, lines, read_bytes, record_in
from paceline.toolcalls.conversation import conversation, tools_of

__all__ = ["fingerprint", "read_stream", "split"]

log = logging.getLogger("paceline")

TEXTS = (".txt", ".md", ".py")
KINDS = (*TEXTS, ".jsonl", ".npz")


def files_below(path: Path) -> list[Path]:
    """The files that are read, in order. Raises DataError where there is nothing."""
    if not path.exists():
        raise DataError(f"There is no data at {path}: name a file or folder with --data.")
    found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [file for file in found if file.suffix in KINDS]


def fingerprint(path: Path) -> str:
    """Tells data apart: by the names below ``path`` and the contents of all files that are read."""
    files, digest = files_below(path), hashlib.blake2b(digest_size=8)
    for file in files:
        content = read_bytes(file)
        digest.update(f"{file.relative_to(path).as_posix()} {len(content)} ".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return f"{digest.hexdigest()} ({len(files)} files)"


def read_stream(path: Path, tokenizer: PreTrainedTokenizerBase, skip_bad: bool = False) -> Stream:
    """All documents below ``path``: ``.txt``, ``.md`` and ``.py`` files whole, a document for each line of a ``.jsonl`` file
    (``text``; ``prompt`` and ``answer``, of which the answer alone is learned; or ``messages`` with or without ``tools``, put
    through the chat template), and ``.npz`` streams for this tokenizer as they are.

    Raises DataError where there are none, or with the file and line that cannot be read; with ``skip_bad`` such files and lines
    are left out, counted and named in the log.
    """
    files = files_below(path)
    bad: list[str] | None = [] if skip_bad else None
    texts = [document for file in files for document in documents(file, tokenizer, bad)]
    if bad:
        log.warning("%d files or lines were left out, the first of them: %s", len(bad), "; ".join(bad[:3]))
    streams = [Stream.load(file) for file in files if file.suffix == ".npz"] + ([tokenise(texts, tokenizer)] if texts else [])
    if not streams:
        raise DataError(f"Expected .txt, .md, .py, .jsonl or .npz files in {path}, found none.")
    if max(int(s.tokens.max(initial=0)) for s in streams) >= len(tokenizer):
        raise DataError(f"A stream in {path} was made with another tokenizer: it has ids beyond {len(tokenizer) - 1}.")
    return joined(streams)


def documents(file: Path, tokenizer: PreTrainedTokenizerBase, bad: list[str] | None = None) -> Iterator[Document]:
    """The documents of one file, between the tokenizer's begin and end marks. bad: takes what is wrong with a file or a line,
    which is then left out; without it that is an error."""
    begin, end = tokenizer.bos_token or "", tokenizer.eos_token or ""
    for where, raw in pieces(file):
        try:
            whole = file.suffix in TEXTS
            yield Document(begin + decoded(raw, where) + end) if whole else _line(raw, where, tokenizer, (begin, end))
        except DataError as error:
            if bad is None:
                raise
            bad.append(str(error))


def pieces(file: Path) -> Iterator[tuple[str, bytes]]:
    """(where, bytes) of what becomes a document: a whole text file, each line of a ``.jsonl`` file."""
    if file.suffix in TEXTS:
        yield str(file), read_bytes(file)
    elif file.suffix == ".jsonl":
        yield from lines(file)


def _line(raw: bytes, where: str, tokenizer: PreTrainedTokenizerBase, marks: tuple[str, str]) -> Document:
    """One line's document between the marks; a conversation's begin mark is the template's."""
    record, (begin, end) = record_in(raw, where), marks
    text, asked, answer = (record.get(name) for name in ("text", "prompt", "answer"))
    if isinstance(text, str):
        return Document(begin + text + end)
    if isinstance(asked, str) and isinstance(answer, str):
        return Document(begin + asked + answer + end, unlearned=len(begin + asked))
    if "messages" not in record:
        found = f"{text!r:.40} in text" if "text" in record else sorted(record)
        raise DataError(f"{where}: expected a field text, which holds text, prompt and answer, or messages; found {found}.")
    try:
        return Document(conversation(tokenizer, record["messages"], tools_of(record, where), reply=False) + end)
    except RequestError as error:
        raise DataError(f"{where}: {error}") from error


def joined(streams: list[Stream]) -> Stream:
    """Several streams as one."""
    offsets = np.cumsum([0, *(len(s.tokens) for s in streams)])
    starts = np.concatenate([[0], *(s.starts[1:] + offset for s, offset in zip(streams, offsets, strict=False))])
    tokens, learn = (np.concatenate([getattr(s, name) for s in streams]) for name in ("tokens", "learn"))
    return Stream(tokens, starts.astype(np.int64), learn, sum(s.bytes for s in streams))


def split(stream: Stream, every: int) -> tuple[Stream, Stream]:
    """(the other documents, every ``every``-th document; of fewer the last, and of one the end)."""
    total = len(stream.tokens)
    if len(stream.starts) == 2 and total > 1:
        stream = replace(stream, starts=np.array([0, total - max(1, total // every), total]))
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
