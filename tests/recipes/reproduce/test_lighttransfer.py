"""LightTransfer's reproduction runs through at its smallest; what it does with a slot is what an engine does with a row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import paceline
from paceline.errors import RequestError
from paceline.recipes.reproduce import lighttransfer
from paceline.recipes.reproduce.lighttransfer._arms import ARMS, FULL, LAST, OURS, arms, cut_fork
from paceline.recipes.reproduce.lighttransfer._figures import CONTROLS, setting
from paceline.selectors.lighttransfer import LightTransfer
from tests.models.draft_head.test_head import ids
from tests.tiny import shared_lm


def test_it_runs_through(tmp_path: Path) -> None:
    page = lighttransfer.run(lighttransfer.Config(out=tmp_path / "out", work=tmp_path / "work", model="zoo:tiny", fast=True))
    data, text = json.loads(page.with_suffix(".json").read_text()), page.read_text()
    assert "Percent by kind" in text and page.with_suffix(".png").stat().st_size > 5000
    [one] = data["tasks"]
    assert set(one["arms"]) == {FULL, *ARMS} and one["questions"] == 10 and 0 <= one["full"]["value"] <= 100
    assert one["arms"][FULL]["points"]["value"] == 0 and one["arms"]["streaming all"]["cut"] == 8
    assert all(one["arms"][arm]["cut"] == 4 for arm in (OURS, "random", "ends", "reversed", "uniform"))
    assert sum(one["layers"].values()) == pytest.approx(4)
    [sizes] = data["memory"].values()
    assert sizes[FULL]["formula"] == sizes[FULL]["held"] and 0 <= sizes[OURS]["held"] / sizes[OURS]["formula"] - 1 < 1
    assert data["throughput"]["0"][FULL]["rows"] == 1
    assert all(each["accepted"] > 0 for name, each in data["lossless"]["drafts"].items() if "at once" in name)
    for bad in ({"seeds": 0}, {"only": "task"}):
        with pytest.raises(RequestError, match=r"1 to 4 seeds|Did you mean 'tasks'"):
            lighttransfer.run(lighttransfer.Config(**bad))


@torch.inference_mode()
def test_a_cut_fork_goes_on_as_a_row_with_that_selector() -> None:
    lm, prompt = shared_lm(), ids(300, 1)
    selector = LightTransfer(recent=20, last=LAST)
    [row] = paceline.generate(lm, [prompt], drafter="none", selector=selector, max_new_tokens=12, eos=())
    kv = lm.cache()
    text = kv.take()
    trace = lm.prefill(kv, text, prompt[:-1], range(299 - LAST, 299))
    fork = cut_fork(text, selector, trace)
    assert sorted(fork.plan) == row.stats.cut_layers != []
    assert [step[0][0] for step in lm.extend(kv, [fork], [prompt[-1:]], 12)[0]] == row.tokens


def test_arms_are_compared_on_the_same_questions() -> None:
    """A gain of one point everywhere has no spread, however much questions differ."""
    names = [FULL, *(f"60/{arm}" for arm in ARMS)]
    scores = {name: [0.2, 0.9, 0.4] for name in names} | {f"60/{OURS}": [0.21, 0.91, 0.41]}
    text = {"nats": dict.fromkeys(names, 2.0), "kinds": ["keys", "keys", "labels"], "null": [0.0] * 3, "scores": scores,
            "cut": {name: [[1, 2], [1, 3], [1, 2]] for name in names}}
    found = setting(1100, 60, [text, text])
    assert all(found["ours"][arm]["points"][edge] == pytest.approx(1.0) for arm in CONTROLS for edge in ("value", "low", "high"))
    assert found["full"]["low"] < 50 < found["full"]["high"] and found["layers"][1] == 1.0
    assert found["layers"][2] == pytest.approx(2 / 3)
    assert found["arms"][OURS]["kinds"] == {"keys": pytest.approx(56.0), "labels": pytest.approx(41.0)}


def test_arms_cut_as_they_say() -> None:
    made = arms((60, 252), 3)
    assert len(made) == 1 + 2 * len(ARMS) and made[FULL].keep == 1.0
    assert (made["252/random"].by, made["252/random"].seed, made["60/random"].recent) == ("random", 3, 60)
