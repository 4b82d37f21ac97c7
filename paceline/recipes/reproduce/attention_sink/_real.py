"""The sinks of a model as it is: on text, behind a start token, on random tokens and on one token repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import paceline
from paceline.bench.long_prompts import LEAST, long_prompts
from paceline.bench.tasks import Prompt, encode, read_prompts
from paceline.core.reading import Figure, listed
from paceline.data.read import stdlib
from paceline.lm.trace import subject

__all__ = ["real"]

T = 64  # tokens of a text that count


def real(name: str, prompts: Path | None, count: int) -> dict[str, Any]:
    """Figures of each kind of text, with 95 % bootstrap intervals over texts."""
    model = subject(name)
    texts = [encode(model.tokenizer, prompt) for prompt in (read_prompts(prompts) if prompts else carried())[:count]]
    lots = torch.randint(model.vocab, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    kinds: dict[str, Any] = {
        "text": (texts, {"start_token": False}), "start token first": (texts, {"start_token": True}),
        "random tokens": (texts, {"start_token": False, "tokens": "random"}),
        "one token": ([[token] * T for token in lots], {}),
    }  # fmt: skip
    return {kind: figures(model, given, options) for kind, (given, options) in kinds.items()}


def carried() -> list[Prompt]:
    """Texts that every Python has: its reference and its library, then openings of files."""
    given = [*long_prompts("document", LEAST), *long_prompts("completion", LEAST)]
    return given + [Prompt("library", text=text[: 8 * T]) for text in stdlib(True)]


def figures(model: Any, texts: list[list[int]], options: dict[str, Any]) -> dict[str, Any]:
    """sink: share of heads on the first key. layers: the same by layer. massive, share, written: by layer, as the probe has them,
    the latter two in the mean over heads.
    """
    [reading] = paceline.probe(model, f"sinks:length={T}", texts, length=T, **options)
    values = reading.values
    return {
        "texts": reading.texts, "sink": first(values["total"]), "layers": listed(values["sink"].mean[:, 0]),
        "massive": listed(values["massive"].mean), "share": listed(values["share"].mean.mean(-1)),
        "written": listed(values["written"].mean.mean(-1)),
    }  # fmt: skip


def first(figure: Figure) -> list[float]:
    """Mean, and both ends of the interval, of the first key."""
    return [float(each[0]) for each in (figure.mean, *figure.interval())]
