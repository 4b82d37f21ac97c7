"""What a probe found: figures with named axes, per text, so that every mean comes with its interval, beside the level that means
nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

__all__ = ["Figure", "Reading"]

DRAWS, LEVEL = 1000, 0.95  # bootstrap samples; the share of them inside an interval

Statistic = Callable[[torch.Tensor], torch.Tensor]


def over_texts(each: torch.Tensor) -> torch.Tensor:
    """The mean over texts, leaving out those of which there is no figure (NaN)."""
    return each.nanmean(0)


@dataclass(frozen=True)
class Figure:
    """One quantity. each: [texts, …] in fp32, NaN where a text says nothing, with a name in `axes` for every dimension behind the
    first; a quantity of the weights alone has one "text". ticks: what stands along an axis, where that is not 0, 1, 2 …
    null: what would be found where there is nothing to find, of a shape that broadcasts with the mean; None where there is no
    such level.
    """

    each: torch.Tensor
    axes: tuple[str, ...]
    unit: str
    null: torch.Tensor | float | None = None
    ticks: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @cached_property
    def mean(self) -> torch.Tensor:
        return over_texts(self.each)

    def interval(self, statistic: Statistic = over_texts, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Ends of the 95 % bootstrap interval over texts of a statistic, a function of [texts, …] (Efron 1979, percentiles):
        how far it would move with other texts like these. One text says nothing of that: both ends are its own figure.
        """
        random = torch.Generator().manual_seed(seed)
        count = len(self.each)
        drawn = torch.randint(count, (DRAWS, count), generator=random, dtype=torch.long, device="cpu")
        made = torch.stack([statistic(self.each[picked]) for picked in drawn])
        low, high = made.nanquantile(made.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]), 0)
        return low, high

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval()
        null = self.null.tolist() if isinstance(self.null, torch.Tensor) else self.null
        return {"axes": list(self.axes), "unit": self.unit, "mean": listed(self.mean), "low": listed(low), "high": listed(high),
                "null": null, "ticks": {axis: list(marks) for axis, marks in self.ticks.items()}}


@dataclass(frozen=True)
class Reading:
    """Of one probe. name: the spec that made it. how: one sentence that says how to read it. texts: how many it rests on. notes:
    what else has to be known, such as texts that were left out, one sentence each.
    """

    name: str
    values: Mapping[str, Figure]
    how: str
    texts: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Means, intervals and null levels as lists; NaN as None."""
        return {"probe": self.name, "how": self.how, "texts": self.texts, "notes": list(self.notes),
                "values": {name: figure.to_json() for name, figure in self.values.items()}}


def listed(x: torch.Tensor) -> Any:
    """A tensor as lists of JSON's numbers."""
    return [listed(row) for row in x] if x.dim() else None if x.isnan() else float(f"{float(x):.6g}")
