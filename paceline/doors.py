"""The front doors: prompts in, generations out. Thin: everything they do, the engine does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paceline.conversation import conversation
from paceline.engine import Engine
from paceline.errors import RequestError
from paceline.guidance import Guidance
from paceline.lm import LM, load
from paceline.lookup.schema import read_tools
from paceline.row import Generation, Request
from paceline.sampling import Sampling

__all__ = ["Piece", "encode", "end_tokens", "generate", "stream"]

Prompt = str | Sequence[int] | Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Piece:
    """What one round added: text that no later token can take back, its tokens, and which of them a drafter proposed.

    `generation` is None until the last piece.
    """

    text: str
    tokens: list[int]
    drafted: list[bool]
    generation: Generation | None = None


def generate(lm: Any, prompts: Prompt | Sequence[Prompt], *, drafter: Any = "none", rule: Any = "lossless",
             controller: Any = None, sampling: Sampling = Sampling(), n: int = 1, slots: int = 8,
             exact: bool | None = None, **limits: Any) -> list[Generation]:
    """Decode prompts and return one Generation each (n each, in order, when `n` samples are asked for).

    lm: an `LM`, or anything `load` takes. prompts: text, token ids, or chat messages; one or a list. drafter, rule, controller:
    plug-in specs. slots: most sequences decoded together. exact: see `Engine`. limits: max_new_tokens, stop, eos, reproducible,
    tools, tenant, keep, guidance and negative (see `request`). Greedy output and, where every drafted node is chosen, seeded
    samples equal plain decoding's; drawn drafts keep its law.
    """
    lm = load(lm)
    if not isinstance(n, int) or n < 1:
        raise RequestError(f"n must be a whole number of at least 1; found {n!r}.")
    each = [request(lm, p, sampling, **limits) for p in listed(prompts)]
    requests = [replace(r, stream=i) for r in each for i in range(n)]
    return Engine(lm, drafter, rule, controller, exact=exact, slots=min(slots, len(requests) or 1)).run(requests)


def stream(lm: Any, prompt: Prompt, *, drafter: Any = "none", rule: Any = "lossless", controller: Any = None,
           sampling: Sampling = Sampling(), exact: bool | None = None, engine: Engine | None = None,
           **limits: Any) -> Iterator[Piece]:
    """Decode one prompt and yield a Piece per round; closing the iterator cancels the request.

    Possible stop strings and unfinished characters are held back until they are decided. `engine` continues with an engine
    that is kept between calls, so that a chat's cached beginning is not prefilled again. Several streams may share one and be
    read in turns: what a round gave the others waits for them, and comes as one Piece.
    """
    lm = load(lm)
    engine = engine or Engine(lm, drafter, rule, controller, exact=exact, slots=1)
    row = engine.submit(request(lm, prompt, sampling, **limits), watch=True)
    shown = 0
    try:
        done = None
        while done is None:
            while not (new := row.new_tokens[shown:]) and row.finish_reason is None:
                engine.step()
            done = engine.generation(row) if row.finish_reason is not None else None
            yield Piece(row.text.take(final=done is not None), new, row.drafted[shown:][: len(new)], done)
            shown += len(new)
    finally:
        if row.finish_reason is None:
            engine.cancel(row)


def listed(prompts: Any) -> list[Any]:
    """One prompt or several, as a list: a text, a list of ids and a list of messages are each one prompt."""
    if isinstance(prompts, str) or (len(prompts) and isinstance(prompts[0], int | dict)):
        return [prompts]
    return list(prompts)


def request(lm: LM, prompt: Prompt, sampling: Sampling, *, max_new_tokens: int = 128, stop: str | Sequence[str] = (),
            eos: Sequence[int] | None = None, reproducible: bool = False, tools: Sequence[dict] | None = None,
            tenant: str = "", keep: Sequence[tuple[int, int]] = (), guidance: float = 1.0,
            negative: Prompt | None = None) -> Request:
    """A Request from what a user gives. guidance: scale of classifier-free guidance, 1 = none. negative: the prompt of its second
    branch; the prompt's last token where none is given, as in transformers.
    """
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    ends = end_tokens(lm) if eos is None else frozenset(eos)
    read_tools(list(tools or ()))  # a mistake in them should show here, not as a poor draft
    ids = encode(lm, prompt, tools)
    if guidance == 1.0 and negative is not None:
        raise RequestError("A negative prompt counts for nothing without guidance: give a scale other than 1, like guidance=2.")
    other = None if guidance == 1.0 else Guidance(guidance, ids[-1:] if negative is None else encode(lm, negative))
    return Request(ids, sampling, max_new_tokens, ends, stops, reproducible=reproducible, tools=tuple(tools or ()), tenant=tenant,
                   keep=tuple(keep), guidance=other)


def encode(lm: LM, prompt: Prompt, tools: Sequence[dict] | None = None) -> list[int]:
    """Token ids of a text (with the tokenizer's special tokens), of chat messages (through its template), or as given."""
    if not isinstance(prompt, str) and not (len(prompt) and isinstance(prompt[0], dict)):
        return [int(t) for t in prompt]  # type: ignore[arg-type]
    if lm.tokenizer is None:
        raise RequestError("This model has no tokenizer: give token ids instead of text.")
    if isinstance(prompt, str):
        if not prompt:
            raise RequestError("The prompt is empty: give at least one character.")
        return list(lm.tokenizer(prompt)["input_ids"])
    return list(lm.tokenizer(conversation(lm.tokenizer, prompt, tools), add_special_tokens=False)["input_ids"])


def end_tokens(lm: Any) -> frozenset[int]:
    """The ids that end a text: the generation config's, else the config's, else the tokenizer's."""
    model = getattr(lm, "model", None)
    for source in (getattr(model, "generation_config", None), getattr(model, "config", None), lm.tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return frozenset([ids] if isinstance(ids, int) else ids)
    return frozenset()
