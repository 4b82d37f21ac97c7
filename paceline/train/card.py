"""Model cards of the zoo: what a model is, what it learned from, how well it predicts unseen text, how it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from paceline.data.corpus import Stream
from paceline.data.zoo_texts import MEASURED, ORIGINS
from paceline.train.evaluate import HeldOut

__all__ = ["RECORD", "Making", "write_card"]

RECORD = "training.json"


@dataclass(frozen=True)
class Making:
    """How a model came to be: ``role`` (target or draft), ``tokens`` seen and ``seconds`` of training, the token
    ``streams`` by source, and each source's share of the training tokens. ``before``: the record of the model it went on
    from, None for fresh weights. ``written``: how many tokens the target wrote for a draft, and their share of its training."""

    role: str
    tokens: int
    seconds: float
    streams: Mapping[str, Stream]
    shares: Mapping[str, float]
    before: dict[str, Any] | None = None
    written: tuple[int, float] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """For whoever trains on: tokens and minutes of all runs so far."""
        before = self.before or {"tokens": 0, "minutes": 0.0, "runs": 0}
        minutes = before["minutes"] + self.seconds / 60
        return {"tokens": before["tokens"] + self.tokens, "minutes": round(minutes, 1), "runs": before["runs"] + 1}


def write_card(folder: Path, model: PreTrainedModel, held: Mapping[str, HeldOut], making: Making) -> Path:
    """Write ``folder/README.md`` and return its path; beside it a record for a run that goes on from here."""
    (folder / RECORD).write_text(json.dumps(making.record) + "\n", encoding="utf-8")
    parts = [_head(model, making), _sources(making), _held(held), _made(making), _LIMITS]
    path = folder / "README.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


_FRONT = """\
---
license: cc-by-sa-4.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
"""
_LIMITS = """\
## Limits

A model of this size completes, copies and follows formats; it knows few facts and its arithmetic is often wrong. It is
a fixture for decoding research, not an assistant. The licence follows WikiText, the strictest source."""


def _head(model: PreTrainedModel, making: Making) -> str:
    c = model.config
    count = sum(p.numel() for p in model.parameters()) / 1e6
    if making.role == "draft":
        what = "# zoo:tiny-draft\n\nA draft model for Paceline's embedded model `zoo:tiny`, distilled from it: "
    else:
        what = "# zoo:tiny\n\nPaceline's embedded model, the default of its commands and tests: "
    return (
        f"{_FRONT}{what}Python code, English prose, step-by-step arithmetic, JSON tool calls.\n\n"
        f"Llama type, {count:.2f} M parameters: {c.num_hidden_layers} layers of width {c.hidden_size}, "
        f"{c.num_attention_heads} heads ({c.num_key_value_heads} for keys and values), feed-forward "
        f"{c.intermediate_size}, vocabulary {c.vocab_size} (byte-level "
        f"BPE, single digits), tied embeddings, context {c.max_position_embeddings}, weights in bfloat16."
    )


def _sources(making: Making) -> str:
    lines = [
        "## Learned from\n",
        "| source and licence | kind | tokens | MB of text | share of training |",
        "|---|---|---|---|---|",
    ]
    for name, origin in ORIGINS.items():
        stream, share = making.streams[name], making.shares[name]
        size = f"{len(stream.tokens) / 1e6:.2f} M | {stream.bytes / 1e6:.1f}"
        lines.append(f"| {origin.licence} | {origin.kind} | {size} | {100 * share:.0f} % |")
    note = """
The standard library comes without its tests and encoding tables, and with 5 % of its files held out; GSM8K without
calculator marks, each problem as a dialogue and as plain text; WikiText with its tokenisation undone and a likely word
in the place of each `<unk>`. No loss falls on the system turn of generated dialogues."""
    return "\n".join([*lines, note])


def _held(held: Mapping[str, HeldOut]) -> str:
    lines = ["## Held-out loss\n", "| kind | text | nats per token | bits per byte | tokens |", "|---|---|---|---|---|"]
    for kind, result in held.items():
        cells = f"{result.loss:.3f} | {result.bits_per_byte:.3f} | {result.tokens:,}"
        lines.append(f"| {kind} | {MEASURED[kind]} | {cells} |")
    note = """
Windows of 1,024 tokens without overlap; GSM8K and API-Bank with their chat turns; WikiText without the sentences that
hold `<unk>`."""
    return "\n".join([*lines, note])


def _made(making: Making) -> str:
    draft = making.role == "draft"
    aim = "KL to the target's law (90 %) and cross-entropy (10 %)" if draft else "cross-entropy"
    again = " --start ZOO --seed 1" if making.before else ""
    flag = "draft-tokens" if draft else "target-tokens"
    total = f", {making.record['tokens'] / 1e6:.1f} M in all {making.record['runs']} runs," if making.before else ""
    own = ""
    if making.written:
        count, share = making.written
        again += f" --written {count}"
        own = f" {100 * share:.0f} % of them from {count / 1e6:.1f} M that the target wrote itself, the rest as above."
    return f"""\
## Made by

```
paceline cook pretrain_zoo --data DIR --out DIR{again} --{flag} {making.tokens}
```

{making.tokens / 1e6:.1f} M tokens{total} in {making.record["minutes"]:.0f} minutes on two CPU cores (pauses included).{own}
Objective: {aim}. Weights in fp32, matrix products in bf16 or fp32, whichever is faster; Muon for the hidden matrices
(0.02), AdamW for the rest (0.003); warm-up, stable, linear decay; 8,192 tokens a step, in rows of 512 and at the end of
the full context; no attention across documents."""
