"""What tokens see in training: their own document, and in layers with a window its nearest keys and its first ones.

The pattern that masks here is the one by which a decoder's cache lets go (`patterns/sliding.py`), so that a model is trained as
it will be decoded: LightTransfer's own code trains with 128 sinks and a window of 1,024, and decodes with others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paceline.errors import ModelError
from paceline.lm.sources.compatibility import window_of
from paceline.train.packing import Batch, document_mask

__all__ = ["attention_masks"]

FULL, WINDOW = "full_attention", "sliding_attention"  # transformers' names of a layer's type


def attention_masks(model: PreTrainedModel, batch: Batch, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Additive masks ``[B, 1, T, T]`` as the model's forward takes them: one, or one for each type of its layers.

    Raises ModelError for layers of another type than full or sliding attention.
    """
    config = model.config.get_text_config()
    kinds, window = set(getattr(config, "layer_types", None) or ()), window_of(config)
    if strange := kinds - {FULL, WINDOW}:
        raise ModelError(f"{type(model).__name__} has layers of {min(strange)}, which training here does not compute.")
    whole = document_mask(batch.documents, dtype)
    if window is None or kinds == {FULL}:
        return whole
    seen = window.visible(batch.positions[:, :, None], batch.positions[:, None, :])
    near = whole.masked_fill(~seen[:, None], -torch.inf)
    return {FULL: whole, WINDOW: near} if kinds else near
