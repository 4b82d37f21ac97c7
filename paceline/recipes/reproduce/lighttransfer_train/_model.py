"""A small model in which far and near keys matter: eight layers, trained first on short texts, then on long ones."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from paceline.objectives.xent import xent
from paceline.recipes.reproduce.lighttransfer_train._texts import KINDS, WORDS, stream, texts
from paceline.train.checkpoint import replace_folder
from paceline.train.forward import language
from paceline.train.llama import Size, llama_of
from paceline.train.loop import Loop, train
from paceline.train.packing import Batch, Batches, Source
from paceline.train.progress import reporter

__all__ = ["CONTEXT", "base", "sources", "vocabulary"]

SHORT, CONTEXT, TOKENS = 128, 512, 2048  # tokens of a text at first, later, and of a step
SHARES = {"text": 0.1, "needles": 0.3, "copy": 0.25, "sums": 0.35}
SIZE = Size(width=96, layers=8, heads=3, kv_heads=3, ffn=192, context=CONTEXT)
SMALL = Size(width=32, layers=4, heads=2, kv_heads=1, ffn=64, context=CONTEXT)


def vocabulary() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words between spaces."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=WORDS[0], eos_token=WORDS[1])


def sources(length: int, count: int, seed: int) -> dict[str, Source]:
    """Texts of all kinds, so many of each."""
    return {kind: Source(stream(texts(kind, count, length, seed)), SHARES[kind], whole=True) for kind in KINDS}


def base(folder: Path, work: Path, steps: int, seed: int, size: Size) -> Path:
    """The trained model's folder, made once. Half of the steps are on short texts, where looking up is learned sooner."""
    if not folder.exists():
        early = steps // 2
        short = Batches(sources(SHORT, min(1500, 4 * steps), seed), early, TOKENS // SHORT, SHORT, seed)
        long = Batches(sources(CONTEXT, min(500, 4 * steps), seed), steps - early, TOKENS // CONTEXT, CONTEXT, seed)
        model = llama_of(size, len(WORDS), seed, bos_token_id=0, eos_token_id=1)

        def batch(step: int) -> Batch:
            return short.batch(step) if step < early else long.batch(step - early)

        with reporter(folder.name, steps) as report:
            loop = Loop(work, steps, save_every_s=60.0, report_every=50, autocast=False)
            train(model, batch, language(model, xent), loop, report=report)
        model.set_attn_implementation("sdpa")
        replace_folder(folder, lambda fresh: (model.save_pretrained(fresh), vocabulary().save_pretrained(fresh)))
    return folder
