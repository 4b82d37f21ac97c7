"""What was asked for one sequence."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paceline.core.checks import names, short, whole, whole_numbers
from paceline.core.guidance import Guidance
from paceline.core.sampling import Sampling
from paceline.errors import RequestError

__all__ = ["Request"]

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
    (classifier-free guidance); such a row costs two in every forward. special_tokens: whether the text keeps them. selector: what
    chooses the layers that keep few keys once the prompt is read (`selectors/`): the text is then no longer the whole model's.
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
    selector: Any = None

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
