"""The check at load: does the forward in use compute what the model itself does?

Families differ in ways that no list keeps up with (two attentions in a layer, layers run twice, states beside the cache, masks
of their own), and hooks may do anything. So the model as it was handed in reads a text in its own way, and `LM.forward` reads it
as decoding does. A source without a module (a GGUF file) has its description alone: the lean forward, made of torch's operators,
then computes it in the module's stead.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from paceline.errors import ModelError, PacelineError
from paceline.lm.batch import Batch
from paceline.lm.decoder import Decoder
from paceline.lm.ids import random_ids
from paceline.lm.sources.compatibility import device_of, window_of

if TYPE_CHECKING:
    from paceline.lm.lm import LM


__all__ = ["agreement", "stepped"]

LENGTH, LONGEST_WINDOW = 20, 64  # tokens; windows longer than this are known from the family's own mask alone
CLOSE = 1e-3  # of the logits' spread, at every token
ROUGHLY = 1e-1  # the same in half precisions, on average and at the end: a router of experts may decide a close case otherwise
ROUNDED = 3e-1  # where codes of activations tip over, which random weights in many layers make more of
WIDEST = 1e4  # logits beyond it stand for a token that is ruled out


@torch.inference_mode()
def agreement(lm: LM, decoder: Decoder | None = None) -> str:
    """What differs between the forward in use and the model's own, one clause; "" where nothing does. decoder: what the forward
    computes, which is compared with where the source has no module.

    Reads two rows of random tokens, longer than any short window its configuration names: a prefill, many tokens at once, then
    one by one; the model that was handed in reads all of them at once but the last, and that one through its own cache.
    """
    tokens = random_ids(lm.known, (2, length(lm)), seed=0)
    theirs = stepped(lm.model, tokens) if lm.source.module or decoder is None else referred(lm, decoder, tokens)
    try:
        ours = decoded(lm, tokens)
    except PacelineError:
        raise
    except Exception as error:  # anything a module may do with an attention that it does not expect
        return f"its forward fails then with {brief(error)}"
    ours, theirs = (x.float().clamp(-WIDEST, WIDEST) for x in (ours, theirs[:, -ours.shape[1] :]))
    apart = (ours - theirs).square().mean(-1).sqrt() / theirs.std().clamp_min(1e-6)
    whole = lm.dtype in (torch.float32, torch.float64) and (decoder is None or decoder.activations != "int8")
    bound = ROUNDED if decoder and decoder.activations == "int8" else ROUGHLY
    if apart.max() <= CLOSE if whole else max(apart.mean(), apart[:, -1].min()) <= bound:
        return ""
    return f"logits differ from its own by {float(apart.max()):.2g} of their spread"


def length(lm: LM) -> int:
    """Of the text to compare."""
    settings = lm.text_config.to_dict() if hasattr(lm.text_config, "to_dict") else vars(lm.text_config)
    named = [n for key, n in settings.items() if isinstance(n, int) and ("window" in key or "chunk" in key) and not lm.patterns]
    cut = window_of(lm.text_config) if lm.patterns else None  # behind so many tokens the model itself lacks the first keys
    return min(LENGTH + max((n for n in named if n <= LONGEST_WINDOW), default=0), cut.window if cut else lm.reach, lm.reach)


@torch.inference_mode()
def stepped(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, V] of the model as it was handed in, in eval mode, for tokens [B, T]: all but the last of them in one call,
    that one through the model's own cache, as its `generate` would. Raises ModelError where the model fails.
    """
    from paceline.lm.forwards.stock import borrowed

    tokens, cache, out = tokens.to(device_of(model)), None, []
    places = torch.arange(tokens.shape[1], dtype=torch.long, device=tokens.device).expand(tokens.shape)
    try:
        with borrowed(model), torch.autocast(tokens.device.type, enabled=False):
            for part in (slice(-1), slice(-1, None)) if tokens.shape[1] > 1 else (slice(None),):
                made = model(input_ids=tokens[:, part], position_ids=places[:, part], past_key_values=cache, use_cache=True,
                             return_dict=True)
                cache = made.past_key_values
                out.append(made.logits)
    except Exception as error:
        raise ModelError(f"{type(model).__name__} fails on a plain text, without Paceline, with {brief(error)}.") from error
    return torch.cat(out, 1)


def referred(lm: LM, decoder: Decoder, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, V] of the lean forward for tokens [B, T], all in one call: it unpacks every weight anew at each."""
    from paceline.lm.forwards import lean

    other = copy.copy(lm)
    other.backend, kv = lean.build(decoder), other.cache()
    logits = other.forward(Batch([kv.take() for _ in tokens], tokens), kv)
    return logits.unflatten(0, tokens.shape)


def brief(error: Exception) -> str:
    """Kind and first line."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]


def decoded(lm: LM, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, T', V] of the forward in use, for the last T' of T tokens: all but a prefill of at most three."""
    (b, t), kv, out = tokens.shape, lm.cache(), []
    slots, first = [kv.take() for _ in range(b)], min(3, t - 1)
    for slot, row in zip(slots, tokens.tolist(), strict=True):
        lm.prefill(kv, slot, row[:first])
    for start, end in pairwise(sorted({first, max(first, t - 2), t - 1, t})):
        logits = lm.forward(Batch(slots, tokens[:, start:end]), kv)
        out.append(logits.unflatten(0, (b, end - start)))
        kv.keep(slots, [range(end - start)] * b)
    return torch.cat(out, 1)
