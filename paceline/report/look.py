"""`paceline probe`: a model looked at by every probe that can say something of it, on the same texts. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paceline
from paceline import plugins
from paceline.bench.long_prompts import LEAST, long_prompts
from paceline.bench.tasks import encode, read_prompts
from paceline.core.checks import whole
from paceline.core.reading import Reading
from paceline.errors import ModelError, RequestError
from paceline.lm.trace import subject

__all__ = ["Config", "Look", "look"]

FEW = 16  # texts, below which intervals are wide
KINDS = ("document", "completion", "needle")  # of text, in the order in which they are added


@dataclass(frozen=True)
class Config:
    """What to look at, and on what. probes: specs; none given = every one there is. prompts: a file of prompts (JSON lines), as
    for the benchmark; None = documents and code that every Python carries. length: tokens of a text. texts: how many at most.
    random_tokens: uniform random tokens in place of each text. Raises RequestError or SpecError on bad values.
    """

    model: str
    probes: tuple[str, ...] = ()
    prompts: str | None = None
    length: int = 512
    texts: int = 16
    random_tokens: bool = False

    def __post_init__(self) -> None:
        whole("length", self.length, 2)
        whole("texts", self.texts, 1)
        for spec in self.probes:
            plugins.make("probe", spec)


@dataclass(frozen=True)
class Look:
    """What was seen of a model; left_out: probe -> why it could say nothing; notes: on the texts."""

    config: Config
    readings: tuple[Reading, ...]
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"version": paceline.__version__, "settings": asdict(self.config), "notes": list(self.notes),
                "left_out": self.left_out, "readings": [reading.to_json() for reading in self.readings]}


def look(config: Config) -> Look:
    """Open the model, read the texts once and ask every probe. Raises ModelError where no probe can say anything."""
    prompts = read_prompts(Path(config.prompts)) if config.prompts else shipped(config.length)  # before the weights
    model = subject(config.model)
    texts, short = tokens(model.tokenizer, prompts, config)
    left_out: dict[str, str] = {}
    found = paceline.probe(model, config.probes or plugins.names("probe"), texts, length=config.length,
                           tokens="random" if config.random_tokens else "given", left_out=left_out)
    if not found:
        raise ModelError(" ".join(left_out.values()))
    return Look(config, tuple(found), left_out, tuple(notes(len(texts), short, config.length)))


def notes(texts: int, short: int, length: int) -> Iterator[str]:
    """What has to be known of the texts."""
    if short:
        yield f"Shorter than {length} tokens and left out: {short} of the texts."
    if texts < FEW:
        yield f"Texts read: {texts}. Few can be far from the mean of many; take {FEW}."


def shipped(length: int) -> list[Any]:
    """Prompts of so many tokens, kind after kind."""
    return [prompt for kind in KINDS for prompt in long_prompts(kind, max(length, LEAST))]


def tokens(words: Any, prompts: Sequence[Any], config: Config) -> tuple[list[list[int]], int]:
    """Token ids of as many texts as are wanted, and how many were too short. Raises RequestError where no text is left."""
    if config.random_tokens:
        return [opening(words, config.length)] * config.texts, 0
    if words is None:
        raise RequestError(f"{config.model!r} has no tokenizer, so it can read no text: add --random-tokens.")
    if not (texts := [encode(words, prompt) for prompt in prompts]):
        raise RequestError(f"{config.prompts} holds no text.")
    long = [text for text in texts if len(text) >= config.length]
    if not long:
        longest = max(map(len, texts))
        raise RequestError(f"No text has {config.length} tokens, the longest of {len(texts)} has {longest}: give a smaller "
                           "--length, or longer texts.")
    return long[: config.texts], len(texts) - len(long)


def opening(words: Any, length: int) -> list[int]:
    """So many ids, of which a start token, where the tokenizer puts one, is the only one that stays."""
    first = [] if words is None else list(words("")["input_ids"])[:1]
    return [*first, *[0] * length][:length]
