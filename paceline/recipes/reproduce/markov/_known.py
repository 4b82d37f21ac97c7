"""Small translators trained on a language of known order, and how many of its endings they have right."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paceline.models.translation.body import padded
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.markov import Markov
from paceline.recipes.reproduce.markov._grammar import LENGTH, VOCABULARY, Drawn, Rule, drawn, taken_apart
from paceline.train.loop import Loop, train
from paceline.train.translation import batches, token_by_token

__all__ = ["ALL", "APART", "LINES", "TOGETHER", "Line", "Size", "learned", "made"]

ALL = 0  # the order of a model that sees every token before
APART = ((1,), (2,), (3,), (4,), (5,), (6,), (ALL,))
TOGETHER = (tuple(order for (order,) in APART),)


@dataclass(frozen=True)
class Line:
    """A language, the orders that each of several models learns, the first order that is enough, by construction, and how models
    keep their order."""

    rule: Rule
    models: tuple[tuple[int, ...], ...]
    enough: int
    leak_free: str = "transparent"


@dataclass(frozen=True)
class Size:
    """Of every model, encoder and decoder having so many layers each, and of its training."""

    width: int = 64
    layers: int = 2
    rows: int = 32
    steps: int = 200  # three times as many where one model learns several orders
    learned: int = 16384  # sentences
    asked: int = 512


NEAR, FAR = Rule("agreement", 2), Rule("agreement", 3)
LINES = {
    "agreement over 3 tokens": Line(FAR, APART, 3),
    "agreement over 3, band mask alone": Line(FAR, APART[:3], 2, "none"),  # two layers reach 2 (k - 1) + 1 tokens
    "a free choice 5 tokens before, one model for all k": Line(Rule("free choice", 5), TOGETHER, 5),
    "the same choice in the source, one model for all k": Line(Rule("choice in the source", 5), TOGETHER, 1),
    "agreement over 2 tokens": Line(NEAR, APART[:3], 2),
    "agreement over 3, one model for all k": Line(FAR, TOGETHER, 3),
    "agreement over 3, content-mlp": Line(FAR, APART[1:3], 3, "content-mlp"),
}


def made(line: Line, size: Size) -> Markov:
    """With weights of about 1 / sqrt(width): with 0.02, which is for wide models, what has to pass two layers is too faint at the
    beginning to be found soon."""
    model = Markov(TranslationConfig(
        vocabulary=VOCABULARY, width=size.width, heads=4, ffn=4 * size.width, layers=size.layers, decoder_layers=size.layers,
        longest=LENGTH, dropout=0.0, leak_free=line.leak_free,
    ))  # fmt: skip
    for weights in model.parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, std=size.width**-0.5)
    return model


def learned(line: Line, orders: tuple[int, ...], size: Size, seed: int) -> dict[str, dict[str, float]]:
    """Train one model for these orders; for each of them the shares of right endings where the rule decides them, and of right
    words, on sentences that were not trained on. What stands before a token is given, so that no error follows from another.
    """
    torch.manual_seed(seed)
    model = made(line, size)
    feed: Any = batches(drawn(line.rule, size.learned, seed, 0).pairs, size.rows, seed)
    steps = size.steps * (1 if len(orders) == 1 else 3)
    with tempfile.TemporaryDirectory() as folder:
        train(model, feed, token_by_token(model, orders, 0.0), Loop(Path(folder), steps, autocast=False))
    test = drawn(line.rule, size.asked, seed, 1)
    return {str(order): right(model.eval(), test, order) for order in orders}


@torch.no_grad()
def right(model: Markov, test: Drawn, order: int) -> dict[str, float]:
    source, target = map(padded, test.pairs)
    likeliest = model(source, target, order)[:, :-1].argmax(-1)
    words, endings = (a == b for a, b in zip(taken_apart(likeliest.numpy()), taken_apart(target.numpy()), strict=True))
    return {"endings": float(endings[:, test.ruled].mean()), "words": float(words.mean())}
