"""One sequence on its way: what was asked, what is committed, what happened. Plain data; knows no model and no engine."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from paceline.checks import names, short, whole, whole_numbers
from paceline.errors import RequestError
from paceline.grammar import Matcher
from paceline.guidance import Branch, Guidance
from paceline.proposal import Proposal, Verdict
from paceline.sampling import Noise, Sampling

__all__ = ["Generation", "Logprob", "Request", "Round", "Row", "Stats", "is_looping"]

RECENT = 64  # tokens at a prompt's end that count as its question where none is named


@dataclass(frozen=True)
class Request:
    """What was asked for one sequence.

    prompt: token ids, at least one. max_new_tokens: exact upper limit. eos: ids that end the text (the last token kept). stop:
    strings that end it (cut from the text). stream: which of several samples of one prompt this is; it keys the noise.
    reproducible: treat every drafted node as chosen, so that a seed gives plain decoding's very text (invariant 3). until: asked
    after every token with all tokens so far; True ends the text. tools: the functions that may be called, as JSON schemas.
    tenant: whose request it is; what drafters keep of one tenant's texts never serves another's. keep: spans [start, end) of the
    prompt, such as the text around a video or the question about a document, that a draft on few keys always sees and from
    which it tells what else matters; none = the last 64 tokens. guidance: a second prompt, and how far from its law to go
    (classifier-free guidance); such a row costs two in every forward. special_tokens: whether the text keeps them.
    """

    prompt: Sequence[int]
    sampling: Sampling = Sampling()
    max_new_tokens: int = 128
    eos: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    stream: int = 0
    reproducible: bool = False
    until: Callable[[Sequence[int]], bool] | None = None
    tools: Sequence[dict[str, Any]] = ()
    tenant: str = ""
    keep: Sequence[tuple[int, int]] = ()
    guidance: Guidance | None = None
    special_tokens: bool = False

    @property
    def repeats(self) -> bool:
        """Whether its text follows from its seed and from what is drawn for it: who else is decoded must not change that."""
        return self.sampling.seed is not None and not self.sampling.greedy and not self.reproducible

    @property
    def prompts(self) -> list[Sequence[int]]:
        """The prompt of each branch."""
        return [self.prompt] if self.guidance is None else [self.prompt, self.guidance.prompt]

    def __post_init__(self) -> None:
        if (prompt := whole_numbers(self.prompt)) is None:
            raise RequestError(f"A Request's prompt must be token ids; found {short(self.prompt)}. paceline.generate and "
                               "paceline.stream take text and messages.")
        object.__setattr__(self, "prompt", prompt)
        if not prompt:
            raise RequestError("The prompt is empty: give at least one token (or a tokenizer that adds a first one).")
        whole("max_new_tokens", self.max_new_tokens, 1)
        object.__setattr__(self, "stop", names("stop", self.stop))
        n = len(prompt)
        spans = [whole_numbers(span) for span in self.keep] if isinstance(self.keep, Iterable) else [None]
        if any(span is None or len(span) != 2 or not 0 <= span[0] < span[1] <= n for span in spans):
            raise RequestError(f"keep must hold spans (start, end) with 0 <= start < end <= {n}, the prompt's length; found "
                               f"{short(self.keep)}.")
        object.__setattr__(self, "keep", spans)

    @cached_property
    def kept(self) -> frozenset[int]:
        """Positions of the spans to keep."""
        n = len(self.prompt)
        return frozenset(i for start, end in self.keep or [(max(0, n - RECENT), n)] for i in range(start, end))


@dataclass(frozen=True)
class Logprob:
    """Log-probability of one emitted token and of the likeliest tokens at its place."""

    token: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)


PARTS = ("prefill", "draft", "verify", "commit", "host")


@dataclass
class Stats:
    """What one sequence cost and gained. `acceptance_length` counts the bonus token: plain decoding has 1.00."""

    rounds: int = 0  # target forwards after the prefill, one per round
    drafted: int = 0  # nodes scored
    accepted: int = 0  # nodes committed
    new_tokens: int = 0
    drafted_per_position: list[int] = field(default_factory=list)  # rounds that had a node at depth 1, 2, …
    accepted_per_position: list[int] = field(default_factory=list)
    sources: dict[str, list[int]] = field(default_factory=dict)  # source -> [drafted, accepted]
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    reused: int = 0  # prompt tokens whose keys came from an earlier sequence
    peak_memory_bytes: int = 0
    spent: float = 0.0
    looping: bool = False
    failures: list[str] = field(default_factory=list)

    def count(self, proposal: Proposal, path: Sequence[int]) -> None:
        """Add one round's proposal, of which `path` was committed."""
        self.drafted += len(proposal)
        self.accepted += len(path)
        depth = max(proposal.depths(), default=0)
        for counts in (self.drafted_per_position, self.accepted_per_position):
            counts.extend([0] * (depth - len(counts)))
        for i in range(depth):
            self.drafted_per_position[i] += 1
            self.accepted_per_position[i] += i < len(path)
        for i, source in enumerate(proposal.source):
            pair = self.sources.setdefault(source, [0, 0])
            pair[0] += 1
            pair[1] += i in path

    @property
    def acceptance_length(self) -> float:
        """Mean tokens committed per target forward, the bonus token included."""
        return self.new_tokens / self.rounds if self.rounds else 0.0

    @property
    def accept_per_position(self) -> list[float]:
        """Share of rounds that accepted a node at depth i + 1 (unconditional; vLLM's per-position rate)."""
        return [n / self.rounds for n in self.accepted_per_position] if self.rounds else []

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def decoding_seconds(self) -> float:
        """All seconds but the prefill's, which no draft can shorten."""
        return self.total_seconds - self.seconds["prefill"]

    @property
    def tokens_per_second(self) -> float:
        """New tokens over all of this row's seconds, the prefill included."""
        return self.new_tokens / self.total_seconds if self.total_seconds else 0.0


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
    seen: dict[str, Any] = field(default_factory=dict)  # what its drafter declares in `reads`


@dataclass
class Row:
    """One sequence. Invariant 1: between rounds its slot holds the keys of all `tokens` but the last, the pending one; so does
    that of `other`, the second branch of a guided row.
    """

    request: Request
    tokens: list[int]
    dice: Noise
    slot: Any = None
    id: int = 0
    stats: Stats = field(default_factory=Stats)
    logprobs: list[Logprob] = field(default_factory=list)
    drafted: list[bool] = field(default_factory=list)  # per new token: did it come from a draft
    last: Round | None = None
    finish_reason: str | None = None
    text: Any = None  # a detokeniser where stop strings or streaming need one
    trace: Any = None  # what attention asked in the prefill, where a drafter reads queries
    grammar: Matcher | None = None  # this row's place in the grammar that its sampling names
    drafting: bool = True
    strikes: dict[int, int] = field(default_factory=dict)  # arm -> failures
    other: Branch | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.other = Branch(self) if self.request.guidance is not None else None

    def struck(self, drafter: int) -> bool:
        """Whether this drafter has failed so often that the row no longer uses it."""
        return self.strikes.get(drafter, 0) >= STRIKES

    @property
    def texts(self) -> list[Any]:
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


def is_looping(tokens: Sequence[int], gram: int = 8, times: int = 3, window: int = 64) -> bool:
    """True when any 8-gram stands three times in the last 64 tokens: such text flatters every drafter."""
    tail = list(tokens[-window:])
    seen: dict[tuple[int, ...], int] = {}
    for i in range(len(tail) - gram + 1):
        key = tuple(tail[i : i + gram])
        seen[key] = seen.get(key, 0) + 1
    return any(n >= times for n in seen.values())
