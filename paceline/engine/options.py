"""What may be asked of one request beside its prompt: the same for the API, the command line and a server."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from paceline.core.checks import characters, names, plain, short, whole
from paceline.core.sampling import Sampling
from paceline.errors import RequestError, did_you_mean
from paceline.selectors import choosing_layers
from paceline.toolcalls.schema import listed_tools, read_tools

__all__ = ["RequestOptions"]

# What other libraries call it.
ELSEWHERE = {"max_tokens": "max_new_tokens", "max_length": "max_new_tokens", "num_predict": "max_new_tokens",
             "stop_strings": "stop", "eos_token_id": "eos", "negative_prompt": "negative", "guidance_scale": "guidance",
             "skip_special_tokens": "special_tokens", "num_return_sequences": "n", "batch_size": "slots"}


@dataclass(frozen=True)
class RequestOptions:
    """Checked when made; raises RequestError, or DataError for tools, with what was expected and found.

    sampling: how tokens are drawn. max_new_tokens: exact upper limit. stop: one text or several that end the text. eos: ids that
    end it; None = the model's own. reproducible: treat every drafted node as chosen, so that a seed gives plain decoding's very
    text. tools: functions that may be called. describe_tools: where the model's chat template knows no tools, tell them and their
    calls in words; else raise RequestError. tenant: whose request it is. keep: spans of the prompt that sparse drafts always
    see. guidance: scale of classifier-free guidance, 1 = none. negative: the prompt of its second branch; the prompt's last token
    where none is given, as in transformers. special_tokens: keep them in the text. selector: spec of one that chooses
    layers to keep few keys, such as "lighttransfer:keep=0.5": less memory, and another text than the whole model's.
    """

    sampling: Sampling = Sampling()
    max_new_tokens: int = 128
    stop: str | Sequence[str] | None = ()
    eos: Sequence[int] | None = None
    reproducible: bool = False
    tools: Sequence[dict] | None = None
    describe_tools: bool = True
    tenant: str = ""
    keep: Sequence[tuple[int, int]] = ()
    guidance: float = 1.0
    negative: Any = None
    special_tokens: bool = False
    selector: Any = None

    @staticmethod
    def of(given: Mapping[str, Any], others: "RequestOptions | None" = None) -> "RequestOptions":
        """Options by name, the rest as in `others`. Raises RequestError for an unknown name, with the one that may be meant."""
        if not isinstance(others, RequestOptions | None):
            raise RequestError(f"options must be RequestOptions, like RequestOptions(max_new_tokens=64); found {short(others)}.")
        known = [field.name for field in fields(RequestOptions)]
        for name in given:
            if name not in known:
                raise RequestError(f"There is no option {name!r}.{_meant(name, known)}")
        return replace(others or RequestOptions(), **given)

    def __post_init__(self) -> None:
        if not isinstance(self.sampling, Sampling):
            raise RequestError(f"sampling must be a Sampling, like Sampling(temperature=0.7); found {self.sampling!r}.")
        checked = {"max_new_tokens": whole("max_new_tokens", self.max_new_tokens, 1),
                   "stop": () if self.stop is None else names("stop", self.stop),
                   "eos": None if self.eos is None else _ids(self.eos), "keep": () if self.keep is None else self.keep,
                   "tools": None if self.tools is None else listed_tools(self.tools),
                   "selector": None if self.selector is None else choosing_layers(self.selector)}
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        flags = [(name, bool, "True or False") for name in ("reproducible", "describe_tools", "special_tokens")]
        for name, kind, what in (*flags, ("tenant", str, "text"), ("guidance", Real, "a number")):
            if not isinstance(getattr(self, name), kind):
                raise RequestError(f"{name} must be {what}; found {getattr(self, name)!r}.")
        object.__setattr__(self, "guidance", float(self.guidance))
        if self.guidance == 1.0 and self.negative is not None:
            raise RequestError("A negative prompt counts for nothing without guidance: give a scale other than 1, like "
                               "guidance=2.")
        characters("The tenant", self.tenant)
        read_tools(checked["tools"] or ())  # a mistake in them should show here, not as a poor draft
        characters("The tools", json.dumps(checked["tools"], ensure_ascii=False, default=str))


def _ids(eos: Any) -> tuple[int, ...]:
    given = plain(eos)
    given = (given,) if isinstance(given, Integral) else given
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise RequestError(f"eos must be token ids, like eos=[2]; found {eos!r}. A text that ends the answer goes into stop=.")
    return tuple(whole("A token id in eos", token, 0) for token in given)


def _meant(name: str, known: Sequence[str]) -> str:
    if name in ELSEWHERE:
        return f" Did you mean {ELSEWHERE[name]!r}?"
    if name in {field.name for field in fields(Sampling)}:
        return f" It belongs to the sampling: sampling=Sampling({name}=…)."
    return did_you_mean(name, known)
