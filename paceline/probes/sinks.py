"""Attention sinks: keys that most heads look at whatever they mean (When Attention Sink Emerges, Gu et al., arXiv 2410.10781).

A head has a sink at key k where the mean attention of the queries that see k, alpha_k, is above `eps` (section 3.1); the share of
such heads is Sink_k. All of it, and what a sink really writes, follows from the column sums of attention alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from paceline.core.reading import Figure, Reading
from paceline.errors import RequestError, SpecError
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._kept import Kept

__all__ = ["Sinks"]


@dataclass(frozen=True)
class Sinks:
    """eps: threshold. length: T, the tokens of a text that count, since Sink_k falls with T; None = all of each text. first: so
    many keys have figures of their own. Shorter texts are left out.

    Figures, each [texts, …]: alpha (layer, head, key), its null that of uniform rows; sink (layer, key), the share of heads above
    eps, thresholded text by text and then averaged, as the paper has it; total (key), the same over all layers. position
    (layer): the key that gets most attention in all. share (layer, head): of attention that it gets. written (layer, head): of
    what heads write, attention times the value's norm, that comes from it; both null levels are those of the first key in uniform
    rows. massive (layer): norm of what enters the layer there,
    over the text's median (the paper divides by the mean, which a second massive token spoils). outside (layer, head): attention
    that no key gets, where a layer has sink logits.
    """

    eps: float = 0.3
    length: int | None = 64
    first: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1 or self.first < 1 or (self.length is not None and self.length < 2):
            raise SpecError("sinks needs 0 < eps < 1, length >= 2 and first >= 1; found "
                            f"eps={self.eps}, length={self.length}, first={self.first}.")

    @property
    def least(self) -> int:
        """Tokens that a text must have."""
        return self.length or self.first

    def start(self, subject: Subject) -> Watch:
        return SinksWatch(self)


@dataclass
class SinksWatch:
    """kept: figures by name. columns: of the layer that is being read, what each key has got so far, [Hq, T]. short: texts that
    are left out.
    """

    asked: Sinks
    kept: dict[str, Kept] = field(default_factory=dict)
    columns: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    short: set[int] = field(default_factory=set)

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        length = self.asked.length or len(seen.positions)
        if self.asked.least > len(seen.positions):
            self.short.add(seen.text)
        elif start < length:
            if start == 0:
                self.columns = probs.new_zeros((len(probs), length))
            part = probs[:, : length - start, :length].sum(1)
            self.columns[:, : part.shape[1]] += part
            if start + probs.shape[1] >= length:
                self._note(seen, length)

    def _note(self, seen: Seen, length: int) -> None:
        """Figures of a layer whose columns are complete."""
        columns, norms = self.columns, seen.v[:, :length].float().norm(dim=-1).repeat_interleave(seen.groups, 0)
        written, at = columns * norms, int(columns.sum(0).argmax())
        sizes = seen.hidden[:length].float().norm(dim=-1)
        seen_by, even = lookers(length, seen.window), uniform(length, seen.window)
        alpha = columns / seen_by.to(columns.device)
        for name, value in {
            "alpha": alpha[:, : self.asked.first], "null": even[: self.asked.first], "even": even[0] * seen_by[0] / length,
            "position": torch.tensor(float(at)), "share": columns[:, at] / length, "written": written[:, at] / written.sum(1),
            "massive": sizes[at] / sizes.median(), "outside": 1 - columns.sum(1) / length,
        }.items():  # fmt: skip
            self.kept.setdefault(name, Kept()).add(seen.text, seen.layer, value)

    def reading(self) -> Reading:
        if not self.kept:
            raise RequestError(f"sinks needs texts of at least {self.asked.least} tokens; found {len(self.short)} shorter ones.")
        each, alpha = {name: kept.each for name, kept in self.kept.items()}, self.kept["alpha"]
        ticks: dict[str, Sequence[int]] = {"layer": alpha.layers}
        even = each["even"].mean(0)[:, None]
        above = (each["alpha"] > self.asked.eps).float()
        values = {
            "alpha": Figure(each["alpha"], ("layer", "head", "key"), "mean attention", each["null"].mean(0)[:, None], ticks),
            "sink": Figure(above.mean(2), ("layer", "key"), "share of heads", 0.0, ticks),
            "total": Figure(above.mean((1, 2)), ("key",), "share of heads", 0.0),
            "position": Figure(each["position"], ("layer",), "token", None, ticks),
            "share": Figure(each["share"], ("layer", "head"), "share of attention", even, ticks),
            "written": Figure(each["written"], ("layer", "head"), "share of attention times value norm", even, ticks),
            "massive": Figure(each["massive"], ("layer",), "times the median norm", 1.0, ticks),
            "outside": Figure(each["outside"], ("layer", "head"), "share of attention", 0.0, ticks),
        }
        count, short = len(alpha.texts), len(self.short)
        notes = [f"Shorter than {self.asked.least} tokens and left out: {short} of {count + short} texts."] if short else []
        how = (f"A head has a sink at a key that its queries give more than {self.asked.eps} on average; written far below share "
               "means that little comes of it.")
        return Reading("sinks", values, how, count, tuple(notes))


def pooled(alpha: torch.Tensor, eps: float) -> torch.Tensor:
    """Share of all heads whose mean attention over texts is above eps, [keys], of alpha [texts, layers, heads, keys]: fewer texts
    are needed than for Sink_k, and it is a little higher where heads are near the threshold.
    """
    return (alpha.mean(0) > eps).float().mean((0, 1))


def lookers(length: int, window: int | None = None) -> torch.Tensor:
    """How many of T queries see each key, [T]."""
    return torch.arange(length, 0, -1, dtype=torch.float32).clamp_max(window or length)


def uniform(length: int, window: int | None = None) -> torch.Tensor:
    """alpha of each key [T] where every query gives all keys it sees the same: (H_T - H_{k-1}) / (T - k + 1) without a window."""
    each = 1 / torch.arange(1, length + 1, dtype=torch.float64).clamp_max(window or length)
    until = torch.cat((each.new_zeros(1), each.cumsum(0)))
    first = torch.arange(length)
    last = (first + (window or length)).clamp_max(length)
    return ((until[last] - until[first]) / (last - first)).float()
