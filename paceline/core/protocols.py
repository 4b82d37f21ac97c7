"""What plug-ins are to the engine, and what a text is to whoever keeps memory of it: interfaces alone, no behaviour."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from paceline.core.arms import Arm, Outcome, View
from paceline.core.proposal import Proposal
from paceline.core.trace import Trace

if TYPE_CHECKING:  # rows are made of what stands here
    from paceline.core.row import Round, Row
    from paceline.core.stats import Stats

__all__ = ["Controller", "Costs", "Drafter", "PlainSteps", "Slot", "Target", "Text", "Tokenizer"]


class Drafter(Protocol):
    """A drafter at work on a model; it owns its memory, per row.

    captures: what it wants to see of the forwards that run anyway, by the names of `engine/captured.py`; it may change between
    rounds. has_model: it runs a model, so asking it costs something. timed: what it proposes for a row may depend on the clock or
    on other rows; every draft of a row with a seed then counts as chosen, so that the seed gives the same text again.

    `propose` gives a proposal for each row, of at most as many nodes as its budget, which is never 0. `forget` drops what is
    known of a row: it has ended, or a proposal has failed.
    """

    @property
    def captures(self) -> Collection[str]: ...

    @property
    def has_model(self) -> bool: ...

    @property
    def timed(self) -> bool: ...

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]: ...

    def forget(self, row: Row) -> None: ...


class Controller(Protocol):
    """A controller at work on a number of drafters; it owns its statistics.

    `pick` gives each row an arm for one round, from what is past; then `learn` gets what came of it; `forget` drops a row that
    has ended, by its id. timed: a row that is to be drafted for as if `alone` (`View`) may get other arms as the clock says or as
    others are decoded; what that means for seeds is said under `Drafter`.
    """

    @property
    def timed(self) -> bool: ...

    def pick(self, views: Sequence[View]) -> Sequence[Arm]: ...

    def learn(self, outcomes: Sequence[Outcome]) -> None: ...

    def forget(self, row: int) -> None: ...


class PlainSteps(Protocol):
    """What plain rounds of so many rows take, behind a text of such a length."""

    def seconds(self, rows: int, length: int) -> float: ...


class Costs(Protocol):
    """What drafted tokens cost a target: shares of a forward of one token for each of so many rows, the longest of such a length
    (`lm/cost.py`).
    """

    @property
    def plain(self) -> PlainSteps: ...

    @property
    def branching(self) -> float: ...

    def token(self, rows: int = 1, length: int = 0) -> float: ...

    def further(self, nodes: int, rows: int = 1, length: int = 0) -> float: ...

    def extra(self, nodes: int, rows: int = 1, length: int = 0) -> float: ...


class Tokenizer(Protocol):
    """All that is used of a tokenizer: transformers' fast ones have it, and those of files (`lm/tokenizer.py`).

    backend_tokenizer: the `tokenizers.Tokenizer` inside; it also tells where in a text each id stands. added_tokens_decoder: the
    ids that are read whole, each with its spelling and whether it is `special`: left out of what users read.
    """

    chat_template: Any

    @property
    def backend_tokenizer(self) -> Any: ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...

    @property
    def bos_token(self) -> Any: ...

    @property
    def eos_token(self) -> Any: ...

    @property
    def eos_token_id(self) -> Any: ...

    def __len__(self) -> int: ...

    def get_vocab(self) -> dict[str, int]: ...

    def __call__(self, text: Any, /, *, add_special_tokens: bool = True, verbose: bool = True) -> Mapping[str, Any]:
        """`input_ids` of one text, or of each of several."""
        ...

    def decode(self, ids: Any, /, *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False) -> Any:
        """The text of ids; half a character is U+FFFD."""
        ...

    def apply_chat_template(self, messages: Any, /, *, tools: Any = None, add_generation_prompt: bool = False,
                            tokenize: bool = False) -> Any:
        """The text of a conversation, with tokenize=False."""
        ...


class Target(Protocol):
    """A model as drafters see it that run none: an `LM`, a table of a test, a recorded text (`replay/lm.py`)."""

    @property
    def vocab(self) -> int: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def fingerprint(self) -> int: ...

    @property
    def costs(self) -> Costs: ...

    def score(self, kv: Any, slots: Sequence[Any], pending: Sequence[int], proposals: Sequence[Proposal],
              queries: list[torch.Tensor] | None = None) -> Sequence[Any]:
        """Logits [N + 1, V] for each row, root first; what attention asked is added to `queries` (`LM.score`)."""
        ...


class Slot(Protocol):
    """Where a text's keys live: so many of its tokens are committed. `kv` is the cache, of which this room knows nothing."""

    length: int
    kv: Any


class Text(Protocol):
    """One text that a cache holds: a row, or the second branch of a guided row."""

    slot: Slot | None
    trace: Trace | None

    @property
    def id(self) -> int: ...

    @property
    def tokens(self) -> list[int]: ...

    @property
    def last(self) -> Round | None: ...

    @property
    def stats(self) -> Stats: ...
