"""Writing a translation in one pass, or in a few (Ghazvininejad et al. 2019, Mask-Predict, arXiv 1904.09324, section 4)."""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor

from paceline.errors import RequestError
from paceline.models.translation.body import Source
from paceline.models.translation.config import BOS, EOS, MASK, PAD
from paceline.models.translation.nat import Nat
from paceline.models.translation.search import Candidate, check_beam

__all__ = ["allowed", "collapsed", "mask_predict", "masks", "refine"]


@torch.no_grad()
def mask_predict(model: Nat, source: Tensor, beam: int = 5, iterations: int = 1,
                 sizes: Tensor | None = None) -> list[list[Candidate]]:
    """Translations of each sentence ``[B, S]``, one for each of the `beam` likeliest lengths, the best first.

    A score is the mean log-probability of the tokens. Source keys are computed once and repeated. sizes: ``[B]`` lengths that are
    known, such as the references', in place of the beam. Raises RequestError for a beam or iterations below 1.
    """
    check_beam(beam)
    if iterations < 1:
        raise RequestError(f"Expected at least 1 iteration, found {iterations}.")
    read, lengths = model.read(source)
    likely = lengths.topk(min(beam, lengths.shape[1] - 1)).indices if sizes is None else sizes[:, None]
    rows = torch.arange(len(source), dtype=torch.long, device=source.device).repeat_interleave(likely.shape[1])
    tokens, chances = refine(model, read.pick(rows), likely.flatten(), iterations)
    scores = chances.log().where(tokens != PAD, 0).sum(1) / likely.flatten()
    found = [Candidate([t for t in row if t != PAD], score) for row, score in zip(tokens.tolist(), scores.tolist(), strict=True)]
    width = likely.shape[1]
    return [sorted(found[i : i + width], key=lambda c: -c.score) for i in range(0, len(found), width)]


def refine(model: Nat, source: Source, sizes: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Tokens and their probabilities ``[B, T]`` for targets of these sizes; PAD behind them.

    All is masked at first. After pass t of T the max(1, floor(L (1 - t / T))) least likely of L tokens are masked and written
    anew; the others keep their tokens and probabilities.
    """
    hidden = masks(sizes)
    inside = hidden == MASK
    tokens, chances = _predicted(model, source, hidden)
    for done in range(1, iterations):
        again = (sizes * (iterations - done) // iterations).clamp_min(1)
        unsure = chances.masked_fill(~inside, math.inf).argsort(1).argsort(1) < again[:, None]
        fresh, sure = _predicted(model, source, tokens.masked_fill(unsure, MASK))
        tokens, chances = fresh.where(unsure, tokens), sure.where(unsure, chances)
    return tokens, chances


def masks(sizes: Tensor) -> Tensor:
    """Targets ``[B, T]`` of these sizes, all masked; PAD behind them."""
    inside = torch.arange(int(sizes.max()), dtype=torch.long, device=sizes.device) < sizes[:, None]
    return torch.where(inside, MASK, PAD)


def allowed(model: Nat, source: Source, target: Tensor) -> Tensor:
    """Logits ``[B, T, V]`` at all places of targets that are masked in whole or part, one pass; no mark is possible."""
    marks = torch.tensor([PAD, BOS, EOS, MASK], dtype=torch.long, device=target.device)
    return model.decode(target, source).float().index_fill(-1, marks, -math.inf)


def _predicted(model: Nat, source: Source, target: Tensor) -> tuple[Tensor, Tensor]:
    best = allowed(model, source, target).softmax(-1).max(-1)
    return best.indices.where(target != PAD, PAD), best.values


def collapsed(tokens: list[int]) -> list[int]:
    """Without repetitions of a neighbour. Words that belong twice suffer, too."""
    return [token for token, _ in groupby(tokens)]
