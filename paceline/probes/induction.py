"""Heads that continue what was there before: attention to the token behind the last occurrence of the current one.

Induction heads (Olsson et al. 2022, arXiv 2209.11895) do that; the previous-token heads and duplicate-token heads (Wang et al.
2022, arXiv 2211.00593) that they rest on are told by the same rows. Random tokens read twice show it best (tokens="repeated"),
where nothing else can be learnt from; any text will do.
"""

from dataclasses import dataclass, field

import torch

from paceline.core.reading import Figure, Reading
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._kept import Kept

__all__ = ["Induction"]

KINDS = ("induction", "duplicate", "previous")


@dataclass(frozen=True)
class Induction:
    """Three figures (layer, head), each the mean attention of queries to one key, beside what it would be in uniform rows:
    induction, to the token behind the last occurrence of the query's own; duplicate, to that occurrence; both over queries whose
    token has been there, not just before; previous, to the token before the query. A text without repetition has no figure (NaN)
    but the last.
    """

    def start(self, subject: Subject) -> Watch:
        return InductionWatch()


@dataclass
class InductionWatch:
    """Sums of [Hq + 1] by kind, text and layer: of each head, and of uniform rows. keys: of the text being read, which key counts
    for each query, -1 = none.
    """

    kept: dict[str, Kept] = field(default_factory=lambda: {kind: Kept() for kind in KINDS})
    keys: dict[str, torch.Tensor] = field(default_factory=dict)

    def layer(self, seen: Seen) -> None:
        if seen.layer == 0 or not self.keys:
            self.keys = looked_for(seen.tokens)

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        stop = probs.shape[2]
        seen_keys = torch.arange(start + 1, stop + 1, device=probs.device).clamp_max(seen.window or stop)
        for kind, keys in self.keys.items():
            part = keys[start:stop]
            at = (part >= 0).nonzero()[:, 0].to(probs.device)
            given = probs[:, at, part.to(probs.device)[at]].sum(1)
            null = (1 / seen_keys[at]).sum(0, keepdim=True)
            self.kept[kind].add(seen.text, seen.layer, torch.cat((given, null)) / (keys >= 0).sum().to(probs.device))

    def end(self, text: int) -> None:
        self.keys = {}

    def reading(self) -> Reading:
        each = {kind: kept.each for kind, kept in self.kept.items()}
        ticks = {"layer": self.kept["previous"].layers}
        values = {kind: Figure(found[..., :-1], ("layer", "head"), "mean attention", found[..., -1:].nanmean(0), ticks)
                  for kind, found in each.items()}
        return Reading("induction", values, "At 1 a head always looks there; on random tokens read twice, a head far above its "
                       "null level repeats what followed.", len(self.kept["previous"].texts))


def looked_for(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each query of a text [T], the key that counts for each kind, -1 = none."""
    last: dict[int, int] = {}
    before = []
    for place, token in enumerate(tokens.tolist()):
        found = last.get(token, -1)
        before.append(found if found < place - 1 else -1)
        last[token] = place
    duplicate = torch.tensor(before, dtype=torch.long)
    return {"induction": torch.where(duplicate >= 0, duplicate + 1, -1), "duplicate": duplicate,
            "previous": torch.arange(-1, len(before) - 1)}
