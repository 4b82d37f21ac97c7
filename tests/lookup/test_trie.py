"""The trie merges candidates, keeps the higher chance, and takes the part that makes a round fastest at its price."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from paceline.lookup.trie import Price, Trie, merged

STEPS = st.tuples(st.integers(0, 3), st.sampled_from([0.9, 0.6, 0.5, 0.3, 0.1]))
CANDIDATES = st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=5)


def built(candidates: list[list[tuple[int, float]]]) -> Trie:
    tree = Trie()
    for i, candidate in enumerate(candidates):
        tree.add(candidate, f"source {i}")
    return tree


def test_common_beginnings_stand_once_with_the_higher_chance() -> None:
    tree = built([[(1, 0.5), (2, 0.5)], [(1, 0.9), (3, 0.5)]])
    assert tree.tokens == [1, 2, 3] and tree.parents == [-1, 0, 0]
    assert tree.values == [0.9, 0.25, 0.45] and tree.sources == ["source 1", "source 0", "source 1"]


def test_a_path_ends_where_it_is_too_unlikely() -> None:
    tree = Trie()
    assert tree.add([(1, 0.5), (2, 0.1), (3, 1.0)], "a", least=0.1) == 0
    assert tree.tokens == [1]


@given(CANDIDATES, st.integers(0, 12))
def test_the_best_are_a_tree_with_the_main_chain_first(candidates: list[list[tuple[int, float]]], budget: int) -> None:
    tree = built(candidates)
    chosen = tree.best(budget)
    chosen.check(4)
    assert len(chosen) == min(budget, len(tree)) and chosen.all_chosen
    main = chosen.main_chain()
    assert list(chosen.tokens[: len(main)]) == list(main.tokens)
    paths = [tuple(chosen.tokens[i] for i in chosen.path(node)) for node in range(len(chosen))]
    assert len(set(paths)) == len(paths)


@given(CANDIDATES, st.floats(0.01, 0.5), st.floats(0.0, 0.6))
def test_no_other_choice_makes_a_round_faster(candidates: list[list[tuple[int, float]]], token: float, branching: float) -> None:
    """Against every subset of nodes that holds its parents."""
    tree = Trie()
    for i, candidate in enumerate(candidates[:3]):
        tree.add(candidate[:3], str(i))
    price = Price(lambda n: token * n, branching)

    def rate(nodes: tuple[int, ...]) -> float:
        chain = len({tree.parents[i] for i in nodes}) == len(nodes)
        tokens, cost = 1 + sum(tree.values[i] for i in nodes), 1 + price.nodes(len(nodes))
        return tokens / (cost if chain else cost + branching)

    nodes = range(len(tree))
    whole = [s for n in range(len(tree) + 1) for s in combinations(nodes, n)
             if all(tree.parents[i] == -1 or tree.parents[i] in s for i in s)]
    chosen = tree.best(16, price)
    tokens = {tuple(chosen.tokens[i] for i in chosen.path(node)) for node in range(len(chosen))}

    def path(node: int) -> tuple[int, ...]:
        return () if node == -1 else (*path(tree.parents[node]), tree.tokens[node])

    found = tuple(i for i in nodes if path(i) in tokens)
    assert rate(found) > max(map(rate, whole)) - 1e-9


def test_what_the_text_took_judges_all_beside_it() -> None:
    tree = built([[(1, 0.5), (2, 0.5), (3, 0.5)], [(4, 0.1)], [(1, 0.5), (5, 0.1)]])
    assert sorted(tree.judged([1, 5, 9])) == [(0, True), (1, False), (3, False), (4, True)]
    assert sorted(tree.judged([7])) == [(0, False), (3, False)]
    assert list(tree.judged([])) == []


@given(CANDIDATES, st.integers(0, 12), st.lists(st.integers(0, 3), max_size=5))
def test_a_text_takes_the_nodes_on_its_path(candidates: list[list[tuple[int, float]]], budget: int, text: list[int]) -> None:
    tree = built(candidates)
    nodes = tree.choose(budget)
    paths = [[tree.tokens[i] for i in tree.path(node)] for node in nodes]
    assert tree.taken(nodes, text) == max((len(path) for path in paths if path == text[: len(path)]), default=0)


def test_each_node_has_the_highest_chance_that_any_tree_gives_it_in_whatever_order_they_come() -> None:
    first, second = built([[(1, 0.5), (2, 0.5)]]), built([[(1, 0.8), (2, 0.1)], [(3, 0.2)]])
    first.sources = ["a", "a"]
    for trees in ([first, second], [second, first]):
        whole = merged(trees)
        found = {(whole.tokens[node], whole.parents[node]): node for node in range(len(whole))}
        assert set(found) == {(1, -1), (2, found[1, -1]), (3, -1)}
        values = [round(whole.values[found[pair]], 6) for pair in ((1, -1), (2, found[1, -1]), (3, -1))]
        assert values == [0.8, 0.4, 0.2] and whole.sources[found[1, -1]] == "source 0"
        assert whole.sources[found[2, found[1, -1]]] == "a"
