"""Which forward a model runs on: the fastest that is known here, was asked for, and agrees with the model's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from paceline.errors import ModelError
from paceline.lm.agreement import agreement
from paceline.lm.decoder import Decoder
from paceline.lm.forwards import of_decoders
from paceline.lm.protocols import Forward
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.packed import packs, pays

if TYPE_CHECKING:
    from paceline.lm.lm import LM

__all__ = ["choose"]

log = logging.getLogger("paceline")


def choose(lm: LM, forward: str, packed: bool) -> None:
    """Set `lm.backend`; `lm.notes` says what was not to be had. Raises ModelError where the forward asked for is none of that, or
    no forward agrees.
    """
    if lm.source.live:
        return _live(lm, forward)
    decoder, why = lm.source.decoder(lm.reach) if forward != "stock" else (None, "")
    for name, module in of_decoders().items():
        if forward != name and (forward != "auto" or (module.PACKS and not packed)):
            continue
        pack = packed and (module.PACKS or _packing(lm, decoder))
        if _runs(lm, forward, name, decoder, why or module.fits(decoder), partial(module.build, packed=pack)):
            return _tell_slow(lm, decoder)
    return _stock(lm, packed and _packing(lm, decoder))


def _runs(lm: LM, forward: str, name: str, decoder: Decoder | None, why: str, build: Callable[[Decoder], Forward]) -> bool:
    """Whether this forward is at work now; what keeps it from that is noted, or raised where it alone was asked for."""
    if decoder is not None and not why:
        lm.backend = build(decoder)
        why = lm.checks(f"{name} agrees", lambda: agreement(lm, decoder))
    if why and forward == name:
        raise ModelError(f"There is no {name} forward for this model here: {why}. Use forward='auto'.")
    if why and not any(why in note for note in lm.notes):
        lm.notes.append(f"no {name} forward: {why}")
    return not why


def _tell_slow(lm: LM, decoder: Decoder | None) -> None:
    """Note, in the log too, that quantised weights are on a forward that has no kernels for them."""
    if decoder is not None and decoder.activations and lm.backend.name == "lean":
        lm.notes.append("quantised weights are unpacked anew at every step, slowly: only the fused forward has kernels for them")
        log.warning("%s: %s.", lm.name, "; ".join(lm.notes))


def _packing(lm: LM, decoder: Decoder | None) -> bool:
    """Whether packed linears are faster here."""
    note = f"no packed weights: torch cannot pack {lm.dtype} on this processor, so its plain linears serve"
    if lm.device.type == "cpu" and not packs(lm.dtype) and note not in lm.notes:
        lm.notes.append(note)
    return lm.checks("packing pays", lambda: pays(_linears(lm, decoder)))


def _linears(lm: LM, decoder: Decoder | None) -> Iterable[torch.Tensor]:
    """The model's weights, one by one."""
    if decoder is None:
        return (m.weight for m in lm.model.modules() if type(m) is nn.Linear)
    every = (w for layer in decoder.layers for w in (layer.qkv, layer.out, layer.gate_up, layer.down))
    return (w.weight for w in every if isinstance(w, Dense))


def _live(lm: LM, forward: str) -> None:
    """The stock forward on the model itself."""
    if forward not in ("auto", "stock"):
        raise ModelError(f"There is no {forward} forward for a model that is not plain: {lm.source.live}. Use forward='auto'.")
    lm.notes.append(f"the model runs live, through its own forward: {lm.source.live}")
    _stock(lm, False)


def _stock(lm: LM, pack: bool) -> None:
    from paceline.lm.forwards import stock

    lm.backend = stock.build(lm.source, lm.reach, pack)
    if why := lm.checks("stock agrees", lambda: agreement(lm)):
        kind = f"{type(lm.model).__name__} ({lm.text_config.model_type})"
        raise ModelError(f"{kind} cannot be decoded token by token with Paceline's cache: {why}; use transformers' generate.")
