"""BanditSpec's reproduction runs through at its smallest; its simulated arms are what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from paceline.errors import RequestError
from paceline.recipes.reproduce import banditspec
from paceline.recipes.reproduce.banditspec import _batch_sizes as batch_sizes
from paceline.recipes.reproduce.banditspec._batch_sizes import LENGTHS, SIZES
from paceline.recipes.reproduce.banditspec._simulated_arms import Arms, attached, play


def test_banditspec(tmp_path: Path) -> None:
    page = banditspec.run(banditspec.Config(out=tmp_path, fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "The best arm changes" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    lost = {policy: marks["512"]["lost"] for policy, marks in data["regret"]["four"].items()}
    assert 0 < lost["quarter"] < lost["ucb"] < lost["uniform"] and lost["exp3"] < lost["uniform"]
    assert all(f["apart"] < 4 for marks in data["regret"]["deep"].values() for f in marks.values())
    assert len(data["checks"]["compared"]) == 6 and min(data["microseconds"].values()) > 0
    assert data["switch"]["scale 0.25, discount 0.98"]["lost"] < data["switch"]["scale 0.25"]["lost"]
    best = [data["batches"][str(size)]["best"] for size in SIZES]
    assert best == sorted(best, reverse=True) and best[0] == LENGTHS[-1] and best[-1] == 0
    decoding = data["decoding"]["methods"]
    assert decoding["plain"]["length"]["all"]["value"] == 1.0 and "oracle" in decoding
    assert all(f["length"]["all"]["value"] >= 1.0 and f["speed"]["all"]["value"] > 0 for f in decoding.values())
    for bad in ({"runs": 1}, {"prompts": 16}, {"tokens": 0}):
        with pytest.raises(RequestError, match="at least 2.*1 to 15 prompts"):
            banditspec.run(banditspec.Config(**bad))


def test_a_controller_drafts_for_one_row_and_not_for_a_full_batch() -> None:
    """By the clock it comes near to the best length of every batch; by tokens it drafts where each one costs a step."""
    for rows, length in ((1, 6), (128, 0)):
        speed = batch_sizes.played("ucb:carry=true,scale=0.2,reward=net,budgets=[0,2,4,6]", rows, 120, 0)
        assert speed > 0.7 * batch_sizes.fixed(rows, length)
    assert batch_sizes.played("ucb:carry=true,budgets=[0,6]", 128, 60, 0) < 0.7 * batch_sizes.fixed(128, 0)
    simulated = batch_sizes.played("fixed:budget=4", 4, 4000, 1)
    assert simulated == pytest.approx(batch_sizes.fixed(4, 4), rel=0.02)


def test_simulated_arms_have_the_means_and_rounds_they_say() -> None:
    """Means by enumeration, rounds of one arm by simulation within four standard errors, streams alike for every controller."""
    arms = Arms((0.5, 0.8), 4)
    for p, mean in zip(arms.chances, arms.means, strict=True):
        assert sum((x + 1) * p**x * (1 - p) for x in range(4)) + 5 * p**4 == pytest.approx(mean)
    assert Arms((0.5,), 1).rounds(2).tolist() == [0.0, 1.0, 1.5]  # two tokens: at once with chance 1/2, else in two rounds
    alone = Arms((0.8,), 4)
    rounds = [play(attached("ucb", alone), alone, [50, 100], row, 0) for row in range(300)]
    for i, tokens in enumerate((50, 100)):
        seen = [played[i].rounds for played in rounds]
        mean = sum(seen) / 300
        error = math.sqrt(sum((r - mean) ** 2 for r in seen)) / 300
        assert abs(mean - alone.rounds(100)[tokens]) < 4 * error and all(p[i].pulls == (p[i].rounds,) for p in rounds)
    first, again = ([tokens for tokens, _ in zip(arms.stream(1, (3, 4)), range(9), strict=False)] for _ in range(2))
    assert first == again
