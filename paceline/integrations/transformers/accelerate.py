"""The transformers-native door: `model.generate(**inputs, custom_generate=paceline.accelerate(drafter="ngram"))`.

transformers hands a callable its prepared inputs, logits processors, stopping criteria and generation config. A call with
anything that is not decoded exactly here (`native_table.py`) goes on to the very method that `generate` would have called next,
with one note a process. Batches of any size work; rows are decoded to their own lengths (`native_rows.py`).
"""

import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.stopping_criteria import StoppingCriteriaList, StopStringCriteria
from transformers.generation.utils import GENERATION_MODES_MAPPING

from paceline.core.checks import flag, names, short
from paceline.core.request import Request
from paceline.engine import Engine
from paceline.errors import ModelError, PacelineError, RequestError, did_you_mean
from paceline.integrations.transformers.keywords import KEYWORDS, Call, unhandled
from paceline.integrations.transformers.rows import longest, requests
from paceline.lm import LM
from paceline.lm.sources.compatibility import check_loading

__all__ = ["accelerate"]

GENERATE = inspect.unwrap(GenerationMixin.generate).__code__
KEPT = ("streamer", *(n for n in inspect.signature(GenerationMixin.generate).parameters if KEYWORDS.get(n) == "stock"))
OPTIONS = ("forward", "packed", "rule", "controller", "reproducible", "row_wise")
log = logging.getLogger("paceline")
noted: set[str] = set()  # what this process was told of already


def accelerate(drafter: Any = "auto", *, tokenizer: Any = None, streamer: Any = None, stop_strings: str | Sequence[str] = (),
               exact: bool | None = None, strict: bool = False, **options: Any) -> Callable[..., Any]:
    """A function for `model.generate(custom_generate=…)` that decodes with a drafter, losslessly.

    Whatever it cannot decode exactly (beams, images, outputs beside the sequences, caches handed in, adapters, processors it does
    not know) transformers decodes as ever, with one note a process for each such thing; strict=True raises ModelError instead.
    Samples have the same law, drawn from a seed that `torch.manual_seed` repeats. tokenizer and stop_strings: text that ends a
    row; given here because `generate` refuses `stop_strings` with a callable. streamer: here or in `generate`. options: `forward`
    and `packed` of `load`, `rule` and `controller` of `Engine`, `reproducible`, and `row_wise`: your own classes of processors
    and criteria whose answer for a row depends on its ids and scores alone. The model stays unchanged; its packed copy is made
    on the first call and again when its weights have changed. Raises RequestError or ModelError for stop strings without a
    tokenizer, for options that do not exist, and for values that they cannot have.
    """
    if unknown := next((name for name in options if name not in OPTIONS), None):
        raise RequestError(f"accelerate has no option {unknown!r}.{did_you_mean(unknown, OPTIONS)}")
    if stop_strings and tokenizer is None:
        raise RequestError("stop_strings need the tokenizer: accelerate(stop_strings=…, tokenizer=tokenizer).")
    loading: dict[str, Any] = {k: options.pop(k) for k in ("forward", "packed") if k in options}
    check_loading(tokenizer, **loading)
    stops = [StopStringCriteria(tokenizer, list(names("stop_strings", stop_strings)))] if stop_strings else []
    strict, exact = flag("strict", strict), flag("exact", exact, unset=True)
    reproducible, row_wise = flag("reproducible", options.pop("reproducible", False)), classes(options.pop("row_wise", ()))
    if not (streamer is None or (hasattr(streamer, "put") and hasattr(streamer, "end"))):
        raise RequestError(f"streamer must have put and end, like transformers.TextStreamer; found {short(streamer)}.")
    loaded = Loaded(tokenizer, loading)

    def custom_generate(model: Any, input_ids: torch.Tensor, logits_processor: Any, stopping_criteria: Any,
                        generation_config: GenerationConfig, inputs_tensor: Any = None, **inputs: Any) -> Any:
        kept = kept_by_generate()
        streamers = [s for s in (streamer, kept.pop("streamer")) if s is not None]
        with ended(streamers):
            if len(streamers) > 1:
                raise ModelError("Streamers were given both to generate and to accelerate: give one, to either of them.")
            call = Call(model, input_ids, logits_processor, StoppingCriteriaList([*stopping_criteria, *stops]), generation_config,
                        inputs, kept, *streamers)
            if streamer is not None:
                streamer.put(input_ids.cpu())  # as generate does with one of its own
            lm, why = loaded.for_call(call, row_wise)
            if lm is None:
                return stock(call, inputs_tensor, lambda: note(*why, strict))
            engine = Engine(lm, drafter, exact=exact, slots=min(8, len(input_ids)), **options)
            return output(run(engine, requests(call, reproducible), call.streamer), call)

    return custom_generate


def classes(row_wise: Any) -> tuple[type, ...]:
    """The classes in `row_wise`; one may stand alone."""
    kinds = tuple(row_wise) if isinstance(row_wise, Iterable) and not isinstance(row_wise, type) else (row_wise,)
    if not all(isinstance(kind, type) for kind in kinds):
        raise RequestError(f"row_wise must be classes of processors and criteria; found {short(row_wise)}.")
    return kinds


class Loaded:
    """The LM of each model that was seen, made anew whenever anything about the model has changed."""

    def __init__(self, tokenizer: Any, loading: dict[str, Any]) -> None:
        self.tokenizer, self.loading = tokenizer, loading
        self._known: dict[int, tuple[list[Any], list[Any], LM | PacelineError]] = {}

    def for_call(self, call: Call, row_wise: Sequence[type]) -> tuple[LM | None, tuple[str, str]]:
        """The LM that decodes this call exactly, or None and what keeps it from that."""
        if why := next(unhandled(call, row_wise), None):
            return None, why
        lm = self._of(call.model)
        if isinstance(lm, PacelineError):
            return None, (type(call.model).__name__, str(lm))
        reach = lm.reach
        return (lm, ("", "")) if longest(call) <= reach else (None, ("max_length", f"beyond the model's {reach} tokens"))

    def _of(self, model: Any) -> LM | PacelineError:
        parts = [*model.modules(), *model.parameters(), *model.buffers()]
        state = [*map(id, parts), *state_of(model)]
        if id(model) not in self._known or self._known[id(model)][0] != state:
            self._known[id(model)] = state, parts, self._made(model)  # the parts are kept, so that no id is used again
        return self._known[id(model)][2]

    def _made(self, model: Any) -> LM | PacelineError:
        try:
            return LM(model, self.tokenizer, **self.loading)
        except PacelineError as error:
            return error
        except Exception as error:  # families are many; what one of them does to our forward is no reason not to answer
            return ModelError(f"{type(error).__name__}: {error}")


def state_of(model: Any) -> list[Any]:
    """Settings of the model and its modules, and what its weights and buffers hold."""
    settings = [(k, v) for m in model.modules() for k, v in vars(m).items() if isinstance(v, bool | int | float | str)]
    return [model.config.to_dict(), *settings, *map(content, chain(model.parameters(), model.buffers()))]


def content(tensor: torch.Tensor) -> tuple[int, int, bytes]:
    """Its version, where it lies, and every row's sum with another factor for each place. Adapters are merged by `weight.data +=
    …`, which leaves the version as it is, and a plain sum stays where numbers change places. Inference tensors have no version.
    """
    rows = torch.atleast_2d(tensor.detach()).flatten(0, -2)
    factors = torch.arange(rows.shape[1], dtype=torch.float32, device=rows.device).cos()
    sums = torch.cat([some.float() @ factors for some in rows.split(1024)])  # by and by: in fp32 an embedding may be gigabytes
    return 0 if tensor.is_inference() else tensor._version, tensor.data_ptr(), sums.cpu().numpy().tobytes()


# -- transformers' own decoding ----------------------------------------------------------------------------------------------


def kept_by_generate() -> dict[str, Any]:
    """What `generate` was given and keeps from a callable, its streamer among it.

    Read from the frame of `generate`, the only place where it is: without it the reader of a streamer would wait for ever.
    """
    frame = sys._getframe()
    while frame is not None and frame.f_code is not GENERATE:
        frame = frame.f_back  # type: ignore[assignment]
    given = {} if frame is None else frame.f_locals
    return {name: given.get(name) for name in KEPT}


def note(name: str, more: str, strict: bool) -> None:
    """Say once a process that transformers decodes such calls, or raise."""
    what = f"{name} ({more})" if more else name
    if strict:
        raise ModelError(f"accelerate(strict=True) does not decode this exactly: {what}. Leave that out, or leave strict off and "
                         "have transformers decode such calls.")
    if name not in noted:
        noted.add(name)
        log.warning("accelerate leaves calls with %s to transformers' own decoding, without drafts.", what)


def stock(call: Call, inputs_tensor: Any, say: Callable[[], None]) -> Any:
    """What `generate` returns without a callable: the same arguments to the method that it would have called next."""
    mode = call.config.get_generation_mode(call.kept["assistant_model"])
    method = GENERATION_MODES_MAPPING[mode]
    if "/" in method:
        raise ModelError(f"{mode.value} is no longer part of transformers: give generate custom_generate={method!r} instead of "
                         "paceline.accelerate(…).")
    say()
    given = call.model._extract_generation_mode_kwargs(None, {}, call.kept["synced_gpus"], call.kept["assistant_model"],
                                                       call.streamer)
    call.model._validate_generation_mode(mode, call.config, given)
    decode = getattr(type(call.model), method)
    if "inputs_tensor" in inspect.signature(decode).parameters:
        given["inputs_tensor"] = inputs_tensor
    return decode(call.model, call.input_ids, logits_processor=call.processors, stopping_criteria=call.criteria,
                  generation_config=call.config, **given, **call.inputs)


# -- decoding here -----------------------------------------------------------------------------------------------------------


def run(engine: Engine, requests: Iterator[Request], streamer: Any) -> list[list[int]]:
    """New tokens of all rows, decoded to their end; a streamer gets them one by one, as they are committed."""
    rows = [engine.submit(r) for r in requests]
    while any(row.finish_reason is None for row in rows):
        before = len(rows[0].tokens)
        engine.step()
        for token in rows[0].tokens[before:] if streamer is not None else ():
            streamer.put(torch.tensor([token], dtype=torch.long, device="cpu"))
    if streamer is not None:
        streamer.end()
    return [row.new_tokens for row in rows]


@contextmanager
def ended(streamers: Sequence[Any]) -> Iterator[None]:
    """End streamers where a call fails, so that their readers, in other threads, do not wait for ever."""
    try:
        yield
    except BaseException:
        for streamer in streamers:
            streamer.end()
        raise


def output(new: Sequence[Sequence[int]], call: Call) -> torch.Tensor:
    """Sequences [B, T + longest], padded on the right."""
    width, pad = max(map(len, new)), call.config._pad_token_tensor
    fill = 0 if pad is None else int(pad)
    tails = torch.tensor([[*t, *[fill] * (width - len(t))] for t in new], dtype=torch.long, device=call.input_ids.device)
    return torch.cat((call.input_ids, tails), 1)
