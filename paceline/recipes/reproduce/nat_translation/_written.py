"""What the models write of the test texts, in every way of writing; each is written once, into a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from paceline.data.parallel import Pairs
from paceline.models.translation.body import padded
from paceline.models.translation.mask_predict import collapsed, refine
from paceline.models.translation.nat import Nat
from paceline.models.translation.translator import Asked, Translator
from paceline.recipes.reproduce._record import once

__all__ = ["BEAM", "CHOSEN", "COLLAPSED", "NAT", "ONE_PASS", "SURE", "TEACHER", "TRUE", "one_pass_ways", "written"]

BEAM, ONE_PASS, COLLAPSED, TRUE, SURE = "beam of 4", "5 lengths", "5 lengths, collapsed", "true length", "sure"
CHOSEN = "5 lengths, the teacher's choice"
TEACHER = {"greedy": Asked(1), BEAM: Asked(4)}
NAT = {"1 length": Asked(1), ONE_PASS: Asked(5), "1 length, 4 passes": Asked(1, 4), "1 length, 10 passes": Asked(1, 10)}
ROWS = 32  # sentences at once


def one_pass_ways(teacher: Translator) -> dict[str, Asked]:
    """How a one-pass model can be asked, at last with its teacher as the judge of its translations."""
    return NAT | {CHOSEN: Asked(5, rerank=teacher)}


def written(held: Translator, teacher: Translator, test: Pairs, folder: Path) -> dict[str, dict[str, Any]]:
    """Way of writing -> texts and tokens; of a one-pass model also those of `otherwise`."""
    folder.mkdir(parents=True, exist_ok=True)
    ways = one_pass_ways(teacher) if isinstance(held.model, Nat) else TEACHER
    found = {way: once(folder / f"{way}.json", partial(as_asked, held, test, asked)) for way, asked in ways.items()}
    return found | otherwise(held, test, folder, found[ONE_PASS]["tokens"]) if isinstance(held.model, Nat) else found


def otherwise(held: Translator, test: Pairs, folder: Path, own: list[list[int]]) -> dict[str, dict[str, Any]]:
    """In one pass without repetitions of a neighbour; at the references' lengths; and, under "sure", at the lengths of its own
    translations, where the probabilities of the tokens are the model's confidence.
    """
    right = [held.subwords.encode(target, source) for source, target in zip(test.source, test.target, strict=True)]
    found = {way: once(folder / f"{way}.json", partial(at_lengths, held, test, [len(some) for some in like]))
             for way, like in ((TRUE, right), (SURE, own))}
    shorter = [collapsed(some) for some in own]
    texts = [held.subwords.decode(some, source) for some, source in zip(shorter, test.source, strict=True)]
    return found | {COLLAPSED: {"texts": texts, "tokens": shorter}}


def as_asked(held: Translator, test: Pairs, asked: Asked) -> dict[str, Any]:
    out = held.translate(test.source, asked)
    return {"texts": [one.text for one in out], "tokens": [one.tokens for one in out]}


@torch.no_grad()
def at_lengths(held: Translator, test: Pairs, lengths: Sequence[int]) -> dict[str, Any]:
    """One pass, each sentence at a given length; chances: the sum of its tokens' probabilities."""
    found: dict[str, Any] = {"texts": [], "tokens": [], "chances": []}
    longest = held.model.config.longest
    for start in range(0, len(test), ROWS):
        texts = test.source[start : start + ROWS]
        source = padded([held.subwords.encode(text)[:longest] for text in texts])
        sizes = torch.tensor(lengths[start : start + ROWS], dtype=torch.long, device="cpu").clamp_max(longest)
        tokens, chances = refine(held.model, held.model.read(source)[0], sizes, 1)
        for text, some, sure, size in zip(texts, tokens.tolist(), chances.tolist(), sizes.tolist(), strict=True):
            found["texts"].append(held.subwords.decode(some[:size], text))
            found["tokens"].append(some[:size])
            found["chances"].append(sum(sure[:size]))
    return found
