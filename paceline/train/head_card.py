"""Model cards of the zoo's draft heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from paceline.models.draft_head.head import Head
from paceline.train.card import RECORD

__all__ = ["HeadMaking", "write_head"]

_PAPERS = {"glide": "GliDe (Du et al. 2024, arXiv 2402.02082)", "longspec": "LongSpec (Yang, Du et al. 2025, arXiv 2502.17421)"}


@dataclass(frozen=True)
class HeadMaking:
    """How a head came to be: its ``name``, ``tokens`` and ``seconds`` of training, ``rates``: for each kind of held-out text the
    share of tokens it drafts as the target would, 1, 2, … tokens ahead; ``written`` tokens of the target's own, ``own`` their
    share."""

    name: str
    tokens: int
    seconds: float
    rates: dict[str, list[float]]
    written: int
    own: float


def write_head(head: Head, making: HeadMaking, folder: Path) -> None:
    """A head's folder: bf16 weights, configuration, card, and the record of its training."""
    head.to(torch.bfloat16).save_pretrained(folder)
    record = {"tokens": making.tokens, "minutes": round(making.seconds / 60, 1), "accept_per_position": making.rates}
    (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(head, making), encoding="utf-8")


def _card(head: Head, making: HeadMaking) -> str:
    s, count = head.shape, sum(p.numel() for p in head.parameters()) / 1e6
    window = f", self-attention over the last {s.window} tokens" if s.window else ""
    shared = "the target's embedding and output head" if s.shared else "an embedding and an output head of its own"
    layers = ", ".join(map(str, s.reads))
    reads = f"reading the target's cached keys and values (layer {layers} from the end)" if s.reads else "reading nothing of it"
    rows = [f"| {kind} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |" for kind, rates in making.rates.items()]
    ahead = " | ".join(str(i + 1) for i in range(s.block))
    return f"""\
---
license: cc-by-sa-4.0
language: en
---
# zoo:tiny-{making.name}

A draft head for Paceline's embedded model `zoo:tiny`, after {_PAPERS.get(s.method, s.method)}:
{s.layers} block of width {s.width}, {reads}{window}, with {shared}.
{count:.2f} M parameters, weights in bfloat16.

## Agreement with the target

Percent of held-out tokens on which the head's likeliest token is the target's, by how far ahead of the newest key it reads;
teacher forced, rows of 1,024 tokens. "its own" is text that the target wrote, part of which the head was trained on.

| text | {ahead} |
|{"---|" * (s.block + 1)}
{chr(10).join(rows)}

## Made by

```
paceline cook train_zoo_drafters --data DIR --out DIR --tokens {making.tokens}
```

{making.tokens / 1e6:.1f} M tokens in {making.seconds / 60:.0f} minutes on two CPU cores (pauses included; all heads of the run
together), {100 * making.own:.0f} % of them from {making.written / 1e6:.1f} M that the target wrote, the rest the texts it learned
from (see its card, whose licence this one follows). Objective: KL to the target's law (90 %) and cross-entropy (10 %). Muon for
the hidden matrices (0.02), AdamW for the rest (0.003); 8,192 tokens a step, in rows of 512 with offset positions and at the end
of the full context.
"""
