"""Sparse-to-Dense (Zhang, Du et al. 2025, arXiv 2505.19155): a target that drafts on few of its own keys, by length of the
prompt.

A small target is trained to answer questions about frames of a film (`_video_questions.py`), and decodes prompts of 1,000 to
16,000 tokens: with keys chosen by what the question's tokens attend to, against a window, keys by lot, keys evenly spaced, and
the lower half of the layers as a draft model (LayerSkip). Every answer is checked to be plain decoding's. Speed is measured after
the prefill, beside what the measured costs of steps and the acceptance predict.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from paceline.bench.metrics import ratio
from paceline.drafters.small_model import SmallModel
from paceline.drafters.sparse_self import SparseSelf
from paceline.engine import Engine
from paceline.errors import ModelError, RequestError
from paceline.lm import LM
from paceline.lm.cost import behind
from paceline.recipes.reproduce._record import mean_of, picture, table, write_record
from paceline.recipes.reproduce._video_questions import ANSWER, FRAME, QUESTION, Film, film, trained
from paceline.row import Generation, Request
from paceline.sampling import Sampling
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

LENGTHS, MIDDLE = (1024, 2048, 4096, 8192, 16384), 8192
SHARES, STEPS = (0.01, 0.02, 0.05, 0.1), (3, 5, 9, 13)
SELECTED = {"Sparse-to-Dense": "topk", "streaming": "streaming", "evenly spaced": "uniform", "random": "random"}
TRUE = "answers' tokens that are true, %"
SKIP, GATED, BY_LAYER = "LayerSkip", "Sparse-to-Dense, gated", "Sparse-to-Dense, by layer"


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives sparse_to_dense.json, .md and .png.
    work: Path = Path("work")  # Receives checkpoints.
    steps: int = 2_000  # How long to train each target.
    prompts: int = 6  # Of each length.
    keys: int = 256  # Of the prompt that a draft sees, beside the question.
    length: int = 9  # Tokens drafted at once.
    seeds: int = 3  # Targets, each with its own prompts.
    fast: bool = False  # A hardly trained target and short prompts, to see that all works.


def run(config: Config) -> Path:
    """Train, measure and write the record; returns the page's path. What was killed goes on with the same command."""
    if min(config.steps, config.prompts, config.keys, config.length, config.seeds) < 1:
        raise RequestError("Expected steps, prompts, keys, length and seeds of at least 1, found "
                           f"{config.steps}, {config.prompts}, {config.keys}, {config.length} and {config.seeds}.")
    flush_denormals()
    config = replace(config, steps=3, prompts=1, keys=32, seeds=1) if config.fast else config
    work = claim_folder(config.work / "sparse_to_dense", {"steps": str(config.steps)})
    found: dict[str, Any] = {"keys": config.keys, "length": config.length, "prompts": config.prompts, "steps": config.steps}
    found["seeds"] = [measured(config, trained(work / str(seed), config.steps, seed), seed) for seed in range(config.seeds)]
    page = config.out / "sparse_to_dense.md"
    write_record(config.out, "sparse_to_dense", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


# -- measuring --------------------------------------------------------------------------------------------------------------


def measured(config: Config, model: PreTrainedModel, seed: int) -> dict[str, Any]:
    """One target's figures: by length, by keys, by tokens drafted, and under sampling."""
    lm, lengths = LM(model), (256, 512) if config.fast else LENGTHS
    middle = lengths[-1] if config.fast else MIDDLE
    found: dict[str, Any] = {"lengths": {n: by_length(config, lm, n, seed) for n in lengths}}
    asked = requests(middle, config.prompts, seed)
    plain = decoded(lm, "none", asked)
    few = {f"{share:.0%}": max(1, round(share * middle)) for share in SHARES}
    found["keys"] = {name: {share: accepted(lm, sparse(config, selector, keys=count), asked, plain)
                            for share, count in few.items()} for name, selector in SELECTED.items()}
    found["steps"] = {n: accepted(lm, sparse(config, length=n), asked, plain) for n in STEPS}
    drawn = [replace(request, sampling=Sampling(temperature=1.0, seed=seed)) for request in asked]
    found["sampled"] = share_accepted(decoded(lm, sparse(config), drawn))
    return found


def requests(length: int, count: int, seed: int) -> list[Request]:
    """Prompts of so many tokens of film, the question to keep."""
    films = [shown(length, seed, i) for i in range(count)]
    return [Request(f.prompt, max_new_tokens=ANSWER, keep=[(len(f.prompt) - QUESTION, len(f.prompt))]) for f in films]


def shown(length: int, seed: int, i: int) -> Film:
    return film(length // FRAME, np.random.default_rng([seed, length, i]))


def right(out: Sequence[Generation], length: int, seed: int) -> float:
    """Share of the answers' tokens that are true."""
    answers = [shown(length, seed, i).answer for i in range(len(out))]
    return float(np.mean([a == b for g, answer in zip(out, answers, strict=True) for a, b in zip(g.tokens, answer, strict=True)]))


def sparse(config: Config, selector: str = "topk", **options: Any) -> SparseSelf:
    """The drafter without its gate: chains of one length, keys chosen once, as in the paper."""
    fixed: dict[str, Any] = {"keys": config.keys, "length": config.length, "refresh": 0.0, "worth": 0.0}
    return SparseSelf(selector=selector, **fixed | options)


def arms(config: Config, lm: LM) -> dict[str, Any]:
    """Everything that is tried at every length."""
    half = copy.deepcopy(lm.model)
    half.model.layers = half.model.layers[: len(half.model.layers) // 2]
    half.config.num_hidden_layers = len(half.model.layers)
    skip = SmallModel(model=LM(half), length=config.length, worth=0.0)
    chosen = {name: sparse(config, selector) for name, selector in SELECTED.items()}
    return {"plain": "none", **chosen, BY_LAYER: sparse(config, heads=False), SKIP: skip, GATED: sparse(config, worth=None)}


def by_length(config: Config, lm: LM, length: int, seed: int) -> dict[str, Any]:
    """What every arm did with prompts of one length: acceptance, speed, and the speed that costs predict."""
    asked = requests(length, config.prompts, seed)
    tried, got = arms(config, lm), dict[str, list[Generation]]()
    times: dict[str, list[list[float]]] = {}
    for turn in range(2):
        for arm in list(tried)[:: -1 if turn else 1]:
            got[arm] = decoded(lm, tried[arm], asked)
            times.setdefault(arm, []).append([seconds(out) for out in got[arm]])
        check(got)
    best = {arm: np.stack((np.min(t, 0), np.full(len(asked), ANSWER)), 1) for arm, t in times.items()}
    costs = step_costs(config, lm, length)
    found = {arm: {"accepted": share_accepted(out), "acceptance_length": per_forward(out),
                   "speedup": ratio(best[arm], best["plain"]), "predicted": predicted(config, arm, out, costs)}
             for arm, out in got.items()}
    return {"arms": found, "costs": costs, "right": right(got["plain"], length, seed)}


def decoded(lm: LM, drafter: Any, asked: Sequence[Request]) -> list[Generation]:
    """One after the other, as one user would ask."""
    engine = Engine(lm, drafter, slots=1)
    return [engine.run([request])[0] for request in asked]


def check(got: dict[str, list[Generation]]) -> None:
    for arm, out in got.items():
        if [g.tokens for g in out] != [g.tokens for g in got["plain"]]:
            raise ModelError(f"{arm} wrote another answer than plain decoding: that must not be.")


def seconds(out: Generation) -> float:
    """After the prefill."""
    return sum(out.stats.seconds.values()) - out.stats.seconds["prefill"]


def accepted(lm: LM, drafter: Any, asked: Sequence[Request], plain: list[Generation]) -> float:
    out = decoded(lm, drafter, asked)
    check({"plain": plain, "the draft": out})
    return share_accepted(out)


def share_accepted(out: Sequence[Generation]) -> float:
    """Accepted tokens over drafted ones; the last round's surplus counts as drafted."""
    return sum(g.stats.accepted for g in out) / max(1, sum(g.stats.drafted for g in out))


def per_forward(out: Sequence[Generation]) -> float:
    return sum(g.stats.new_tokens for g in out) / sum(g.stats.rounds for g in out)


def step_costs(config: Config, lm: LM, length: int) -> dict[str, float]:
    """Milliseconds of a plain step, of verifying a whole draft, of a step on few keys and of one of half the layers, at this
    length; what the keys hold matters to no time.
    """
    whole, few, skip = lm.cache(), lm.cache(), arms(config, lm)[SKIP].model
    slots = [kv.take() for kv in (whole, few, skip.cache())]
    for slot, keys in zip(slots, (length, config.keys + QUESTION + ANSWER // 2, length), strict=True):
        slot.length = keys
    dense, sparse, half = slots
    found = {"plain": behind(lm, [dense], 1, 8), "verify": behind(lm, [dense], 1 + config.length, 8),
             "few keys": behind(lm, [sparse], 1, 8), "half the layers": behind(skip, [half], 1, 8)}
    return {name: 1000 * value for name, value in found.items()}


def predicted(config: Config, arm: str, out: Sequence[Generation], costs: dict[str, float]) -> float | None:
    """Speed from the acceptance length and the costs of a round; none where the length of drafts varies."""
    if arm in ("plain", GATED):
        return None
    step = costs["half the layers" if arm == SKIP else "few keys"]
    return per_forward(out) * costs["plain"] / (config.length * step + costs["verify"])


# -- the page ---------------------------------------------------------------------------------------------------------------


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    seeds, lengths = found["seeds"], list(found["seeds"][0]["lengths"])
    names = list(seeds[0]["lengths"][lengths[0]]["arms"])
    each = partial(over_seeds, seeds)
    share = [[arm, *(f"{100 * each(n, arm, 'accepted'):.1f}" for n in lengths)] for arm in names if arm != "plain"]
    speed = [[arm, *(cell(found, n, arm) for n in lengths)] for arm in names if arm != "plain"]
    costs = [[name, *(f"{mean_of([s['lengths'][n]['costs'][name] for s in seeds]):.2f}" for n in lengths)]
             for name in seeds[0]["lengths"][lengths[0]]["costs"]]
    true = [f"{100 * mean_of([s['lengths'][n]['right'] for s in seeds]):.0f}" for n in lengths]
    by_keys = [[name, *(f"{100 * mean_of([s['keys'][name][k] for s in seeds]):.1f}" for k in kinds)]
               for name, kinds in seeds[0]["keys"].items()]
    by_steps = [[f"{100 * mean_of([s['steps'][n] for s in seeds]):.1f}" for n in seeds[0]["steps"]]]
    return f"""# Sparse-to-Dense, again

`paceline cook reproduce/sparse_to_dense`. {len(seeds)} target{"s" if len(seeds) > 1 else ""} of 3.2 M parameters, four layers,
8 KB of keys a token in fp32, trained for {found["steps"]:,} steps to answer questions about films; {found["prompts"]} of them
of each length, greedy, answers of {ANSWER} tokens, one at a time. A draft sees {found["keys"]} keys of the film in each layer,
the question and what was written; {found["length"]} tokens are drafted at once, without a gate but in the row that says so.
Means over targets ± half of the 95 % interval (Student). All answers are plain decoding's, token for token.

## Accepted share of the drafted tokens, %, by tokens of the prompt

{table(["draft", *lengths], share + [[TRUE, *true]])}

## Speed after the prefill against plain decoding (in brackets: predicted from costs and acceptance length)

{table(["draft", *lengths], speed)}

The paper (7 B video models on A100, 1,024 keys and text, nine tokens at once, batches of eight): 62 % accepted and up to 1.94x;
a window of sinks and last tokens 1.3x to 1.6x; LayerSkip 0.3x to 0.6x.

## Milliseconds of a step, by tokens of the prompt

{table(["step", *lengths], costs)}

## Accepted share by keys, %, prompts of {MIDDLE:,} tokens

{table(["keys", *seeds[0]["keys"]["streaming"]], by_keys)}

Sparse-to-Dense by tokens drafted at once:

{table([str(n) for n in seeds[0]["steps"]], by_steps)}

At temperature 1, {found["length"]} at once: {100 * mean_of([s["sampled"] for s in seeds]):.1f} %.

![acceptance and speed by length](sparse_to_dense.png)
"""


def over_seeds(seeds: list[dict[str, Any]], length: Any, arm: str, figure: str) -> Any:
    values = [s["lengths"][length]["arms"][arm][figure] for s in seeds]
    return mean_of([v["value"] if isinstance(v, dict) else v for v in values])


def cell(found: dict[str, Any], length: Any, arm: str) -> str:
    """Measured speed, and the predicted one."""
    measured = f"{over_seeds(found['seeds'], length, arm, 'speedup')}x"
    return measured if arm == GATED else f"{measured} ({over_seeds(found['seeds'], length, arm, 'predicted'):.2f})"


def draw(found: dict[str, Any], axes: Any) -> None:
    """Acceptance and speed by length."""
    seeds, lengths = found["seeds"], list(found["seeds"][0]["lengths"])
    for arm in seeds[0]["lengths"][lengths[0]]["arms"]:
        for axis, figure in zip(axes, ("accepted", "speedup"), strict=True):
            if arm != "plain" and not (arm == GATED and figure == "accepted"):
                means = [over_seeds(seeds, n, arm, figure) for n in lengths]
                axis.errorbar(lengths, means, [m.bar for m in means], marker="o", markersize=3, capsize=2, label=arm)
    axes[0].set(xlabel="tokens of the prompt", ylabel="accepted share of drafted tokens", xscale="log", ylim=(0, 1))
    axes[1].set(xlabel="tokens of the prompt", ylabel="speed against plain decoding", xscale="log")
    axes[1].axhline(1.0, color="grey", linewidth=0.8)
    axes[1].legend(fontsize=6)
    for axis in axes:
        axis.set_xticks(lengths, [f"{n // 1024}k" for n in lengths])
        axis.minorticks_off()
