"""A prompt that begins as a text whose keys are at hand is not read again, and writes the same."""

from __future__ import annotations

import pytest

from paceline import Engine, Request
from paceline.core.row import Row
from paceline.drafters.ngram import Ngram
from paceline.lm import LM
from paceline.testing import tiny_lm

EAGER = Ngram(max_n=2, min_n=1, length=4, worth=0.0)


def run(engine: Engine, row: Row) -> list[int]:
    while row.finish_reason is None:
        engine.step()
    return row.new_tokens


def test_a_cached_beginning_is_reused_and_changes_nothing(lm: LM) -> None:
    engine = Engine(lm, EAGER, slots=1, max_cached=2)
    first = Request(list(range(5, 60)), max_new_tokens=10)
    said = engine.run([first])[0]
    turn = [*first.prompt, *said.tokens, 80, 81, 82]
    row = engine.submit(Request(turn, max_new_tokens=12))
    tokens = run(engine, row)
    assert row.stats.reused == len(turn) - 4
    assert tokens == Engine(lm).run([Request(turn, max_new_tokens=12)])[0].tokens
    for seed in range(4):  # no more texts are kept than was asked
        engine.run([Request([100 + seed] * 9, max_new_tokens=3)])
    assert len(list(engine.prefixes)) == len(engine.prefixes.kv.active) == 2


def test_an_active_row_s_beginning_is_reused(lm: LM) -> None:
    prompt = list(range(5, 60))
    requests = [Request([*prompt, 70 + i], max_new_tokens=9) for i in range(3)]
    out = Engine(lm, slots=4).run(requests)
    assert [g.stats.reused for g in out] == [0, 55, 55]
    assert [g.tokens for g in out] == [Engine(lm).run([r])[0].tokens for r in requests]


@pytest.mark.parametrize(("shared", "reused"), [(40, 0), (180, 180)])
def test_keys_that_a_window_has_dropped_are_read_again(shared: int, reused: int) -> None:
    """Where a text goes on from its end all that the window shows is there; where it parts early, much is not."""
    lm = tiny_lm("mistral")
    engine = Engine(lm, "none", slots=1, max_cached=1)
    text = [3 + i % 200 for i in range(180)]
    engine.run([Request(text, max_new_tokens=1)])
    other = Request([*text[:shared], *range(100, 130)], max_new_tokens=8)
    [out] = engine.run([other])
    assert out.stats.reused == reused and out.tokens == Engine(lm, "none").run([other])[0].tokens
