"""What an EXAM classifier is made of; the paper's way is the default, with an option wherever the released code differs."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from paceline.errors import RequestError, did_you_mean

__all__ = ["AGGREGATORS", "AS_CODE", "MULTI_HIDDEN", "OWN_ENCODERS", "ExamConfig"]

AGGREGATORS = ("mlp", "mean", "sum", "max", "logsumexp", "top", "attention", "max_pool")
OWN_ENCODERS = ("region", "gru")
MULTI_HIDDEN = 60  # width of the aggregation MLP in the paper's multi-label models
AS_CODE = {"residual": True, "class_bias": True, "mask_bias": False, "out_bias": True}  # the released code's multi-class model
MULTI = "multi_label_classification"
CHOICES = {"encoder": (*OWN_ENCODERS, "pretrained"), "aggregator": AGGREGATORS, "keep": ("first", "last")}
LEAST = {"width": 1, "radius": 0, "layers": 1, "words": 0, "buckets": 1, "length": 1, "hidden": 0, "top": 1, "chunk": 0}


class ExamConfig(PreTrainedConfig):
    """Settings of an `Exam`. Labels are `id2label`, as transformers has them; `problem_type` tells one label a text from several.

    encoder: region, gru, or the settings of a Hugging Face encoder in `pretrained`. width: k of word vectors and of H. radius: s
    of the region embedding. layers: of the GRU (the code has 2). words, buckets: the vocabulary, and how many vectors unknown
    words share by their hash. length: n, the places that the aggregation MLP knows. hidden: its width m; 0 = 2 n, as the paper's
    multi-class models (multi-label: 60). aggregator: mlp (EXAM); mean (fastText); max_pool (the paper's baseline EXAM_Encoder);
    sum, max, logsumexp, top, attention know no places. top: r, the scores that `top` averages. dropout: on H while training.
    chunk: classes scored at once; 0 = all.

    Paper and code: residual adds the sum of a class's scores to the MLP's output, class_bias gives the interaction a bias for
    each class (the code's multi-class model has both), mask_bias keeps that bias from padding (the code does not), out_bias is
    the MLP's second bias (code only). keep: which end of a text that is too long stays (code, multi-label: first; paper: last).
    pad_left puts the text at the end of the n places (the code's multi-label model).

    Raises RequestError for values that make no model.
    """

    model_type = "paceline_exam"
    encoder: str = "region"
    width: int = 128
    radius: int = 3
    layers: int = 1
    words: int = 0
    buckets: int = 1024
    length: int = 256
    hidden: int = 0
    aggregator: str = "mlp"
    top: int = 3
    dropout: float = 0.0
    chunk: int = 0
    residual: bool = False
    class_bias: bool = False
    mask_bias: bool = True
    out_bias: bool = False
    keep: str = "first"
    pad_left: bool = False
    pretrained: dict | None = None
    thresholds: list | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise RequestError(f"There is no {name} {value!r}.{did_you_mean(str(value), known)}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise RequestError(f"Expected {name} of at least {least}, found {getattr(self, name)}.")

    @property
    def labels(self) -> list[str]:
        """In the order of the logits."""
        return [str(name) for _, name in sorted((self.id2label or {}).items())]

    @property
    def multi(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.problem_type == MULTI
