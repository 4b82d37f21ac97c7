"""Drafters as arms, on a real model: each alone, and controllers that choose among them, on four kinds of text in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paceline.api import end_tokens
from paceline.bench.metrics import ratio
from paceline.bench.tasks import KINDS, builtin, encode
from paceline.core.request import Request
from paceline.core.stats import Stats
from paceline.engine import Engine
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.replay.replay import per

__all__ = ["BUDGET", "decoded"]

BUDGET, WARM_UP = 8, 16  # most nodes of a round; tokens of a first answer that does not count
DRAFTERS = {"ngram": "ngram", "suffix": "suffix", "small model": "small_model:model=zoo:tiny-draft"}
ARMS = f"budgets=[0,{BUDGET}]"
LEARNED = {
    "uniform": f"uniform:{ARMS}", "UCBSpec": f"ucb:{ARMS}", "UCBSpec, scale 0.2": f"ucb:{ARMS},scale=0.2",
    "EXP3Spec": f"exp3:{ARMS}",
    "UCBSpec, scale 0.2, carried": f"ucb:{ARMS},scale=0.2,carry=true,discount=0.995",
    "the same for speed": f"ucb:{ARMS},scale=0.2,carry=true,discount=0.995,reward=net",
}  # fmt: skip
PLAIN = "plain"


def decoded(lm: LM, prompts: int, tokens: int) -> dict[str, Any]:
    """Tokens for each forward and speed of every method, by kind of text and together; so many prompts of each kind.

    Every method has one engine for all prompts, as a service would, and the kinds take turns, so what is carried over meets
    another kind every time. `oracle` takes on every prompt the drafter (or none) that was best there. Raises ModelError where
    an answer is not plain decoding's.
    """
    kinds = [kind for _ in range(prompts) for kind in KINDS]
    encoded = [encode(lm.tokenizer, builtin(kind)[i // len(KINDS)]) for i, kind in enumerate(kinds)]
    engines = engines_on(lm)
    for engine in engines.values():  # on a prompt that is not asked again: stores keep answers
        engine.run([Request(encode(lm.tokenizer, builtin(KINDS[0])[-1]), max_new_tokens=WARM_UP)])
    stats: dict[str, list[Stats]] = {name: [] for name in engines}
    for i, prompt in enumerate(encoded):
        order = list(engines)[i % len(engines) :] + list(engines)[: i % len(engines)]
        request = Request(prompt, max_new_tokens=tokens, eos=end_tokens(lm))
        answers = {name: engines[name].run([request])[0] for name in order}
        if len({tuple(out.tokens) for out in answers.values()}) > 1:
            raise ModelError(f"Methods wrote different answers to a prompt of {kinds[i]}: that must not be.")
        for name, out in answers.items():
            stats[name].append(out.stats)
    return {"budget": BUDGET, "prompts": len(encoded), "tokens": tokens, "methods": summary(stats, kinds)}


def engines_on(lm: LM) -> dict[str, Engine]:
    """Each drafter alone, and every controller with all of them."""
    alone = {PLAIN: "none", **DRAFTERS}
    engines = {name: Engine(lm, spec, controller=f"fixed:budget={BUDGET}") for name, spec in alone.items()}
    return engines | {name: Engine(lm, list(DRAFTERS.values()), controller=spec) for name, spec in LEARNED.items()}


def summary(stats: dict[str, list[Stats]], kinds: Sequence[str]) -> dict[str, Any]:
    """Method -> figures; the oracle's are those of the best fixed method of each prompt."""
    fixed = [stats[name] for name in (PLAIN, *DRAFTERS)]
    fewest = [min(each, key=lambda s: s.rounds) for each in zip(*fixed, strict=True)]
    fastest = [min(each, key=lambda s: s.decoding_seconds) for each in zip(*fixed, strict=True)]
    found = {name: figures(each, each, stats[PLAIN], kinds) for name, each in stats.items()}
    return found | {"oracle": figures(fewest, fastest, stats[PLAIN], kinds)}


def figures(lengths: list[Stats], speeds: list[Stats], plain: list[Stats], kinds: Sequence[str]) -> dict[str, Any]:
    """Tokens for each forward by kind and together, and speed after the prefill over plain, with bootstrap intervals."""
    parts = {"all": range(len(kinds)), **{kind: [i for i, k in enumerate(kinds) if k == kind] for kind in KINDS}}
    return {"length": {name: per([lengths[i].rounds for i in part], [lengths[i].new_tokens for i in part])
                       for name, part in parts.items()},
            "speed": {name: ratio(timed(speeds, part), timed(plain, part), counted(speeds, part))
                      for name, part in parts.items()}}


def counted(stats: list[Stats], part: Sequence[int]) -> np.ndarray:
    """Rounds and tokens, which bound the speed."""
    return np.array([[stats[i].rounds, stats[i].new_tokens] for i in part])


def timed(stats: list[Stats], part: Sequence[int]) -> np.ndarray:
    return np.array([[stats[i].decoding_seconds, stats[i].new_tokens] for i in part])
