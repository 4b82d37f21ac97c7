"""Acceptance length behind texts of several lengths, before and after LongSpec's second stage at a small size.

The embedded head on its target stretched to eight times its context; the stage goes on with it on long texts with plain positions
(Yang et al. 2025, arXiv 2502.17421, section 3.3: 32k tokens, 256 texts a step, a hundredth of the first stage's rate; here a few
steps of 8,192 tokens, at a larger part of it). Every prompt is cut to its last 512, 2,048 and 8,192 tokens, so the same place is
gone on with. What the target then writes may be harder to foresee behind more text, for any drafter. Two controls say how much:
the embedded draft model, which sees the last 512 tokens alone, wherever they stand; and, where texts are sampled, the best chain
that any drafter could give, the target's own likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from paceline.bench.long_prompts import long_prompts
from paceline.bench.tasks import encode
from paceline.core.arms import Arm, Outcome, View
from paceline.core.request import Request
from paceline.core.sampling import Sampling
from paceline.core.stats import is_looping
from paceline.data.corpus import Stream
from paceline.drafters.longspec import Longspec
from paceline.engine import Engine
from paceline.lm import LM
from paceline.lm.load import load_tokenizer, resolve
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import shape_for
from paceline.objectives.distil import distil
from paceline.recipes.reproduce._record import once
from paceline.recipes.reproduce._stretched import stretched
from paceline.recipes.reproduce.longspec._by_position import as_batch, by_position
from paceline.recipes.train_draft import load_target
from paceline.train.heads import Beside, train_heads
from paceline.train.loop import Loop
from paceline.train.packing import Batch, Batches, Source

__all__ = ["CEILING", "CONTROL", "SHIPPED", "WAYS", "LongStage", "after", "endings", "fitted", "lengths", "slow", "some",
           "trained"]

NEW, NEAR = 96, 512  # tokens written behind a prompt; that the control sees
SOURCES = {"stdlib": 0.5, "wikitext": 0.2, "shakespeare": 0.2, "gsm8k": 0.1}
WAYS = {"greedy": 0.0, "sampled": 1.0}  # temperatures
CEILING = "ceiling: the target's likeliest tokens"
SHIPPED, CONTROL = "as shipped", "control: draft model, last 512 tokens"


@dataclass(frozen=True)
class LongStage:
    """tokens: of the second stage, for each of `seeds` orders of the texts. rate: its learning rates, in the first stage's.
    lengths: of prompts and of its texts, in turns. prompts: of each of three kinds: held-out code, prose, and documentation.
    """

    tokens: int
    seeds: int
    rate: float = 0.1
    lengths: tuple[int, ...] = (512, 2048, 8192)
    prompts: int = 8
    new: int = NEW  # tokens written behind each


def lengths(streams: dict[str, Stream], work: Path, stage: LongStage) -> dict[str, Any]:
    """who: way of writing, who drafts -> kind of text -> for each prompt and length what `written` counts. agree: head -> percent
    of the tokens of held-out code and prose that are the target's, teacher-forced, by part of a text. Made once.
    """
    return once(work / f"lengths-{stage.tokens}-{stage.seeds}-{stage.rate}.json", partial(compared, streams, work, stage))


def compared(streams: dict[str, Stream], work: Path, stage: LongStage) -> dict[str, Any]:
    """The heads after the long stage beside the embedded one."""
    model = stretched(stage.lengths[-1] + 2 * NEW)
    heads = {SHIPPED: fitted(model)}
    for seed in range(stage.seeds):
        heads[after(seed)] = trained(streams, work, stage, seed)
    lm, kinds = LM(model, load_tokenizer("zoo:tiny")), endings(streams, stage)
    asked = [encode(lm.tokenizer, prompt) for prompt in long_prompts("document", stage.lengths[-1])[: stage.prompts]]
    found = {kind: written(lm, heads, prompts, stage) for kind, prompts in (kinds | {"documentation": asked}).items()}
    turned = {name: {kind: counts[name] for kind, counts in found.items()} for name in next(iter(found.values()))}
    edges = (0, *stage.lengths)
    agree = by_position(model, heads, [as_batch(text) for text in some(kinds)], edges)
    return {"lengths": stage.lengths, "seeds": stage.seeds, "who": turned, "edges": edges, "agree": agree}


def after(seed: int) -> str:
    return f"after the long stage, seed {seed}"


def fitted(model: PreTrainedModel) -> Head:
    """The embedded head with the stretched target's rotations, in fp32."""
    old = Head.from_pretrained(resolve("zoo:tiny-longspec"), torch.float32)
    own = {name: getattr(old.shape, name) for name in ("width", "heads", "kv_heads", "ffn", "layers", "reads")}
    now = shape_for(model, **own)
    head = Head(replace(old.shape, rope=now.rope, context=now.context))
    head.load_state_dict(old.state_dict())
    return head.eval()


def trained(streams: dict[str, Stream], work: Path, stage: LongStage, seed: int) -> Head:
    """The embedded head after the second stage; resumable."""
    longest = stage.lengths[-1]
    model = stretched(longest + 2 * NEW)
    head, steps = fitted(model), max(len(stage.lengths), stage.tokens // longest)
    sources = {name: Source(joined(streams[name]), share) for name, share in SOURCES.items()}
    plans = [Batches(sources, steps, longest // n, n, 2000 + seed) for n in stage.lengths]

    def batch(step: int) -> Batch:
        return plans[step % len(plans)].batch(step // len(plans))

    beside = Beside(model, {"head": head}, {"head": "shift"}, distil, begun=True)
    train_heads(beside, batch, slow(work / f"long-{seed}-{stage.tokens}-{stage.rate}", steps, stage.rate))
    return head.eval()


def slow(folder: Path, steps: int, rate: float) -> Loop:
    """A loop at this part of the usual learning rates."""
    usual = Loop(folder, steps)
    return replace(usual, matrix_lr=rate * usual.matrix_lr, other_lr=rate * usual.other_lr)


def joined(stream: Stream) -> Stream:
    """All its texts as one, so that there are long ones; repeated where that is short."""
    count = max(len(stream.tokens), 20_000)
    return Stream(np.resize(stream.tokens, count), np.array([0, count]), np.resize(stream.learn, count), stream.bytes)


def endings(streams: dict[str, Stream], stage: LongStage) -> dict[str, list[list[int]]]:
    """Kind -> held-out texts of the greatest length, evenly apart."""
    longest, found = stage.lengths[-1], {}
    for kind in ("code", "prose"):
        tokens = joined(streams[f"held_{kind}"]).tokens.tolist()
        stops = np.linspace(longest, len(tokens), stage.prompts, dtype=int)
        found[kind] = [tokens[stop - longest : stop] for stop in stops]
    return found


def some(kinds: dict[str, list[list[int]]]) -> list[list[int]]:
    """Every third held-out text, for what is teacher-forced through all of it."""
    return [text for kind in ("code", "prose") for text in kinds[kind][::3]]


# -- measuring --------------------------------------------------------------------------------------------------------------


class InTurn:
    """A controller: the first request is the first drafter's, the second the next one's, and so on around."""

    timed = False

    def __init__(self, drafters: int) -> None:
        self.drafters, self.rows = drafters, dict[int, int]()

    def pick(self, views: Sequence[View]) -> list[Arm]:
        return [Arm(self.rows.setdefault(view.row, len(self.rows)) % self.drafters, 16) for view in views]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing to learn."""

    def forget(self, row: int) -> None:
        """Rows keep their turn."""


def written(lm: LM, heads: dict[str, Head], prompts: list[list[int]], stage: LongStage) -> dict[str, list[list[list[int]]]]:
    """Way of writing, who drafts -> for each prompt and length [forwards, tokens, whether the text goes round in circles].

    All heads share one prefill, and with chosen drafts they write the same, sampled or not.
    """
    drafters = [Longspec(head, worth=0.0, drawn=False) for head in heads.values()]
    engine = Engine(lm, drafters, controller=InTurn(len(heads)), slots=1, max_cached=1)
    small, block = load_target("zoo:tiny-draft")[0].eval(), next(iter(heads.values())).shape.block
    found: dict[str, list[list[list[int]]]] = {}
    for number, prompt in enumerate(prompts):
        for length, (way, temperature) in product(stage.lengths, WAYS.items()):
            sampling = Sampling(temperature=temperature, seed=number, logprobs=1)
            out = engine.run([Request(prompt[-length:], max_new_tokens=stage.new, sampling=sampling) for _ in heads])
            rounds = {name: one.stats.rounds for name, one in zip(heads, out, strict=True)}
            new = list(out[0].tokens)
            rounds[CONTROL] = chained(foreseen(small, prompt[-length:], new), block)
            rounds[CEILING] = chained([one.top[0][0] == one.token for one in out[0].logprobs or ()], block)
            for name, count in rounds.items():
                each = found.setdefault(f"{way}, {name}", [])
                if len(each) == number:
                    each.append([])
                each[number].append([count, len(new), int(is_looping(new))])
    return found


@torch.no_grad()
def foreseen(small: PreTrainedModel, prompt: list[int], new: list[int]) -> list[bool]:
    """For each new token whether the small model, which sees the last few hundred tokens alone, has it as its likeliest."""
    seen = torch.tensor([(prompt + new)[:-1][-(NEAR + len(new) - 1) :]])
    return (small(seen).logits[0, -len(new) :].argmax(-1) == torch.tensor(new)).tolist()


def chained(right: Sequence[bool], block: int) -> int:
    """Target forwards that a text takes, if a drafted token is accepted where it and all before it in the round are right."""
    place = rounds = 0
    while place < len(right):
        run = next((i for i, one in enumerate(right[place : place + block]) if not one), min(block, len(right) - place))
        place, rounds = place + run + 1, rounds + 1
    return rounds
