"""A model whose linears are rounded to 4 or 8 bits as it is loaded, whatever it was loaded from."""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch

from paceline.errors import ModelError
from paceline.lm.decoder import Decoder
from paceline.lm.protocols import Source
from paceline.lm.weights.quantise import quantized_decoder

__all__ = ["Quantised"]


class Quantised:
    """A `Source`. kind: "u4" or "i8"; activations: as the rounded linears take them. The module of the whole weights computes
    something else, so there is none. Raises ModelError for a model that cannot be described.
    """

    live, module, dtype = "", False, torch.float32

    def __init__(self, whole: Source, kind: str, activations: str) -> None:
        if whole.live:
            raise ModelError(f"weights={kind!r} needs a plain model, and this one runs live: {whole.live}.")
        self.whole, self.kind, self.activations = whole, kind, activations
        self.settings, self.name, self.vocab, self.parameters = whole.settings, whole.name, whole.vocab, whole.parameters
        self.device, self.tokenizer = whole.device, whole.tokenizer
        if self.device.type != "cpu":
            raise ModelError(f"weights={kind!r} is for the CPU; found a model on {self.device}.")

    @property
    def generation(self) -> Any:
        return self.whole.generation

    @property
    def model(self) -> NoReturn:
        raise ModelError(f"There is no transformers module of weights={self.kind!r}: leave forward at 'auto', or weights out.")

    def decoder(self, context: int) -> tuple[Decoder, str]:
        """The whole model's, rounded."""
        decoder, why = self.whole.decoder(context)
        if decoder is None:
            raise ModelError(f"weights={self.kind!r} needs a model that Paceline can describe: {why}.")
        return quantized_decoder(decoder, self.kind, self.activations), ""

    def embeddings(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        return self.whole.embeddings()

    def first_embeddings(self, count: int) -> torch.Tensor | None:
        return self.whole.first_embeddings(count)

    def stored(self) -> dict[str, Any]:
        return {"weights": self.kind, "activations": self.activations}

    def contents(self) -> Iterator[Any]:
        yield "quantised", self.kind, self.activations
        yield from self.whole.contents()

    def release(self) -> None:
        self.whole.release()

    def hand_over(self, forward: Any) -> None:
        """Nothing of it is held twice."""
