"""What a model still knows when some of its layers keep few keys, whoever chose them.

A text is read up to a place, a selector says which layers are cut, and the rest is scored in one forward under that plan, each
token behind the true ones. The rest of a text is right when every such token is the likeliest, which is when greedy decoding
writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from paceline.core.trace import Trace
from paceline.lm import LM, Slot
from paceline.lm.batch import Batch
from paceline.patterns import Plan
from paceline.recipes.reproduce.lighttransfer_train._texts import ASK, SAME, STOP, Text
from paceline.selectors.lighttransfer import LightTransfer

__all__ = ["ARMS", "CUT", "Score", "ablated", "arms", "scored", "threshold"]

CUT = LightTransfer(sinks=4, recent=60, last=16)
ARMS = ("lazy", "threshold", "random", "ends", "reversed", "oracle")
Choose = Callable[[Trace, Slot], Plan]


@dataclass(frozen=True)
class Score:
    """Of one text's rest: nats and hits of its scored tokens, and whether all were hit."""

    nats: float
    hits: int
    tokens: int

    @property
    def right(self) -> bool:
        return self.hits == self.tokens


def place(kind: str, tokens: np.ndarray) -> int:
    """How much of a text is read before layers are told apart: half of it; all needles; what is to be copied; a question with the
    scratchpad's first steps, so that it is longer than what cut layers keep.
    """
    if kind == "needles":
        return int(np.flatnonzero(tokens == ASK)[0])
    if kind == "copy":
        return int(np.flatnonzero(tokens == SAME)[0])
    return int(np.flatnonzero(tokens == STOP)[4]) + 1 if kind == "sums" else len(tokens) // 2


@torch.inference_mode()
def scored(lm: LM, kind: str, text: Text, chosen: Mapping[str, Choose]) -> dict[str, Score]:
    """The rest of a text under each plan; the text is read once."""
    (tokens, learn), kv = text, lm.cache()
    read, ids = place(kind, tokens), tokens.tolist()
    slot = kv.take()
    trace = lm.prefill(kv, slot, ids[:read], range(max(0, read - CUT.last), read))
    found = {}
    for name, choose in chosen.items():
        fork = kv.fork(slot, read)
        assert fork is not None, "nothing of a text was dropped that was only read"
        kv.follow(fork, choose(trace, fork))
        found[name] = score(lm.forward(Batch.of([fork], [ids[read:-1]]), kv), tokens[read + 1 :], learn[read + 1 :])
        kv.free(fork)
    return found


def score(logits: torch.Tensor, tokens: np.ndarray, learn: np.ndarray) -> Score:
    """Of the tokens that are to be foretold."""
    wanted, told = torch.from_numpy(tokens[learn].astype(np.int64)), logits.float()[torch.from_numpy(learn)]
    return Score(float(cross_entropy(told, wanted, reduction="sum")), int((told.argmax(-1) == wanted).sum()), len(wanted))


def uncut(trace: Trace, slot: Slot) -> Plan:
    return {}


def chosen_by(selector: LightTransfer) -> Choose:
    return lambda trace, slot: selector.select(trace, slot, since=slot.length)


def arms(keep: float, threshold: float, harmless: Sequence[int], seed: int) -> dict[str, Choose]:
    """Ways to choose which layers are cut, by name. harmless: layers, the ones first whose cut alone costs least."""
    count = len(harmless) - round(keep * len(harmless))
    one = replace(CUT, keep=keep, seed=seed)
    selectors = {"lazy": one, "threshold": replace(CUT, threshold=threshold),
                 **{by: replace(one, by=by) for by in ("random", "ends", "reversed")},  # type: ignore[arg-type]
                 "oracle": replace(one, layers=tuple(sorted(harmless[:count])))}
    return {name: chosen_by(selector) for name, selector in selectors.items()}


def ablated(lm: LM, texts: Mapping[str, Sequence[Text]]) -> list[float]:
    """Of each layer, the nats that a text's scored tokens lose, on average, when it alone is cut; kinds of text count alike."""
    layers = range(lm.text_config.num_hidden_layers)
    tried = {"": uncut, **{str(i): chosen_by(replace(CUT, layers=(i,))) for i in layers}}
    lost = []
    for kind, some in texts.items():
        found = [scored(lm, kind, text, tried) for text in some]
        per = {name: sum(one[name].nats for one in found) / sum(one[name].tokens for one in found) for name in tried}
        lost.append([per[str(i)] - per[""] for i in layers])
    return np.mean(lost, 0).tolist()
