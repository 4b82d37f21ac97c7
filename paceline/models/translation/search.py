"""Writing a translation token by token: greedy, and beam search that merges what has the same future."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from paceline.errors import ModelError, RequestError
from paceline.models.translation.body import real_tokens
from paceline.models.translation.config import BOS, EOS, MASK, PAD
from paceline.models.translation.markov import Markov

__all__ = ["Candidate", "beam", "check_beam", "greedy", "steps_for"]


class Candidate(NamedTuple):
    """A translation's tokens without marks, and its score: a mean log-probability or the like, better if higher."""

    tokens: list[int]
    score: float


def best_of(candidates: list[Candidate]) -> Candidate:
    """Of the highest score. Raises ModelError where a model that gives no numbers has left none."""
    if not candidates:
        raise ModelError("The model gives no numbers for this text: its weights are not finite.")
    return max(candidates, key=lambda candidate: candidate.score)


def check_beam(width: int) -> None:
    """Raises RequestError for a beam that holds nothing."""
    if width < 1:
        raise RequestError(f"Expected a beam of at least 1, found {width}.")


def steps_for(model: Markov, source: Tensor) -> Tensor:
    """Tokens after which each translation ``[B]`` is ended at the latest."""
    return (2 * real_tokens(source).sum(1) + 10).clamp_max(model.config.longest)


def allowed(logits: Tensor) -> Tensor:
    """Log-probabilities without the marks that no sentence holds."""
    marks = torch.tensor([PAD, BOS, MASK], dtype=torch.long, device=logits.device)
    return logits.float().index_fill(-1, marks, -math.inf).log_softmax(-1)


@torch.no_grad()
def greedy(model: Markov, source: Tensor, order: int | None = None) -> list[Candidate]:
    """The likeliest token at each step for sentences ``[B, S]``; scores are means over tokens and the end."""
    cache = model.start(model.read(source), order)
    tokens, score = source.new_full((len(source), 1), BOS), torch.zeros(len(source), dtype=torch.float32, device=source.device)
    limits = steps_for(model, source)
    for length in range(1, int(limits.max()) + 1):
        best = allowed(model.decode(tokens[:, -1:], cache)[:, -1]).max(-1)
        going = (tokens[:, 1:] != EOS).all(1) & (length <= limits)
        score = score + best.values.where(going, 0)
        tokens = torch.cat([tokens, best.indices.where(going, EOS)[:, None]], 1)
        if not (going & (best.indices != EOS)).any():
            break
    texts = [_until_end(row) for row in tokens[:, 1:].tolist()]
    return [Candidate(text, float(s) / (len(text) + 1)) for text, s in zip(texts, score, strict=True)]


def _until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


@torch.no_grad()
def beam(model: Markov, source: Tensor, width: int = 4, penalty: float = 1.0, order: int | None = None,
         merge: bool = True) -> list[Candidate]:
    """The best translation of each sentence ``[B, S]`` among `width` that are followed at once; a score is the sum of
    log-probabilities, the end's too, over tokens ** penalty.

    Two that are equally long and end in the same k tokens have the same future under a model of order k, so `merge` keeps the
    better one alone: nothing is lost, since length is all that the score is divided by, and the beam holds what differs. With a
    width of |V| ** k the result is that of exhaustive search. A sentence is done when `width` translations of it have ended or
    none can become better. Raises RequestError for a width below 1.
    """
    check_beam(width)
    live, limits = _Beam(model, source, width, order), steps_for(model, source)
    found: list[list[Candidate]] = [[] for _ in source]
    going = set(range(len(source)))
    for length in range(1, int(limits.max()) + 2):
        for row, tokens, score in live.step(live.totals(merge, length > limits)):
            if row in going:
                found[row].append(Candidate(tokens, score / length**penalty))
        reach = (live.scores[:, 0] / (limits + 1) ** penalty).tolist()
        going -= {row for row in going if len(found[row]) >= width or (found[row] and best_of(found[row]).score >= reach[row])}
        if not going:
            break
    return [best_of(some) for some in found]


class _Beam:
    """Translations that go on: their tokens ``[B, W, n]``, scores ``[B, W]``, and the keys of all of them."""

    def __init__(self, model: Markov, source: Tensor, width: int, order: int | None) -> None:
        rows = torch.arange(len(source), dtype=torch.long, device=source.device).repeat_interleave(width)
        self.model, self.width, self.horizon = model, width, model.horizon(order)
        self.cache = model.start(model.read(source).pick(rows), order)
        self.written = source.new_full((len(source), width, 1), BOS)
        self.scores = torch.full((len(source), width), -math.inf, dtype=torch.float32, device=source.device)
        self.scores[:, 0] = 0

    def totals(self, merge: bool, over: Tensor) -> Tensor:
        """Scores ``[B, W, V]`` of each with each token behind it; sentences that are over ``[B]`` can only end."""
        logits = self.model.decode(self.written.flatten(0, 1)[:, -1:], self.cache)[:, -1]
        total = self.scores[..., None] + allowed(logits).unflatten(0, (-1, self.width))
        goes_on = torch.arange(total.shape[-1], dtype=torch.long, device=total.device) != EOS
        total = total.masked_fill(over[:, None, None] & goes_on, -math.inf)
        return self._merged(total) if merge and self.horizon else total

    def _merged(self, total: Tensor) -> Tensor:
        """Of those that would end in the same k tokens only the best goes on."""
        ends = self.written[..., max(0, self.written.shape[-1] - self.horizon + 1) :]
        same = (ends[:, :, None] == ends[:, None]).all(-1)
        kept = [total.masked_fill(~same[:, w, :, None], -math.inf).argmax(1) == w for w in range(self.width)]
        return total.masked_fill(~torch.stack(kept, 1), -math.inf)

    def step(self, total: Tensor) -> list[tuple[int, list[int], float]]:
        """Go on with the best; returns what ends here, as (row, tokens, score)."""
        best = total.flatten(1).topk(2 * self.width)
        parents, tokens = best.indices // total.shape[-1], best.indices % total.shape[-1]
        ended = [(int(b), self.written[b, parents[b, w], 1:].tolist(), float(best.values[b, w]))
                 for b, w in (tokens[:, : self.width] == EOS).nonzero() if best.values[b, w] > -math.inf]
        on = best.values.masked_fill(tokens == EOS, -math.inf).topk(self.width)
        parents, tokens, self.scores = parents.gather(1, on.indices), tokens.gather(1, on.indices), on.values
        rows = torch.arange(len(total), dtype=torch.long, device=total.device)[:, None]
        self.cache.reorder((rows * self.width + parents).flatten())
        self.written = torch.cat([self.written[rows, parents], tokens[..., None]], -1)
        return ended
