"""The rows of a call that the native door decodes: requests, with the samplings and ends that transformers has prepared."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers.generation import logits_process
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

from paceline.core.request import Request
from paceline.core.sampling import Sampling
from paceline.errors import RequestError
from paceline.integrations.transformers.keywords import Call, padding
from paceline.lm.ids import token_ids

__all__ = ["longest", "requests", "sampling_of"]

NATIVE = {  # transformers' processors that Sampling has, in the order both apply them
    logits_process.RepetitionPenaltyLogitsProcessor: ("repetition_penalty", "penalty"),
    logits_process.TemperatureLogitsWarper: ("temperature", "temperature"),
    logits_process.TopKLogitsWarper: ("top_k", "top_k"),
    logits_process.TopPLogitsWarper: ("top_p", "top_p"),
    logits_process.MinPLogitsWarper: ("min_p", "min_p"),
}
Shown = Callable[[torch.Tensor], torch.Tensor]


def longest(call: Call) -> int:
    """Tokens that a row may come to have, padding included: transformers asks after each token, so it writes one at least."""
    limits = [c.max_length for c in call.criteria if type(c) is MaxLengthCriteria]
    return int(max(call.input_ids.shape[1] + 1, min(limits, default=call.config.max_length)))


def requests(call: Call, reproducible: bool) -> Iterator[Request]:
    """One request for each row. The seed comes from torch's global generator, so `torch.manual_seed` makes a call repeatable."""
    seed = int(torch.randint(2**62, (), dtype=torch.long, device="cpu").item()) if call.config.do_sample else None
    ends = frozenset(int(t) for c in call.criteria if type(c) is EosTokenCriteria for t in c.eos_token_id.flatten())
    others = [c for c in call.criteria if type(c) not in (EosTokenCriteria, MaxLengthCriteria)]
    room = longest(call) - call.input_ids.shape[1]
    for b, pad in enumerate(padding(call)):
        shown = shower(call.input_ids[b], pad)
        sampling = sampling_of([of_row(p, b) for p in call.processors], None if seed is None else seed + b, pad, shown)
        yield Request(call.input_ids[b, pad:].tolist(), sampling, room, ends, until=until_of(others, shown),
                      reproducible=reproducible)


def shower(row: torch.Tensor, pad: int) -> Shown:
    """Puts the padding of this row [T] before ids [1, n] that have none, as transformers shows them."""
    return lambda ids: torch.cat((row[None, :pad].to(ids), ids), 1) if pad else ids


def of_row(processor: Any, b: int) -> Any:
    """A processor with this row's share of options that are given for each row."""
    ignored = getattr(processor, "prompt_ignore_length", None)
    if isinstance(ignored, torch.Tensor):
        processor = copy.copy(processor)
        processor.prompt_ignore_length = int(ignored[b])
    return processor


def sampling_of(processors: Sequence[Any], seed: int | None, pad: int = 0, shown: Shown = lambda ids: ids) -> Sampling:
    """Sampling equal to what transformers prepared; its own processor objects where Sampling has no such field.

    seed: None = greedy. pad: padding before this row, which its processors see through `shown`.
    """
    base: dict[str, Any] = {"temperature": 0.0} if seed is None else {"temperature": 1.0, "seed": seed}
    known = [kind for kind in NATIVE if seed is not None or kind is logits_process.RepetitionPenaltyLogitsProcessor]
    places = [known.index(type(p)) for p in processors if type(p) in known and is_usual(p, pad)]
    if len(places) == len(processors) and places == sorted(set(places)):
        try:
            return Sampling(**base | {NATIVE[type(p)][0]: getattr(p, NATIVE[type(p)][1]) for p in processors})
        except RequestError:  # a value that only transformers takes, like top_p=0
            pass
    return Sampling(**base, processors=tuple(seeing(p, shown) for p in processors))


def is_usual(processor: Any, pad: int) -> bool:
    """Whether it has no option that Sampling lacks; a penalty has to pass over just the padding, which our rows do not have."""
    options = (getattr(processor, "filter_value", -math.inf), getattr(processor, "min_tokens_to_keep", 1))
    ignored = getattr(processor, "prompt_ignore_length", pad)
    return options == (-math.inf, 1) and (ignored or 0) == pad


def seeing(processor: Callable[..., torch.Tensor], shown: Shown) -> Callable[..., torch.Tensor]:
    return lambda ids, scores: processor(shown(ids), scores)


def until_of(criteria: Sequence[Any], shown: Shown) -> Callable[[Sequence[int]], bool] | None:
    """One test for all criteria that Request has no field for."""
    if not criteria:
        return None
    return lambda tokens: any(bool(criterion(shown(token_ids([tokens])), None).any()) for criterion in criteria)
