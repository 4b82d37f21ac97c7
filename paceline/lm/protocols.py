"""What parts of a model promise each other: sources describe it, forwards compute it, engine and drafters decode with it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from paceline.core.trace import Trace
from paceline.lm.batch import Batch
from paceline.lm.cost import Costs
from paceline.lm.decoder import Decoder
from paceline.lm.kv import KV, Slot
from paceline.lookup.stopping import Stop

__all__ = ["CausalLM", "Chains", "Forward", "Source"]

Chains = list[list[list[tuple[int, float]]]]  # per row and step, the likeliest tokens with their probabilities


class Source(Protocol):
    """Where a model comes from: a transformers module at hand, a folder, a file.

    settings: as transformers' text configuration has them, read as attributes. live: why the module itself has to run at every
    call; "" where its description may stand for it. module: whether there is one that computes the same. vocab: how many logits
    it gives.
    """

    settings: Any
    name: str
    live: str
    module: bool
    vocab: int
    dtype: torch.dtype
    device: torch.device
    parameters: int

    @property
    def tokenizer(self) -> Any:
        """The one that the same file holds; None where it lies elsewhere."""
        ...

    @property
    def generation(self) -> Any:
        """Its generation config; None where it has none."""
        ...

    @property
    def model(self) -> Any:
        """The transformers module; made when first asked for where the source is a file. Raises ModelError for none."""
        ...

    def decoder(self, context: int) -> tuple[Decoder | None, str]:
        """The model as data, for positions below `context`, or None and why it cannot be described."""
        ...

    def embeddings(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Input embedding [ids, W] and output head [V, W]; None where a wrapper keeps one out of reach."""
        ...

    def first_embeddings(self, count: int) -> torch.Tensor | None:
        """The first rows of the input embedding, or all of them; None where it is out of reach."""
        ...

    def stored(self) -> dict[str, Any]:
        """What a report says of how its weights are stored; nothing where they are as torch holds them."""
        ...

    def hand_over(self, forward: Any) -> None:
        """Let the module's layers take their weights from a compiled forward, so that they are held once."""
        ...

    def release(self) -> None:
        """Let a module go that was made for the checks alone."""
        ...

    def contents(self) -> Iterator[Any]:
        """What tells it from other models: settings, and of every tensor its name, shape, dtype and some elements."""
        ...


class Forward(Protocol):
    """One way to compute a model. Its file has `fits(decoder) -> reason why not, or ""`, and `build(decoder) -> Forward`.

    packed: its weights are in a layout of their own, so that many tokens cost little more than one. in_order: sums run in the
    order of the text whatever is computed together, so that trees are exact, too. captures: what it can show of a forward.
    """

    name: str
    packed: bool
    in_order: bool
    weight_bytes: int
    captures: frozenset[str]

    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
        """Logits [tokens asked for, V]."""
        ...

    @property
    def extend(self) -> Callable[[Batch, KV, int, Stop, int], Chains] | None:
        """`extend(batch, kv, steps, stop, top)`: the forward of a batch with logits at each row's end, and then of the likeliest
        tokens, step by step, as `LM.extend` says. None where chains are made forward by forward.
        """
        ...


class CausalLM(Protocol):
    """A causal language model that drafts or is drafted for: an `LM`, a draft head at work, a table of a test.

    reach: positions stay below it: the context, or where cached keys would be of another rotation.
    """

    vocab: int
    context: int
    reach: int
    exact: bool
    tokenizer: Any
    device: torch.device
    backend: Forward

    @property
    def fingerprint(self) -> int: ...

    @property
    def costs(self) -> Costs: ...

    def cache(self, exact: bool = False) -> KV: ...

    def forward(self, batch: Batch, kv: KV) -> torch.Tensor: ...

    def prefill(self, kv: KV, slot: Slot, tokens: Sequence[int]) -> Trace: ...

    def extend(self, kv: KV, slots: Sequence[Slot], tokens: Sequence[Sequence[int]], steps: int, stop: Stop = Stop(),
               top: int = 1) -> Chains: ...
