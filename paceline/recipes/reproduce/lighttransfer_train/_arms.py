"""What a model still knows when some of its layers keep few keys, whoever chose them.

A text is read up to a place, a selector says which layers are cut, and the rest is scored in one forward under that plan, each
token behind the true ones. The rest of a text is right when every such token is the likeliest, which is when greedy decoding
writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from paceline.core.trace import Trace
from paceline.lm import LM, Slot
from paceline.lm.batch import Batch
from paceline.lm.capture import lazy_ratio
from paceline.patterns import Plan
from paceline.recipes.reproduce.lighttransfer_train._texts import ASK, DIGIT, SAME, STOP, Text
from paceline.selectors.lighttransfer import LightTransfer

__all__ = ["CUT", "ablated", "arms", "chosen_by", "pooled", "ratios", "scored", "uncut"]

CUT = LightTransfer(sinks=4, recent=60, last=16)
Choose = Callable[[Trace, Slot], Plan]
Texts = Mapping[str, Sequence[Text]]


class Score(NamedTuple):
    """Of one text's rest: nats of its scored tokens, and how many those are; how many of the names, letters and digits among them
    are hit, and how many there are; whether all scored tokens are hit.
    """

    nats: float
    tokens: int
    hits: int
    words: int
    right: bool


def place(kind: str, tokens: np.ndarray) -> int:
    """How much of a text is read before layers are told apart: half of it, a few answers, or of `answers` the question."""
    at: dict[str, Callable[[], int]] = {
        "text": lambda: len(tokens) // 2, "needles": lambda: int(np.flatnonzero(tokens == ASK)[5]),
        "copy": lambda: int(np.flatnonzero(tokens == SAME)[0]) + 9, "sums": lambda: int(np.flatnonzero(tokens == STOP)[4]) + 1,
        "answers": lambda: int(np.flatnonzero(tokens == SAME)[0])}
    return at[kind]()


def read(lm: LM, kind: str, tokens: np.ndarray) -> tuple[Slot, Trace]:
    """A text read up to its place, and what its last tokens asked for."""
    kv, stop = lm.cache(), place(kind, tokens)
    slot = kv.take()
    return slot, lm.prefill(kv, slot, tokens[:stop].tolist(), range(max(0, stop - CUT.last), stop))


@torch.inference_mode()
def scored(lm: LM, kind: str, text: Text, chosen: Mapping[str, Choose]) -> dict[str, Score]:
    """The rest of a text under each plan; the text is read once."""
    (tokens, learn), found = text, {}
    slot, trace = read(lm, kind, tokens)
    stop, kv = slot.length, slot.kv
    for name, choose in chosen.items():
        fork = kv.fork(slot, stop)
        assert fork is not None, "of a text that was only read nothing is dropped"
        kv.follow(fork, choose(trace, fork))
        found[name] = score(lm.forward(Batch.of([fork], [tokens[stop:-1].tolist()]), kv), tokens[stop + 1 :], learn[stop + 1 :])
        kv.free(fork)
    return found


def score(logits: torch.Tensor, tokens: np.ndarray, learn: np.ndarray) -> Score:
    wanted, told = torch.from_numpy(tokens[learn].astype(np.int64)), logits.float()[torch.from_numpy(learn)]
    hits, words = told.argmax(-1) == wanted, wanted >= DIGIT
    nats = float(cross_entropy(told, wanted, reduction="sum"))
    return Score(nats, len(wanted), int(hits[words].sum()), int(words.sum()), bool(hits.all()))


def pooled(lm: LM, texts: Texts, chosen: Callable[[int], Mapping[str, Choose]]) -> dict[str, dict[str, dict[str, float]]]:
    """By kind of text and arm: percent of the words hit and of the texts right, and nats a token. chosen: the arms of each text,
    by its number.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, some in texts.items():
        each = [scored(lm, kind, text, chosen(i)) for i, text in enumerate(some)]
        found[kind] = {arm: figures([one[arm] for one in each]) for arm in each[0]}
    return found


def figures(scores: Sequence[Score]) -> dict[str, float]:
    nats, tokens, hits, words, right = (sum(column) for column in zip(*scores, strict=True))
    return {"hit": round(100 * hits / words, 2), "right": round(100 * right / len(scores), 2), "nats": round(nats / tokens, 4)}


def uncut(trace: Trace, slot: Slot) -> Plan:
    return {}


def chosen_by(**options: Any) -> Choose:
    """The selector with these options; the text's own queries see all keys, as they did."""
    selector = replace(CUT, **options)
    return lambda trace, slot: selector.select(trace, slot, since=slot.length)


def arms(keep: float, threshold: float, harmless: Sequence[int], seed: int) -> dict[str, Choose]:
    """Ways to choose which layers are cut, by name. harmless: all layers, those first whose cut alone costs least."""
    cut = len(harmless) - round(keep * len(harmless))
    drawn = {by: chosen_by(keep=keep, by=by, seed=seed) for by in ("lazy", "random", "ends", "reversed")}
    return {"lazy": drawn.pop("lazy"), "threshold": chosen_by(threshold=threshold), **drawn,
            "oracle": chosen_by(layers=tuple(sorted(harmless[:cut])))}


@torch.inference_mode()
def ratios(lm: LM, texts: Texts) -> dict[str, list[list[float]]]:
    """[texts][layers]: the share of their attention that a text's last queries give to what a cut layer keeps, and to its first
    keys alone.
    """
    found: dict[str, list[list[float]]] = {"kept": [], "sinks": []}
    for kind, some in texts.items():
        for tokens, _ in some:
            slot, trace = read(lm, kind, tokens)
            pairs = [(q, slot.kv.read(layer, slot, 0, slot.length)[0]) for layer, q in enumerate(trace.queries)]
            for name, recent in (("kept", CUT.recent), ("sinks", 0)):
                found[name].append([lazy_ratio(q, k, trace.positions, CUT.sinks, recent) for q, k in pairs])
    return found


def ablated(lm: LM, texts: Texts) -> list[float]:
    """Of each layer, the nats a token that are lost when it alone is cut; kinds of text count alike."""
    layers = range(lm.text_config.num_hidden_layers)
    tried = {"": uncut, **{str(i): chosen_by(layers=(i,)) for i in layers}}
    found = pooled(lm, texts, lambda i: tried).values()
    return [float(np.mean([by[str(i)]["nats"] - by[""]["nats"] for by in found])) for i in layers]
