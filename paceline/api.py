"""The front doors: prompts in, generations out. Thin: everything they do, the engine does."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from paceline import plugins
from paceline.core.checks import short, whole
from paceline.core.detokenizer import Span
from paceline.core.guidance import Guidance
from paceline.core.progress import waiting
from paceline.core.reading import Reading
from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.engine import Engine
from paceline.engine.inputs import Prompt, encode, listed
from paceline.engine.options import RequestOptions
from paceline.engine.texts import Texts, Tokens, read_texts
from paceline.errors import DataError, ModelError, RequestError
from paceline.lm import LM, load
from paceline.lm.interventions import cost, intervene
from paceline.lm.trace import Subject, Watch, subject

__all__ = ["NEUTRAL", "Piece", "encode", "end_tokens", "generate", "intervene", "loss_with", "probe", "request", "stream"]

# Settings of transformers' generation config that change which token is likeliest, with the values that change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.0,), "encoder_repetition_penalty": (1.0,), "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,), "bad_words_ids": ([],), "min_length": (0,), "min_new_tokens": (0,),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "forced_bos_token_id": (), "forced_eos_token_id": (),
    "sequence_bias": ({},), "guidance_scale": (1.0,), "exponential_decay_length_penalty": (), "stop_strings": ([],),
    "watermarking_config": (),
}  # fmt: skip

log = logging.getLogger("paceline")


@dataclass(frozen=True)
class Piece:
    """What one round added: text that no later token can take back, in spans that came from a draft or from the target; its
    tokens, and which of them a drafter proposed. Text that may yet change comes with a later piece than its tokens. `generation`
    is None until the last piece.
    """

    spans: list[Span]
    tokens: list[int]
    drafted: list[bool]
    generation: Generation | None = None

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)


def generate(lm: Any, prompts: Prompt | Sequence[Prompt], *, drafter: Any = "auto", rule: Any = "lossless",
             controller: Any = None, n: int = 1, slots: int = 8, exact: bool | None = None,
             options: RequestOptions | None = None, **named: Any) -> list[Generation]:
    """Decode prompts and return one Generation each (n each, in order, when `n` samples are asked for).

    lm: an `LM`, or anything `load` takes. prompts: text, token ids (lists, tensors, arrays, a tokenizer's answer), or chat
    messages; one or several. drafter, rule, controller: plug-in specs. slots: most sequences decoded together. exact: see
    `Engine`. options: what is asked of each; `named`: the same by name, such as max_new_tokens, sampling and stop. What is not
    asked for here is off, whatever the model's generation config says, but for its end tokens. Greedy output and, where every
    drafted node is chosen, seeded samples equal plain decoding's; drawn drafts keep its law. Raises RequestError for what no
    model could honour.
    """
    lm = load(lm)
    n, slots, options = whole("n", n, 1), whole("slots", slots, 1), RequestOptions.of(named, options)
    each = [request(lm, prompt, options) for prompt in listed(prompts)]
    requests = [replace(r, stream=i) for r in each for i in range(n)]
    tell_defaults(lm)
    return Engine(lm, drafter, rule, controller, exact=exact, slots=min(slots, len(requests) or 1)).run(requests)


def stream(lm: Any, prompt: Prompt, *, drafter: Any = "auto", rule: Any = "lossless", controller: Any = None,
           exact: bool | None = None, engine: Engine | None = None, options: RequestOptions | None = None,
           **named: Any) -> Iterator[Piece]:
    """Decode one prompt and yield a Piece per round; closing the iterator cancels the request.

    Possible stop strings and unfinished characters are held back until they are decided. `engine` continues with an engine
    that is kept between calls, so that a chat's cached beginning is not prefilled again. Several streams may share one and be
    read in turns: what a round gave the others waits for them, and comes as one Piece.
    """
    lm = load(lm)
    tell_defaults(lm)
    engine = Engine(lm, drafter, rule, controller, exact=exact, slots=1) if engine is None else engine
    if not isinstance(engine, Engine) or engine.lm is not lm:
        raise RequestError("engine must be an Engine of the very LM that stream is given; found "
                           f"{'that of another' if isinstance(engine, Engine) else short(engine)}.")
    row = engine.submit(request(lm, prompt, RequestOptions.of(named, options)), watch=True)
    assert row.text is not None, "a watched row has text"
    shown = 0
    try:
        done = None
        while done is None:
            while not (new := row.new_tokens[shown:]) and row.finish_reason is None:
                engine.step()
            done = engine.generation(row) if row.finish_reason is not None else None
            yield Piece(row.text.spans(final=done is not None), new, row.drafted[shown:][: len(new)], done)
            shown += len(new)
    finally:
        if row.finish_reason is None:
            engine.cancel(row)


def probe(model: Any, probes: Any, texts: Prompt | Sequence[Prompt], *, length: int | None = None,
          start_token: bool | int | None = None, tokens: Tokens = "given", seed: int = 0,
          left_out: dict[str, str] | None = None) -> list[Reading]:
    """Look inside a model while it reads texts, and return what each probe found.

    model: an `LM`, anything `load` takes, or a transformers model that cannot be decoded with. probes: specs, such as
    "slash:lags=[0,1,2,4]". length, start_token, tokens, seed: as `read_texts` says. Texts are read one by one in float, each in
    one forward, and nothing of a text's length squared is kept. Raises ModelError, DataError or RequestError for a probe that
    can say nothing of this model or of these texts; where `left_out` is given, it is noted there instead, spec -> why.
    """
    looked = subject(model)
    given = some_texts(looked, texts, length, start_token, tokens, seed)
    specs = [probes] if isinstance(probes, str) else list(probes)
    watches: list[tuple[Any, Watch]] = []
    for spec in specs:
        with _leaving_out(spec, left_out):
            watches.append((spec, plugins.make("probe", spec).start(looked)))
    with waiting("reading texts"):
        for i, ids in enumerate(given.tokens if watches else ()):
            with waiting(f"reading text {i + 1} of {len(given.tokens)}"):
                looked.read(ids, i, [watch for _, watch in watches])
    readings: list[Reading] = []
    for spec, watch in watches:
        with _leaving_out(spec, left_out):
            readings.append(noted(watch.reading(), given, length))
    return readings


def loss_with(model: Any, change: Callable[..., Any], texts: Prompt | Sequence[Prompt], *, length: int | None = None,
              start_token: bool | int | None = None, heads: Collection[tuple[int, int]] | None = None, **options: Any) -> Reading:
    """What an intervention costs: each text's mean loss, in nats a token, by the model as it is, by the changed one, and the
    difference, with its interval over texts. model, change, heads, options: as `intervene` says; length, start_token: as `probe`
    does.
    """
    looked = subject(model)
    given = some_texts(looked, texts, length, start_token)
    with intervene(looked, change, heads, **options) as changed:
        return noted(cost(looked, changed, given.tokens), given, length)


def some_texts(looked: Subject, texts: Prompt | Sequence[Prompt], length: int | None, *how: Any) -> Texts:
    """At least one. Raises RequestError where there is none."""
    given = read_texts(looked, listed(texts), length, *how)
    if not given.tokens:
        raise RequestError(f"Expected texts of at least {length or 1} tokens; found none among {given.left_out}.")
    return given


def noted(reading: Reading, given: Texts, length: int | None) -> Reading:
    """A reading that says how many texts it leaves out."""
    count = len(given.tokens) + given.left_out
    note = (f"Shorter than {length} tokens and left out: {given.left_out} of {count} texts.",) if given.left_out else ()
    return replace(reading, notes=note + reading.notes)


@contextmanager
def _leaving_out(spec: Any, left_out: dict[str, str] | None) -> Iterator[None]:
    """Note why a probe can say nothing, where there is somewhere to note it."""
    try:
        yield
    except (DataError, ModelError, RequestError) as error:
        if left_out is None:
            raise
        left_out[str(spec)] = str(error)


def request(lm: LM, prompt: Prompt, options: RequestOptions) -> Request:
    """A Request from what a user gives."""
    ids = encode(lm, prompt, options.tools, options.describe_tools)
    ends = end_tokens(lm) if options.eos is None else frozenset(options.eos)
    scale, negative = options.guidance, options.negative
    other = None if scale == 1.0 else Guidance(scale, ids[-1:] if negative is None else encode(lm, negative))
    return Request(ids, options.sampling, options.max_new_tokens, ends, tuple(options.stop or ()),
                   reproducible=options.reproducible, tools=tuple(options.tools or ()), tenant=options.tenant, keep=options.keep,
                   guidance=other, special_tokens=options.special_tokens, selector=options.selector)


def end_tokens(lm: LM) -> frozenset[int]:
    """The ids that end a text: the generation config's, else the config's, else the tokenizer's."""
    for source in (lm.generation, lm.text_config, lm.tokenizer):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return frozenset([ids] if isinstance(ids, int) else ids)
    return frozenset()


def tell_defaults(lm: LM) -> None:
    """Note once, in the log and in the model's notes, what its generation config asks for and `generate` leaves off."""
    asked = unlike_defaults(lm.generation)
    note = f"the model's generation config asks for {', '.join(asked)}, which counts only where you ask for it"
    if asked and note not in lm.notes:
        lm.notes.append(note)
        log.warning("Note: %s.", note)


def unlike_defaults(config: Any) -> list[str]:
    """What a generation config sets that changes greedy text, as `name=value`."""
    values = {name: getattr(config, name, None) for name in NEUTRAL}
    return [f"{name}={value}" for name, value in values.items() if value is not None and value not in NEUTRAL[name]]
