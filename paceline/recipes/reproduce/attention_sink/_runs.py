"""One training run of the study: a small model, what differs from the default, and its sinks along the steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from paceline.files import replacing
from paceline.models.small_lm import Shape, SmallLM, visible

__all__ = ["Setting", "Sizes", "importance", "trained"]

SPECIAL = 1  # the token that stands at a fixed place
FIRST = 4  # of how many first keys the figures are kept
STRICT = 0.3  # a head sinks on a key that gets more than this share, on average, of the queries that see it


@dataclass(frozen=True)
class Setting:
    """What one run changes: the shape, the optimiser, the data.

    lr, decay: of AdamW. steps: as a share of the default's. unique: tokens of text that are repeated, 0 = all. places: which
    tokens of every row are drawn anew (`how="random"`) or are one special token ("fixed").
    """

    shape: dict[str, Any] = field(default_factory=dict)
    lr: float = 2e-3
    decay: float = 0.1
    steps: float = 1.0
    unique: int = 0
    how: Literal["", "random", "fixed"] = ""
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """Of every run: rows x length tokens a step; what is measured on so many held-out rows of `measured` tokens."""

    shape: Shape = Shape()
    steps: int = 1500
    rows: int = 16
    length: int = 128
    held: int = 100
    measured: int = 64


def trained(setting: Setting, sizes: Sizes, seed: int, texts: tuple[np.ndarray, np.ndarray], weights: Path) -> dict[str, Any]:
    """Train and look at about 16 moments, closer at the start; leaves the weights. texts: token ids to learn, and held out."""
    shape = Shape(**asdict(sizes.shape) | setting.shape)
    model, steps = SmallLM(shape, seed), round(sizes.steps * setting.steps)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, betas=(0.9, 0.95), weight_decay=setting.decay)
    learned = texts[0][: setting.unique or None]
    looks = {round(steps * (i / 16) ** 2) for i in range(1, 17)}
    history = [looked_at(model, setting, sizes, texts[1]) | {"step": 0}]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = setting.lr * min(1.0, (step + 1) / 100)
        optimizer.zero_grad()
        loss_of(model, rows(learned, setting, sizes.rows, sizes.length + 1, [seed, step])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step + 1 in looks:
            history.append(looked_at(model, setting, sizes, texts[1]) | {"step": step + 1})
    weights.parent.mkdir(parents=True, exist_ok=True)
    with replacing(weights) as fresh:
        save_file(model.state_dict(), fresh)
    return {"setting": asdict(setting), "history": history}


def rows(tokens: np.ndarray, setting: Setting, count: int, length: int, seed: list[int]) -> Tensor:
    """`count` rows [B, length] from random places, the same for one seed, as the setting changes them."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(tokens) - length + 1, count)
    chosen = torch.from_numpy(np.stack([tokens[start : start + length] for start in starts]).astype(np.int64))
    for place in setting.places:
        chosen[:, place] = SPECIAL if setting.how == "fixed" else torch.from_numpy(rng.integers(0, tokens.max() + 1, count))
    return chosen


def loss_of(model: SmallLM, tokens: Tensor) -> Tensor:
    """Mean loss in nats, without the predictions of tokens that a prefix shows."""
    logits, skipped = model(tokens[:, :-1]), model.shape.prefix - 1
    return F.cross_entropy(logits[:, skipped:].flatten(0, 1), tokens[:, 1 + skipped :].flatten())


@torch.inference_mode()
def looked_at(model: SmallLM, setting: Setting, sizes: Sizes, held: np.ndarray) -> dict[str, Any]:
    """Held-out loss, and of the extra key, where there is one, and of the first keys: the share of heads that sink on it and the
    mean attention that it gets, on text; the same share on random tokens.
    """
    text = rows(held, setting, sizes.held, sizes.measured + 1, [0])
    lots = torch.randint(model.shape.vocabulary, text.shape, generator=torch.Generator().manual_seed(0), dtype=torch.long)
    shares, chance = (importance(model, tokens[:, :-1]) for tokens in (text, lots))
    return {
        "loss": float(loss_of(model, text)), "extra": model.shape.bias in ("k", "kv"),
        "sink": (shares > STRICT).float().mean((0, 1, 2)).tolist(), "mean": shares.mean((0, 1, 2)).tolist(),
        "strongest": float(shares.mean(1).flatten(0, 1).amax(0)[int(model.shape.bias in ("k", "kv"))]),
        "random": (chance > STRICT).float().mean((0, 1, 2)).tolist(),
    }


def importance(model: SmallLM, tokens: Tensor) -> Tensor:
    """Mean attention [L, B, H, keys] that an extra key and the first four get from the queries that see them.

    Weights that do not sum to one are divided by the sum of their sizes, for this figure alone (arXiv 2410.10781, section 7).
    """
    maps: list[Tensor] = []
    model(tokens, maps)
    found = torch.stack(maps)
    extra = found.shape[-1] - tokens.shape[1]
    found = found.abs() / found.abs().sum(-1, keepdim=True).clamp_min(1e-9)
    seen = F.pad(visible(model.shape, tokens.shape[1]), (extra, 0), value=True).sum(0)
    return (found.sum(-2) / seen)[..., : extra + FIRST]
