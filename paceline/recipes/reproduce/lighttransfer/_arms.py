"""What a model writes behind long texts with some of its layers cut, and what that costs it in nats.

How lazy layers are, and the first new token, do not depend on what is cut: a text is read once, and each arm goes on with a fork.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from paceline.bench.long_tasks import LongText, Question
from paceline.core.trace import Trace
from paceline.lm import LM, Slot
from paceline.lm.batch import Batch
from paceline.selectors.lighttransfer import LightTransfer

__all__ = ["ARMS", "BEHIND", "FULL", "OURS", "arms", "cut_fork", "told"]

FULL, OURS = "full", "LightTransfer"
ARMS: dict[str, dict[str, Any]] = {  # half of the layers keep all, where nothing else is said
    OURS: {}, "threshold 0.9": {"threshold": 0.9}, "random": {"by": "random"}, "ends": {"by": "ends"},
    "reversed": {"by": "reversed"}, "uniform": {"by": "uniform"}, "streaming all": {"keep": 0.0},
    f"{OURS}, 75 %": {"keep": 0.75}, "random, 75 %": {"keep": 0.75, "by": "random"},
}  # fmt: skip
LAST = 32  # queries that tell how lazy a layer is
BEHIND = 128  # tokens at a text's end whose loss is taken

Selectors = Mapping[str, LightTransfer]
Cut = dict[str, list[int]]  # arm -> layers


def arms(recents: Sequence[int], draw: int) -> dict[str, LightTransfer]:
    """`full`, and each arm as RECENT/NAME. recents: keys that cut layers keep beside four sinks. draw: the random arms' lot."""
    cut = {f"{recent}/{name}": LightTransfer(recent=recent, last=LAST, seed=draw, **options)
           for recent in recents for name, options in ARMS.items()}
    return {FULL: LightTransfer(keep=1.0)} | cut


@torch.inference_mode()
def told(lm: LM, text: LongText, selectors: Selectors) -> dict[str, Any]:
    """nats: arm -> of the text's last tokens, when it is cut before them. Of each question, kinds: its kind; scores: arm -> how
    well it is answered; null: the same of `full`, by the answers to the others of its kind; cut: arm -> which layers.
    """
    kv, tokens = lm.cache(), text.tokens
    slot = kv.take()
    nats = losses(lm, slot, tokens, selectors)
    lm.prefill(kv, slot, tokens[slot.length : -LAST])
    asked = [(question, *answered(lm, slot, tokens[-LAST:], question, selectors)) for question in text.questions]
    return {"nats": nats, "kinds": [question.kind for question in text.questions],
            "null": [by_others(text, question, written[FULL]) for question, written, _ in asked],
            "scores": {name: [question.score(written[name]) for question, written, _ in asked] for name in selectors},
            "cut": {name: [cut[name] for _, _, cut in asked] for name in selectors}}


def by_others(text: LongText, question: Question, written: str) -> float:
    """How well this would answer the other questions of its kind."""
    scores = [other.score(written) for other in text.questions if other.kind == question.kind and other is not question]
    return sum(scores) / len(scores)


def answered(lm: LM, text: Slot, end: Sequence[int], question: Question, selectors: Selectors) -> tuple[dict[str, str], Cut]:
    """Arm -> what it writes behind the text and the question, and the layers that it cuts. end: tokens of the text that are not
    read yet, since the question may be too short to tell the layers apart.
    """
    tail, answer = (lm.tokenizer(each, add_special_tokens=False)["input_ids"] for each in (question.tail, f" {question.answer}"))
    tokens = [*end, *tail]
    slot, stop = forked(text), text.length + len(tokens) - 1
    trace = lm.prefill(slot.kv, slot, tokens[:-1], range(stop - LAST, stop))
    written, cut = dict[str, str](), Cut()
    for name, selector in selectors.items():
        own = cut_fork(slot, selector, trace)
        [chain] = lm.extend(own.kv, [own], [tokens[-1:]], len(answer) + 1)
        written[name], cut[name] = lm.tokenizer.decode([step[0][0] for step in chain]), sorted(own.plan)
        own.kv.free(own)
    slot.kv.free(slot)
    return written, cut


def cut_fork(slot: Slot, selector: LightTransfer, trace: Trace) -> Slot:
    """A fork that goes on with few keys in some layers, as an engine's row does behind its prompt."""
    own = forked(slot)
    slot.kv.follow(own, selector.select(trace, slot, since=slot.length + 1))
    return own


def forked(slot: Slot) -> Slot:
    """A slot for the same text."""
    own = slot.kv.fork(slot, slot.length)
    assert own is not None, "the model's own layers have dropped nothing"
    return own


def losses(lm: LM, slot: Slot, tokens: Sequence[int], selectors: Selectors) -> dict[str, float]:
    """Arm -> mean nats of the last tokens; the slot has read the others then."""
    stop = len(tokens) - BEHIND - 1
    trace, found = lm.prefill(slot.kv, slot, tokens[:stop], range(stop - LAST, stop)), dict[str, float]()
    for name, selector in selectors.items():
        own = cut_fork(slot, selector, trace)
        logits = lm.forward(Batch.of([own], [tokens[stop:-1]]), own.kv)
        found[name] = float(cross_entropy(logits.float(), torch.tensor(tokens[stop + 1 :], device=logits.device)))
        own.kv.free(own)
    return found
