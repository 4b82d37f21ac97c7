"""No draft is plain decoding."""

from __future__ import annotations

from paceline import Engine, Request
from paceline.testing import ToyLM


def test_every_round_gives_one_token() -> None:
    out = Engine(ToyLM(), "none").run([Request([1], max_new_tokens=9), Request([2], max_new_tokens=4)])
    assert [(g.stats.rounds, g.stats.drafted, g.stats.acceptance_length) for g in out] == [(9, 0, 1.0), (4, 0, 1.0)]
