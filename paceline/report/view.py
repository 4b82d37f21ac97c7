"""What a report says, before it is a page or lines on a terminal: three sentences, a word for every head, advice, tables."""

from __future__ import annotations

from functools import cached_property

from paceline.report.advice import Advice, advice, lazy_layers
from paceline.report.look import Look
from paceline.report.roles import Head, evidence, heads, strongest, tally
from paceline.report.sections import sections
from paceline.report.table import Bar, Section, Table, figure, number, ticks

__all__ = ["View"]


class View:
    """Everything that is shown of a `Look`, derived from its readings alone. ringed: heads that stand out."""

    atlas = "Every head, by what it does"
    ringed: tuple[Head, ...] = ()

    def __init__(self, look: Look) -> None:
        self.look, self.readings, self.model = look, look.readings, look.config.model

    @cached_property
    def heads(self) -> list[Head]:
        return heads(evidence(self.readings))

    @cached_property
    def advice(self) -> list[Advice]:
        return advice(self.readings, self.model)

    @cached_property
    def sections(self) -> list[Section]:
        return sections(self.readings)

    @property
    def headline(self) -> list[str]:
        """At most three sentences: sinks, what the other heads do, how lazy the layers are."""
        return [sentence for sentence in (self._sinks(), self._others(), self._lazy()) if sentence]

    def _sinks(self) -> str:
        if (total := figure(self.readings, "sinks", "total")) is None:
            return ""
        value, low, high = (f"{float(x[0]):.0%}" for x in (total.mean, *total.interval()))
        return f"{value} of the heads ({low} to {high}) have a sink on the first token, whatever it says."

    def _others(self) -> str:
        said = ", ".join(f"{word} {count}" for word, count in tally(self.heads).items())
        return f"Of {len(self.heads)} heads, by their strongest pattern: {said}." if said else ""

    def _lazy(self) -> str:
        if (lazy := lazy_layers(self.readings)) is None:
            return ""
        return f"Late in a text, {int(lazy.sum())} of {len(lazy)} layers look at little but the first and the latest tokens."

    @property
    def lines(self) -> list[str]:
        """For a terminal, which has no room for tables of layers."""
        return [line for line in (self._thirds(), self._laziest()) if line]

    def _thirds(self) -> str:
        """The share of heads with a sink on the first token, by thirds of the depth."""
        if (sink := figure(self.readings, "sinks", "sink")) is None:
            return ""
        parts = [float(part.mean()) for part in sink.mean[:, 0].tensor_split(3) if len(part)]
        return f"Sinks by thirds of the depth: {' / '.join(f'{part:.0%}' for part in parts)} of the heads."

    def _laziest(self) -> str:
        """The five laziest layers."""
        if (ratio := figure(self.readings, "lazy", "lazy")) is None:
            return ""
        order, layers = ratio.mean.argsort(descending=True)[:5].tolist(), ticks(ratio, "layer")
        return f"Laziest layers: {', '.join(f'{layers[i]} ({number(float(ratio.mean[i]))})' for i in order)}."

    @property
    def strongest(self) -> Table:
        rows = [(f"{h.layer}.{h.head}", h.word, f"{h.confidence:.0%}", Bar(h.strength)) for h in strongest(self.heads)]
        return Table("The strongest heads", ["layer.head", "role", "texts in which it holds", "share of its attention"], rows)

    @property
    def warnings(self) -> list[str]:
        """What was left out, and why."""
        return [*self.look.notes, *(f"Left out: {spec}: {why}" for spec, why in self.look.left_out.items())]

    @property
    def caption(self) -> str:
        """On what, and what brackets mean."""
        config, texts = self.look.config, max(reading.texts for reading in self.readings)
        source = "random tokens" if config.random_tokens else config.prompts or "documents and code that Python carries"
        return (f"{config.model}; {texts} texts of {config.length} tokens ({source}), read in float. Brackets and thin lines are "
                "95 % intervals over texts; an orange mark stands where there is nothing to find.")
