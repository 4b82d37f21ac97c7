"""The recipe of the embedded heads, on made-up texts: folders, cards, and what may not be mixed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import paceline
from paceline.errors import DataError, RequestError
from paceline.recipes.train_zoo_drafters import Config, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    config = Config(out=tmp_path_factory.mktemp("zoo"), fast=True, method="glide,longspec:final_norm=true,longspec")
    return config, run(config)


@pytest.mark.parametrize("kind", ["glide", "longspec"])
def test_a_head_comes_with_its_card_and_drafts(made: tuple[Config, Path], kind: str) -> None:
    folder = made[1] / f"tiny-{kind}"
    card = (folder / "README.md").read_text()
    assert all(part in card for part in (f"# zoo:tiny-{kind}", "| code |", "| its own |", "paceline cook train_zoo_drafters"))
    shape = json.loads((folder / "config.json").read_text())["paceline"]
    assert shape["block"] == 6 and shape["final_norm"] and shape["shared"] == (kind == "longspec")
    lm = paceline.load("zoo:tiny")
    drafter = f"{kind}:model={folder},worth=0"
    out, plain = (paceline.generate(lm, ["def f("], drafter=d, max_new_tokens=12)[0] for d in (drafter, "none"))
    assert out.tokens == plain.tokens and out.stats.drafted > 0


def test_a_second_head_of_a_kind_stays_beside(made: tuple[Config, Path]) -> None:
    shape = json.loads((made[1] / "drafters" / "longspec" / "config.json").read_text())["paceline"]
    assert not shape["final_norm"]


def test_it_refuses_another_configurations_folder_and_odd_shares(made: tuple[Config, Path]) -> None:
    with pytest.raises(DataError, match="was begun with width"):
        run(replace(made[0], width=96))
    with pytest.raises(RequestError, match="shares between 0 and 1"):
        run(replace(made[0], own=1.0))
