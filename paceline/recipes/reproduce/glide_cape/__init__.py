"""GliDe with a CaPE (Du et al. 2024, arXiv 2402.02082): reading the target's keys against an equal small model; extra candidates.

Arms train on identical batches beside one forward of the embedded target, with plain positions as in the paper: GliDe, and the
same head without reading (null level). Reading begins to pay after about a million tokens, so these two train long. Then, for a
shorter time, the ablations: GliDe, with a plain causal mask, reading the first layer, of two layers. Measured on held-out text
of four kinds: how often the head's likeliest token is the target's, by how far ahead; then whole greedy decoding with chains of
four and with CaPE's candidates. Departures from the paper's head: a norm in front of cross-attention, one embedding for input
and output.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from paceline.bench.tasks import KINDS, builtin, encode
from paceline.core.request import Request
from paceline.drafters.cape import Cape
from paceline.drafters.glide import Glide
from paceline.engine import Engine
from paceline.errors import ModelError, RequestError
from paceline.lm import LM
from paceline.lm.load import load, resolve
from paceline.models.draft_head.head import Head
from paceline.recipes import train_draft, train_zoo_drafters
from paceline.recipes.pretrain_zoo import Job, written_stage
from paceline.recipes.reproduce._record import Mean, mean_of, picture, rendered, write_record
from paceline.recipes.train_zoo_drafters import fit, job_of, measured
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

ARMS = "glide,small"
ABLATIONS = "glide,glide:mask=causal,glide:reads=8,glide:layers=2"
NAMES = {"glide": "GliDe", "small": "no reading", "glide-causal": "causal mask", "glide-8": "first layer",
         "glide-2": "two layers", "cape": "GliDe + CaPE"}
WIDE = "fixed:budget=40,together=40"
GAMMA = 4


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder is that of pretrain_zoo."""

    data: Path = Path("data")  # Folder with the texts.
    out: Path = Path("benchmarks/reproduce")  # Receives glide_cape.json, .md and .png.
    work: Path = Path("work")  # Receives token streams and checkpoints.
    tokens: int = 3_400_000  # How long to train the arms of one seed.
    ablations: int = 850_000  # The same for the ablations; 0 = leave them out.
    seeds: int = 3  # How many repeats, each with its own weights and order of texts.
    written: int = 1_200_000  # Tokens that the target writes itself, half of the training.
    prompts: int = 8  # Of each kind of text, to decode.
    fast: bool = False  # Minutes instead of an hour: made-up texts, few steps, one seed.


def run(config: Config) -> Path:
    """Train, measure and write the record; returns the page's path. What was killed goes on with the same command."""
    if config.seeds < 1 or config.tokens < 1 or config.prompts < 1 or config.ablations < 0:
        raise RequestError(f"Expected seeds, tokens and prompts of at least 1 and ablations of at least 0, found {config.seeds}, "
                           f"{config.tokens}, {config.prompts} and {config.ablations}.")
    flush_denormals()
    zoo = train_zoo_drafters.Config(data=config.data, out=config.work, tokens=config.tokens, written=config.written,
                                    block=GAMMA + 1, fast=config.fast)
    work = claim_folder(config.work / "glide_cape", {name: str(value) for name, value in dataclasses.asdict(zoo).items()
                                                   if name not in ("data", "out", "tokens", "method", "block")})
    job = job_of(zoo, work, train_draft.load_target(zoo.model)[1])
    numbers = range(1 if config.fast else config.seeds)
    seeds = [study(config, job, seed) for seed in numbers]
    shorter = [ablated(config, job, seed) for seed in numbers] if config.ablations else []
    page = config.out / "glide_cape.md"
    write_record(config.out, "glide_cape", {"tokens": config.tokens, "seeds": seeds, "ablations": shorter},
                 written_up(config, seeds, shorter))
    picture(page.with_suffix(".png"), partial(draw, seeds), 2)
    return page


def study(config: Config, job: Job, seed: int) -> dict[str, Any]:
    """The long arms once: agreement by arm, kind and depth, and acceptance lengths in whole decoding."""
    heads, rates = trained(config, job, ARMS, config.tokens, seed)
    return {"agreement": rates, "decoding": decoding(config, heads)}


def ablated(config: Config, job: Job, seed: int) -> dict[str, Any]:
    """The short arms once: agreement alone."""
    return {"agreement": trained(config, job, ABLATIONS, config.ablations, seed)[1]}


def trained(config: Config, job: Job, arms: str, tokens: int, seed: int) -> tuple[dict[str, Head], dict[str, Any]]:
    """The heads of these arms, and their agreement."""
    own = train_draft.Config(method=arms, width=192, heads=3, ffn=576, block=GAMMA + 1, seed=seed)
    model, _ = train_draft.load_target("zoo:tiny")
    specs = train_draft.check(own)
    heads = {name: train_draft.made(model, own, method, {"tied": "true", "cross_norm": "true", **options})
             for name, (method, options) in specs.items()}
    masks = {name: train_draft.mask_of(*spec) for name, spec in specs.items()}
    mine = dataclasses.replace(job, config=dataclasses.replace(job.config, seed=100 + seed, draft_tokens=tokens))
    written = written_stage(job, Path(resolve("zoo:tiny")))
    fit(mine, model, heads, masks, written, 0, f"{len(heads)}-{seed}-{tokens}")
    held = {kind: job.streams[f"held_{kind}"] for kind in KINDS}
    return heads, measured(model, heads, held, seed, 64 if config.fast else 1024)


@torch.no_grad()
def decoding(config: Config, heads: dict[str, Head]) -> dict[str, dict[str, float]]:
    """Method -> kind of text -> acceptance length, greedy, chains of four; every text is checked against plain decoding."""
    lm, found = load("zoo:tiny", dtype="float32"), dict[str, dict[str, float]]()
    methods = {name: Glide(head, length=GAMMA, worth=0.0) for name, head in heads.items()}
    drafters: dict[str, Any] = {**methods, "cape": Cape(methods["glide"], bins="paper")}
    texts = {kind: [encode(lm.tokenizer, p) for p in builtin(kind)[: 1 if config.fast else config.prompts]] for kind in KINDS}
    plain = {kind: [decoded(lm, "none", ids) for ids in texts[kind]] for kind in KINDS}
    for name, drafter in drafters.items():
        found[name] = {}
        for kind in KINDS:
            out = [decoded(lm, drafter, ids) for ids in texts[kind]]
            if [g.tokens for g in out] != [g.tokens for g in plain[kind]]:
                raise ModelError(f"{name} wrote another {kind} text than plain decoding: that must not be.")
            found[name][kind] = sum(len(g.tokens) for g in out) / sum(g.stats.rounds for g in out)
    return found


def decoded(lm: LM, drafter: Any, ids: list[int]) -> Any:
    return Engine(lm, drafter, controller=WIDE).run([Request(ids, max_new_tokens=128)])[0]


def mean_rate(seed: dict[str, Any], arm: str, kind: str) -> float:
    """Percent of drafted tokens that agree, over the depths of a chain of four."""
    return 100 * sum(seed["agreement"][arm][kind][:GAMMA]) / GAMMA


def by_depth(seeds: list[dict[str, Any]], arm: str) -> list[Mean]:
    """Percent that agree 1, 2, … tokens ahead, mean over the kinds of text."""
    return [mean_of([100 * sum(s["agreement"][arm][k][d] for k in KINDS) / len(KINDS) for s in seeds]) for d in range(GAMMA + 1)]


def mean_length(seeds: list[dict[str, Any]], method: str) -> Mean:
    """Acceptance length, mean over the kinds of text."""
    return mean_of([sum(s["decoding"][method].values()) / len(KINDS) for s in seeds])


def gains(seeds: list[dict[str, Any]], kind: str | None, arm: str = "glide", other: str = "small") -> list[float]:
    """For every seed the points by which one arm agrees more often than another, on a kind of text or on their mean."""
    kinds = KINDS if kind is None else (kind,)
    return [sum(mean_rate(s, arm, k) - mean_rate(s, other, k) for k in kinds) / len(kinds) for s in seeds]


def written_up(config: Config, seeds: list[dict[str, Any]], shorter: list[dict[str, Any]]) -> str:
    """The page: tables beside the paper's figures."""
    lengths = [[NAMES[m], *(mean_of([s["decoding"][m][k] for s in seeds]) for k in KINDS), mean_length(seeds, m)]
               for m in seeds[0]["decoding"]]
    more = mean_of([sum(s["decoding"]["cape"].values()) / 4 - sum(s["decoding"]["glide"].values()) / 4 for s in seeds])
    gain = [["points over no reading", *(mean_of(gains(seeds, k)) for k in KINDS), mean_of(gains(seeds, None))]]
    return rendered(__file__, config=config, count=len(seeds), gamma=GAMMA, kinds=[*KINDS, "mean"], rates=rate_rows(seeds) + gain,
                    ahead=[f"{d + 1} ahead" for d in range(GAMMA + 1)], rates_ahead=depth_rows(seeds), lengths=lengths, more=more,
                    ablations=ablation_figures(shorter) if shorter else None)


def rate_rows(seeds: list[dict[str, Any]]) -> list[list[Any]]:
    """Each arm's percent, by kind of text and on their mean."""
    return [[NAMES[arm], *(mean_of([mean_rate(s, arm, k) for s in seeds]) for k in KINDS),
             mean_of([sum(mean_rate(s, arm, k) for k in KINDS) / len(KINDS) for s in seeds])] for arm in seeds[0]["agreement"]]


def depth_rows(seeds: list[dict[str, Any]]) -> list[list[Any]]:
    return [[NAMES[arm], *by_depth(seeds, arm)] for arm in seeds[0]["agreement"]]


def ablation_figures(shorter: list[dict[str, Any]]) -> dict[str, Any]:
    """What the mask, the layer read and the depth are worth. late: points of the block mask over the causal one, by place."""
    late = [mean_of([100 * sum(s["agreement"]["glide"][k][d] - s["agreement"]["glide-causal"][k][d] for k in KINDS) / len(KINDS)
                     for s in shorter]) for d in range(GAMMA + 1)]
    return {"rates": rate_rows(shorter), "ahead": depth_rows(shorter), "late": late}


def draw(seeds: list[dict[str, Any]], axes: Any) -> None:
    """Agreement by depth, and acceptance lengths."""
    for arm in seeds[0]["agreement"]:
        means = by_depth(seeds, arm)
        axes[0].errorbar(range(1, GAMMA + 2), means, [m.bar for m in means], marker="o", capsize=2, label=NAMES[arm])
    axes[0].set(xlabel="tokens ahead of the newest key", ylabel="% of tokens that are the target's")
    axes[0].legend(fontsize=7)
    methods = list(seeds[0]["decoding"])
    means = [mean_length(seeds, m) for m in methods]
    axes[1].bar(range(len(methods)), means, yerr=[m.bar for m in means], capsize=3, color="teal")
    axes[1].set_xticks(range(len(methods)), [NAMES[m] for m in methods], rotation=30, ha="right", fontsize=8)
    axes[1].set(ylabel="acceptance length", ylim=(1, None))
