"""How fluent texts are: the nats a token that a small language model finds in them, which knows the training targets alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from paceline.data.parallel import Pairs
from paceline.models.translation.body import padded, real_tokens
from paceline.models.translation.config import BOS, TranslationConfig
from paceline.models.translation.markov import Markov
from paceline.models.translation.rescore import token_scores
from paceline.models.translation.translator import Translator
from paceline.recipes._translation_stages import RATE
from paceline.train.loop import Loop, train
from paceline.train.progress import reporter
from paceline.train.translation import batches, token_by_token

__all__ = ["language_model", "nats"]

NOTHING = [BOS]  # as every sentence's source: what is told nothing of it is a language model
ROWS, SCORED = 128, 32  # sentences of a step, and scored at once


def language_model(like: Translator, learned: Pairs, folder: Path, steps: int) -> Translator:
    """Trained on the targets with the subwords and sizes of a translator, but one layer of an encoder that has nothing to read;
    checkpoints go into the folder.
    """
    names = ("vocabulary", "width", "heads", "ffn", "decoder_layers", "longest")
    shape = {name: getattr(like.model.config, name) for name in names}
    ids = [like.subwords.encode(target, source) for source, target in zip(learned.source, learned.target, strict=True)]
    ids = [some for some in ids if len(some) <= shape["longest"]]
    torch.manual_seed(0)
    model = Markov(TranslationConfig(**shape, layers=1))
    feed, loop = batches(([NOTHING] * len(ids), ids), ROWS, 0), Loop(folder, steps, other_lr=RATE)
    with reporter("language model", steps) as report:
        train(model, feed, token_by_token(model, (), 0.0), loop, report=report)
    return Translator(model, like.subwords)


def nats(held: Translator, texts: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    """Of each text its nats and its tokens, the end counted with them: [N, 2]. sources: whose placeholders the texts have."""
    ids = [held.subwords.encode(text, source)[: held.model.config.longest] for text, source in zip(texts, sources, strict=True)]
    rows = list[tuple[float, float]]()
    for start in range(0, len(ids), SCORED):
        target = padded(ids[start : start + SCORED])
        scores = token_scores(held.model, held.model.read(padded([NOTHING] * len(target))), target)
        rows += zip((-scores.sum(1)).tolist(), (real_tokens(target).sum(1) + 1).tolist(), strict=True)
    return np.array(rows)
