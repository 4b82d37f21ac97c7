"""Small models trained here, and their slash heads along the steps: on text, and on copying from a fixed distance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paceline.data.read import stdlib
from paceline.lm.interventions import BANDS
from paceline.models.small_lm import Shape, SmallLM
from paceline.probes._stability import correlation, ranks
from paceline.recipes.reproduce.slash_heads._heads import heads_of, meant, without

__all__ = ["Setting", "Sizes", "corpora", "trained"]

LOOKS, HELD = 8, 8  # moments that are looked at, and on so many rows
RATE, WARM = 2e-3, 50
SYMBOLS, RANDOM = 32, 1 << 20  # tokens to copy, as many again that are never learned; how many are drawn

Texts = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What one run changes of the shape, and what it learns: with `copy` n the token n before, of random ones, so that nothing
    but the distance tells which; with 0 the next byte of text.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    copy: int = 0

    @property
    def lag(self) -> int:
        """The distance that is watched."""
        return self.copy or 1


@dataclass(frozen=True)
class Sizes:
    """Of every run: rows x length tokens a step."""

    shape: Shape = Shape(vocabulary=256, width=64, layers=2, heads=4, ffn=172)
    steps: int = 300
    rows: int = 4
    length: int = 128


def corpora(copying: bool, few: bool = False) -> Texts:
    """Tokens to learn, held out, and of another kind: bytes of Python's standard library, and random ones of those that occur in
    it; or random symbols, and random ones of others. few: learn the held-out files, which are not many, to see that all works.
    """
    rng = np.random.default_rng(0)
    if copying:
        learned, held, other = rng.integers(0, SYMBOLS, (3, RANDOM), dtype=np.uint8)
        return learned, held, other + SYMBOLS
    learned, held = (np.frombuffer("\n".join(stdlib(measure)).encode(), np.uint8) for measure in (few, True))
    return learned, held, rng.choice(np.unique(held), RANDOM)


def trained(texts: Texts, sizes: Sizes, setting: Setting, seed: int) -> dict[str, Any]:
    """Train, and look about 8 times, closer at the start. texts: as `corpora` gives them."""
    model = SmallLM(Shape(**asdict(sizes.shape) | setting.shape), seed)
    optimizer, schedule = optimized(model)
    held, other = (rows(text, HELD, sizes.length, [0]) for text in texts[1:])
    looks, history = {round(sizes.steps * (i / LOOKS) ** 2) for i in range(1, LOOKS + 1)}, []
    for step in range(sizes.steps + 1):
        if step in looks | {0}:
            history.append({"step": step} | strongest(model, setting, held))
        optimizer.zero_grad()
        asked(model, setting, rows(texts[0], sizes.rows, sizes.length, [seed, step]))[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return {"history": history} | explained(model, setting, held, other)


def optimized(model: SmallLM) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW. Fixed queries and keys move as far in a step as projected ones, which all numbers of a token move together."""
    fixed = [each for name, each in model.named_parameters() if name.endswith("fixed")]
    others = [each for name, each in model.named_parameters() if not name.endswith("fixed")]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": fixed, "lr": RATE * model.shape.width, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, RATE, betas=(0.9, 0.95), weight_decay=0.1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM))


def rows(tokens: np.ndarray, count: int, length: int, seed: list[int]) -> Tensor:
    """`count` rows [B, T + 1] from random places, the same for one seed."""
    starts = np.random.default_rng(seed).integers(0, len(tokens) - length, count)
    return torch.from_numpy(np.stack([tokens[start : start + length + 1] for start in starts]).astype(np.int64))


def asked(model: SmallLM, setting: Setting, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss in nats, and the share of predictions that are right."""
    read, lag = tokens[:, :-1], setting.copy
    wanted = read[:, :-lag] if lag else tokens[:, 1:]
    logits = model(read)[:, lag:].flatten(0, 1)
    return F.cross_entropy(logits, wanted.flatten()), (logits.argmax(-1) == wanted.flatten()).float().mean()


@torch.no_grad()
def strongest(model: SmallLM, setting: Setting, held: Tensor) -> dict[str, Any]:
    """Loss; of the head with the best score at the watched distance, this score and its rank-one energies."""
    heads = heads_of(model, held[:, :-1])
    at = heads.best(setting.lag)
    return {"loss": told(asked(model, setting, held)[0]), "score": told(heads.scores[at, setting.lag]),
            "query": told(heads.query[at]), "key": told(heads.key[at])}


@torch.no_grad()
def explained(model: SmallLM, setting: Setting, held: Tensor, other: Tensor) -> dict[str, Any]:
    """After training. learned, foretold: the distance at which that head scores best, and the one its mean vectors foretell, with
    the score `law` at the watched one. other: its score on the other kind of tokens. along: over all heads, rank correlation of
    the score with the product of the energies. model: loss on text, share that is right of what is copied, as it is, without
    each rotary band, and with each head's mean query and key at all tokens.
    """
    heads, lag = heads_of(model, held[:, :-1]), setting.lag
    at = heads.best(lag)
    models = {"whole": model} | {band: without(model, band, held.shape[1] - 1) for band in BANDS} | {"mean": meant(model, heads)}
    return {"learned": int(heads.scores[at].argmax()), "foretold": int(heads.law[at].argmax()), "law": told(heads.law[at, lag]),
            "other": told(heads_of(model, other[:, :-1]).scores[at, lag]),
            "along": told(correlation(ranks(heads.scores[:, lag]), ranks(heads.query * heads.key))),
            "model": {name: told(asked(each, setting, held)[bool(setting.copy)]) for name, each in models.items()}}


def told(x: Tensor) -> float:
    return round(float(x), 4)
