"""Where probabilities are made, and where randomness comes from: the only place for either.

Logits become a law in at least fp32: guidance's two branches are combined, then penalties, bias, custom processors, the
grammar's mask, then temperature, top-k, top-p, min-p (the order of transformers), each for a tree node with that node's own
prefix. Randomness is keyed, not sequential: the same seed gives the same noise at the same position whatever was drafted,
whatever the batch.
"""

import copy
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any, Protocol

import torch

from paceline.core.checks import whole
from paceline.core.grammar import Grammar
from paceline.core.proposal import Proposal
from paceline.errors import RequestError

if TYPE_CHECKING:  # rows hold their sampling
    from paceline.core.row import Row

__all__ = ["Dice", "Noise", "Sampling", "Scores", "guided", "is_stateful", "law_of"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; the default is greedy.

    temperature: 0 = greedy. top_k: 0 = off. top_p, min_p: shares of probability. repetition_penalty (prompt and output; 1 = off),
    presence_penalty and frequency_penalty (output only; 0 = off). logit_bias: token id -> number added. processors: transformers
    `LogitsProcessor`s, called with ids [1, T] and scores [1, V] after bias and before temperature. seed: None draws one.
    grammar: what the text must look like; only an end of text may follow a complete one. logprobs: None = none, 0 = of the chosen
    token, n = also of the n likeliest; raw_logprobs: of the model's own law rather than the processed one.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    processors: Sequence[Callable[..., torch.Tensor]] = ()
    seed: int | None = None
    grammar: Grammar | None = None
    logprobs: int | None = None
    raw_logprobs: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, 100.0), ("top_k", 0, math.inf), ("top_p", 0.0, 1.0), ("min_p", 0.0, 1.0),
            ("repetition_penalty", 1e-3, 1e3), ("presence_penalty", -100.0, 100.0), ("frequency_penalty", -100.0, 100.0),
            ("logprobs", 0, math.inf),
        ):
            value = getattr(self, name)
            if not (name == "logprobs" and value is None) and not (isinstance(value, Real) and low <= float(value) <= high):
                raise RequestError(f"{name} must be a number from {low:g} to {high:g}; found {value!r}.")
        for name in ("top_k", "logprobs", "seed"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole(name, value))
        if not isinstance(self.logit_bias, Mapping):
            raise RequestError(f"logit_bias must be a map of token id to number; found {self.logit_bias!r}.")
        if not isinstance(self.processors, Sequence) or not all(map(callable, self.processors)):
            raise RequestError(f"processors must be a list of callables; found {self.processors!r}.")
        for token, bias in self.logit_bias.items():
            if not isinstance(bias, Real) or math.isnan(bias) or bias == math.inf:
                raise RequestError(f"logit_bias of token {token!r} must be a number, or -inf to forbid it; found {bias!r}.")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise RequestError(f"grammar must be a Grammar, like Grammar.json_schema(…); found {self.grammar!r}.")
        if self.top_p == 0.0:
            raise RequestError("top_p must be above 0; found 0. Use temperature=0 for the likeliest token.")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def shapes_logits(self) -> bool:
        """True when anything before the temperature changes the logits, so that the prefix matters."""
        penalties = (self.repetition_penalty != 1.0, self.presence_penalty != 0.0, self.frequency_penalty != 0.0)
        return any(penalties) or bool(self.logit_bias) or bool(self.processors) or self.grammar is not None

    def check(self, vocab: int) -> None:
        """Raise RequestError for ids outside the vocabulary."""
        for token in self.logit_bias:
            if not isinstance(token, Integral) or not 0 <= token < vocab:
                raise RequestError(f"logit_bias names token {token!r}; ids run from 0 to {vocab - 1}.")


def guided(own: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """The two branches' logits as one: other + scale (own - other), in at least fp32; what both exclude stays excluded."""
    wide = torch.promote_types(own.dtype, torch.float32)
    own, other = own.to(wide), other.to(wide)
    return torch.where(own == other, own, other + scale * (own - other))


def shaped(logits: torch.Tensor, sampling: Sampling, prefix: Sequence[int], prompt_len: int,
           allowed: torch.Tensor | None = None) -> torch.Tensor:
    """Logits [V] after penalties, bias, processors and the grammar's mask, at least fp32. `prefix` is prompt and output so far;
    `allowed` bool [V] is what the grammar lets follow it (`Matcher.allowed`).
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not sampling.shapes_logits:
        return scores
    scores = scores.clone()
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(prefix)), dtype=torch.long, device=scores.device)
        old = scores[seen]
        scores[seen] = torch.where(old < 0, old * sampling.repetition_penalty, old / sampling.repetition_penalty)
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(prefix) > prompt_len:
        counts = Counter(prefix[prompt_len:])
        seen = torch.tensor(list(counts), dtype=torch.long, device=scores.device)
        times = torch.tensor(list(counts.values()), device=scores.device, dtype=scores.dtype)
        scores[seen] -= sampling.presence_penalty + sampling.frequency_penalty * times
    if sampling.logit_bias:
        scores[list(sampling.logit_bias)] += scores.new_tensor(list(sampling.logit_bias.values()))
    if sampling.processors:
        ids = torch.tensor([list(prefix)], dtype=torch.long, device=scores.device)
        for processor in sampling.processors:
            scores = processor(ids, scores[None])[0]
    return scores if allowed is None else masked(scores, logits, allowed)


def masked(scores: torch.Tensor, logits: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
    """Scores [V] of what a grammar allows; the model's own where bias or processors forbid all of that, so that a law is left."""
    forbidden = ~allowed.to(scores.device)
    left = scores.masked_fill(forbidden, -math.inf)
    return left if float(left.max()) > -math.inf else logits.to(scores).masked_fill(forbidden, -math.inf)


def law_of(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Shaped logits [V] to the law [V]: temperature, top-k, top-p, min-p; one-hot of the first maximum when greedy."""
    if sampling.greedy:
        return torch.nn.functional.one_hot(scores.argmax(), scores.shape[-1]).to(scores.dtype)
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -math.inf)
    if sampling.top_p < 1.0:
        scores = nucleus(scores, sampling.top_p)
    law = scores.softmax(-1)
    if sampling.min_p > 0.0:
        law = law.masked_fill(law < sampling.min_p * law.max(), 0.0)
        law = law / law.sum()
    return law


FEW = 64  # tokens that a nucleus is first looked for in: most have fewer, and to sort a whole vocabulary takes far longer


def nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Scores [V], -inf for what does not belong to the likeliest tokens that have a share `top_p` of the law together. Of equal
    ones the first come first, as in a stable sort.
    """
    total, count, kept, top, tokens = scores.logsumexp(-1), FEW, 0, scores[:0], scores[:0].long()
    while kept == len(top) < len(scores):
        top, tokens = scores.topk(min(count, len(scores)))
        kept, count = 1 + int(((top - total).exp().cumsum(-1)[:-1] < top_p).sum()), 8 * count
    if kept < len(top) and top[kept] == top[kept - 1]:
        likelier = int((top > top[kept]).sum())
        tokens = torch.cat((tokens[:likelier], (scores == top[kept]).nonzero()[:, 0]))
    tokens = tokens[:kept]
    return torch.full_like(scores, -math.inf).index_copy(0, tokens, scores[tokens])


class Scores:
    """What the target said about one row's tree: logits [N + 1, V], row 0 after the pending token, row i + 1 after node i.

    `p(i)` is the processed law after node i (-1 = root), made on first use, since a walk visits few nodes; `best(i)` is its
    first maximum. `prefix` is every committed token, the pending one included.
    """

    def __init__(self, logits: torch.Tensor, proposal: Proposal, row: "Row") -> None:
        self.logits, self.proposal, self.row = logits, proposal, row
        self.sampling: Sampling = row.request.sampling
        self._laws: dict[int, torch.Tensor] = {}
        self._shaped: dict[int, torch.Tensor] = {}

    def shaped(self, node: int) -> torch.Tensor:
        if node not in self._shaped:
            tail = [self.proposal.tokens[i] for i in self.proposal.path(node)] if self.sampling.shapes_logits else []
            prefix = self.row.tokens + tail if self.sampling.shapes_logits else ()
            allowed = None if self.row.grammar is None else self.row.grammar.allowed(tail)
            self._shaped[node] = shaped(self.logits[node + 1], self.sampling, prefix, self.row.prompt_len, allowed)
        return self._shaped[node]

    def p(self, node: int) -> torch.Tensor:
        if node not in self._laws:
            self._laws[node] = law_of(self.shaped(node), self.sampling)
        return self._laws[node]

    @cached_property
    def _argmax(self) -> list[int]:
        if self.logits.dtype is torch.float32 and self.logits.device.type == "cpu":
            return self.logits.detach().numpy().argmax(-1).tolist()  # several times as fast for a few rows
        return self.logits.argmax(-1).tolist()

    def likeliest(self, count: int) -> list[list[int]]:
        """Ids of the likeliest tokens after the pending token and after every node, before any processing."""
        return self.logits.topk(min(count, self.logits.shape[-1])).indices.tolist()

    def best(self, node: int) -> int:
        if self.sampling.shapes_logits:
            return int(self.shaped(node).argmax())
        return self._argmax[node + 1]

    def logprobs(self, node: int, token: int) -> tuple[float, list[tuple[int, float]]]:
        """Log-probability of `token` after `node`, and the n likeliest (id, log-probability), n = `sampling.logprobs`."""
        if self.sampling.raw_logprobs:
            table = self.logits[node + 1].to(torch.promote_types(self.logits.dtype, torch.float32)).log_softmax(-1)
        else:
            table = self.shaped(node).log_softmax(-1) if self.sampling.greedy else self.p(node).log()
        top = table.topk(min(self.sampling.logprobs or 0, table.shape[-1]))
        return float(table[token]), list(zip(top.indices.tolist(), top.values.tolist(), strict=True))


def is_stateful(processors: Sequence[Any], logits: torch.Tensor, prefix: Sequence[int]) -> bool:
    """True when a processor answers twice differently to the same question (invariant 6): drafting would feed it wrong prefixes.

    Copies are asked, so that asking changes nothing; what cannot be copied is taken to keep state.
    """
    ids = torch.tensor([list(prefix)], dtype=torch.long, device=logits.device)
    for processor in processors:
        try:
            twin = _twin(processor)
        except Exception:
            return True
        first, second = (twin(ids.clone(), logits[None].float().clone()) for _ in range(2))
        if not torch.equal(first, second):
            return True
    return False


def _twin(processor: Any) -> Any:
    """A copy with a state of its own; of a function, with a copy of what it closes over."""
    if not isinstance(processor, FunctionType):
        return copy.deepcopy(processor)
    cells = tuple(CellType(copy.deepcopy(cell.cell_contents)) for cell in processor.__closure__ or ())
    twin = FunctionType(processor.__code__, processor.__globals__, processor.__name__,
                        copy.deepcopy(processor.__defaults__), cells)
    twin.__kwdefaults__ = copy.deepcopy(processor.__kwdefaults__)
    return twin


class Noise(Protocol):
    """What a rule or a drafter may ask of chance. Keys are tuples of small whole numbers."""

    def flip(self, prob: float, key: tuple[int, ...]) -> bool: ...

    def draw(self, law: torch.Tensor, key: tuple[int, ...]) -> int: ...


class Dice:
    """A row's randomness: a keyed uniform number, so any order of asking gives the same answers.

    Verify noise is keyed (VERIFY, position, sibling), draft noise (DRAFT, committed length, node). `stream` tells samples of
    one request apart. The mixer is splitmix64 (Steele, Lea and Flood 2014), applied once per key part.
    """

    VERIFY, DRAFT = 0, 1
    DRAW = -1  # sibling number of the draw that ends a walk

    def __init__(self, seed: int | None, stream: int = 0) -> None:
        self.seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self._state = _mix(_mix(self.seed & _MASK) ^ stream)

    def uniform(self, key: tuple[int, ...]) -> float:
        """A number in [0, 1) with 53 random bits, a pure function of seed, stream and key."""
        state = self._state
        for part in key:
            state = _mix(state ^ (part & _MASK))
        return (state >> 11) * 2.0**-53

    def flip(self, prob: float, key: tuple[int, ...]) -> bool:
        """True with probability `prob`."""
        return self.uniform(key) < prob

    def draw(self, law: torch.Tensor, key: tuple[int, ...]) -> int:
        """A token from a law [V] (need not be normalised), by inverting its cumulative sum in fp64."""
        cumulative = law.double().cumsum(-1)
        point = self.uniform(key) * float(cumulative[-1])
        return min(int(torch.searchsorted(cumulative, point, right=True)), law.shape[-1] - 1)


_MASK = (1 << 64) - 1


def _mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
