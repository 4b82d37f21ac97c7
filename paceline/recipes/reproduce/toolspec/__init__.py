"""ToolSpec (arXiv 2604.13519): tool calls drafted without a model, against lookup, recycling and suffix drafts.

Two parts. *Decoding*: the embedded target, as it is and grown, writes calls of its own for API-Bank's held-out prompts, one
after the other, so that stores grow as in service; every answer is checked to be plain decoding's. Tokens for each forward,
seconds, and how many answers are a call of an offered tool. *Replay*: the reference answers of API-Bank and BFCL, with stores
that held 0 to 1,000 other calls before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paceline.api import encode, end_tokens
from paceline.bench import run as bench
from paceline.bench.metrics import ratio
from paceline.bench.report import interval
from paceline.bench.rivals import Terms, rivals
from paceline.core.request import Request
from paceline.core.stats import Stats
from paceline.data import read
from paceline.data.zoo_texts import API_BANK_TRAIN
from paceline.engine import Engine
from paceline.errors import ModelError, RequestError
from paceline.lm import LM
from paceline.lm.load import load_tokenizer, resolve
from paceline.recipes.reproduce._record import bars, once, picture, rendered, write_record
from paceline.replay.recording import Record
from paceline.replay.replay import decode, engine, per, target
from paceline.toolcalls.prompt import tools_in
from paceline.train.checkpoint import claim_folder

__all__ = ["Config", "run"]

FULL_ARM = "ToolSpec"
ARMS = {
    "plain": "none", "prompt lookup": "ngram", "recycling": "recycle", "suffix": "suffix", "schema": "toolcall:sources=[schema]",
    "past calls": "toolcall:sources=[store]", "past calls, hidden key": "toolcall:sources=[store],key=hidden",
    "as released": "toolcall:mode=released", FULL_ARM: "toolcall",
}  # fmt: skip
HELD = {"schema": ARMS["schema"], "past calls": "toolcall:sources=[store],keep=false", FULL_ARM: "toolcall:keep=false"}
LOOKUP = "transformers/prompt_lookup"
REPLAYED = ("plain", "prompt lookup", "recycling", "suffix", "ToolSpec")
STORES = (0, 10, 100, 300, 1000)


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder is that of pretrain_zoo, with the whole of BFCL for the replay."""

    data: Path = Path("data")  # Folder with the texts.
    out: Path = Path("benchmarks/reproduce")  # Receives toolspec.json, .md and .png.
    work: Path = Path("work")  # Keeps the finished parts.
    budget: int = 16  # Most nodes scored in a round.
    repeats: int = 2  # Passes over the prompts, each with fresh drafters.
    prompts: int | None = None  # At most so many of them.
    grow: float = 100.0  # Millions of parameters of the grown target.
    grown_prompts: int = 25  # At most so many prompts for it.
    rivals: bool = True  # Also transformers' prompt lookup.
    fast: bool = False  # Two made-up prompts and few tokens, to see that all works.


def run(config: Config) -> Path:
    """Replay, decode and write the record; returns the page's path. What was killed goes on with the same command."""
    if min(config.budget, config.repeats, config.grown_prompts, config.prompts or 1) < 1 or config.prompts == 0:
        raise RequestError(f"Expected budget, repeats, prompts and grown_prompts of at least 1, found {config.budget}, "
                           f"{config.repeats}, {config.prompts} and {config.grown_prompts}.")
    asked = dialogues(config)
    settings = {name: getattr(config, name) for name in ("budget", "repeats", "prompts", "grow", "grown_prompts", "fast")}
    work = claim_folder(config.work / "toolspec", settings)
    found: dict[str, Any] = {"budget": config.budget, "prompts": len(asked), "limit": config.prompts,
                             "grown_prompts": min(len(asked), config.grown_prompts)}
    found["replay"] = {name: once(work / f"replay-{name}.json", partial(replayed, config, records))
                       for name, records in recorded(config, asked).items()}
    found["stores"] = {str(size): once(work / f"stores-{size}.json", partial(stored, config, asked, size))
                       for size in (STORES[:2] if config.fast else STORES)}
    for name, grow in (("zoo", None),) if config.fast else (("zoo", None), ("grown", config.grow)):
        given = asked[: config.grown_prompts] if grow else asked
        found[name] = once(work / f"{name}.json", partial(written, config, given, grow))
    page = config.out / "toolspec.md"
    write_record(config.out, "toolspec", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


def dialogues(config: Config) -> list[read.Messages]:
    """API-Bank's prompts that the target never learned from."""
    if config.fast:
        return [made_up(city) for city in ("Rome", "Oslo")]
    folder = config.data / "api_bank"
    held = read.api_bank(folder / "level-1.json")[API_BANK_TRAIN:] + read.api_bank(folder / "level-2.json")
    return held[: config.prompts]


def made_up(city: str) -> read.Messages:
    return [{"role": "system", "content": "1. Name: Weather\nDescription: Tell it.\nParameters: {'city': {'type': 'str'}}"},
            {"role": "user", "content": f"How is it in {city}?"},
            {"role": "assistant", "content": read.native_calls([{"name": "Weather", "parameters": {"city": city}}])}]


# -- decoding ---------------------------------------------------------------------------------------------------------------


def written(config: Config, asked: Sequence[read.Messages], grow: float | None) -> dict[str, Any]:
    """What the embedded target writes, as it is or grown."""
    lm = bench.target(bench.Config(grow=grow))
    prompts = [encode(lm, messages[:2]) for messages in asked]
    return decoding(config, lm, [p for p in prompts if len(p) + 128 <= lm.context], grow)


def decoding(config: Config, lm: LM, prompts: Sequence[list[int]], grow: float | None) -> dict[str, Any]:
    """What every arm did: per prompt its tokens, forwards and seconds, medians over repeats, arms in turns."""
    count, ends = 8 if config.fast else 128, end_tokens(lm)
    other = rivals((LOOKUP,), Terms(resolve("zoo:tiny"), lm, grow)) if config.rivals and not config.fast else []
    stats: dict[str, list[list[Stats]]] = {arm: [[] for _ in prompts] for arm in ARMS}
    seconds: list[list[float]] = [[] for _ in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    for repeat in range(-1, 1 if config.fast else config.repeats):  # the first pass warms up
        engines = {arm: Engine(lm, spec, controller=f"fixed:budget={config.budget}") for arm, spec in ARMS.items()}
        for i, prompt in enumerate(prompts[:3] if repeat < 0 else prompts):
            for arm in list(ARMS) if repeat % 2 else list(ARMS)[::-1]:
                [out] = engines[arm].run([Request(prompt, max_new_tokens=count, eos=ends)])
                answers[i] = answers[i] or out.tokens
                if out.tokens != answers[i]:
                    raise ModelError(f"{arm} wrote another answer to prompt {i} than the others: that must not be.")
                if repeat >= 0:
                    stats[arm][i].append(out.stats)
            for method in other:
                start = time.perf_counter()
                method.run([prompt], count)
                if repeat >= 0:
                    seconds[i].append(time.perf_counter() - start)
    texts = [lm.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in answers]
    return {"arms": {arm: summary(each, stats["plain"]) for arm, each in stats.items()},
            LOOKUP: against(stats[FULL_ARM], seconds) if other else None,
            "calls": sum(is_call(lm, p, t) for p, t in zip(prompts, texts, strict=True)) / len(texts)}


def summary(each: list[list[Stats]], plain: list[list[Stats]]) -> dict[str, Any]:
    """Tokens for each forward and speed against plain decoding, with bootstrap intervals over prompts."""
    length = per([s[0].rounds for s in each], [s[0].new_tokens for s in each])
    rounds = np.array([[s[0].rounds, s[0].new_tokens] for s in each])
    whole, after = (ratio(timed(each, prefill), timed(plain, prefill), rounds) for prefill in (True, False))
    total = sum(s.decoding_seconds for repeats in each for s in repeats)
    sources: dict[str, list[int]] = {}
    for repeats in each:
        for name, (drafted, accepted) in repeats[0].sources.items():
            pair = sources.setdefault(name, [0, 0])
            sources[name] = [pair[0] + drafted, pair[1] + accepted]
    share = sum(s.seconds["draft"] for repeats in each for s in repeats) / total
    return {"acceptance_length": length, "speedup": whole, "speedup_after_prefill": after, "draft_share": share,
            "sources": sources}


def timed(arm: list[list[Stats]], prefill: bool) -> np.ndarray:
    """Seconds and tokens of every prompt."""
    return np.array([[median(s, prefill), s[0].new_tokens] for s in arm])


def median(stats: list[Stats], prefill: bool) -> float:
    return float(np.median([s.total_seconds if prefill else s.decoding_seconds for s in stats]))


def against(ours: list[list[Stats]], theirs: list[list[float]]) -> dict[str, float]:
    """Speed of our calls, prefill included, over another's."""
    return ratio(np.array([[median(s, True), 1.0] for s in ours]), np.array([[float(np.median(t)), 1.0] for t in theirs]))


def is_call(lm: LM, prompt: Sequence[int], text: str) -> bool:
    """True for an answer whose every line of JSON parses and names a tool that the prompt offers."""
    offered = {tool.name for tool in tools_in(lm.tokenizer.decode(prompt))}
    lines = [line for line in text.splitlines() if line.startswith("{")]
    try:
        return bool(lines) and all(json.loads(line)["name"] in offered for line in lines)
    except (ValueError, KeyError, TypeError):
        return False


# -- replay -----------------------------------------------------------------------------------------------------------------


def recorded(config: Config, asked: list[read.Messages]) -> dict[str, list[Record]]:
    """Reference answers as records: API-Bank's, BFCL's parallel calls and the turns of its longer dialogues."""
    tokenizer = load_tokenizer("zoo:tiny")
    found = {"API-Bank": [record(tokenizer, messages, ()) for messages in asked]}
    if not config.fast:
        parallel = read.bfcl(config.data / "bfcl", "parallel")
        found["BFCL parallel"] = [record(tokenizer, messages, tools) for messages, tools in parallel][: config.prompts]
        found["BFCL multi-turn"] = [record(tokenizer, m, ()) for m in read.bfcl_turns(config.data / "bfcl")][: config.prompts]
    return found


def record(tokenizer: Any, messages: read.Messages, tools: Sequence[dict[str, Any]]) -> Record:
    """A dialogue's last message as what was written after the others."""
    given = {"tools": list(tools) or None, "tokenize": False}
    before = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, **given)
    whole = tokenizer.apply_chat_template(messages, **given)
    prompt, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, whole.rstrip("\n")))
    return Record(tuple(prompt), tuple(both[len(prompt) :]), frozenset(both[-1:]), tuple(tools))


def replayed(config: Config, records: list[Record]) -> dict[str, dict[str, float]]:
    """Arm -> tokens for each forward, with a bootstrap interval."""
    lm = target(records, load_tokenizer("zoo:tiny"), 0.05)
    found = {}
    for arm in REPLAYED:
        drafting = engine(lm, ARMS[arm], config.budget)
        stats = [decode(drafting, lm, r).stats for r in records]
        found[arm] = per([s.rounds for s in stats], [s.new_tokens for s in stats])
    return found


def stored(config: Config, asked: list[read.Messages], size: int) -> dict[str, dict[str, float]]:
    """The same for API-Bank's answers with a store that held so many other calls and is not added to (what `suffix` keeps is)."""
    tokenizer = load_tokenizer("zoo:tiny")
    records = [record(tokenizer, messages, ()) for messages in asked]
    before = records if config.fast else earlier(config)
    found = {}
    for arm in HELD:
        lm = target(records, tokenizer, 0.05)
        drafting = engine(lm, HELD[arm], config.budget)
        drafter: Any = drafting.drafters[0]
        for past in before[:size]:
            drafter.remember("", past.prompt, past.output)
        stats = [decode(drafting, lm, r).stats for r in records]
        found[arm] = per([s.rounds for s in stats], [s.new_tokens for s in stats])
    return found


def earlier(config: Config) -> list[Record]:
    """Calls to fill a store with: API-Bank's that the target learned from, behind them BFCL's, which have other tools."""
    learned = read.api_bank(config.data / "api_bank" / "level-1.json")[:API_BANK_TRAIN]
    others = recorded(config, [])
    own = [record(load_tokenizer("zoo:tiny"), messages, ()) for messages in learned]
    return own + others["BFCL parallel"] + others["BFCL multi-turn"]


# -- the page ---------------------------------------------------------------------------------------------------------------


def target_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """One target: a line an arm, how many answers are calls, what ToolSpec's sources gave, and the rival."""
    arms = [[arm, interval(f["acceptance_length"], unit=""), interval(f["speedup_after_prefill"]), interval(f["speedup"]),
             f"{100 * f['draft_share']:.1f} %"] for arm, f in figures["arms"].items()]
    lookup, given = figures[LOOKUP], figures["arms"][FULL_ARM]["sources"]
    sources = ", ".join(f"{n} {a} of {d}" for n, (d, a) in sorted(given.items(), key=lambda each: -each[1][1]))
    return {"arms": arms, "calls": figures["calls"], "sources": sources, "rival": interval(lookup) if lookup else ""}


def written_up(found: dict[str, Any]) -> str:
    """The page: tables beside the paper's figures."""
    replay = [[arm, *(interval(arms[arm], unit="") for arms in found["replay"].values())] for arm in REPLAYED]
    stores = [[size, *(interval(f, unit="") for f in arms.values())] for size, arms in found["stores"].items()]
    zoo, grown = (target_figures(found[name]) if name in found else None for name in ("zoo", "grown"))
    return rendered(__file__, found=found, zoo=zoo, grown=grown, replay=replay, stores=stores,
                    held=list(next(iter(found["stores"].values()))))


def draw(found: dict[str, Any], axes: Any) -> None:
    """Tokens for each forward by arm; and by the size of the store."""
    arms = found["zoo"]["arms"]
    values = [f["acceptance_length"] for f in arms.values()]
    axes[0].bar(range(len(arms)), [v["value"] for v in values], yerr=bars(values), capsize=3, color="teal")
    axes[0].set_xticks(range(len(arms)), list(arms), rotation=30, ha="right", fontsize=8)
    axes[0].set(ylabel="tokens for each forward of the target")
    for arm in HELD:
        lengths = [f[arm]["value"] for f in found["stores"].values()]
        axes[1].plot([str(s) for s in found["stores"]], lengths, marker="o", label=arm)
    axes[1].set(xlabel="calls in the store", ylabel="tokens for each forward, replayed", ylim=(1, None))
    axes[1].legend(fontsize=8)
