"""One training run of the study: a small model, what differs from the default, and its sinks along the steps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline.models.small_lm import Shape, SmallLM, visible

__all__ = ["Setting", "Sizes", "importance", "read", "trained"]

VOCABULARY = 128  # bytes of ASCII; the others are one id
START = 1  # a byte that no text has
FIRST = 4  # of how many first keys the figures are kept
STRICT = 0.3  # a head sinks on a key that gets more than this share, on average, of the queries that see it
LOOKS = 8  # at a model on its way, closer to each other at the start


@dataclass(frozen=True)
class Setting:
    """What one run changes: the shape, the optimiser, the data.

    lr, decay: of AdamW. unique: bytes of text that are repeated, 0 = all. start: at which place of every row the start token
    stands, None = nowhere. random: places whose byte is drawn anew for every row.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-2
    decay: float = 0.1
    unique: int = 0
    start: int | None = 0
    random: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """Of every run: rows x length bytes a step; what is measured on so many held-out rows."""

    shape: Shape = Shape(VOCABULARY, width=64, layers=2, heads=8, ffn=128)
    steps: int = 240
    rows: int = 8
    length: int = 64
    held: int = 100


def read(texts: list[str]) -> np.ndarray:
    """Text behind text as bytes, those that are not ASCII as one id."""
    return np.minimum(np.frombuffer("\n".join(texts).encode(), np.uint8), VOCABULARY - 1)


def trained(setting: Setting, sizes: Sizes, seed: int, texts: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Figures at step 0 and at `LOOKS` more; random: heads that sink on random bytes. texts: to learn, and held out."""
    model = begun(replace(sizes.shape, **setting.shape), seed)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, betas=(0.9, 0.95), weight_decay=setting.decay, fused=True)
    steps, learned = sizes.steps, texts[0][: setting.unique or None]
    looks = {round(steps * (i / LOOKS) ** 2) for i in range(1, LOOKS + 1)}
    held = rows(texts[1], setting, sizes.held, sizes.length + 1, [0])
    history = [looked_at(model, held) | {"step": 0}]
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = setting.lr * min(1.0, 8 * step / steps)
        optimizer.zero_grad()
        batch = rows(learned, setting, sizes.rows, sizes.length + 1, [seed, step])
        loss_of(model, batch, model(batch[:, :-1]), model.shape.prefix - 1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in looks:
            history.append(looked_at(model, held) | {"step": step})
    lots = rows(texts[1], replace(setting, random=tuple(range(sizes.length))), sizes.held, sizes.length + 1, [0])
    return {"setting": asdict(setting), "history": history, "random": looked_at(model, lots)["sink"]}


def begun(shape: Shape, seed: int) -> SmallLM:
    """Weights begin as large as keeps the size of what they read, N(0, 1 / inputs), the embedding at N(0, 0.05): from 0.02, at
    this width, attention stays even for longer than these runs last.
    """
    model = SmallLM(shape, seed)
    for part in model.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
    nn.init.normal_(model.embed.weight, std=0.05)
    return model


def rows(text: np.ndarray, setting: Setting, count: int, length: int, seed: list[int]) -> Tensor:
    """`count` rows [B, length] from random places, the same for one seed, as the setting changes them."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(text) - length + 1, count)
    chosen = text[starts[:, None] + np.arange(length)].astype(np.int64)
    for place in setting.random:
        chosen[:, place] = rng.integers(START + 1, VOCABULARY, count)
    if setting.start is not None:
        chosen[:, setting.start] = START
    return torch.from_numpy(chosen)


def loss_of(model: SmallLM, tokens: Tensor, logits: Tensor, skipped: int) -> Tensor:
    """Mean loss in nats of all but the first so many predictions."""
    return F.cross_entropy(logits[:, skipped:].flatten(0, 1), tokens[:, 1 + skipped :].flatten())


@torch.inference_mode()
def looked_at(model: SmallLM, tokens: Tensor) -> dict[str, Any]:
    """Loss behind the first bytes, which settings change; for the extra key, where there is one, and for the first keys: the
    share of heads that sink on it, row by row and then averaged, and its mean attention; the strongest head's on the first token.
    """
    maps: list[Tensor] = []
    logits, extra = model(tokens[:, :-1], maps), int(model.shape.bias in ("k", "kv"))
    shares = importance(model.shape, torch.stack(maps))
    return {
        "loss": round(float(loss_of(model, tokens, logits, FIRST)), 4), "extra": extra,
        "sink": rounded((shares > STRICT).float().mean((0, 1, 2))), "mean": rounded(shares.mean((0, 1, 2))),
        "strongest": rounded(shares.mean(1).flatten(0, 1)[:, extra].amax(0)),
    }  # fmt: skip


def rounded(x: Tensor) -> Any:
    return np.round(x.double().numpy(), 4).tolist()


def importance(shape: Shape, maps: Tensor) -> Tensor:
    """Mean attention [L, B, H, keys] that an extra key and the first four get from the queries that see them.

    Weights that do not sum to one are divided by the sum of their sizes, for this figure alone (arXiv 2410.10781, section 7).
    """
    length = maps.shape[-2]
    extra = maps.shape[-1] - length
    shares = maps.abs() / maps.abs().sum(-1, keepdim=True).clamp_min(1e-9)
    seen = F.pad(visible(shape, length), (extra, 0), value=True).sum(0)
    return (shares.sum(-2) / seen)[..., : extra + FIRST]
