"""The reproduction of slash heads runs through at its smallest; what its toys learn and what means foretell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from paceline.errors import RequestError
from paceline.models.small_lm import Shape, SmallLM
from paceline.probes._stability import correlation
from paceline.recipes.reproduce import slash_heads
from paceline.recipes.reproduce.slash_heads._heads import heads_of, meant, without
from paceline.recipes.reproduce.slash_heads._toy import Toy, learned


def test_slash_heads(tmp_path: Path) -> None:
    config = slash_heads.Config(out=tmp_path, work=tmp_path / "work", texts=2, seeds=2, fast=True)
    page = slash_heads.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "Slash-dominant" in text and "copy the token so many before" in text and page.with_suffix(".png").stat().st_size > 5000
    assert all(run["learned"] == run["foretold"] == 8 and run["others"] > 0.5 for run in data["toys"]["both, 8"])
    near, counts = data["real"]["lags"]["1"], data["real"]["counts"]["1"]
    assert near["heads"] == counts[0] > 4 and counts[1] <= counts[0] <= counts[2] and near["lift"] > 3
    assert near["changed"]["drop high"]["high"] < near["changed"]["drop low"]["low"] and near["told"] <= near["near"]
    assert all(-1 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1 for bounds in data["real"]["ranks"].values())
    steps = [look["step"] for look in data["text"]["free"][0]["history"]]
    assert steps == sorted(set(steps)) and steps[0] == 0 and len(data["copying"]["free, 8"]) == 2
    slash_heads.run(config)
    assert json.loads(page.with_suffix(".json").read_text()) == data
    with pytest.raises(RequestError, match="at least 1"):
        slash_heads.run(slash_heads.Config(seeds=0))


def test_a_toy_learns_a_distance_only_where_its_tokens_have_something_in_common() -> None:
    found = learned(Toy(3, cone=0.0), 60, 0)
    assert found["score"] < 0.1 and learned(Toy(3), 60, 0)["score"] > 0.8


def test_a_small_model_without_pairs_looks_evenly_and_mean_vectors_do_as_they_foretell() -> None:
    model, tokens = SmallLM(Shape(vocabulary=50, width=16, layers=2, heads=2, ffn=16)), torch.randint(50, (2, 40))
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.mul_(40)
        even = heads_of(without(model, "all", 40), tokens).scores
        assert even.allclose(even[:1].expand_as(even), atol=1e-5) and not heads_of(model, tokens).scores.allclose(even, atol=1e-2)
        fixed = meant(model, heads_of(model, tokens))
        heads = heads_of(fixed, tokens)
        assert heads.query.min() > 0.999 and meant(fixed, heads)(tokens).allclose(fixed(tokens), atol=1e-4)
    assert correlation(heads.scores, heads.law).min() > 0.95
