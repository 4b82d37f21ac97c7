"""One sequence on its way: what was asked, what is committed, what happened. Plain data; knows no model and no engine."""

from dataclasses import dataclass, field
from typing import Any

from paceline.core.detokenizer import Detokenizer
from paceline.core.grammar import Matcher
from paceline.core.guidance import Branch
from paceline.core.proposal import Proposal, Verdict
from paceline.core.protocols import Slot, Text
from paceline.core.request import Request
from paceline.core.sampling import Noise
from paceline.core.stats import Stats
from paceline.core.trace import Trace

__all__ = ["Generation", "Logprob", "Round", "Row"]


@dataclass(frozen=True)
class Logprob:
    """Log-probability of one emitted token and of the likeliest tokens at its place."""

    token: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Generation:
    """The answer to one request: `tokens` are the new ones only; `text` is cut before a stop string."""

    text: str
    tokens: list[int]
    finish_reason: str  # eos | stop | length | cancelled | dead_end (no token goes on with what the grammar asks for)
    stats: Stats
    prompt_tokens: int
    logprobs: list[Logprob] | None = None


STRIKES = 3  # failures after which a row no longer uses a drafter


@dataclass(frozen=True)
class Round:
    """One round as it happened to one row; drafters read it from `row.last`."""

    proposal: Proposal
    verdict: Verdict
    committed: int  # tokens added, which a stop may have cut short
    arm: int = 0
    captured: dict[str, Any] = field(default_factory=dict)  # what its drafter declares in `captures`


@dataclass(eq=False)
class Row:
    """One sequence. Invariant 1: between rounds its slot holds the keys of all `tokens` but the last, the pending one; so does
    that of `other`, the second branch of a guided row.
    """

    request: Request
    tokens: list[int]
    dice: Noise
    slot: Slot | None = None
    id: int = 0
    stats: Stats = field(default_factory=Stats)
    logprobs: list[Logprob] = field(default_factory=list)
    drafted: list[bool] = field(default_factory=list)  # per new token: did it come from a draft
    last: Round | None = None
    finish_reason: str | None = None
    text: Detokenizer | None = None  # where stop strings or streaming need one
    trace: Trace | None = None  # what attention asked in the prefill, where a drafter or a selector reads queries
    grammar: Matcher | None = None  # this row's place in the grammar that its sampling names
    drafting: bool = True
    strikes: dict[int, int] = field(default_factory=dict)  # arm -> failures
    other: Branch | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.other = None if self.request.guidance is None else Branch(self, self.request.guidance)

    def disabled(self, drafter: int) -> bool:
        """Whether this drafter has failed so often that the row no longer uses it."""
        return self.strikes.get(drafter, 0) >= STRIKES

    @property
    def texts(self) -> list[Text]:
        """What has a cache slot: the row, and its second branch."""
        return [self] if self.other is None else [self, self.other]

    @property
    def reach(self) -> int:
        """Tokens of its longest branch."""
        return len(self.tokens) if self.other is None else max(len(text.tokens) for text in self.texts)

    @property
    def prompt_len(self) -> int:
        return len(self.request.prompt)

    @property
    def new_tokens(self) -> list[int]:
        return self.tokens[self.prompt_len :]

    @property
    def left(self) -> int:
        """Tokens this row may still add."""
        return self.request.max_new_tokens - (len(self.tokens) - self.prompt_len)
