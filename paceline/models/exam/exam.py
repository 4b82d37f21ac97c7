"""EXAM (Du et al. 2019, arXiv 1811.09386): word-level evidence for each class first, aggregation afterwards.

Interaction: I = T H^T, every class's trainable vector against every word [B, c, n]; aggregation: one MLP over each class's row of
scores. With the average in the MLP's place it is fastText, (1/n) sum_t H_t W + b (section 3.5). Departures: texts are padded
inside the model, H is zero on padding, and a batch is as long as its longest text until the MLP needs n places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, dropout, pad
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from paceline.errors import RequestError, ShapeError
from paceline.models.exam.aggregate import aggregator_for, winners
from paceline.models.exam.config import ExamConfig
from paceline.models.exam.encoders import encoder_for

__all__ = ["Evidence", "Exam"]


class Evidence(NamedTuple):
    """Where logits came from: `logits` [B, c] = `parts` [B, c, n], summed over the words, + `rest` [B, c], the biases' share."""

    logits: torch.Tensor
    parts: torch.Tensor
    rest: torch.Tensor


class Exam(PreTrainedModel):
    """A classifier: `exam(ids [B, n], mask [B, n])` gives `.logits` [B, c], and `.loss` where targets are given.

    Targets are class numbers [B] (cross entropy, the mean over texts), or for several labels a text 0/1 [B, c] (binary cross
    entropy, summed over the classes, the mean over texts). Raises ShapeError for longer texts than its n places.
    """

    config_class = ExamConfig
    base_model_prefix = "exam"
    config: ExamConfig

    def __init__(self, config: ExamConfig) -> None:
        super().__init__(config)
        self.encoder = encoder_for(config)
        self.classes = nn.Parameter(torch.empty(len(config.labels), self.encoder.width))
        self.class_bias = nn.Parameter(torch.zeros(len(config.labels))) if config.class_bias else None
        self.aggregator = aggregator_for(config)
        nn.init.xavier_uniform_(self.classes)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Xavier, as the paper; padding stays zero. A Hugging Face encoder brings its own."""
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None and self.config.encoder != "pretrained":
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            module.weight.data[module.padding_idx].zero_()

    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """H [B, n, k], zero on padding."""
        hidden = self.encoder(ids, mask) * mask[..., None]
        return dropout(hidden, self.config.dropout, self.training)

    def scores(self, hidden: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """The interaction I = T H^T [B, c, n], for these classes."""
        return torch.einsum("bnk,ck->bcn", hidden, self.classes[rows])

    def places(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """H and the mask, as long as the aggregator wants them."""
        if ids.shape[1] > self.config.length:
            raise ShapeError(f"This classifier reads {self.config.length} words; found a text of {ids.shape[1]}: encode it with "
                             "its own vocabulary, which cuts it.")
        hidden, more = self.hidden(ids, mask), self.config.length - ids.shape[1]
        if self.config.aggregator == "mlp":
            hidden, mask = pad(hidden, (0, 0, 0, more)), pad(mask, (0, more))
        return (winners(hidden, mask), mask) if self.config.aggregator == "max_pool" else (hidden, mask)

    def aggregate(self, scores: torch.Tensor, mask: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """Logits [B, c] of scores [B, c, n]. A class's bias is added to each of its scores; that of a linear layer once."""
        if self.class_bias is None:
            return self.aggregator(scores, mask)
        bias = self.class_bias[rows, None]
        if self.config.aggregator == "max_pool":
            return self.aggregator(scores, mask) + bias[:, 0]
        return self.aggregator(scores + (bias * mask[:, None] if self.config.mask_bias else bias), mask)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor | None = None) -> SequenceClassifierOutput:
        hidden, mask = self.places(ids, mask)
        count = len(self.classes)
        step = self.config.chunk or max(count, 1)
        rows = [slice(start, start + step) for start in range(0, count, step)]
        logits = torch.cat([self.aggregate(self.scores(hidden, part), mask, part) for part in rows], -1)
        return SequenceClassifierOutput(loss=None if targets is None else self.loss(logits, targets), logits=logits)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not self.config.multi:
            return cross_entropy(logits, targets)
        return binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="sum") / len(logits)

    def evidence(self, ids: torch.Tensor, mask: torch.Tensor) -> Evidence:
        """What each place of the text gave to each class: its score times the logit's slope there.

        Exact, not an estimate: mean, sum, max, top and the ReLU MLP are linear around a text, so the parts and the biases' rest
        add up to the logit; for logsumexp and attention `rest` also holds what is not linear.
        """
        with torch.no_grad():
            hidden, mask = self.places(ids, mask)
            scores = self.scores(hidden)
        scores.requires_grad_()
        with torch.enable_grad():
            logits = self.aggregate(scores, mask)
            slopes = torch.autograd.grad(logits.sum(), scores)[0]  # classes do not mix, so one pass serves them all
        parts = (scores * slopes).detach()
        return Evidence(logits.detach(), parts[..., : ids.shape[1]], logits.detach() - parts.sum(-1))

    @torch.no_grad()
    def meanings(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Class vectors [B, k] that stand for these texts, such as labels' names: the mean of H, as long as class vectors are."""
        mean = self.hidden(ids, mask).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return mean * (self.classes.norm(dim=-1).mean() / mean.norm(dim=-1, keepdim=True).clamp_min(1e-6))

    @torch.no_grad()
    def add_label(self, name: str, vector: torch.Tensor) -> None:
        """One more class without training, a row of T: no other logit changes. Raises RequestError for a known name."""
        if name in self.config.labels:
            raise RequestError(f"The classifier has a label {name!r} already.")
        labels = [*self.config.labels, name]
        self.classes = nn.Parameter(torch.cat([self.classes, vector[None].to(self.classes)]))
        if self.class_bias is not None:
            self.class_bias = nn.Parameter(torch.cat([self.class_bias, self.class_bias.mean()[None]]))
        self.config.id2label, self.config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
        if self.config.thresholds is not None:
            self.config.thresholds = [*self.config.thresholds, 0.5]
