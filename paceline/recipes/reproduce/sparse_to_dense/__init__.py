"""Sparse-to-Dense (Zhang, Du et al. 2025, arXiv 2505.19155): a target that drafts on few of its own keys.

The embedded target, stretched to long texts, goes on with prompts of 1,000 to 16,000 tokens: a needle to find, code, a document.
Its drafts see keys chosen by what the prompt's last tokens attend to, against a window, keys by lot, keys evenly spaced, and the
lower half of the layers as a draft model (LayerSkip). Every answer is checked to be plain decoding's. Speed is measured after the
prefill, beside what the measured costs of steps and the acceptance predict.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from paceline.bench.long_prompts import LONG_KINDS, long_prompts
from paceline.bench.tasks import encode
from paceline.core.request import RECENT, Request
from paceline.core.row import Generation, Row
from paceline.core.sampling import Sampling
from paceline.drafters._follow import Follower
from paceline.drafters.small_model import SmallModel
from paceline.drafters.sparse_self import SparseSelf
from paceline.errors import RequestError
from paceline.lm import LM, Slot
from paceline.lm.batch import Batch
from paceline.lm.cost import behind
from paceline.lm.load import load_tokenizer
from paceline.recipes.reproduce._record import mean_of, picture, rendered, write_record
from paceline.recipes.reproduce._side import PLAIN, Side, beside_plain, per_forward, share_accepted
from paceline.recipes.reproduce._stretched import stretched, ungrouped

__all__ = ["Config", "run"]

LENGTHS, MIDDLE = (1024, 2048, 4096, 8192, 16384), 8192
SHARES, STEPS = (0.01, 0.02, 0.05, 0.1), (3, 5, 9, 13)
SELECTED = {"Sparse-to-Dense": "topk", "streaming": "streaming", "evenly spaced": "uniform", "random": "random"}
LOSS = "the target's loss on the documents' ends, nats"
SKIP, BY_LAYER = "LayerSkip", "Sparse-to-Dense, keys by layer"
SHORT, GATED = f"Sparse-to-Dense, {STEPS[0]} at once", "Sparse-to-Dense, gated"


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives sparse_to_dense.json, .md and .png.
    tokens: int = 96  # To write.
    keys: int = 1024  # Of the prompt that a draft sees, beside its last 64 tokens.
    length: int = 5  # Tokens drafted at once.
    seeds: int = 3  # Sets of prompts: up to four, one of each kind and length in each.
    fast: bool = False  # One short prompt of each kind, to see that all works.


def run(config: Config) -> Path:
    """Measure and write the record; returns the page's path."""
    if min(config.tokens, config.keys, config.length) < 1 or not 1 <= config.seeds <= 4:
        raise RequestError(f"Expected tokens, keys and length of at least 1 and 1 to 4 seeds, found {config.tokens}, "
                           f"{config.keys}, {config.length} and {config.seeds}.")
    config = replace(config, tokens=12, keys=32, seeds=1) if config.fast else config
    lengths = (256, 512) if config.fast else LENGTHS
    lm = LM(ungrouped(stretched(lengths[-1] + config.tokens + 64)), load_tokenizer("zoo:tiny"))
    found: dict[str, Any] = {"keys": config.keys, "length": config.length, "tokens": config.tokens}
    found["seeds"] = [measured(config, lm, lengths, seed) for seed in range(config.seeds)]
    page = config.out / "sparse_to_dense.md"
    write_record(config.out, "sparse_to_dense", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


# -- measuring --------------------------------------------------------------------------------------------------------------


def measured(config: Config, lm: LM, lengths: Sequence[int], seed: int) -> dict[str, Any]:
    """One set of prompts: by length, and in the middle by keys, by tokens drafted, and under sampling."""
    middle = MIDDLE if MIDDLE in lengths else lengths[-1]
    found: dict[str, Any] = {"lengths": {n: by_length(config, lm, n, seed) for n in lengths}}
    varied = {f"{name} {share:.0%}": sparse(config, selector, keys=max(1, round(share * middle)))
              for name, selector in SELECTED.items() for share in SHARES}
    varied |= {f"{n} at once": sparse(config, length=n) for n in STEPS}
    asked = requests(config, lm, middle, seed)
    [got] = Side(lm, {PLAIN: "none", **varied}).decoded(asked, 1)
    found["middle"] = {arm: share_accepted(out) for arm, out in got.items()}
    drawn = [replace(request, sampling=Sampling(temperature=1.0)) for request in asked]  # with a seed its nodes would be chosen
    found["middle"]["at temperature 1"] = share_accepted(Side(lm, {"drawn": sparse(config)}).decoded(drawn, 1)[0]["drawn"])
    return found


def requests(config: Config, lm: LM, length: int, seed: int) -> list[Request]:
    """A prompt of each kind, exactly so many tokens long."""
    prompts = [long_prompts(kind, length)[2 * seed] for kind in LONG_KINDS]
    return [Request(encode(lm.tokenizer, prompt), max_new_tokens=config.tokens) for prompt in prompts]


def sparse(config: Config, selector: str = "topk", **options: Any) -> SparseSelf:
    """The drafter without its gate: chains of one length, keys chosen once, as in the paper."""
    fixed: dict[str, Any] = {"keys": config.keys, "length": config.length, "refresh": 0.0, "worth": 0.0}
    return SparseSelf(selector=selector, **fixed | options)


def arms(config: Config, lm: LM) -> dict[str, Any]:
    """Everything that is tried at every length."""
    chosen = {name: sparse(config, selector) for name, selector in SELECTED.items()}
    return {PLAIN: "none", **chosen, BY_LAYER: sparse(config, heads=False), SKIP: lower_half(config, lm),
            SHORT: sparse(config, length=STEPS[0]), GATED: sparse(config, worth=None, refresh=0.66)}


def lower_half(config: Config, lm: LM) -> Follower:
    """The lower half of the layers and the output head as a draft model, on the very keys of the target's cache."""
    half = copy.deepcopy(lm.model)
    half.model.layers = half.model.layers[: len(half.model.layers) // 2]
    half.config.num_hidden_layers = len(half.model.layers)
    return Follower(SmallModel(model="", length=config.length, worth=0.0), LM(half), lm, "layerskip", borrowed=Lower())


class Lower:
    """The keys of the target's lower layers, seen and not copied; what drafting writes behind them, verifying overwrites."""

    asks = False

    def price(self, rows: Sequence[Row]) -> float:
        return 0.0

    def renew(self, row: Row, slot: Slot) -> bool:
        assert isinstance(row.slot, Slot), "a row that drafts has been read"
        slot.held, slot.length = row.slot.held, row.slot.length
        return True

    def forget(self, row: Row) -> None: ...


def by_length(config: Config, lm: LM, length: int, seed: int) -> dict[str, Any]:
    """What every arm did with prompts of one length: acceptance, speed, and the speed that costs predict."""
    asked = requests(config, lm, length, seed)
    turns, costs = Side(lm, arms(config, lm)).decoded(asked, 2), step_costs(config, lm, length)
    found = {arm: {**figures, "predicted": predicted(config, arm, turns[0][arm], costs)}
             for arm, figures in beside_plain(turns).items()}
    return {"arms": found, "costs": costs, "loss": loss(lm, asked[-1:])}


def loss(lm: LM, asked: Sequence[Request]) -> float:
    """Mean loss of the last 64 tokens of the prompts, nats: that the target is one at this length too."""
    found = []
    for request in asked:
        kv = lm.cache()
        slot, prompt = kv.take(), list(request.prompt)
        lm.prefill(kv, slot, prompt[: -RECENT - 1])
        logits = lm.forward(Batch.of([slot], [prompt[-RECENT - 1 : -1]]), kv)
        found.append(float(cross_entropy(logits.float(), torch.tensor(prompt[-RECENT:]))))
    return float(np.mean(found))


def step_costs(config: Config, lm: LM, length: int) -> dict[str, float]:
    """Milliseconds of a plain step, of verifying drafts, of a step on few keys and of one of half the layers, at this length;
    what the keys hold matters to no time.
    """
    half = lower_half(config, lm).lm
    slots = [model.cache().take() for model in (lm, lm, half)]
    for slot, keys in zip(slots, (length, config.keys + RECENT + config.tokens // 2, length), strict=True):
        slot.length = keys
    dense, few, lower = ([slot] for slot in slots)
    drafts = {f"verifying {n}": behind(lm, dense, 1 + n, 8) for n in (STEPS[0], config.length)}
    found = {"plain": behind(lm, dense, 1, 8), **drafts,
             "few keys": behind(lm, few, 1, 8), "half the layers": behind(half, lower, 1, 8)}
    return {name: 1000 * value for name, value in found.items()}


def predicted(config: Config, arm: str, out: Sequence[Generation], costs: dict[str, float]) -> float | None:
    """Speed from the acceptance length and the costs of a round; none where the length of drafts varies."""
    if arm in (PLAIN, GATED):
        return None
    step, length = costs["half the layers" if arm == SKIP else "few keys"], STEPS[0] if arm == SHORT else config.length
    return per_forward(out) * costs["plain"] / (length * step + costs[f"verifying {length}"])


# -- the page ---------------------------------------------------------------------------------------------------------------


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    seeds, lengths = found["seeds"], list(found["seeds"][0]["lengths"])
    names = list(seeds[0]["lengths"][lengths[0]]["arms"])
    share = [[arm, *(f"{100 * over_seeds(seeds, n, arm, 'accepted'):.1f}" for n in lengths)] for arm in names if arm != PLAIN]
    losses = [f"{mean_of([s['lengths'][n]['loss'] for s in seeds]):.2f}" for n in lengths]
    costs = [[name, *(f"{mean_of([s['lengths'][n]['costs'][name] for s in seeds]):.2f}" for n in lengths)]
             for name in seeds[0]["lengths"][lengths[0]]["costs"]]
    middle = {arm: f"{100 * mean_of([s['middle'][arm] for s in seeds]):.1f}" for arm in seeds[0]["middle"]}
    shares = [f"{share:.0%}" for share in SHARES]
    return rendered(__file__, found=found, recent=RECENT, lengths=lengths, share=[*share, [LOSS, *losses]], costs=costs,
                    speed=[[arm, *(cell(found, n, arm) for n in lengths)] for arm in names if arm != PLAIN], middle_length=MIDDLE,
                    shares=shares, by_keys=[[name, *(middle[f"{name} {share}"] for share in shares)] for name in SELECTED],
                    steps=[str(n) for n in STEPS], by_steps=[[middle[f"{n} at once"] for n in STEPS]], middle=middle)


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
            if arm != PLAIN and not (arm == GATED and figure == "accepted"):
                means = [over_seeds(seeds, n, arm, figure) for n in lengths]
                axis.errorbar(lengths, means, [m.bar for m in means], marker="o", markersize=3, capsize=2, label=arm)
    axes[0].set(xlabel="tokens of the prompt", ylabel="accepted share of drafted tokens", xscale="log", ylim=(0, 1))
    axes[1].set(xlabel="tokens of the prompt", ylabel="speed against plain decoding", xscale="log")
    axes[1].axhline(1.0, color="grey", linewidth=0.8)
    axes[1].legend(fontsize=6)
    for axis in axes:
        axis.set_xticks(lengths, [f"{n // 1024}k" for n in lengths])
        axis.minorticks_off()
