"""Tokens that a grammar forces are drafts: the skeleton of structured output, in front of another drafter's proposals.

Engines usually insert forced tokens without asking the model (SGLang's jump-forward decoding, Zheng et al. 2024, section 3.3).
Here they are chosen nodes that the target scores with the others: one path through rule, cache and statistics, the text of
plain masked decoding, and nothing to get wrong where text has several tokenisations.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from paceline import plugins
from paceline.core.grammar import Matcher
from paceline.core.proposal import Proposal
from paceline.core.protocols import Drafter, Target
from paceline.core.row import Row
from paceline.drafters.ngram import Ngram
from paceline.errors import SpecError

__all__ = ["Forced"]


@dataclass(frozen=True)
class Forced:
    """inner: spec of the drafter for what is not forced, in brackets where it has options; its proposals lose what the grammar
    forbids. Rows without a grammar are the inner drafter's alone. enough: from so many forced tokens on it is not asked; where
    fewer are forced, its proposal stands if it begins with them.
    """

    inner: Any = "none"
    enough: int = 4

    def __post_init__(self) -> None:
        if self.enough < 1:
            raise SpecError(f"forced needs enough >= 1; found enough={self.enough}.")

    def attach(self, lm: Target) -> "Skeleton":
        return Skeleton(plugins.attached("drafter", self.inner, lm), self.enough)


class Skeleton:
    """The attached drafter; what it knows of a row is the row's own `grammar`."""

    timed = True

    def __init__(self, inner: Drafter, enough: int) -> None:
        self.inner, self.enough, self.has_model = inner, enough, inner.has_model

    @property
    def captures(self) -> Collection[str]:
        return self.inner.captures

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """The forced chain of each row, or the inner drafter's proposal where little or nothing is forced."""
        chains = [row.grammar.forced(budget) if row.grammar else [] for row, budget in zip(rows, budgets, strict=True)]
        asked = [i for i, chain in enumerate(chains) if len(chain) < min(self.enough, budgets[i])]
        found = self.inner.propose([rows[i] for i in asked], [budgets[i] for i in asked]) if asked else []
        drafts = dict(zip(asked, found, strict=True))
        return [joined(row, chain, drafts.get(i, Proposal())) for i, (row, chain) in enumerate(zip(rows, chains, strict=True))]

    def forget(self, row: Row) -> None:
        self.inner.forget(row)


def joined(row: Row, chain: Sequence[int], draft: Proposal) -> Proposal:
    """One proposal of a forced chain and another drafter's. Which of the two stands may depend on what was drawn, so where there
    is a chain all is declared chosen (invariant 3).
    """
    if row.grammar is None:
        return draft
    draft = pruned(draft, row.grammar)
    if not chain:
        return draft
    return draft.chosen() if len(draft) > len(chain) and begins(draft, chain) else Proposal.chain(chain, "forced")


def begins(draft: Proposal, chain: Sequence[int]) -> bool:
    """True where the chain is a path from the root of the tree."""
    node = -1
    for token in chain:
        below = [child for child in draft.children(node) if draft.tokens[child] == token]
        if not below:
            return False
        node = below[0]
    return True


def pruned(draft: Proposal, grammar: Matcher) -> Proposal:
    """The tree without what the grammar forbids. A drawn node stays where it is forbidden itself, since the walk has to know
    what was drawn; nothing stays below it, where no walk comes. So whether a node stands that may be accepted depends on no
    draw of it.
    """
    kept: dict[int, int] = {-1: -1}  # old place -> new place
    barred: set[int] = set()
    for i, (token, parent) in enumerate(zip(draft.tokens, draft.parents, strict=True)):
        if parent not in kept or parent in barred:
            continue
        allowed = bool(grammar.allowed([draft.tokens[n] for n in draft.path(parent)])[token])
        if allowed or draft.drawn[i]:
            kept[i] = len(kept) - 1
        if not allowed:
            barred.add(i)
    return draft if len(kept) == len(draft) + 1 else taken(draft, kept)


def taken(draft: Proposal, kept: dict[int, int]) -> Proposal:
    """The nodes named, renumbered, with what is known of the places that still have one."""
    nodes = [i for i in kept if i != -1]
    parents = [kept[draft.parents[i]] for i in nodes]
    return Proposal([draft.tokens[i] for i in nodes], parents, [draft.drawn[i] for i in nodes], [draft.source[i] for i in nodes],
                    {kept[p]: law for p, law in draft.distributions.items() if p in kept},
                    {kept[p]: likely for p, likely in draft.likely.items() if p in kept})


def tiny(lm: Target) -> Forced:
    return Forced(Ngram(max_n=3, min_n=1, length=4, worth=0.0))
