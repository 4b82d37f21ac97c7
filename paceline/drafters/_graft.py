"""Several drafters' trees in one: chosen nodes merged, and behind a drawn tree those that were chosen without looking at it."""

from collections.abc import Sequence
from dataclasses import replace

from paceline.core.proposal import Proposal
from paceline.lookup.stopping import worthwhile
from paceline.lookup.trie import Price, Trie

__all__ = ["further", "grafted", "merged"]


def merged(trees: Sequence[Trie]) -> Trie:
    """All nodes in one tree, in which each follows the one before it with the highest chance that any tree gives it."""
    whole = Trie()  # its values are these chances, until all are known
    for tree in trees:
        place = {-1: -1}
        for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True)):
            chance = tree.values[node] / (tree.values[parent] if parent != -1 else 1.0)
            found = whole.child.get((place[parent], token))
            if found is None:
                found = whole.place(token, place[parent], chance, tree.sources[node])
            elif chance > whole.values[found]:
                whole.values[found], whole.sources[found] = chance, tree.sources[node]
            place[node] = found
    for node, parent in enumerate(whole.parents):
        if parent != -1:
            whole.values[node] *= whole.values[parent]
    return whole


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
