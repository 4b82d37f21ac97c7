"""One word for a head, from made-up shares of its attention and from made-up readings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paceline.report.roles import Evidence, evidence, heads, strongest, tally
from tests.report.made import lazy, sinks, slash


def one(word: str, per_text: list[float], least: float = 0.3) -> Evidence:
    """Of a model of one layer and one head."""
    return Evidence(word, torch.tensor(per_text)[:, None, None], least, [0])


def test_the_largest_share_that_counts_names_the_head() -> None:
    sink, back = one("sink", [0.4, 0.4]), [0.45, 0.45]
    assert heads([sink, one("slash", back, 0.1)])[0].word == "slash"
    assert heads([sink, one("slash", back, 0.5)])[0].word == "sink"


def test_confidence_is_the_share_of_texts_in_which_the_pattern_holds() -> None:
    [head] = heads([one("sink", [0.9, 0.9, 0.9, 0.1])])
    assert (head.word, head.confidence, head.sure) == ("sink", 0.75, True)
    [head] = heads([one("sink", [0.9, 0.9, 0.1, float("nan")])])
    assert head.confidence == pytest.approx(2 / 3) and not head.sure


def test_a_head_without_a_pattern_is_mixed_as_surely_as_none_holds() -> None:
    [head] = heads([one("sink", [0.1, 0.1, 0.1, 0.4]), one("slash", [0.0, 0.0, 0.0, 0.0])])
    assert (head.word, head.confidence, head.strength) == ("mixed", 0.75, 0.0)
    assert heads([]) == []


def test_lazy_is_said_only_where_nothing_else_counts_and_never_alone() -> None:
    layer = one("lazy", [0.95, 0.95], 0.8)
    assert heads([layer, one("sink", [0.5, 0.5])])[0].word == "sink"
    assert heads([layer, one("sink", [0.1, 0.1])])[0].word == "lazy"
    assert heads([layer]) == []


def test_readings_give_every_head_its_word() -> None:
    found = heads(evidence([sinks(), slash(), lazy()]))
    assert [h.word for h in found] == ["slash", "sink", "mixed", "sink", "lazy", "sink"]
    assert tally(found) == {"sink": 3, "slash": 1, "lazy": 1, "mixed": 1}
    assert [(h.layer, h.head) for h in strongest(found, 2)] == [(0, 0), (0, 1)]  # 0.5 of 0.1 is farther than 0.6 of 0.3


def test_what_attention_spread_evenly_would_earn_is_not_told() -> None:
    assert [e.word for e in evidence([lazy(null=0.1)])] == ["lazy"]
    assert evidence([lazy(null=0.5)]) == []


def test_near_tokens_count_beside_the_one_distance_that_a_slash_head_has() -> None:
    reading = slash(score=0.6)
    each = reading.values["score"].each
    each[:, 1, 0, :3] = torch.tensor([0.4, 0.3, 0.25])
    words = {(h.layer, h.head): h.word for h in heads(evidence([reading]))}
    assert words[0, 0] == "slash" and words[1, 0] == "local" and words[2, 0] == "mixed"


def test_lags_that_were_not_asked_for_tell_nothing() -> None:
    reading = slash()
    score = reading.values["score"]
    own = replace(reading, values={"score": replace(score, each=score.each[..., :1], ticks={"lag": (0,)})})
    assert {h.word for h in heads(evidence([own]))} == {"mixed"}


def test_heads_keep_the_numbers_of_the_layers_that_attend() -> None:
    reading = slash()
    score = reading.values["score"]
    hybrid = replace(reading, values={"score": replace(score, ticks={**score.ticks, "layer": [1, 3, 5]})})
    assert [(h.layer, h.word) for h in heads(evidence([hybrid]))][::2] == [(1, "slash"), (3, "mixed"), (5, "mixed")]
