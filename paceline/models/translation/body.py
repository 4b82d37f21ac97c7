"""What all translation models share: embeddings of both languages, learned places, an encoder, decoder layers, tied output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import pad_sequence

from paceline.errors import ShapeError
from paceline.models.translation.config import PAD, TranslationConfig
from paceline.models.translation.layers import DecoderLayer, EncoderLayer, Keys, SourceLayer

__all__ = ["Body", "Source", "padded", "real_tokens", "side_by_side"]


class Body(nn.Module):
    """An encoder and the layers of a decoder; what its tokens may see is the model's own."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.source_places, self.target_places = (nn.Embedding(config.longest + 1, config.width) for _ in range(2))
        self.source_norm, self.target_norm = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.encoded, self.decoded = (nn.LayerNorm(config.width) if config.pre_norm else nn.Identity() for _ in range(2))

    @property
    def layers(self) -> list[DecoderLayer]:
        """The decoder's."""
        return list(self.decoder)  # type: ignore[arg-type]

    def embed_source(self, source: Tensor) -> Tensor:
        places = torch.arange(source.shape[1], dtype=torch.long, device=source.device)
        return self._embed(source, self.source_places, self.source_norm, places)

    def embed_target(self, target: Tensor, places: Tensor) -> Tensor:
        """Tokens ``[B, T]`` at places that broadcast to them."""
        return self._embed(target, self.target_places, self.target_norm, places)

    def _embed(self, tokens: Tensor, table: nn.Embedding, norm: nn.Module, places: Tensor) -> Tensor:
        if places.numel() and int(places.max()) > self.config.longest:
            raise ShapeError(f"This model reads and writes {self.config.longest} tokens a sentence; found {int(places.max())}.")
        return dropout(norm(self.tokens(tokens) + table(places)), self.config.dropout, self.training)

    def encode(self, x: Tensor, real: Tensor) -> Tensor:
        """Hidden states ``[B, S, D]`` of embedded tokens, of which those marked in ``real [B, S]`` are no padding."""
        for layer in self.encoder:
            x = layer(x, real[:, None, None])
        return self.encoded(x)

    def logits(self, x: Tensor) -> Tensor:
        """``[B, T, V]`` by the embedding's own weights."""
        return linear(self.decoded(x), self.tokens.weight)


class Source:
    """A batch of source sentences as the decoder sees them: keys of each layer, and which places are real."""

    def __init__(self, layers: list[Keys], real: Tensor) -> None:
        self.layers, self.seen = layers, real[:, None, None]

    @classmethod
    def of(cls, hidden: Tensor, real: Tensor, layers: Iterable[SourceLayer]) -> Source:
        """From hidden states, by the layers that will read them."""
        return cls([layer.source(hidden) for layer in layers], real)

    def __len__(self) -> int:
        return len(self.seen)

    def pick(self, rows: Tensor) -> Source:
        """Some of the sentences, also several times."""
        return Source([(k[rows], v[rows]) for k, v in self.layers], self.seen[rows, 0, 0])

    def row(self, b: int, length: int) -> Source:
        """One of the sentences, without what pads it."""
        layers = [(k[b : b + 1, :, :length], v[b : b + 1, :, :length]) for k, v in self.layers]
        return Source(layers, self.seen[b : b + 1, 0, 0, :length])

    @classmethod
    def together(cls, rows: Sequence[Source]) -> Source:
        """Single sentences, padded to the longest."""
        most = max(row.seen.shape[-1] for row in rows)
        parts = zip(*([part[0] for keys in row.layers for part in keys] for row in rows), strict=True)
        wider = [side_by_side(part, 1, most, 0.0) for part in parts]
        real = side_by_side([row.seen[0, 0, 0] for row in rows], 0, most, False)
        return cls(list(zip(wider[::2], wider[1::2], strict=True)), real)


def side_by_side(rows: Sequence[Tensor], dim: int, length: int, filling: float) -> Tensor:
    """``[B, …]`` of rows that are padded to one length in a dimension; a view of a single one."""
    if len(rows) == 1:
        return rows[0][None]
    shape = list(rows[0].shape)
    shape[dim] = length
    made = rows[0].new_full((len(rows), *shape), filling)
    for place, row in zip(made, rows, strict=True):
        place.narrow(dim, 0, row.shape[dim]).copy_(row)
    return made


def padded(sentences: Sequence[Sequence[int]]) -> Tensor:
    """Ids ``[B, T]`` of sentences."""
    rows = [torch.tensor(some, dtype=torch.long, device="cpu") for some in sentences]
    return pad_sequence(rows, batch_first=True, padding_value=PAD)


def real_tokens(tokens: Tensor) -> Tensor:
    """Which are no padding."""
    return tokens != PAD
