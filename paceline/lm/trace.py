"""Looking inside: one forward over a text, layer by layer, and what each layer's attention was given goes to whoever watches.

Attention of every forward made of torch's operators goes through `attend`, which leaves a watched batch to its watcher. A watched
forward needs no cache and computes no logits; a layer's tensors live until the next layer's.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from paceline.errors import ModelError, RequestError
from paceline.lm.attention import Call
from paceline.lm.batch import Batch
from paceline.lm.decoder import Decoder
from paceline.lm.ids import token_ids
from paceline.lm.kv import KV
from paceline.lm.lm import LM
from paceline.lm.load import opened
from paceline.lm.rotary import Rope
from paceline.lm.rows import rows
from paceline.lm.seen import Seen
from paceline.lm.sources.compatibility import check_causal, context_of
from paceline.lm.weights.unpacked import unpacked

__all__ = ["Seen", "Subject", "Watch", "subject"]

Biases = tuple[torch.Tensor, torch.Tensor] | None


class Watch(Protocol):
    """Who looks at texts and keeps what it needs. Of these, one that does not care leaves out any but `reading`:

    layer(seen): once for each layer of each text. rows(seen, start, probs): right after it, for block after block of queries,
    probs fp32 [Hq, R, start + R] as in `rows.py`, to be read before it returns and not changed. end(text): after a text's last
    layer. A text is told by its number, `seen.text`. starts: positions of a text's first token for which it wants the text read,
    each in a forward of its own; (0,) where left out.
    """

    def reading(self) -> Any:
        """What was found (`core/reading.py`)."""
        ...


class Subject:
    """A model to look at: its forward, and what attention cannot know.

    settings: as transformers' text configuration has them, read as attributes. run: a forward's operators. decoder or module: its
    weights. rope and biases: of a layer, as `Seen` has them. why_no_rope(): a clause that says why there is none.
    """

    decoder: Decoder | None = None
    module: Any = None

    def __init__(self, name: str, settings: Any, run: Callable[[Call], Any], device: torch.device) -> None:
        self.name, self.settings, self.run, self.device = name, settings, run, device
        self.vocab: int = settings.vocab_size
        self.context = context_of(settings)[0]
        self.rope: Callable[[int], Rope | None] = lambda layer: None
        self.biases: Callable[[int], Biases] = lambda layer: None
        self.why_no_rope: Callable[[], str] = str
        self.changes: tuple[Callable[[Seen], Seen], ...] = ()  # to what attention is given, one after the other
        self.tokenizer: Any = None

    def read(self, tokens: Sequence[int], text: int, watches: Sequence[Watch]) -> None:
        """Show one text to these watches. Raises RequestError for one that the model cannot read."""
        starts = sorted({start for watch in watches for start in starts_of(watch)} or {0})
        ids = self._ids(tokens, starts[-1])
        for start in starts:
            self._forward(ids, Shown(self, text, ids[0], start, [w for w in watches if start in starts_of(w)]), ())
        for watch in watches:
            if hasattr(watch, "end"):
                watch.end(text)

    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """[T, V] of a text. Raises RequestError for one that the model cannot read."""
        ids = self._ids(tokens)
        return self._forward(ids, Shown(self, 0, ids[0], 0, ()), None)

    def _ids(self, tokens: Sequence[int], start: int = 0) -> torch.Tensor:
        if not 0 < len(tokens) <= self.context - start:
            raise RequestError(f"{self.name} reads texts of 1 to {self.context - start} tokens; found one of {len(tokens)}.")
        if bad := [token for token in tokens if not 0 <= token < self.vocab]:
            raise RequestError(f"A text has token {bad[0]}; this model's ids run from 0 to {self.vocab - 1}.")
        return token_ids([list(tokens)]).to(self.device)

    @torch.inference_mode()
    def _forward(self, ids: torch.Tensor, shown: "Shown", logits_at: tuple[()] | None) -> torch.Tensor:
        kv = KV()
        call = Call(Batch([kv.take()], ids, logits_at=logits_at, watch=shown), kv, self.context)
        call.starts = [shown.start]
        with torch.autocast(self.device.type, enabled=False):
            logits = self.run(call)
        if not shown.layers:
            raise ModelError(f"{self.name} shows no attention; expected layers that attend through transformers' interface.")
        return logits


def starts_of(watch: Any) -> Sequence[int]:
    return getattr(watch, "starts", (0,))


class Shown:
    """A `Watcher` (`batch.py`) that passes on what it is given of one text, whose first token is at position `start`. Exact rows
    are made once for all who ask for them, and give the layer's output too.
    """

    def __init__(self, subject: Subject, text: int, tokens: torch.Tensor, start: int, watches: Sequence[Any]) -> None:
        self.subject, self.text, self.tokens, self.start = subject, text, tokens, start
        self.hidden, self.layers = torch.empty(0, dtype=torch.float32, device="cpu"), 0
        self.by_layer = [watch for watch in watches if hasattr(watch, "layer")]
        self.by_rows = [watch for watch in watches if hasattr(watch, "rows")]

    def enter(self, hidden: torch.Tensor) -> None:
        self.hidden = hidden.flatten(0, -2)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int, scale: float, window: int | None,
               **special: Any) -> torch.Tensor:
        places = torch.arange(self.start, self.start + q.shape[2], dtype=torch.long, device=q.device)
        of, self.layers = self.subject, self.layers + 1
        seen = Seen(layer, self.text, self.tokens, q[0], k[0], v[0], scale, window, special.get("softcap"),
                    special.get("s_aux"), places, of.rope(layer), self.hidden, of.biases(layer))
        for change in of.changes:
            seen = change(seen)
        for watch in self.by_layer:
            watch.layer(seen)
        if not (self.by_rows or special or of.changes) and (window is None or window >= len(places)):
            return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True).transpose(1, 2)
        return self._by_rows(seen).transpose(0, 1)[None].to(v.dtype)

    def _by_rows(self, seen: Seen) -> torch.Tensor:
        """The layer's output [Hq, T, D'], in fp32."""
        v = seen.v.float()
        out = v.new_empty((*seen.q.shape[:2], v.shape[-1]))
        for start, probs in rows(seen):
            for watch in self.by_rows:
                watch.rows(seen, start, probs)
            _, count, stop = probs.shape
            by_key = probs.reshape(len(v), -1, stop) @ v[:, :stop]
            out[:, start:stop] = by_key.view(-1, count, v.shape[-1])
        return out


def subject(model: Any) -> Subject:
    """A model as something to look at: by any name that `load` takes, a transformers one, a `Source` or a loaded `LM`; weights of
    4 or 8 bits count as what they stand for, with inputs that are not rounded. Raises ModelError for what has no attention to
    look at.
    """
    if isinstance(model, Subject):
        return model
    named = isinstance(model, str | Path)
    found, words = opened(str(model)) if named else (model, getattr(model, "tokenizer", None))
    made = of_source(found)
    made.tokenizer = words
    return made


def of_source(model: Any) -> Subject:
    source: Any = model.source if isinstance(model, LM) else model
    if isinstance(source, torch.nn.Module) or getattr(source, "module", False):
        return of_module(source if isinstance(source, torch.nn.Module) else source.model)
    if not hasattr(source, "decoder"):
        raise ModelError(f"Expected a model to look inside of; found {type(model).__name__}, which has no layers.")
    exact = copy.copy(source)
    exact.activations = "float"
    decoder, why = exact.decoder(context_of(source.settings)[0])
    if decoder is None:
        raise ModelError(f"{source.name} cannot be looked inside of: {why}.")
    return of_decoder(source, decoder)


def of_decoder(source: Any, decoder: Decoder) -> Subject:
    """On the lean forward."""
    from paceline.lm.forwards.lean import Lean

    decoder = unpacked(decoder)
    made, heads = Subject(source.name, source.settings, Lean(decoder), source.device), decoder.heads

    def biases(layer: int) -> Biases:
        part = decoder.layers[layer]
        bias = part.qkv.linear(torch.zeros((1, part.qkv.shape[1]), dtype=part.qkv.dtype, device=source.device))
        if part.q_norm is not None or not bias.any():
            return None
        q, k, _ = bias.view(-1, heads.dim).split([heads.queries, heads.keys, heads.keys])
        return q, k

    made.decoder, made.rope, made.biases = decoder, decoder.rope_of, biases
    return made


def of_module(model: Any) -> Subject:
    """On the model's own forward, which stays as it is."""
    from paceline.lm.forwards.stock import Stock
    from paceline.lm.sources.compatibility import device_of
    from paceline.lm.sources.rotations import Rotations

    check_causal(model)
    settings = model.config.get_text_config()
    name = model.config.name_or_path or type(model).__name__
    made = Subject(name, settings, Stock(model, live=True, vocab=settings.vocab_size), device_of(model))
    rotations = Rotations(model, settings)
    modules = {m.layer_idx: m for m in model.modules() if hasattr(m, "layer_idx") and hasattr(m, "q_proj")}

    def biases(layer: int) -> Biases:
        module = modules.get(layer)
        q, k = (getattr(getattr(module, name, None), "bias", None) for name in ("q_proj", "k_proj"))
        if module is None or hasattr(module, "q_norm") or q is None or k is None:
            return None
        return q.detach().view(-1, module.head_dim), k.detach().view(-1, module.head_dim)

    made.module, made.rope, made.biases, made.why_no_rope = model, rotations, biases, lambda: rotations.why
    return made
