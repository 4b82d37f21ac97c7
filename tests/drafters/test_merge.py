"""Merging drafters: one tree, sources kept, each drafter's chances learned."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from paceline.drafters.merge import Merge
from paceline.errors import SpecError
from paceline.proposal import Proposal


class Says:
    """Always proposes the same chain."""

    def __init__(self, tokens: list[int], source: str) -> None:
        self.tokens, self.source, self.forgotten = tokens, source, 0

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        return [Proposal.chain(self.tokens, self.source)] * len(rows)

    def forget(self, row: Any) -> None:
        self.forgotten += 1


def row(tokens: list[int]) -> Any:
    return SimpleNamespace(tokens=list(tokens), id=0, last=None, request=SimpleNamespace(tenant=""), finish_reason=None)


def test_proposals_share_one_tree_and_keep_their_sources() -> None:
    drafter = Merge((Says([1, 2], "a"), Says([1, 3], "b")), worth=0.0).attach(None)
    tree = drafter.propose([row([0])], [8])[0]
    assert sorted(tree.tokens) == [1, 2, 3] and tree.all_chosen and len(tree) == 3
    assert {t: s for t, s in zip(tree.tokens, tree.source, strict=True) if t != 1} == {2: "a", 3: "b"}
    assert len(drafter.propose([row([0])], [2])[0]) == 2


def test_the_drafter_that_is_right_comes_first() -> None:
    drafter = Merge((Says([1, 1, 1], "a"), Says([2, 2, 2], "b")), worth=0.0).attach(None)
    growing = row([0])
    for _ in range(12):
        tree = drafter.propose([growing], [3])[0]
        growing.tokens.append(2)
    assert list(tree.tokens) == [2, 2, 2] and set(tree.source) == {"b"}


def test_it_reads_what_its_drafters_read_and_forgets_with_them() -> None:
    says = Says([1], "a")
    drafter = Merge((says, "recycle")).attach(SimpleNamespace(costs=None))
    assert drafter.reads == ("topk_logits",)
    drafter.forget(row([0]))
    assert says.forgotten == 1


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="at least one drafter"):
        Merge(())
    with pytest.raises(SpecError, match="There is no drafter 'sufix'"):
        Merge(("sufix",)).attach(None)
