"""A translator that writes token by token and looks back k tokens (Du et al. 2024, arXiv 2402.02084), or as far as there are any.

With order 0 and hidden states as keys it is the ordinary autoregressive Transformer, the teacher of a `Nat`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.models.translation.body import Body, Source, real_tokens
from paceline.models.translation.cache import Cache, Past
from paceline.models.translation.config import BOS, TranslationConfig
from paceline.models.translation.layers import SourceLayer, initialise
from paceline.patterns import Pattern
from paceline.patterns import markov as bands

__all__ = ["Markov"]


class Markov(PreTrainedModel):
    """p(y_n | y_{n-k} ... y_{n-1}, x): ``model(source [B, S], target [B, T])`` gives logits ``[B, T + 1, V]``, the last of them
    for what follows the target; padding is `config.PAD`.

    A band mask of k keys alone does not make order k (`patterns.markov`). ``config.leak_free`` tells how it is kept:
    transparent: keys and values of every layer come from token and place alone, never from hidden states (the paper's way as its
    reviews describe it; its text was not at hand, and there is no code). content-mlp: from a stream of their own, which reads the
    source and passes through feed-forwards, but mixes no places. band-budget: the layers share the order. unroll: each window is
    computed anew by the ordinary decoder, causal within; slow, a check on the others. none: the band alone, which leaks.

    An order counts tokens, not words, the decoder's own input among them. ``order`` overrides the configuration's, so that one
    model trained with changing orders serves all of them. Places are absolute: the chain is one in (place, last k tokens).
    """

    config_class = TranslationConfig
    base_model_prefix = "body"
    config: TranslationConfig

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__(config)
        self.body = Body(config)
        local = config.leak_free == "content-mlp"
        self.contents = nn.ModuleList(SourceLayer(config) for _ in range(config.decoder_layers - 1 if local else 0))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        initialise(module)

    def patterns(self, order: int | None = None) -> list[Pattern]:
        """What each layer's queries see."""
        order, layers = self.config.order if order is None else order, self.config.decoder_layers
        return [*bands.shared(order, layers)] if self.config.leak_free == "band-budget" else [bands.Markov(order)] * layers

    def horizon(self, order: int | None = None) -> int:
        """How many tokens the next one does depend on, 0 = all: the order, or what a band of it reaches through the layers."""
        order = self.config.order if order is None else order
        return self.config.decoder_layers * (order - 1) + 1 if order and self.config.leak_free == "none" else order

    def read(self, source: Tensor) -> Source:
        """The source sentences ``[B, S]``, encoded."""
        real = real_tokens(source)
        hidden = self.body.encode(self.body.embed_source(source), real)
        contents: list[SourceLayer] = list(self.contents)  # type: ignore[arg-type]
        return Source.of(hidden, real, [layer.rest for layer in self.body.layers] + contents)

    def start(self, source: Source, order: int | None = None, place: int = 0) -> Cache:
        """An empty target behind these sentences, its first token at `place`."""
        return Cache(source, self.patterns(order), place)

    def forward(self, source: Tensor, target: Tensor, order: int | None = None) -> Tensor:
        inputs = torch.cat([target.new_full((len(target), 1), BOS), target], 1)
        return self.decode(inputs, self.start(self.read(source), order))

    def decode(self, tokens: Tensor, cache: Past) -> Tensor:
        """Logits ``[B, T, V]`` of what follows each of the tokens, which are added to the cache: one, or several at once."""
        x = self.body.embed_target(tokens, cache.places(tokens.shape[1]))
        x = (self._unrolled if self.config.leak_free == "unroll" else self._through)(x, cache)
        cache.advance(tokens.shape[1])
        return self.body.logits(x)

    def _through(self, x: Tensor, cache: Past) -> Tensor:
        """All layers; `content` is what their keys are made of."""
        content, local = x, self.config.leak_free in ("transparent", "content-mlp")
        layers, source = self.body.layers, cache.source
        for i, layer in enumerate(layers):
            keys, visible = cache.extend(i, layer.own.keys(content if local else x))
            x = layer(x, keys, visible, source.layers[i], source.seen)
            if i < len(self.contents):
                content = self.contents[i](content, source.layers[len(layers) + i], source.seen)
        return x

    def _unrolled(self, x: Tensor, cache: Past) -> Tensor:
        """Each token's window as a sentence of its own; the cache keeps embedded tokens in place of keys."""
        (held, _), visible = cache.extend(0, (x[:, None], x[:, None]))
        count, width = visible.shape
        own = torch.eye(width, dtype=torch.bool, device=x.device)  # what is not in a window sees itself: no row is empty
        mask = visible[:, None] & torch.ones_like(own).tril() | own
        source = cache.source.pick(torch.arange(len(x), dtype=torch.long, device=x.device).repeat_interleave(count))
        mask, x = mask.repeat(len(x), 1, 1)[:, None], held[:, 0].repeat_interleave(count, 0)
        for layer, keys in zip(self.body.layers, source.layers, strict=True):
            x = layer(x, layer.own.keys(x), mask, keys, source.seen)
        rows = torch.arange(count, dtype=torch.long, device=x.device)
        return x.unflatten(0, (-1, count))[:, rows, rows + width - count]
