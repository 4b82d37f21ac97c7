"""What a benchmark is told: the settings of `paceline bench`, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.bench.requantise import check_format
from paceline.bench.rivals import check_names
from paceline.core.sampling import Sampling
from paceline.engine.auto import AUTO, check
from paceline.errors import RequestError
from paceline.selectors import choosing_layers

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """What to measure.

    grow: millions of parameters a cost-realistic target is grown to (None = as it is). rows: prompts decoded together,
    also measured one by one. limit: prompts per task (None = all). prompts: a JSON-lines file; data: a folder of public
    data sets; either instead of the shipped prompts. context: prompts of so many tokens (needle, completion, document) instead.
    chat: ask plain texts in a conversation, too. requantise: give the linear weights of a GGUF file in another format, to all.
    activations: "int8" or "float", of quantised weights (None = as they are loaded). selector: measure every method of ours also
    with layers that keep few keys, as it chooses them; `identical` then says how often the text is the whole model's. budget:
    most nodes per round (None = the controller's). inexact: measure every method of ours also without exact mode. cold: measure
    "auto" also with nothing learned before a text. temperature: sample at it, of the likeliest tokens that hold `top_p`; with
    one seed and reproducibly, so that all methods of ours write the same text, while rivals write their own; 0 = greedy. Raises
    RequestError on bad values.
    """

    model: str = "zoo:tiny"
    drafters: tuple[str, ...] = ("small_model:model=zoo:tiny-draft", "ngram")
    tasks: tuple[str, ...] = ()
    prompts: str | None = None
    data: str | None = None
    context: int | None = None
    chat: bool = False
    against: tuple[str, ...] = ()
    dtype: str | None = None
    requantise: str | None = None
    activations: str | None = None
    forward: str = "auto"
    packed: bool = True
    exact: bool | None = None
    selector: str | None = None
    budget: int | None = None
    rows: int = 1
    max_new_tokens: int = 128
    repeats: int = 3
    limit: int | None = None
    grow: float | None = None
    threads: int | None = None
    inexact: bool = False
    cold: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "max_new_tokens", "repeats", "limit", "threads", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name} must be at least 1; found {value}.")
        if self.prompts and (self.tasks or self.data):
            raise RequestError("Give either a prompt file or tasks (with or without a data folder), not both.")
        if self.context and (self.prompts or self.data):
            raise RequestError("Prompts of a given context are made, not read: leave out --prompts and --data.")
        for spec in self.drafters:
            check(spec)
        if self.selector is not None:
            choosing_layers(self.selector)
        check_names(self.against)
        check_format(self.requantise)
        if self.rows > 1 and self.against:
            raise RequestError("Rivals decode one row at a time: leave out --against, or use --rows 1.")
        if self.cold and AUTO not in self.drafters:
            raise RequestError("Only what learns which drafter to use can be cold: add --drafter auto, or leave out --cold.")

    @property
    def sampling(self) -> Sampling:
        """How every method chooses a token."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, seed=0) if self.temperature else Sampling()
