"""How likely a model that writes token by token finds translations from elsewhere, such as a `Nat`'s, and changes in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.errors import ModelError
from paceline.models.translation.body import Source
from paceline.models.translation.config import BOS, EOS, PAD
from paceline.models.translation.markov import Markov

__all__ = ["changed_scores", "token_scores"]


@torch.no_grad()
def token_scores(model: Markov, source: Source, target: Tensor, order: int | None = None) -> Tensor:
    """Log-probabilities ``[B, T + 1]`` of the tokens of targets ``[B, T]`` and of the end behind each; 0 where nothing stands."""
    return _scored(model, source, target, order, 0, target.shape[1] + 1)


@torch.no_grad()
def changed_scores(model: Markov, source: Source, target: Tensor, before: Tensor, places: range,
                   order: int | None = None) -> Tensor:
    """`token_scores` of targets that were scored as `before` when other tokens stood at these places. A place is felt by the k
    that follow, so these and their windows are all that is computed, however long the sentence.

    Raises ModelError for a model that looks back without end.
    """
    horizon = model.horizon(order)
    if not horizon:
        raise ModelError("A change is scored by itself only by a model of order k >= 1; this one sees all tokens before. Score "
                         "the whole sentence.")
    last, after = min(target.shape[1] + 1, places.stop + horizon), before.clone()
    fresh = _scored(model, source, target, order, max(0, places.start - horizon + 1), last)
    after[:, places.start : last] = fresh[:, places.start - last :]
    return after


def _scored(model: Markov, source: Source, target: Tensor, order: int | None, first: int, last: int) -> Tensor:
    """Scores ``[B, last - first]`` of the tokens from `first` on, as if none stood before."""
    labels = pad(target, (0, 1), value=PAD)
    labels = labels.scatter(1, (target != PAD).sum(1, keepdim=True), EOS)
    inputs = pad(target, (1, 0), value=BOS)[:, first:last]
    logits = model.decode(inputs, model.start(source, order, first))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    labels = labels[:, first:last]
    return logits.log_softmax(-1).gather(2, labels[..., None])[..., 0].where(labels != PAD, 0)
