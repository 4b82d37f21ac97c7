"""Training sees what decoding sees: a layer's window and its first keys, document by document."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import paceline
from paceline.errors import ModelError
from paceline.lm.batch import Batch as Tokens
from paceline.testing import tiny_model
from paceline.train.attention import use_block_attention
from paceline.train.forward import hidden_states
from paceline.train.masks import FULL, WINDOW, attention_masks
from paceline.train.packing import Batch

KINDS = [WINDOW, FULL, WINDOW]


def hybrid(family: str, window: int, sinks: int) -> Any:
    used = {"use_sliding_window": True} if family == "qwen3" else {}
    return tiny_model(family, head_dim=16, layer_types=KINDS, sliding_window=window, paceline={"sinks": sinks}, **used)


def packed(*lengths: int) -> Batch:
    """Documents of these lengths in one row."""
    tokens = torch.randint(3, 259, (1, sum(lengths)), generator=torch.Generator().manual_seed(0))
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    return Batch(tokens, tokens, places, torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None])


@torch.inference_mode()
@pytest.mark.parametrize("family", ["ministral", "qwen3"])
def test_a_hybrid_is_trained_as_it_is_decoded_token_by_token(family: str) -> None:
    model, batch = hybrid(family, 24, 3), packed(30, 230)
    lm = paceline.load(model, packed=False)
    kv = lm.cache()
    slot, decoded = kv.take(), []
    for token in batch.tokens[0, 30:].tolist():
        decoded.append(lm.forward(Tokens.of([slot], [[token]]), kv))
        kv.keep([slot], [range(1)])
    assert kv.start(0, slot) > 100 and kv.start(1, slot) == 0  # keys were let go, several times
    use_block_attention(model)
    trained = model.get_output_embeddings()(hidden_states(model, batch))[30:]
    torch.testing.assert_close(torch.cat(decoded), trained, atol=1e-4, rtol=1e-4)


def test_a_window_as_long_as_the_texts_is_full_attention() -> None:
    batch = packed(9, 20)
    masks: dict[int, Any] = {window: attention_masks(hybrid("ministral", window, 2), batch, torch.float32) for window in (4, 20)}
    assert torch.equal(masks[20][WINDOW], masks[20][FULL]) and not torch.equal(masks[4][WINDOW], masks[4][FULL])
    assert (masks[4][WINDOW][0, 0, 9:] == 0).sum(-1).tolist() == [1, 2, 3, 4, 5, *[6] * 15]  # two of them first ones
    one = attention_masks(tiny_model("mistral"), packed(30), torch.float32)
    assert isinstance(one, torch.Tensor) and (one == 0).sum(-1).max() == 24


def test_other_layers_are_refused() -> None:
    model = tiny_model()
    model.config.layer_types = [FULL, "linear_attention", FULL]
    with pytest.raises(ModelError, match="layers of linear_attention"):
        attention_masks(model, packed(5), torch.float32)
