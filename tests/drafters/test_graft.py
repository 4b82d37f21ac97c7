"""Behind a drawn tree, chosen nodes that are worth scoring."""

from __future__ import annotations

import torch

from paceline.core.proposal import Proposal
from paceline.drafters._graft import further, grafted
from paceline.lookup.trie import Price, Trie


def tree(*chains: tuple[list[tuple[int, float]], str]) -> Trie:
    made = Trie()
    for chain, source in chains:
        made.add(chain, source)
    return made


def test_what_was_drawn_stands_as_it_is_and_what_it_lacks_hangs_behind_it() -> None:
    laws = [torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.0, 0.5, 0.5])]
    drawn = Proposal.chain([1, 2], "m", drawn=True, distributions=laws)
    both = grafted(drawn, tree(([(1, 0.9), (1, 0.9)], "a"), ([(2, 0.3)], "a")).best(8))
    assert list(both.tokens) == [1, 2, 1, 2] and list(both.parents) == [-1, 0, 0, -1]
    assert list(both.drawn) == [True, True, False, False] and list(both.source) == ["m", "m", "a", "a"]
    assert all(both.distributions[parent] is law for parent, law in drawn.distributions.items())


def test_what_is_chosen_beside_a_drawn_chain_has_to_be_worth_it() -> None:
    """The chance that the text takes a node which is not drawn anyway is less, the likelier the law has it."""
    chosen, found = [tree(([(1, 0.9), (2, 0.9)], "a"))], []
    for share in (0.1, 0.95):
        drawn = Proposal.chain([2], "m", drawn=True, distributions=[torch.tensor([0.0, share, 1 - share])])
        found.append(list(further(chosen, 7, drawn, tree(([(2, 0.5)], "m")), Price(lambda n: 0.2 * n)).tokens))
    assert found == [[1, 2], []]
