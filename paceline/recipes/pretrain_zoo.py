"""Trains the embedded models: a tokenizer, the target `tiny`, and the draft `tiny-draft` distilled from it.

Every stage leaves a file and is skipped when that is there; training goes on from its newest checkpoint. So a run that
was killed is continued by the same command, and ends with the same weights.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from paceline.data.corpus import Stream, tokenise
from paceline.data.tokenizer import BOS, EOS, TURN_END, train_tokenizer
from paceline.data.zoo_texts import MEASURED, ORIGINS, SmallTexts, Texts
from paceline.errors import DataError, RequestError, did_you_mean
from paceline.objectives.distil import distil
from paceline.objectives.xent import xent
from paceline.train.card import RECORD, Making, write_card
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.evaluate import held_out_loss
from paceline.train.export import in_bf16, write_model
from paceline.train.forward import Objective, language
from paceline.train.llama import Size, new_llama
from paceline.train.loop import Hook, Loop, train
from paceline.train.packing import Batch, Batches, Source
from paceline.train.precision import flush_denormals
from paceline.train.progress import reporter
from paceline.train.write import write_on

__all__ = ["Config", "run"]

STAGES = ("all", "tokenizer", "corpus", "target", "draft")


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder holds gsm8k, api_bank, bfcl, wikitext-2 and shakespeare."""

    data: Path = Path("data")  # Folder with the texts; code comes from this Python's standard library.
    out: Path = Path("zoo")  # Receives tiny and tiny-draft; what lies between them goes into its folder work.
    stage: str = "all"  # One of all, tokenizer, corpus, target, draft; what a stage needs is made, too.
    fast: bool = False  # A few steps of tiny models on made-up texts, in seconds, to see that all works.
    target_tokens: int = 8_200_000  # How long to train the target; about 2,300 tokens a second on two cores.
    draft_tokens: int = 6_000_000  # How long to distil the draft.
    written: int = 1_500_000  # Tokens that the target writes itself, for the draft to learn from as well.
    own: float = 0.5  # Share of the draft's training tokens that the target wrote.
    start: Path | None = None  # Folder with a tiny and tiny-draft to go on from, with their tokenizer, instead of fresh weights.
    code: float = 0.36  # Share of the training tokens that is Python code.
    math: float = 0.20  # Share that is step-by-step arithmetic.
    tools: float = 0.24  # Share that is dialogues with tool calls.
    prose: float = 0.20  # Share that is English prose.
    long: float = 0.12  # Share of the steps, at the end, with rows of the full context.
    dialogues: int = 12_000  # How many tool dialogues to make up.
    seed: int = 0  # Of the weights, the dialogues and the order of the texts.
    snapshot: Path | None = None  # Folder that receives the unfinished target every ten minutes.


_TINY = {"vocabulary": 400, "context": 256, "rows": 2, "length": 128}
# Two KV heads in the target: measured, they halve the attention cost of a decode step on a CPU.
SIZES = {
    "target": Size(width=320, layers=8, heads=4, kv_heads=2, ffn=960),
    "draft": Size(width=192, layers=1, heads=3, kv_heads=1, ffn=576),
}
FAST_SIZES = {
    "target": Size(width=32, layers=2, heads=2, kv_heads=1, ffn=64, **_TINY),
    "draft": Size(width=16, layers=1, heads=1, kv_heads=1, ffn=32, **_TINY),
}
FAST_STEPS = 6
FOLDERS = {"target": "tiny", "draft": "tiny-draft"}
SNAPSHOT_EVERY_S = 600.0


def run(config: Config) -> Path:
    """Do the stages asked for; returns ``config.out``.

    Raises:
        RequestError: an unknown stage, or numbers that make no sense.
        DataError: a data file is missing or broken, or ``config.out`` holds the work of another configuration.
    """
    check(config)
    flush_denormals()
    for name in FOLDERS if config.start is not None else ():
        _training(config.start, name)  # a mistake in the folder should not cost a training
    work = claim(config)
    tokenizer = tokenizer_stage(config, work)
    if config.stage != "tokenizer":
        streams = corpus_stage(config, work, tokenizer)
        job = Job(config, work, tokenizer, streams)
        if config.stage in ("all", "target"):
            target_stage(job)
        if config.stage in ("all", "draft"):
            draft_stage(job)
    return config.out


def check(config: Config) -> None:
    """Raise RequestError for options that no run can follow."""
    if config.stage not in STAGES:
        hint = did_you_mean(config.stage, STAGES)
        raise RequestError(f"Expected a stage of {', '.join(STAGES)}, found {config.stage!r}.{hint}")
    for name in ("code", "math", "tools", "prose", "long", "own"):
        if not 0 < getattr(config, name) < 1:
            raise RequestError(f"Expected {name} to be a share between 0 and 1, found {getattr(config, name)}.")
    for name in ("target_tokens", "draft_tokens", "dialogues", "written"):
        if getattr(config, name) < 1:
            raise RequestError(f"Expected {name} to be at least 1, found {getattr(config, name)}.")


@dataclass(frozen=True)
class Job:
    """What the training stages share."""

    config: Config
    work: Path
    tokenizer: PreTrainedTokenizerBase
    streams: dict[str, Stream]

    def size(self, name: str) -> Size:
        """Shape of the model called ``name``: target or draft."""
        return (FAST_SIZES if self.config.fast else SIZES)[name]

    def tokens(self, name: str) -> int:
        """How many tokens it is trained on."""
        size = self.size(name)
        asked = self.config.target_tokens if name == "target" else self.config.draft_tokens
        return FAST_STEPS * size.rows * size.length if self.config.fast else asked


def claim(config: Config) -> Path:
    """The folder for intermediate files; refuses one that was begun with other texts, mixture or seed."""
    free = {"data", "out", "stage", "snapshot", "target_tokens", "draft_tokens", "written", "own"}
    settings = {key: value and str(value) if key == "start" else value for key, value in dataclasses.asdict(config).items()}
    settings = {key: value for key, value in settings.items() if key not in free}
    return claim_folder(config.out / "work", settings)


def tokenizer_stage(config: Config, work: Path) -> PreTrainedTokenizerBase:
    """The trained tokenizer, from ``work/tokenizer`` when it is there."""
    folder = work / "tokenizer"
    if config.start is not None and not folder.exists():
        tokenizer = _started(config.start, "tiny", PreTrainedTokenizerFast)
        replace_folder(folder, lambda fresh: tokenizer.save_pretrained(fresh))
    if not folder.exists():
        size = (FAST_SIZES if config.fast else SIZES)["target"]
        # Rendering dialogues needs a chat template, so a tokenizer for bytes comes first.
        texts = _sample(_texts(config, train_tokenizer([], 300)))
        tokenizer = train_tokenizer(texts, size.vocabulary, size.context)
        replace_folder(folder, lambda fresh: tokenizer.save_pretrained(fresh))
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _started(folder: Path, name: str, kind: Any, **options: Any) -> Any:
    """The tokenizer or model called ``name`` that an earlier run left in ``folder``."""
    try:
        return kind.from_pretrained(folder / name, **options)
    except (OSError, ValueError) as error:
        raise DataError(f"Expected a model of an earlier run in {folder / name} to go on from, found none. ({error})") from error


def _sample(texts: Texts) -> list[str]:
    """Text for the merges, in such amounts that no kind rules the vocabulary."""
    found = []
    for name, origin in ORIGINS.items():
        if name == "functions":  # the same text once more
            continue
        documents = texts.train(name)
        if name == "dialogues":
            documents = documents[:: max(1, len(documents) // 2500)]
        if name == "stdlib":
            documents = documents[::2]
        # Math stands there twice, as question and answer and as a dialogue.
        found += [d.text for d in (documents[: len(documents) // 2] if origin.kind == "math" else documents)]
    return [text.removeprefix(BOS).removesuffix(EOS) for text in found]


def corpus_stage(config: Config, work: Path, tokenizer: PreTrainedTokenizerBase) -> dict[str, Stream]:
    """All training sources by name, and the held-out kinds as ``held_<kind>``, as token streams."""
    texts = _texts(config, tokenizer)
    streams = {}
    for name in [*ORIGINS, *(f"held_{kind}" for kind in MEASURED)]:
        path = work / f"{name}.npz"
        if not path.exists():
            held = name.startswith("held_")
            documents = texts.measured(name.removeprefix("held_")) if held else texts.train(name)
            tokenise(documents, tokenizer).save(path)
        streams[name] = Stream.load(path)
    return streams


def _texts(config: Config, tokenizer: PreTrainedTokenizerBase) -> Texts:
    kind = SmallTexts if config.fast else Texts
    if not config.fast and not config.data.is_dir():
        raise DataError(f"There is no folder {config.data}: give the one that holds the data sets with --data.")
    return kind(config.data, tokenizer, 60 if config.fast else config.dialogues, config.seed)


def target_stage(job: Job) -> None:
    """Train, measure and write ``out/tiny``."""
    folder, snapshot = job.config.out / "tiny", job.config.snapshot
    if folder.exists():
        return
    model = _model(job, "target", job.config.seed)
    hooks: tuple[Hook, ...] = ()
    if snapshot is not None:
        hooks = (Hook(SNAPSHOT_EVERY_S, lambda: write_model(snapshot / "tiny", model, job.tokenizer, (EOS, TURN_END))),)
    seconds = fit(job, "target", model, xent, hooks=hooks)
    finish(job, "target", folder, model, seconds)


def draft_stage(job: Job) -> None:
    """Distil, measure and write ``out/tiny-draft``; needs ``out/tiny``."""
    folder, target = job.config.out / "tiny-draft", job.config.out / "tiny"
    if folder.exists():
        return
    if not target.exists():
        raise DataError(f"Expected the target to distil in {target}, found none; run --stage target first.")
    written = written_stage(job, target)
    teacher = LlamaForCausalLM.from_pretrained(target, dtype=torch.float32).eval().requires_grad_(False)
    model = _model(job, "draft", job.config.seed + 1)
    seconds = fit(job, "draft", model, distil, teacher=teacher, written=written)
    finish(job, "draft", folder, model, seconds, written)


def written_stage(job: Job, target: Path) -> Stream:
    """What the target writes after the beginnings of training texts: what a draft meets at work."""
    version = zlib.crc32((target / "model.safetensors").read_bytes())
    path = job.work / f"written-{version:08x}-{job.config.written}.npz"
    if not path.exists():
        shares = {name: getattr(job.config, origin.kind) * origin.share for name, origin in ORIGINS.items()}
        count = 2_000 if job.config.fast else job.config.written
        ends = frozenset(int(job.tokenizer.convert_tokens_to_ids(end)) for end in (EOS, TURN_END))  # type: ignore[arg-type]
        write_on(target, {name: job.streams[name] for name in ORIGINS}, shares, count, ends, job.config.seed).save(path)
    return Stream.load(path)


def _training(start: Path | None, name: str) -> dict[str, Any] | None:
    """How the model to go on from was trained, as its folder tells; None for fresh weights."""
    if start is None:
        return None
    path = start / FOLDERS[name] / RECORD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Expected the record of an earlier run to go on from, {path}; {error}.") from error


def _model(job: Job, name: str, seed: int) -> LlamaForCausalLM:
    """Fresh weights, or those of the run to go on from."""
    if job.config.start is None:
        return new_llama(job.size(name), job.tokenizer, seed)
    return _started(job.config.start, FOLDERS[name], LlamaForCausalLM, dtype=torch.float32)


def plan(job: Job, name: str, written: Stream | None = None) -> tuple[int, Callable[[int], Batch]]:
    """(number of steps, batch of a step): short rows first, rows of the full context at the end."""
    config, size = job.config, job.size(name)
    steps = max(1, round(job.tokens(name) / (size.rows * size.length)))
    late = max(1, round(steps * config.long))
    early = steps - late
    sources = {
        # Made-up texts are too few to leave any out.
        key: Source(job.streams[key], getattr(config, origin.kind) * origin.share, origin.whole and not config.fast)
        for key, origin in ORIGINS.items()
    }
    if written is not None:
        sources["written"] = Source(written, config.own / (1 - config.own) * sum(source.share for source in sources.values()))
    short = Batches(sources, early, size.rows, size.length, config.seed)
    full = Batches(sources, late, max(1, size.rows * size.length // size.context), size.context, config.seed + 1)
    return steps, lambda step: short.batch(step) if step < early else full.batch(step - early)


def fit(
    job: Job,
    name: str,
    model: LlamaForCausalLM,
    objective: Objective,
    teacher: LlamaForCausalLM | None = None,
    written: Stream | None = None,
    hooks: tuple[Hook, ...] = (),
) -> float:
    """Train ``model`` to the end of its plan, showing progress; returns the seconds it took."""
    steps, batches = plan(job, name, written)
    with reporter(name, steps) as report:
        loop = Loop(job.work / name, steps)
        return train(model, batches, language(model, objective, teacher), loop, report=report, hooks=hooks)


def finish(
    job: Job, name: str, folder: Path, model: LlamaForCausalLM, seconds: float, written: Stream | None = None
) -> None:
    """Measure the weights as they ship (rounded to bf16), then write the folder with its card in one move."""
    rounded = in_bf16(model).float()
    held = {kind: held_out_loss(rounded, job.streams[f"held_{kind}"]) for kind in MEASURED}
    shares = {key: getattr(job.config, origin.kind) * origin.share for key, origin in ORIGINS.items()}
    before, own = _training(job.config.start, name), None if written is None else (job.config.written, job.config.own)
    making = Making(name, job.tokens(name), seconds, job.streams, shares, before, own)
    write_model(folder, model, job.tokenizer, (EOS, TURN_END), lambda fresh: write_card(fresh, rounded, held, making))
    path = job.config.out / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    metrics[folder.name] = {kind: dataclasses.asdict(result) for kind, result in held.items()}
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
