"""LongSpec's reproduction runs through at its smallest; its arithmetic by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from paceline.errors import RequestError
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import longspec_shape
from paceline.recipes.reproduce import longspec
from paceline.recipes.reproduce.longspec._by_position import as_batch, divergence
from paceline.recipes.reproduce.longspec._figures import beside, fall, gained
from paceline.recipes.reproduce.longspec._lengths import CEILING, CONTROL, SHIPPED, chained
from paceline.testing import tiny_model
from paceline.train.heads import read, reading


def test_longspec(tmp_path: Path) -> None:
    page = longspec.run(longspec.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "offset over plain" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert len({step["bytes"] for step in data["steps"]}) == 1
    assert all(a["apart"] < 1e-5 and a["own"] < a["mask"] / 10 for a in data["attention"])
    assert all(1 <= tokens / rounds <= 7 for kinds in data["lengths"]["who"].values() for prompts in kinds.values()
               for prompt in prompts for rounds, tokens, _ in prompt)
    assert all(rounds == math.ceil(tokens / 7) for prompts in data["lengths"]["who"][f"greedy, {CEILING}"].values()
               for prompt in prompts for rounds, tokens, _ in prompt)
    assert {SHIPPED, "offset, 0", "plain, 0"} < set(data["far"]["kl"]) and "offset lower by" in page.read_text()
    with pytest.raises(RequestError, match="copy_steps"):
        longspec.run(longspec.Config(copy_steps=1))


def test_a_chain_of_right_tokens_takes_so_many_forwards() -> None:
    assert chained([True] * 8, 3) == 2  # three and a bonus, twice
    assert chained([False] * 4, 3) == 4
    assert chained([True, False, True, True, True, True], 3) == 2


def test_a_fall_is_seen_beside_the_controls() -> None:
    circles = [[1, 8, 1], [4, 8, 0]]
    who = {SHIPPED: {"code": [[[2, 8, 0], [4, 8, 0]], circles]}, CONTROL: {"code": [[[4, 8, 0], [5, 8, 0]], circles]}}
    assert fall({"who": who}, [SHIPPED], straight=True)["value"] == 0.5
    assert math.isclose(fall({"who": who}, [SHIPPED])["value"], 3 / 8)
    assert math.isclose(beside({"who": who}, [SHIPPED], CONTROL, straight=True)["value"], 0.5 / 0.8)


def test_what_offset_positions_gain_is_taken_text_by_text() -> None:
    found = {"kl": {"offset, 0": [[1.0], [3.0]], "plain, 0": [[1.5], [3.5]], "offset, 1": [[1.0], [3.0]],
                    "plain, 1": [[1.3], [3.3]]}}
    mean, over_texts = gained(found, 2, 0)
    assert math.isclose(mean, 0.4) and mean.half > 0.5 and all(math.isclose(edge, 0.4) for edge in over_texts)


def test_divergence_is_the_mean_kl_between_each_two_edges() -> None:
    model, batch = tiny_model("llama", vocab=64, hidden_size=32, num_hidden_layers=2), as_batch(range(3, 35))
    head = Head(longspec_shape(model, block=4, window=8, final_norm=True))
    [found] = divergence(model, {"head": head}, [batch], (0, 16, 32))["head"]
    with torch.no_grad():
        taught, memory = read(model, batch, batch.positions)
        laws = [logits.double().log_softmax(-1) for logits in (
            head.logits(reading(head, batch, batch.positions, memory, "block")), model.get_output_embeddings()(taught))]
    apart = torch.nn.functional.kl_div(*laws, reduction="none", log_target=True).sum(-1)
    assert apart.min() > 1e-4
    # The first block has nothing earlier to read, the last token nothing to foresee.
    assert found == pytest.approx([float(apart[4:16].mean()), float(apart[16:31].mean())], rel=0.1)
