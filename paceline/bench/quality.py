"""What rounding activations costs, and whether unrounded ones give the dequantised model's own text.

All read the same file. Distributions are held against ours with float activations, which are the model as its weights say; rivals
join whose family (`rivals/`) has `logits(terms)`. llama.cpp rounds activations in its own way, so its distance from the same
floats is the measure for ours; that of transformers, in fp32 throughout, shows what an order of sums alone moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch

import paceline
from paceline.bench.config import Config
from paceline.bench.machine import describe, pin_threads
from paceline.bench.metrics import figure
from paceline.bench.rivals import Terms, showing
from paceline.bench.run import files, prompts_of
from paceline.bench.summary import TIE
from paceline.bench.tasks import asked, bare, encode
from paceline.convert.loss import MOST, Logits, Loss, logits_of, loss, pooled
from paceline.errors import RequestError
from paceline.lm import LM
from paceline.lm.load import resolve

__all__ = ["JUDGE", "Quality", "apart", "compare"]

JUDGE = "transformers"  # whose fp32 text ours has to be
Done = Callable[[], object]


@dataclass(frozen=True)
class Quality:
    """What to compare: prompts' own texts, their first 512 tokens, and the answers to them; prompts are chosen as in a benchmark.
    against: families of rivals. max_new_tokens: of an answer. Raises RequestError on bad values.
    """

    model: str = "zoo:tiny"
    tasks: tuple[str, ...] = ()
    prompts: str | None = None
    data: str | None = None
    limit: int | None = None
    against: tuple[str, ...] = ()
    requantise: str | None = None
    max_new_tokens: int = 128
    threads: int | None = None

    def __post_init__(self) -> None:
        Config(**asdict(self))  # which checks the same settings


@dataclass(frozen=True)
class Text:
    """A prompt's bare text, and the prompt as it is asked."""

    bare: list[int]
    prompt: list[int]


def compare(config: Quality, tick: Callable[[int], None] = lambda calls: None) -> dict[str, Any]:
    """Compare, and give the report; `tick(total)` is called after each text that one side has read and after each answer."""
    pin_threads(config.threads)
    wanted = prompts_of(Config(**asdict(config)))
    with files(config.model, config.requantise) as place:
        exact, rounded = (paceline.load(place, activations=kind) for kind in ("float", "int8"))
        exact.name = rounded.name = config.model
        sides = {"paceline": logits_of(rounded), **showing("logits", config.against, Terms(resolve(place), exact))}
        texts = {kind: _texts(config, exact, prompts) for kind, prompts in wanted.items()}
        if not (count := sum(map(len, texts.values()))):
            raise RequestError(f"No prompt fits: the context is {exact.context} tokens, answers take {config.max_new_tokens}.")
        done = partial(tick, count * (len(sides) + (JUDGE in sides)))
        losses = {kind: [_losses(logits_of(exact), sides, text.bare, done) for text in found] for kind, found in texts.items()}
        judged = _answers(config, exact, sides[JUDGE], [*chain(*texts.values())], done) if JUDGE in sides else None
        return {"machine": describe(), "model": rounded.describe(), "settings": asdict(config), "prompts": count,
                "quality": {name: _figures(name, losses) for name in sides}, "answers": judged}  # fmt: skip


def _texts(config: Quality, lm: LM, prompts: Sequence[Any]) -> list[Text]:
    """Those that say something and fit the context together with their answer."""
    if lm.tokenizer is None:
        raise RequestError(f"Texts need a tokenizer, and {config.model} has none beside its weights.")
    found = [Text(bare(lm.tokenizer, prompt)[:MOST], encode(lm.tokenizer, asked(prompt))) for prompt in prompts]
    room = lm.context - config.max_new_tokens
    return [text for text in found if len(text.bare) > 1 and len(text.prompt) <= room][: config.limit]


def _losses(exact: Logits, sides: Mapping[str, Logits], ids: list[int], done: Done) -> dict[str, Loss]:
    """Of one text, by side."""
    original, found = exact(ids), dict[str, Loss]()
    for name, read in sides.items():
        found[name] = loss(original, read(ids), ids)
        done()
    return found


def _figures(side: str, losses: Mapping[str, Sequence[Mapping[str, Loss]]]) -> dict[str, Any]:
    kinds = {kind: [one[side] for one in found] for kind, found in losses.items() if found}
    return {**_pool([*chain(*kinds.values())]), "by_task": {kind: _pool(found) for kind, found in kinds.items()}}


def _pool(losses: Sequence[Loss]) -> dict[str, Any]:
    """Means over all places; and the perplexity over the original's, with a bootstrap interval over texts."""
    tokens, nats = np.array([(one.tokens, one.tokens * np.log(one.after / one.before)) for one in losses]).T
    picks = np.random.default_rng(0).integers(0, len(losses), (2000, len(losses)))
    once, spread = (np.exp(nats[part].sum(-1) / tokens[part].sum(-1)) for part in (np.arange(len(losses)), picks))
    return pooled(losses)._asdict() | {"perplexity": figure(once, spread, len(losses))}


def _answers(config: Quality, exact: LM, judge: Logits, texts: Sequence[Text], done: Done) -> dict[str, Any]:
    """Our greedy answers with float activations, read by the judge: at every place its likeliest token should be ours."""
    places, ties, same, tokens = list[dict[str, Any]](), 0, 0, 0
    prompts = [text.prompt for text in texts]
    written = paceline.generate(exact, prompts, drafter="none", max_new_tokens=config.max_new_tokens)
    for number, (prompt, answer) in enumerate(zip(prompts, written, strict=True)):
        found = apart(judge([*prompt, *answer.tokens])[len(prompt) - 1 : -1], answer.tokens)
        places += [{"prompt": number, "index": index, "margin": margin} for index, margin in found]
        same, ties, tokens = same + (not found), ties + bool(found and found[0][1] < TIE), tokens + len(answer.tokens)
        done()
    return {"tokens": tokens, "identical": same / len(texts), "ties": ties, "differences": places}


def apart(logits: torch.Tensor, tokens: Sequence[int]) -> list[tuple[int, float]]:
    """Where another token than ours is the likeliest behind the same text, and how far its logit is above. logits: [N, V]."""
    ours = torch.tensor(tokens, device=logits.device)
    gaps = logits.amax(-1) - logits.gather(1, ours[:, None])[:, 0]
    return [(index, float(gaps[index])) for index in (logits.argmax(-1) != ours).nonzero()[:, 0].tolist()]
