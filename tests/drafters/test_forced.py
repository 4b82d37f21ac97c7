"""Forced tokens stand in front of another drafter's, which loses what the grammar forbids."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paceline.core.proposal import Proposal
from paceline.drafters.forced import Forced, joined, pruned
from paceline.errors import SpecError


class Only:
    """A grammar that allows even tokens."""

    def allowed(self, path: Any = ()) -> torch.Tensor:
        return torch.tensor([True, False] * 4)


ROW = SimpleNamespace(grammar=Only())


def tree(tokens: list[int], parents: list[int], drawn: bool = False) -> Proposal:
    laws = {p: torch.full((8,), 0.125) for p in set(parents)} if drawn else {}
    return Proposal(tokens, parents, [drawn] * len(tokens), ["x"] * len(tokens), laws)


def test_what_is_forbidden_goes_with_all_below_it() -> None:
    left = pruned(tree([2, 3, 4, 6, 5], [-1, 0, 1, 0, -1]), Only())
    assert list(left.tokens) == [2, 6] and list(left.parents) == [-1, 0]


def test_a_drawn_node_stays_to_be_refused_and_nothing_below_it() -> None:
    left = pruned(tree([2, 3, 4], [-1, 0, 1], drawn=True), Only())
    assert list(left.tokens) == [2, 3] and left.drawn == [True, True] and {-1, 0} <= set(left.distributions)


def test_a_draft_that_begins_with_what_is_forced_stands() -> None:
    draft = tree([2, 4, 6], [-1, 0, 1])
    assert joined(ROW, [2, 4], draft) == draft
    assert list(joined(ROW, [4, 4], draft).tokens) == [4, 4]
    assert joined(SimpleNamespace(grammar=None), [], tree([3], [-1])).tokens == [3]


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="enough=0"):
        Forced(enough=0)
