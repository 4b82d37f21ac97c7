"""Behind a drawn tree, nodes that were chosen without looking at it."""

from collections.abc import Sequence
from dataclasses import replace

from paceline.core.proposal import Proposal
from paceline.lookup.stopping import worthwhile
from paceline.lookup.trie import Price, Trie, merged

__all__ = ["further", "grafted"]


def grafted(drawn: Proposal, chosen: Proposal) -> Proposal:
    """A drawn tree, and behind its nodes those of a chosen one that it lacks."""
    tokens, parents, source = list(drawn.tokens), list(drawn.parents), list(drawn.source)
    known, place = {pair: node for node, pair in enumerate(zip(parents, tokens, strict=True))}, {-1: -1}
    for node, (token, parent) in enumerate(zip(chosen.tokens, chosen.parents, strict=True)):
        pair = place[parent], token
        if pair not in known:
            known[pair] = len(tokens)
            tokens.append(token)
            parents.append(pair[0])
            source.append(chosen.source[node])
        place[node] = known[pair]
    flags = [*drawn.drawn, *[False] * (len(tokens) - len(drawn))]
    return replace(drawn, tokens=tokens, parents=parents, drawn=flags, source=source)


def further(chosen: Sequence[Trie], room: int, drawn: Proposal, told: Trie, price: Price | None) -> Proposal:
    """Of what was chosen, at most `room` nodes that are worth scoring beside what is drawn (told: that with its chances). What
    chance there is that the text takes a node which is not drawn anyway is told by the law [V] behind the root, not by the draws.
    """
    tree = merged(chosen)
    if price is None:
        return tree.best(room)
    tops: list[int] = []
    for node, parent in enumerate(tree.parents):
        tops.append(node if parent == -1 else tops[parent])
    law = drawn.distributions[-1]
    chances = [value * (1 - float(law[tree.tokens[top]])) for value, top in zip(tree.values, tops, strict=True)]
    alone, cost = 1 + sum(told.values), 1 + price.nodes(len(drawn))
    tokens, taken, base = alone, list[int](), cost + price.branching
    for node in sorted(range(len(tree)), key=lambda node: (-chances[node], node))[:room]:
        more = 1 + price.nodes(len(drawn) + len(taken) + 1) + price.branching
        if not worthwhile(chances[node], more - base, tokens, base):
            break
        tokens, base = tokens + chances[node], more
        taken.append(node)
    return tree.proposal(taken if tokens / base > alone / cost else [])
