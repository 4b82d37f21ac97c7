"""One word for a head, from made-up shares of its attention."""

from __future__ import annotations

import numpy as np

from paceline.report.roles import Evidence, heads, strongest, tally


def evidence(word: str, per_text: list[float], least: float = 0.3) -> Evidence:
    """A model of one layer and one head."""
    return Evidence(word, np.array(per_text)[:, None, None], least)


def test_the_largest_share_that_counts_names_the_head() -> None:
    sink, slash = evidence("sink", [0.4, 0.4]), evidence("slash", [0.45, 0.45], 0.1)
    assert heads([sink, slash])[0].word == "slash"
    assert heads([sink, evidence("slash", [0.45, 0.45], 0.5)])[0].word == "sink"


def test_confidence_is_the_share_of_texts_in_which_the_pattern_holds() -> None:
    [head] = heads([evidence("sink", [0.9, 0.9, 0.9, 0.1])])
    assert (head.word, head.confidence, head.sure) == ("sink", 0.75, True)
    [head] = heads([evidence("sink", [0.9, 0.9, 0.1, 0.1])])
    assert head.confidence == 0.5 and not head.sure


def test_a_head_without_a_pattern_is_mixed_as_surely_as_none_holds() -> None:
    [head] = heads([evidence("sink", [0.1, 0.1, 0.1, 0.4]), evidence("slash", [0.0, 0.0, 0.0, 0.0])])
    assert (head.word, head.confidence, head.strength) == ("mixed", 0.75, 0.0)
    assert heads([]) == []


def test_lazy_is_said_only_where_nothing_else_counts() -> None:
    lazy = evidence("lazy", [0.95, 0.95], 0.9)
    assert heads([lazy, evidence("sink", [0.5, 0.5])])[0].word == "sink"
    assert heads([lazy, evidence("sink", [0.1, 0.1])])[0].word == "lazy"


def test_the_strongest_come_first_and_mixed_ones_never() -> None:
    shares = np.array([[[0.2, 0.9], [0.5, 0.7]]])
    found = heads([Evidence("sink", shares, 0.3)])
    assert [(h.layer, h.head) for h in strongest(found, 2)] == [(0, 1), (1, 1)]
    assert [(h.layer, h.head) for h in strongest(found)] == [(0, 1), (1, 1), (1, 0)]
    assert tally(found) == {"sink": 3, "mixed": 1}
